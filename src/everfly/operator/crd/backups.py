"""Say what backups and schedules of them are: fields, types, defaults, rules, and in words."""

from typing import Final

from lightkube.models import core_v1

from everfly.operator.backups.names import (
    BACKUP_KIND,
    BACKUP_PLURAL,
    GROUP,
    SCHEDULE_KIND,
    SCHEDULE_PLURAL,
    VERSION,
)
from everfly.operator.crd.schema import (
    ANY_OBJECT,
    FLAG,
    INTEGER,
    TEXT,
    Schema,
    list_of,
    object_of,
    says,
    schema_of,
)

_STAMP: Final[Schema] = {"type": "string", "format": "date-time"}
_COUNT: Final[Schema] = {"type": "integer", "format": "int64"}
_ONE_PLACE: Final = ("has(self.volume) != has(self.s3)", "one of volume and s3 is needed")
_VOLUME: Final = {
    "claimName": says("A PersistentVolumeClaim of the namespace.", TEXT, minLength=1),
    "directory": says("Below the root of the volume; the root by default.", TEXT),
}
_BUCKET: Final = {
    "uri": says("s3://BUCKET/PREFIX", TEXT, pattern="^s3://[a-z0-9].*$"),
    "secretName": says(
        "A Secret whose keys become environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
        "AWS_REGION. The identity of the data store's service account by default.",
        TEXT,
    ),
    "endpoint": says("HOST:PORT of a store that is not Amazon's; http:// without TLS.", TEXT),
}
_PLACE: Final = object_of(
    {
        "volume": says("A volume.", object_of(_VOLUME, "claimName")),
        "s3": says("A bucket.", object_of(_BUCKET, "uri")),
    }
)
_TEMPLATE: Final[dict[str, Schema]] = {
    "to": says("Where to.", _PLACE, _ONE_PLACE),
    "verify": says("Read it back before it is called good.", FLAG, default=True),
    "deletionPolicy": says(
        "What becomes of the files when the backup is deleted. In a bucket they always stay.",
        {"type": "string", "enum": ["Retain", "Delete"]},
    ),
    "backoffLimit": says(
        "How often it is tried again; 3 by default.", INTEGER, minimum=0, maximum=100
    ),
    "timeoutSeconds": says("What one attempt may take; an hour by default.", INTEGER, minimum=1),
    "resources": says(
        "Of the ferry; those of the data store by default.",
        schema_of(core_v1.ResourceRequirements),
    ),
    "image": says("Of the ferry; what the data store runs by default.", TEXT),
}
_STORE: Final = says("Name of a Dragonfly of the namespace.", TEXT, minLength=1)

RESTORE: Final = says(
    "Begin with these data. Only a data store that never had any does, and once.",
    object_of(
        {
            "backup": says("A DragonflyBackup of the namespace.", TEXT),
            "volume": says(
                "A snapshot on a volume.",
                object_of({**_VOLUME, "basename": TEXT}, "claimName", "basename"),
            ),
            "s3": says(
                "A snapshot in a bucket.",
                object_of({**_BUCKET, "basename": TEXT}, "uri", "basename"),
            ),
        }
    ),
    (
        "[has(self.backup), has(self.volume), has(self.s3)].filter(x, x).size() == 1",
        "one of backup, volume and s3 is needed",
    ),
)
"""Of `spec.everfly.restoreFrom` of a Dragonfly."""

_CONDITION: Final = object_of(
    {
        "type": TEXT,
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": TEXT,
        "message": TEXT,
        "lastTransitionTime": _STAMP,
    },
    "type", "status", "reason", "message", "lastTransitionTime",
)  # fmt: skip
_CONDITIONS: Final[Schema] = {
    **list_of(_CONDITION),
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
_BACKUP_STATUS: Final[dict[str, Schema]] = {
    "phase": says("Pending, Copying, Saving, Verifying, Completed or Failed.", TEXT),
    "attempt": says("The first is 1.", INTEGER),
    "startedAt": _STAMP,
    "attemptAt": _STAMP,
    "completedAt": _STAMP,
    "ferry": says("The pod that carries the data.", ANY_OBJECT),
    "source": says("The primary that was copied.", TEXT),
    "lineage": says("Of which line of writes the data are, and how far at least.", ANY_OBJECT),
    "keys": says("How many keys the snapshot holds.", _COUNT),
    "volatileKeys": says("How many of them expire by themselves.", _COUNT),
    "memoryBytes": says("How much memory the data take.", _COUNT),
    "engineVersion": says("What wrote the snapshot.", TEXT),
    "basename": says("How the files of the snapshot begin.", TEXT),
    "location": says("Where it is, for people.", TEXT),
    "place": says("Where it is.", ANY_OBJECT),
    "lastError": says("Why the last attempt failed.", TEXT),
    "conditions": _CONDITIONS,
}
_SCHEDULE_STATUS: Final[dict[str, Schema]] = {
    "lastScheduledAt": says("The last run that was made or passed over.", _STAMP),
    "nextRunAt": _STAMP,
    "lastTrouble": says("Why the last run was not made, or what was missed.", TEXT),
    "problem": says("What is wrong with the spec.", TEXT),
}


def _definition(
    kind: str, plural: str, short: str, whole: Schema, columns: list[dict[str, str]]
) -> Schema:
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [*columns, age],
                    "schema": {"openAPIV3Schema": whole},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def _column(name: str, path: str, kind: str = "string") -> dict[str, str]:
    return {"name": name, "type": kind, "jsonPath": path}


def _whole(description: str, spec: Schema, status: dict[str, Schema]) -> Schema:
    fields: dict[str, Schema] = {
        "apiVersion": TEXT,
        "kind": TEXT,
        "metadata": {"type": "object"},
        "spec": spec,
        "status": object_of(status),
    }
    return {**object_of(fields, "spec"), "description": description}


def backup_definition() -> Schema:
    """Return the definition of a backup as plain data."""
    spec = object_of({"store": _STORE, **_TEMPLATE}, "store", "to")
    columns = [
        _column("Store", ".spec.store"),
        _column("Phase", ".status.phase"),
        _column("Keys", ".status.keys", "integer"),
        _column("Completed", ".status.completedAt", "date"),
        _column("Location", ".status.location"),
    ]
    whole = _whole("One backup of a Dragonfly data store.", spec, _BACKUP_STATUS)
    return _definition(BACKUP_KIND, BACKUP_PLURAL, "dfbackup", whole, columns)


def schedule_definition() -> Schema:
    """Return the definition of a schedule as plain data."""
    retention = object_of(
        {
            "keep": says("How many good ones are kept.", INTEGER, minimum=1),
            "maxAge": says("How long: 12h, 30d, 8w.", TEXT, pattern="^[0-9]{1,6}[smhdw]$"),
        }
    )
    fields: dict[str, Schema] = {
        "store": _STORE,
        "schedule": says("When, in cron's five fields, UTC.", TEXT, minLength=1),
        "suspend": says("Pass over all runs.", FLAG),
        "startingDeadlineSeconds": says("A run that is later is missed.", INTEGER, minimum=0),
        "retention": says("Which backups are kept; all by default.", retention),
        "template": says("The rest of each backup.", object_of(_TEMPLATE, "to")),
    }
    spec = object_of(fields, "store", "schedule", "template")
    columns = [
        _column("Store", ".spec.store"),
        _column("Schedule", ".spec.schedule"),
        _column("Suspend", ".spec.suspend", "boolean"),
        _column("Last", ".status.lastScheduledAt", "date"),
        _column("Trouble", ".status.lastTrouble"),
    ]
    whole = _whole("When backups of a Dragonfly data store are made.", spec, _SCHEDULE_STATUS)
    return _definition(SCHEDULE_KIND, SCHEDULE_PLURAL, "dfschedule", whole, columns)
