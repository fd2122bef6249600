"""How many simulated worlds a second, and where the time goes.

    .venv/bin/python bench/sim.py --profile lossy --worlds 40
    .venv/bin/python bench/sim.py --profile any --jobs 2

Prints worlds a second, core steps and deliveries a world, and the share of the time that is spent
inside the core: what is left is the simulator's own. Compiled code runs where `make compiled` has
made it; its calls from module to module cannot be timed. With EVERFLY_COMPILED=0 plain Python runs.
"""

import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from everfly.compiled import overlay

# Before the first import of what may be compiled, also in processes that run this file again.
COMPILED = overlay.use()

from environment import environment  # noqa: E402
from everfly.core.effects import Effect  # noqa: E402
from everfly.core.inputs import Input  # noqa: E402
from everfly.core.machine import Machine  # noqa: E402
from everfly.core.model import Instant  # noqa: E402
from everfly.sim.profiles import PROFILES, profile_of  # noqa: E402
from everfly.sim.run import run  # noqa: E402
from kinds import Engine  # noqa: E402


@dataclass(frozen=True)
class Sample:
    """One world."""

    seconds: float
    """Of a processor: others on the machine do not count."""
    virtual_s: float
    steps: int
    violations: int


def one(task: tuple[int, str]) -> Sample:
    """Run one world: a seed and the name of a profile."""
    seed, name = task
    began = time.process_time()
    outcome = run(seed, profile=profile_of(name))
    taken = time.process_time() - began
    return Sample(taken, outcome.ended_at / 1_000, outcome.steps, len(outcome.violations))


def share_of_core(first: int, worlds: int, name: str) -> float:
    """Return which part of the time passes in steps of the core."""
    inside = 0
    step = Machine.step

    def timed(machine: Machine, now: Instant, fact: Input) -> list[Effect]:
        nonlocal inside
        began = time.perf_counter_ns()
        effects = step(machine, now, fact)
        inside += time.perf_counter_ns() - began
        return effects

    setattr(Machine, "step", timed)  # noqa: B010 - for this measurement
    try:
        began = time.perf_counter_ns()
        for seed in range(first, first + worlds):
            one((seed, name))
        return inside / (time.perf_counter_ns() - began)
    finally:
        setattr(Machine, "step", step)  # noqa: B010 - as it was


@click.command()
@click.option("--profile", "name", type=click.Choice(sorted(PROFILES)), default="lossy")
@click.option("--first", default=0, show_default=True, help="Seed of the first world.")
@click.option("--worlds", default=40, show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Processes.")
def main(name: str, first: int, worlds: int, jobs: int) -> None:
    """Measure the simulator."""
    tasks = [(seed, name) for seed in range(first, first + worlds)]
    one(tasks[0])  # Imports and caches are not what is measured.
    began = time.perf_counter()
    if jobs == 1:
        samples = [one(task) for task in tasks]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            list(pool.map(one, tasks[:jobs]))
            began = time.perf_counter()
            samples = list(pool.map(one, tasks, chunksize=4))
    taken = time.perf_counter() - began
    told = {
        "environment": environment([], Engine.VALKEY),
        "is_compiled": COMPILED is not None,
        "profile": name,
        "jobs": jobs,
        "worlds": worlds,
        "worlds_a_second": round(worlds / taken, 2),
        "worlds_a_second_of_a_core": round(worlds / sum(one.seconds for one in samples), 2),
        "median_world_ms": round(statistics.median(one.seconds for one in samples) * 1_000, 1),
        "virtual_s_a_world": round(statistics.mean(one.virtual_s for one in samples), 1),
        "steps_a_world": round(statistics.mean(one.steps for one in samples)),
        "us_a_step_all_in": round(
            1e6 * sum(one.seconds for one in samples) / sum(one.steps for one in samples), 2
        ),
        "share_of_core": None
        if COMPILED
        else round(share_of_core(first, min(10, worlds), name), 3),
        "broken": sum(one.violations > 0 for one in samples),
        "slowest": asdict(max(samples, key=lambda one: one.seconds)),
    }
    click.echo(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
