"""What operators of data stores got wrong elsewhere, and what must therefore never happen here."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY
from lightkube import Client
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod
from lightkube.types import PatchType
from stage import (
    Store,
    Writer,
    address,
    call,
    disks,
    is_ready,
    label,
    name_of,
    replication,
    running,
    uid_of,
)

from everfly.operator import names
from processes import until

BUDGET = create_namespaced_resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        store.wait_well(3)
        yield store


def host_of(pod: Pod) -> str:
    assert pod.spec is not None
    assert pod.spec.nodeName is not None
    return pod.spec.nodeName


def restarts(pod: Pod) -> int:
    assert pod.status is not None
    return sum(each.restartCount for each in pod.status.containerStatuses or [])


def test_a_primary_that_restarted_empty_unseen_does_not_keep_its_role(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    call(old, "SET", "kept", "yes")
    store.wait(lambda: all(call(each, "GET", "kept") == b"yes" for each in store.pods()), 20)
    assert store.operator is not None
    store.operator.child.signal(signal.SIGSTOP)
    cluster.signal(old, signal.SIGKILL)
    store.wait(lambda: restarts(store.pod(name_of(old))) == 1, 30)
    store.wait(lambda: is_ready(store.pod(name_of(old))), 30)
    store.operator.child.signal(signal.SIGCONT)
    store.wait(lambda: name_of(store.primary()) != name_of(old), 30)
    store.wait_well(3)
    assert all(call(each, "GET", "kept") == b"yes" for each in store.pods())


def test_an_isolated_primary_is_demoted_and_its_clients_cut_before_it_serves_again(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    cluster.set_node(host_of(old), "isolated")
    store.wait(lambda: name_of(store.primary()) != name_of(old), 40)
    store.wait(lambda: store.endpoints() == [address(store.primary())], 20)
    # Somebody on the isolated side still writes to it.
    port = str(names.DATA_PORT)
    cluster.run_in(
        old,
        "bash",
        "-c",
        f"exec 3<>/dev/tcp/127.0.0.1/{port}; "
        "printf 'SET astray 1\\r\\n' >&3; read -r -t 3 reply <&3; [[ $reply == +OK* ]]",
    )
    cluster.set_node(host_of(old), "up")
    store.wait_well(3)
    assert all(call(each, "EXISTS", "astray") == 0 for each in store.pods())


def test_a_note_on_a_pod_is_not_believed_over_what_the_pod_does(store: Store) -> None:
    replica = store.labelled(names.ROLE_REPLICA)[0]
    call(replica, "REPLICAOF", "NO", "ONE", port=names.ADMIN_PORT)
    store.wait(lambda: replication(replica).get("role") == "slave", 20)
    store.wait_well(3)


def test_the_phase_leaves_ready_when_all_pods_are_gone(store: Store, cluster: Cluster) -> None:
    hosts = {host_of(each) for each in store.pods()}
    for host in hosts:
        cluster.set_node(host, "dead")
    store.wait(lambda: not any(is_ready(each) for each in store.pods()), 60)
    store.wait(lambda: store.status["phase"] != "Ready", 40)
    assert store.condition("Available") == "False"
    assert store.condition("Ready") == "False"
    for host in hosts:
        cluster.set_node(host, "up")
    store.wait_well(3)


def test_a_frozen_pod_of_one_data_store_does_not_delay_another(
    store: Store, cluster: Cluster, client: Client
) -> None:
    other = Store(cluster, client, store.namespace, "other")
    other.create()
    other.wait_well(3)
    frozen = store.labelled(names.ROLE_REPLICA)[0]
    cluster.signal(frozen, signal.SIGSTOP)
    store.wait(lambda: store.condition("Degraded") == "True", 20)
    old = other.primary()
    with Writer(other) as writer:
        began = time.monotonic()
        cluster.signal(old, signal.SIGKILL)
        other.wait(lambda: name_of(other.primary()) != name_of(old), 20)
        took = writer.first_after(began + 0.05, 20)
    cluster.signal(frozen, signal.SIGCONT)
    assert took < 2.0
    assert writer.longest_gap() < 2.0
    store.wait_well(3)


def test_a_frozen_replica_does_not_keep_others_from_following_the_new_primary(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    first, second = store.labelled(names.ROLE_REPLICA)
    cluster.signal(first, signal.SIGSTOP)
    store.wait(lambda: store.condition("Degraded") == "True", 20)
    cluster.signal(old, signal.SIGKILL)
    store.wait(lambda: name_of(store.primary()) == name_of(second), 20)
    store.wait(
        lambda: replication(store.pod(name_of(old))).get("master_host") == address(second), 30
    )
    cluster.signal(first, signal.SIGCONT)
    store.wait_well(3)


def test_a_budget_of_the_same_name_that_is_not_ours_is_kept(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    budget = BUDGET(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "cache", "namespace": namespace},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "something"}}},
        }
    )
    client.create(budget)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=2)
        store.wait_well(2)
        assert store.condition("Valid") == "False"
        store.change(replicas=1)
        store.wait_well(1)
        kept = client.get(BUDGET, "cache")
        assert kept["spec"]["selector"]["matchLabels"] == {"app": "something"}
        assert not kept["metadata"].get("ownerReferences")


def test_a_pod_that_only_wears_the_labels_is_never_made_an_instance(
    store: Store, cluster: Cluster, client: Client
) -> None:
    labels = {
        names.LABEL_APP: store.name,
        names.LABEL_NAME: names.APP_NAME,
        "app.kubernetes.io/part-of": "dragonfly",
    }
    container = Container(
        name="dragonfly", image=DRAGONFLY, args=["--admin_port=9999", "--admin_nopass"]
    )
    client.create(
        Pod(
            metadata=ObjectMeta(name="stray-7", labels=labels),
            spec=PodSpec(containers=[container]),
        )
    )
    store.wait(lambda: is_ready(store.pod("stray-7")), 30)
    old = store.primary()
    cluster.signal(old, signal.SIGKILL)
    store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
    store.wait(lambda: len(store.labelled(names.ROLE_REPLICA)) == 2, 30)
    assert label(store.pod("stray-7"), names.LABEL_ROLE) == ""
    assert replication(store.pod("stray-7"))["role"] == "master"
    assert "stray-7" not in {each["name"] for each in store.status["pods"]}


def test_stale_disks_of_pods_that_come_back_do_not_win(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(snapshot={"persistentVolumeClaimSpec": disks(client)})
        store.wait_well(3)
        call(store.primary(), "SET", "when", "before")
        store.change(replicas=1)
        store.wait_well(1)
        call(store.primary(), "SET", "when", "after")
        store.change(replicas=3)
        store.wait_well(3)
        assert {call(each, "GET", "when") for each in store.pods()} == {b"after"}


def test_a_deployment_of_the_upstream_operator_is_taken_over_without_a_restart(
    store: Store, client: Client
) -> None:
    assert store.operator is not None
    before = {name_of(each): (uid_of(each), restarts(each)) for each in store.pods()}
    generation = client.get(StatefulSet, "cache").metadata
    assert generation is not None
    store.operator.stop()
    # As it leaves things: a phase, no record, and fields under its own name.
    wiped = {"status": dict.fromkeys(store.status) | {"phase": "Ready", "isRollingUpdate": False}}
    client.patch(store.item.__class__.Status, "cache", wiped, patch_type=PatchType.MERGE)
    client.patch(
        StatefulSet,
        "cache",
        {"spec": {"template": {"metadata": {"annotations": {"old": "1"}}}}},
        patch_type=PatchType.MERGE,
        field_manager="manager",
    )
    client.patch(
        StatefulSet,
        "cache",
        {"spec": {"template": {"metadata": {"annotations": {"old": None}}}}},
        patch_type=PatchType.MERGE,
        field_manager="manager",
    )
    store.operator.restart()
    store.wait(lambda: store.status.get("primary") == "cache-0", 30)
    store.wait_well(3)
    after = {name_of(each): (uid_of(each), restarts(each)) for each in store.pods()}
    assert before == after


def test_fields_that_somebody_else_owns_are_not_fought_over(store: Store, client: Client) -> None:
    client.patch(
        StatefulSet,
        "cache",
        {"spec": {"updateStrategy": {"type": "RollingUpdate"}}},
        patch_type=PatchType.MERGE,
        field_manager="somebody",
    )
    store.wait(lambda: store.condition("Valid") == "False", 20)
    conditions = {each["type"]: each for each in store.status["conditions"]}
    assert "somebody" in conditions["Valid"]["message"]
    metadata = client.get(StatefulSet, "cache").metadata
    assert metadata is not None
    versions = {metadata.resourceVersion}
    began = time.monotonic()

    def seen() -> bool:
        metadata = client.get(StatefulSet, "cache").metadata
        assert metadata is not None
        versions.add(metadata.resourceVersion)
        return time.monotonic() - began > 4

    until(seen, 20)
    assert len(versions) == 1
