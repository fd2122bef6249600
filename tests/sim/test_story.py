"""Stories: short, true, in order, and in words that an engineer on call knows."""

import re
from dataclasses import replace

import pytest

from everfly.sim.checkers import Violation
from everfly.sim.cluster import Shape
from everfly.sim.faults import Fault
from everfly.sim.run import Outcome, Plan, run, run_plan
from everfly.sim.story import LINES_MAX, events_of, full_trace, names, story
from everfly.sim.world import Kind, Mark

TIME = re.compile(r" *([\d.]+) s  ")
KILL = Fault(5_000, "kill", "primary", 2_500)


@pytest.fixture(scope="module")
def failover() -> Outcome:
    return run_plan(Plan(1, Shape(), (KILL,)))


def broken(outcome: Outcome, at: int) -> Outcome:
    """As if a rule had been broken at that instant."""
    violation = Violation(at, "one vote an epoch", "somebody voted twice")
    mark = Mark(at, "rule", f"{violation.rule}: {violation.what}", Kind.RULE)
    trace = sorted([*outcome.trace, mark], key=lambda one: one.at)
    return replace(outcome, violations=(violation,), trace=tuple(trace))


def test_a_failover_is_told_from_the_fault_to_the_new_primary(failover: Outcome) -> None:
    text = "\n".join(story(failover))
    steps = [
        "FAULT  kill primary for 2.5 s",
        "finds the primary 10.0.0.1:6379 down",
        "a quorum agrees that the primary is down",
        "is elected and leads the failover",
        "chooses replica 10.0.0.1:63",
        "becomes a primary",
        "moves the group: from 10.0.0.1:6379 to 10.0.0.1:63",
    ]
    places = [text.find(step) for step in steps]
    assert -1 not in places, text
    assert places == sorted(places), text
    assert "no rule is broken" in text


@pytest.mark.parametrize("seed", range(12))
def test_a_story_has_at_most_thirty_lines_in_the_order_of_time(seed: int) -> None:
    lines = story(run(seed))
    assert len(lines) <= LINES_MAX
    times = [float(found[1]) for line in lines if (found := TIME.match(line))]
    assert times == sorted(times)
    assert len(times) >= 3


@pytest.mark.parametrize("seed", range(6))
def test_faults_and_the_broken_rule_are_always_told(seed: int) -> None:
    outcome = run(seed)
    lines = story(broken(outcome, outcome.faults[-1].at + 1))
    assert len(lines) <= LINES_MAX
    assert sum("  FAULT  " in line for line in lines) >= len(outcome.faults)
    assert sum("BROKEN RULE  one vote an epoch: somebody voted twice" in one for one in lines) == 1
    assert lines[1].startswith("BROKEN at ")


def test_what_comes_long_after_the_broken_rule_gives_way_to_what_came_before(
    failover: Outcome,
) -> None:
    lines = story(broken(failover, 5_500), lines_max=10)
    rule = next(number for number, line in enumerate(lines) if "BROKEN RULE" in line)
    assert len(lines) - rule <= 3


def test_what_several_say_at_about_one_time_is_one_line(failover: Outcome) -> None:
    downs = [one for one in events_of(failover) if one.text.startswith("finds the primary")]
    assert len(downs) == 1
    assert len(downs[0].who) == 3
    assert names(downs[0].who) == "sentinel:26379, 26380, 26381"
    assert names(["client:1", "rule"]) == "client:1, rule"


def test_run_ids_become_names(failover: Outcome) -> None:
    text = "\n".join(story(failover))
    assert re.search(r"votes for sentinel:2637\d in epoch 1|votes for sentinel:2638\d in", text)
    assert not re.search(r"[0-9a-f]{40}", text)


def test_the_whole_trace_is_there_for_who_wants_it(failover: Outcome) -> None:
    lines = list(full_trace(failover))
    assert len(lines) > len(failover.trace)
    assert sum("+switch-master" in line for line in lines) == 3
