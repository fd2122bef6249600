"""What is handed to Prometheus, Grafana, systemd and Compose names only what there is."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from everfly.endpoint.metric_families import FAMILIES
from everfly.endpoint.settings import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus/endpoint-alerts.yaml"
DASHBOARD = DEPLOY / "grafana/everfly-endpoint.json"
NAME = re.compile(r"everfly_endpoint_\w+")


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
    known = {name: family.labels for family in FAMILIES for name in family.sample_names()}
    asked = list(expressions(yaml.safe_load(file.read_text())))
    found = [name for expression in asked for name in NAME.findall(expression)]
    assert len(found) > 6
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


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
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


def test_prometheus_loads_the_alerts() -> None:
    told = yaml.safe_load((DEPLOY / "prometheus/prometheus.yaml").read_text())
    for name in told["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()
    assert "endpoint-alerts.yaml" in told["rule_files"]


def test_the_settings_that_are_handed_out_are_settings() -> None:
    settings = load_settings(str(DEPLOY / "endpoint/endpoint.toml"), {}, {})
    assert len(settings.sentinels) == 3
    assert settings.path("restart_socket").startswith("/run/everfly-endpoint/")


def test_the_unit_of_systemd_starts_with_them_and_gives_clients_time() -> None:
    lines = (DEPLOY / "endpoint/everfly-endpoint.service").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    _, program, flag, path = shlex.split(told["ExecStart"])
    assert (program, flag, path) == ("endpoint", "--settings", "/etc/everfly/endpoint.toml")
    assert (told["Type"], told["NotifyAccess"]) == ("notify", "all")
    settings = load_settings(str(DEPLOY / "endpoint/endpoint.toml"), {}, {})
    assert float(told["TimeoutStopSec"].rstrip("s")) * 1000 > settings.number("grace_ms")
    assert int(told["LimitNOFILE"]) > 2 * settings.number("connections")
    assert told["RuntimeDirectory"] == "everfly-endpoint"


def test_the_service_of_compose_has_the_flags_that_there_are() -> None:
    services = yaml.safe_load((DEPLOY / "endpoint/compose.yaml").read_text())["services"]
    (service,) = services.values()
    program, *words = service["command"]
    assert program == "endpoint"
    flags = {word[2:].partition("=")[0]: word.partition("=")[2] for word in words}
    settings = load_settings("", {name.replace("-", "_"): at for name, at in flags.items()}, {})
    store = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    sentinels = {
        each["networks"]["everfly"]["ipv4_address"]
        for name, each in store.items()
        if name.startswith("sentinel")
    }
    assert {each.host for each in settings.sentinels} == sentinels
    taken = {each["networks"]["everfly"]["ipv4_address"] for each in store.values()}
    assert service["networks"]["everfly"]["ipv4_address"] not in taken
