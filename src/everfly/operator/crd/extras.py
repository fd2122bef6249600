"""Say what the fields below `spec.everfly` are: types, defaults, rules, and in words."""

from typing import Final

from lightkube.models import networking_v1

from everfly.operator.crd.backups import RESTORE
from everfly.operator.crd.endpoint import ENDPOINT
from everfly.operator.crd.schema import (
    FLAG,
    INTEGER,
    TEXT,
    Schema,
    list_of,
    object_of,
    says,
    schema_of,
)

_PEERS: Final = list_of(schema_of(networking_v1.NetworkPolicyPeer))


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


_ANYTHING: Final[Schema] = {"x-kubernetes-preserve-unknown-fields": True}
"""A truth or an object: a schema can say one of them alone. We refuse anything else."""
_RETENTION: Final = _one_of("Retain", "Delete")
EXTRAS: Final = object_of(
    {
        "replicaService": says("Add a Service `NAME-ro` that leads to replicas.", FLAG),
        "preferredZones": says("Zones in which the primary had best be, in order.", list_of(TEXT)),
        "terminationGracePeriodSeconds": says(
            "How long a pod may take to end. Changing it restarts all pods.", INTEGER, minimum=0
        ),
        "restoreFrom": RESTORE,
        "podManagement": says(
            "Start pods one after the other, or all at once.",
            _one_of("OrderedReady", "Parallel"),
        ),
        "handOverOnStop": says(
            "Let a primary that is told to stop wait until it has handed over. "
            "Changing it restarts all pods.",
            FLAG,
        ),
        "liveSettings": says(
            "Change what instances can change while they run in place of restarting them.", FLAG
        ),
        "volumeRetention": says(
            "What becomes of volumes that no pod uses any more.",
            object_of(
                {
                    "whenDeleted": says("When the resource is deleted.", _RETENTION),
                    "whenScaled": says("When the group became smaller.", _RETENTION),
                }
            ),
        ),
        "maintenanceWindow": says(
            "When the primary may move for mere order's sake; at any time by default.",
            object_of(
                {
                    "schedule": says("When it opens, in cron's five fields.", TEXT),
                    "timezone": says("Of the schedule: Europe/Paris, ...; default UTC.", TEXT),
                    "duration": says("How long it is open: 2h, 1h30m, up to 7d.", TEXT),
                    "appliesTo": says(
                        "Primary: its moves wait. All: restarts of replicas wait too.",
                        _one_of("Primary", "All"),
                    ),
                },
                "schedule",
                "duration",
            ),
        ),
        "endpoint": says(
            "A stable address in front of the data store, which follows the primary.", ENDPOINT
        ),
        "services": says(
            "Services beside the one that leads to the primary.",
            object_of(
                {
                    "replicas": says("`NAME-ro` leads to replicas.", FLAG),
                    "all": says("`NAME-r` leads to every instance that serves.", FLAG),
                    "headless": says("`NAME-pods` names each pod.", FLAG),
                }
            ),
        ),
        "monitoring": says(
            "What the Prometheus operator is told.",
            object_of(
                {
                    "podMonitor": says(
                        "Scrape all instances: true, or how (interval, scrapeTimeout, labels, "
                        "relabelings, metricRelabelings).",
                        _ANYTHING,
                    ),
                    "prometheusRule": says(
                        "Alerts: true, or which (labels, without, memoryPercent, lagRecords, "
                        "backupHours).",
                        _ANYTHING,
                    ),
                }
            ),
        ),
        "answerProbes": says(
            "Let the platform ask instances for an answer every two seconds (HTTP /healthz at the "
            "admin port) instead of whether their port is open. Changing it restarts all pods.",
            FLAG,
        ),
        "defaultSpread": says(
            "Prefer different machines and zones where nothing else is said: true restarts pods "
            "that run without, false never does it. By default where a data store is made anew.",
            FLAG,
        ),
        "networkPolicy": says(
            "Who may connect, when networkPolicyEnabled is true.",
            object_of(
                {
                    "clientsFrom": says(
                        "Peers that may reach the data ports, instead of the whole namespace. "
                        "An empty list lets nobody in.",
                        _PEERS,
                    ),
                    "metricsFrom": says("Peers that may also reach the admin port.", _PEERS),
                }
            ),
        ),
    }
)
