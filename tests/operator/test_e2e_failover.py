"""What clients of the Service see when something happens to the primary."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.models.core_v1 import Pod as PodModel
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import PatchType
from stage import Store, Writer, address, call, name_of, running, uid_of

from processes import until


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        store.wait_well(3)
        yield store


def host_of(pod: PodModel) -> str:
    assert pod.spec is not None
    assert pod.spec.nodeName is not None
    return pod.spec.nodeName


def test_a_killed_primary_is_replaced_within_two_seconds(store: Store, cluster: Cluster) -> None:
    old = store.primary()
    with Writer(store) as writer:
        began = time.monotonic()
        cluster.signal(old, signal.SIGKILL)
        took = writer.first_after(began + 0.05, 20)
        store.wait_well(3)
    new = store.primary()
    print(f"first write after {took:.3f} s, longest gap {writer.longest_gap():.3f} s")  # noqa: T201
    assert name_of(new) != name_of(old)
    assert took < 2.0
    assert not writer.led_to_two
    assert {"PrimaryChange", "Failover"} <= store.reasons()


def test_a_primary_that_is_deleted_loses_no_write(store: Store, client: Client) -> None:
    old = store.primary()
    with Writer(store) as writer:
        client.delete(Pod, name_of(old))
        store.wait(lambda: uid_of(store.primary()) != uid_of(old), 20)
        store.wait_well(3)
    print(f"longest gap {writer.longest_gap():.3f} s")  # noqa: T201
    assert writer.lost(store.primary()) == []
    assert writer.longest_gap() < 0.5
    assert not writer.led_to_two


def test_a_primary_whose_machine_dies_is_replaced_within_fifteen_seconds(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    with Writer(store) as writer:
        began = time.monotonic()
        cluster.set_node(host_of(old), "dead")
        took = writer.first_after(began + 1.0, 30)
        print(f"first write after {took:.3f} s")  # noqa: T201
        assert took < 15.0
        cluster.set_node(host_of(old), "up")
        store.wait_well(3)


def test_a_primary_that_is_cut_off_is_replaced_and_never_serves_beside_the_new_one(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    call(old, "SET", "before", "1")
    with Writer(store) as writer:
        began = time.monotonic()
        cluster.set_link(old, is_up=False)
        took = writer.first_after(began + 0.5, 30)
        print(f"first write after {took:.3f} s")  # noqa: T201
        assert took < 10.0
        assert store.endpoints() == [address(store.primary())]
        assert name_of(store.primary()) != name_of(old)
        cluster.set_link(old, is_up=True)
        store.wait_well(3)
    assert not writer.led_to_two


def test_a_primary_that_only_the_operator_cannot_reach_stays(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    with Writer(store):
        cluster.set_route(old, "10.244.0.1", is_open=False)
        store.wait(lambda: store.condition("Degraded") == "True", 20)
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 8, 20)
        assert name_of(store.primary()) == name_of(old)
        cluster.set_route(old, "10.244.0.1", is_open=True)
        store.wait_well(3)
    assert uid_of(store.primary()) == uid_of(old)


def test_a_primary_that_restarts_empty_does_not_empty_the_others(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    with Writer(store) as writer:
        cluster.signal(old, signal.SIGKILL)
        store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
        # It starts again by itself, empty and as a primary, and is led back.
        store.wait_well(3)
    lost = writer.lost(store.primary())
    assert len(lost) <= 1, lost  # the one under way when it was killed


def test_a_switchover_moves_the_primary_without_losing_a_write(store: Store) -> None:
    old = store.primary()
    with Writer(store) as writer:
        store.annotate(switchover="cache-2")
        store.wait(lambda: name_of(store.primary()) == "cache-2", 20)
        store.wait_well(3)
    print(f"longest gap {writer.longest_gap():.3f} s")  # noqa: T201
    assert name_of(old) != "cache-2"
    assert writer.lost(store.primary()) == []
    assert writer.longest_gap() < 1.0
    assert "everfly.dev/switchover" not in (store.item["metadata"].get("annotations") or {})


def test_a_drain_moves_the_primary_before_its_pod_is_evicted(store: Store, client: Client) -> None:
    old = store.primary()
    cordon = {"spec": {"unschedulable": True}}
    with Writer(store) as writer:
        client.patch(Node, host_of(old), cordon, patch_type=PatchType.MERGE)
        try:
            store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
            store.wait_well(3)
        finally:
            free = {"spec": {"unschedulable": False}}
            client.patch(Node, host_of(old), free, patch_type=PatchType.MERGE)
    assert writer.lost(store.primary()) == []
