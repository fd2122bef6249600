"""Primaries that no replica misses: frozen, or cut off by their pod's network alone.

The replicas here say for ever that their link is up, as the real ones do, and the platform's check
looks only whether the port is open. So it takes a second operator to know.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from controlplane.cluster import Cluster
from lightkube import Client, codecs
from lightkube.models.core_v1 import (
    Container,
    EnvVar,
    EnvVarSource,
    HTTPGetAction,
    ObjectFieldSelector,
    PodSpec,
    Probe,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Pod
from stage import OperatorProcess, Store, Writer, address, call, is_ready, name_of, running, uid_of
from test_rbac import of_the_manifest

from everfly.operator import names
from processes import until

PATIENT = [{"name": "DOUBLE_PATIENT", "value": "1"}]
PROMPT_S = 7.0
"""Four to five seconds on an idle machine."""
OPERATOR_HOST = "10.244.0.1"
"""From where the first operator connects."""


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three with patient replicas, and an operator on a machine of its own."""
    with running(cluster, client, namespace, tmp_path, host="machine-1") as store:
        store.create(env=PATIENT)
        store.wait_well(3)
        yield store


@pytest.fixture
def second(store: Store, cluster: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator on another machine that waits."""
    operator = OperatorProcess(cluster, store.namespace, tmp_path, host="machine-2")
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.kill()


def stays(store: Store, old: Pod, span_s: float) -> None:
    """Watch a primary keep its role for a while."""
    began = time.monotonic()

    def has_passed() -> bool:
        assert store.status["primary"] == name_of(old)
        return time.monotonic() > began + span_s

    until(has_passed, span_s + 10)


def test_a_frozen_primary_is_replaced_on_the_word_of_a_second_operator(
    store: Store, cluster: Cluster, second: OperatorProcess
) -> None:
    old = store.primary()
    with Writer(store) as writer:
        began = time.monotonic()
        cluster.signal(old, signal.SIGSTOP)
        took = writer.first_after(began + 0.5, 30)
        print(f"first write after {took + 0.5:.3f} s")  # noqa: T201
        assert name_of(store.primary()) != name_of(old)
        cluster.signal(old, signal.SIGCONT)
        store.wait_well(3)
    assert took < PROMPT_S
    assert not writer.led_to_two
    assert len(writer.lost(store.primary())) <= 1
    told = [each.message or "" for each in store.events() if each.reason == "PrimaryChange"]
    assert any("cannot reach it either" in each for each in told), told


def test_a_primary_whose_pod_alone_lost_its_network_is_replaced(
    store: Store, cluster: Cluster, second: OperatorProcess
) -> None:
    old = store.primary()
    with Writer(store) as writer:
        began = time.monotonic()
        cluster.set_link(old, is_up=False)
        took = writer.first_after(began + 0.5, 30)
        print(f"first write after {took + 0.5:.3f} s")  # noqa: T201
        assert store.endpoints() == [address(store.primary())]
        cluster.set_link(old, is_up=True)
        store.wait_well(3)
    assert took < PROMPT_S
    assert not writer.led_to_two


def test_a_primary_that_both_operators_lost_stays_while_a_replica_applies_its_writes(
    store: Store, cluster: Cluster, second: OperatorProcess
) -> None:
    old = store.primary()
    inside = store.labelled(names.ROLE_REPLICA)[0]
    loop = (
        f"exec 3<>/dev/tcp/{address(old)}/{names.DATA_PORT}; end=$((SECONDS + 12)); "
        "while ((SECONDS < end)); do printf 'SET inside %s\\r\\n' $SECONDS >&3; "
        "read -r -t 2 _ <&3 || exit 1; read -r -t 0.05 _ <> <(:); done; true"
    )
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(cluster.run_in, inside, "bash", "-c", loop)
        store.wait(lambda: call(old, "GET", "inside"))
        cluster.set_route(old, OPERATOR_HOST, is_open=False)
        store.wait(lambda: "PrimaryUnreachable" in _degraded(store), 20)
        while not writing.done():
            stays(store, old, 1)
        writing.result()
    # Now nothing shows that anybody is served by it.
    store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
    cluster.set_route(old, OPERATOR_HOST, is_open=True)
    store.wait_well(3)
    assert {call(each, "EXISTS", "inside") for each in store.pods()} == {1}


def test_a_witness_on_the_same_machine_does_not_count(
    store: Store, cluster: Cluster, tmp_path: Path
) -> None:
    same = OperatorProcess(cluster, store.namespace, tmp_path, host="machine-1")
    try:
        same.wait_ready()
        old = store.primary()
        cluster.signal(old, signal.SIGSTOP)
        store.wait(lambda: "PrimaryUnreachable" in _degraded(store), 20)
        stays(store, old, 6)
        cluster.signal(old, signal.SIGCONT)
        store.wait_well(3)
        assert uid_of(store.primary()) == uid_of(old)
    finally:
        same.kill()


def _degraded(store: Store) -> str:
    found = next(each for each in store.status["conditions"] if each["type"] == "Degraded")
    return str(found.get("message"))


@contextlib.contextmanager
def operator_pod(cluster: Cluster, client: Client, namespace: str) -> Iterator[Pod]:
    """Run an operator in a pod, with exactly the rights of the manifest."""
    rights = [codecs.from_dict(each) for each in of_the_manifest(namespace)]
    for each in rights:
        client.create(each)
    account = next(each.metadata.name for each in rights if each.kind == "ServiceAccount")

    def field(name: str, path: str) -> EnvVar:
        source = EnvVarSource(fieldRef=ObjectFieldSelector(fieldPath=path))
        return EnvVar(name=name, valueFrom=source)

    container = Container(
        name="manager",
        image="registry.example/everfly:test",
        args=["operator", "--leader-elect", "--metrics-bind-address=0"],
        env=[
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_NAME", "metadata.name"),
            field("NODE_NAME", "spec.nodeName"),
            EnvVar(name="WATCH_NAMESPACE", value=namespace),
        ],
        readinessProbe=Probe(httpGet=HTTPGetAction(path="/readyz", port=8081), periodSeconds=5),
    )
    labels = {"control-plane": "controller-manager"}
    spec = PodSpec(containers=[container], serviceAccountName=account)
    client.create(Pod(metadata=ObjectMeta(name="witness", labels=labels), spec=spec))

    def shown() -> Any:
        logs = (cluster.folder / "pods" / namespace).glob("witness*/*.log")
        return [each.read_text()[-2000:] for each in logs]

    try:
        until(lambda: is_ready(client.get(Pod, "witness")), 60, show=shown)
        yield client.get(Pod, "witness")
    finally:
        for each in rights:
            if each.kind.startswith("Cluster"):
                client.delete(type(each), each.metadata.name)


def test_a_primary_that_only_the_acting_operator_cannot_reach_stays_and_a_frozen_one_does_not(
    store: Store, cluster: Cluster, client: Client
) -> None:
    with operator_pod(cluster, client, store.namespace):
        old = store.primary()
        cluster.set_route(old, OPERATOR_HOST, is_open=False)
        store.wait(lambda: "PrimaryUnreachable" in _degraded(store), 20)
        stays(store, old, 6)
        assert names.WITNESS_NAME not in {
            each.metadata.name for each in client.list(Lease) if each.metadata
        }
        cluster.signal(old, signal.SIGSTOP)
        store.wait(lambda: name_of(store.primary()) != name_of(old), 20)
        speaker = client.get(Lease, names.WITNESS_NAME).spec
        assert speaker is not None
        assert speaker.holderIdentity == "witness"
        cluster.set_route(old, OPERATOR_HOST, is_open=True)
        cluster.signal(old, signal.SIGCONT)
        store.wait_well(3)


def test_an_operator_alone_learns_of_a_frozen_primary_from_a_platform_that_asks_for_answers(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(env=PATIENT, everfly={"answerProbes": True})
        store.wait_well(3)
        old = store.primary()
        with Writer(store) as writer:
            began = time.monotonic()
            cluster.signal(old, signal.SIGSTOP)
            took = writer.first_after(began + 0.5, 30)
            print(f"first write after {took + 0.5:.3f} s")  # noqa: T201
            # The platform ends a process that does not answer, and starts another one.
            store.wait_well(3)
        assert took < 2 * PROMPT_S
        assert not writer.led_to_two
