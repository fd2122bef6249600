"""A fleet of groups under real cores behaves as one group does, and as paper says."""

import pytest

from everfly.sim.scale import Fleet
from everfly.sim.scale_records import ScaleShape


def test_a_fleet_at_rest_sends_what_its_periods_say() -> None:
    shape = ScaleShape(groups=10)
    fleet = Fleet(shape)
    fleet.start()
    fleet.run_until(7_000)
    before = fleet.sent.copy()
    fleet.run_until(17_000)
    instances, seconds = 30, 10
    sent = {name: count - before[name] for name, count in fleet.sent.items()}
    of_one = {name: count / seconds / shape.sentinels for name, count in sent.items()}
    assert of_one["SendPing"] == pytest.approx(instances + 4, rel=0.05)
    assert of_one["SendInfo"] == pytest.approx(instances / 10, rel=0.05)
    assert of_one["SendHello"] == pytest.approx((instances + 4 * 10) / 2, rel=0.05)


def test_every_group_has_a_primary_again_after_a_zone_is_lost() -> None:
    fleet = Fleet(ScaleShape(groups=30, down_after=1_000, failover_timeout=10_000))
    fleet.start()
    fleet.run_until(7_000)
    orphans = fleet.lose_zone(0)
    assert len(orphans) == 10
    fleet.run_until(7_900)
    assert not all(fleet.is_agreed(group) for group in orphans)
    fleet.run_until(20_000)
    assert all(fleet.is_agreed(group) for group in range(30))
    assert all(fleet.promoted_at(group) is not None for group in orphans)


def test_a_sentinel_does_no_more_than_it_has_time_for() -> None:
    fleet = Fleet(ScaleShape(groups=20, step_us=20_000.0))
    fleet.start()
    fleet.run_until(12_000)
    assert all(keeper.steps <= 12_000 / 20 + 1 for keeper in fleet.keepers)
    assert all(len(keeper.inbox) > 100 for keeper in fleet.keepers)
