"""Turn `spec.everfly.handOverOnStop` into a hook that delays the stop of a primary.

A pod that is deleted gets SIGTERM at the moment at which the operator learns of it. With the hook
it is asked to stop only once it is no primary any more, or after a bounded time: also while no
operator is there a pod can be stopped.
"""

from importlib import resources as package_files
from typing import Final

from everfly.operator.manifest import JsonObject
from everfly.operator.names import ADMIN_PORT
from everfly.operator.wishes.spec import Spec

WAIT_S: Final = 10
"""For an operator to notice and for replicas to catch up; a hand-over takes a tenth of a second."""
_WITHIN_GRACE: Final = 2
"""The share of the time a pod has to end that the wait may take: the rest is for its snapshot."""


def hand_over_hook(spec: Spec) -> JsonObject | None:
    """Return the `lifecycle` of the container, or None where it is not asked for."""
    if not spec.extras.hands_over_on_stop:
        return None
    grace = spec.extras.termination_grace_s
    wait = min(WAIT_S, max(grace // _WITHIN_GRACE, 1)) if grace else WAIT_S
    folder = package_files.files("everfly.operator.resources")
    script = folder.joinpath("scripts", "hand-over.sh").read_text(encoding="utf-8")
    script = script.replace("WAIT_S", str(wait)).replace("ADMIN_PORT", str(ADMIN_PORT))
    return {"preStop": {"exec": {"command": ["/bin/sh", "-c", script]}}}
