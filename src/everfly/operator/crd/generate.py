"""Write the custom resource definitions: `python -m everfly.operator.crd.generate [FOLDER]`."""

import sys
from pathlib import Path
from typing import Final

import yaml

from everfly.operator.crd import BACKUP_FILES, FILE
from everfly.operator.crd.backups import backup_definition, schedule_definition
from everfly.operator.crd.fields import SPEC, STATUS
from everfly.operator.crd.schema import TEXT, Schema, object_of
from everfly.operator.names import GROUP, KIND, PLURAL, VERSION

_HEAD: Final = "# Written by `python -m everfly.operator.crd.generate`; change crd/fields.py.\n"
_COLUMNS: Final = (
    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
    {"name": "Rolling Update", "type": "boolean", "jsonPath": ".status.isRollingUpdate"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Ready", "type": "integer", "jsonPath": ".status.readyReplicas"},
    {"name": "Primary", "type": "string", "jsonPath": ".status.primary"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)
"""The first three are the upstream operator's, in its order."""


def definition() -> Schema:
    """Return the definition as plain data."""
    whole = object_of(
        {
            "apiVersion": TEXT,
            "kind": TEXT,
            "metadata": {"type": "object"},
            "spec": {**object_of(SPEC), "description": "What a user wants of a data store."},
            "status": {**object_of(STATUS), "description": "What the operator sees."},
        }
    )
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": list(_COLUMNS),
                    "schema": {
                        "openAPIV3Schema": {**whole, "description": "A Dragonfly data store."}
                    },
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }


def definition_yaml() -> str:
    """Return the text of the file of data stores."""
    return _HEAD + _yaml(definition())


def backup_yamls() -> dict[str, str]:
    """Return the texts of the files of backups and schedules, by name."""
    made = (backup_definition(), schedule_definition())
    head = _HEAD.replace("fields.py", "backups.py")
    return {name: head + _yaml(each) for name, each in zip(BACKUP_FILES, made, strict=True)}


def _yaml(value: Schema) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """One without references: the API server does not know them."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the library's signature
        return True


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for file, text in {FILE: definition_yaml(), **backup_yamls()}.items():
        (folder / file).write_text(text, encoding="utf-8")
