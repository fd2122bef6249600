"""What the Prometheus operator is told of a data store, and what becomes of it."""

import asyncio
import importlib
import pkgutil
import re
from types import SimpleNamespace
from typing import Any

import pytest
from test_resources import OWNER, plain

import everfly.operator
from everfly.core.diagnosis import Kind as Finding
from everfly.core.group_view import GroupView
from everfly.core.plan import Decision
from everfly.operator.apiserver.api import Refused
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.chores.chore import Condition, Report, Work
from everfly.operator.chores.monitoring import RETRY_S, THOROUGH_S, Monitoring
from everfly.operator.deeds import Scene
from everfly.operator.resources import Around
from everfly.operator.resources.alerts import Alert, alerts
from everfly.operator.resources.monitoring import monitoring_objects
from everfly.operator.status import READY, ROLLING
from everfly.operator.wishes.monitoring import PodMonitorWish, RuleWish
from everfly.operator.wishes.spec import SpecError, read_spec
from everfly.wire.exposition import Family
from everfly.wire.exposition import Kind as MetricKind

BOTH = {"podMonitor": True, "prometheusRule": True}
DRAGONFLY_METRICS = {
    "dragonfly_connected_replica_lag_records",
    "dragonfly_memory_used_bytes",
    "dragonfly_memory_max_bytes",
    "dragonfly_oom_errors_total",
}
"""Whether an instance serves them is seen in `test_e2e_monitoring`; the last one only once it
happened. Source: dragonfly/src/server (1.40)."""


def wish(monitoring: Any, **more: Any) -> Any:
    return read_spec({"replicas": 3, "everfly": {"monitoring": monitoring, **more}})


def made(monitoring: Any, **more: Any) -> dict[str, Any]:
    objects = monitoring_objects(wish(monitoring, **more), OWNER)
    return {each["kind"]: each for each in plain(objects)}


def all_alerts(**changes: Any) -> list[Alert]:
    return alerts(RuleWish(**changes), OWNER, is_scraped=True)


@pytest.mark.parametrize(
    ("monitoring", "kinds"),
    [
        ({}, set()),
        ({"podMonitor": False}, set()),
        ({"podMonitor": True}, {"PodMonitor"}),
        ({"podMonitor": {}}, {"PodMonitor"}),
        (BOTH, {"PodMonitor", "PrometheusRule"}),
    ],
)
def test_only_what_is_asked_for_is_made(monitoring: Any, kinds: set[str]) -> None:
    assert set(made(monitoring)) == kinds


def test_true_and_an_empty_object_mean_the_same() -> None:
    extras = wish({"podMonitor": {}, "prometheusRule": True}).extras.monitoring
    assert (extras.pod_monitor, extras.rules) == (PodMonitorWish(), RuleWish())


@pytest.mark.parametrize(
    ("monitoring", "path"),
    [
        ({"podMonitor": "yes"}, "podMonitor"),
        ({"podMonitor": {"interval": "often"}}, "podMonitor.interval"),
        ({"podMonitor": {"interval": "30"}}, "podMonitor.interval"),
        ({"podMonitor": {"labels": {"release": 1}}}, "podMonitor.labels['release']"),
        ({"prometheusRule": []}, "prometheusRule"),
        ({"prometheusRule": {"memoryPercent": 101}}, "prometheusRule.memoryPercent"),
        ({"prometheusRule": {"without": "DragonflyMemoryHigh"}}, "prometheusRule.without"),
    ],
)
def test_a_wrong_wish_is_refused_with_its_path(monitoring: Any, path: str) -> None:
    with pytest.raises(SpecError) as refusal:
        wish(monitoring)
    (problem,) = refusal.value.problems
    assert problem.startswith(f"spec.everfly.monitoring.{path}: ")


def test_the_pods_of_the_data_store_are_scraped_at_the_admin_port_as_it_is() -> None:
    asked = {
        "interval": "15s",
        "scrapeTimeout": "1m30s",
        "labels": {"release": "prometheus"},
        "relabelings": [{"action": "drop"}],
    }
    found = made({"podMonitor": asked})["PodMonitor"]
    (endpoint,) = found["spec"]["podMetricsEndpoints"]
    assert endpoint == {
        "port": "admin",
        "path": "/metrics",
        "scheme": "http",
        "interval": "15s",
        "scrapeTimeout": "1m30s",
        "relabelings": [{"action": "drop"}],
    }
    assert found["spec"]["selector"]["matchLabels"]["app"] == "cache"
    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["metadata"]["ownerReferences"][0]["uid"] == OWNER.uid


def families() -> dict[str, Family]:
    """Return all metrics that the operator can export."""
    found: dict[str, Family] = {}
    for module in pkgutil.walk_packages(everfly.operator.__path__, "everfly.operator."):
        for each in vars(importlib.import_module(module.name)).values():
            if isinstance(each, Family):
                found[each.name] = each
    return found


@pytest.mark.parametrize("alert", all_alerts(), ids=lambda each: each.name)
def test_an_alert_looks_at_metrics_that_exist_and_at_labels_that_they_have(alert: Alert) -> None:
    known = families()
    used = re.findall(r"\b((?:everfly|dragonfly)_\w+|up)\b(?:\{([^}]*)\})?", alert.expression)
    assert used
    for name, matchers in used:
        labels = set(re.findall(r"(\w+)(?:=~|=|!=)\"", matchers))
        if name.startswith("dragonfly_"):
            assert name in DRAGONFLY_METRICS
            assert labels == {"namespace", "pod"}
        elif name == "up":
            assert labels == {"job"}
        else:
            family = known[name]
            assert labels <= set(family.labels)
            # Of one data store, or of the operator as a whole.
            assert {"namespace", "name"} <= labels or not family.labels
            is_counted = "increase(" in alert.expression or "rate(" in alert.expression
            assert is_counted is (family.kind is MetricKind.COUNTER)


def test_findings_and_phases_in_alerts_are_those_that_there_are() -> None:
    findings = {each.value for each in Finding}
    for alert in all_alerts():
        for words in re.findall(r'finding=~"([^"]*)"', alert.expression):
            assert set(words.split("|")) <= findings
        for word in re.findall(r'phase="([^"]*)"', alert.expression):
            assert word in (ROLLING, READY)


@pytest.mark.parametrize("alert", all_alerts(), ids=lambda each: each.name)
def test_an_expression_can_be_parsed(alert: Alert) -> None:
    parser = pytest.importorskip("promql_parser")
    parser.parse(alert.expression)


@pytest.mark.parametrize("alert", all_alerts(), ids=lambda each: each.name)
def test_an_alert_says_of_whom_it_speaks_and_what_to_do(alert: Alert) -> None:
    assert "cache" in alert.summary or "{{ $labels.pod }}" in alert.summary
    assert alert.what_now.endswith(".")
    assert alert.severity in ("critical", "warning")
    assert re.fullmatch(r"[0-9]+[smh]", alert.for_how_long)
    assert alert.summary.count("{{") == alert.summary.count("}}")


def test_alerts_can_be_left_out_and_have_other_limits() -> None:
    asked = {"without": ["DragonflyMemoryHigh"], "lagRecords": 5, "backupHours": 2}
    rule = made({"prometheusRule": asked})["PrometheusRule"]
    (group,) = rule["spec"]["groups"]
    rules = {each["alert"]: each for each in group["rules"]}
    assert "DragonflyMemoryHigh" not in rules
    assert rules["DragonflyReplicaLag"]["expr"].endswith("> 5")
    assert rules["DragonflyBackupTooOld"]["expr"].endswith("> 7200")
    # Whoever has instances scraped in another way knows their job.
    assert "DragonflyNotScraped" not in rules
    assert "for" not in rules["DragonflyDataLossRisk"]
    none = {"without": [each.name for each in all_alerts()]}
    assert made({"prometheusRule": none})["PrometheusRule"]["spec"]["groups"] == []


def test_the_job_of_the_alert_is_that_of_the_pod_monitor() -> None:
    found = made(BOTH)
    name = f"shop/{found['PodMonitor']['metadata']['name']}"
    assert f'up{{job="{name}"}}' in str(found["PrometheusRule"])


# Who may read metrics


ELSEWHERE = [{"namespaceSelector": {"matchLabels": {"team": "watchers"}}}]


@pytest.mark.parametrize(
    ("everfly", "namespace", "let_in"),
    [
        ({"monitoring": BOTH}, "", 0),
        ({"monitoring": BOTH}, "monitoring", 1),
        ({"monitoring": {"prometheusRule": True}}, "monitoring", 0),
        ({}, "monitoring", 0),
    ],
)
def test_prometheus_is_let_in_where_it_is_known_to_be(
    everfly: Any, namespace: str, let_in: int
) -> None:
    around = Around(metrics_namespace=namespace)
    spec = around.completed(read_spec({"everfly": everfly}))
    assert len(spec.extras.metrics_from) == let_in
    for peer in spec.extras.metrics_from:
        assert set(peer) == {"namespaceSelector", "podSelector"}


def test_whom_a_user_names_counts_alone() -> None:
    everfly = {"monitoring": BOTH, "networkPolicy": {"metricsFrom": ELSEWHERE}}
    spec = Around(metrics_namespace="monitoring").completed(read_spec({"everfly": everfly}))
    assert list(spec.extras.metrics_from) == ELSEWHERE


# The chore, beside an API server that is a dictionary


class Cluster:
    """Answers as an API server does, and counts the questions."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}
        self.refusal: dict[str, int] = {}
        self.asked = 0

    def _count(self, kind: Any) -> str:
        self.asked += 1
        name = str(kind.__name__)
        if code := self.refusal.get(name):
            raise Refused(code, "Refused", "not here")
        return name

    async def get(self, kind: Any, *_: Any) -> Any:
        self.asked += 1
        if self.refusal.get(kind.__name__) == 403:
            raise Refused(403, "Forbidden", "not you")
        return self.items.get(kind.__name__)

    async def apply(self, kind: Any, *args: Any, **_: Any) -> None:
        name = self._count(kind)
        self.items[name] = {**args[-1], "metadata": {**args[-1]["metadata"], "uid": "made"}}

    async def delete(self, kind: Any, *_: Any) -> None:
        self.items.pop(self._count(kind), None)


class Stage:
    """A chore, its cluster, and a clock."""

    def __init__(self) -> None:
        self.cluster, self.now = Cluster(), 0.0
        self.status: dict[str, Any] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        """As another operator."""
        tools: Any = SimpleNamespace(api=self.cluster)
        self.chore = Monitoring(tools, clock=lambda: self.now)

    def tend(self, monitoring: Any, **more: Any) -> Report:
        more.setdefault("networkPolicy", {"metricsFrom": ELSEWHERE})
        store = StoreSight("shop", "cache", OWNER.uid, "1", 1, False, {}, self.status, {})
        scene = Scene(store, GroupView(()), {}, ())
        spec = wish(monitoring, **more)
        report = asyncio.run(self.chore.tend(Work(scene, spec, Decision(()))))
        self.status = {
            "conditions": [{"type": each.kind, "reason": each.reason} for each in report.conditions]
        }
        return report


@pytest.fixture
def stage() -> Stage:
    return Stage()


def condition(report: Report) -> Condition:
    (found,) = report.conditions
    assert found.kind == "Monitored"
    return found


def test_objects_are_written_once_and_looked_after_now_and_then(stage: Stage) -> None:
    assert condition(stage.tend(BOTH)).is_true
    assert set(stage.cluster.items) == {"PodMonitor", "PrometheusRule"}
    asked = stage.cluster.asked
    stage.now = THOROUGH_S - 1
    assert condition(stage.tend(BOTH)).is_true
    assert stage.cluster.asked == asked
    stage.now = THOROUGH_S + 1
    stage.cluster.items.clear()
    stage.tend(BOTH)
    assert set(stage.cluster.items) == {"PodMonitor", "PrometheusRule"}


def test_a_data_store_that_asks_for_nothing_costs_nothing(stage: Stage) -> None:
    for now in (0.0, 1e6):
        stage.now = now
        assert stage.tend({}) == Report()
    assert stage.cluster.asked == 0


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (404, "NoDefinition", "install the definitions of the Prometheus operator"),
        (403, "NoRights", "monitoring.rights"),
    ],
)
def test_what_is_in_the_way_is_told_and_tried_again(
    stage: Stage, code: int, reason: str, words: str
) -> None:
    stage.cluster.refusal = {"PodMonitor": code}
    found = condition(stage.tend(BOTH))
    assert (found.is_true, found.reason) == (False, reason)
    assert words in found.message
    assert "PodMonitor" in found.message
    # One kind that is missing does not keep the other from being written.
    assert "PrometheusRule" in stage.cluster.items
    asked = stage.cluster.asked
    stage.now = RETRY_S - 1
    assert condition(stage.tend(BOTH)) == found
    assert stage.cluster.asked == asked
    stage.cluster.refusal = {}
    stage.now = RETRY_S + 1
    assert condition(stage.tend(BOTH)).is_true


def test_what_is_not_wanted_any_more_is_taken_away_also_by_the_next_operator(stage: Stage) -> None:
    stage.tend(BOTH)
    stage.tend({"podMonitor": True})
    assert set(stage.cluster.items) == {"PodMonitor"}
    stage.begin_anew()
    found = condition(stage.tend({}))
    assert (found.is_true, found.reason) == (False, "NotAskedFor")
    assert not stage.cluster.items
    asked = stage.cluster.asked
    stage.begin_anew()
    assert condition(stage.tend({})).reason == "NotAskedFor"
    assert stage.cluster.asked == asked


def test_an_object_of_somebody_else_is_left_alone(stage: Stage) -> None:
    other = {"metadata": {"uid": "x", "ownerReferences": []}, "spec": {"mine": True}}
    stage.cluster.items["PodMonitor"] = other
    found = condition(stage.tend(BOTH))
    assert found.reason == "NotOurs"
    assert stage.cluster.items["PodMonitor"] == other
    stage.tend({})
    assert stage.cluster.items == {"PodMonitor": other}


def test_a_policy_that_lets_nobody_in_is_told(stage: Stage) -> None:
    found = condition(stage.tend(BOTH, networkPolicy={}))
    assert (found.is_true, found.reason) == (False, "NobodyLetIn")
    assert "metricsFrom" in found.message
    assert set(stage.cluster.items) == {"PodMonitor", "PrometheusRule"}
    assert condition(stage.tend({"prometheusRule": True}, networkPolicy={})).is_true
