"""Turn a view of a group into named findings, each with the facts that speak for it.

Rules: a primary is dead when we cannot reach it *and* a second observer agrees: its replicas lost
it, or its platform does not hear its host, finds it unwell or knows that its process ended, or an
observer on another machine cannot reach it either and no replica goes on applying its writes. A
primary that only we cannot reach is left alone. One whose history is not the recorded one has
restarted: its data are other data.
"""

from dataclasses import dataclass
from enum import Enum

from everfly.core.group_view import GroupView, Member
from everfly.core.model import Instant, Millis, Role


class Kind(Enum):
    """Names of findings, as people read them."""

    HEALTHY = "Healthy"
    NO_PRIMARY = "NoPrimary"
    PRIMARY_SILENT = "PrimarySilent"
    PRIMARY_DOWN = "PrimaryDown"
    PRIMARY_UNREACHABLE = "PrimaryUnreachable"
    PRIMARY_TERMINATING = "PrimaryTerminating"
    PRIMARY_LEAVING = "PrimaryLeaving"
    PRIMARY_REBORN = "PrimaryReborn"
    PRIMARY_DEMOTED = "PrimaryDemoted"
    PRIMARY_LOADING = "PrimaryLoading"
    TWO_PRIMARIES = "TwoPrimaries"
    REPLICA_ASTRAY = "ReplicaAstray"
    REPLICA_LINK_DOWN = "ReplicaLinkDown"
    REPLICA_UNREACHABLE = "ReplicaUnreachable"
    REPLICA_STALE = "ReplicaStale"
    INSTANCES_MISSING = "InstancesMissing"
    NO_SUCCESSOR = "NoSuccessor"
    AWAITING_DATA = "AwaitingData"
    DATA_LOSS_RISK = "DataLossRisk"
    SUPERSEDED = "Superseded"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is so, about whom, and why we believe it."""

    kind: Kind
    subject: str = ""
    reasons: tuple[str, ...] = ()


class State(Enum):
    """How the rightful primary is."""

    ABSENT = "absent"
    """There is none recorded yet."""
    SERVING = "serving"
    LOADING = "loading"
    SILENT = "silent"
    """Without an answer, not yet for long enough to say more."""
    UNREACHABLE = "unreachable"
    DOWN = "down"
    REBORN = "reborn"
    DEMOTED = "demoted"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the rightful primary is, why we believe it, and when to look again at the latest."""

    state: State
    reasons: tuple[str, ...] = ()
    until: Instant | None = None


def judge_primary(view: GroupView, now: Instant) -> Verdict:
    """Tell how the rightful primary is."""
    if not view.record.primary:
        return Verdict(State.ABSENT)
    primary = view.primary
    if primary is None:
        return Verdict(State.DOWN, (f"{view.record.primary} is gone",))
    if primary.is_reachable:
        return _judge_answer(view, primary)
    return _judge_silence(view, primary, now)


def _judge_answer(view: GroupView, primary: Member) -> Verdict:
    facts, lineage = primary.facts, view.record.lineage
    assert facts is not None
    if facts.role is Role.REPLICA:
        return Verdict(State.DEMOTED, (f"it follows {facts.primary}",))
    if lineage is not None and facts.history != lineage.history:
        return Verdict(
            State.REBORN,
            (f"its history is {facts.history}, that of the group is {lineage.history}",),
        )
    if facts.is_loading:
        return Verdict(State.LOADING, ("it reads its dataset from disk",))
    return Verdict(State.SERVING)


def _judge_silence(view: GroupView, primary: Member, now: Instant) -> Verdict:
    contact = primary.contact
    limit = view.policy.refused_after if contact.is_refused else view.policy.silent_after
    if contact.is_refused and primary.is_terminating:
        limit = Millis(0)  # it was told to end, and has
    if primary.is_process_gone:
        return Verdict(State.DOWN, ("its process ended",))
    if contact.failing_since is None:  # it was never asked, or only begins to answer
        return Verdict(State.SILENT, ("it has not been asked yet",))
    silent_for = now - contact.failing_since
    what = "it refuses connections" if contact.is_refused else "it gives no answer"
    reason = f"{what} for {silent_for} ms"
    if silent_for < limit:
        return Verdict(State.SILENT, (reason,), Instant(contact.failing_since + limit))
    witnesses = (
        _platform_witnesses(primary)
        or _replica_witnesses(view, primary)
        or _outside_witnesses(view, primary, now)
    )
    if witnesses:
        return Verdict(State.DOWN, (reason, *witnesses))
    return Verdict(State.UNREACHABLE, (reason, "nobody else says that it is down"))


def _platform_witnesses(primary: Member) -> tuple[str, ...]:
    # The word of the platform counts alone: a replica does not notice that its primary's host has
    # lost its power, because nothing ends their connection.
    told = (
        (not primary.is_host_ready, "its host is not ready"),
        (not primary.is_ready, "its own platform finds it unwell"),
        (primary.is_terminating, "it was being stopped"),
    )
    return tuple(text for is_so, text in told if is_so)


def _replica_witnesses(view: GroupView, primary: Member) -> tuple[str, ...]:
    """Return the replicas' word; empty unless all that can be asked agree."""
    said = []
    for replica in view.others(primary.name):
        facts = replica.facts
        if not replica.is_reachable or facts is None or facts.primary != primary.address:
            continue
        if not hears_primary(facts.is_link_up, facts.link_silent_for, view):
            said.append(f"{replica.name} lost it")
        else:
            return ()
    return tuple(said)


def _outside_witnesses(view: GroupView, primary: Member, now: Instant) -> tuple[str, ...]:
    # A replica of some engines says for ever that its link to a frozen primary is up, so its word
    # counts for nothing here; writes that it goes on to apply prove that the primary lives.
    if any(is_fed(view, each, primary, now) for each in view.others(primary.name)):
        return ()
    return tuple(
        f"{each.witness} cannot reach it either"
        for each in view.statements
        if each.incarnation == primary.incarnation
        and each.silent_for >= view.policy.witness_silent_after
    )


def is_fed(view: GroupView, replica: Member, primary: Member, now: Instant) -> bool:
    """Tell whether a replica applied writes of its primary a moment ago: it lives, then."""
    return (
        replica.applied_at is not None
        and replica.facts is not None
        and replica.facts.primary == primary.address
        and now - replica.applied_at < view.policy.fed_within
    )


def hears_primary(is_link_up: bool, silent_for: Millis | None, view: GroupView) -> bool:
    """Tell whether a replica that reports this about its link still hears its primary."""
    if not is_link_up:
        return False
    return silent_for is None or silent_for < view.policy.link_silent_after


_FINDINGS = {
    State.ABSENT: Kind.NO_PRIMARY,
    State.LOADING: Kind.PRIMARY_LOADING,
    State.SILENT: Kind.PRIMARY_SILENT,
    State.UNREACHABLE: Kind.PRIMARY_UNREACHABLE,
    State.DOWN: Kind.PRIMARY_DOWN,
    State.REBORN: Kind.PRIMARY_REBORN,
    State.DEMOTED: Kind.PRIMARY_DEMOTED,
}


def diagnose(view: GroupView, verdict: Verdict, now: Instant) -> tuple[Finding, ...]:
    """Return what is wrong with a group, the primary first; `Healthy` alone when nothing is."""
    findings: list[Finding] = []
    name = view.record.primary
    if kind := _FINDINGS.get(verdict.state):
        findings.append(Finding(kind, name, verdict.reasons))
    primary = view.primary
    if primary is not None and primary.is_terminating:
        findings.append(Finding(Kind.PRIMARY_TERMINATING, name, ("it is being stopped",)))
    elif primary is not None and primary.is_host_leaving:
        findings.append(Finding(Kind.PRIMARY_LEAVING, name, ("its host is being emptied",)))
    for member in view.others(name):
        findings += _about(view, member, now)
    missing = view.intent.running - len(view.members)
    if missing > 0:
        findings.append(Finding(Kind.INSTANCES_MISSING, "", (f"{missing} are not there yet",)))
    return tuple(findings) or (Finding(Kind.HEALTHY, name),)


def _about(view: GroupView, member: Member, now: Instant) -> list[Finding]:
    facts, primary = member.facts, view.primary
    if not member.is_reachable or facts is None:
        if member.contact.failing_since is None:
            return []
        failing_for = now - member.contact.failing_since
        text = f"no answer for {failing_for} ms"
        return [Finding(Kind.REPLICA_UNREACHABLE, member.name, (text,))]
    found = []
    if facts.role is Role.PRIMARY:
        if view.record.primary and not facts.is_loading:
            found.append(Finding(Kind.TWO_PRIMARIES, member.name, ("it says that it is one too",)))
    elif primary is not None and facts.primary != primary.address:
        found.append(Finding(Kind.REPLICA_ASTRAY, member.name, (f"it follows {facts.primary}",)))
    elif not facts.is_link_up:
        since = member.link_down_since
        text = "its link is down" + (f" for {now - since} ms" if since is not None else "")
        found.append(Finding(Kind.REPLICA_LINK_DOWN, member.name, (text,)))
    if member.name in view.record.stale:
        found.append(Finding(Kind.REPLICA_STALE, member.name, ("it missed writes",)))
    return found
