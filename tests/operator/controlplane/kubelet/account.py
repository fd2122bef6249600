"""Let a pod be the service account that it names, as admission and kubelet do elsewhere.

Its containers find the API server in their environment, and a token, the API server's certificate
and the name of their namespace in files. Pods that name no account get nothing.
"""

from typing import Final

from .fields import Json
from .network import GATEWAY

FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME: Final = "everfly-service-account"
API_PORT: Final = 6443
ROOT_CERTIFICATE: Final = "kube-root-ca.crt"
"""The configMap of every namespace with the certificate, made by the controllers."""
ENVIRONMENT: Final = {
    "KUBERNETES_SERVICE_HOST": GATEWAY,
    "KUBERNETES_SERVICE_PORT": str(API_PORT),
}


def with_account(pod: Json) -> Json:
    """Return the pod with the volume and the mounts of its account, when it names one."""
    spec = pod["spec"]
    if not spec.get("serviceAccountName") or spec.get("automountServiceAccountToken") is False:
        return pod
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": ROOT_CERTIFICATE}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    volume = {"name": VOLUME, "projected": {"sources": sources}}
    mount = {"name": VOLUME, "mountPath": FOLDER}
    changed = {
        kind: [
            {**each, "volumeMounts": [*each.get("volumeMounts", []), mount]}
            for each in spec.get(kind, [])
        ]
        for kind in ("initContainers", "containers")
    }
    return {
        **pod,
        "spec": {**spec, **changed, "volumes": [*spec.get("volumes", []), volume]},
    }
