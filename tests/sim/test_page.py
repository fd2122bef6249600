"""The page of a world: complete, alone, safe, and readable in a real browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from everfly.sim.checkers import Violation
from everfly.sim.cluster import Shape
from everfly.sim.faults import Fault
from everfly.sim.lanes import picture_of, window_of
from everfly.sim.page import page
from everfly.sim.page_drawing import ARROWS_MAX, Window, chosen_arrows, ticks
from everfly.sim.run import Outcome, Plan, run_plan
from everfly.sim.world import Kind, Mark

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "</style></svg><script>alert(1)</script>&\"'"
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
FAULTS = (
    Fault(5_000, "kill", "primary", 2_500),
    Fault(9_000, "pause-sentinel", "sentinel:26380", 700),
    Fault(12_000, "split", "instance:6380,sentinel:26379", 900),
)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run_plan(Plan(1, Shape(), FAULTS), records_messages=True)


@pytest.fixture(scope="module")
def broken(outcome: Outcome) -> Outcome:
    violation = Violation(6_100, "one vote an epoch", HOSTILE)
    mark = Mark(6_100, "rule", f"{violation.rule}: {HOSTILE}", Kind.RULE)
    said = Mark(6_050, "sentinel:26379", f"+set {HOSTILE}", Kind.NOTICE)
    trace = sorted([*outcome.trace, mark, said], key=lambda one: one.at)
    return replace(outcome, violations=(violation,), trace=tuple(trace))


def parsed(text: str) -> ET.Element:
    first, _, rest = text.partition("\n")
    assert first == "<!DOCTYPE html>"
    return ET.fromstring(rest)


def test_every_process_has_a_lane_and_every_fault_a_number(outcome: Outcome) -> None:
    root = parsed(page(outcome))
    text = "".join(root.itertext())
    for name in ("sentinel:26379", "sentinel:26381", "instance:6379", "instance:6381"):
        assert name in text
    flags = {one.text for one in root.iter(f"{SVG}text") if "flag" in one.get("class", "")}
    assert flags == {"1", "2", "3"}
    shades = [one for one in root.iter(f"{SVG}rect") if one.get("class") == "fault"]
    assert len(shades) >= 4


def test_messages_are_arrows_between_lanes(outcome: Outcome) -> None:
    root = parsed(page(outcome))
    kinds = {
        one.get("class", "").split()[1]
        for one in root.iter(f"{SVG}line")
        if one.get("class", "").startswith("arrow ") and one.get("marker-end")
    }
    assert kinds >= {"vote", "order", "hello", "routine"}
    assert "becomes a primary" in "".join(root.itertext())


def test_without_messages_there_is_the_whole_world_alone(outcome: Outcome) -> None:
    root = parsed(page(replace(outcome, messages=())))
    assert len([one for one in root.iter(f"{SVG}svg") if one.get("role") == "img"]) == 1


def test_the_broken_rule_is_marked_and_looked_at_closely(broken: Outcome) -> None:
    root = parsed(page(broken))
    rules = [one for one in root.iter(f"{SVG}line") if one.get("class") == "rule"]
    assert len(rules) == 2
    start, end = window_of(broken)
    fault, violation = broken.faults[0], broken.violations[0]
    assert start <= fault.at < violation.at <= end
    assert "✗ one vote an epoch" in "".join(root.itertext())


def test_text_from_the_world_stays_text(broken: Outcome) -> None:
    root = parsed(page(broken))
    assert not list(root.iter(f"{HTML}script"))
    assert not list(root.iter(f"{SVG}script"))
    assert HOSTILE in "".join(root.itertext())


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(broken: Outcome) -> None:
    text = page(broken)
    assert re.findall(r"\b(?:src|href|import|srcset|action)\s*[=(]", text) == []
    assert set(re.findall(r"\burl\(([^)]*)\)", text)) <= {"#tip"}
    addresses = set(re.findall(r"https?://[^\"' ]+", text))
    assert addresses == {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_every_colour_has_a_light_and_a_dark_form(outcome: Outcome) -> None:
    style = page(outcome).partition("<style>")[2].partition("</style>")[0]
    used = set(re.findall(r"var\((--[\w-]+)\)", style))
    light, _, dark = style.partition("prefers-color-scheme: dark")
    dark = dark.partition("}\n}")[0]
    for part in (light, dark):
        assert used <= set(re.findall(r"(--[\w-]+):", part))


def test_states_follow_what_happened_to_an_instance(outcome: Outcome) -> None:
    picture = picture_of(outcome)
    lane = next(one for one in picture.lanes if one.name == "instance:6379")
    states = [(span.state, span.start, span.end) for span in lane.spans]
    assert states[0] == ("primary", 0, 5_000)
    assert states[1] == ("down", 5_000, 7_500)
    assert "replica" in [state for state, _, _ in states[2:]]
    assert states[-1][2] == picture.end
    for before, after in pairwise(states):
        assert before[2] == after[1]


def test_of_too_many_messages_those_that_matter_are_drawn(outcome: Outcome) -> None:
    picture = picture_of(outcome)
    every = Window(0, picture.end)
    chosen = chosen_arrows(picture, every)
    assert len(chosen) == ARROWS_MAX < len(picture.arrows)
    orders = [arrow for arrow in picture.arrows if arrow.kind == "order"]
    assert 0 < len(orders) < ARROWS_MAX
    assert set(map(id, orders)) <= set(map(id, chosen))


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 120_000), (4_600, 6_500), (7, 7)])
def test_ticks_are_round_few_and_inside(start: int, end: int) -> None:
    found = ticks(Window(start, end))
    assert len(found) <= 13
    assert all(start <= one <= end for one in found)


@pytest.mark.integration
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_a_browser_draws_the_page_without_complaint(broken: Outcome, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    (tmp_path / "world.html").write_text(page(broken), encoding="utf-8")
    picture = tmp_path / "world.png"
    done = subprocess.run(
        [
            CHROMIUM,
            *["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"],
            *["--disable-background-networking", "--disable-component-update"],
            *["--enable-logging=stderr", "--v=0", "--window-size=1240,1600"],
            f"--screenshot={picture}",
            f"--user-data-dir={tmp_path / 'profile'}",
            (tmp_path / "world.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    # A blank page of this size is some ten kilobytes.
    assert picture.stat().st_size > 60_000
