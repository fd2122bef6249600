"""Turn a spec into the budget of pods that may be evicted at a time."""

from everfly.operator.manifest import Json, JsonObject
from everfly.operator.resources.metadata import owned_metadata
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.wishes.spec import Spec


def disruption_budget(spec: Spec, owner: Owner) -> list[JsonObject]:
    """Return the PodDisruptionBudget, or nothing for a group of one: nobody could ever evict it."""
    if spec.replicas < 2:
        return []
    bounds: dict[str, Json] = {
        name: bound
        for name, bound in (
            ("minAvailable", spec.disruption.min_available),
            ("maxUnavailable", spec.disruption.max_unavailable),
        )
        if bound is not None
    }
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": owned_metadata(owner.name, owner, spec.owned_metadata),
            "spec": {
                "selector": {"matchLabels": selector_labels(owner)},
                **(bounds or {"maxUnavailable": 1}),
            },
        }
    ]
