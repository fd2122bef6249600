"""Settings change while instances run, where a resource says so; anything else restarts them."""

import signal
from pathlib import Path

from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod
from stage import Store, call, name_of, running, uid_of

from everfly.operator import names

LIVE = {"liveSettings": True}


def setting(pod: Pod, name: str) -> bytes:
    found = call(pod, "CONFIG", "GET", name, port=names.ADMIN_PORT)
    value = found[1]
    assert isinstance(value, bytes)
    return value


def statuses(pod: Pod) -> list[ContainerStatus]:
    return list((pod.status.containerStatuses if pod.status else None) or [])


def lives(store: Store) -> list[tuple[str, int]]:
    return [(uid_of(pod), each.restartCount) for pod in store.pods() for each in statuses(pod)]


def have(store: Store, name: str, value: bytes) -> bool:
    return all(setting(each, name) == value for each in store.pods())


def is_settled(store: Store) -> bool:
    status = store.status
    observed = status.get("observedGeneration") == store.item["metadata"]["generation"]
    return observed and status.get("updatedReplicas") == len(store.pods())


def test_settings_change_without_a_restart_and_survive_one(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=2, args=["--maxmemory=100mb"], everfly=LIVE)
        store.wait_well(2)
        before = lives(store)
        store.change(args=["--maxmemory=200mb", "--timeout=77"])
        store.wait(lambda: have(store, "maxmemory", str(200 << 20).encode()))
        store.wait(lambda: have(store, "timeout", b"77"))
        store.wait(lambda: is_settled(store))
        store.wait(lambda: "SettingsApplied" in store.reasons())
        assert lives(store) == before
        # A container that restarts has the arguments of its pod, and is given the others again.
        replica = next(each for each in store.pods() if uid_of(each) != uid_of(store.primary()))
        cluster.signal(replica, signal.SIGKILL)
        store.wait(lambda: lives(store) != before)
        store.wait_well(2)
        store.wait(lambda: have(store, "timeout", b"77"))
        # A pod that is made anew has them from its start.
        client.delete(Pod, name_of(replica))
        store.wait(lambda: uid_of(store.pod(name_of(replica))) != uid_of(replica))
        store.wait_well(2)
        store.wait(lambda: have(store, "timeout", b"77"))
        # What is dropped goes back to what it was, also where the pod never had it in its args.
        before = lives(store)
        store.change(args=["--maxmemory=200mb", "--timeout=77", "--slowlog_max_len=99"])
        store.wait(lambda: have(store, "slowlog_max_len", b"99"))
        store.change(args=["--maxmemory=200mb", "--timeout=77"])
        store.wait(lambda: have(store, "slowlog_max_len", b"20"))
        store.wait(lambda: is_settled(store))
        assert lives(store) == before
        assert "Rollout" not in store.reasons()


def test_a_value_that_instances_refuse_and_a_flag_they_cannot_change_restart_them(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=2, everfly=LIVE)
        store.wait_well(2)
        before = {uid_of(each) for each in store.pods()}
        store.change(args=["--timeout=soon"])
        store.wait(lambda: "SettingRefused" in store.reasons())
        (told,) = [each.message for each in store.events() if each.reason == "SettingRefused"]
        assert told is not None
        assert "argument can not be set" in told
        store.wait(lambda: before.isdisjoint(uid_of(each) for each in store.pods()), 90)
        store.wait_well(2)
        before = {uid_of(each) for each in store.pods()}
        store.change(args=["--proactor_threads=2"])
        store.wait(lambda: before.isdisjoint(uid_of(each) for each in store.pods()), 90)
        store.wait_well(2)
