"""Turn a spec into the Services that lead clients to the primary and, if wanted, to replicas."""

from everfly.operator.manifest import Json, JsonObject, without_empty
from everfly.operator.names import (
    DATA_PORT,
    LABEL_APP,
    LABEL_NAME,
    LABEL_ROLE,
    ROLE_PRIMARY,
    ROLE_REPLICA,
)
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.resources.ports import DATA_PORT_NAME, MEMCACHED_PORT_NAME
from everfly.operator.spec import Metadata, Spec


def service_name(spec: Spec, owner: Owner) -> str:
    """Return the name under which clients reach the primary."""
    return spec.service.name or owner.name


def services(spec: Spec, owner: Owner) -> list[JsonObject]:
    """Return the Service of the primary, and that of the replicas when it is wanted."""
    name = service_name(spec, owner)
    wanted = spec.service.metadata or Metadata({}, {})
    primary: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(name, owner, spec.owned_metadata, wanted),
        "spec": without_empty(
            {
                "type": spec.service.type,
                "selector": _selector(owner, ROLE_PRIMARY),
                "ports": _ports(spec, spec.service.node_port),
            }
        ),
    }
    if not spec.extras.has_replica_service:
        return [primary]
    replicas: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(f"{name}-ro", owner, spec.owned_metadata),
        "spec": {"selector": _selector(owner, ROLE_REPLICA), "ports": _ports(spec)},
    }
    return [primary, replicas]


def _selector(owner: Owner, role: str) -> JsonObject:
    labels = selector_labels(owner)
    return {key: labels[key] for key in (LABEL_APP, LABEL_NAME)} | {LABEL_ROLE: role}


def _ports(spec: Spec, node_port: int = 0) -> list[JsonObject]:
    data: dict[str, Json] = {"name": DATA_PORT_NAME, "port": DATA_PORT}
    # A number only where the user gave one: the cluster's choice is then kept as it is.
    ports: list[JsonObject] = [{**data, "nodePort": node_port} if node_port else data]
    if spec.memcached_port:
        ports.append({"name": MEMCACHED_PORT_NAME, "port": spec.memcached_port})
    return ports
