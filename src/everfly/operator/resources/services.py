"""Turn a spec into the Services that lead clients to the primary and, if wanted, to others.

The primary's Service has the name that the user gave or the resource's own; the others add to it:
`-ro` leads to replicas, `-r` to all that serve, `-pods` names each pod.
"""

from collections.abc import Mapping

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.names import (
    ADMIN_PORT,
    DATA_PORT,
    LABEL_APP,
    LABEL_NAME,
    LABEL_ROLE,
    LABEL_SERVES,
    ROLE_PRIMARY,
    ROLE_REPLICA,
    SERVES,
)
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.resources.ports import ADMIN_PORT_NAME, DATA_PORT_NAME, MEMCACHED_PORT_NAME
from everfly.operator.wishes.spec import Metadata, Spec


def service_name(spec: Spec, owner: Owner) -> str:
    """Return the name under which clients reach the primary."""
    return spec.service.name or owner.name


def pods_service_name(owner: Owner) -> str:
    """Return the name of the Service that names each pod."""
    return f"{owner.name}-pods"


def services(spec: Spec, owner: Owner) -> list[JsonObject]:
    """Return the Service of the primary, and those others that are wanted."""
    name = service_name(spec, owner)
    given = spec.service
    primary = _service(
        owned_metadata(name, owner, spec.owned_metadata, given.metadata or Metadata({}, {})),
        without_empty(
            {
                "type": given.type,
                "selector": _selector(owner, {LABEL_ROLE: ROLE_PRIMARY}),
                "ports": _ports(spec, given.node_port),
            }
        ),
    )
    wanted = spec.extras.services
    made = [primary]
    if spec.extras.has_replica_service or wanted.leads_to_replicas:
        made.append(_leading_to(spec, owner, f"{name}-ro", {LABEL_ROLE: ROLE_REPLICA}))
    if wanted.leads_to_all:
        made.append(_leading_to(spec, owner, f"{name}-r", {LABEL_SERVES: SERVES}))
    if wanted.names_pods:
        made.append(_naming_pods(spec, owner))
    return made


def _service(metadata: JsonObject, spec: JsonObject) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _leading_to(spec: Spec, owner: Owner, name: str, labels: Mapping[str, Json]) -> JsonObject:
    return _service(
        owned_metadata(name, owner, spec.owned_metadata),
        {"selector": _selector(owner, labels), "ports": _ports(spec)},
    )


def _naming_pods(spec: Spec, owner: Owner) -> JsonObject:
    return _service(
        owned_metadata(pods_service_name(owner), owner, spec.owned_metadata),
        {
            "clusterIP": "None",
            # A name is for whoever looks after an instance, above all when it is unwell.
            "publishNotReadyAddresses": True,
            "selector": _selector(owner, {}),
            "ports": [*_ports(spec), _port(ADMIN_PORT_NAME, ADMIN_PORT)],
        },
    )


def _selector(owner: Owner, more: Mapping[str, Json]) -> JsonObject:
    labels = selector_labels(owner)
    return {key: labels[key] for key in (LABEL_APP, LABEL_NAME)} | dict(more)


def _ports(spec: Spec, node_port: int = 0) -> list[JsonObject]:
    data = _port(DATA_PORT_NAME, DATA_PORT)
    # A number only where the user gave one: the cluster's choice is then kept as it is.
    ports: list[JsonObject] = [{**data, "nodePort": node_port} if node_port else data]
    if spec.memcached_port:
        ports.append(_port(MEMCACHED_PORT_NAME, spec.memcached_port))
    return ports


def _port(name: str, number: int) -> JsonObject:
    # The protocol is part of the key of that list, and API servers before 1.21 refuse to apply a
    # key that is only a default (answer 500).
    return {"name": name, "port": number, "protocol": "TCP"}
