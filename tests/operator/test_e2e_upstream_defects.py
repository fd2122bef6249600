"""What the upstream operator (v1.6.1) gets wrong, by its issues and its source, and we do not."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY as IMAGE
from lightkube import Client
from lightkube.models.core_v1 import Container, EnvVar, PodSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.networking_v1 import NetworkPolicySpec
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.core_v1 import Pod
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.resources.policy_v1 import PodDisruptionBudget
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

PROMPT_S = 5.0
"""What one instance that does not answer must not cost the others: upstream waits ten seconds for
each question to it."""


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store that is yet to be created, and its operator."""
    with running(cluster, client, namespace, tmp_path) as store:
        yield store


def stranger(client: Client, labels: dict[str, str]) -> Pod:
    """Start a Dragonfly that is no pod of any data store; it holds one key."""
    container = Container(
        name="dragonfly",
        image=IMAGE,
        args=["--admin_port=9999", "--admin_nopass"],
        env=[EnvVar(name="HEALTHCHECK_PORT", value="9999")],
    )
    spec = PodSpec(containers=[container], terminationGracePeriodSeconds=0)
    return client.create(Pod(metadata=ObjectMeta(name="stranger", labels=labels), spec=spec))


def with_key(store: Store, pod: str) -> Pod:
    def written() -> Any:
        return call(store.pod(pod), "SET", "mine", "1") == b"OK" and store.pod(pod)

    found: Pod = store.wait(written)
    return found


def test_a_replica_that_follows_a_stranger_is_led_back_whatever_its_annotation_says(
    store: Store, client: Client
) -> None:
    store.create()
    store.wait_well(3)
    stranger(client, {})
    other = with_key(store, "stranger")
    astray = store.labelled(names.ROLE_REPLICA)[0]
    call(astray, "SLAVEOF", address(other), names.ADMIN_PORT, port=names.ADMIN_PORT)
    assert replication(astray)["master_host"] == address(other)
    store.wait_well(3)
    assert call(astray, "EXISTS", "mine") == 0
    assert call(other, "EXISTS", "mine") == 1


def test_the_phase_leaves_ready_while_no_instance_answers(store: Store, cluster: Cluster) -> None:
    store.create(replicas=2)
    store.wait_well(2)
    call(store.primary(), "SET", "key", "value")
    pods = store.pods()
    for pod in pods:
        cluster.signal(pod, signal.SIGSTOP)
    try:
        store.wait(lambda: store.status["phase"] != "Ready", 30)
        assert store.condition("Available") == "False"
    finally:
        for pod in pods:
            cluster.signal(pod, signal.SIGCONT)
    store.wait_well(2)
    assert call(store.primary(), "GET", "key") == b"value"


def test_instances_that_hang_delay_no_other_data_store(store: Store, cluster: Cluster) -> None:
    store.create(replicas=2)
    other = Store(cluster, store.client, store.namespace, "other")
    other.create(replicas=2)
    store.wait_well(2)
    other.wait_well(2)
    hanging = other.pods()
    for pod in hanging:
        cluster.signal(pod, signal.SIGSTOP)
    try:
        with Writer(store) as writer:
            began = time.monotonic()
            cluster.signal(store.primary(), signal.SIGKILL)
            assert writer.first_after(began + 0.05, 20) < PROMPT_S
    finally:
        for pod in hanging:
            cluster.signal(pod, signal.SIGCONT)


def test_a_replica_that_hangs_keeps_no_other_from_the_new_primary(
    store: Store, cluster: Cluster
) -> None:
    store.create(replicas=4)
    store.wait_well(4)
    old, hanging = store.primary(), store.labelled(names.ROLE_REPLICA)[0]
    cluster.signal(hanging, signal.SIGSTOP)
    try:
        cluster.signal(old, signal.SIGKILL)
        began = time.monotonic()

        def are_led() -> bool:
            """All but the hanging one follow the new primary."""
            new = store.primary()
            rest = [
                each
                for each in store.pods()
                if name_of(each) not in (name_of(new), name_of(hanging))
            ]
            return name_of(new) != name_of(old) and all(
                replication(each).get("master_host") == address(new) for each in rest
            )

        store.wait(are_led)
        assert time.monotonic() - began < 2 * PROMPT_S
    finally:
        cluster.signal(hanging, signal.SIGCONT)
    store.wait_well(4)


def test_objects_of_the_same_name_that_are_not_ours_are_left_alone(
    store: Store, client: Client
) -> None:
    metadata = ObjectMeta(name=store.name, labels={"team": "shop"})
    selector = LabelSelector(matchLabels={"team": "shop"})
    budget = PodDisruptionBudgetSpec(minAvailable=1, selector=selector)
    client.create(PodDisruptionBudget(metadata=metadata, spec=budget))
    policy = NetworkPolicySpec(podSelector=selector, policyTypes=["Egress"])
    client.create(NetworkPolicy(metadata=metadata, spec=policy))
    store.create(replicas=1, networkPolicyEnabled=False)
    store.wait_well(1)
    store.change(replicas=2, networkPolicyEnabled=True)
    store.wait_well(2)
    store.change(replicas=1, networkPolicyEnabled=False)
    store.wait_well(1)
    for kind, spec in ((PodDisruptionBudget, budget), (NetworkPolicy, policy)):
        found = client.get(kind, store.name)
        assert found.metadata is not None
        assert found.metadata.labels == {"team": "shop"}
        assert found.metadata.ownerReferences is None
        assert found.metadata.generation == 1
        assert found.spec is not None
        assert spec.to_dict().items() <= found.spec.to_dict().items()


def test_a_pod_with_our_labels_that_is_not_ours_never_gets_a_role(
    store: Store, client: Client, cluster: Cluster
) -> None:
    store.create()
    store.wait_well(3)
    labels = {
        "app": store.name,
        "app.kubernetes.io/name": "dragonfly",
        "app.kubernetes.io/part-of": "dragonfly",
    }
    stranger(client, labels)
    other = with_key(store, "stranger")
    old = store.primary()
    cluster.signal(old, signal.SIGKILL)
    store.wait(lambda: name_of(store.primary()) != name_of(old))

    def are_in_order() -> bool:
        """Ours have their roles again."""
        ours = [each for each in store.pods() if name_of(each) != "stranger"]
        return all(is_ready(each) and label(each, names.LABEL_ROLE) for each in ours)

    store.wait(are_in_order)
    other = store.pod("stranger")
    assert label(other, names.LABEL_ROLE) == ""
    assert replication(other)["role"] == "master"
    assert call(other, "EXISTS", "mine") == 1
    assert store.endpoints() == [address(store.primary())]


def test_after_all_instances_restarted_the_newest_snapshot_wins(
    store: Store, client: Client, cluster: Cluster
) -> None:
    store.create(snapshot={"persistentVolumeClaimSpec": disks(client)})
    store.wait_well(3)
    call(store.primary(), "SET", "first", "1")
    store.wait(lambda: all(call(each, "EXISTS", "first") == 1 for each in store.pods()))
    call(store.pod("cache-0"), "SAVE", port=names.ADMIN_PORT)
    call(store.primary(), "SET", "second", "1")
    store.wait(lambda: all(call(each, "EXISTS", "second") == 1 for each in store.pods()))
    call(store.pod("cache-2"), "SAVE", port=names.ADMIN_PORT)
    pods = {name_of(each): uid_of(each) for each in store.pods()}
    for pod in store.pods():
        cluster.signal(pod, signal.SIGKILL)
    store.wait(lambda: store.status["phase"] != "Ready")
    store.wait_well(3)
    assert {name_of(each): uid_of(each) for each in store.pods()} == pods
    for pod in store.pods():
        assert call(pod, "EXISTS", "first", "second") == 2
