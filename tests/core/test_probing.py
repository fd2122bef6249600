"""Periods follow from the policy and a group's settings."""

import pytest

from everfly.core.model import Millis
from everfly.core.policy import Policy
from everfly.core.probing import ping_period


@pytest.mark.parametrize(
    ("down_after", "period"),
    [(30_000, 1_000), (10_000, 1_000), (5_000, 500), (1_000, 100), (500, 100), (1, 100)],
)
def test_pings_go_out_ten_times_in_down_after_within_limits(down_after: int, period: int) -> None:
    assert ping_period(Policy(), Millis(down_after)) == period


def test_ping_period_is_never_longer_than_the_policy_allows() -> None:
    assert ping_period(Policy(ping_period=Millis(50)), Millis(60_000)) == 50
