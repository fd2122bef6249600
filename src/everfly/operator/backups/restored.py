"""Turn how far the restoring of a data store is into the field `restore` of its status, and back.

`phase` is Loading, Copying or Completed; `location` says which snapshot; `ferry` who read it, and
its incarnation; `history` is the ferry's (whoever copied it whole may be the first primary), and
`keys` how many it read. Pure.
"""

from dataclasses import dataclass, replace
from typing import Final

from everfly.operator.backups.place import RestoreWish
from everfly.operator.manifest import Json, JsonObject, part, text

FIELD: Final = "restore"
LOADING: Final = "Loading"
COPYING: Final = "Copying"
COMPLETED: Final = "Completed"


@dataclass(frozen=True, slots=True)
class Restored:
    """How far the restoring of a data store is."""

    phase: str
    location: str = ""
    ferry: str = ""
    incarnation: str = ""
    history: str = ""
    keys: int = 0
    completed_at: str = ""

    def at_end(self, stamp: str) -> "Restored":
        """Return it as it is when it is over."""
        return replace(self, phase=COMPLETED, completed_at=stamp)


def restored_of(status: JsonObject) -> Restored | None:
    """Return what a status says, or None when nothing was begun."""
    value = part(status, FIELD)
    phase, keys = text(value, "phase"), value.get("keys")
    if phase not in (LOADING, COPYING, COMPLETED):
        return None
    return Restored(
        phase=phase,
        location=text(value, "location"),
        ferry=text(value, "ferry", "name"),
        incarnation=text(value, "ferry", "incarnation"),
        history=text(value, "history"),
        keys=keys if isinstance(keys, int) and not isinstance(keys, bool) else 0,
        completed_at=text(value, "completedAt"),
    )


def restored_field(restored: Restored) -> Json:
    """Return the field of the status; None in it for what is to be taken away."""
    return {
        "phase": restored.phase,
        "location": restored.location,
        "ferry": {"name": restored.ferry, "incarnation": restored.incarnation or None},
        "history": restored.history or None,
        "keys": restored.keys,
        "completedAt": restored.completed_at or None,
    }


def history_to_begin_with(wish: RestoreWish | None, status: JsonObject) -> str | None:
    """Return the history with which a data store is to begin; empty: it is not known yet.

    None when nothing is to be restored any more.
    """
    if wish is None or text(status, "primary"):
        return None
    restored = restored_of(status)
    return restored.history if restored is not None and restored.phase == COPYING else ""
