"""Virtual time: things happen in order, and a world that stands still is told, not waited for."""

import pytest

from everfly.sim import run as running
from everfly.sim.run import draw_plan, run_plan
from everfly.sim.world import StandstillError, World


def test_things_happen_at_their_instant_and_in_the_order_of_asking() -> None:
    world, seen = World(1), list[tuple[int, str]]()
    for at, what in ((20, "c"), (10, "a"), (10, "b")):
        world.at(at, lambda what=what: seen.append((world.now, what)))  # type: ignore[misc]
    world.run_until(15)
    assert (seen, world.now) == ([(10, "a"), (10, "b")], 15)
    world.run_until(30)
    assert seen[-1] == (20, "c")


def test_what_is_no_text_is_told_all_the_same() -> None:
    world = World(1)
    world.mark("alpha", "says \udcff and é")
    assert [mark.what for mark in world.trace] == ["says \\udcff and é"]


def test_who_answers_himself_for_ever_is_noticed() -> None:
    world = World(1)

    def again() -> None:
        world.after(0, again)

    world.at(7, again)
    with pytest.raises(StandstillError, match="at 7 ms"):
        world.run_until(10)


def test_who_acts_at_every_instant_is_not_standing_still() -> None:
    world, count = World(1), [0]

    def again() -> None:
        count[0] += 1
        world.after(1, again)

    world.at(0, again)
    world.run_until(30_000)
    assert count == [30_001]


def test_a_world_in_which_somebody_raises_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: World, end: int) -> None:
        raise LookupError(f"nothing before {end}")

    monkeypatch.setattr(running.World, "run_until", raises)
    (violation,) = run_plan(draw_plan(1)).violations
    assert violation.rule == "nothing raises"
    assert "LookupError at test_world.py" in violation.what


def test_a_world_that_stands_still_breaks_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def still(_: World, end: int) -> None:
        raise StandstillError(f"before {end}")

    monkeypatch.setattr(running.World, "run_until", still)
    outcome = run_plan(draw_plan(1))
    assert [violation.rule for violation in outcome.violations] == ["no busy loop"]
