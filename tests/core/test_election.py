"""Sentinels that see each other take turns, and all compute the same order."""

import random
from hashlib import sha1

from hypothesis import given
from hypothesis import strategies as st

from everfly.core import election, topology
from everfly.core.model import Address, Epoch, GroupName, Instant, Millis, RunId
from everfly.core.policy import GroupSettings, Policy
from everfly.core.records import Group
from everfly.core.turn import State, Turn

NOW = Instant(10_000)


def run_id(number: int) -> RunId:
    return RunId(sha1(str(number).encode(), usedforsecurity=False).hexdigest())


def view_of(me: RunId, all_of_us: list[RunId], alive: set[RunId], epoch: int) -> tuple[Turn, Group]:
    """Return what one Sentinel knows of a group and its peers, some of which do not answer."""
    state = State(
        me=me,
        port=26379,
        policy=Policy(),
        dice=random.Random(0),
        current_epoch=Epoch(epoch),
        announce_host="",
        announce_port=0,
        shows_hostnames=False,
    )
    turn = Turn(state, NOW)
    settings = GroupSettings(2, Millis(1_000), Millis(60_000))
    group = topology.add_group(turn, GroupName("cache"), Address("10.0.0.1", 6379), settings)
    for number, peer_id in enumerate(all_of_us):
        if peer_id == me:
            continue
        peer = topology.add_peer(turn, group, peer_id, Address("10.0.1.1", 26379 + number))
        if peer_id in alive:
            peer.shared.link.is_up = True
            peer.shared.link.owes_since = None
    return turn, group


@given(st.integers(1, 7), st.integers(0, 1_000), st.data())
def test_all_who_live_have_a_turn_of_their_own_from_the_first_on(
    count: int, epoch: int, data: st.DataObject
) -> None:
    all_of_us = [run_id(number) for number in range(count)]
    alive = data.draw(st.sets(st.sampled_from(all_of_us), min_size=1))
    turns = [election.turn_of(*view_of(me, all_of_us, alive, epoch)) for me in sorted(alive)]
    assert sorted(turns) == list(range(len(alive)))


def test_the_order_changes_with_the_epochs() -> None:
    all_of_us = [run_id(number) for number in range(3)]
    first = set()
    for epoch in range(30):
        for me in all_of_us:
            if election.turn_of(*view_of(me, all_of_us, set(all_of_us), epoch)) == 0:
                first.add(me)
    assert first == set(all_of_us)


def test_a_peer_that_owes_an_answer_for_long_loses_its_turn() -> None:
    all_of_us = [run_id(number) for number in range(2)]
    for me in all_of_us:
        turn, group = view_of(me, all_of_us, set(all_of_us), 0)
        peer = next(iter(group.peers.values()))
        before = election.turn_of(turn, group)
        peer.shared.link.owes_since = Instant(NOW - 2_000)
        assert election.turn_of(turn, group) == before
        peer.shared.link.owes_since = Instant(NOW - 2_001)
        assert election.turn_of(turn, group) == 0


def test_an_attempt_and_the_wait_for_the_next_one_count_from_one_roll_of_the_dice() -> None:
    turn, group = view_of(run_id(0), [run_id(0)], set(), 0)
    election.start(turn, group, is_forced=False)
    assert group.failover is not None
    assert group.next_attempt_at == group.failover.started_at + 2 * 60_000
    assert NOW <= group.failover.started_at < NOW + 1_000
