"""The authority dies after every single step of every change, and the next one finishes it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.group_author import data_of_primary, primary_of, ready_world, run_round, settle
from core.group_world import World

Change = Callable[[World], None]


def killed(world: World) -> None:
    world.kill("p-0")


def restarted_empty(world: World) -> None:
    world.kill("p-0")
    world.start("p-0")


def cut_off(world: World) -> None:
    world.pods["p-0"].is_linked = False


def stopped(world: World) -> None:
    world.pods["p-0"].is_terminating = True


def stopped_too_early(world: World) -> None:
    world.pods["p-0"].is_terminating = True
    world.kill("p-0")


def asked_to_switch(world: World) -> None:
    world.intent = replace(world.intent, switch_to="p-2")


def fenced(world: World) -> None:
    world.pods["p-0"].is_fenced = True


def outdated(world: World) -> None:
    for pod in world.pods.values():
        pod.is_current = False


def demoted_by_hand(world: World) -> None:
    world.become_primary(world.pods["p-1"])
    world.follow(world.pods["p-0"], world.pods["p-1"])


def hand_over_refused(world: World) -> None:
    world.take_over_works = False
    world.intent = replace(world.intent, switch_to="p-1")


def hand_over_fires_late(world: World) -> None:
    world.take_over_works, world.fires_late = False, True
    world.intent = replace(world.intent, switch_to="p-1")


def made_smaller(world: World) -> None:
    world.intent = replace(world.intent, switch_to="p-2")
    settle(world)
    world.intent = replace(world.intent, replicas=1)


def condemned(world: World) -> None:
    world.pods["p-1"].is_condemned = True


def of_another_operator(world: World) -> None:
    world.record = type(world.record)()
    world.promoted.clear()  # its epochs are none of ours


CHANGES = [
    killed,
    restarted_empty,
    cut_off,
    stopped,
    stopped_too_early,
    asked_to_switch,
    fenced,
    outdated,
    demoted_by_hand,
    hand_over_refused,
    hand_over_fires_late,
    made_smaller,
    condemned,
    of_another_operator,
]
STEPS_MAX = 6
ROUNDS = 8


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("count", [2, 3])
def test_whoever_comes_next_finishes_what_was_begun(change: Change, count: int) -> None:
    """Every change, cut off in every round after every number of steps."""
    if count == 2 and change in (asked_to_switch, made_smaller):
        pytest.skip("needs a third instance")
    for dead_round in range(ROUNDS):
        for dies_after in range(STEPS_MAX):
            world = ready_world(count)
            change(world)
            for number in range(ROUNDS):
                run_round(world, dies_after=dies_after if number == dead_round else None)
                heal_stopped(world)
            settle(world, 60)
            assert data_of_primary(world) == world.acknowledged


def heal_stopped(world: World) -> None:
    """The platform replaces an instance that was being stopped once its process ended."""
    for name, pod in list(world.pods.items()):
        if pod.is_terminating and (not pod.is_alive or pod.incarnation):
            world.replace_pod(name)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_two_changes_at_once_end_well(change: Change) -> None:
    for other in CHANGES:
        for delay in range(4):
            world = ready_world(3)
            change(world)
            for _ in range(delay):
                run_round(world)
                heal_stopped(world)
            if len(world.pods) == 3:
                other(world)
            for _ in range(12):
                run_round(world)
                heal_stopped(world)
            recover(world)
            settle(world, 60)


def recover(world: World) -> None:
    """All that people and the platform can mend is mended; what was being stopped has ended."""
    world.take_over_works, world.fires_late = True, False
    for name, pod in list(world.pods.items()):
        pod.is_linked, pod.is_heard, pod.is_fenced = True, True, False
        if pod.is_terminating:
            world.kill(name, saves=True)
            world.replace_pod(name)
        elif not pod.is_alive:
            world.start(name)


FAULTS = st.sampled_from(
    ["kill", "start", "cut", "join", "deafen", "hear", "stop", "write", "switch", "outdate", "die"]
)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 4),
    st.booleans(),
    st.lists(st.tuples(FAULTS, st.integers(0, 3), st.integers(0, 5)), max_size=30),
)
def test_random_troubles_never_lead_clients_to_two_and_end_well(
    count: int, has_snapshots: bool, troubles: list[tuple[str, int, int]]
) -> None:
    world = ready_world(count, has_snapshots=has_snapshots)
    for trouble, which, number in troubles:
        trouble_world(world, trouble, f"p-{which % count}")
        run_round(world, dies_after=number if trouble == "die" else None)
        heal_stopped(world)
    recover(world)
    settle(world, 80)
    assert primary_of(world) == world.record.primary


def trouble_world(world: World, trouble: str, name: str) -> None:
    pod = world.pods.get(name)
    if pod is None:
        return
    match trouble:
        case "kill":
            world.kill(name)
        case "start" if not pod.is_alive:
            world.start(name)
        case "cut" | "join":
            pod.is_linked = trouble == "join"
        case "deafen" | "hear":
            pod.is_heard = trouble == "hear"
        case "stop":
            pod.is_terminating = True
        case "write":
            world.write()
        case "switch":
            world.intent = replace(world.intent, switch_to=name)
        case "outdate":
            pod.is_current = False
