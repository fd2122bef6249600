"""The custom resource definitions of `Dragonfly` and of its backups, as files of the package.

The files are written by `python -m everfly.operator.crd.generate` and never by hand: what is ours
is in `fields.py` and `backups.py`, what is Kubernetes' own comes from the types of the client
library.
"""

from importlib import resources

from everfly.operator.manifest import JsonObject

FILE = "dragonflies.yaml"
BACKUP_FILES = ("dragonflybackups.yaml", "dragonflybackupschedules.yaml")


def definition_text(file: str = FILE) -> str:
    """Return a file: one YAML document."""
    return resources.files(__name__).joinpath(file).read_text(encoding="utf-8")


def without_rules(schema: JsonObject) -> JsonObject:
    """Return a definition without its CEL rules, for API servers older than 1.25."""

    def strip(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: strip(each) for key, each in value.items() if key != "x-kubernetes-validations"
            }
        return [strip(each) for each in value] if isinstance(value, list) else value

    stripped = strip(schema)
    assert isinstance(stripped, dict)
    return stripped
