"""Turn a group whose primary serves into the small deeds that keep it in order.

Rules: replicas follow the primary that is written down; only an instance that does what its role
says is led clients; one instance is restarted at a time, and only when all others are well; an
instance that nobody reaches is replaced. The platform is never asked to drop the primary. What is
done for mere order's sake waits for the time that people set for it; what keeps data safe, or what
a person asked for, does not.
"""

from dataclasses import dataclass, replace

from everfly.core.group_view import GroupView, Lineage, Member, Memory, Record, Service
from everfly.core.model import Instant, Role
from everfly.core.steps import (
    BringIntoService,
    Delete,
    Fence,
    Follow,
    Step,
    TakeOutOfService,
    WriteRecord,
)
from everfly.core.successor import ANYBODY, is_of


@dataclass(frozen=True, slots=True)
class Motive:
    """Why a primary that serves should hand over."""

    reason: str = ""
    """Empty: it stays."""
    wanted: str = ANYBODY
    """To whom."""
    is_voluntary: bool = False
    """Nothing is lost by waiting for a better time."""


def instances_to_run(view: GroupView) -> int:
    """Return how many instances the platform may be asked to run now.

    The platform drops the highest numbers first; it must not drop the primary.
    """
    intent, primary = view.intent, view.primary
    if intent.is_hibernated or intent.replicas <= 0:
        return 0
    # Nor whoever is about to become the primary, before that is decided.
    kept = [each.ordinal + 1 for each in (primary,) if each is not None]
    move = view.record.move
    if move is not None and (to := view.member(move.to)) is not None:
        kept.append(to.ordinal + 1)
    return max(intent.replicas, *(min(each, intent.running) for each in kept), 0)


def why_move(view: GroupView) -> Motive:
    """Return why a primary that serves should hand over, and to whom."""
    primary, intent = view.primary, view.intent
    assert primary is not None
    if primary.is_terminating:
        return Motive(f"{primary.name} is being stopped")
    if primary.is_fenced:
        return Motive(f"{primary.name} was fenced by a person")
    if intent.switch_to and intent.switch_to != primary.name:
        return Motive("a person asked for it", intent.switch_to)
    if primary.ordinal >= intent.replicas > 0:
        return Motive(f"{primary.name} is to go: {intent.replicas} instances are wanted")
    if primary.is_host_leaving and any(
        not each.is_host_leaving for each in view.others(primary.name)
    ):
        return Motive(f"the host of {primary.name} is being emptied")
    if not primary.is_current and intent.may_restart and _is_only_primary_outdated(view):
        return Motive(f"{primary.name} is to be restarted", is_voluntary=True)
    return Motive(_why_zone(view, primary), is_voluntary=True)


def waits(view: GroupView, now: Instant) -> bool:
    """Tell whether what is voluntary has to wait."""
    begin = view.intent.voluntary_from
    return begin is not None and now < begin


def what_waits(view: GroupView, now: Instant) -> tuple[str, ...]:
    """Return what would be done now, were it not for the time that people set for it."""
    if not waits(view, now):
        return ()
    motive = why_move(view)
    if motive.reason and motive.is_voluntary:
        return (motive.reason,)
    if not view.intent.may_restart:
        return ()
    held = [
        each.name
        for each in view.members
        if not each.is_current
        and (len(view.members) == 1 or (view.intent.restarts_wait and not _is_primary(view, each)))
    ]
    return (f"{', '.join(held)}: to be restarted",) if held else ()


def _is_primary(view: GroupView, member: Member) -> bool:
    return member.name == view.record.primary


def _is_only_primary_outdated(view: GroupView) -> bool:
    others = view.others(view.record.primary)
    return (
        bool(others)
        and len(view.members) >= view.intent.running
        and all(each.is_current and is_stable(view, each) for each in others)
    )


def _why_zone(view: GroupView, primary: Member) -> str:
    zones = view.intent.preferred_zones
    better = zones[: zones.index(primary.zone)] if primary.zone in zones else zones
    for zone in better:
        if any(each.zone == zone and is_stable(view, each) for each in view.members):
            return f"the primary had best be in zone {zone}"
    return ""


def is_stable(view: GroupView, member: Member) -> bool:
    """Tell whether an instance does all that its role asks."""
    facts, primary = member.facts, view.primary
    if facts is None or not member.is_reachable or not member.is_ready or member.is_terminating:
        return False
    if facts.is_loading or primary is None:
        return False
    if member.name == primary.name:
        return facts.role is Role.PRIMARY
    return (
        facts.role is Role.REPLICA
        and facts.primary == primary.address
        and facts.is_link_up
        and not facts.is_syncing
    )


def steps_for(view: GroupView, now: Instant) -> tuple[list[Step], Memory]:
    """Return what keeps a group in order, and whom we told to follow by that."""
    primary = view.primary
    assert primary is not None
    assert primary.address is not None
    steps: list[Step] = []
    written = _record_to_write(view, now)
    memory = view.memory
    if written is not None:
        steps.append(WriteRecord(written))
        offset = written.lineage.offset if written.lineage is not None else 0
        memory = replace(memory, written_offset=offset, written_at=now)
    steps += [
        TakeOutOfService(each.name)
        for each in view.others(primary.name)
        if each.service is Service.PRIMARY
    ]
    steps += _serve(primary)
    told = dict(memory.followed)
    for member in view.others(primary.name):
        some = _look_after(view, member, primary, now)
        for step in some:
            if isinstance(step, Follow):
                told[step.name] = now
        steps += some
    steps += _replace_one(view, now)
    names = {each.name for each in view.members}
    followed = tuple((name, at) for name, at in told.items() if name in names)
    return steps, replace(memory, followed=followed)


def _serve(primary: Member) -> list[Step]:
    assert primary.address is not None
    if primary.is_fenced:
        return [] if primary.service is Service.NONE else _fence(primary)
    is_marked = primary.led_by == primary.address.host
    if primary.service is Service.PRIMARY and is_marked:
        return []
    return [BringIntoService(primary.name, Service.PRIMARY, primary.address)]


def _fence(member: Member) -> list[Step]:
    return [TakeOutOfService(member.name), Fence(member.name)]


def _look_after(view: GroupView, member: Member, primary: Member, now: Instant) -> list[Step]:
    facts, address = member.facts, primary.address
    assert address is not None
    if member.is_fenced:
        return [] if member.service is Service.NONE else _fence(member)
    if facts is None or not member.is_reachable or member.is_terminating or facts.is_loading:
        return []
    if facts.role is Role.PRIMARY or facts.primary != address or _is_stuck(view, member, now):
        told_at = dict(view.memory.followed).get(member.name)
        if told_at is not None and now - told_at < view.policy.follow_every:
            return []
        was_primary = facts.role is Role.PRIMARY
        return [Follow(member.name, primary.name, address, cuts_clients=was_primary)]
    is_in_service = member.service is Service.REPLICA and member.led_by == address.host
    if is_in_service or not facts.is_link_up or facts.is_syncing:
        return []
    return [BringIntoService(member.name, Service.REPLICA, address)]


def _is_stuck(view: GroupView, member: Member, now: Instant) -> bool:
    """Tell whether a replica will not find back to its primary by itself."""
    facts = member.facts
    if facts is None or facts.is_link_up or facts.is_syncing or member.link_down_since is None:
        return False
    return now - member.link_down_since >= view.policy.link_patience


def _record_to_write(view: GroupView, now: Instant) -> Record | None:
    """Return what is to be written down: who missed writes, and now and then how far we are."""
    record, memory = view.record, view.memory
    primary, lineage = view.primary, view.record.lineage
    assert primary is not None
    if lineage is None:
        assert primary.facts is not None
        return _adopted(view, primary)
    stale = tuple(each.name for each in view.others(primary.name) if _is_stale(view, each, now))
    is_due = now - memory.written_at >= view.policy.write_every
    has_grown = lineage.offset - memory.written_offset > view.policy.lag_max
    if stale == record.stale and not (is_due and has_grown):
        return None
    return replace(record, stale=stale, term=view.term)


def _adopted(view: GroupView, primary: Member) -> Record:
    assert primary.facts is not None
    lineage = Lineage(primary.facts.history, keys=primary.facts.keys or 0)
    return replace(view.record, lineage=lineage, term=view.term)


def _is_stale(view: GroupView, member: Member, now: Instant) -> bool:
    facts, lineage = member.facts, view.record.lineage
    was = member.name in view.record.stale
    if facts is None or not member.is_reachable or lineage is None:
        return was
    if not is_of(lineage, facts.history):
        return False  # its history says already that it is none of ours
    if is_stable(view, member) or facts.is_link_up:
        return was and not is_stable(view, member)
    since = member.link_down_since
    return was or (since is not None and now - since >= view.policy.stale_after)


def _replace_one(view: GroupView, now: Instant) -> list[Step]:
    """Return whom the platform is to replace now: one at most, when all others are well."""
    if len(view.members) < view.intent.running or any(each.is_terminating for each in view.members):
        return []
    for member in view.others(view.record.primary):
        if member.rebuild is not None and member.rebuild.is_begun:
            return [Delete(member.name, "it is rebuilt: it comes back empty and copies")]
    for member in view.others(view.record.primary):
        if _is_isolated(view, member, now):
            return [Delete(member.name, "neither we nor its primary reach it")]
    return _restart_one(view, now)


def _restart_one(view: GroupView, now: Instant) -> list[Step]:
    """Return which outdated instance the platform is to replace now."""
    outdated = [each for each in view.members if not each.is_current]
    if not outdated or not view.intent.may_restart:
        return []
    replicas = [each for each in outdated if each.name != view.record.primary]
    for each in replicas:
        if not each.is_ready:
            return [Delete(each.name, "it is outdated and unwell")]
    if not all(is_stable(view, each) for each in view.members):
        return []
    if waits(view, now) and (view.intent.restarts_wait or not replicas):
        return []
    if replicas:
        first = min(replicas, key=lambda each: each.ordinal)
        return [Delete(first.name, "it is outdated")]
    if len(view.members) == 1:
        return [Delete(outdated[0].name, "it is outdated, and there is no replica to take over")]
    return []


def _is_isolated(view: GroupView, member: Member, now: Instant) -> bool:
    primary, contact = view.primary, member.contact
    assert primary is not None
    assert primary.facts is not None
    if member.address is None or contact.failing_since is None or member.is_fenced:
        return False
    is_fed = member.address.host in primary.facts.online_replicas
    is_long = now - contact.failing_since >= view.policy.isolated_after
    return is_long and not is_fed and member.is_host_ready and member.is_ready
