"""Periods follow from the policy and a group's settings."""

import random
from collections import Counter, deque
from itertools import pairwise

import pytest

from everfly.core.effects import Connect, Effect, SendHello, SendInfo, SendPing
from everfly.core.inputs import Connected, HelloSent, InfoReceived, Input, Ponged, TimerExpired
from everfly.core.machine import Machine
from everfly.core.model import (
    Address,
    GroupName,
    InstanceReport,
    Instant,
    LinkId,
    Millis,
    Role,
    RunId,
)
from everfly.core.policy import GroupSettings, Policy
from everfly.core.probing import ping_period
from everfly.core.snapshot import DurableState, GroupState
from scenarios.surroundings import Attitude, Surroundings, run_id_of

SETTINGS = GroupSettings(2, Millis(30_000), Millis(60_000))


@pytest.mark.parametrize(
    ("down_after", "period"),
    [(30_000, 1_000), (10_000, 1_000), (5_000, 500), (1_000, 100), (500, 100), (1, 100)],
)
def test_pings_go_out_ten_times_in_down_after_within_limits(down_after: int, period: int) -> None:
    assert ping_period(Policy(), Millis(down_after)) == period


def test_ping_period_is_never_longer_than_the_policy_allows() -> None:
    assert ping_period(Policy(ping_period=Millis(50)), Millis(60_000)) == 50


@pytest.mark.parametrize(("instances", "at_once"), [(90, 100), (150, 100), (800, 120)])
def test_a_crowd_that_was_met_at_once_is_not_asked_for_info_at_once_for_ever(
    instances: int, at_once: int
) -> None:
    places = [Address(f"10.1.{number >> 8}.{number & 255}", 6379) for number in range(instances)]
    groups = tuple(GroupState(GroupName(str(place)), place, SETTINGS) for place in places)
    machine = Machine(
        DurableState(RunId("a" * 40), groups=groups),
        port=26379,
        dice=random.Random(1),
        policy=Policy(),
    )
    asked: dict[Address, list[Instant]] = {place: [] for place in places}
    where: dict[LinkId, Address] = {}
    now = Instant(1_000)
    facts: deque[Input] = deque()

    def take(effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Connect():
                    where[effect.link] = effect.to
                    facts.append(Connected(effect.link, "10.0.0.1"))
                case SendPing():
                    facts.append(Ponged(effect.link, "PONG"))
                case SendHello():
                    facts.append(HelloSent(effect.link))
                case SendInfo():
                    asked[where[effect.link]].append(now)
                    facts.append(InfoReceived(effect.link, InstanceReport(role=Role.PRIMARY)))

    take(machine.start(now))
    while now < 45_000:
        while facts:
            take(machine.step(now, facts.popleft()))
        deadline = machine.next_deadline()
        assert deadline is not None
        now = max(now, deadline)
        facts.append(TimerExpired())
    begin = 12_000  # While a group has no replicas, its primary is asked often at first.
    of_a_second = Counter(at // 1_000 for times in asked.values() for at in times if at > begin)
    assert max(of_a_second.values()) <= at_once
    for times in asked.values():
        late = [at for at in times if at > begin - 2_000]
        assert len(late) > 1
        assert max(next_at - at for at, next_at in pairwise(late)) < 2 * Policy().info_period


@pytest.mark.parametrize(
    ("publish_period", "times"),
    [(500, [1_000, 1_500, 2_000, 2_500, 3_000]), (1_990, [1_000, 3_000]), (2_200, [1_000, 3_000])],
)
def test_hellos_go_with_a_ping_unless_they_are_said_more_often(
    publish_period: int, times: list[int]
) -> None:
    world = Surroundings("sentinel-a", now=1_000)
    world.policy.publish_period = Millis(publish_period)
    place = Address("10.0.0.1", 6379)
    party = world.add("alpha", place)
    party.attitude = Attitude.WELL
    party.report = InstanceReport(role=Role.PRIMARY)
    group = GroupState(GroupName("cache"), place, SETTINGS)
    world.start(DurableState(run_id_of("sentinel-a"), groups=(group,)))
    world.advance(3_400)
    assert [at for at, effect in world.happened if isinstance(effect, SendHello)] == times
    pings = [at for at, effect in world.happened if isinstance(effect, SendPing)]
    assert pings == [1_000, 2_000, 3_000]
