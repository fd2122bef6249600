"""Offsets of two histories do not compare, and a hand-over does not outlive whoever ordered it."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY
from lightkube import Client
from lightkube.models.core_v1 import Container, EnvVar, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod
from stage import Store, Writer, address, call, name_of, replication, running

from everfly.operator import names

PATIENT = [{"name": "DOUBLE_PATIENT", "value": "1"}]
STRANGERS_WRITES = 400
TAKE_OVER_S = 25.0
"""Five seconds for a hand-over, ten more that its own connection waits, and the failover after."""


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(env=PATIENT)
        store.wait_well(3)
        yield store


@pytest.fixture
def stranger(store: Store, client: Client) -> Pod:
    """A Dragonfly of nobody's group, with far more writes than the group ever had."""
    container = Container(
        name="dragonfly",
        image=DRAGONFLY,
        args=["--admin_port=9999", "--admin_nopass"],
        env=[EnvVar(name="HEALTHCHECK_PORT", value="9999")],
    )
    spec = PodSpec(containers=[container], terminationGracePeriodSeconds=0)
    client.create(Pod(metadata=ObjectMeta(name="stranger"), spec=spec))
    # It has no probes: to the platform it is ready before it listens.
    store.wait(lambda: call(store.pod("stranger"), "SET", "strange", "1") == b"OK")
    pod = store.pod("stranger")
    for number in range(STRANGERS_WRITES):
        call(pod, "SET", f"strange-{number}", number)
    return pod


def test_a_replica_with_a_higher_offset_of_another_history_does_not_become_the_primary(
    store: Store, cluster: Cluster, stranger: Pod
) -> None:
    old = store.primary()
    call(old, "SET", "ours", "1")
    store.wait(lambda: all(call(each, "EXISTS", "ours") == 1 for each in store.pods()))
    astray, faithful = store.labelled(names.ROLE_REPLICA)
    assert store.operator is not None
    # While nobody looks, a replica copies somebody else's data, and then the primary dies.
    store.operator.child.signal(signal.SIGSTOP)
    call(astray, "REPLICAOF", address(stranger), names.ADMIN_PORT, port=names.ADMIN_PORT)
    store.wait(lambda: call(astray, "EXISTS", f"strange-{STRANGERS_WRITES - 1}") == 1)
    ahead = int(replication(astray)["slave_repl_offset"])
    assert ahead > int(replication(faithful)["slave_repl_offset"])
    cluster.signal(old, signal.SIGKILL)
    store.operator.child.signal(signal.SIGCONT)
    store.wait(lambda: name_of(store.primary()) == name_of(faithful), 30)
    store.wait_well(3)
    for pod in store.pods():
        assert call(pod, "EXISTS", "ours") == 1
        assert call(pod, "EXISTS", "strange-0") == 0


def test_a_hand_over_from_a_primary_that_freezes_ends_in_time_and_takes_no_effect_later(
    store: Store, cluster: Cluster
) -> None:
    old = store.primary()
    wanted = store.labelled(names.ROLE_REPLICA)[0]
    with Writer(store) as writer:
        began = time.monotonic()
        cluster.signal(old, signal.SIGSTOP)
        store.annotate(switchover=name_of(wanted))
        took = writer.first_after(began + 1.0, TAKE_OVER_S + 15)
        print(f"first write after {took + 1:.3f} s")  # noqa: T201
        new = store.primary()
        assert name_of(new) != name_of(old)
        # What it was asked while it was frozen, it reads now.
        cluster.signal(old, signal.SIGCONT)
        store.wait_well(3)
    assert took < TAKE_OVER_S
    assert name_of(store.primary()) == name_of(new)
    assert not writer.led_to_two
    assert len(writer.lost(store.primary())) <= 1
    assert "everfly.dev/switchover" not in (store.item["metadata"].get("annotations") or {})
