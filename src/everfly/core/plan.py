"""Turn a view of a group into the steps that bring it where people want it, and what to remember.

Rules, which hold at every moment, also when the authority dies after any step:

* what is decided is written down before it is done; whoever comes next finishes it;
* in one epoch one instance at most becomes the primary;
* the old primary leaves the service and is fenced before another one enters;
* a living primary hands over, so that no acknowledged write is lost; only a dead one is replaced;
* nobody becomes the primary who holds less than somebody else may hold, unless a person accepts it.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from everfly.core import upkeep
from everfly.core.diagnosis import Finding, Kind, State, Verdict, diagnose, judge_primary
from everfly.core.group_view import (
    Contact,
    GroupView,
    Lineage,
    Member,
    Memory,
    Move,
    Record,
    Service,
)
from everfly.core.model import Epoch, Instant, Role
from everfly.core.steps import (
    BringIntoService,
    ClearRequest,
    Fence,
    Promote,
    Step,
    TakeOutOfService,
    TakeOver,
    WriteRecord,
)
from everfly.core.successor import Choice, choose, choose_planned, choose_restored, why_unusable


@dataclass(frozen=True, slots=True)
class Decision:
    """What is so, what is to be done about it, and when to look again at the latest."""

    findings: tuple[Finding, ...]
    steps: tuple[Step, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why the primary changes and who was chosen, or why nobody can be."""
    running: int = 0
    """How many instances the platform may be asked to run now."""
    memory: Memory = Memory()
    wake_at: Instant | None = None
    waiting: tuple[str, ...] = ()
    """What is put off until the time that people set for voluntary changes."""


def decide(view: GroupView, now: Instant) -> Decision:
    """Return what to do about a group now."""
    view = replace(view, record=replace(view.record, lineage=grown_lineage(view)))
    verdict = judge_primary(view, now)
    base = Decision(
        findings=diagnose(view, verdict, now),
        running=upkeep.instances_to_run(view),
        memory=view.memory,
        wake_at=verdict.until,
    )
    if view.record.term > view.term:
        text = f"the record is of term {view.record.term}, we are of {view.term}"
        return replace(base, findings=(*base.findings, Finding(Kind.SUPERSEDED, "", (text,))))
    if view.intent.is_paused or view.intent.is_hibernated:
        return base
    if view.record.move is not None:
        return _carry_on(view, verdict, base, now)
    match verdict.state:
        case State.ABSENT:
            return _found(view, base)
        case State.SERVING:
            return _keep(view, base, now)
        case State.LOADING | State.SILENT | State.UNREACHABLE:
            return base
        case State.DOWN | State.REBORN | State.DEMOTED:
            return _fail_over(view, verdict, base)
        case _:
            assert_never(verdict.state)


def grown_lineage(view: GroupView) -> Lineage | None:
    """Return the recorded lineage with the highest offset of its history that is seen now."""
    lineage = view.record.lineage
    if lineage is None:
        return None
    highest = max(
        (
            each.facts.offset or 0
            for each in view.members
            if each.facts is not None
            and each.facts.role is Role.REPLICA
            and each.facts.history == lineage.history
        ),
        default=0,
    )
    return replace(lineage, offset=max(lineage.offset, highest))


def _found(view: GroupView, base: Decision) -> Decision:
    """Find the first primary of a group: one that is at work already, or one to begin with."""
    unasked = [
        each
        for each in view.members
        if each.address is not None
        and each.contact == Contact()
        and not each.is_terminating
        and (each.is_ready or each.service is Service.PRIMARY)
    ]
    if unasked:
        return base
    labelled = [each for each in view.members if each.service is Service.PRIMARY]
    if view.intent.restores is not None and not labelled:
        return _found_restored(view, base)
    living = [
        each
        for each in labelled or view.members
        if why_unusable(each) is None and each.said_role is Role.PRIMARY
    ]
    if living:
        best = min(living, key=lambda each: (-_followers(view, each), *_fullness(each)))
        return _adopt(view, base, best)
    if labelled:
        return _adopt(view, base, labelled[0])
    if any(each.facts is not None and each.facts.is_loading for each in view.members):
        return base
    return _move_to(view, base, choose(view), is_planned=False)


def _found_restored(view: GroupView, base: Decision) -> Decision:
    """Find the first primary among those that copied the data with which the group begins."""
    choice = choose_restored(view)
    if choice.best is None:
        finding = Finding(Kind.AWAITING_DATA, "", choice.facts)
        return replace(base, findings=(*base.findings, finding), reasons=choice.facts)
    return _move_to(view, base, choice, is_planned=False)


def _followers(view: GroupView, member: Member) -> int:
    return sum(
        each.facts is not None and each.facts.primary == member.address for each in view.members
    )


def _fullness(member: Member) -> tuple[int, int]:
    keys = 0 if member.facts is None else member.facts.keys or 0
    return -keys, member.ordinal


def _adopt(view: GroupView, base: Decision, member: Member) -> Decision:
    lineage = _lineage_of(view, member)
    record = replace(view.record, primary=member.name, lineage=lineage, term=view.term)
    reasons = (f"{member.name} is the primary that is found",)
    return replace(base, steps=(WriteRecord(record),), reasons=reasons)


def _lineage_of(view: GroupView, member: Member) -> Lineage | None:
    """Return whose data those of a primary are that nobody wrote down before.

    Where its replicas lost it and hold more than it does, it has restarted since they followed it:
    theirs are the group's data.
    """
    said = member.facts
    left = [
        each.facts
        for each in view.members
        if each.facts is not None
        and each.facts.role is Role.REPLICA
        and each.facts.primary == member.address
        and each.facts.history
    ]
    if said is not None and said.role is Role.PRIMARY:
        left = [
            each
            for each in left
            if each.history != said.history
            and not each.is_link_up
            and (each.keys or 0) > (said.keys or 0)
        ]
        if not left:
            return Lineage(said.history, keys=said.keys or 0)
    if not left:
        return None
    best = max(left, key=lambda each: each.offset or 0)
    return Lineage(best.history, offset=best.offset or 0, keys=best.keys or 0)


def _keep(view: GroupView, base: Decision, now: Instant) -> Decision:
    """Look after a group whose primary serves; move the primary where there is a reason to."""
    motive = upkeep.why_move(view)
    primary = view.primary
    assert primary is not None
    base = _put_off(view, base, now)
    is_held = motive.is_voluntary and upkeep.waits(view, now)
    is_paused = now < view.memory.planned_not_before and not primary.is_terminating
    if motive.reason and not is_held and not is_paused:
        choice = choose_planned(view, motive.wanted)
        if choice.best is not None:
            moved = _move_to(view, base, choice, is_planned=True)
            return replace(moved, reasons=(motive.reason, *choice.facts))
        base = replace(base, reasons=(f"{motive.reason}, but nobody can take over", *choice.facts))
        if view.intent.switch_to:
            refusal = "; ".join(choice.facts) or "there is no replica"
            base = replace(base, steps=(ClearRequest(refusal, is_refused=True),))
    if view.intent.switch_to == primary.name:
        done = ClearRequest(f"{primary.name} is the primary", is_refused=False)
        base = replace(base, steps=(*base.steps, done))
    steps, memory = upkeep.steps_for(view, now)
    return replace(base, steps=(*base.steps, *steps), memory=memory)


def _put_off(view: GroupView, base: Decision, now: Instant) -> Decision:
    """Say what waits for its time, and have it looked at again then."""
    waiting, begin = upkeep.what_waits(view, now), view.intent.voluntary_from
    if not waiting or begin is None:
        return base
    return replace(base, waiting=waiting, wake_at=min(begin, base.wake_at or begin))


def _fail_over(view: GroupView, verdict: Verdict, base: Decision) -> Decision:
    primary = view.primary
    if not view.record.primary and view.intent.restores is not None:
        return _found_restored(view, base)
    if verdict.state is State.DEMOTED and primary is not None and primary.facts is not None:
        for each in view.others(primary.name):
            is_leader = each.address is not None and each.address == primary.facts.primary
            if is_leader and each.said_role is Role.PRIMARY and why_unusable(each) is None:
                reasons = f"{each.name} is followed by the former primary"
                return _move_to(view, base, Choice(each, (reasons,)), is_planned=False)
    decision = _move_to(view, base, choose(view), is_planned=False)
    if view.record.move is None and not decision.steps and verdict.state is State.REBORN:
        # What it would be told belongs to data that may be thrown away again.
        decision = replace(decision, steps=tuple(_out_of_service(view, keep="")))
    return replace(decision, reasons=(*verdict.reasons, *decision.reasons))


def _move_to(view: GroupView, base: Decision, choice: Choice, *, is_planned: bool) -> Decision:
    """Begin a move, or say why there is none."""
    best = choice.best
    if best is None:
        kind = Kind.DATA_LOSS_RISK if choice.risk else Kind.NO_SUCCESSOR
        finding = Finding(kind, "", choice.risk or choice.facts)
        return replace(base, findings=(*base.findings, finding), reasons=choice.facts)
    epoch = Epoch(view.record.epoch + 1)
    move = Move(best.name, best.incarnation, view.record.primary, is_planned, epoch)
    record = replace(view.record, move=move, epoch=epoch, term=view.term)
    steps = (WriteRecord(record), *_move_steps(replace(view, record=record), best, move))
    return replace(base, steps=steps, reasons=choice.facts)


def _move_steps(view: GroupView, to: Member, move: Move) -> list[Step]:
    """Return what makes the chosen one the primary, from wherever the move is now."""
    facts = to.facts
    assert facts is not None
    assert to.address is not None
    steps: list[Step] = []
    if view.intent.switch_to and move.is_planned:
        steps.append(ClearRequest(f"{to.name} takes over", is_refused=False))
    steps += _out_of_service(view, keep=to.name)
    away = view.member(move.away_from)
    if facts.role is Role.REPLICA:
        if move.is_planned and _hands_over(view, to, away):
            steps.append(TakeOver(to.name, move.away_from, view.policy.take_over_s))
        else:
            if away is not None and away.is_reachable and away.name != to.name:
                steps.append(Fence(away.name))
            steps.append(Promote(to.name, facts.history))
    steps.append(BringIntoService(to.name, Service.PRIMARY, to.address))
    return steps


def _hands_over(view: GroupView, to: Member, away: Member | None) -> bool:
    facts = to.facts
    return (
        facts is not None
        and away is not None
        and facts.primary == away.address
        and facts.is_link_up
        and view.memory.failed_take_over != to.name
    )


def _out_of_service(view: GroupView, keep: str) -> list[TakeOutOfService]:
    return [
        TakeOutOfService(each.name) for each in view.others(keep) if each.service is Service.PRIMARY
    ]


def _carry_on(view: GroupView, verdict: Verdict, base: Decision, now: Instant) -> Decision:
    """Continue a move that is written down, whoever began it."""
    move = view.record.move
    assert move is not None
    to = view.member(move.to)
    lost = _why_lost(view, to, move, now)
    if to is None or lost is not None:
        return _turn_back(view, verdict, base, now, lost or f"{move.to} is gone")
    if to.facts is None or not to.is_reachable:
        return base
    if to.facts.role is Role.PRIMARY:
        return _finish(view, base, to)
    if view.memory.failed_take_over != to.name:
        if reason := _why_turn_back(view, verdict, to, move):
            return _turn_back(view, verdict, base, now, reason)
        is_handing_over = move.is_planned and _hands_over(view, to, view.member(move.away_from))
        if verdict.state in (State.SILENT, State.LOADING) and not is_handing_over:
            return base
    # A hand-over that failed may still take effect: promoting the chosen one ends that danger.
    return replace(base, steps=tuple(_move_steps(view, to, move)))


def _why_turn_back(view: GroupView, verdict: Verdict, to: Member, move: Move) -> str:
    """Return why the primary had better stay, or an empty text."""
    hands_over = _hands_over(view, to, view.member(move.away_from))
    if verdict.state is State.SERVING:
        if not move.is_planned:
            return "it serves again"
        if view.memory.refused_take_over == to.name:
            return "the hand-over was refused"
        return "" if hands_over else f"{to.name} lost its link to it"
    if verdict.state is State.UNREACHABLE and not (move.is_planned and hands_over):
        return "only we cannot reach it"
    return ""


def _why_lost(view: GroupView, to: Member | None, move: Move, now: Instant) -> str | None:
    """Return why the chosen one of a move cannot become the primary any more, or None."""
    if to is None or to.is_process_gone:
        return f"{move.to} is gone"
    if to.incarnation != move.incarnation:
        return f"{move.to} has restarted"
    if to.is_fenced:
        return f"{move.to} was fenced by a person"
    if to.is_terminating and to.said_role is not Role.PRIMARY:
        return f"{move.to} is being stopped"
    if to.contact.failing_since is not None:
        contact = to.contact
        limit = view.policy.refused_after if contact.is_refused else view.policy.silent_after
        if now - to.contact.failing_since >= limit:
            return f"{move.to} gives no answer"
    return None


def _turn_back(
    view: GroupView, verdict: Verdict, base: Decision, now: Instant, why: str
) -> Decision:
    """End a move whose chosen one is lost: stay with a primary that serves, or choose again."""
    primary = view.primary
    stays = verdict.state in (State.SERVING, State.UNREACHABLE)
    if stays and primary is not None and primary.address is not None:
        record = replace(view.record, move=None, term=view.term)
        steps: list[Step] = list(_out_of_service(view, keep=primary.name))
        if not primary.is_fenced:
            steps.append(BringIntoService(primary.name, Service.PRIMARY, primary.address))
        steps.append(WriteRecord(record))
        later = Instant(now + view.policy.planned_pause)
        memory = replace(view.memory, planned_not_before=later, refused_take_over="")
        reasons = (f"the primary stays: {why}",)
        return replace(base, steps=tuple(steps), memory=memory, reasons=reasons)
    if verdict.state in (State.SILENT, State.LOADING):
        return base
    decision = _fail_over(view, verdict, base)
    return replace(decision, reasons=(why, *decision.reasons))


def _finish(view: GroupView, base: Decision, to: Member) -> Decision:
    """End a move whose chosen one is a primary."""
    facts, before = to.facts, view.record.lineage
    assert facts is not None
    assert to.address is not None
    steps: list[Step] = list(_out_of_service(view, keep=to.name))
    if to.service is not Service.PRIMARY or to.led_by != to.address.host:
        steps.append(BringIntoService(to.name, Service.PRIMARY, to.address))
    lineage = Lineage(facts.history, keys=facts.keys or 0)
    if before is not None and before.history != facts.history:
        lineage = replace(lineage, history_before=before.history, offset_before=before.offset)
    record = Record(
        primary=to.name,
        lineage=lineage,
        stale=tuple(name for name in view.record.stale if name != to.name),
        epoch=view.record.epoch,
        term=view.term,
    )
    steps.append(WriteRecord(record))
    memory = replace(view.memory, failed_take_over="", refused_take_over="", followed=())
    return replace(base, steps=tuple(steps), memory=memory)
