"""Say what the fields of a Dragonfly resource are: their types, defaults, rules, and in words.

The first 36 fields of the spec are those of the upstream operator (v1.6.1), each as permissive as
there. `everfly` holds what is ours, so that no later field of upstream's can clash with it. A rule
refuses early what could never work; rules need Kubernetes 1.25.
"""

from typing import Final

from lightkube.models import core_v1, networking_v1

from everfly.operator.crd.schema import (
    ANY_OBJECT,
    FLAG,
    INT_OR_TEXT,
    INTEGER,
    PORT,
    TEXT,
    TEXTS_BY_KEY,
    Schema,
    list_of,
    object_of,
    schema_of,
)

_INT32: Final[Schema] = {"type": "integer", "format": "int32"}
_SECRET_KEY: Final = schema_of(core_v1.SecretKeySelector)
_REFERENCE: Final = schema_of(core_v1.LocalObjectReference)
_CLAIM: Final = schema_of(core_v1.PersistentVolumeClaimSpec)
_CONTAINERS: Final = list_of(schema_of(core_v1.Container))
_METADATA: Final = object_of({"annotations": TEXTS_BY_KEY, "labels": TEXTS_BY_KEY})
_PEERS: Final = list_of(schema_of(networking_v1.NetworkPolicyPeer))


def _says(description: str, schema: Schema, *rules: tuple[str, str], **more: object) -> Schema:
    """Return a schema with a description, CEL rules with their messages, and other keywords."""
    said: Schema = {**schema, "description": description, **more}
    if rules:
        said["x-kubernetes-validations"] = [
            {"rule": rule, "message": message} for rule, message in rules
        ]
    return said


_AUTHENTICATION: Final = object_of(
    {
        "passwordFromSecret": _says("Key of a Secret with the password.", _SECRET_KEY),
        "clientCaCertSecret": _says(
            "Key of a Secret with the authority that signs clients' certificates.", _SECRET_KEY
        ),
    }
)
_SNAPSHOT: Final = object_of(
    {
        "dir": _says("Where snapshots go: a path, or `s3://BUCKET/...`.", TEXT),
        "cron": _says("When to take them, in cron's five fields.", TEXT),
        "enableOnMasterOnly": _says("Let the primary alone take them.", FLAG),
        "persistentVolumeClaimSpec": _says("A volume for each pod.", _CLAIM),
        "existingPersistentVolumeClaimName": _says("One volume that all pods share.", TEXT),
    }
)
_HAS_PLACE: Final = (
    "has(self.persistentVolumeClaimSpec) || has(self.existingPersistentVolumeClaimName)"
    " || has(self.dir)"
)
_PLACES: Final = "persistentVolumeClaimSpec, existingPersistentVolumeClaimName or dir"
_SERVICE: Final = object_of(
    {
        "type": _says("Type of the Service.", TEXT),
        "name": _says("Name of the Service; the resource's own by default.", TEXT),
        "nodePort": _says("Port on every node, for NodePort and LoadBalancer.", PORT),
        "annotations": TEXTS_BY_KEY,
        "labels": TEXTS_BY_KEY,
    }
)
_EXTRAS: Final = object_of(
    {
        "replicaService": _says("Add a Service `NAME-ro` that leads to replicas.", FLAG),
        "preferredZones": _says("Zones in which the primary had best be, in order.", list_of(TEXT)),
        "terminationGracePeriodSeconds": _says(
            "How long a pod may take to end. Changing it restarts all pods.", INTEGER, minimum=0
        ),
        "networkPolicy": _says(
            "Who may connect, when networkPolicyEnabled is true.",
            object_of(
                {
                    "clientsFrom": _says(
                        "Peers that may reach the data ports, instead of the whole namespace. "
                        "An empty list lets nobody in.",
                        _PEERS,
                    ),
                    "metricsFrom": _says("Peers that may also reach the admin port.", _PEERS),
                }
            ),
        ),
    }
)

SPEC: Final[dict[str, Schema]] = {
    "replicas": _says(
        "Pods, the primary among them.",
        _INT32,
        ("self >= 0", "replicas cannot be negative"),
    ),
    "image": _says("Container image; the operator's default when absent.", TEXT),
    "imagePullPolicy": _says("When to pull the image.", TEXT, default="Always"),
    "imagePullSecrets": _says("Secrets for the registry of the image.", list_of(_REFERENCE)),
    "args": _says("Flags of Dragonfly, after those of the operator.", list_of(TEXT)),
    "env": _says("Variables of the container.", list_of(schema_of(core_v1.EnvVar))),
    "aclFromSecret": _says("Key of a Secret with an ACL file.", _SECRET_KEY),
    "annotations": _says("Deprecated: use podMetadata.", TEXTS_BY_KEY),
    "labels": _says("Deprecated: use podMetadata.", TEXTS_BY_KEY),
    "podMetadata": _says("Annotations and labels of pods.", _METADATA),
    "ownedObjectsMetadata": _says("Annotations and labels of all other objects.", _METADATA),
    "additionalContainers": _says(
        "More containers; one called `dragonfly` replaces the operator's.", _CONTAINERS
    ),
    "additionalVolumes": _says("More volumes.", list_of(schema_of(core_v1.Volume))),
    "initContainers": _says("Containers that run before the others.", _CONTAINERS),
    "resources": _says("CPU and memory of the container.", schema_of(core_v1.ResourceRequirements)),
    "affinity": _says("Where pods may run.", schema_of(core_v1.Affinity)),
    "nodeSelector": _says("Labels of the nodes on which pods may run.", TEXTS_BY_KEY),
    "tolerations": _says("Taints that pods tolerate.", list_of(schema_of(core_v1.Toleration))),
    "topologySpreadConstraints": _says(
        "How pods are spread.", list_of(schema_of(core_v1.TopologySpreadConstraint))
    ),
    "priorityClassName": _says("Priority of pods.", TEXT),
    "serviceAccountName": _says("Account that pods run under.", TEXT),
    "podSecurityContext": _says(
        "Replaces the operator's, which sets fsGroup 999.", schema_of(core_v1.PodSecurityContext)
    ),
    "containerSecurityContext": _says(
        "Security of the container.", schema_of(core_v1.SecurityContext)
    ),
    "skipFSGroup": _says("Set no fsGroup, as OpenShift needs it.", FLAG),
    "memcachedPort": _says("Port for the memcached protocol; 0 is none.", _INT32),
    "authentication": _says("Whom instances let in.", _AUTHENTICATION),
    "tlsSecretRef": _says(
        "Secret with tls.crt and tls.key; in the namespace of the resource.",
        schema_of(core_v1.SecretReference),
    ),
    "tiering": _says(
        "A disk for values that do not fit into memory.",
        object_of({"persistentVolumeClaimSpec": _says("A volume for each pod.", _CLAIM)}),
    ),
    "snapshot": _says(
        "Where and when data are written down.",
        _SNAPSHOT,
        (
            "!has(self.persistentVolumeClaimSpec) || !has(self.existingPersistentVolumeClaimName)",
            "persistentVolumeClaimSpec and existingPersistentVolumeClaimName exclude each other",
        ),
        ("!has(self.cron) || " + _HAS_PLACE, "cron needs " + _PLACES),
    ),
    "serviceSpec": _says("How clients reach the primary.", _SERVICE),
    "enableReplicationReadinessGate": _says(
        "Call a pod ready only when it replicates. Changing it restarts all pods.", FLAG
    ),
    "networkPolicyEnabled": _says("Restrict who may connect.", FLAG, default=True),
    "pdb": _says(
        "How many pods may be evicted at a time; one by default.",
        object_of({"minAvailable": INT_OR_TEXT, "maxUnavailable": INT_OR_TEXT}),
        (
            "!(has(self.minAvailable) && has(self.maxUnavailable))",
            "minAvailable and maxUnavailable cannot be both set",
        ),
    ),
    "customLivenessProbeConfigMap": _says("ConfigMap with liveness-check.sh.", _REFERENCE),
    "customReadinessProbeConfigMap": _says("ConfigMap with readiness-check.sh.", _REFERENCE),
    "customStartupProbeConfigMap": _says("ConfigMap with startup-check.sh.", _REFERENCE),
    "everfly": _says("What Everfly knows beyond the upstream operator.", _EXTRAS),
}

_CONDITION: Final = object_of(
    {
        "type": TEXT,
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": TEXT,
        "message": TEXT,
        "observedGeneration": {"type": "integer", "format": "int64"},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    },
    "type", "status", "reason", "message", "lastTransitionTime",
)  # fmt: skip

STATUS: Final[dict[str, Schema]] = {
    "phase": _says("What the operator is doing, in one word.", TEXT),
    "isRollingUpdate": _says("Pods are being replaced by newer ones.", FLAG),
    "observedGeneration": _says(
        "Generation of the spec that the rest of the status is about.",
        {"type": "integer", "format": "int64"},
    ),
    "replicas": _says("Pods that exist.", _INT32),
    "readyReplicas": _says("Pods that serve.", _INT32),
    "updatedReplicas": _says("Pods of the newest template.", _INT32),
    "primary": _says("Name of the pod that clients are led to.", TEXT),
    "selector": _says("Finds the pods, for autoscalers.", TEXT),
    "conditions": _says(
        "What holds and what does not.",
        {
            **list_of(_CONDITION),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    ),
    # What a pod is told to have grows with the operator, and is for people to read.
    "pods": _says("Role and state of each pod.", list_of(ANY_OBJECT)),
    "lineage": _says("Whose data the data are: history and highest offset seen.", ANY_OBJECT),
    # Notes of the operator to the next one: their shape is its own affair.
    "record": _says("What a change of primary under way needs to be finished.", ANY_OBJECT),
}
