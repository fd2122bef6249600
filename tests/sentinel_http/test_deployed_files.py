"""What is handed to Prometheus and Grafana names only what a Sentinel really exports."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from everfly.sentinel.everfly_doc import metrics_to_markdown, to_markdown
from everfly.sentinel.metric_families import FAMILIES
from processes import Child, free_port, until
from web_client import get

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/everfly-sentinel.json"

NAME = re.compile(r"everfly_sentinel_\w+")


def declared() -> dict[str, tuple[str, ...]]:
    """Name of a sample -> its labels."""
    return {name: family.labels for family in FAMILIES for name in family.sample_names()}


def expressions(node: object) -> Iterator[str]:
    """All queries of a dashboard or a file of rules."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"expr", "query", "definition"} and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(node, list):
        for each in node:
            yield from expressions(each)


@pytest.mark.parametrize("file", [ALERTS, DASHBOARD], ids=lambda path: path.name)
def test_every_metric_is_declared_with_the_labels_that_are_asked_for(file: Path) -> None:
    known = declared()
    asked = list(expressions(yaml.safe_load(file.read_text())))
    found = [name for expression in asked for name in NAME.findall(expression)]
    assert len(found) > 10
    assert set(found) <= set(known)
    for expression in asked:
        names = NAME.findall(expression)
        labels = {label for name in names for label in known[name]} | {"le", "instance"}
        for words in re.findall(r"by \(([\w, ]+)\)", expression):
            assert set(words.split(", ")) <= labels, expression
        for words in re.findall(r"\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)[=!]", words)) <= labels, expression


def test_every_alert_says_what_to_do() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names)
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & mine, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= mine


@pytest.mark.integration
def test_a_running_sentinel_exports_every_family_that_needs_no_group(tmp_path: Path) -> None:
    port, http = free_port(), free_port()
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"port {port}\nbind 127.0.0.1\nsentinel monitor one 127.0.0.1 {free_port()} 1\n"
    )
    child = Child(
        [sys.executable, "-m", "everfly", "sentinel", str(conf), "--metrics", str(http)],
        tmp_path / "log",
    )
    try:
        text = until(lambda: get(http, "/metrics").body, 20, show=child.log_tail)
    finally:
        child.kill()
    exported = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    of_others = {"webhook", "peer"}
    expected = {
        family.name
        for family in FAMILIES
        if not of_others & set(family.labels)
        # A replica has these, and an instance that has answered.
        and family.name.removeprefix("everfly_sentinel_instance_")
        not in {"replication_lag", "replication_link_up", "replication_offset", "info_age_seconds"}
    }
    assert exported == expected
    for line in text.splitlines():
        assert re.fullmatch(r'(# (HELP|TYPE) .+)|(\w+(\{(\w+="[^"]*",?)*\})? \S+)', line), line


@pytest.mark.integration
def test_an_address_that_is_taken_is_told_and_ends_the_start(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port {free_port()}\nbind 127.0.0.1\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        http = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "everfly", "sentinel", "--metrics", http, str(conf)]
        child = Child(command, tmp_path / "log")
        assert child.wait(20) == 1
    log = child.log.read_text()
    assert f"metrics: Could not create server TCP listening socket 127.0.0.1:{http}" in log
    assert "Traceback" not in log


@pytest.mark.integration
def test_wrong_settings_are_told_and_end_the_start(tmp_path: Path) -> None:
    settings = tmp_path / "everfly.toml"
    settings.write_text('log_form = "json"\n')
    command = [sys.executable, "-m", "everfly", "sentinel", "--settings", str(settings), "x.conf"]
    child = Child(command, tmp_path / "log")
    assert child.wait(20) == 1
    (line,) = child.log.read_text().splitlines()
    assert line.startswith(f"error: {settings}: unknown key `log_form`: did you mean `log_format`?")


def test_the_page_of_settings_is_what_the_table_says() -> None:
    assert (ROOT / "docs/settings.md").read_text() == to_markdown()


def test_the_page_of_metrics_is_what_the_table_says() -> None:
    assert (ROOT / "docs/metrics.md").read_text() == metrics_to_markdown()
