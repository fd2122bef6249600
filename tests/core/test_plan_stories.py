"""Whole stories of a group with one authority, in a world without IO."""

from dataclasses import replace

import pytest

from core.group_author import data_of_primary, primary_of, ready_world, run_round, settle
from core.group_world import World
from everfly.core.diagnosis import Kind
from everfly.core.group_view import Service
from everfly.core.model import Instant
from everfly.core.plan import Decision, decide
from everfly.core.steps import Promote, TakeOver


def kinds(decision: Decision) -> set[Kind]:
    return {each.kind for each in decision.findings}


def test_a_new_group_gets_its_first_instance_as_primary() -> None:
    world = World(3)
    settle(world)
    assert primary_of(world) == "p-0"


def test_a_healthy_group_is_left_alone() -> None:
    world = ready_world()
    decision = run_round(world)
    assert kinds(decision) == {Kind.HEALTHY}
    assert decision.steps == ()


def test_a_killed_primary_is_replaced_without_loss_of_what_replicas_had() -> None:
    world = ready_world()
    world.kill("p-0")
    settle(world)
    assert primary_of(world) != "p-0"
    assert data_of_primary(world) == world.acknowledged


def test_the_furthest_replica_is_promoted() -> None:
    world = ready_world()
    world.pods["p-1"].is_linked = False
    run_round(world)
    world.write()
    world.pods["p-1"].is_linked = True
    world.kill("p-0")
    settle(world)
    assert primary_of(world) == "p-2"
    assert data_of_primary(world) == world.acknowledged


def test_a_primary_that_restarts_empty_is_not_trusted() -> None:
    world = ready_world()
    world.kill("p-0")
    world.start("p-0")
    settle(world)
    assert primary_of(world) != "p-0"
    assert data_of_primary(world) == world.acknowledged
    assert world.pods["p-0"].writes == world.acknowledged


def test_a_primary_that_served_empty_for_long_while_nobody_looked_is_not_trusted_either() -> None:
    world = ready_world()
    world.kill("p-0")
    world.start("p-0")
    for pod in world.pods.values():
        pod.last_facts = pod.answered_at = pod.failing_since = None
        if pod.name != "p-0":
            pod.link_down_since = Instant(world.now - 15_000)
    before = set(world.acknowledged)
    settle(world)
    assert primary_of(world) != "p-0"
    assert before <= data_of_primary(world)


def test_a_primary_that_only_we_cannot_reach_is_left_alone() -> None:
    world = ready_world()
    world.pods["p-0"].is_heard = False
    for _ in range(100):
        decision = run_round(world)
        assert decision.steps == ()
    assert Kind.PRIMARY_UNREACHABLE in kinds(decision)
    assert primary_of(world) == "p-0"


def test_a_primary_that_nobody_reaches_is_replaced_and_follows_when_it_returns() -> None:
    world = ready_world()
    world.pods["p-0"].is_linked = False
    settle(world)
    assert primary_of(world) != "p-0"
    assert world.pods["p-0"].service is not Service.PRIMARY
    world.pods["p-0"].is_linked = True
    settle(world)
    assert world.pods["p-0"].leader == primary_of(world)


def test_a_primary_on_a_lost_host_is_replaced() -> None:
    world = ready_world()
    world.kill("p-0")
    world.pods["p-0"].is_host_ready = False
    settle(world)
    assert primary_of(world) != "p-0"


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_primary_that_is_stopped_hands_over_first(count: int) -> None:
    world = ready_world(count)
    world.pods["p-0"].is_terminating = True
    taken = [step for _ in range(3) for step in run_round(world).steps]
    assert any(isinstance(step, TakeOver) for step in taken)
    assert not any(isinstance(step, Promote) for step in taken)
    world.replace_pod("p-0")
    settle(world)
    assert data_of_primary(world) == world.acknowledged


def test_a_primary_that_is_stopped_and_ends_before_it_handed_over_is_replaced() -> None:
    world = ready_world()
    world.pods["p-0"].is_terminating = True
    world.kill("p-0")
    settle(world)
    assert primary_of(world) != "p-0"
    assert data_of_primary(world) == world.acknowledged


def test_scaling_in_moves_the_primary_before_it_is_dropped() -> None:
    world = ready_world(3)
    world.intent = replace(world.intent, switch_to="p-2")
    settle(world)
    assert primary_of(world) == "p-2"
    world.intent = replace(world.intent, replicas=1)
    settle(world)
    assert primary_of(world) == "p-0"
    assert list(world.pods) == ["p-0"]
    assert data_of_primary(world) == world.acknowledged


def test_scaling_out_and_in_again_keeps_all_data() -> None:
    world = ready_world(3)
    for count in (5, 3, 1, 3):
        world.intent = replace(world.intent, replicas=count)
        settle(world)
        settle(world)
        assert len(world.pods) == count
        assert data_of_primary(world) == world.acknowledged
        world.write()


def test_a_rollout_restarts_replicas_one_at_a_time_and_the_primary_last() -> None:
    world = ready_world(3)
    for pod in world.pods.values():
        pod.is_current = False
    order = []
    for _ in range(40):
        before = {name: pod.incarnation for name, pod in world.pods.items()}
        run_round(world)
        world.write()
        restarted = [n for n, pod in world.pods.items() if pod.incarnation != before[n]]
        assert len(restarted) <= 1
        order += restarted
    assert order[:2] == ["p-1", "p-2"]
    assert all(pod.is_current for pod in world.pods.values())
    assert primary_of(world) == "p-1"
    assert not world.why_unwell()
    assert data_of_primary(world) == world.acknowledged


def test_a_single_instance_is_restarted_by_a_rollout() -> None:
    world = ready_world(1, has_snapshots=True)
    world.pods["p-0"].is_current = False
    settle(world)
    assert world.pods["p-0"].is_current
    assert data_of_primary(world) == world.acknowledged


def test_a_rollout_stops_at_the_first_instance_that_does_not_come_up() -> None:
    world = ready_world(3)
    for pod in world.pods.values():
        pod.is_current = False
    run_round(world)
    world.kill("p-1")  # the new revision does not start
    incarnations = {name: pod.incarnation for name, pod in world.pods.items()}
    for _ in range(30):
        run_round(world)
    assert incarnations == {name: pod.incarnation for name, pod in world.pods.items()}


def test_an_outdated_instance_that_does_not_come_up_is_replaced() -> None:
    world = ready_world(3)
    world.kill("p-2")
    world.pods["p-2"].is_current = False
    settle(world)
    assert world.pods["p-2"].is_current


def test_a_switchover_goes_where_it_was_asked_to_and_is_done_once() -> None:
    world = ready_world()
    world.intent = replace(world.intent, switch_to="p-2")
    settle(world)
    assert primary_of(world) == "p-2"
    assert len(world.requests) == 1
    assert data_of_primary(world) == world.acknowledged


@pytest.mark.parametrize("target", ["p-7", "p-1"])
def test_a_switchover_to_somebody_unfit_is_refused_with_a_reason(target: str) -> None:
    world = ready_world()
    world.pods["p-1"].is_linked = False
    for _ in range(4):
        run_round(world)
    world.intent = replace(world.intent, switch_to=target)
    run_round(world)
    assert [each.is_refused for each in world.requests] == [True]
    assert primary_of(world) == "p-0"


def test_a_switchover_to_whoever_is_the_primary_is_done() -> None:
    world = ready_world()
    world.intent = replace(world.intent, switch_to="p-0")
    run_round(world)
    assert [each.is_refused for each in world.requests] == [False]


def test_a_refused_hand_over_leaves_the_primary_in_service() -> None:
    world = ready_world()
    world.take_over_works = False
    world.intent = replace(world.intent, switch_to="*")
    settle(world)
    assert primary_of(world) == "p-0"
    world.take_over_works = True
    settle(world)
    assert primary_of(world) == "p-0"


def test_a_hand_over_that_may_still_take_effect_ends_in_a_promotion() -> None:
    world = ready_world()
    world.take_over_works, world.fires_late = False, True
    world.intent = replace(world.intent, switch_to="p-1")
    settle(world)
    assert primary_of(world) == "p-1"


def test_a_paused_group_is_only_looked_at() -> None:
    world = ready_world()
    world.intent = replace(world.intent, is_paused=True)
    world.kill("p-0")
    for _ in range(20):
        decision = run_round(world)
        assert decision.steps == ()
    assert Kind.PRIMARY_DOWN in kinds(decision)


def test_a_fenced_primary_hands_over_and_stays_out_of_service() -> None:
    world = ready_world()
    world.pods["p-0"].is_fenced = True
    settle(world)
    assert primary_of(world) != "p-0"
    assert world.pods["p-0"].service is Service.NONE


def test_a_fenced_single_primary_leaves_the_service_until_it_is_released() -> None:
    world = ready_world(1)
    world.pods["p-0"].is_fenced = True
    for _ in range(3):
        run_round(world)
    assert world.led() == []
    world.pods["p-0"].is_fenced = False
    settle(world)
    assert primary_of(world) == "p-0"


def test_a_fenced_replica_leaves_the_service_and_is_not_promoted() -> None:
    world = ready_world(2)
    world.pods["p-1"].is_fenced = True
    run_round(world)
    assert world.pods["p-1"].service is Service.NONE
    world.kill("p-0")
    for _ in range(10):
        decision = run_round(world)
    assert Kind.NO_SUCCESSOR in kinds(decision)


def test_a_whole_restart_with_snapshots_waits_for_all_and_takes_the_fullest() -> None:
    world = ready_world(3, has_snapshots=True)
    world.intent = replace(world.intent, switch_to="p-2")
    settle(world)
    world.write()
    for name in ("p-0", "p-1"):
        world.pods[name].disk = set()
    world.kill("p-0")
    world.kill("p-1")
    world.kill("p-2", saves=True)
    world.start("p-0")
    world.start("p-1")
    for _ in range(5):
        decision = run_round(world)
    assert Kind.DATA_LOSS_RISK in kinds(decision)
    assert world.pods["p-0"].service is not Service.PRIMARY
    world.start("p-2")
    settle(world)
    assert primary_of(world) == "p-2"
    assert data_of_primary(world) == world.acknowledged


def test_a_whole_restart_without_snapshots_does_not_wait_for_anybody() -> None:
    world = ready_world(3)
    for name in world.pods:
        world.kill(name)
    world.start("p-1")
    settle(world)
    assert primary_of(world) == "p-1"


def test_a_person_may_accept_the_loss() -> None:
    world = ready_world(2, has_snapshots=True)
    world.kill("p-0")
    world.kill("p-1")
    world.start("p-1")
    for _ in range(5):
        run_round(world)
    assert world.led() == [] or primary_of(world) == "p-0"
    lineage = world.record.lineage
    assert lineage is not None
    world.intent = replace(world.intent, accepts_loss_of=lineage.history[:39])
    settle(world)
    assert primary_of(world) == "p-1"


def test_a_replica_that_was_cut_off_is_not_promoted_while_others_may_hold_more() -> None:
    world = ready_world(2)
    world.pods["p-1"].leader = ""  # its link is down, and nobody leads it back
    world.pods["p-1"].is_heard = True
    for _ in range(2):
        decide(world.observe(), world.now)
        world.now = Instant(world.now + 4000)
    world.observe()
    world.write()
    world.pods["p-0"].is_linked = False
    world.pods["p-0"].is_host_ready = False
    for _ in range(6):
        decision = run_round(world)
    assert Kind.DATA_LOSS_RISK in kinds(decision)
    world.pods["p-0"].is_linked = True
    world.pods["p-0"].is_host_ready = True
    settle(world)
    assert primary_of(world) == "p-0"
    assert data_of_primary(world) == world.acknowledged


def test_a_second_primary_is_led_back_under_the_first() -> None:
    world = ready_world()
    world.become_primary(world.pods["p-2"])
    decision = run_round(world)
    assert Kind.TWO_PRIMARIES in kinds(decision)
    settle(world)
    assert primary_of(world) == "p-0"
    assert world.pods["p-2"].leader == "p-0"


def test_a_replica_that_follows_somebody_else_is_led_back() -> None:
    world = ready_world()
    world.pods["p-2"].leader = "p-1"
    decision = run_round(world)
    assert Kind.REPLICA_ASTRAY in kinds(decision)
    settle(world)


def test_a_primary_that_somebody_made_follow_another_gives_way_to_that_one() -> None:
    world = ready_world()
    world.become_primary(world.pods["p-1"])
    world.follow(world.pods["p-0"], world.pods["p-1"])
    settle(world)
    assert primary_of(world) == "p-1"


def test_a_primary_that_somebody_made_follow_a_stranger_is_promoted_or_replaced() -> None:
    world = ready_world()
    pod = world.pods["p-0"]
    pod.role, pod.leader = world.pods["p-1"].role, "nobody"
    settle(world)
    assert data_of_primary(world) == world.acknowledged


def test_a_take_over_by_hand_is_accepted() -> None:
    world = ready_world()
    world.take_over("p-2", "p-0")
    settle(world)
    assert primary_of(world) == "p-2"


def test_an_authority_of_an_older_term_does_nothing() -> None:
    world = ready_world()
    world.record = replace(world.record, term=7)
    world.term = 6
    world.kill("p-0")
    for _ in range(10):
        decision = run_round(world)
        assert decision.steps == ()
    assert Kind.SUPERSEDED in kinds(decision)


def test_a_running_group_of_another_operator_is_taken_over_as_it_is() -> None:
    world = ready_world()
    world.record = type(world.record)()
    before = {name: (pod.role, pod.leader) for name, pod in world.pods.items()}
    settle(world)
    assert before == {name: (pod.role, pod.leader) for name, pod in world.pods.items()}


def test_a_group_of_another_operator_whose_primary_restarted_empty_keeps_its_data() -> None:
    world = ready_world()
    world.record = type(world.record)()
    world.kill("p-0")
    world.start("p-0")
    settle(world)
    assert primary_of(world) != "p-0"
    assert data_of_primary(world) == world.acknowledged


def test_a_group_of_another_operator_whose_primary_dropped_all_keys_keeps_it() -> None:
    world = ready_world()
    world.record = type(world.record)()
    for pod in world.pods.values():
        pod.writes = set()  # replicated, as every command
    settle(world)
    assert primary_of(world) == "p-0"


def test_a_group_of_another_operator_whose_primary_is_dead_fails_over() -> None:
    world = ready_world()
    world.record = type(world.record)()
    world.kill("p-0")
    for pod in world.pods.values():
        pod.last_facts, pod.answered_at, pod.failing_since = None, None, None
    settle(world)
    assert primary_of(world) != "p-0"
    assert data_of_primary(world) == world.acknowledged


def test_a_preferred_zone_draws_the_primary_but_never_a_worse_dataset() -> None:
    world = ready_world()
    for pod, zone in zip(world.pods.values(), "abc", strict=True):
        pod.zone = zone
    world.intent = replace(world.intent, preferred_zones=("c", "b"))
    settle(world)
    assert primary_of(world) == "p-2"
    world.intent = replace(world.intent, preferred_zones=())
    assert run_round(world).steps == ()
    world.intent = replace(world.intent, preferred_zones=("c", "a"))
    settle(world)
    assert primary_of(world) == "p-2"


def test_a_replica_that_nobody_reaches_for_a_minute_is_replaced() -> None:
    world = ready_world()
    world.pods["p-2"].is_linked = False
    before = world.pods["p-2"].incarnation
    for _ in range(70):
        run_round(world)
    assert world.pods["p-2"].incarnation == before + 1


def test_a_replica_that_only_we_cannot_reach_is_kept() -> None:
    world = ready_world()
    world.pods["p-2"].is_heard = False
    before = world.pods["p-2"].incarnation
    for _ in range(70):
        run_round(world)
    assert world.pods["p-2"].incarnation == before


def test_a_hibernated_group_keeps_its_record_and_wakes_with_its_data() -> None:
    world = ready_world(3, has_snapshots=True)
    disks = {name: set(pod.writes) for name, pod in world.pods.items()}
    world.intent = replace(world.intent, is_hibernated=True)
    run_round(world)
    assert world.pods == {}
    world.intent = replace(world.intent, is_hibernated=False)
    run_round(world)
    for name, pod in world.pods.items():
        pod.disk = disks[name]
        world.start(name)
    settle(world)
    assert primary_of(world) == "p-0"
    assert data_of_primary(world) == world.acknowledged
