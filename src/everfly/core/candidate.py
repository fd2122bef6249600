"""Choose the replica to promote: filters first, then a sort key. Each rejection has a reason.

Source: `sentinelSelectSlave`, `compareSlavesForPromotion`, redis/src/sentinel.c (7.0.15), with two
differences: how long a candidate may have been without its primary is measured against when the
primary was last seen alive, not against when it was declared down. After a pause of all Sentinels
or TILT the two lie far apart, and genuine Sentinels then reject every replica for ever. And one to
which the primary has handed its role by itself goes first: clients write to it already.
"""

from dataclasses import dataclass

from everfly.core import lineage
from everfly.core.model import Instant, Role
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
    rejected: list[str] = []
    for replica in group.replicas.values():
        reason = why_unfit(replica, now, policy)
        if reason is None and only is not None and replica is not only:
            reason = "another one was asked for"
        if reason is None:
            fit.append(replica)
        else:
            rejected.append(f"{replica.address} rejected: {reason}")
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
    return _why_data_unfit(replica, now, policy)


def _why_data_unfit(replica: Instance, now: Instant, policy: Policy) -> str | None:
    report, primary = replica.report, replica.group.primary
    if lineage.strange_company(replica):
        return f"belongs to another deployment, history {report.history} was never ours"
    if report.primary_link_down_for is not None:
        limit = policy.link_down_share_of_down_after * replica.group.settings.down_after
        if primary.s_down_since is not None:
            limit += now - min(primary.s_down_since, _served_until(primary))
        if report.primary_link_down_for > limit:
            return f"without its primary for {report.primary_link_down_for} ms (limit {limit} ms)"
    if primary.is_reborn and report.history == primary.report.history:
        return "already follows the restarted primary, which holds less data"
    if lineage.is_astray(replica):
        return _why_astray_unfit(replica, now)
    return None


def _why_astray_unfit(replica: Instance, now: Instant) -> str | None:
    """Return why one that is a primary by itself cannot be promoted yet.

    Its data may be of any age, while the primary may only be slow. Once that one has been gone for
    failover-timeout, old data are better than none.
    """
    primary = replica.group.primary
    if primary.is_reborn:
        return "is a primary by itself, and not better than the restarted primary"
    gone_for = 0 if primary.s_down_since is None else now - primary.s_down_since
    limit = replica.group.settings.failover_timeout
    if gone_for > limit:
        return None
    return (
        f"is a primary by itself, and the group's is gone for {gone_for} ms only (limit {limit} ms)"
    )


def _served_until(primary: Instance) -> Instant:
    """Return when a primary was last known to be alive and a primary."""
    report = primary.report
    if primary.is_reborn and report.uptime_s is not None and primary.info_at is not None:
        # What its replicas lost is the process before this one.
        return Instant(primary.info_at - 1_000 * report.uptime_s)
    if primary.role_reported is Role.REPLICA:
        return min(primary.role_reported_at, primary.commands.ok_pong_at)
    return primary.commands.ok_pong_at


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
