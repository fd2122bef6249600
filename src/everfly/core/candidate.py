"""Choose the replica to promote: filters first, then a sort key. Each rejection has a reason.

Source: `sentinelSelectSlave`, `compareSlavesForPromotion`, redis/src/sentinel.c (7.0.15), with
these differences:

- How long a candidate may have been without its primary is measured against when the primary was
  last seen alive, not against when it was declared down. After a pause of all Sentinels or TILT the
  two lie far apart, and genuine Sentinels then reject every replica for ever.
- Where all replicas are too late by that, and no better one is merely not connected, one of them is
  promoted when the primary has been gone for failover-timeout.
- One to which the primary has handed its role by itself goes first: clients write to it already.
- One that has no part in the primary's present history comes after those that have.
"""

from dataclasses import dataclass

from everfly.core import lineage
from everfly.core.model import Instant
from everfly.core.policy import Policy
from everfly.core.records import Group, Instance


@dataclass(frozen=True, slots=True)
class Choice:
    """Who is promoted, and why the others are not."""

    best: Instance | None
    facts: tuple[str, ...]
    """A line for each replica, the best first, then the other candidates in order, then the
    rejected ones."""


def choose(group: Group, now: Instant, policy: Policy, *, only: Instance | None = None) -> Choice:
    """Choose among a group's replicas; `only`: take this one or none."""
    fit: list[Instance] = []
    late: dict[Instance, str] = {}
    rejected: list[str] = []
    is_better_awaited = False
    for replica in group.replicas.values():
        reason = _why_unfit_now(replica, now, policy)
        if reason is None and only is not None and replica is not only:
            reason = "another one was asked for"
        too_late = _why_too_late(replica, now, policy)
        if reason is not None:
            is_better_awaited = is_better_awaited or not _is_out_of_the_question(replica)
            rejected.append(f"{replica.address} rejected: {reason}")
        elif too_late is not None:
            late[replica] = too_late
        else:
            fit.append(replica)
    if not (fit or is_better_awaited) and _is_gone_for_good(group, now):
        # None that may come back has more: what is lost is lost.
        fit, late = list(late), {}
    rejected += [f"{replica.address} rejected: {reason}" for replica, reason in late.items()]
    heir = lineage.heir(group)
    fit.sort(key=lambda replica: (replica is not heir, *_preference(replica)))
    facts = [
        f"{replica.address} {'chosen' if replica is fit[0] else 'fit'}: priority "
        f"{replica.report.priority}, offset {_offset(replica)}"
        for replica in fit
    ]
    return Choice(fit[0] if fit else None, (*facts, *rejected))


def why_unfit(replica: Instance, now: Instant, policy: Policy) -> str | None:
    """Return why a replica cannot be promoted, or None if it can."""
    return _why_unfit_now(replica, now, policy) or _why_too_late(replica, now, policy)


def _why_unfit_now(replica: Instance, now: Instant, policy: Policy) -> str | None:
    """Return why a replica cannot be promoted, other than for how old its data are."""
    primary = replica.group.primary
    report = replica.report
    if replica.s_down_since is not None:
        return f"subjectively down for {now - replica.s_down_since} ms"
    if not (replica.commands.is_up and replica.channel.is_up):
        return "not connected"
    fresh = policy.fresh_pings * policy.ping_period
    if now - replica.commands.ok_pong_at > fresh:
        return f"last good PONG {now - replica.commands.ok_pong_at} ms ago (limit {fresh} ms)"
    if report.priority == 0:
        return "priority 0"
    limit = fresh if primary.s_down_since is not None else 3 * policy.info_period
    if replica.info_at is None or now - replica.info_at > limit:
        return f"no INFO within {limit} ms"
    if not replica.is_identified:
        return "no INFO since it was connected anew"
    if lineage.strange_company(replica):
        return f"belongs to another deployment, history {report.history} was never ours"
    if primary.is_reborn and report.history == primary.report.history:
        return "already follows the restarted primary, which holds less data"
    if lineage.is_astray(replica):
        return _why_astray_unfit(replica, now)
    return None


def _why_too_late(replica: Instance, now: Instant, policy: Policy) -> str | None:
    without = lineage.without_primary_for(replica, now)
    limit = lineage.may_be_without_for(replica.group, now, policy)
    return f"without its primary for {without} ms (limit {limit} ms)" if without > limit else None


def _is_out_of_the_question(replica: Instance) -> bool:
    """Whether nobody waits for a replica: it would not be promoted if it were there."""
    return replica.report.priority == 0 or bool(lineage.strange_company(replica))


def _is_gone_for_good(group: Group, now: Instant) -> bool:
    """Whether the primary has been gone for so long that old data are better than none."""
    since = group.primary.s_down_since
    return since is not None and now - since > group.settings.failover_timeout


def _why_astray_unfit(replica: Instance, now: Instant) -> str | None:
    """Return why one that is a primary by itself cannot be promoted yet.

    Its data may be of any age, while the primary may only be slow. Once that one has been gone for
    failover-timeout, old data are better than none.
    """
    group = replica.group
    if group.primary.is_reborn:
        return "is a primary by itself, and not better than the restarted primary"
    if _is_gone_for_good(group, now):
        return None
    since, limit = group.primary.s_down_since, group.settings.failover_timeout
    gone_for = 0 if since is None else now - since
    return (
        f"is a primary by itself, and the group's is gone for {gone_for} ms only (limit {limit} ms)"
    )


def _preference(replica: Instance) -> tuple[bool, bool, int, int, bool, str]:
    report, run_id = replica.report, replica.run_id.lower()
    return (
        lineage.is_astray(replica),
        lineage.is_of_an_older_history(replica),
        report.priority,
        -_offset(replica),
        not run_id,
        run_id,
    )


def _offset(replica: Instance) -> int:
    return replica.report.offset or 0
