"""Read from histories whose data an instance holds: ours, less of ours, or somebody else's.

A history (replication id) names one line of writes; a dataset that continues another's says so. A
restarted process that lost its data begins a new one.
"""

from everfly.core.model import Address, Engine, InstanceReport, Instant, Millis, Role
from everfly.core.policy import Policy
from everfly.core.records import Group, Instance
from everfly.core.turn import Turn


def began_anew(before: InstanceReport, report: InstanceReport) -> bool:
    """Whether two reports with one run id come from two processes.

    Only Dragonfly needs this: its run id is made of a process id, which in a container is always 1.
    """
    if report.engine is not Engine.DRAGONFLY:
        return False
    is_younger = (
        before.uptime_s is not None
        and report.uptime_s is not None
        and report.uptime_s < before.uptime_s
    )
    stayed_primary = before.role is Role.PRIMARY and report.role is Role.PRIMARY
    return is_younger or (stayed_primary and before.history != report.history)


def note_history(turn: Turn, group: Group, report: InstanceReport) -> None:
    """Remember which histories are ours."""
    for history in (report.history_before, report.history):
        if history and history not in group.histories:
            group.histories[history] = None
            if len(group.histories) > turn.state.policy.histories_max:
                del group.histories[next(iter(group.histories))]


def continues_ours(group: Group, report: InstanceReport) -> bool:
    """Whether data continue a history that is known to be ours."""
    return not group.histories.keys().isdisjoint((report.history, report.history_before))


def heir(group: Group) -> Instance | None:
    """Return the replica to which the primary has handed its role without us, or None.

    The engine's own FAILOVER does that: the primary follows it, it is a primary, and its data
    continue ours.
    """
    report = group.primary.report
    if report.role is not Role.REPLICA or report.primary is None:
        return None
    found = group.replicas.get(report.primary)
    if found is None or found.report.role is not Role.PRIMARY or found.s_down_since is not None:
        return None
    return found if continues_ours(group, found.report) and not is_astray(found) else None


def is_foreign(turn: Turn, instance: Instance) -> bool:
    """Whether an instance belongs to another deployment that took over an address of ours.

    To make it follow our primary would destroy somebody's data: genuine Sentinels do.
    It is one when it holds a history that was never ours and keeps company that we do not know.
    """
    company = strange_company(instance)
    is_foreign = bool(company)
    if is_foreign and not instance.is_foreign:
        names = ", ".join(sorted(map(str, company)))
        turn.explain(
            instance.group,
            f"{instance.address} is left alone: it belongs to another deployment",
            f"history {instance.report.history} was never ours",
            f"it is connected with {names}",
        )
    instance.is_foreign = is_foreign
    return is_foreign


def strange_company(instance: Instance) -> set[Address]:
    """Return with whom it is connected that we do not know; empty if it has our data."""
    group, report = instance.group, instance.report
    told = {report.history, report.history_before}
    if not group.histories or not report.history or told & group.histories.keys():
        return set()
    known = {one.address for one in group.instances()}
    company = {*report.replicas, *([report.primary] if report.primary is not None else [])}
    return company - known


def is_astray(replica: Instance) -> bool:
    """Whether a replica is a primary of its own accord: one that was replaced and came back, or
    restarted without being told whom to follow.

    One that a failover promoted, even if that never ended, continues our history and says so.
    Dragonfly does not; then it looks like one that restarted.
    """
    report, group = replica.report, replica.group
    if report.role is not Role.PRIMARY or not group.histories:
        return False
    return replica.is_stale_primary or not continues_ours(group, report)


def without_primary_for(replica: Instance, now: Instant) -> Millis:
    """Return how long a replica has been without its primary, as it says or as we have seen.

    One that never reached the primary that it was told to follow does not say.
    """
    report = replica.report
    if report.role is not Role.REPLICA or report.primary_link_up:
        return Millis(0)
    seen = 0 if replica.unlinked_at is None else now - replica.unlinked_at
    return Millis(max(seen, report.primary_link_down_for or 0))


def may_be_without_for(group: Group, now: Instant, policy: Policy) -> Millis:
    """Return how long a replica may have been without its primary to have about all it wrote."""
    primary = group.primary
    limit = policy.link_down_share_of_down_after * group.settings.down_after
    if primary.s_down_since is not None:
        limit += now - min(primary.s_down_since, _served_until(primary))
    return Millis(limit)


def _served_until(primary: Instance) -> Instant:
    """Return when a primary was last known to be alive and a primary."""
    if primary.is_reborn:
        # What its replicas lost is the process before this one.
        return primary.restarted_at
    if primary.role_reported is Role.REPLICA:
        return min(primary.role_reported_at, primary.commands.ok_pong_at)
    return primary.commands.ok_pong_at


def is_of_an_older_history(replica: Instance) -> bool:
    """Whether a replica lacks all that its primary wrote since it began its present history.

    Offsets of different histories say nothing about each other.
    """
    report, primary = replica.report, replica.group.primary
    history = primary.report.history
    return bool(history) and not (
        primary.is_reborn or history in (report.history, report.history_before)
    )


def judge_restart(turn: Turn, group: Group) -> None:
    """Decide whether a primary that restarted has less than one of its replicas.

    A replica that still has the old history is not connected with the restarted primary yet, or is
    waiting for its dataset; once it has copied that, the old one is gone.
    """
    primary = group.primary
    former, report = primary.former, primary.report
    if former is None or not former.history or report.history == former.history:
        return
    limit = (
        turn.state.policy.link_down_share_of_down_after * group.settings.down_after
        + turn.now
        - primary.restarted_at
    )
    holders = [
        replica
        for replica in group.replicas.values()
        # Or its data go on from there, as those of one that was promoted do.
        if former.history in (replica.report.history, replica.report.history_before)
        and replica.report.history != report.history
        # One that cannot be promoted is no reason to do without the primary.
        and replica.report.priority > 0
        and replica.commands.is_up
        and replica.s_down_since is None
        # Nor is one that was cut off from it long before: it has only some of it.
        and without_primary_for(replica, turn.now) <= limit
    ]
    if report.history_before == former.history and report.offset is not None:
        is_reborn = any((holder.report.offset or 0) > report.offset for holder in holders)
    else:
        # It does not continue our history: its replicas would replace theirs by its own.
        is_reborn = bool(holders)
    if is_reborn and _is_accepted(turn, primary, holders):
        is_reborn = False
        primary.former = None
        turn.explain(
            group,
            f"{primary.address} is taken for the primary that it was before it restarted",
            f"no failover since it restarted {turn.now - primary.restarted_at} ms ago",
            f"it had {primary.keys_at_restart} keys then, no fewer than they",
        )
    if is_reborn != primary.is_reborn:
        primary.is_reborn = is_reborn
        turn.wake(primary, turn.now)


def _is_accepted(turn: Turn, primary: Instance, holders: list[Instance]) -> bool:
    """Whether a primary that restarted without its history came back with its data all the same.

    Dragonfly begins a new history with each process, and says nothing of what it had read from disk
    but the number of its keys. Where that was no smaller than what any replica has, and nobody has
    failed over although there was time for two attempts, clients have written to it for so long
    that its data are what counts. One that came back with less is never accepted.
    """
    keys = primary.keys_at_restart
    patience = 2 * primary.group.settings.failover_timeout
    if keys is None or turn.now - primary.restarted_at <= patience:
        return False
    return all(holder.report.keys is not None and holder.report.keys <= keys for holder in holders)
