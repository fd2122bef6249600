"""What people want of a group beside its being always on: a time for moves, a new disk."""

from dataclasses import replace

import pytest

from core.group_author import data_of_primary, primary_of, ready_world, run_round, settle
from core.group_world import World
from core.test_plan_tables import NOW, primary, replica, saying, view
from everfly.core.group_view import GroupView, Intent, Move, Rebuild, Record
from everfly.core.model import Epoch, Instant
from everfly.core.plan import decide
from everfly.core.rebuild import Readiness, judge_rebuild
from everfly.core.steps import Delete, TakeOver
from everfly.core.upkeep import what_waits, why_move

LATER = Instant(NOW + 60_000)
AT_NIGHT = Intent(voluntary_from=LATER)


def all_outdated(world: World) -> None:
    for pod in world.pods.values():
        pod.is_current = False


def test_replicas_restart_by_day_and_the_primary_moves_when_the_window_opens() -> None:
    world = ready_world(3)
    opens = Instant(world.now + 30_000)
    world.intent = replace(world.intent, voluntary_from=opens)
    all_outdated(world)
    while world.now < opens:
        run_round(world)
        assert primary_of(world) == "p-0"
    assert [each.is_current for each in world.pods.values()] == [False, True, True]
    world.write()
    settle(world)
    assert primary_of(world) != "p-0"
    assert all(each.is_current for each in world.pods.values())
    assert data_of_primary(world) == world.acknowledged


def test_where_all_restarts_wait_nothing_restarts_before_the_window_opens() -> None:
    world = ready_world(3)
    opens = Instant(world.now + 10_000)
    world.intent = replace(world.intent, voluntary_from=opens, restarts_wait=True)
    all_outdated(world)
    while world.now < opens:
        decision = run_round(world)
        assert decision.waiting == ("p-1, p-2: to be restarted",)
        assert decision.wake_at == opens
        assert not any(each.is_current for each in world.pods.values())
    settle(world)
    assert all(each.is_current for each in world.pods.values())


def test_an_instance_that_is_alone_restarts_in_the_window() -> None:
    lone = primary(is_current=False)
    held = view(lone, intent=replace(AT_NIGHT, replicas=1, running=1))
    decision = decide(held, NOW)
    assert decision.steps == ()
    assert decision.waiting == ("p-0: to be restarted",)
    assert decide(held, LATER).steps == (
        Delete("p-0", "it is outdated, and there is no replica to take over"),
    )


def test_a_better_zone_waits_for_the_window_and_says_so() -> None:
    members = (primary(zone="b"), replica(1, zone="a"), replica(2, zone="b"))
    held = view(*members, intent=replace(AT_NIGHT, preferred_zones=("a",)))
    decision = decide(held, NOW)
    assert decision.steps == ()
    assert decision.waiting == ("the primary had best be in zone a",)
    assert decision.wake_at == LATER
    opened = decide(held, LATER)
    assert TakeOver("p-1", "p-0", held.policy.take_over_s) in opened.steps
    assert opened.waiting == ()


def test_outside_the_window_nothing_waits_that_keeps_data_safe_or_that_people_asked_for() -> None:
    shrunk = view(primary(), replica(1), intent=replace(AT_NIGHT, replicas=2, running=2))
    for each in (
        view(primary(is_terminating=True), replica(1), replica(2), intent=AT_NIGHT),
        view(primary(is_fenced=True), replica(1), replica(2), intent=AT_NIGHT),
        view(primary(is_host_leaving=True), replica(1), replica(2), intent=AT_NIGHT),
        view(intent=replace(AT_NIGHT, switch_to="p-2")),
        replace(shrunk, members=(primary(ordinal=2), replica(1))),
    ):
        assert any(isinstance(step, TakeOver) for step in decide(each, NOW).steps), each.intent


def test_an_outdated_replica_that_is_unwell_is_replaced_at_once() -> None:
    """Its spec was corrected, and it serves nobody."""
    unwell = replica(1, is_ready=False, is_current=False)
    intent = replace(AT_NIGHT, restarts_wait=True)
    steps = decide(view(primary(), unwell, replica(2), intent=intent), NOW).steps
    assert Delete("p-1", "it is outdated and unwell") in steps


def test_nothing_is_said_to_wait_while_nothing_does() -> None:
    assert what_waits(view(intent=AT_NIGHT), NOW) == ()
    wrong = replace(AT_NIGHT, may_restart=False, restarts_wait=True)
    assert what_waits(view(primary(), replica(1, is_current=False), intent=wrong), NOW) == ()
    assert not why_move(view()).reason


def test_a_failover_does_not_wait_for_the_window() -> None:
    world = ready_world(3)
    world.intent = replace(world.intent, voluntary_from=Instant(world.now + 10**9))
    world.kill("p-0")
    run_round(world)
    run_round(world)
    assert primary_of(world) != "p-0"


STOPPING = primary(is_terminating=True)
GOING = replica(2, is_terminating=True)
OUT_OF_STEP = saying(replica(1), is_link_up=False)
MOVE = Move("p-1", "x", "p-0", is_planned=True, epoch=Epoch(1))


@pytest.mark.parametrize(
    ("seen", "name", "is_forced", "readiness"),
    [
        (view(), "p-1", False, Readiness.NOW),
        (view(), "p-0", False, Readiness.NEVER),
        (view(), "p-0", True, Readiness.NEVER),
        (view(), "p-7", False, Readiness.LATER),
        (view(primary(), replica(1)), "p-1", False, Readiness.LATER),
        (view(STOPPING, replica(1), replica(2)), "p-1", True, Readiness.LATER),
        (view(primary(), replica(1), GOING), "p-1", True, Readiness.LATER),
        (view(saying(primary(), is_loading=True), replica(1)), "p-1", True, Readiness.LATER),
        (view(replica(1), replica(2)), "p-1", True, Readiness.LATER),
        (view(record=Record("p-0", move=MOVE)), "p-1", False, Readiness.LATER),
        (view(primary(), OUT_OF_STEP, replica(2)), "p-1", False, Readiness.NOW),
        (view(primary(), OUT_OF_STEP, replica(2)), "p-2", False, Readiness.LATER),
        (view(primary(), OUT_OF_STEP, replica(2)), "p-2", True, Readiness.NOW),
    ],
)  # fmt: skip
def test_who_may_be_rebuilt(
    seen: GroupView, name: str, is_forced: bool, readiness: Readiness
) -> None:
    found = judge_rebuild(seen, name, is_forced=is_forced)
    assert found.readiness is readiness
    assert bool(found.reason) is (readiness is not Readiness.NOW)


def test_the_last_copy_is_rebuilt_only_when_a_person_insists() -> None:
    pair = view(primary(), replica(1), intent=Intent(replicas=2, running=2))
    assert judge_rebuild(pair, "p-1", is_forced=False).readiness is Readiness.NEVER
    assert judge_rebuild(pair, "p-1", is_forced=True).readiness is Readiness.NOW
    broken = replace(pair, members=(primary(), OUT_OF_STEP))
    assert judge_rebuild(broken, "p-1", is_forced=False).readiness is Readiness.NOW


BEGUN = Rebuild(is_begun=True)


def test_an_instance_whose_disk_is_given_up_is_replaced_and_no_other_beside_it() -> None:
    outdated = replica(2, is_current=False)
    steps = decide(view(primary(), replica(1, rebuild=BEGUN), outdated), NOW).steps
    deleted = [step.name for step in steps if isinstance(step, Delete)]
    assert deleted == ["p-1"]
    going = replica(1, rebuild=BEGUN, is_terminating=True)
    steps = decide(view(primary(), going, outdated), NOW).steps
    assert not any(isinstance(step, Delete) for step in steps)


def test_an_instance_that_became_the_primary_meanwhile_is_not_replaced() -> None:
    steps = decide(view(primary(rebuild=BEGUN), replica(1), replica(2)), NOW).steps
    assert not any(isinstance(step, Delete) for step in steps)
    wanted = view(primary(rebuild=Rebuild()), replica(1, rebuild=Rebuild()), replica(2))
    assert not any(isinstance(step, Delete) for step in decide(wanted, NOW).steps)


def test_nobody_hands_over_to_an_instance_that_is_to_be_rebuilt() -> None:
    leaving = primary(is_terminating=True)
    seen = view(leaving, replica(1, rebuild=Rebuild()), replica(2))
    assert TakeOver("p-2", "p-0", seen.policy.take_over_s) in decide(seen, NOW).steps
