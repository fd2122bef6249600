"""Carry out what people and clients ask: monitor, remove, reset, set, fail over.

Requests arrive validated; what can still be wrong here depends on state and is refused with its
reason. Each is answered once, after what it changed is on disk.
"""

from typing import assert_never

from everfly.core import candidate, election, hand_over, topology
from everfly.core.effects import Accepted, Answer, Counted, Refusal, Refused, Result
from everfly.core.inputs import (
    AnnouncementChanged,
    FailoverRequested,
    FailureSimulationRequested,
    FlushRequested,
    MonitorRequested,
    PolicyChanged,
    RemoveRequested,
    Request,
    ResetRequested,
    SettingsChanged,
)
from everfly.core.model import Token
from everfly.core.notices import Event
from everfly.core.turn import Turn


def carry_out(turn: Turn, request: Request) -> None:  # noqa: C901 - one case a request
    """Do what is asked, and answer."""
    match request:
        case MonitorRequested():
            result = _monitor(turn, request)
        case RemoveRequested():
            result = _remove(turn, request)
        case ResetRequested():
            result = _reset(turn, request)
        case FailoverRequested():
            begun = _fail_over(turn, request)
            if begun is None:
                return
            result = begun
        case SettingsChanged():
            result = _set(turn, request)
        case AnnouncementChanged():
            result = _announce(turn, request)
        case PolicyChanged():
            for name, value in request.changes:
                setattr(turn.state.policy, name, value)
            result = Accepted()
        case FailureSimulationRequested():
            turn.state.crash_after_election = request.crash_after_election
            turn.state.crash_after_promotion = request.crash_after_promotion
            result = Accepted()
        case FlushRequested():
            turn.persist()
            result = Accepted()
        case _:
            assert_never(request)
    _answer(turn, request.token, result)


def _answer(turn: Turn, token: Token, result: Result) -> None:
    turn.emit(Answer(token, result))


def _monitor(turn: Turn, request: MonitorRequested) -> Result:
    if request.group in turn.state.groups:
        return Refused(Refusal.DUPLICATE_GROUP)
    group = topology.add_group(turn, request.group, request.primary, request.settings)
    # If it was watched before, a vote of this epoch may have been given and forgotten.
    group.leader_epoch = turn.state.current_epoch
    turn.persist()
    return Accepted()


def _remove(turn: Turn, request: RemoveRequested) -> Result:
    group = turn.state.groups.get(request.group)
    if group is None:
        return Refused(Refusal.NO_SUCH_GROUP)
    turn.notify(Event.UNMONITOR, group.primary)
    topology.forget_group(turn, group)
    turn.persist()
    return Accepted()


def _reset(turn: Turn, request: ResetRequested) -> Result:
    groups = [turn.state.groups[name] for name in request.groups if name in turn.state.groups]
    for group in groups:
        topology.reset_group(turn, group)
    if groups:
        turn.persist()
    return Counted(len(groups))


def _fail_over(turn: Turn, request: FailoverRequested) -> Result | None:
    """Begin a failover; None: it is a switchover, answered when the primary is asked."""
    group = turn.state.groups.get(request.group)
    if group is None:
        return Refused(Refusal.NO_SUCH_GROUP)
    if group.failover is not None:
        return Refused(Refusal.FAILOVER_IN_PROGRESS)
    if request.is_switchover and not turn.state.policy.hands_over:
        return Refused(Refusal.NO_HAND_OVER, hand_over.IS_OFF)
    wanted = None
    if request.to is not None:
        wanted = topology.find_replica(group, request.to)
        if wanted is None:
            return Refused(Refusal.NO_GOOD_REPLICA, f"{request.to} is no replica of {group.name}")
    if not request.is_switchover:
        choice = candidate.choose(group, turn.now, turn.state.policy, only=wanted)
        if choice.best is None:
            turn.explain(group, "no replica for the failover that was asked for", *choice.facts)
            return Refused(Refusal.NO_GOOD_REPLICA)
    attempt = election.start(turn, group, is_forced=True)
    attempt.wanted = wanted
    turn.wake(group, turn.now)
    if not request.is_switchover:
        return Accepted()
    # What we know of replicas may be as old as the last INFO: a fresh one decides.
    attempt.must_hand_over = True
    attempt.waiting = request.token
    return None


def _set(turn: Turn, request: SettingsChanged) -> Result:
    group = turn.state.groups.get(request.group)
    if group is None:
        return Refused(Refusal.NO_SUCH_GROUP)
    group.settings = request.settings
    for option, value in request.changes:
        turn.notify(Event.SET, group.primary, f"{option} {value}")
    for instance in group.instances():
        if request.drops_links:
            topology.reconnect(turn, instance)
        turn.wake(instance, turn.now)
    for peer in group.peers.values():
        turn.wake(peer, turn.now)
        turn.wake(peer.shared, turn.now)
    turn.wake(group, turn.now)
    turn.persist()
    return Accepted()


def _announce(turn: Turn, request: AnnouncementChanged) -> Result:
    state = turn.state
    state.announce_host = request.announce_host
    state.announce_port = request.announce_port
    state.shows_hostnames = request.shows_hostnames
    if request.drops_peer_links:
        for shared in state.peer_links.values():
            topology.reconnect(turn, shared)
    turn.persist()
    return Accepted()
