"""Say what the fields of a Dragonfly resource are: their types, defaults, rules, and in words.

The first 36 fields of the spec are those of the upstream operator (v1.6.1), each as permissive as
there. `everfly` holds what is ours, so that no later field of upstream's can clash with it. A rule
refuses early what could never work; rules need Kubernetes 1.25.
"""

from typing import Final

from lightkube.models import core_v1

from everfly.operator.crd.extras import EXTRAS
from everfly.operator.crd.schema import (
    ANY_OBJECT,
    FLAG,
    INT_OR_TEXT,
    PORT,
    TEXT,
    TEXTS_BY_KEY,
    Schema,
    list_of,
    object_of,
    says,
    schema_of,
)

_INT32: Final[Schema] = {"type": "integer", "format": "int32"}
_SECRET_KEY: Final = schema_of(core_v1.SecretKeySelector)
_REFERENCE: Final = schema_of(core_v1.LocalObjectReference)
_CLAIM: Final = schema_of(core_v1.PersistentVolumeClaimSpec)
_CONTAINERS: Final = list_of(schema_of(core_v1.Container))
_METADATA: Final = object_of({"annotations": TEXTS_BY_KEY, "labels": TEXTS_BY_KEY})


_AUTHENTICATION: Final = object_of(
    {
        "passwordFromSecret": says("Key of a Secret with the password.", _SECRET_KEY),
        "clientCaCertSecret": says(
            "Key of a Secret with the authority that signs clients' certificates.", _SECRET_KEY
        ),
    }
)
_SNAPSHOT: Final = object_of(
    {
        "dir": says("Where snapshots go: a path, or `s3://BUCKET/...`.", TEXT),
        "cron": says("When to take them, in cron's five fields.", TEXT),
        "enableOnMasterOnly": says("Let the primary alone take them.", FLAG),
        "persistentVolumeClaimSpec": says("A volume for each pod.", _CLAIM),
        "existingPersistentVolumeClaimName": says("One volume that all pods share.", TEXT),
    }
)
_HAS_PLACE: Final = (
    "has(self.persistentVolumeClaimSpec) || has(self.existingPersistentVolumeClaimName)"
    " || has(self.dir)"
)
_PLACES: Final = "persistentVolumeClaimSpec, existingPersistentVolumeClaimName or dir"
_SERVICE: Final = object_of(
    {
        "type": says("Type of the Service.", TEXT),
        "name": says("Name of the Service; the resource's own by default.", TEXT),
        "nodePort": says("Port on every node, for NodePort and LoadBalancer.", PORT),
        "annotations": TEXTS_BY_KEY,
        "labels": TEXTS_BY_KEY,
    }
)
SPEC: Final[dict[str, Schema]] = {
    "replicas": says(
        "Pods, the primary among them.",
        _INT32,
        ("self >= 0", "replicas cannot be negative"),
    ),
    "image": says("Container image; the operator's default when absent.", TEXT),
    "imagePullPolicy": says("When to pull the image.", TEXT, default="Always"),
    "imagePullSecrets": says("Secrets for the registry of the image.", list_of(_REFERENCE)),
    "args": says("Flags of Dragonfly, after those of the operator.", list_of(TEXT)),
    "env": says("Variables of the container.", list_of(schema_of(core_v1.EnvVar))),
    "aclFromSecret": says("Key of a Secret with an ACL file.", _SECRET_KEY),
    "annotations": says("Deprecated: use podMetadata.", TEXTS_BY_KEY),
    "labels": says("Deprecated: use podMetadata.", TEXTS_BY_KEY),
    "podMetadata": says("Annotations and labels of pods.", _METADATA),
    "ownedObjectsMetadata": says("Annotations and labels of all other objects.", _METADATA),
    "additionalContainers": says(
        "More containers; one called `dragonfly` replaces the operator's.", _CONTAINERS
    ),
    "additionalVolumes": says("More volumes.", list_of(schema_of(core_v1.Volume))),
    "initContainers": says("Containers that run before the others.", _CONTAINERS),
    "resources": says("CPU and memory of the container.", schema_of(core_v1.ResourceRequirements)),
    "affinity": says("Where pods may run.", schema_of(core_v1.Affinity)),
    "nodeSelector": says("Labels of the nodes on which pods may run.", TEXTS_BY_KEY),
    "tolerations": says("Taints that pods tolerate.", list_of(schema_of(core_v1.Toleration))),
    "topologySpreadConstraints": says(
        "How pods are spread.", list_of(schema_of(core_v1.TopologySpreadConstraint))
    ),
    "priorityClassName": says("Priority of pods.", TEXT),
    "serviceAccountName": says("Account that pods run under.", TEXT),
    "podSecurityContext": says(
        "Replaces the operator's, which sets fsGroup 999.", schema_of(core_v1.PodSecurityContext)
    ),
    "containerSecurityContext": says(
        "Security of the container.", schema_of(core_v1.SecurityContext)
    ),
    "skipFSGroup": says("Set no fsGroup, as OpenShift needs it.", FLAG),
    "memcachedPort": says("Port for the memcached protocol; 0 is none.", _INT32),
    "authentication": says("Whom instances let in.", _AUTHENTICATION),
    "tlsSecretRef": says(
        "Secret with tls.crt and tls.key; in the namespace of the resource.",
        schema_of(core_v1.SecretReference),
    ),
    "tiering": says(
        "A disk for values that do not fit into memory.",
        object_of({"persistentVolumeClaimSpec": says("A volume for each pod.", _CLAIM)}),
    ),
    "snapshot": says(
        "Where and when data are written down.",
        _SNAPSHOT,
        (
            "!has(self.persistentVolumeClaimSpec) || !has(self.existingPersistentVolumeClaimName)",
            "persistentVolumeClaimSpec and existingPersistentVolumeClaimName exclude each other",
        ),
        ("!has(self.cron) || " + _HAS_PLACE, "cron needs " + _PLACES),
    ),
    "serviceSpec": says("How clients reach the primary.", _SERVICE),
    "enableReplicationReadinessGate": says(
        "Call a pod ready only when it replicates. Changing it restarts all pods.", FLAG
    ),
    "networkPolicyEnabled": says("Restrict who may connect.", FLAG, default=True),
    "pdb": says(
        "How many pods may be evicted at a time; one by default.",
        object_of({"minAvailable": INT_OR_TEXT, "maxUnavailable": INT_OR_TEXT}),
        (
            "!(has(self.minAvailable) && has(self.maxUnavailable))",
            "minAvailable and maxUnavailable cannot be both set",
        ),
    ),
    "customLivenessProbeConfigMap": says("ConfigMap with liveness-check.sh.", _REFERENCE),
    "customReadinessProbeConfigMap": says("ConfigMap with readiness-check.sh.", _REFERENCE),
    "customStartupProbeConfigMap": says("ConfigMap with startup-check.sh.", _REFERENCE),
    "everfly": says("What Everfly knows beyond the upstream operator.", EXTRAS),
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
    "phase": says("What the operator is doing, in one word.", TEXT),
    "isRollingUpdate": says("Pods are being replaced by newer ones.", FLAG),
    "observedGeneration": says(
        "Generation of the spec that the rest of the status is about.",
        {"type": "integer", "format": "int64"},
    ),
    "replicas": says("Pods that exist.", _INT32),
    "readyReplicas": says("Pods that serve.", _INT32),
    "updatedReplicas": says("Pods of the newest template.", _INT32),
    "primary": says("Name of the pod that clients are led to.", TEXT),
    "endpoint": says("Where clients find the endpoint.", TEXT),
    "selector": says("Finds the pods, for autoscalers.", TEXT),
    "conditions": says(
        "What holds and what does not.",
        {
            **list_of(_CONDITION),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    ),
    # What a pod is told to have grows with the operator, and is for people to read.
    "pods": says("Role and state of each pod.", list_of(ANY_OBJECT)),
    "lineage": says("Whose data the data are: history and highest offset seen.", ANY_OBJECT),
    "restore": says("With which data it began.", ANY_OBJECT),
    # Notes of the operator to the next one: their shape is its own affair.
    "record": says("What a change of primary under way needs to be finished.", ANY_OBJECT),
}
