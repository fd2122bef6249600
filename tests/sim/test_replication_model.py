"""The modelled instances replicate, hand over, restart and refuse as the engines do."""

import pytest

from everfly.core.model import Address, Engine
from everfly.sim import info_text
from everfly.sim.cluster import Deployment
from everfly.sim.instance import LOADING, READONLY, Character
from everfly.sim.links import resolved_report
from everfly.sim.mischief import Mischief
from everfly.sim.operators_hand import Operator
from everfly.sim.run import draw_plan
from everfly.sim.takeover import take_over
from everfly.sim.world import World
from sim.sim_bench import Bench

VALKEY = Character()
DRAGONFLY = Character(engine=Engine.DRAGONFLY)


def test_a_write_is_answered_before_a_replica_has_it() -> None:
    bench = Bench()
    primary, replica = bench.group()
    bench.write(primary, 1)
    assert bench.answers == [None]
    assert replica.log == []
    bench.wait(10)
    assert replica.log == [1]
    bench.write(replica, 2)
    assert bench.answers == [None, READONLY]


def test_a_promoted_replica_is_followed_on_without_a_copy() -> None:
    bench = Bench()
    primary, first, second = bench.group(2)
    bench.write(primary, 1, 2)
    bench.wait(10)
    primary.kill()
    first.slaveof(None, bench.answers.append)
    second.slaveof(first.address, bench.answers.append)
    bench.write(first, 3)
    bench.wait(100)
    assert second.log == [1, 2, 3]
    assert not any("full sync" in mark.what for mark in bench.world.trace)
    assert second.data.history == first.data.history
    assert first.data.history_before != ""


def test_what_an_old_primary_wrote_alone_is_replaced_by_a_copy() -> None:
    bench = Bench()
    primary, replica = bench.group()
    bench.write(primary, 1)
    bench.wait(10)
    cut = bench.network.cut({(primary.name, replica.name), (replica.name, primary.name)})
    bench.write(primary, 2)
    replica.slaveof(None, bench.answers.append)
    bench.write(replica, 3)
    cut.end()
    primary.slaveof(replica.address, bench.answers.append)
    bench.wait(8_000)
    assert primary.log == [1, 3]


def test_a_short_backlog_makes_a_late_replica_copy_all() -> None:
    bench = Bench(Character(backlog_max=2))
    primary, replica = bench.group()
    replica.kill()
    bench.write(primary, *range(1, 6))
    replica.restart(follows=primary.address)
    bench.wait(8_000)
    assert replica.log == primary.log
    assert any("full sync: 5 writes" in mark.what for mark in bench.world.trace)


@pytest.mark.parametrize(("keeps", "left"), [("all", 30), ("nothing", 0)])
def test_a_process_comes_back_with_what_its_fault_leaves(keeps: str, left: int) -> None:
    bench = Bench()
    primary = bench.instance(0)
    history = primary.data.history
    bench.write(primary, *range(1, 31))
    primary.kill()
    primary.restart(follows=None, keeps=keeps)
    assert len(primary.log) == left
    assert primary.data.history != history


def test_a_machine_that_loses_power_loses_what_was_not_flushed() -> None:
    bench = Bench()
    primary = bench.instance(0)
    bench.wait(500)
    bench.write(primary, 1)
    bench.wait(700)
    bench.write(primary, 2)
    primary.kill()
    primary.restart(follows=None, keeps="synced")
    assert primary.log == [1]


def test_a_fresh_primary_hands_out_its_emptiness_only_after_a_while() -> None:
    bench = Bench()
    primary, replica = bench.group()
    bench.write(primary, 1)
    bench.wait(10)
    primary.kill()
    primary.restart(follows=None, keeps="nothing")
    bench.wait(4_000)
    assert replica.log == [1]
    bench.wait(4_000)
    assert replica.log == []


def test_a_replica_told_to_keep_its_data_leaves_a_restarted_dragonfly() -> None:
    bench = Bench(Character(engine=Engine.DRAGONFLY, breaks_on_restart=True))
    primary, replica = bench.group()
    bench.write(primary, 1)
    bench.wait(10)
    primary.kill()
    primary.restart(follows=None, keeps="nothing")
    bench.wait(20_000)
    assert replica.log == [1]
    assert not replica.link_up
    replica.slaveof(primary.address, bench.answers.append)
    bench.wait(1_000)
    assert replica.log == []
    assert replica.link_up


def test_writes_are_held_in_a_pause_and_done_after_it() -> None:
    bench = Bench()
    primary, replica = bench.group()
    assert primary.pause_writes(1_000) is None
    bench.write(primary, 1)
    bench.wait(500)
    assert bench.answers == []
    bench.wait(600)
    assert bench.answers == [None]
    primary.pause_writes(1_000)
    bench.write(primary, 2)
    primary.slaveof(replica.address, lambda _: None)
    assert bench.answers == [None, READONLY]


def test_a_take_over_moves_everything_and_ends_the_primary() -> None:
    bench = Bench(DRAGONFLY)
    primary, replica = bench.group()
    bench.write(primary, 1, 2)
    take_over(replica, 5_000, bench.answers.append)
    bench.wait(1)
    bench.wait(20)
    assert bench.answers == [None, None, None]
    assert replica.follows is None
    assert replica.log == [1, 2]
    assert not primary.is_running
    bench.wait(2_000)
    assert primary.is_running


def test_a_take_over_refuses_everybody_else_and_fails_when_the_replica_is_gone() -> None:
    bench = Bench(DRAGONFLY)
    primary, replica = bench.group()
    take_over(replica, 2_000, bench.answers.append)
    bench.network.cut({(replica.name, primary.name)})
    bench.wait(1_000)
    bench.write(primary, 1)
    if primary.is_running and primary.is_taken_over:
        assert bench.answers == [LOADING]
    bench.wait(20_000)
    assert primary.is_running
    assert not primary.is_taken_over


def test_a_dragonfly_does_not_follow_where_nobody_listens() -> None:
    bench = Bench(DRAGONFLY)
    primary, replica = bench.group()
    replica.slaveof(Address("10.0.0.1", 1), bench.answers.append)
    bench.wait(100)
    assert bench.answers[0] is not None
    assert replica.follows == primary.address


def test_a_slow_process_keeps_the_order_of_what_it_reads() -> None:
    bench = Bench()
    primary, replica = bench.group()
    replica.slow_ms = 100
    bench.write(primary, *range(1, 11))
    bench.wait(300)
    replica.slow_ms = 0
    bench.write(primary, *range(11, 16))
    bench.wait(5_000)
    assert replica.log == list(range(1, 16))


@pytest.mark.parametrize("seed", [2, 10, 9])
def test_the_facts_of_a_report_are_what_its_text_says(seed: int) -> None:
    """In the middle of all kinds of trouble, for each engine."""
    plan = draw_plan(seed)
    world = World(seed)
    deployment = Deployment(world, plan.shape)
    mischief = Mischief(deployment, Operator(deployment))
    for fault in plan.faults:
        mischief.schedule(fault)
    deployment.start()
    engines, roles = set(), set()
    for at in range(250, 30_000, 250):
        world.run_until(at)
        for instance in deployment.instances.values():
            told = info_text.facts(instance)
            read = info_text.read(info_text.word(instance))
            # Names are resolved by whoever reads.
            assert resolved_report(deployment.network, read) == told
            engines.add(told.engine)
            roles.add(told.role)
    assert engines == {plan.shape.engine}
    assert len(roles) == 2


@pytest.mark.parametrize("engine", [Engine.VALKEY, Engine.REDIS, Engine.DRAGONFLY])
def test_an_info_that_is_garbled_raises_nothing(engine: Engine) -> None:
    bench = Bench(Character(engine=engine))
    primary, replica = bench.group()
    read = [info_text.garbled(one, primary.dice) for one in (primary, replica) for _ in range(300)]
    assert any(isinstance(one, str) for one in read)
    assert any(not isinstance(one, str) and one.role is None for one in read)
