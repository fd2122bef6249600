"""Turn a world and an authority that may die after any step into a story, and check each moment."""

from dataclasses import replace

from core.group_world import World
from everfly.core.group_view import Memory, Service
from everfly.core.model import Instant
from everfly.core.plan import Decision, decide
from everfly.core.steps import Step

TICK_MS = 1000


def run_round(world: World, *, dies_after: int | None = None) -> Decision:
    """Decide and act once. An authority that dies takes what it only remembered with it."""
    decision = decide(world.observe(), world.now)
    world.memory = decision.memory
    world.intent = replace(world.intent, running=decision.running)
    world.scale()
    for number, step in enumerate(decision.steps):
        if number == dies_after:
            world.memory, world.term = Memory(), world.term + 1
            break
        before = world.memory
        goes_on = act(world, step)
        check(world)
        if not goes_on:
            assert before is not world.memory or world.why_unwell() != ""
            break
    world.now = Instant(world.now + TICK_MS)
    return decision


def act(world: World, step: Step) -> bool:
    # A step about an instance that the platform dropped meanwhile does nothing.
    name = getattr(step, "name", None)
    if name is not None and name not in world.pods:
        return True
    return world.apply(step)


def check(world: World) -> None:
    assert len(world.led()) <= 1, "clients are led to two primaries"
    for epoch, names in world.promoted.items():
        assert len(names) <= 1, f"{names} were promoted in epoch {epoch}"


def settle(world: World, rounds: int = 40, *, writes: bool = False) -> Decision:
    """Decide until all is well; fail with what is not."""
    decision = run_round(world)
    for _ in range(rounds):
        if writes:
            world.write()
        if not world.why_unwell() and not decision.steps:
            return decision
        decision = run_round(world)
    raise AssertionError(f"{world.why_unwell()}; last decision: {decision}")


def ready_world(count: int = 3, *, has_snapshots: bool = False, writes: int = 20) -> World:
    """A world in order, in which clients wrote."""
    world = World(count, has_snapshots=has_snapshots)
    settle(world)
    for _ in range(writes):
        assert world.write()
    run_round(world)
    return world


def primary_of(world: World) -> str:
    (pod,) = (pod for pod in world.pods.values() if pod.service is Service.PRIMARY)
    return pod.name


def data_of_primary(world: World) -> set[int]:
    return world.pods[primary_of(world)].writes
