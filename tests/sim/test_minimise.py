"""Shrinking: the least that fails in the same way, and nothing that was not run."""

from dataclasses import replace

import pytest

from everfly.sim.checkers import Violation
from everfly.sim.cluster import Shape
from everfly.sim.faults import Fault
from everfly.sim.minimise import END_RULES, breaks, minimise
from everfly.sim.run import Outcome, Plan, run_plan

KILL = Fault(5_000, "kill", "primary", 4_000)
NOISE = (
    Fault(3_000, "cut-pair", "sentinel:26379,sentinel:26380", 100),
    Fault(4_000, "pause", "instance:6381", 50),
    Fault(9_000, "pause-sentinel", "sentinel:26381", 100),
)
LARGE = Shape(replicas=2, latency_ms=(1, 10), disk_ms=(5, 40))


def fails_over(outcome: Outcome) -> bool:
    return any(mark.what.startswith("+switch-master") for mark in outcome.trace)


def world(*faults: Fault, shape: Shape = LARGE) -> Outcome:
    in_order = tuple(sorted(faults, key=lambda fault: fault.at))
    return run_plan(Plan(3, shape, in_order, safety_ms=10_000, liveness_ms=0))


def test_only_what_matters_is_left() -> None:
    tries = []
    small = minimise(world(KILL, *NOISE), fails_over, on_try=lambda now: tries.append(now.tries))
    (fault,) = small.faults
    assert (fault.at, fault.kind, fault.target) == (5_000, "kill", "primary")
    assert fault.duration < KILL.duration
    assert small.shape.replicas == 1
    assert small.shape.sentinels == 2
    assert small.shape.latency_ms == Shape().latency_ms
    assert fails_over(run_plan(small.plan))
    assert tries == list(range(1, len(tries) + 1))


def test_the_same_world_shrinks_to_the_same_one() -> None:
    assert minimise(world(KILL, NOISE[0]), fails_over).plan == (
        minimise(world(KILL, NOISE[0]), fails_over).plan
    )


def test_two_faults_that_fail_only_together_both_stay() -> None:
    first, second = Fault(4_000, "kill", "primary", 500), Fault(8_000, "kill", "primary", 500)

    def fails_twice(outcome: Outcome) -> bool:
        deaths = {mark.at for mark in outcome.trace if mark.what == "killed"}
        return deaths >= {first.at, second.at}

    small = minimise(world(first, *NOISE, second), fails_twice)
    assert [fault.at for fault in small.faults] == [first.at, second.at]


def test_a_world_that_needs_no_fault_loses_all_of_them() -> None:
    assert minimise(world(KILL, *NOISE), lambda _: True).faults == ()


def test_a_world_that_breaks_no_rule_stays_as_it_is() -> None:
    sound = world(KILL)
    assert sound.violations == ()
    assert minimise(sound) is sound


def test_when_time_is_up_the_best_so_far_is_given_back() -> None:
    outcome = world(KILL, *NOISE)
    assert minimise(outcome, fails_over, limit_s=0) is outcome


def test_the_same_rule_must_be_broken() -> None:
    outcome = world()
    one = replace(outcome, violations=(Violation(1, "one vote an epoch", "x"),))
    other = replace(outcome, violations=(Violation(1, "converges", "x"),))
    assert breaks("converges")(other)
    assert not breaks("converges")(one)


@pytest.mark.parametrize("rule", sorted(END_RULES))
def test_a_world_is_not_cut_short_of_the_end_that_is_judged(rule: str) -> None:
    # The rule is broken on paper only: what is run breaks none, so nothing may be taken away.
    outcome = replace(world(KILL), violations=(Violation(40_000, rule, "x"),))
    assert minimise(outcome).plan == outcome.plan
