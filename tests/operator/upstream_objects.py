"""What the upstream operator (v1.6.1) leaves on an API server for two resources, written from its
source and not from ours: with the zero values that Go writes, and its field manager.

Source: internal/resources/resources.go and internal/controller/dragonfly_instance.go.
"""

from typing import Any, Final

FIELD_MANAGER: Final = "manager"
"""The name of its program."""
IMAGE: Final = "docker.dragonflydb.io/dragonflydb/dragonfly:v1.39.0"
SIMPLE: Final[dict[str, Any]] = {"replicas": 3, "args": ["--maxmemory=256mb"]}
RICH: Final[dict[str, Any]] = {
    "replicas": 2,
    "image": IMAGE,
    "args": ["--maxmemory=256mb"],
    "env": [{"name": "TZ", "value": "UTC"}],
    "annotations": {"old": "annotation"},
    "podMetadata": {"labels": {"team": "shop"}},
    "ownedObjectsMetadata": {"labels": {"team": "shop"}, "annotations": {"team": "shop"}},
    "aclFromSecret": {"name": "acl", "key": "file"},
    "authentication": {
        "passwordFromSecret": {"name": "password", "key": "password"},
        "clientCaCertSecret": {"name": "ca", "key": "ca"},
    },
    "tlsSecretRef": {"name": "tls"},
    "memcachedPort": 11211,
    "tiering": {},
    "snapshot": {
        "cron": "*/5 * * * *",
        "persistentVolumeClaimSpec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    },
    "additionalContainers": [{"name": "side", "image": "busybox:1"}],
    "additionalVolumes": [{"name": "scratch", "emptyDir": {}}],
    "containerSecurityContext": {},
    "tolerations": [{"key": "data", "operator": "Exists"}],
    "nodeSelector": {"disk": "fast"},
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "",
    "customReadinessProbeConfigMap": {"name": "mine"},
    "enableReplicationReadinessGate": True,
}
_ARGS: Final = [
    "--alsologtostderr",
    "--break_replication_on_master_restart=true",
    "--primary_port_http_enabled=false",
    "--admin_port=9999",
    "--admin_nopass",
    "--maxmemory=256mb",
]


def _labels(name: str) -> dict[str, str]:
    return {
        "app": name,
        "app.kubernetes.io/part-of": "dragonfly",
        "app.kubernetes.io/name": "dragonfly",
    }


def _metadata(name: str, uid: str, more: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "creationTimestamp": None,
        "labels": {
            **_labels(name),
            "app.kubernetes.io/component": "dragonfly",
            "app.kubernetes.io/instance": name,
            "app.kubernetes.io/version": "v1.39.0",
            "app.kubernetes.io/managed-by": "dragonfly-operator",
            **more,
        },
        "annotations": more,
        "ownerReferences": [
            {
                "apiVersion": "dragonflydb.io/v1alpha1",
                "kind": "Dragonfly",
                "name": name,
                "uid": uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _probe(script: str) -> dict[str, Any]:
    return {
        "exec": {"command": ["/bin/sh", script]},
        "initialDelaySeconds": 10,
        "timeoutSeconds": 5,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def simple_stateful_set(name: str, uid: str) -> dict[str, Any]:
    """Return the StatefulSet of `SIMPLE`."""
    check = _probe("/usr/local/bin/healthcheck.sh")
    container = {
        "name": "dragonfly",
        "image": IMAGE,
        "args": _ARGS,
        "ports": [
            {"name": "redis", "containerPort": 6379},
            {"name": "admin", "containerPort": 9999},
        ],
        "env": [{"name": "HEALTHCHECK_PORT", "value": "9999"}],
        "resources": {},
        "livenessProbe": check,
        "readinessProbe": check,
        "imagePullPolicy": "Always",
    }
    pod = {"containers": [container], "securityContext": {"fsGroup": 999}}
    return _stateful_set(name, _metadata(name, uid, {}), 3, _template(name, pod), [])


def _template(name: str, pod: dict[str, Any], **more: Any) -> dict[str, Any]:
    labels = {**_labels(name), **more.pop("labels", {})}
    return {"metadata": {"creationTimestamp": None, "labels": labels, **more}, "spec": pod}


def _stateful_set(
    name: str, metadata: dict[str, Any], replicas: int, template: dict[str, Any], claims: list[Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": _labels(name)},
            "template": template,
            "volumeClaimTemplates": claims,
            "serviceName": name,
            "updateStrategy": {"type": "OnDelete"},
        },
        "status": {"replicas": 0},
    }


def rich_stateful_set(name: str, uid: str) -> dict[str, Any]:
    """Return the StatefulSet of `RICH`."""
    folder = "/etc/dragonfly/probes"
    scripts = ("liveness", "readiness", "startup")
    mounts = [
        {"name": "dragonfly-acl", "mountPath": "/var/lib/dragonfly"},
        {"name": "df", "mountPath": "/dragonfly/snapshots"},
        {"name": "dragonfly-tls", "readOnly": True, "mountPath": "/etc/dragonfly-tls"},
        {"name": "client-ca-cert", "mountPath": "/etc/dragonfly/tls"},
        *(
            {
                "name": f"{script}-probe",
                "mountPath": f"{folder}/{script}-check.sh",
                "subPath": f"{script}-check.sh",
            }
            for script in scripts
        ),
    ]
    password = {"secretKeyRef": {"name": "password", "key": "password"}}
    startup = {
        **_probe(f"{folder}/startup-check.sh"),
        "periodSeconds": 5,
        "failureThreshold": 60,
    }
    del startup["initialDelaySeconds"]  # Go leaves out a zero
    container = {
        "name": "dragonfly",
        "image": IMAGE,
        "args": [
            *_ARGS,
            "--memcached_port=11211",
            "--aclfile=/var/lib/dragonfly/dragonfly.acl",
            "--tiered_prefix=/dragonfly/tiering/vol",
            "--dir=/dragonfly/snapshots",
            "--snapshot_cron=*/5 * * * *",
            "--no_tls_on_admin_port",
            "--tls",
            "--tls_cert_file=/etc/dragonfly-tls/tls.crt",
            "--tls_key_file=/etc/dragonfly-tls/tls.key",
            "--tls_ca_cert_file=/etc/dragonfly/tls/ca.crt",
        ],
        "ports": [
            {"name": "redis", "containerPort": 6379},
            {"name": "admin", "containerPort": 9999},
            {"name": "memcached", "containerPort": 11211},
        ],
        "env": [
            {"name": "TZ", "value": "UTC"},
            {"name": "HEALTHCHECK_PORT", "value": "9999"},
            {"name": "DFLY_requirepass", "valueFrom": password},
        ],
        "resources": {},
        "volumeMounts": mounts,
        "livenessProbe": _probe(f"{folder}/liveness-check.sh"),
        "readinessProbe": _probe(f"{folder}/readiness-check.sh"),
        "startupProbe": startup,
        "imagePullPolicy": "Always",
        "securityContext": {},
    }
    maps = {"liveness": f"{name}-liveness-probe", "readiness": "mine",
            "startup": f"{name}-startup-probe"}  # fmt: skip
    pod = {
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            _secret("dragonfly-acl", "acl", "file", "dragonfly.acl"),
            {"name": "dragonfly-tls", "secret": {"secretName": "tls"}},
            _secret("client-ca-cert", "ca", "ca", "ca.crt"),
            *(
                {"name": f"{script}-probe", "configMap": {"name": maps[script]}}
                for script in scripts
            ),
        ],
        "containers": [{"name": "side", "image": "busybox:1", "resources": {}}, container],
        "nodeSelector": {"disk": "fast"},
        "securityContext": {"fsGroup": 999},
        "affinity": {"nodeAffinity": {}},
        "tolerations": [{"key": "data", "operator": "Exists"}],
        "readinessGates": [{"conditionType": "dragonflydb.io/replication-ready"}],
    }
    template = _template(name, pod, labels={"team": "shop"}, annotations={"old": "annotation"})
    claim = {
        "metadata": {"name": "df", "creationTimestamp": None, "labels": _labels(name)},
        "spec": RICH["snapshot"]["persistentVolumeClaimSpec"],
        "status": {},
    }
    return _stateful_set(name, _metadata(name, uid, {"team": "shop"}), 2, template, [claim])


def _secret(volume: str, secret: str, key: str, path: str) -> dict[str, Any]:
    items = [{"key": key, "path": path}]
    return {"name": volume, "secret": {"secretName": secret, "items": items}}


def simple_service(name: str, uid: str) -> dict[str, Any]:
    """Return the Service of `SIMPLE`."""
    selector = {"app": name, "app.kubernetes.io/name": "dragonfly", "role": "master"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name, uid, {}),
        "spec": {"ports": [{"name": "redis", "port": 6379, "targetPort": 0}], "selector": selector},
        "status": {"loadBalancer": {}},
    }
