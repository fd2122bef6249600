"""Operators come and go, also in the middle of what they do; one acts at a time."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.resources.coordination_v1 import Lease
from stage import OperatorProcess, Store, Writer, name_of, running, uid_of

from everfly.operator.names import LEASE_NAME
from processes import until


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        store.wait_well(3)
        yield store


def operator_of(store: Store) -> OperatorProcess:
    assert store.operator is not None
    return store.operator


def holder(client: Client) -> str:
    spec = client.get(Lease, LEASE_NAME).spec
    assert spec is not None
    return spec.holderIdentity or ""


def test_a_restarted_operator_changes_nothing_on_what_runs(store: Store) -> None:
    before = [(name_of(each), uid_of(each)) for each in store.pods()]
    status = store.status
    operator_of(store).stop()
    operator_of(store).restart()
    term = status["record"]["term"]
    store.wait(lambda: holder_is_new(store, term), 30)
    store.wait_well(3)
    assert before == [(name_of(each), uid_of(each)) for each in store.pods()]
    assert store.status["primary"] == status["primary"]
    assert store.status["lineage"]["history"] == status["lineage"]["history"]


def holder_is_new(store: Store, term: int) -> bool:
    spec = store.client.get(Lease, LEASE_NAME).spec
    assert spec is not None
    return (spec.leaseTransitions or 0) > term and bool(spec.holderIdentity)


def test_an_operator_that_ends_gives_the_lease_back_at_once(store: Store, client: Client) -> None:
    assert holder(client)
    assert operator_of(store).stop() == 0
    assert holder(client) == ""


def test_a_second_operator_takes_over_when_the_first_is_killed(
    store: Store, cluster: Cluster, client: Client, tmp_path: Path
) -> None:
    second = OperatorProcess(cluster, store.namespace, tmp_path)
    try:
        second.wait_ready()
        first = holder(client)
        operator_of(store).kill()
        old = store.primary()
        cluster.signal(old, signal.SIGKILL)
        # Fifteen seconds for the lease to run out, then at once.
        store.wait(lambda: name_of(store.primary()) != name_of(old), 40)
        store.wait_well(3)
        assert holder(client) != first
    finally:
        second.kill()


def test_two_operators_at_once_act_as_one(store: Store, cluster: Cluster, tmp_path: Path) -> None:
    second = OperatorProcess(cluster, store.namespace, tmp_path)
    try:
        second.wait_ready()
        epoch = store.status["record"]["epoch"]
        old = store.primary()
        with Writer(store) as writer:
            cluster.signal(old, signal.SIGKILL)
            store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
            store.wait_well(3)
        assert store.status["record"]["epoch"] == epoch + 1
        assert not writer.led_to_two
    finally:
        second.kill()


@pytest.mark.parametrize("moment_ms", [5, 30, 60, 120])
def test_an_operator_that_dies_during_a_failover_is_followed_by_one_that_finishes_it(
    store: Store, cluster: Cluster, moment_ms: int
) -> None:
    old = store.primary()
    operator = operator_of(store)
    with Writer(store) as writer:
        cluster.signal(old, signal.SIGKILL)
        killed = time.monotonic()
        wait_ms(moment_ms)
        operator.restart()
        store.wait(lambda: name_of(store.primary()) != name_of(old), 60)
        store.wait_well(3)
    assert not writer.led_to_two
    # While no operator runs, the old one may start again, empty, and be written to.
    lost = [key for key in writer.lost(store.primary()) if writer.acknowledged[key] < killed]
    assert len(lost) <= 1


def wait_ms(span: int) -> None:
    end = time.monotonic() + span / 1000
    until(lambda: time.monotonic() >= end, 5)


def test_metrics_and_health_are_served(store: Store) -> None:
    operator = operator_of(store)
    assert operator.get(operator.health_port, "/healthz").text.strip() == "ok"
    text = operator.get(operator.metrics_port, "/metrics").text
    assert "everfly_operator_leader 1" in text
    labels = f'namespace="{store.namespace}",name="cache"'
    assert f"everfly_operator_instances_stable{{{labels}}} 3" in text
    assert f'everfly_operator_store_phase{{{labels},phase="Ready"}} 1' in text


def test_a_lease_that_somebody_deleted_does_not_stop_the_operator(
    store: Store, cluster: Cluster, client: Client
) -> None:
    client.delete(Lease, LEASE_NAME)
    until(lambda: holder(client) != "", 30, despite=(Exception,))
    old = store.primary()
    cluster.signal(old, signal.SIGKILL)
    store.wait(lambda: name_of(store.primary()) != name_of(old), 30)
    store.wait_well(3)
