"""Choose who becomes the primary: filters with a reason for each rejection, then a sort key.

Rules: whose data they are comes first. A complete candidate holds the recorded history, no more
than a bound behind the furthest replica ever seen, and was not cut off while the primary served.
Where nobody is complete, what is left is chosen only when nobody else can hold more, or a person
accepts the loss.
"""

from dataclasses import dataclass

from everfly.core.group_view import GroupView, Lineage, Member
from everfly.core.model import Role

ANYBODY = "*"
ALWAYS = "always"
CONSENT_LETTERS_MIN = 8
"""Of the history a person accepts to lose: enough that no other one begins alike."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is chosen, why, and what would be lost."""

    best: Member | None
    facts: tuple[str, ...] = ()
    """A line for each member."""
    risk: tuple[str, ...] = ()
    """Why nobody may be chosen yet although somebody is there: who may hold more."""


def choose(view: GroupView) -> Choice:
    """Choose for a primary that is lost."""
    fit, facts = _sift(view)
    if fit:
        best = min(fit, key=lambda each: _preference(view, each))
        return Choice(best, (f"{best.name} chosen: {_described(best)}", *facts))
    return _choose_survivor(view, facts)


def choose_planned(view: GroupView, wanted: str = ANYBODY) -> Choice:
    """Choose for a primary that lives and hands over; `wanted` restricts it to one name.

    A hand-over waits for the chosen one to catch up, so that place counts more than offsets.
    """
    fit, facts = _sift(view)
    ready, rejected = [], list(facts)
    primary = view.primary
    for each in fit:
        reason = _why_not_planned(view, each, primary, wanted)
        if reason is None:
            ready.append(each)
        else:
            rejected.append(f"{each.name} rejected: {reason}")
    if not ready:
        return Choice(None, tuple(rejected))
    best = min(ready, key=lambda each: _planned_preference(view, each))
    return Choice(best, (f"{best.name} chosen: {_described(best)}", *rejected))


def choose_restored(view: GroupView) -> Choice:
    """Choose the first primary of a group that is to begin with data that others bring."""
    fit, rejected = [], []
    for member in view.members:
        reason = why_unusable(member) or _why_not_restored(view, member)
        if reason is None:
            fit.append(member)
        else:
            rejected.append(f"{member.name} rejected: {reason}")
    if not fit:
        return Choice(None, tuple(rejected))
    best = min(fit, key=lambda each: (_zone_rank(view, each), each.ordinal))
    return Choice(best, (f"{best.name} chosen: {_described(best)}", *rejected))


def _why_not_restored(view: GroupView, member: Member) -> str | None:
    facts = member.facts
    assert facts is not None
    holds = (
        facts.role is Role.REPLICA
        and facts.history == view.intent.restores
        and facts.offset is not None
    )
    return None if holds and view.intent.restores else "it has not copied the data yet"


def _sift(view: GroupView) -> tuple[list[Member], tuple[str, ...]]:
    fit, rejected = [], []
    for member in view.members:
        reason = why_unusable(member) or _why_incomplete(view, member)
        if reason is None:
            fit.append(member)
        else:
            rejected.append(f"{member.name} rejected: {reason}")
    return fit, tuple(rejected)


def why_unusable(member: Member) -> str | None:
    """Return why an instance cannot serve at all now, whatever its data, or None if it can."""
    facts = member.facts
    if member.is_fenced:
        return "a person fenced it"
    if member.is_terminating:
        return "it is being stopped"
    if not member.is_host_ready:
        return "its host is not ready"
    if facts is None or not member.is_reachable:
        return "it gives no answer"
    if facts.is_loading:
        return "it reads its dataset from disk"
    if facts.is_syncing:
        return "its dataset is being replaced"
    return None


def _why_incomplete(view: GroupView, member: Member) -> str | None:
    facts, lineage = member.facts, view.record.lineage
    assert facts is not None
    if is_promoted(view, member):
        return None
    if facts.role is Role.PRIMARY:
        return "it is a primary of its own"
    if facts.offset is None:
        return "it does not say how far it is"
    if member.name in view.record.stale or _was_cut_off(view, member):
        return "it was cut off while the primary served"
    if lineage is None:
        return None
    if not is_of(lineage, facts.history):
        return f"its history is {facts.history}"
    is_older = facts.history != lineage.history
    behind = (lineage.offset_before if is_older else lineage.offset) - facts.offset
    if behind > view.policy.lag_max:
        return f"it is {behind} entries behind (limit {view.policy.lag_max})"
    return None


def is_promoted(view: GroupView, member: Member) -> bool:
    """Tell whether a replica of ours was made a primary by somebody else, with all its data."""
    facts, lineage = member.facts, view.record.lineage
    return (
        facts is not None
        and lineage is not None
        and facts.role is Role.PRIMARY
        and is_of(lineage, facts.promoted_from)
    )


def _was_cut_off(view: GroupView, member: Member) -> bool:
    primary, lineage = view.primary, view.record.lineage
    if member.link_down_since is None or primary is None or primary.contact.answered_at is None:
        return False
    if lineage is None or primary.facts is None or primary.facts.history != lineage.history:
        return False  # who answered has restarted: it served other data
    missed = primary.contact.answered_at - member.link_down_since
    return missed > view.policy.stale_after


def is_of(lineage: Lineage, history: str) -> bool:
    """Tell whether a dataset of that history is the group's, or was until the last promotion."""
    return bool(history) and history in (lineage.history, lineage.history_before)


def _why_not_planned(
    view: GroupView, member: Member, primary: Member | None, wanted: str
) -> str | None:
    facts = member.facts
    assert facts is not None
    if wanted not in (ANYBODY, member.name):
        return f"{wanted} is wanted"
    if primary is None or facts.primary != primary.address or not facts.is_link_up:
        return "it is not connected with the primary"
    if member.ordinal >= view.intent.replicas:
        return "the group is to become smaller than its number"
    if member.is_host_leaving:
        return "its host is being emptied"
    if not member.is_ready:
        return "its platform finds it unwell"
    if member.rebuild is not None:
        return "it is to be rebuilt"
    return None


def _zone_rank(view: GroupView, member: Member) -> int:
    zones = view.intent.preferred_zones
    return zones.index(member.zone) if member.zone in zones else len(zones)


def _preference(view: GroupView, member: Member) -> tuple[bool, bool, int, int, bool, int]:
    facts, lineage = member.facts, view.record.lineage
    assert facts is not None
    is_older = lineage is not None and facts.history != lineage.history
    return (
        not is_promoted(view, member),
        is_older,
        -(facts.offset or 0),
        _zone_rank(view, member),
        not member.is_current,
        member.ordinal,
    )


def _planned_preference(view: GroupView, member: Member) -> tuple[bool, int, int, int]:
    facts = member.facts
    assert facts is not None
    return (
        not member.is_current,
        _zone_rank(view, member),
        -(facts.offset or 0),
        member.ordinal,
    )


def _described(member: Member) -> str:
    facts = member.facts
    assert facts is not None
    return f"history {facts.history}, offset {facts.offset}, keys {facts.keys}"


def _choose_survivor(view: GroupView, facts: tuple[str, ...]) -> Choice:
    """Choose among what is left when nobody is complete."""
    survivors = [each for each in view.members if why_unusable(each) is None]
    if not survivors:
        return Choice(None, facts)
    if view.record.lineage is not None and not is_loss_accepted(view):
        holders = _who_may_hold_more(view, survivors)
        if holders:
            return Choice(None, facts, holders)
    # The rightful primary is preferred among equals: its disk was written last.
    best = min(
        survivors,
        key=lambda each: (
            -(each.facts.keys or 0 if each.facts is not None else 0),
            each.name != view.record.primary,
            -(each.facts.offset or 0 if each.facts is not None else 0),
            each.ordinal,
        ),
    )
    return Choice(best, (f"{best.name} chosen: {_described(best)}; nobody holds more", *facts))


def _who_may_hold_more(view: GroupView, survivors: list[Member]) -> tuple[str, ...]:
    said = [
        f"{each.name} may hold more: {why_unusable(each)}"
        for each in view.members
        if each not in survivors and _may_hold_more(view, each)
    ]
    missing = view.intent.running - len(view.members)
    if missing > 0 and view.intent.has_snapshots:
        said.append(f"{missing} instances are not back yet, and their disks may hold more")
    return tuple(said)


def _may_hold_more(view: GroupView, member: Member) -> bool:
    """Tell whether an instance that cannot serve now may hold more than those that can."""
    if view.intent.has_snapshots:
        return True
    is_process_known = member.facts is not None or member.is_ready
    return is_process_known and not member.is_process_gone


def is_loss_accepted(view: GroupView) -> bool:
    """Tell whether a person accepts that data of the recorded history are lost."""
    text, lineage = view.intent.accepts_loss_of, view.record.lineage
    if text == ALWAYS or lineage is None:
        return True
    return len(text) >= CONSENT_LETTERS_MIN and lineage.history.startswith(text)
