"""Turn a spec into the policy of who may connect to its pods.

Data ports: pods of the same namespace, or exactly the peers that the user lists; with TLS also the
operator, which looks at the certificate. Admin port, which asks for no password: the operator, the
pods of the group, and peers that read metrics.
"""

from collections.abc import Sequence
from typing import Final

from everfly.operator.manifest import Json, JsonObject
from everfly.operator.names import ADMIN_PORT, DATA_PORT
from everfly.operator.resources.endpoint import endpoint_peer
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.wishes.spec import Spec

_OPERATOR_LABELS: Final = {"control-plane": "controller-manager"}
"""What the pods of the operator carry, in both charts."""
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""The label that every namespace has, with its name (since Kubernetes 1.21)."""


def network_policy(spec: Spec, owner: Owner, operator_namespace: str) -> list[JsonObject]:
    """Return the NetworkPolicy, or nothing when it is switched off."""
    if not spec.has_network_policy:
        return []
    clients = spec.extras.clients_from
    if clients is None:
        clients = ({"podSelector": {}},)
    elif spec.extras.endpoint is not None:
        clients = (*clients, endpoint_peer(owner))
    rules = []
    # A rule without peers would let everybody in; a user who lists nobody means nobody.
    if clients:
        ports = [DATA_PORT, *([spec.memcached_port] if spec.memcached_port else [])]
        rules = [_rule(port, clients) for port in ports]
    if spec.tls_secret:
        # Which certificate is served is seen there alone.
        rules.append(_rule(DATA_PORT, [peer_of_operator(operator_namespace)]))
    admins: list[JsonObject] = [
        peer_of_operator(operator_namespace),
        {"podSelector": {"matchLabels": selector_labels(owner)}},
        *spec.extras.metrics_from,
    ]
    rules.append(_rule(ADMIN_PORT, admins))
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": owned_metadata(owner.name, owner, spec.owned_metadata),
            "spec": {
                "podSelector": {"matchLabels": selector_labels(owner)},
                "policyTypes": ["Ingress"],
                "ingress": rules,
            },
        }
    ]


def peer_of_operator(namespace: str) -> JsonObject:
    """Return the operator's pods as a peer; without its namespace those of the same one."""
    peer: dict[str, Json] = {
        "podSelector": {"matchLabels": _OPERATOR_LABELS},
    }
    if namespace:
        peer["namespaceSelector"] = {"matchLabels": {NAMESPACE_NAME: namespace}}
    return peer


def _rule(port: int, peers: Sequence[JsonObject]) -> JsonObject:
    return {"ports": [{"protocol": "TCP", "port": port}], "from": peers}
