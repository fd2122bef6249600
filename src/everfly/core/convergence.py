"""Take an instance's INFO and bring back what strayed: new replicas, changed roles, reboots,
promotions, replicas of a wrong primary, primaries that should be replicas or are reborn empty.

Source: `sentinelRefreshInstanceInfo`, redis/src/sentinel.c (7.0.15), with differences:

- A returned old primary, which our config epoch proves stale, is demoted at once. Genuine
  Sentinels wait for 8 s after its first INFO, and what clients write to it meanwhile is lost.
- A primary that restarted with less data than its replicas hold counts as down at once: otherwise
  its replicas would soon copy its emptiness.
- Whom a primary follows, which has become a replica without us, is learned.
"""

from everfly.core import failover, hand_over, lineage, probing
from everfly.core.model import Engine, InstanceReport, Instant, Role
from everfly.core.notices import Event
from everfly.core.records import FailoverState, Group, Instance, Reconf
from everfly.core.topology import learn_replicas
from everfly.core.turn import Turn


def on_info(turn: Turn, instance: Instance, report: InstanceReport) -> None:
    """Take what an instance says of itself."""
    before = instance.report
    instance.info_at = turn.now
    has_rebooted = _note_run_id(turn, instance, report)
    if report.role is None:
        return
    instance.report = report
    if instance.role is Role.PRIMARY and report.role is Role.PRIMARY and not has_rebooted:
        lineage.note_history(turn, instance.group, report)
    if instance.role is Role.PRIMARY:
        _learn_from_primary(turn, instance.group, report)
    _note_link(turn, instance, before)
    _note_role(turn, instance, report.role)
    if has_rebooted and instance.role is Role.PRIMARY:
        _on_restart(turn, instance, before)
    if turn.state.tilt_since is not None:
        # The rest is acting, not watching.
        return
    if instance.role is Role.PRIMARY:
        hand_over.on_primary_info(instance.group, report.offset)
        lineage.judge_restart(turn, instance.group)
        return
    lineage.judge_restart(turn, instance.group)
    if report.role is Role.PRIMARY:
        _on_replica_says_primary(turn, instance)
    else:
        instance.is_stale_primary = False
        _on_replica_says_replica(turn, instance, report)


def _learn_from_primary(turn: Turn, group: Group, report: InstanceReport) -> None:
    if report.role is Role.PRIMARY:
        learn_replicas(turn, group, report.replicas)
    elif report.primary is not None and lineage.continues_ours(group, report):
        # It has handed its role over, perhaps to one that we were told to forget.
        learn_replicas(turn, group, (report.primary,))


def _on_restart(turn: Turn, primary: Instance, before: InstanceReport) -> None:
    """Ask the replicas of a restarted primary what they hold: that shows what it lost."""
    hand_over.on_primary_restarted(turn, primary.group)
    if not primary.is_reborn:
        primary.former = before
    report = primary.report
    primary.restarted_at = Instant(turn.now - 1_000 * (report.uptime_s or 0))
    primary.keys_at_restart = report.keys
    for replica in primary.group.replicas.values():
        probing.want_info(turn, replica)


def _note_run_id(turn: Turn, instance: Instance, report: InstanceReport) -> bool:
    """Remember the run id; return whether it shows a restart."""
    before = instance.report
    is_first = not instance.run_id
    is_same = report.run_id == instance.run_id and not lineage.began_anew(before, report)
    if not report.run_id or is_same:
        return False
    instance.run_id = report.run_id
    if is_first:
        return False
    turn.notify(Event.REBOOT, instance)
    if instance.role is Role.PRIMARY and instance.group.settings.reboot_down_after > 0:
        instance.rebooted_at = turn.now
    return True


def _note_link(turn: Turn, instance: Instance, before: InstanceReport) -> None:
    report = instance.report
    if report.primary != before.primary:
        instance.followed_at = turn.now
    if report.role is Role.PRIMARY or report.primary_link_up:
        instance.unlinked_at = None
    elif instance.unlinked_at is None:
        instance.unlinked_at = turn.now


def _note_role(turn: Turn, instance: Instance, role: Role) -> None:
    if role is instance.role_reported:
        return
    instance.role_reported = role
    instance.role_reported_at = turn.now
    if role is Role.REPLICA:
        instance.followed_at = turn.now
    group = instance.group
    if instance is group.primary and group.current is not instance:
        # It has handed its role over and follows, as it was told.
        return
    is_as_configured = role is instance.role
    event = Event.ROLE_CHANGE if is_as_configured else Event.ROLE_MISMATCH
    turn.notify(event, instance, f"new reported role is {role.value}")


def _on_replica_says_primary(turn: Turn, replica: Instance) -> None:
    group = replica.group
    running = group.failover
    if running is not None and running.promoted is replica:
        if running.state is FailoverState.WAIT_PROMOTION:
            failover.on_promoted(turn, group, running)
        return
    policy = turn.state.policy
    patience = policy.convert_wait_periods * policy.publish_period
    # A vote of ours for a later failover of this group would mean that a newer configuration, which
    # may name this very instance, is on its way.
    is_stale = replica.is_stale_primary and group.leader_epoch <= group.config_epoch
    is_settled = turn.now - replica.role_reported_at > patience and _has_been_up(
        turn, replica, patience
    )
    if (is_stale or is_settled) and _looks_sane(turn, group):
        _follow_primary(turn, replica, Event.CONVERT_TO_REPLICA)


def _on_replica_says_replica(turn: Turn, replica: Instance, report: InstanceReport) -> None:
    group = replica.group
    if report.primary is not None and report.primary != group.primary.address:
        patience = group.settings.failover_timeout
        if (
            group.failover is None
            and turn.now - replica.followed_at > patience
            and _has_been_up(turn, replica, patience)
            and _looks_sane(turn, group)
        ):
            _follow_primary(turn, replica, Event.FIX_REPLICA)
    elif _has_given_up(turn, replica) and _looks_sane(turn, group):
        _follow_primary(turn, replica, Event.FIX_REPLICA)
    if group.failover is None or report.primary != group.current.address:
        return
    if replica.reconf is Reconf.SENT:
        replica.reconf = Reconf.IN_PROGRESS
        turn.notify(Event.RECONF_IN_PROGRESS, replica)
    if replica.reconf is Reconf.IN_PROGRESS and report.primary_link_up:
        replica.reconf = Reconf.DONE
        turn.notify(Event.RECONF_DONE, replica)


def _has_given_up(turn: Turn, replica: Instance) -> bool:
    """Whether a Dragonfly has left a primary that restarted, for failover-timeout already.

    It does so where it is told to keep its data then (`--break_replication_on_master_restart`), and
    never tries again by itself. Whoever waits for it to be promoted has had the time.
    """
    report, patience = replica.report, replica.group.settings.failover_timeout
    at = replica.brought_back_at
    return (
        report.engine is Engine.DRAGONFLY
        and not report.primary_link_up
        and (report.primary_link_down_for or 0) > patience
        and (at is None or turn.now - at > patience)
        and _has_been_up(turn, replica, patience)
    )


def _follow_primary(turn: Turn, replica: Instance, event: Event) -> None:
    group = replica.group
    at = replica.brought_back_at
    if at is not None and turn.now - at < turn.state.policy.info_failover_period:
        # Its answer to an order is followed by INFO at once. Where it refuses, or takes time to
        # obey, orders and INFO would chase each other as fast as the network goes.
        return
    if lineage.is_foreign(turn, replica):
        return
    replica.brought_back_at = turn.now
    turn.notify(event, replica)
    hand_over.send_role(turn, replica, group.primary.address, group.config_epoch)


def _looks_sane(turn: Turn, group: Group) -> bool:
    """Whether the primary is one that a strayed instance may be told to follow."""
    primary = group.primary
    return (
        group.failover is None
        and primary.commands.is_up
        and primary.report.role is Role.PRIMARY
        and primary.s_down_since is None
        and not primary.is_reborn
        and primary.info_at is not None
        and turn.now - primary.info_at < 2 * turn.state.policy.info_period
    )


def _has_been_up(turn: Turn, instance: Instance, period: int) -> bool:
    at = instance.was_s_down_at
    return at is None or turn.now - at > period
