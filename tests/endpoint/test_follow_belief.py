"""Whom an endpoint believes, from what Sentinels say: the rules, and what holds in any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.core.model import Address, Instant
from everfly.endpoint.belief import ANEW_AFTER, LINE, Claim, Jury

S1, S2, S3 = (Address("10.0.0.1", port) for port in (1, 2, 3))
A, B, C = (Address("10.0.1.1", port) for port in (6379, 6380, 6381))
T0 = Instant(1_000)


def jury_that_believes(primary: Address, epoch: int) -> Jury:
    jury = Jury(3)
    for sentinel in (S1, S2, S3):
        jury.hear(T0, sentinel, Claim(primary, epoch))
    return jury


def test_nothing_is_believed_before_a_majority_has_answered() -> None:
    jury = Jury(3)
    assert jury.hear(T0, S1, Claim(A, 7)) is None
    assert jury.hear(T0, S1, Claim(A, 7)) is None, "the same Sentinel again is no majority"
    assert jury.belief is None
    belief = jury.hear(T0, S2, Claim(A, 7))
    assert belief is not None
    assert (belief.primary, belief.epoch) == (A, 7)


def test_the_first_belief_is_the_highest_epoch_of_a_majority() -> None:
    jury = Jury(3)
    jury.hear(T0, S1, Claim(A, 7))
    belief = jury.hear(T0, S2, Claim(B, 8))
    assert belief is not None
    assert belief.primary == B


def test_a_higher_epoch_of_one_sentinel_wins_at_once() -> None:
    jury = jury_that_believes(A, 7)
    belief = jury.hear(T0, S3, Claim(B, 8))
    assert belief is not None
    assert belief.primary == B


@pytest.mark.parametrize("stale", [Claim(A, 7), Claim(C, 7), Claim(C, 0)])
def test_a_stale_sentinel_never_wins(stale: Claim) -> None:
    jury = jury_that_believes(B, 8)
    for at in range(0, 60_000, 1_000):
        assert jury.hear(Instant(at), S1, stale) is None
        assert jury.hear(Instant(at), S2, Claim(B, 8)) is None
    assert jury.belief is not None
    assert jury.belief.primary == B


def test_one_epoch_with_two_primaries_goes_by_majority() -> None:
    jury = jury_that_believes(A, 7)
    assert jury.hear(T0, S1, Claim(B, 7)) is None
    belief = jury.hear(T0, S2, Claim(B, 7))
    assert belief is not None
    assert belief.primary == B
    assert jury.hear(T0, S3, Claim(B, 7)) is None, "it is believed already"


def test_epochs_that_begin_anew_are_believed_when_a_majority_has_said_so_for_a_while() -> None:
    jury = jury_that_believes(A, 7)
    old = jury.belief
    assert old is not None
    for sentinel in (S1, S2, S3):
        assert jury.hear(T0, sentinel, Claim(B, 0)) is None
    assert jury.hear(Instant(T0 + ANEW_AFTER - 1), S1, Claim(B, 0)) is None
    belief = jury.hear(Instant(T0 + ANEW_AFTER), S1, Claim(B, 0))
    assert belief is not None
    assert (belief.primary, belief.epoch) == (B, 0)
    assert belief.order > old.order, "the data plane must take it for later"


def test_a_minority_that_begins_anew_is_not_believed() -> None:
    jury = jury_that_believes(A, 7)
    for at in range(0, 60_000, 1_000):
        assert jury.hear(Instant(at), S1, Claim(B, 0)) is None


def test_doubts_of_a_sentinel_that_went_silent_do_not_count() -> None:
    jury = jury_that_believes(A, 7)
    jury.hear(T0, S1, Claim(A, 7, is_changing=True))
    assert jury.is_changing
    jury.forget(S1)
    assert not jury.is_changing


def test_doubts_about_an_earlier_primary_do_not_count() -> None:
    jury = jury_that_believes(B, 8)
    jury.hear(T0, S1, Claim(A, 7, is_changing=True))
    assert not jury.is_changing


def test_sentinels_that_are_no_more_named_have_no_say() -> None:
    jury = Jury(3)
    jury.hear(T0, S1, Claim(A, 9))
    jury.rename(frozenset({S2, S3}))
    assert jury.hear(T0, S2, Claim(B, 1)) is None
    belief = jury.hear(T0, S3, Claim(B, 1))
    assert belief is not None
    assert belief.primary == B


claims = st.builds(
    Claim, primary=st.sampled_from([A, B, C]), epoch=st.integers(0, 5), is_changing=st.booleans()
)


@given(st.lists(st.tuples(st.integers(0, 2_000), st.sampled_from([S1, S2, S3]), claims)))
def test_in_any_order_beliefs_only_move_forwards(
    said: list[tuple[int, Address, Claim]],
) -> None:
    jury = Jury(3)
    now = 0
    last: int | None = None
    for wait, sentinel, claim in said:
        now += wait
        belief = jury.hear(Instant(now), sentinel, claim)
        if belief is None:
            continue
        assert belief == jury.belief
        assert last is None or belief.order > last
        last = belief.order
        if belief.order < LINE:
            assert belief.epoch == max(each.epoch for each in jury.claims.values())
    if jury.heard >= jury.majority:
        assert jury.belief is not None
