"""What an observer on another machine adds: a primary that only we cannot reach stays."""

import pytest

from core.test_plan_tables import NOW, place, primary, replica, saying, silent, view
from everfly.core.diagnosis import State, judge_primary
from everfly.core.group_view import GroupView, Member, Statement
from everfly.core.model import Instant, Millis
from everfly.core.plan import decide
from everfly.core.steps import Promote

LOST_FOR = 4_000


def saying_silent(silent_for: int = 3_000, incarnation: str = "x") -> Statement:
    return Statement("operator-2", incarnation, Millis(silent_for))


def seen(*replicas: Member, said: tuple[Statement, ...]) -> GroupView:
    members = replicas or (replica(1), replica(2))
    return view(silent(primary(), LOST_FOR), *members, statements=said)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ((saying_silent(),), State.DOWN),
        ((saying_silent(2_000),), State.DOWN),
        ((saying_silent(1_999),), State.UNREACHABLE),
        ((saying_silent(incarnation="y"),), State.UNREACHABLE),
        ((saying_silent(incarnation="y"), saying_silent()), State.DOWN),
        ((), State.UNREACHABLE),
    ],
)
def test_another_observer_counts_when_it_speaks_of_the_same_process_and_waited(
    said: tuple[Statement, ...], state: State
) -> None:
    assert judge_primary(seen(said=said), NOW).state is state


def test_another_observer_makes_nobody_hasty() -> None:
    early = view(silent(primary(), 2_999), replica(1), statements=(saying_silent(10_000),))
    assert judge_primary(early, NOW).state is State.SILENT


def test_another_observer_says_nothing_against_a_primary_that_answers_us() -> None:
    assert judge_primary(view(statements=(saying_silent(),)), NOW).state is State.SERVING


@pytest.mark.parametrize(
    ("fed", "state"),
    [
        (replica(1, applied_at=Instant(NOW - 1_999)), State.UNREACHABLE),
        (replica(1, applied_at=Instant(NOW - 2_000)), State.DOWN),
        (saying(replica(1, applied_at=NOW), primary=place(7)), State.DOWN),
        (replica(1, applied_at=NOW, facts=None), State.DOWN),
    ],
)
def test_writes_that_a_replica_goes_on_to_apply_prove_that_the_primary_lives(
    fed: Member, state: State
) -> None:
    assert judge_primary(seen(fed, replica(2), said=(saying_silent(),)), NOW).state is state


def test_the_reason_names_the_observer() -> None:
    reasons = judge_primary(seen(said=(saying_silent(),)), NOW).reasons
    assert "operator-2 cannot reach it either" in reasons


def test_a_primary_that_two_observers_lost_is_replaced() -> None:
    steps = decide(seen(said=(saying_silent(),)), NOW).steps
    assert any(isinstance(each, Promote) for each in steps)
    assert decide(seen(said=()), NOW).steps == ()


def test_why_the_primary_was_given_up_is_told_with_the_choice() -> None:
    reasons = decide(seen(said=(saying_silent(),)), NOW).reasons
    assert reasons[:2] == ("it gives no answer for 4000 ms", "operator-2 cannot reach it either")
    assert any("p-1" in each for each in reasons[2:])
