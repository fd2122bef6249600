"""Turn what a user left open into pods on different machines and in different zones, if it can be.

Rules: only where the user says nothing of where pods run; only for data stores that are made anew,
because another template would restart every pod. That a data store was made so is not written down:
its own template shows it.
"""

import json
from collections.abc import Sequence
from typing import Final

from everfly.operator.manifest import JsonObject, objects
from everfly.operator.resources.owner import Owner, selector_labels
from everfly.operator.wishes.spec import Spec

_APART: Final = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")


def default_spread(owner: Owner) -> list[JsonObject]:
    """Return constraints that prefer different machines and zones, and keep no pod waiting."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector_labels(owner)},
        }
        for key in _APART
    ]


def spread_text(pod_spec: JsonObject) -> str:
    """Return the constraints of a pod or template as a text to compare; empty: there are none."""
    found = objects(pod_spec, "topologySpreadConstraints")
    return json.dumps(found, sort_keys=True) if found else ""


def topology_spread(
    spec: Spec, owner: Owner, *, is_new: bool, running: str
) -> Sequence[JsonObject]:
    """Return the constraints of the template; `running` are those that pods have now, as text."""
    if spec.topology_spread or spec.affinity is not None or spec.extras.spreads is False:
        return spec.topology_spread
    made = default_spread(owner)
    is_kept = running == spread_text({"topologySpreadConstraints": made})
    return made if spec.extras.spreads or is_new or is_kept else ()
