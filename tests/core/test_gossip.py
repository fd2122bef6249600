"""A hello that is heard again is recognised by identity, which must change nothing."""

import os
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.moves import ME, NAMES, PEER_PLACES, PEERS, PLACES, Live, Move, moves
from core.promises import Run, machine
from everfly.core.inputs import HelloHeard
from everfly.core.model import Address, Epoch, Hello, Instant

MORE = int(os.environ.get("EVERFLY_EXAMPLES", "0"))

# Few of them, so that they come again; some agree with what is watched.
HELLOS = [
    Hello(place, peer, Epoch(1), NAMES[0], primary, Epoch(epoch))
    for place, peer in zip(PEER_PLACES[:2], PEERS[:2], strict=True)
    for primary in PLACES[:2]
    for epoch in (0, 3)
]
heard = st.sampled_from(HELLOS).map(lambda hello: HelloHeard(None, hello))
lives = st.lists(st.one_of(heard, heard, heard, moves), min_size=5, max_size=40)


def fresh(move: Move) -> Move:
    """Return the same move, of objects that nobody has seen before."""
    if not isinstance(move, HelloHeard):
        return move
    hello = move.hello
    sender, primary = (
        Address(each.host, each.port, each.ip) for each in (hello.sender, hello.primary)
    )
    return HelloHeard(move.link, replace(hello, sender=sender, primary=primary))


@settings(
    max_examples=MORE or 60,
    derandomize=not MORE,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(lives)
def test_a_hello_means_the_same_whether_or_not_it_was_heard_before(life: list[Move]) -> None:
    first, second = Run(machine(1)), Run(machine(1))
    first.play(life)
    second.play([fresh(move) for move in life])
    assert first.log == second.log
    assert first.machine.durable_state() == second.machine.durable_state()


def test_a_hello_that_is_heard_again_is_a_sign_of_life() -> None:
    run = Run(machine(1))
    run.play([Live(300, frozenset(), ME), HelloHeard(None, HELLOS[0])])
    for _ in range(3):
        run.play([Live(1_500, frozenset(), ME), HelloHeard(None, HELLOS[0])])
        view = run.machine.group_view(Instant(run.now), NAMES[0])
        assert view is not None
        (ago,) = [peer.last_hello_ago for peer in view.peers if peer.run_id == PEERS[0]]
        assert ago == 0
