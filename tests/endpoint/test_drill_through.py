"""Drills through the endpoint, as a user runs them and with each engine."""

import json
import subprocess
import sys

import pytest

from endpoint_process import needs_plane
from engines_fixture import DOUBLE, ENGINES, binary_of, engine
from everfly.drill.crowd import PAIRS, Load
from everfly.drill.mixed import Pipeline, Reading, Storing, Transaction
from everfly.drill.stage import OwnStage
from everfly.drill.through import Passing, pass_through
from everfly.engines.command import EngineBinary
from everfly.errors import SettingsError
from everfly.local.deployment import Deployment

__all__ = ["engine"]  # a fixture is used by its name

pytestmark = [pytest.mark.integration, pytest.mark.slow]

START_S = 30.0
DRILL = [sys.executable, "-m", "everfly", "drill"]
OF_DOUBLE = Load(40, frozenset({Pipeline, Transaction, Storing, Reading, *PAIRS[1]}))
"""Of the work that the double of Dragonfly can do."""


def ignore(text: str) -> None:
    """Have nobody to tell."""


@needs_plane
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_switchovers_in_a_row_cost_clients_nothing(engine: EngineBinary) -> None:
    load = OF_DOUBLE if engine.path == DOUBLE else Load(40)
    async with Deployment.temporary(engine, has_endpoint=True) as deployment:
        await deployment.until_healthy(START_S)
        stage = OwnStage(deployment)
        through = await pass_through(stage, Passing.SWITCHOVER, 3, ignore, load)
    # How long clients wait is for a machine that nobody shares; nothing else may go wrong.
    assert through.problems == ()
    assert through.seen.writes > 100
    assert (through.seen.lost, through.seen.doubled, through.seen.ambiguous) == (0, 0, 0)
    assert not through.seen.errors
    # One that a busy machine gives up must harm nobody either.
    assert any(each.old != each.new for each in through.passages)


@needs_plane
@pytest.mark.parametrize("passing", [Passing.KILL_PRIMARY, Passing.FREEZE_PRIMARY])
async def test_a_lost_primary_costs_no_read_and_nothing_twice(passing: Passing) -> None:
    async with Deployment.temporary(binary_of("valkey"), has_endpoint=True) as deployment:
        await deployment.until_healthy(START_S)
        through = await pass_through(OwnStage(deployment), passing, 1, ignore, Load(40))
    assert through.problems == ()
    assert (through.seen.doubled, through.seen.read_errors) == (0, 0)
    assert not through.seen.errors
    (passage,) = through.passages
    assert passage.old != passage.new


async def test_without_an_endpoint_there_is_nothing_to_go_through() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        with pytest.raises(SettingsError, match="has no endpoint"):
            await pass_through(OwnStage(deployment), Passing.SWITCHOVER, 1, ignore)


@needs_plane
def test_the_command_prints_what_clients_saw() -> None:
    line = [*DRILL, "switchover", "--fresh", "--engine", "valkey", "--clients", "20", "--json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=110, check=False)
    told = json.loads(done.stdout)
    assert (told["drill"], told["through"]) == ("switchover", "endpoint")
    assert told["problems"] == []
    assert told["seen"]["errors"] == {}
    assert len(told["changes"]) == 1
    assert "clients work through 127.0.0.1:" in done.stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["kill-sentinel", "--endpoint"], "--endpoint is for switchover, kill-primary"),
        (["switchover", "--report", "x.html"], "--report shows no drill through the endpoint"),
    ],
)
def test_what_cannot_go_through_the_endpoint_is_refused(words: list[str], why: str) -> None:
    done = subprocess.run([*DRILL, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert why in done.stderr
