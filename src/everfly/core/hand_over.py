"""Move the role of a living primary to a replica without losing an acknowledged write.

Two ways, by engine (`HandOver`):

- *Take-over*: the replica is told; the engine does the rest and ends the old primary's process.
- *Pause*: the primary holds its clients' writes; its offset then is the level; the replica that has
  reached it has everything and is promoted; the old primary is told to follow, which cuts its
  clients, who look for the new one. If we die half-way the pause ends by itself and nothing has
  happened, or peers hear of the promotion and demote the old primary.

When an engine cannot, the failover goes on as genuine Sentinels do it: beside the old primary.
When it only takes too long, or fails, it is given up where that is safe.
"""

from everfly.core import probing, topology
from everfly.core.effects import Accepted, Answer, PauseWrites, Reconfigure, ResumeWrites, TakeOver
from everfly.core.model import Address, Epoch, HandOver, Instant, Millis
from everfly.core.notices import Event
from everfly.core.records import Failover, Group, Instance, Reconf
from everfly.core.turn import Turn

CANNOT = ("NOPERM", "ERR unknown command")
"""Beginnings of refusals of REPLTAKEOVER by which another try would be refused too. Others tell
that it failed and that all is as before: `ReplTakeOver`, dragonfly/src/server/server_family.cc."""

IS_OFF = "handing over is turned off by a setting"


def obstacle(turn: Turn, group: Group, promoted: Instance) -> str | None:
    """Return why the primary cannot hand over to a replica, or None if it can."""
    primary, report = group.primary, promoted.report
    if not turn.state.policy.hands_over:
        return IS_OFF
    if primary.s_down_since is not None or not primary.commands.is_up:
        return f"the primary {primary.address} does not answer us"
    if report.hands_over is HandOver.NONE:
        return f"{promoted.address} is of an engine without a way to hand over"
    if report.primary != primary.address:
        return f"{promoted.address} follows {report.primary}, not {primary.address}"
    if not report.primary_link_up or report.is_syncing:
        return f"{promoted.address} is not in sync with its primary"
    return None


def begin(turn: Turn, group: Group, failover: Failover, promoted: Instance) -> None:
    """Order the take-over, or the pause."""
    policy = turn.state.policy
    if failover.waiting is not None:
        turn.emit(Answer(failover.waiting, Accepted()))
        failover.waiting = None
    limit = Millis(min(policy.hand_over_limit, group.settings.failover_timeout))
    failover.hand_over_ends_at = Instant(turn.now + limit + policy.hand_over_grace)
    if promoted.report.hands_over is HandOver.BY_TAKEOVER:
        link = promoted.commands
        turn.emit(TakeOver(link.open_id, group.name, promoted.address, failover.epoch, limit))
    else:
        link = group.primary.commands
        # Longer than we wait: the pause must not end while the promotion is under way.
        pause = Millis(limit + 2 * policy.hand_over_grace)
        turn.emit(PauseWrites(link.open_id, pause))
    link.pending += 1


def wait(turn: Turn, group: Group, failover: Failover, ends_at: Instant) -> bool:
    """Watch a hand-over that is under way; return whether the failover's state changed."""
    promoted = chosen(failover)
    has_all = failover.level is not None and _has_reached(promoted, failover.level)
    if has_all and promoted.commands.is_up:
        failover.hand_over_ends_at = None
        failover.changed_at = turn.now
        send_role(turn, promoted, None, failover.epoch)
        return False
    if group.o_down_since is not None:
        # Nothing is left to be handed over, and peers agree.
        turn.explain(group, "the primary went down while it handed over")
        _promote_beside(turn, group, failover)
        return False
    if turn.now <= ends_at:
        turn.wake(group, ends_at + 1)
        return False
    if promoted.report.hands_over is HandOver.BY_TAKEOVER:
        # A take-over that was not answered can still happen later, and would end the old primary.
        # Becoming a primary cuts the replica's link to it, and with that the danger.
        turn.explain(group, "the take-over was not answered in time")
        _promote_beside(turn, group, failover)
        return False
    give_up(turn, group, "the replica did not catch up in time; the primary stays")
    return True


def on_take_over_answered(turn: Turn, group: Group, error: str | None) -> None:
    """Note that a take-over is done, or refused."""
    failover = group.failover
    if failover is None or failover.hand_over_ends_at is None:
        return
    if error is None:
        probing.want_info(turn, chosen(failover))
        return
    if error.startswith(CANNOT):
        _on_refused(turn, group, failover, "the take-over was refused", error)
        return
    # Clients write to the primary again: a promotion beside it would lose what they write.
    give_up(turn, group, "the take-over failed; the primary stays", error)


def on_pause_answered(turn: Turn, instance: Instance, error: str | None) -> None:
    """Note that writes are paused, or that the engine cannot."""
    group, failover = instance.group, instance.group.failover
    if failover is None or failover.hand_over_ends_at is None:
        if error is None and instance is group.current:
            # It began after we gave up, and clients wait for nothing. At a primary that was
            # replaced meanwhile it holds back what would be lost.
            _resume(turn, instance)
        return
    if error is not None:
        _on_refused(turn, group, failover, "the pause of writes was refused", error)
        return
    failover.is_paused = True
    # INFOs that come from now on were written after the pause began.
    probing.want_info(turn, group.primary)
    probing.want_info(turn, chosen(failover))


def on_primary_info(group: Group, offset: int | None) -> None:
    """Note how far a paused primary has written."""
    failover = group.failover
    if failover is not None and failover.is_paused and failover.level is None:
        failover.level = offset


def on_primary_restarted(turn: Turn, group: Group) -> None:
    """Give a pause up that ended with the process: what it held back is written now."""
    failover = group.failover
    if (
        failover is not None
        and failover.hand_over_ends_at is not None
        and chosen(failover).report.hands_over is HandOver.BY_PAUSE
    ):
        failover.is_paused = False
        give_up(turn, group, "the primary restarted while it handed over; it stays")


def resume_writes(turn: Turn, group: Group, failover: Failover) -> None:
    """End the pause at the old primary, if there is one."""
    if failover.is_paused and group.primary.commands.is_up:
        _resume(turn, group.primary)


def send_role(turn: Turn, instance: Instance, follow: Address | None, epoch: Epoch) -> None:
    """Have an instance follow another one, or become a primary. INFO is asked when it answers."""
    link = instance.commands
    link.pending += 1
    instance.order_is_doubtful = False
    turn.emit(
        Reconfigure(
            link=link.open_id,
            group=instance.group.name,
            instance=instance.address,
            follow=follow,
            epoch=epoch,
        )
    )


def give_up(turn: Turn, group: Group, decision: str, *facts: str) -> None:
    """End a hand-over, and leave the role where it is."""
    failover = group.failover
    assert failover is not None, "a hand-over is under way"
    turn.explain(group, decision, *facts)
    turn.notify(Event.ABORT_REPLICA_TIMEOUT, group.primary)
    abort(turn, group, failover, "; ".join(facts) or decision)
    # The wait is for attempts that may have half happened; this one has not.
    group.next_attempt_at = None


def abort(turn: Turn, group: Group, failover: Failover, reason: str = "") -> None:
    """Give an attempt up. Only before the promotion took effect."""
    resume_writes(turn, group, failover)
    topology.end_attempt(turn, group, reason)
    for replica in group.replicas.values():
        replica.reconf = Reconf.NONE


def chosen(failover: Failover) -> Instance:
    """Return the replica that a failover past its choice promotes."""
    assert failover.promoted is not None, "chosen in select_slave"
    return failover.promoted


def _has_reached(replica: Instance, level: int) -> bool:
    return replica.report.offset is not None and replica.report.offset >= level


def _resume(turn: Turn, instance: Instance) -> None:
    link = instance.commands
    link.pending += 1
    turn.emit(ResumeWrites(link.open_id))


def _on_refused(turn: Turn, group: Group, failover: Failover, what: str, error: str) -> None:
    """Go on without the engine's help, unless only a hand-over was asked for."""
    if failover.must_hand_over:
        give_up(turn, group, f"{what}; the primary stays", error)
        return
    turn.explain(group, what, error)
    _promote_beside(turn, group, failover)


def _promote_beside(turn: Turn, group: Group, failover: Failover) -> None:
    """Promote as genuine Sentinels do, beside a primary that is not asked."""
    failover.hand_over_ends_at = None
    failover.changed_at = turn.now
    promoted = chosen(failover)
    if promoted.commands.is_up:
        send_role(turn, promoted, None, failover.epoch)
    turn.wake(group, turn.now)
