"""Turn a data store's spec and a place into the manifest of a ferry, and what lets it be reached.

Rules: the engine, its flags, resources and identity are those of the data store, so that whatever
fits into an instance fits into a ferry; nobody but the operator and the group can reach it, and its
data port listens on its own loopback alone; it never starts anew, writes nothing by itself and
loads nothing by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from everfly.operator.backups.names import APP_NAME, LABEL_FERRY, LABEL_STORE
from everfly.operator.backups.place import MOUNT, Bucket, Place, Volume, folder_of
from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.names import ADMIN_PORT, CONTAINER, LABEL_NAME
from everfly.operator.resources.operator_peer import peer_of_operator
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.resources.pod_template import FS_GROUP
from everfly.operator.resources.ports import ADMIN_PORT_NAME
from everfly.operator.wishes.spec import Spec

END_S: Final = 5
"""For a ferry to end: it has nothing to save."""
_VOLUME: Final = "backup"
_PLAIN: Final = "http://"


@dataclass(frozen=True)
class Ferry:
    """A ferry that is wanted."""

    name: str
    owner: JsonObject
    """The reference to whoever it goes with."""
    store: Owner
    spec: Spec
    """Of the data store."""
    image: str
    place: Place
    resources: JsonObject | None = None
    """None: those of the data store."""


def ferry_labels(name: str, store: str) -> dict[str, Json]:
    """Return the labels of a ferry. None of them is one that a data store selects by."""
    return {LABEL_NAME: APP_NAME, LABEL_STORE: store, LABEL_FERRY: name}


def ferry_pod(ferry: Ferry) -> JsonObject:
    """Return the manifest of the pod."""
    spec, place = ferry.spec, ferry.place
    arguments: list[Json] = [
        "--alsologtostderr",
        "--break_replication_on_master_restart=true",
        "--primary_port_http_enabled=false",
        f"--admin_port={ADMIN_PORT}",
        "--admin_nopass",
        *spec.args,
        # Of two flags of one name the later one counts. A cache would drop keys of the copy.
        "--cache_mode=false",
        "--bind=127.0.0.1",
        "--dbfilename=",
        "--snapshot_cron=",
        f"--dir={folder_of(place)}",
    ]
    arguments += _endpoint_flags(place)
    container = without_empty(
        {
            "name": CONTAINER,
            "image": ferry.image,
            "imagePullPolicy": spec.image_pull_policy,
            "args": arguments,
            "env": spec.env,
            "envFrom": _secret_of(place),
            "ports": [{"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT}],
            "resources": ferry.resources if ferry.resources is not None else spec.resources,
            "securityContext": spec.container_security,
            "volumeMounts": _mounts(place),
        }
    )
    return _pod(ferry, container)


def sweeper_pod(ferry: Ferry, prefix: str) -> JsonObject:
    """Return the manifest of a pod that removes all files of a backup from its volume, and ends."""
    container = without_empty(
        {
            "name": CONTAINER,
            "image": ferry.image,
            "imagePullPolicy": ferry.spec.image_pull_policy,
            "command": [
                "/bin/sh",
                "-ec",
                'rm -f -- "$FOLDER/$PREFIX"-*.dfs "$FOLDER/$PREFIX"-*.tmp',
            ],
            "env": [
                {"name": "FOLDER", "value": folder_of(ferry.place)},
                {"name": "PREFIX", "value": prefix},
            ],
            "securityContext": ferry.spec.container_security,
            "volumeMounts": _mounts(ferry.place),
        }
    )
    return _pod(ferry, container)


def _pod(ferry: Ferry, container: JsonObject) -> JsonObject:
    spec, place = ferry.spec, ferry.place
    body = without_empty(
        {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": _volumes(place),
            "imagePullSecrets": spec.image_pull_secrets,
            "nodeSelector": spec.node_selector,
            "tolerations": spec.tolerations,
            "serviceAccountName": spec.service_account,
            "priorityClassName": spec.priority_class,
            "terminationGracePeriodSeconds": END_S,
            "securityContext": _security(spec),
        }
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": ferry.name,
            "namespace": ferry.store.namespace,
            "labels": ferry_labels(ferry.name, ferry.store.name),
            "ownerReferences": [ferry.owner],
        },
        "spec": body,
    }


def _security(spec: Spec) -> JsonObject | None:
    if spec.pod_security is not None:
        return spec.pod_security
    return None if spec.skips_fs_group else {"fsGroup": FS_GROUP}


def _endpoint_flags(place: Place) -> list[Json]:
    if not isinstance(place, Bucket) or not place.endpoint:
        return []
    flags: list[Json] = [f"--s3_endpoint={place.endpoint.removeprefix(_PLAIN)}"]
    return [*flags, "--s3_use_https=false"] if place.endpoint.startswith(_PLAIN) else flags


def _secret_of(place: Place) -> Sequence[JsonObject]:
    if isinstance(place, Bucket) and place.secret:
        return [{"secretRef": {"name": place.secret}}]
    return []


def _volumes(place: Place) -> Sequence[JsonObject]:
    if isinstance(place, Volume):
        return [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": place.claim}}]
    return []


def _mounts(place: Place) -> Sequence[JsonObject]:
    return [{"name": _VOLUME, "mountPath": MOUNT}] if isinstance(place, Volume) else []


def ferry_policies(ferry: Ferry, pod_uid: str, operator_namespace: str) -> list[JsonObject]:
    """Return the policies that let a ferry be reached, and let it reach the group.

    Policies add up, so the data store's own is left as it is; where it has none, there are none.
    They go with the pod.
    """
    if not ferry.spec.has_network_policy:
        return []
    labels = ferry_labels(ferry.name, ferry.store.name)
    group: JsonObject = {"podSelector": {"matchLabels": selector_labels(ferry.store)}}
    me: JsonObject = {"podSelector": {"matchLabels": labels}}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": ferry.name, "uid": pod_uid}

    def policy(name: str, selector: Json, peers: list[JsonObject]) -> JsonObject:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": name,
                "namespace": ferry.store.namespace,
                "labels": labels,
                "ownerReferences": [owner],
            },
            "spec": {
                "podSelector": selector,
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": ADMIN_PORT}], "from": peers}],
            },
        }

    return [
        policy(ferry.name, me["podSelector"], [peer_of_operator(operator_namespace), group]),
        policy(f"{ferry.name}-in", group["podSelector"], [me]),
    ]
