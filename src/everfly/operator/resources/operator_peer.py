"""Name the pods of the operator as a NetworkPolicy does."""

from typing import Final

from everfly.operator.manifest import Json, JsonObject

_OPERATOR_LABELS: Final = {"control-plane": "controller-manager"}
"""What the pods of the operator carry, in both charts."""
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""The label that every namespace has, with its name (since Kubernetes 1.21)."""


def peer_of_operator(namespace: str) -> JsonObject:
    """Return the operator's pods as a peer; without its namespace those of the same one."""
    peer: dict[str, Json] = {
        "podSelector": {"matchLabels": _OPERATOR_LABELS},
    }
    if namespace:
        peer["namespaceSelector"] = {"matchLabels": {NAMESPACE_NAME: namespace}}
    return peer
