"""Carry out one failover: the states and what leads from one to the next.

    wait_start ──elected or forced──► select_slave ──► send_slaveof_noone ──► wait_promotion
        │ not elected                    │ no good slave                           │ too long
        ▼                                ▼                                         ▼
      abort                            abort                                     abort

    wait_promotion ──INFO says master──► reconf_slaves ──all follow, or time is up──► update_config

Each handler does what its state allows now and returns whether the state changed; what is not yet
possible asks to be woken. Source: `sentinelFailoverStateMachine` and the functions it calls,
redis/src/sentinel.c (7.0.15), acting on facts as they come instead of on ticks.
"""

from collections.abc import Callable

from everfly.core import candidate, election, hand_over, lineage, probing
from everfly.core.effects import Crash, ReconfigureClients
from everfly.core.hand_over import abort, chosen, send_role
from everfly.core.notices import Event
from everfly.core.records import Failover, FailoverState, Group, Instance, Reconf
from everfly.core.topology import switch_primary
from everfly.core.turn import Turn


def advance(turn: Turn, group: Group) -> None:
    """Go as far as the facts allow."""
    while (failover := group.failover) is not None and _HANDLERS[failover.state](
        turn, group, failover
    ):
        pass


def on_promoted(turn: Turn, group: Group, failover: Failover) -> None:
    """Note that the chosen replica says it is a primary: the new configuration is in effect."""
    promoted = chosen(failover)
    failover.hand_over_ends_at = None
    group.config_epoch = failover.epoch
    _enter(turn, failover, FailoverState.RECONF)
    turn.persist()
    turn.notify(Event.PROMOTED, promoted)
    if turn.state.crash_after_promotion:
        turn.emit(Crash())
    turn.notify(Event.STATE_RECONF, group.primary)
    turn.emit(
        ReconfigureClients(
            group.name, is_leader=True, old=group.primary.address, new=promoted.address
        )
    )
    if failover.is_forced and group.primary.is_identified:
        # It lives: it must follow at once, and its clients must look for the new one.
        send_role(turn, group.primary, promoted.address, failover.epoch)
        hand_over.resume_writes(turn, group, failover)
    # Peers switch on our hello; the sooner it is heard, the shorter two truths exist.
    probing.greet_all_now(turn, group)


def _wait_start(turn: Turn, group: Group, failover: Failover) -> bool:
    state = turn.state
    if not failover.is_forced:
        if election.is_superseded(turn, group, failover):
            turn.notify(Event.ABORT_NOT_ELECTED, group.primary)
            abort(turn, group, failover)
            return True
        leader = election.winner(group, failover.epoch)
        if leader != state.me:
            return _not_elected(turn, group, failover)
    turn.notify(Event.ELECTED, group.primary)
    if state.crash_after_election:
        turn.emit(Crash())
    group.splits = 0
    _enter(turn, failover, FailoverState.SELECT)
    turn.notify(Event.STATE_SELECT, group.primary)
    return True


def _not_elected(turn: Turn, group: Group, failover: Failover) -> bool:
    """Wait for more votes, or end an election that we cannot win."""
    limit = min(turn.state.policy.election_timeout, group.settings.failover_timeout)
    at = failover.started_at + limit
    is_split = election.is_split(group, failover.epoch)
    if is_split:
        election.retry_soon(turn, group)
    if is_split or turn.now > at:
        turn.notify(Event.ABORT_NOT_ELECTED, group.primary)
        abort(turn, group, failover)
        return True
    turn.wake(group, at + 1)
    return False


def _select(turn: Turn, group: Group, failover: Failover) -> bool:
    policy = turn.state.policy
    at = failover.changed_at + policy.info_wait
    awaited = any(
        (replica.info_is_pending or replica.info_is_wanted)
        and replica.commands.is_up
        and replica.s_down_since is None
        for replica in group.replicas.values()
    )
    if awaited and turn.now < at:
        # What we know of offsets may be seconds old; the answers are a round trip away.
        turn.wake(group, at)
        return False
    choice = candidate.choose(group, turn.now, policy, only=failover.wanted)
    turn.explain(group, f"choice of a new primary, epoch {failover.epoch}", *choice.facts)
    if choice.best is None:
        turn.notify(Event.ABORT_NO_GOOD_REPLICA, group.primary)
        abort(turn, group, failover, "; ".join(choice.facts) or "there are no replicas")
        return True
    failover.promoted = choice.best
    turn.notify(Event.SELECTED, choice.best)
    _enter(turn, failover, FailoverState.SEND_PROMOTION)
    turn.notify(Event.STATE_SEND_PROMOTION, choice.best)
    return True


def _send_promotion(turn: Turn, group: Group, failover: Failover) -> bool:
    # Chosen in this very step, for one thing because it is connected.
    promoted = chosen(failover)
    promoted.reconf_at = turn.now
    obstacle = hand_over.obstacle(turn, group, promoted) if failover.is_forced else "it is down"
    if obstacle is None:
        hand_over.begin(turn, group, failover, promoted)
    elif failover.must_hand_over:
        hand_over.give_up(turn, group, "no switchover; the primary stays", obstacle)
        return True
    else:
        send_role(turn, promoted, None, failover.epoch)
    _enter(turn, failover, FailoverState.WAIT_PROMOTION)
    turn.notify(Event.STATE_WAIT_PROMOTION, promoted)
    return True


def _wait_promotion(turn: Turn, group: Group, failover: Failover) -> bool:
    """Give up when it is late. Until then its INFO leads on, through `on_promoted`."""
    if failover.hand_over_ends_at is not None:
        return hand_over.wait(turn, group, failover, failover.hand_over_ends_at)
    at = failover.changed_at + group.settings.failover_timeout
    if turn.now <= at:
        turn.wake(group, at + 1)
        return False
    turn.notify(Event.ABORT_REPLICA_TIMEOUT, group.primary)
    abort(turn, group, failover)
    return True


def _reconf(turn: Turn, group: Group, failover: Failover) -> bool:
    promoted = chosen(failover)
    at = failover.changed_at + group.settings.failover_timeout
    unfinished = [
        replica
        for replica in group.replicas.values()
        if replica is not promoted
        and replica.reconf is not Reconf.DONE
        and not lineage.is_foreign(turn, replica)
    ]
    if promoted.s_down_since is not None or turn.now > at:
        # Genuine Sentinels stay here for as long as the promoted one is down. Ending instead lets
        # the next failover, away from it, begin.
        turn.notify(Event.END_FOR_TIMEOUT, group.primary)
        turn.notify(Event.END, group.primary)
        _repoint_at_last(turn, unfinished, promoted, failover)
    else:
        _repoint_some(turn, group, unfinished, promoted)
        if any(r.reconf is not Reconf.DONE and r.s_down_since is None for r in unfinished):
            turn.wake(group, at + 1)
            return False
        turn.notify(Event.END, group.primary)
    _enter(turn, failover, FailoverState.UPDATE_CONFIG)
    return True


def _repoint_some(turn: Turn, group: Group, unfinished: list[Instance], promoted: Instance) -> None:
    """Have replicas follow the new primary, `parallel-syncs` at a time."""
    limit = turn.state.policy.replica_reconf_timeout
    moving = [r for r in unfinished if r.reconf in {Reconf.SENT, Reconf.IN_PROGRESS}]
    in_progress = len(moving)
    for replica in moving:
        if replica.reconf is Reconf.SENT:
            at = replica.reconf_at + limit
            if turn.now > at:
                turn.notify(Event.RECONF_SENT_TIMEOUT, replica)
                replica.reconf = Reconf.DONE
                in_progress -= 1
            else:
                turn.wake(group, at + 1)
    for replica in unfinished:
        if in_progress >= group.settings.parallel_syncs:
            break
        if replica.reconf is Reconf.NONE and replica.is_identified:
            replica.reconf = Reconf.SENT
            replica.reconf_at = turn.now
            in_progress += 1
            turn.notify(Event.RECONF_SENT, replica)
            send_role(turn, replica, promoted.address, group.config_epoch)


def _repoint_at_last(
    turn: Turn, unfinished: list[Instance], promoted: Instance, failover: Failover
) -> None:
    """Time is up: tell everyone who is left, without waiting for what comes of it."""
    for replica in unfinished:
        if replica.reconf is not Reconf.SENT and replica.is_identified:
            replica.reconf = Reconf.SENT
            turn.notify(Event.RECONF_SENT_BEST_EFFORT, replica)
            send_role(turn, replica, promoted.address, failover.epoch)


def _update_config(turn: Turn, group: Group, failover: Failover) -> bool:
    switch_primary(turn, group, chosen(failover).address)
    return True


def _enter(turn: Turn, failover: Failover, state: FailoverState) -> None:
    failover.state = state
    failover.changed_at = turn.now


_Handler = Callable[[Turn, Group, Failover], bool]

_HANDLERS: dict[FailoverState, _Handler] = {
    FailoverState.WAIT_START: _wait_start,
    FailoverState.SELECT: _select,
    FailoverState.SEND_PROMOTION: _send_promotion,
    FailoverState.WAIT_PROMOTION: _wait_promotion,
    FailoverState.RECONF: _reconf,
    FailoverState.UPDATE_CONFIG: _update_config,
}
