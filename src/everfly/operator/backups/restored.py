"""Turn how far the restoring of a data store is into the field `restore` of its status, and back.

`phase` is Loading, Copying or Completed; `location` says which snapshot; `ferry` who read it, and
its incarnation; `history` is the ferry's (whoever copied it whole may be the first primary), and
`keys` how many it read. Pure.
"""

from dataclasses import dataclass, replace
from typing import Final

from everfly.core.group_view import GroupView, Member
from everfly.core.model import Address, Role
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


def who_holds_data(view: GroupView, restored: Restored | None) -> str:
    """Return an instance whose data are not those that are being restored; empty: there is none."""
    for each in view.members:
        facts = each.facts
        if facts is None or not facts.keys:
            continue
        # One that copies from a ferry holds its data, also from an earlier one that was lost.
        is_follower = facts.role is Role.REPLICA and restored is not None
        if not is_follower:
            return each.name
    return ""


def who_copies(view: GroupView) -> Member | None:
    """Return the instance that is to copy the data from the ferry; None: none is ready to."""
    members = [each for each in view.members if _is_usable(each)]
    if view.intent.has_snapshots and len(members) < view.intent.replicas:
        return None  # a disk of one that is not there yet may hold data, and these are kept
    return members[0] if members else None


def _is_usable(member: Member) -> bool:
    return (
        member.is_reachable
        and not member.is_terminating
        and not member.is_fenced
        and member.facts is not None
        and not member.facts.is_loading
    )


def is_copying(member: Member, ferry: Address) -> bool:
    """Tell whether an instance copies from the ferry, or has."""
    facts = member.facts
    if facts is None or facts.role is not Role.REPLICA or facts.primary != ferry:
        return False
    return facts.is_link_up or facts.is_syncing


def is_promoting(view: GroupView) -> bool:
    """Tell whether the first primary is being promoted; not one that was lost on the way."""
    move = view.record.move
    chosen = view.member(move.to) if move is not None else None
    return move is not None and chosen is not None and chosen.incarnation == move.incarnation
