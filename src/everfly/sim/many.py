"""Run many worlds, in several processes, and count what came of them.

Rules: results come in the order of the seeds, however many processes there are; what a process
sends back is small; when time is up what is under way is waited for, so every seed that was begun
is counted; a process that dies is an error, never a seed without a result.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from everfly.compiled import overlay
from everfly.sim import worker
from everfly.sim.profiles import ANY, profile_of
from everfly.sim.run import Outcome, run
from everfly.sim.seeds import Seeds

CHUNK: Final = 4
"""Worlds a process takes at a time: a second of work at most, so that time limits hold."""
AHEAD: Final = 3
"""Chunks that wait for each process: it never idles, and little is thrown away at the end."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one world, in short."""

    seed: int
    violations: tuple[str, ...]
    """Each with its time and rule, in words."""
    rules: tuple[str, ...]
    """Names of the rules that were broken."""
    faults: tuple[str, ...]
    acknowledged: int
    lost: int
    steps: int
    trace: str
    """Fingerprint: equal seeds have equal ones, with the same core."""
    seconds: float
    """How long it took."""


def results(worlds: Seeds, jobs: int, profile: str = ANY.name) -> Iterator[Result]:
    """Run worlds and return what came of them, until they or their time are over.

    Raises SettingsError when there is no such profile.
    """
    profile_of(profile)
    if jobs == 1:
        yield from _alone(worlds, profile)
    else:
        yield from _together(worlds, jobs, profile)


def _alone(worlds: Seeds, profile: str) -> Iterator[Result]:
    deadline = _deadline(worlds)
    for seed in worlds:
        yield run_one(seed, profile)
        if time.monotonic() > deadline:
            return


def _together(worlds: Seeds, jobs: int, profile: str) -> Iterator[Result]:
    deadline = _deadline(worlds)
    seeds = iter(worlds)
    waiting: deque[Future[list[Result]]] = deque()
    is_fresh = True
    # Fresh processes: a fork would copy the threads of a progress bar half-way.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=worker.begin, initargs=(overlay.used(),)
    ) as pool:
        try:
            while True:
                # Some at the least, however long the processes took to start.
                while len(waiting) < jobs * AHEAD and (is_fresh or time.monotonic() < deadline):
                    chunk = tuple(islice(seeds, CHUNK))
                    if not chunk:
                        break
                    waiting.append(pool.submit(_run_chunk, chunk, profile))
                is_fresh = False
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_one(seed: int, profile: str = ANY.name) -> Result:
    """Run one world and sum it up."""
    began = time.monotonic()
    outcome = run(seed, profile=profile_of(profile))
    return summary(outcome, time.monotonic() - began)


def summary(outcome: Outcome, seconds: float) -> Result:
    """Sum one world up."""
    return Result(
        seed=outcome.seed,
        violations=tuple(map(str, outcome.violations)),
        rules=tuple(dict.fromkeys(one.rule for one in outcome.violations)),
        faults=tuple(map(str, outcome.faults)),
        acknowledged=outcome.acknowledged,
        lost=outcome.lost,
        steps=outcome.steps,
        trace=outcome.trace_hash,
        seconds=seconds,
    )


def _run_chunk(seeds: tuple[int, ...], profile: str) -> list[Result]:
    return [run_one(seed, profile) for seed in seeds]


def _deadline(worlds: Seeds) -> float:
    return float("inf") if worlds.limit_s is None else time.monotonic() + worlds.limit_s
