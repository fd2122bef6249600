"""Decide what is down: subjectively (we see it), objectively (a quorum sees it), and when our own
senses are not to be trusted (TILT).

Source: `sentinelCheckSubjectivelyDown`, `sentinelCheckObjectivelyDown`,
`sentinelCheckTiltCondition`, redis/src/sentinel.c (7.0.15), evaluated when they become true.
"""

from everfly.core import lineage, probing
from everfly.core.effects import SendScriptKill
from everfly.core.model import Instant, Role
from everfly.core.notices import Event
from everfly.core.records import Group, Instance, Peer
from everfly.core.turn import State, Turn

VALID_PONGS = ("PONG", "LOADING", "MASTERDOWN")
"""Replies to PING that prove health, by their beginning. `sentinelPingReplyCallback`."""


GONE_AFTER_REFUSALS = 2
"""A reset of the connection and a refusal of the next one. One alone may be CLIENT KILL."""


def check_instance(turn: Turn, instance: Instance) -> bool:
    """Set or clear the subjective down of a primary or replica. Return whether it changed."""
    reason = _why_down(turn, instance)
    if (reason is not None) == (instance.s_down_since is not None):
        return False
    if reason is None:
        instance.s_down_since = None
        instance.script_kill_is_sent = False
        turn.notify(Event.S_UP, instance)
        return True
    instance.s_down_since = instance.was_s_down_at = turn.now
    turn.notify(Event.S_DOWN, instance)
    turn.explain(instance.group, f"{instance.address} is subjectively down", reason)
    if instance.role is Role.PRIMARY:
        # The choice of a new primary is as good as what is known of the replicas by then.
        for replica in instance.group.replicas.values():
            probing.want_info(turn, replica)
    return True


def check_peer(turn: Turn, peer: Peer) -> None:
    """Set or clear the subjective down of another Sentinel."""
    owes_since = peer.shared.link.owes_since
    at = None if owes_since is None else owes_since + peer.group.settings.down_after
    is_down = at is not None and at <= turn.now
    if at is not None and not is_down:
        turn.wake(peer, at)
    if is_down and peer.s_down_since is None:
        peer.s_down_since = turn.now
        turn.notify(Event.S_DOWN, peer)
    elif not is_down and peer.s_down_since is not None:
        peer.s_down_since = None
        turn.notify(Event.S_UP, peer)


def _why_down(turn: Turn, instance: Instance) -> str | None:
    """Return why an instance is down, or None; ask to be woken when that may change."""
    settings = instance.group.settings
    now = turn.now
    owes_since = instance.commands.owes_since
    if owes_since is not None:
        if now - owes_since >= settings.down_after:
            return f"silent for {now - owes_since} ms (down-after {settings.down_after} ms)"
        turn.wake(instance, owes_since + settings.down_after)
    if instance.role is Role.REPLICA:
        return None
    if turn.state.policy.fast_down and instance.commands.refusals >= GONE_AFTER_REFUSALS:
        return "its host refuses connections: the process is gone"
    if instance.is_reborn:
        return "restarted with less data than its replicas hold"
    if instance.role_reported is Role.REPLICA:
        patience = _patience_with_a_replica(turn, instance.group)
        at = instance.role_reported_at + patience
        if now > at:
            return f"says that it is a replica, for {now - instance.role_reported_at} ms"
        turn.wake(instance, at + 1)
    if instance.rebooted_at is not None:
        at = instance.rebooted_at + settings.reboot_down_after
        if now > at:
            return f"rebooted and not serving for {now - instance.rebooted_at} ms"
        turn.wake(instance, at + 1)
    return None


def _patience_with_a_replica(turn: Turn, group: Group) -> int:
    """Return how long a primary may say that it is a replica.

    Where we see to whom it has handed its role, peers that had a part in it tell us within a
    publish period or two; otherwise it was the engine's own FAILOVER, and all look for the primary
    where it is no more.
    """
    policy = turn.state.policy
    # One that a failover of ours replaces follows whom we promoted, and is called down no more.
    is_replaced = group.current is not group.primary and group.primary.s_down_since is None
    if lineage.heir(group) is not None and not is_replaced:
        return policy.heir_wait_periods * policy.publish_period
    return group.settings.down_after + 2 * policy.info_period


def on_pong(turn: Turn, instance: Instance, reply: str) -> None:
    """Note an instance's answer to PING."""
    link = instance.commands
    link.pong_at = turn.now
    if reply == "PONG":
        link.ok_pong_at = turn.now
        link.owes_since = None
        instance.rebooted_at = None
    elif reply.startswith(VALID_PONGS):
        link.ok_pong_at = turn.now
        link.owes_since = None
    elif (
        reply.startswith("BUSY")
        and instance.s_down_since is not None
        and not instance.script_kill_is_sent
    ):
        # A script that runs for longer than down-after: killing it may be all that is needed.
        instance.script_kill_is_sent = True
        link.pending += 1
        turn.emit(SendScriptKill(link.open_id))


def witnesses(turn: Turn, group: Group) -> int:
    """Count who sees the primary down: myself and each peer that lately said so."""
    oldest = turn.now - 5 * turn.state.policy.ask_period
    return 1 + sum(
        peer.says_down and peer.answered_at is not None and peer.answered_at > oldest
        for peer in group.peers.values()
    )


def check_group(turn: Turn, group: Group) -> None:
    """Set or clear the objective down of a group's primary."""
    seen_by = witnesses(turn, group)
    is_down = group.primary.s_down_since is not None and seen_by >= group.settings.quorum
    if is_down and group.o_down_since is None:
        group.o_down_since = turn.now
        group.splits = 0
        turn.notify(Event.O_DOWN, group.primary, f"#quorum {seen_by}/{group.settings.quorum}")
    elif not is_down and group.o_down_since is not None:
        group.o_down_since = None
        turn.notify(Event.O_UP, group.primary)


def check_tilt(turn: Turn, deadline: Instant | None) -> bool:
    """Enter TILT when this turn comes far later than the core asked for. Return whether it ended.

    A process that slept cannot know whether others were silent. The clock is monotonic, so steps
    of the wall clock, which trouble Redis Sentinel, do not count.
    """
    state = turn.state
    policy = state.policy
    if deadline is not None and turn.now - deadline > policy.tilt_trigger:
        state.tilt_since = turn.now
        turn.proclaim(Event.TILT, "#tilt mode entered")
    if state.tilt_since is None or turn.now - state.tilt_since < policy.tilt_period:
        return False
    state.tilt_since = None
    turn.proclaim(Event.UNTILT, "#tilt mode exited")
    return True


def tilt_ends_at(state: State) -> Instant:
    """Return when TILT, which is on, is over."""
    assert state.tilt_since is not None, "TILT is on"
    return Instant(state.tilt_since + state.policy.tilt_period)
