"""Compiled code tells of the same worlds as plain Python, to the last delivery."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from everfly.compiled import overlay


@pytest.fixture
def built() -> Path:
    found = overlay.find()
    if found is None:
        pytest.skip("nothing is compiled of these sources: make compiled")
    return found


def skip_unless_still(built: Path) -> None:
    """Judge nothing where somebody edits the sources at this moment."""
    if overlay.find() != built:
        pytest.skip("the sources changed during the test")


WORLDS = """
import json, sys
from everfly.compiled import overlay
folder = overlay.use()
from everfly.sim import run
from everfly.sim.profiles import profile_of
from everfly.sim.story import full_trace
told = {"from": str(folder), "run": run.__file__, "worlds": []}
for word in sys.argv[1:]:
    profile, _, seed = word.partition(":")
    outcome = run.run(int(seed), profile=profile_of(profile))
    told["worlds"].append([
        word, outcome.trace_hash, outcome.steps, outcome.acknowledged, outcome.lost,
        [str(one) for one in outcome.violations], list(full_trace(outcome)),
    ])
json.dump(told, sys.stdout)
"""

CHILDREN = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from everfly.compiled import overlay
folder = overlay.use()
from everfly.sim import worker
context = multiprocessing.get_context("spawn")
with ProcessPoolExecutor(1, context, worker.begin, (folder,)) as pool:
    child = pool.submit(overlay.used).result()
    from everfly.sim.many import results
    from everfly.sim.seeds import Seeds
    print(folder == child == overlay.used())
    print([one.trace for one in results(Seeds(1, 7, None), 2)])
"""


def python(text: str, *arguments: str, wish: str) -> str:
    line = [sys.executable, "-c", text, *arguments]
    environment = {**os.environ, "EVERFLY_COMPILED": wish}
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "words",
    [
        [f"{profile}:{seed}" for seed in range(first, first + 3)]
        for profile, first in [("any", 0), ("any", 40), ("lossy", 0), ("mixed", 0), ("planned", 0)]
    ],
    ids=lambda words: words[0],
)
def test_the_same_seed_gives_the_same_world(built: Path, words: list[str]) -> None:
    plain = json.loads(python(WORLDS, *words, wish="0"))
    compiled = json.loads(python(WORLDS, *words, wish="1"))
    skip_unless_still(built)
    assert plain["run"].endswith("/sim/run.py")
    assert Path(compiled["run"]).is_relative_to(built)
    assert len(plain["worlds"]) == 3
    assert plain["worlds"] == compiled["worlds"]


def test_a_run_of_many_worlds_says_that_it_is_compiled(built: Path) -> None:
    line = [sys.executable, "-m", "everfly", "sim", "--seeds", "0..2"]
    said = []
    for wish in ("0", ""):
        environment = {**os.environ, "EVERFLY_COMPILED": wish}
        done = subprocess.run(
            line, env=environment, capture_output=True, text=True, timeout=100, check=True
        )
        said.append(done.stderr.splitlines()[0])
    skip_unless_still(built)
    assert said == ["seeds 0..2, 1 at a time", "seeds 0..2, 1 at a time, compiled"]


def test_the_processes_of_a_run_use_what_it_uses(built: Path) -> None:
    plain = python(CHILDREN, wish="0").splitlines()
    compiled = python(CHILDREN, wish="1").splitlines()
    skip_unless_still(built)
    assert plain[0] == compiled[0] == "True"
    assert plain[1] == compiled[1]
