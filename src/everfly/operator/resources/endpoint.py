"""Turn a spec into the endpoint in front of its data store: pods that follow the primary.

Rules: clients see what they would see at the primary (its port, TLS, its passwords); secrets are
files of the pods, which the operator does not read; two pods at least stay while one is renewed; a
pod counts only when it has found the primary once, so that a wrong setting stops a rollout, and a
failover takes no pod out of service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.names import DATA_PORT
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.operator_peer import peer_of_operator
from everfly.operator.resources.owner import Owner
from everfly.operator.resources.ports import DATA_PORT_NAME
from everfly.operator.wishes.endpoint import EndpointWish, KeyOfSecret
from everfly.operator.wishes.spec import Metadata, Spec

PROBES_PORT: Final = 9131
_PROBES_PORT_NAME: Final = "probes"
_FOLDER: Final = "/etc/everfly"
_SECRET_MODE: Final = 0o440
_USER: Final = 10001
"""Of the image; its group may read the files of secrets."""
_STARTUP_S: Final = 600
"""For a primary to be found: a data store that is made anew needs its time."""
_LEAVE_S: Final = 3
"""Until nobody is led to a pod any more that is about to end."""
_GRACE_S: Final = 10
"""Default of `grace_ms` of the endpoint."""


@dataclass
class _Parts:
    """What secrets add to the pod."""

    args: list[Json] = field(default_factory=list)
    mounts: list[JsonObject] = field(default_factory=list)
    volumes: list[JsonObject] = field(default_factory=list)

    def add(self, volume: str, secret: str, keys: Mapping[str, str]) -> None:
        """Mount keys of a Secret as files; `keys`: a flag that names a file -> the key in it."""
        folder = f"{_FOLDER}/{volume}"
        items: list[Json] = [{"key": key, "path": flag} for flag, key in keys.items()]
        source: dict[str, Json] = {"secretName": secret, "defaultMode": _SECRET_MODE}
        self.volumes.append({"name": volume, "secret": source | {"items": items}})
        self.mounts.append({"name": volume, "mountPath": folder, "readOnly": True})
        self.args += [f"--{flag}={folder}/{flag}" for flag in keys]


def endpoint_name(owner: Owner) -> str:
    """Return the name of all objects of the endpoint."""
    return f"{owner.name}-endpoint"


def endpoint_address(owner: Owner) -> str:
    """Return where clients connect, from inside the cluster."""
    return f"{endpoint_name(owner)}.{owner.namespace}.svc:{DATA_PORT}"


def endpoint_labels(owner: Owner) -> dict[str, Json]:
    """Return the labels of the pods. They are no instances, and must not look like some."""
    return {
        "app.kubernetes.io/name": "everfly-endpoint",
        "app.kubernetes.io/instance": owner.name,
        "app.kubernetes.io/part-of": "dragonfly",
    }


def endpoint(
    spec: Spec, owner: Owner, image: str, sentinels: str, operator_namespace: str
) -> list[JsonObject]:
    """Return Deployment, Service, budget and policy, or nothing where no endpoint is wanted.

    Without an image or Sentinels the Deployment names no image, which the API server refuses: what
    runs stays as it is.
    """
    wish = spec.extras.endpoint
    if wish is None:
        return []
    image = wish.image or image
    sentinels = ",".join(wish.sentinels) or sentinels
    made = [
        _deployment(spec, owner, wish, image if sentinels else "", sentinels),
        _service(spec, owner, wish),
    ]
    if wish.replicas > 1:
        made.append(_budget(spec, owner))
    if spec.has_network_policy:
        made.append(_policy(spec, owner, operator_namespace))
    return made


def endpoint_problems(spec: Spec, image: str, sentinels: str) -> tuple[str, ...]:
    """Return what is missing to an endpoint that is wanted, and who can give it."""
    wish = spec.extras.endpoint
    if wish is None:
        return ()
    where = "spec.everfly.endpoint"
    problems = []
    if not (wish.image or image):
        problems.append(
            f"{where}.image: is needed, for the operator was given none (ENDPOINT_IMAGE)"
        )
    if not (wish.sentinels or sentinels):
        problems.append(
            f"{where}.sentinels: are needed, for the operator knows no front (SENTINEL_FRONT; the "
            "chart sets it with sentinelFront.enabled)"
        )
    return tuple(problems)


def endpoint_peer(owner: Owner) -> JsonObject:
    """Return the pods of the endpoint as a NetworkPolicy names them."""
    return {"podSelector": {"matchLabels": endpoint_labels(owner)}}


def _deployment(
    spec: Spec, owner: Owner, wish: EndpointWish, image: str, sentinels: str
) -> JsonObject:
    labels = endpoint_labels(owner)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned_metadata(endpoint_name(owner), owner, spec.owned_metadata),
        "spec": {
            "replicas": wish.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(spec, owner, wish, _container(spec, owner, wish, image, sentinels)),
            },
        },
    }


def _pod(
    spec: Spec, owner: Owner, wish: EndpointWish, made: tuple[JsonObject, _Parts]
) -> JsonObject:
    container, parts = made
    grace_s = int(wish.settings.get("grace_ms") or _GRACE_S * 1000) // 1000
    spread: list[Json] = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": endpoint_labels(owner)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    return without_empty(
        {
            # It asks the front, and has no business with the API server.
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_s + _LEAVE_S + 5,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "imagePullSecrets": spec.image_pull_secrets,
            "nodeSelector": wish.node_selector,
            "tolerations": wish.tolerations,
            "topologySpreadConstraints": spread,
            "containers": [container],
            "volumes": parts.volumes,
        }
    )


def _container(
    spec: Spec, owner: Owner, wish: EndpointWish, image: str, sentinels: str
) -> tuple[JsonObject, _Parts]:
    parts = _secrets(spec, owner, wish)
    listen = "tls-listen" if _client_certificate(spec, wish) else "listen"
    args: list[Json] = [
        "endpoint",
        f"--{listen}=0.0.0.0:{DATA_PORT}",
        f"--sentinels={sentinels}",
        f"--name={owner.namespace}/{owner.name}",
        f"--probes=0.0.0.0:{PROBES_PORT}",
        "--reloads-on-change=yes",
        *parts.args,
        *(f"--{name.replace('_', '-')}={value}" for name, value in sorted(wish.settings.items())),
    ]
    ports: list[Json] = [
        {"name": DATA_PORT_NAME, "containerPort": DATA_PORT, "protocol": "TCP"},
        {"name": _PROBES_PORT_NAME, "containerPort": PROBES_PORT, "protocol": "TCP"},
    ]
    container = without_empty(
        {
            "name": "endpoint",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "ports": ports,
            "resources": wish.resources,
            "startupProbe": _probe("/readyz", 1, _STARTUP_S),
            "readinessProbe": {"tcpSocket": {"port": DATA_PORT_NAME}, "periodSeconds": 5},
            "livenessProbe": _probe("/healthz", 10, 3),
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(_LEAVE_S)]}}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": parts.mounts,
        }
    )
    return container, parts


def _probe(path: str, period_s: int, failures: int) -> JsonObject:
    return {
        "httpGet": {"path": path, "port": _PROBES_PORT_NAME},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _client_certificate(spec: Spec, wish: EndpointWish) -> str:
    return wish.tls_secret or spec.tls_secret


def _secrets(spec: Spec, owner: Owner, wish: EndpointWish) -> _Parts:
    parts = _Parts()
    given = spec.authentication.password
    password = wish.password or (KeyOfSecret(given.name, given.key) if given else None)
    if password:
        parts.add("password", password.name, {"password-file": password.key})
    if secret := wish.sentinel_password:
        parts.add("sentinel-password", secret.name, {"sentinel-password-file": secret.key})
    if secret := wish.sentinel_authority:
        parts.add("sentinel-ca", secret.name, {"sentinel-tls-ca-file": secret.key})
    if certificate := _client_certificate(spec, wish):
        keys = {"tls-cert-file": "tls.crt", "tls-key-file": "tls.key"}
        parts.add("tls", certificate, keys)
    if spec.tls_secret:
        _add_instances_tls(parts, spec, owner, wish)
    return parts


def _add_instances_tls(parts: _Parts, spec: Spec, owner: Owner, wish: EndpointWish) -> None:
    authority = wish.authority or KeyOfSecret(spec.tls_secret, "ca.crt")
    parts.add("instances-ca", authority.name, {"upstream-tls-ca-file": authority.key})
    service = spec.service.name or owner.name
    name = wish.server_name or f"{service}.{owner.namespace}.svc"
    parts.args.append(f"--upstream-tls-name={name}")
    client_ca = spec.authentication.client_ca
    if client_ca:
        parts.add("clients-ca", client_ca.name, {"tls-client-ca-file": client_ca.key})
    # Instances that know an authority of clients ask everybody for a certificate.
    own = wish.client_secret or (spec.tls_secret if client_ca else "")
    if own:
        keys = {"upstream-tls-cert-file": "tls.crt", "upstream-tls-key-file": "tls.key"}
        parts.add("instances-tls", own, keys)


def _service(spec: Spec, owner: Owner, wish: EndpointWish) -> JsonObject:
    annotations = Metadata(annotations=wish.service_annotations, labels={})
    name = endpoint_name(owner)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(name, owner, spec.owned_metadata, annotations),
        "spec": without_empty(
            {
                "type": wish.service_type,
                "selector": endpoint_labels(owner),
                "ports": [
                    {
                        "name": DATA_PORT_NAME,
                        "port": DATA_PORT,
                        "targetPort": DATA_PORT_NAME,
                        "protocol": "TCP",
                    }
                ],
            }
        ),
    }


def _budget(spec: Spec, owner: Owner) -> JsonObject:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owned_metadata(endpoint_name(owner), owner, spec.owned_metadata),
        "spec": {"selector": {"matchLabels": endpoint_labels(owner)}, "maxUnavailable": 1},
    }


def _policy(spec: Spec, owner: Owner, operator_namespace: str) -> JsonObject:
    clients = spec.extras.clients_from
    if clients is None:
        clients = ({"podSelector": {}},)
    rules: list[Json] = []
    # A rule without peers would let everybody in. Probes of the pod's own machine always may.
    askers = (peer_of_operator(operator_namespace), *spec.extras.metrics_from)
    for port, peers in ((DATA_PORT, clients), (PROBES_PORT, askers)):
        if peers:
            rules.append({"ports": [{"protocol": "TCP", "port": port}], "from": peers})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owned_metadata(endpoint_name(owner), owner, spec.owned_metadata),
        "spec": {
            "podSelector": {"matchLabels": endpoint_labels(owner)},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }
