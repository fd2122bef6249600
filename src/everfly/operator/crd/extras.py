"""Say what the fields below `spec.everfly` are: types, defaults, rules, and in words."""

from typing import Final

from lightkube.models import networking_v1

from everfly.operator.crd.schema import FLAG, INTEGER, TEXT, list_of, object_of, says, schema_of

_PEERS: Final = list_of(schema_of(networking_v1.NetworkPolicyPeer))

EXTRAS: Final = object_of(
    {
        "replicaService": says("Add a Service `NAME-ro` that leads to replicas.", FLAG),
        "preferredZones": says("Zones in which the primary had best be, in order.", list_of(TEXT)),
        "terminationGracePeriodSeconds": says(
            "How long a pod may take to end. Changing it restarts all pods.", INTEGER, minimum=0
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
