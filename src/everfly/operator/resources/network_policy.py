"""Turn a spec into the policy of who may connect to its pods.

Data ports: pods of the same namespace, or exactly the peers that the user lists; with TLS also the
operator, which looks at the certificate. Admin port, which asks for no password: the operator, the
pods of the group, and peers that read metrics.
"""

from collections.abc import Sequence

from everfly.operator.manifest import JsonObject
from everfly.operator.names import ADMIN_PORT, DATA_PORT
from everfly.operator.resources.endpoint import endpoint_peer
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.operator_peer import peer_of_operator
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.wishes.spec import Spec


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


def _rule(port: int, peers: Sequence[JsonObject]) -> JsonObject:
    return {"ports": [{"protocol": "TCP", "port": port}], "from": peers}
