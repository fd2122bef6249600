"""Agree on one leader for one epoch: ask peers, vote, count, take turns.

A leader needs the votes of a majority of all known Sentinels and at least the quorum. A vote is
given once an epoch, to the first who asks, and is on disk before anyone hears of it.

Sentinels that act on events instead of ticks would all stand for election within a millisecond and
split the vote. So those who can reach each other take turns, `election_slot` apart, in an order
that each computes from run ids and the epoch; and a vote that nobody can win any more is retried
after a short delay instead of 2 x failover-timeout, in turns twice as long. Genuine peers
need to know nothing of either: both only change when we ask.

Source: `sentinelAskMasterStateToOtherSentinels`, `sentinelVoteLeader`, `sentinelGetLeader`,
`sentinelStartFailoverIfNeeded`, redis/src/sentinel.c (7.0.15).
"""

import zlib
from collections import Counter

from everfly.core import probing
from everfly.core.effects import Ask
from everfly.core.model import Epoch, Instant, Millis, RunId
from everfly.core.notices import Event
from everfly.core.records import Failover, FailoverState, Group, Peer
from everfly.core.turn import Turn

SPLITS_RETRIED = 5
"""After so many split votes in a row something other than bad luck is at work: wait as genuine
Sentinels do."""


def adopt_epoch(turn: Turn, group: Group, epoch: Epoch) -> None:
    """Follow a greater epoch that somebody else has begun."""
    if epoch > turn.state.current_epoch:
        turn.state.current_epoch = epoch
        turn.persist()
        turn.announce(Event.NEW_EPOCH, group, str(epoch))


def vote(turn: Turn, group: Group, epoch: Epoch, candidate: RunId) -> None:
    """Give our vote of an epoch to a candidate, unless it is given already or the epoch is over."""
    state = turn.state
    adopt_epoch(turn, group, epoch)
    if group.leader_epoch >= epoch or state.current_epoch > epoch:
        return
    group.leader = candidate
    group.leader_epoch = state.current_epoch
    turn.persist()
    turn.announce(Event.VOTE, group, f"{candidate} {epoch}")
    if candidate != state.me:
        # Give the one we voted for the time to finish before we try ourselves.
        _wait_before_next_attempt(turn, group)


def is_committed(group: Group) -> bool:
    """Whether we lead a failover of this group past its election.

    A second leader must not be helped then: its promotion would undo ours within a second.
    """
    failover = group.failover
    return failover is not None and failover.state is not FailoverState.WAIT_START


def stand_if_due(turn: Turn, group: Group) -> None:
    """Start a failover of our own when the primary is objectively down and it is our turn."""
    if group.o_down_since is None or group.failover is not None:
        return
    earliest = group.o_down_since
    if group.next_attempt_at is not None and group.next_attempt_at > earliest:
        earliest = group.next_attempt_at
    at = earliest + turn_of(turn, group) * _slot(turn, group)
    if turn.now < at:
        turn.wake(group, at)
        return
    start(turn, group, is_forced=False)


def turn_of(turn: Turn, group: Group) -> int:
    """Return how many reachable peers stand before us in the next epoch."""
    state = turn.state
    epoch = state.current_epoch + 1
    mine = _draw(state.me, epoch)
    patience = Millis(2 * state.policy.ping_period)
    return sum(
        _draw(peer.run_id, epoch) < mine
        for peer in group.peers.values()
        if peer.s_down_since is None and peer.shared.link.is_answering(turn.now, patience)
    )


def start(turn: Turn, group: Group, *, is_forced: bool) -> Failover:
    """Begin a failover in a new epoch."""
    state = turn.state
    state.current_epoch = Epoch(state.current_epoch + 1)
    turn.persist()
    turn.announce(Event.NEW_EPOCH, group, str(state.current_epoch))
    turn.notify(Event.TRY_FAILOVER, group.primary)
    started_at = _wait_before_next_attempt(turn, group)
    attempt = group.failover = Failover(state.current_epoch, started_at, turn.now, is_forced)
    for replica in group.replicas.values():
        probing.want_info(turn, replica)
    # Also when nobody is asked: nobody else shall have our vote in this epoch.
    vote(turn, group, state.current_epoch, state.me)
    if not is_forced:
        for peer in group.peers.values():
            peer.asked_at = None
    return attempt


def ask_peers(turn: Turn, group: Group, *, at_least_every: Millis | None = None) -> None:
    """Ask peers whether the primary is down and, during a failover, for their vote."""
    down_since = group.primary.s_down_since
    if down_since is None:
        return
    policy = turn.state.policy
    failover = group.failover
    is_open = group.o_down_since is None or (
        failover is not None and failover.state is FailoverState.WAIT_START
    )
    is_fast = is_open and turn.now - down_since < policy.ask_fast_for
    period = at_least_every or (policy.ask_fast_period if is_fast else policy.ask_period)
    for peer in group.peers.values():
        if not peer.shared.link.is_up or probing.is_choked(policy, peer.shared.link, peer.shared):
            continue
        if peer.asked_at is not None and turn.now - peer.asked_at < period:
            turn.wake(group, peer.asked_at + period)
            continue
        _ask(turn, group, peer)
        turn.wake(group, turn.now + period)


def is_superseded(turn: Turn, group: Group, failover: Failover) -> bool:
    """Whether we have voted for somebody else in a later epoch than our own attempt's.

    If the later epoch has only to do with other groups, our attempt moves on to it instead: voters
    refuse what is older than the epoch they know, and when many groups fail at once every attempt
    would otherwise starve.
    """
    state = turn.state
    if failover.epoch == state.current_epoch:
        return False
    if group.leader_epoch > failover.epoch:
        return True
    failover.epoch = state.current_epoch
    vote(turn, group, failover.epoch, state.me)
    for peer in group.peers.values():
        peer.asked_at = None
    return False


def winner(group: Group, epoch: Epoch) -> RunId | None:
    """Return who has won the election of an epoch, if somebody has."""
    for candidate, count in _votes(group, epoch).items():
        if count >= _needed(group):
            return candidate
    return None


def is_split(group: Group, epoch: Epoch) -> bool:
    """Whether nobody can win this epoch any more although enough Sentinels can be reached."""
    votes = _votes(group, epoch)
    reachable = [
        peer
        for peer in group.peers.values()
        if peer.s_down_since is None and peer.shared.link.is_up
    ]
    undecided = sum(peer.vote is None or peer.vote[1] < epoch for peer in reachable)
    is_lost = max(votes.values()) + undecided < _needed(group)
    return is_lost and len(votes) > 1 and 1 + len(reachable) >= _needed(group)


def retry_soon(turn: Turn, group: Group) -> None:
    """Let the next attempt come shortly, in turns twice as long.

    The dice are for those whose turns are the same because they do not reach each other. They move
    nobody by more than half a turn, or turns would be worth nothing.
    """
    if group.splits >= SPLITS_RETRIED:
        return
    group.splits += 1
    delay = turn.state.policy.election_retry_min
    dice = turn.roll(Millis(_slot(turn, group) // 2))
    group.next_attempt_at = Instant(turn.now + delay + dice)


def _slot(turn: Turn, group: Group) -> int:
    """Return how long a turn is: where votes were split, a vote takes longer than one."""
    return turn.state.policy.election_slot << group.splits


def _ask(turn: Turn, group: Group, peer: Peer) -> None:
    state = turn.state
    link = peer.shared.link
    peer.asked_at = turn.now
    link.pending += 1
    failover = group.failover
    # Genuine Sentinels go on asking for votes after their election; in an epoch that has begun
    # since then such a question would be for a vote that we ourselves gave to somebody else, or
    # still may give.
    stands = (
        failover is not None
        and failover.state is FailoverState.WAIT_START
        and failover.epoch == state.current_epoch
        and group.leader == state.me
    )
    turn.emit(
        Ask(
            link=link.open_id,
            group=group.name,
            primary=group.primary.address,
            epoch=state.current_epoch,
            candidate=state.me if stands else None,
        )
    )


def _votes(group: Group, epoch: Epoch) -> Counter[RunId]:
    """Count the votes of an epoch that we know of, our own among them."""
    votes = Counter(
        peer.vote[0]
        for peer in group.peers.values()
        if peer.vote is not None and peer.vote[1] == epoch
    )
    assert group.leader is not None, "who stands for election has voted"
    votes[group.leader] += 1
    return votes


def _needed(group: Group) -> int:
    voters = len(group.peers) + 1
    return max(voters // 2 + 1, group.settings.quorum)


def _draw(run_id: RunId, epoch: int) -> tuple[int, RunId]:
    return (zlib.crc32(f"{run_id}:{epoch}".encode()), run_id)


def _wait_before_next_attempt(turn: Turn, group: Group) -> Instant:
    """Note that an attempt begins about now; return its start, dice included."""
    started_at = Instant(turn.now + turn.roll(turn.state.policy.desync_max))
    group.next_attempt_at = Instant(started_at + 2 * group.settings.failover_timeout)
    return started_at
