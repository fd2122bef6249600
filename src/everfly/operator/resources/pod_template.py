"""Turn a spec into the template of its pods, in the upstream operator's order of every list."""

from collections.abc import Sequence
from typing import Final

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.names import ADMIN_PORT, CONTAINER, DATA_PORT, GATE
from everfly.operator.resources.hand_over import hand_over_hook
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.resources.ports import ADMIN_PORT_NAME, DATA_PORT_NAME, MEMCACHED_PORT_NAME
from everfly.operator.resources.probes import probes
from everfly.operator.resources.storage import Storage
from everfly.operator.wishes.spec import SecretKey, Spec

FS_GROUP: Final = 999
"""The group of the image's user, so that it can write to volumes."""
_DEFAULT_ARGS: Final = (
    "--alsologtostderr",
    "--break_replication_on_master_restart=true",
    "--primary_port_http_enabled=false",
    f"--admin_port={ADMIN_PORT}",
    "--admin_nopass",
)


def pod_template(spec: Spec, owner: Owner, image: str, added: Storage) -> JsonObject:
    """Return the template; `added` is what storage and secrets bring."""
    return {
        "metadata": without_empty(
            {
                "labels": {**spec.pod_metadata.labels, **selector_labels(owner)},
                "annotations": spec.pod_metadata.annotations,
            }
        ),
        "spec": _pod_spec(spec, _container(spec, image, added), added),
    }


def _pod_spec(spec: Spec, container: JsonObject, added: Storage) -> JsonObject:
    return without_empty(
        {
            "imagePullSecrets": spec.image_pull_secrets,
            "initContainers": spec.init_containers,
            "containers": _merged(spec.additional_containers, [container]),
            "volumes": _merged(spec.additional_volumes, added.volumes),
            "readinessGates": ([{"conditionType": GATE}] if spec.has_readiness_gate else None),
            "nodeSelector": spec.node_selector,
            "tolerations": spec.tolerations,
            "topologySpreadConstraints": spec.topology_spread,
            "serviceAccountName": spec.service_account,
            "priorityClassName": spec.priority_class,
            "terminationGracePeriodSeconds": spec.extras.termination_grace_s or None,
        }
    ) | _as_given(affinity=spec.affinity, securityContext=_pod_security(spec))


def _as_given(**wishes: JsonObject | None) -> dict[str, Json]:
    """Return what is wished, also where it is empty: the API server keeps an empty object."""
    return {name: wish for name, wish in wishes.items() if wish is not None}


def _pod_security(spec: Spec) -> JsonObject | None:
    if spec.pod_security is not None:
        return spec.pod_security
    return None if spec.skips_fs_group else {"fsGroup": FS_GROUP}


def _container(spec: Spec, image: str, added: Storage) -> JsonObject:
    ports: list[Json] = [
        {"name": DATA_PORT_NAME, "containerPort": DATA_PORT},
        {"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT},
    ]
    args: list[Json] = [*_DEFAULT_ARGS, *spec.args]
    if spec.memcached_port:
        args.append(f"--memcached_port={spec.memcached_port}")
        ports.append({"name": MEMCACHED_PORT_NAME, "containerPort": spec.memcached_port})
    environment: list[Json] = [
        *spec.env,
        # Of two variables of one name the later one counts: the checks need this one.
        {"name": "HEALTHCHECK_PORT", "value": str(ADMIN_PORT)},
    ]
    if password := spec.authentication.password:
        reference = {"secretKeyRef": _secret_key(password)}
        environment.append({"name": "DFLY_requirepass", "valueFrom": reference})
    return without_empty(
        {
            "name": CONTAINER,
            "image": image,
            "imagePullPolicy": spec.image_pull_policy,
            "args": [*args, *added.args],
            "env": environment,
            "ports": ports,
            "resources": spec.resources,
            "volumeMounts": added.mounts,
            "lifecycle": hand_over_hook(spec),
            **probes(spec),
        }
    ) | _as_given(securityContext=spec.container_security)


def _secret_key(secret: SecretKey) -> JsonObject:
    reference: dict[str, Json] = {"name": secret.name, "key": secret.key}
    if secret.is_optional is not None:
        reference["optional"] = secret.is_optional
    return reference


def _merged(users: Sequence[JsonObject], ours: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the user's first, then ours that the user did not replace by name."""
    names = {each["name"] for each in users}
    return [*users, *(each for each in ours if each["name"] not in names)]
