from dataclasses import replace

import pytest

from everfly.core.model import Address, Instant, Millis
from everfly.local.plan import (
    BACKOFF_MAX,
    EndGrace,
    InstanceFact,
    Observation,
    SentinelFact,
    StartEndpoint,
    StartPrimary,
    StartReplica,
    StartSentinel,
    Step,
    Wait,
    backoff,
    next_steps,
    patience,
)

PATIENCE = Millis(20_000)
NOW = Instant(1_000_000)
A, B, C = (Address("127.0.0.1", 7000 + number) for number in range(3))

PRIMARY = InstanceFact(name="a", address=A, is_running=True, has_data=True, run_id="run-a")
REPLICAS = tuple(
    InstanceFact(name=name, address=address, is_running=True, has_data=True, can_take_over=True)
    for name, address in (("b", B), ("c", C))
)
HEALTHY = Observation(
    now=NOW,
    instances=(PRIMARY, *REPLICAS),
    sentinels=tuple(SentinelFact(name=f"s{number}", is_running=True) for number in range(3)),
    primary=A,
    primary_run_id="run-a",
)


def dead(fact: InstanceFact, *, for_ms: int = 0, **changes: object) -> InstanceFact:
    down = replace(
        fact, is_running=False, can_take_over=False, run_id="", down_since=Instant(NOW - for_ms)
    )
    return replace(down, **changes)  # type: ignore[arg-type]  # its fields


def steps(*instances: InstanceFact, **changes: object) -> list[Step]:
    known = {each.name: each for each in HEALTHY.instances} | {
        each.name: each for each in instances
    }
    seen = replace(HEALTHY, instances=tuple(known.values()), **changes)  # type: ignore[arg-type]  # its fields
    return next_steps(seen, PATIENCE)


def waits_for(found: list[Step]) -> list[str]:
    return [each.why for each in found if isinstance(each, Wait)]


def test_nothing_is_done_while_all_is_well() -> None:
    assert steps() == []


def test_a_dead_replica_comes_back_as_a_replica_of_the_primary() -> None:
    assert steps(dead(REPLICAS[0])) == [StartReplica("b", A)]


def test_after_a_failover_the_old_primary_comes_back_as_a_replica_of_the_new_one() -> None:
    assert steps(dead(PRIMARY), primary=B) == [StartReplica("a", B)]


def test_a_dead_primary_waits_for_the_failover() -> None:
    assert waits_for(steps(dead(PRIMARY))) == ["the Sentinels fail over first"]


def test_a_dead_primary_does_not_wait_for_ever() -> None:
    assert steps(dead(PRIMARY, for_ms=PATIENCE)) == [
        StartPrimary("a", "the Sentinels did not fail over")
    ]


def test_a_dead_primary_without_its_data_never_comes_back_empty_before_replicas_with_data() -> None:
    found = steps(dead(PRIMARY, for_ms=PATIENCE * 100, has_data=False))
    assert waits_for(found) == ["it has no data on disk: the Sentinels must promote another"]
    assert len(found) == 1


def test_when_all_are_dead_the_primary_with_its_data_comes_back_first() -> None:
    everyone = [dead(each) for each in HEALTHY.instances]
    assert steps(*everyone) == [
        StartPrimary("a", "no replica could take over"),
        StartReplica("b", A),
        StartReplica("c", A),
    ]


def test_when_all_are_dead_and_only_a_replica_has_data_the_primary_waits_for_a_failover() -> None:
    found = steps(dead(PRIMARY, has_data=False), *(dead(each) for each in REPLICAS))
    assert found[1:] == [StartReplica("b", A), StartReplica("c", A)]
    assert waits_for(found[:1])


def test_when_nobody_has_data_the_primary_comes_back_empty() -> None:
    everyone = [dead(each, has_data=False) for each in HEALTHY.instances]
    assert steps(*everyone)[0] == StartPrimary("a", "nobody has any data")


def test_replicas_that_run_but_cannot_take_over_get_half_of_the_patience() -> None:
    frozen = [replace(each, can_take_over=False) for each in REPLICAS]
    assert waits_for(steps(dead(PRIMARY), *frozen))
    late = steps(dead(PRIMARY, for_ms=PATIENCE // 2), *frozen)
    assert late == [StartPrimary("a", "no replica could take over")]


def test_a_deployment_without_replicas_brings_its_primary_back_at_once() -> None:
    alone = replace(HEALTHY, instances=(dead(PRIMARY, has_data=False),))
    assert next_steps(alone, PATIENCE) == [StartPrimary("a", "it is the only instance")]


def test_nothing_comes_back_while_the_sentinels_name_nobody() -> None:
    found = steps(dead(PRIMARY), dead(REPLICAS[0]), primary=None, primary_run_id="")
    assert waits_for(found) == ["no majority of the Sentinels names a primary"] * 2


def test_a_dead_sentinel_comes_back_before_anything_else() -> None:
    sentinels = (SentinelFact(name="s0", is_running=False), *HEALTHY.sentinels[1:])
    found = steps(dead(REPLICAS[0]), sentinels=sentinels)
    assert found == [StartSentinel("s0"), StartReplica("b", A)]


def test_what_crashes_in_a_row_waits_and_says_how_long() -> None:
    found = steps(dead(REPLICAS[0], may_start_at=Instant(NOW + 1_500)))
    assert waits_for(found) == ["crashes in a row: next start in 2 s"]
    sentinels = (SentinelFact(name="s0", is_running=False, may_start_at=Instant(NOW + 1)),)
    assert steps(sentinels=sentinels) == []


def test_what_is_not_supervised_stays_down() -> None:
    sentinels = (SentinelFact(name="s0", is_running=False, is_supervised=False),)
    assert steps(dead(REPLICAS[0], is_supervised=False), sentinels=sentinels) == []


def test_the_pause_ends_for_the_very_process_that_the_sentinels_mean() -> None:
    assert steps(replace(PRIMARY, has_grace=True)) == [EndGrace("a")]


@pytest.mark.parametrize(
    "fact",
    [
        replace(PRIMARY, has_grace=True, run_id="another-process"),
        replace(PRIMARY, has_grace=True, run_id=""),
        replace(REPLICAS[0], has_grace=True, run_id="run-a"),
    ],
)
def test_the_pause_goes_on_for_any_other_process(fact: InstanceFact) -> None:
    assert steps(fact) == []


def test_the_pause_goes_on_while_a_replica_holds_more_of_another_history() -> None:
    reborn = replace(PRIMARY, has_grace=True, histories=frozenset({"new"}), offset=14)
    ahead = replace(REPLICAS[0], histories=frozenset({"old"}), offset=1_000)
    assert steps(reborn, ahead) == []
    assert steps(reborn, replace(ahead, offset=14)) == [EndGrace("a")]
    assert steps(reborn, replace(ahead, histories=frozenset())) == [EndGrace("a")]
    assert steps(replace(reborn, histories=frozenset({"new", "old"})), ahead) == [EndGrace("a")]


def test_the_pause_goes_on_when_nobody_knows_the_process() -> None:
    assert steps(replace(PRIMARY, has_grace=True, run_id=""), primary_run_id="") == []


def test_the_first_crash_costs_nothing_and_the_next_ones_more_and_more() -> None:
    delays = [backoff(count) for count in range(12)]
    assert delays[:4] == [0, 0, 500, 1_000]
    assert delays == sorted(delays)
    assert delays[-1] == BACKOFF_MAX
    assert backoff(10_000) == BACKOFF_MAX


def test_patience_has_room_for_two_tries_of_the_sentinels() -> None:
    assert patience(1_000, 10_000) >= 1_000 + 2 * 2 * 10_000


def test_a_dead_endpoint_comes_back_at_once_unless_nobody_supervises_it() -> None:
    endpoint = SentinelFact(name="endpoint", is_running=False)
    assert steps(endpoint=endpoint) == [StartEndpoint("endpoint")]
    assert steps(endpoint=replace(endpoint, is_running=True)) == []
    assert steps(endpoint=replace(endpoint, is_supervised=False)) == []
    assert steps(endpoint=replace(endpoint, may_start_at=Instant(NOW + 1))) == []
