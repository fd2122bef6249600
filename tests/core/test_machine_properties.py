"""Whatever comes in, plausible or not, the machine keeps its promises.

The examples are the same each time, so that a failure is everybody's. `EVERFLY_EXAMPLES=N pytest`
tries N random ones instead.
"""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.moves import ME, NAMES, STATE, Live, Move, runs
from core.promises import Run, machine, view_holds
from everfly.core.model import Instant

MORE = int(os.environ.get("EVERFLY_EXAMPLES", "0"))
# On a busy machine an example takes up to a fifth of a second.
pytestmark = pytest.mark.timeout(120 + MORE // 5)


def examples(count: int) -> int:
    return MORE or count


ANYTHING = settings(
    max_examples=examples(80),
    derandomize=not MORE,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@ANYTHING
@given(runs)
def test_anything_may_come_in_and_all_promises_hold(run: list[Move]) -> None:
    played = Run(machine(1))
    played.play(run)
    view_holds(played.machine, Instant(played.now))


@settings(ANYTHING, max_examples=examples(15))
@given(runs, st.integers(0, 3))
def test_same_seed_and_inputs_give_the_same_effects(run: list[Move], seed: int) -> None:
    first, second = Run(machine(seed)), Run(machine(seed))
    first.play(run)
    second.play(run)
    assert first.log == second.log


@settings(ANYTHING, max_examples=examples(15))
@given(runs, runs)
def test_a_restart_remembers_what_is_durable_and_keeps_all_promises(
    before: list[Move], after: list[Move]
) -> None:
    first = Run(machine(1))
    first.play(before)
    state = first.machine.durable_state()
    second = Run(machine(2, state), votes=dict(first.votes))
    second.take(second.machine.start(Instant(second.now)))
    assert second.machine.durable_state() == state
    second.live(Live(1_500, frozenset(), ME))
    for move in after:
        second.move(move)


def test_nothing_to_watch_means_nothing_to_wait_for() -> None:
    idle = machine(1, replace(STATE, groups=()))
    assert idle.start(Instant(0)) == []
    assert idle.next_deadline() is None
    assert idle.group_view(Instant(0), NAMES[0]) is None
    assert idle.current_address(NAMES[0]) is None


@pytest.mark.parametrize("now", [0, 5])
def test_the_clock_may_begin_anywhere(now: int) -> None:
    young = machine(1)
    young.start(Instant(now))
    deadline = young.next_deadline()
    assert deadline is not None
    assert deadline > now
