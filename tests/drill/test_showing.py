"""What people and programs get to see of a drill."""

import io
import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from drill_records import FAILOVER, OLD, record, said_by_all, writes
from everfly.drill.faults import Fault
from everfly.drill.page import page
from everfly.drill.record import Mark, Said
from everfly.drill.report import Report, conclude
from everfly.drill.text import show
from everfly.drill.to_json import to_json

HOSTILE = "</style></svg><script>alert(1)</script>&\"'"
HTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ET.Element:
    first, _, rest = text.partition("\n")
    assert first == "<!DOCTYPE html>"
    return ET.fromstring(rest)


def shown(*reports: Report) -> str:
    output = io.StringIO()
    show(Console(file=output, highlight=False), reports)
    return output.getvalue()


def hostile() -> Report:
    said = (*FAILOVER, Said(1500, "sentinel-1", HOSTILE, HOSTILE))
    return conclude(
        record(
            said=said,
            marks=(Mark(0, HOSTILE),),
            trouble=(HOSTILE,),
            victim=HOSTILE,
            engine=HOSTILE,
            sentinel_kind=HOSTILE,
        )
    )


@pytest.mark.parametrize("fault", Fault)
def test_the_page_is_well_formed_for_every_fault(fault: Fault) -> None:
    stubborn = replace(writes((-100, 200)), lost=(50.0,))
    root = parsed(page([conclude(record(fault, stubborn=stubborn))]))
    assert root.tag == f"{HTML}html"
    assert fault.value in "".join(root.itertext())


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    text = page([conclude(record())])
    names = re.findall(r"\b(?:src|href|url|import|srcset|action|on\w+)\s*[=(]", text)
    assert names == []
    addresses = set(re.findall(r"https?://[^\"' ]+", text))
    assert addresses == {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_text_from_outside_stays_text_in_the_page() -> None:
    root = parsed(page([hostile()]))
    assert not list(root.iter(f"{HTML}script"))
    assert not list(root.iter(f"{SVG}script"))
    assert HOSTILE in "".join(root.itertext())


def test_the_page_follows_the_readers_choice_of_light_or_dark() -> None:
    text = page([conclude(record())])
    assert "prefers-color-scheme: dark" in text
    style = text.partition("<style>")[2].partition("</style>")[0]
    used = set(re.findall(r"var\((--[\w-]+)\)", style))
    light, _, dark = style.partition("prefers-color-scheme: dark")
    for each in used:
        assert f"{each}:" in light, f"{each} has no light colour"
        assert f"{each}:" in dark, f"{each} has no dark colour"


def test_the_picture_shows_the_gap_in_the_writes() -> None:
    root = parsed(page([conclude(record())]))
    whole = list(root.iter(f"{SVG}svg"))[1]
    titles = [
        each.findtext(f"{SVG}title") or ""
        for each in whole.iter(f"{SVG}rect")
        if each.get("class") == "writes"
    ]
    starts = [
        float(each.partition("from ")[2].partition(" ms")[0].replace(",", "")) for each in titles
    ]
    assert [at for at in starts if -1 < at < 1050] == []
    assert -50 in starts
    assert 1050 in starts


def test_every_step_of_each_sentinel_is_a_mark_with_its_words() -> None:
    root = parsed(page([conclude(record())]))
    whole = list(root.iter(f"{SVG}svg"))[1]
    marks = list(whole.iter(f"{SVG}path"))
    assert len(marks) == len(FAILOVER)
    words = [each.findtext(f"{SVG}title") for each in marks]
    assert "1,080 ms: +switch-master instance-1 → instance-2" in words


def test_everything_drawn_is_inside_the_picture() -> None:
    stubborn = replace(writes((-100, 200)), lost=(50.0,))
    late = (Mark(0, "first"), Mark(3999, "a long label near the right edge of the picture"))
    root = parsed(page([conclude(record(stubborn=stubborn, marks=late))]))
    for picture in root.iter(f"{SVG}svg"):
        width, height = map(float, (picture.get("viewBox") or "").split()[2:])
        for box in picture.iter(f"{SVG}rect"):
            x, y, wide, tall = (
                float(box.get(name) or "") for name in ("x", "y", "width", "height")
            )
            assert 0 <= x <= x + wide <= width + 2
            assert 0 <= y <= y + tall <= height


def test_many_runs_are_summed_up_and_the_bad_ones_are_open() -> None:
    good, bad = conclude(record()), conclude(record(trouble=("it is sick",)))
    root = parsed(page([good] * 25 + [bad]))
    details = list(root.iter(f"{HTML}details"))
    assert len(details) == 21  # the first twenty and the bad one
    assert [each.get("open") for each in details].count("open") == 2
    assert "25 of 26 runs passed" in "".join(root.itertext())


def test_the_text_tells_everything_without_colour() -> None:
    text = shown(conclude(record()))
    assert "\x1b" not in text
    assert re.search(r"noticed by the first Sentinel +0 +1,000 +█+·+", text)
    assert re.search(r"clients cannot write +-10 +1,070 +█+", text)
    assert re.search(r"writes lost +0\n", text)
    assert re.search(r"1,080 +1,080 +1,090 +1,100 +\+switch-master +instance-1 → instance-2", text)
    assert "passed: everything is as it must be" in text


def test_no_number_is_cut_on_a_terminal_of_80_columns() -> None:
    console = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system=None, highlight=False
    )
    with console.capture() as captured:
        show(console, [conclude(record())])
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"clients cannot write +-10 +1,070 ", text)
    assert re.search(r" 1,080 +1,080 +1,090 +1,100 +\+switch-master", text)
    assert "+promoted-slave  instance-2" in text


def test_the_text_says_what_is_wrong() -> None:
    text = shown(conclude(record(trouble=("instance-3 follows nobody",))))
    assert "✗ instance-3 follows nobody" in text
    assert "passed" not in text


def test_many_runs_are_a_table_of_limits_and_each_problem_with_its_run() -> None:
    later = (*said_by_all(1400, "+sdown", f"master store {OLD}"), *FAILOVER[3:])
    text = shown(
        conclude(record()),
        conclude(record(said=later, trouble=("instance-3 follows nobody",))),
        conclude(record()),
    )
    assert re.search(r"first \+sdown, ms +1,000 +1,000 +1,400 +3\n", text)
    assert "run 2: ✗ instance-3 follows nobody" in text
    assert "2 of 3 runs passed" in text


def test_json_has_each_run_and_the_limits_over_all() -> None:
    reports = [conclude(record()), conclude(record(trouble=("sick",), well_at=None))]
    document = json.loads(json.dumps(to_json(reports)))
    assert document["passed"] is False
    assert [each["passed"] for each in document["runs"]] == [True, False]
    assert document["runs"][1]["problems"] == ["sick"]
    assert document["summary"]["odown_ms"] == {"min": 1010, "median": 1010, "max": 1010, "runs": 2}
    assert document["summary"]["well_ms"]["runs"] == 1
    assert document["runs"][0]["notices"][0] == {
        "ms": {"sentinel-1": 1000, "sentinel-2": 1010, "sentinel-3": 1020},
        "event": "+sdown",
        "payload": f"master store {OLD}",
        "about": "instance-1",
    }
