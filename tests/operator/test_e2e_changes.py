"""What people ask of a data store: another size, another image, a rest, an exception."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY, MISSING
from lightkube import Client
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod
from stage import Store, Writer, address, call, disks, is_ready, label, name_of, running, uid_of

from everfly.operator import names
from processes import until

NEWER = DRAGONFLY.rpartition(":")[0] + ":v1.40.0"


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(image=DRAGONFLY)
        store.wait_well(3)
        yield store


def image_of(pod: Pod) -> str:
    assert pod.spec is not None
    return pod.spec.containers[0].image or ""


def test_growing_and_shrinking_moves_the_primary_in_time_and_loses_nothing(store: Store) -> None:
    store.annotate(switchover="cache-2")
    store.wait(lambda: name_of(store.primary()) == "cache-2", 20)
    store.wait_well(3)
    with Writer(store) as writer:
        for count in (5, 3, 1, 3):
            store.change(replicas=count)
            store.wait_well(count)
    assert writer.lost(store.primary()) == []
    assert writer.longest_gap() < 2.0


def test_a_new_image_rolls_replicas_first_one_at_a_time_and_loses_nothing(store: Store) -> None:
    before = {name_of(each): uid_of(each) for each in store.pods()}
    unready: list[int] = []
    replaced: list[str] = []

    def watch() -> bool:
        pods = store.pods()
        unready.append(3 - sum(is_ready(each) for each in pods))
        for each in pods:
            if uid_of(each) != before[name_of(each)] and name_of(each) not in replaced:
                replaced.append(name_of(each))
        return len(replaced) == 3 and all(image_of(each) == NEWER for each in pods)

    with Writer(store) as writer:
        store.change(image=NEWER)
        store.wait(watch, 90)
        store.wait_well(3)
    assert max(unready) <= 1
    assert replaced == ["cache-1", "cache-2", "cache-0"]
    assert writer.lost(store.primary()) == []
    assert writer.longest_gap() < 1.0
    assert {"Rollout", "HandOver"} <= store.reasons()


def test_an_image_that_does_not_exist_costs_one_replica_and_is_undone(store: Store) -> None:
    primary = uid_of(store.primary())
    store.change(image=MISSING)
    store.wait(lambda: store.status["phase"] == "RollingUpdate", 20)
    store.wait(lambda: sum(image_of(each) == MISSING for each in store.pods()) == 1, 30)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 4, 20)
    assert sum(image_of(each) == MISSING for each in store.pods()) == 1
    assert uid_of(store.primary()) == primary
    store.change(image=DRAGONFLY)
    store.wait_well(3)
    assert uid_of(store.primary()) == primary


def test_one_instance_alone_is_restarted_with_its_snapshot(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    claim = disks(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1, image=DRAGONFLY, snapshot={"persistentVolumeClaimSpec": claim})
        store.wait_well(1)
        call(store.primary(), "SET", "kept", "yes")
        store.change(image=NEWER)
        store.wait(lambda: image_of(store.primary()) == NEWER, 60)
        store.wait_well(1)
        assert call(store.primary(), "GET", "kept") == b"yes"


def test_a_paused_data_store_is_left_alone_until_it_is_resumed(
    store: Store, client: Client
) -> None:
    old = store.primary()
    store.annotate(paused="true")
    store.wait(lambda: store.condition("Paused") == "True", 20)
    client.delete(Pod, name_of(old))
    store.wait(lambda: uid_of(store.pod(name_of(old))) != uid_of(old), 60)
    store.wait(lambda: is_ready(store.pod(name_of(old))), 60)
    assert store.labelled(names.ROLE_PRIMARY) == []
    store.annotate(paused=None)
    store.wait_well(3)
    assert name_of(store.primary()) != name_of(old)


def test_a_fenced_primary_hands_over_and_a_fenced_pod_serves_nobody(store: Store) -> None:
    with Writer(store) as writer:
        store.annotate(fenced="cache-0")
        store.wait(lambda: name_of(store.primary()) != "cache-0", 20)
        store.wait(lambda: label(store.pod("cache-0"), names.LABEL_ROLE) == "", 20)
        store.annotate(fenced=None)
        store.wait_well(3)
    assert writer.lost(store.primary()) == []


def test_a_hibernated_data_store_wakes_with_its_data(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    claim = disks(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(image=DRAGONFLY, snapshot={"persistentVolumeClaimSpec": claim})
        store.wait_well(3)
        call(store.primary(), "SET", "kept", "yes")
        store.wait(lambda: all(call(each, "GET", "kept") == b"yes" for each in store.pods()), 20)
        store.annotate(hibernated="true")
        store.wait(lambda: not store.pods(), 60)
        assert store.condition("Available") == "False"
        store.annotate(hibernated=None)
        store.wait_well(3)
        assert call(store.primary(), "GET", "kept") == b"yes"


def test_people_ask_by_the_command_line(store: Store, cluster: Cluster) -> None:
    def run(*words: str) -> str:
        command = [sys.executable, "-m", "everfly", "k8s", f"--kubeconfig={cluster.kubeconfig}"]
        done = subprocess.run(
            [*command, f"--namespace={store.namespace}", *words],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout

    assert "cache-1 is the primary" in run("switchover", "cache", "cache-1")
    assert name_of(store.primary()) == "cache-1"
    store.wait_well(3)
    text = run("status", "cache")
    assert "conditions: all in order" in text
    assert "primary  cache-1" in text
    assert f"{address(store.primary())}  up" in text
    assert "SwitchoverRefused" not in text
    assert "HandOver" in text
    assert "cache-1" in run("status")
    facts = json.loads(run("status", "cache", "--json"))
    assert facts["primary"] == "cache-1"
    assert all(each["host"] for each in facts["pods"])
    assert [each["name"] for each in json.loads(run("status", "--json"))] == ["cache"]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run("switchover", "cache", "cache-9")
    assert "still the primary" in refused.value.stderr
    with pytest.raises(subprocess.CalledProcessError) as unknown:
        run("pause", "nobody")
    assert "there is no Dragonfly 'nobody'" in unknown.value.stderr


def test_a_resource_that_is_wrong_says_so_and_keeps_its_primary(
    store: Store, cluster: Cluster
) -> None:
    store.change(snapshot={"cron": "* * * * *"})
    store.wait(lambda: store.condition("Valid") == "False", 20)
    store.wait(lambda: "InvalidSpec" in store.reasons(), 20)
    old = store.primary()
    with Writer(store):
        cluster.signal(old, signal.SIGKILL)
        store.wait(lambda: name_of(store.primary()) != name_of(old), 20)


def test_a_volume_that_cannot_be_changed_is_told_only_when_it_was_changed(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    claim = disks(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1, image=DRAGONFLY, snapshot={"persistentVolumeClaimSpec": claim})
        store.wait_well(1)
        assert "ImmutableField" not in store.reasons()
        before = client.get(StatefulSet, store.name).spec
        store.change(snapshot={"persistentVolumeClaimSpec": {"accessModes": ["ReadWriteMany"]}})
        store.wait(lambda: "ImmutableField" in store.reasons(), 20)
        assert client.get(StatefulSet, store.name).spec == before
