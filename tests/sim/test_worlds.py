"""Whole worlds: the seeds that once failed, a few fresh ones, and that a seed tells all."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from everfly.errors import SettingsError
from everfly.sim.cluster import Shape
from everfly.sim.faults import ALL_KINDS, MOVES, Fault
from everfly.sim.profiles import PLANNED, PROFILES, profile_of
from everfly.sim.run import Outcome, draw_plan, run, run_plan
from everfly.sim.seeds import read_known

SEEDS = [one.seed for one in read_known(Path(__file__).parent / "seeds.txt")]

CALM = Shape(sentinels=3, replicas=2, quorum=2, down_after=1_000, failover_timeout=2_000)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_once_broke_a_rule_breaks_none(seed: int) -> None:
    assert run(seed).violations == ()


@pytest.mark.parametrize("seed", range(40))
def test_a_fresh_world_breaks_no_rule(seed: int) -> None:
    assert run(seed).violations == ()


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_seed_gives_the_same_trace_in_two_processes_and_twice_in_one(name: str) -> None:
    program = (
        "from everfly.sim.run import run; from everfly.sim.profiles import profile_of; "
        f"print(run(7, profile=profile_of({name!r})).trace_hash)"
    )
    others = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONHASHSEED": salt},
        ).stdout.strip()
        for salt in ("1", "2")
    ]
    mine = [run(7, profile=profile_of(name)).trace_hash for _ in range(2)]
    assert {*others, *mine} == {mine[0]}


def test_different_seeds_give_different_worlds() -> None:
    assert run(1).trace_hash != run(2).trace_hash


def test_recording_messages_changes_nothing_else() -> None:
    plan = draw_plan(3)
    silent, told = run_plan(plan), run_plan(plan, records_messages=True)
    assert silent.messages == ()
    assert told.trace_hash == silent.trace_hash
    arrived = [one for one in told.messages if one.arrived_at is not None]
    assert len(arrived) > 1_000
    assert all(one.arrived_at is not None and one.arrived_at >= one.sent_at for one in arrived)


def test_an_unknown_profile_is_told_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match="any, "):
        profile_of("nonsense")


def test_each_kind_of_fault_is_drawn_and_happens() -> None:
    drawn = {fault.kind for seed in range(300) for fault in draw_plan(seed).faults}
    assert drawn == {*ALL_KINDS, MOVES}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_fault_of_each_kind_alone_breaks_no_rule(kind: str) -> None:
    some = next(
        fault
        for seed in range(1_000)
        for fault in draw_plan(seed, CALM).faults
        if fault.kind == kind
    )
    assert run(5, shape=CALM, drawn=(some,)).violations == ()


@pytest.mark.parametrize("seed", range(6))
def test_an_instance_that_moves_is_found_by_its_name(seed: int) -> None:
    shape = replace(CALM, has_names=True, speaks_text=seed % 2 == 0)
    moves = (Fault(8_000, MOVES, "primary", 3_000), Fault(20_000, MOVES, "instance:6381", 500))
    outcome = run(seed, shape=shape, drawn=moves)
    assert outcome.violations == ()
    assert any(mark.what.startswith("+switch-master") for mark in outcome.trace)


def switches(seed: int, *faults: Fault) -> list[str]:
    outcome = run(seed, shape=CALM, drawn=faults)
    assert outcome.violations == ()
    return [mark.who for mark in outcome.trace if mark.what.startswith("+switch-master")]


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_primary_is_replaced_once_and_every_sentinel_says_so_once(seed: int) -> None:
    said = switches(seed, Fault(6_000, "kill", "primary", 2_500))
    assert sorted(said) == ["sentinel:26379", "sentinel:26380", "sentinel:26381"]


@pytest.mark.parametrize("seed", range(5))
def test_replicas_keep_their_data_when_the_primary_restarts_empty(seed: int) -> None:
    outcome = run(seed, shape=CALM, drawn=(Fault(20_000, "kill-empty", "primary", 50),))
    assert outcome.violations == ()
    # Asynchronous replication: what was acknowledged in the last moment may be gone, no more.
    assert outcome.lost <= 2
    assert outcome.acknowledged > 200


@pytest.mark.parametrize("seed", range(12))
def test_switchovers_that_people_ask_for_lose_nothing(seed: int) -> None:
    outcome: Outcome = run(seed, profile=PLANNED)
    assert outcome.violations == ()
    assert outcome.lost == 0
    assert outcome.acknowledged > 200
