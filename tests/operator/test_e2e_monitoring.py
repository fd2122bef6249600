"""Monitoring on a real API server: with and without the kinds of the Prometheus operator."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import Pod
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.networking_v1 import NetworkPolicy
from stage import Store, address, name_of, running

from everfly.operator.apiserver.api import POD_MONITOR, PROMETHEUS_RULE
from everfly.operator.names import LABEL_ROLE

BOTH = {"podMonitor": {"labels": {"release": "prometheus"}}, "prometheusRule": True}
KINDS = {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}


def definition(kind: str, plural: str) -> Any:
    """Return a definition with the names of the Prometheus operator, without a schema."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return CustomResourceDefinition.from_dict(
        {
            "metadata": {"name": f"{plural}.monitoring.coreos.com"},
            "spec": {
                "group": "monitoring.coreos.com",
                "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                "scope": "Namespaced",
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": schema},
                    }
                ],
            },
        }
    )


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store that is yet to be created; no definitions of others are left behind."""
    try:
        with running(cluster, client, namespace, tmp_path) as store:
            yield store
    finally:
        for plural in KINDS.values():
            try:
                client.delete(CustomResourceDefinition, f"{plural}.monitoring.coreos.com")
            except ApiError as error:
                assert error.status.code == 404, error  # noqa: PT017 - the test did not get so far


def monitored(store: Store) -> tuple[str, str, str]:
    found = next(each for each in store.status["conditions"] if each["type"] == "Monitored")
    return found["status"], found["reason"], found["message"]


def test_monitoring_waits_for_the_kinds_of_the_prometheus_operator_and_goes_when_it_is_not_asked(
    store: Store, client: Client
) -> None:
    store.create(
        everfly={"monitoring": BOTH, "networkPolicy": {"metricsFrom": [{"podSelector": {}}]}}
    )
    store.wait_well(3)
    store.wait(lambda: monitored(store)[:2] == ("False", "NoDefinition"))
    # What it cannot tell Prometheus is no matter for the data store.
    assert store.condition("Valid") == "True"
    for kind, plural in KINDS.items():
        client.create(definition(kind, plural))
    store.wait(lambda: monitored(store)[:2] == ("True", "Written"), 60)
    uid = store.item["metadata"]["uid"]
    for kind in (POD_MONITOR, PROMETHEUS_RULE):
        made = client.get(kind, store.name)
        (owner,) = made["metadata"]["ownerReferences"]
        assert owner["uid"] == uid
    labels = client.get(POD_MONITOR, store.name)["metadata"]["labels"]
    assert labels["release"] == "prometheus"
    store.change(everfly={"monitoring": None})
    store.wait(lambda: monitored(store)[:2] == ("False", "NotAskedFor"))
    for kind in (POD_MONITOR, PROMETHEUS_RULE):
        with pytest.raises(ApiError) as gone:
            client.get(kind, store.name)
        assert gone.value.status.code == 404


def scraped(pod: Pod, monitor: Any) -> str:
    """Read a pod's metrics as a PodMonitor says."""
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert pod.spec is not None
    ports = {
        port.name: port.containerPort for each in pod.spec.containers for port in each.ports or []
    }
    url = f"{endpoint['scheme']}://{address(pod)}:{ports[endpoint['port']]}{endpoint['path']}"
    answer = httpx2.get(url, timeout=5)
    assert answer.status_code == 200
    return answer.text


def test_instances_and_the_operator_serve_what_the_alerts_look_at(
    store: Store, client: Client
) -> None:
    for kind, plural in KINDS.items():
        client.create(definition(kind, plural))
    store.create(everfly={"monitoring": BOTH}, args=["--maxmemory=256mb"])
    store.wait_well(3)
    # The operator wrote them, and says that its NetworkPolicy lets nobody read; until whoever
    # installs it says where Prometheus runs.
    store.wait(lambda: monitored(store)[:2] == ("False", "NobodyLetIn"), 60)
    assert store.operator is not None
    operator = store.operator
    operator.environment["METRICS_NAMESPACE"] = "where-prometheus-runs"
    operator.restart()
    store.wait(lambda: monitored(store)[:2] == ("True", "Written"), 60)
    assert "where-prometheus-runs" in str(client.get(NetworkPolicy, store.name).to_dict())
    rule = client.get(PROMETHEUS_RULE, store.name)
    expressions = [each["expr"] for group in rule["spec"]["groups"] for each in group["rules"]]
    assert len(expressions) >= 10
    monitor = client.get(POD_MONITOR, store.name)
    served = "".join(scraped(each, monitor) for each in store.pods())
    served += operator.get(operator.metrics_port, "/metrics").text
    used = set(re.findall(r"\b((?:everfly|dragonfly)_\w+)", " ".join(expressions)))
    # It is there once a write was refused, not before.
    used.discard("dragonfly_oom_errors_total")
    # Prometheus shows a family that has no samples as nothing; its head says that it can be there.
    missing = {name for name in used if f"# TYPE {name} " not in served}
    assert missing == set()
    roles = {
        name_of(each): (each.metadata.labels or {}).get(LABEL_ROLE)
        for each in store.pods()
        if each.metadata
    }
    primaries = [
        name_of(each) for each in store.pods() if "dragonfly_master 1" in scraped(each, monitor)
    ]
    assert [roles[each] for each in primaries] == ["master"]
