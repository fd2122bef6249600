"""Whole worlds: the seeds that once failed, a few fresh ones, and that a seed tells all."""

import subprocess
import sys
from pathlib import Path

import pytest

from everfly.sim.cluster import Shape
from everfly.sim.faults import Fault
from everfly.sim.run import Outcome, minimise, run

SEEDS = [
    int(line.split()[0])
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_once_broke_a_rule_breaks_none(seed: int) -> None:
    assert run(seed).violations == ()


@pytest.mark.parametrize("seed", range(40))
def test_a_fresh_world_breaks_no_rule(seed: int) -> None:
    assert run(seed).violations == ()


def test_a_seed_gives_the_same_trace_in_two_processes() -> None:
    program = "from everfly.sim.run import run; print(run(7).trace_hash)"
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert other.stdout.strip() == run(7).trace_hash


def test_different_seeds_give_different_worlds() -> None:
    assert run(1).trace_hash != run(2).trace_hash


CALM = Shape(sentinels=3, replicas=2, quorum=2, down_after=1_000, failover_timeout=2_000)


def switches(seed: int, *faults: Fault) -> list[str]:
    outcome = run(seed, shape=CALM, drawn=faults)
    assert outcome.violations == ()
    return [mark.who for mark in outcome.trace if mark.what.startswith("+switch-master")]


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_primary_is_replaced_once_and_every_sentinel_says_so_once(seed: int) -> None:
    said = switches(seed, Fault(5_000, "kill", "primary", 2_500))
    assert sorted(said) == ["sentinel:26379", "sentinel:26380", "sentinel:26381"]


@pytest.mark.parametrize("seed", range(5))
def test_replicas_keep_their_data_when_the_primary_restarts_empty(seed: int) -> None:
    outcome = run(seed, shape=CALM, drawn=(Fault(20_000, "kill-empty", "primary", 50),))
    assert outcome.violations == ()
    # Asynchronous replication: what was acknowledged in the last moment may be gone, no more.
    assert outcome.lost <= 2
    assert outcome.acknowledged > 300


def test_minimising_keeps_only_the_faults_that_matter() -> None:
    kill = Fault(5_000, "kill", "primary", 2_500)
    noise = Fault(3_000, "cut-pair", "sentinel:26379,sentinel:26380", 100)
    more_noise = Fault(15_000, "pause-sentinel", "sentinel:26381", 100)

    def fails_over(outcome: Outcome) -> bool:
        return any(mark.what.startswith("+switch-master") for mark in outcome.trace)

    outcome = run(3, shape=CALM, drawn=(noise, kill, more_noise))
    assert minimise(outcome, fails_over).faults == (kill,)
