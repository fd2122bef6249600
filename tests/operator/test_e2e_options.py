"""Options of a resource that the operator itself carries out."""

from pathlib import Path

from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.resources.core_v1 import Pod, Service
from stage import call, disks, label, name_of, running, uid_of

from everfly.operator import names

CRON = "*/5 * * * *"


def gate_of(pod: Pod) -> str:
    conditions = (pod.status.conditions if pod.status else None) or []
    return next((each.status for each in conditions if each.type == names.GATE), "")


def cron_of(pod: Pod) -> bytes:
    found = call(pod, "CONFIG", "GET", "snapshot_cron", port=names.ADMIN_PORT)
    value = found[1] if isinstance(found, list) else found[b"snapshot_cron"]
    assert isinstance(value, bytes)
    return value


def test_a_readiness_gate_opens_with_the_role_and_shuts_with_it(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(enableReplicationReadinessGate=True)
        store.wait_well(3)
        assert {gate_of(each) for each in store.pods()} == {"True"}
        store.annotate(fenced="cache-2")
        store.wait(lambda: gate_of(store.pod("cache-2")) == "False", 20)
        store.annotate(fenced=None)
        store.wait_well(3)


def test_snapshots_are_taken_by_the_primary_alone_where_that_is_asked(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    snapshot = {
        "cron": CRON,
        "enableOnMasterOnly": True,
        "persistentVolumeClaimSpec": disks(client),
    }

    with running(cluster, client, namespace, tmp_path) as store:
        store.create(snapshot=snapshot)
        store.wait_well(3)

        def is_right() -> bool:
            primary = name_of(store.primary())
            return all(
                cron_of(each) == (CRON.encode() if name_of(each) == primary else b"")
                for each in store.pods()
            )

        store.wait(is_right, 20)
        store.annotate(switchover="cache-1")
        store.wait(lambda: name_of(store.primary()) == "cache-1", 20)
        store.wait_well(3)
        store.wait(is_right, 20)


def test_a_restart_of_all_pods_at_once_comes_back_with_the_newest_data(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(snapshot={"persistentVolumeClaimSpec": disks(client)})
        store.wait_well(3)
        store.annotate(switchover="cache-2")
        store.wait(lambda: name_of(store.primary()) == "cache-2", 20)
        store.wait_well(3)
        # The others miss the last write, and their disks are older.
        for ordinal in (0, 1):
            cluster.set_link(store.pod(f"cache-{ordinal}"), is_up=False)
        for number in range(20):
            call(store.primary(), "SET", f"late-{number}", "yes")
        before = {uid_of(each) for each in store.pods()}
        for pod in store.pods():
            client.delete(Pod, name_of(pod))
        store.wait(
            lambda: len(store.pods()) == 3 and not before & {uid_of(each) for each in store.pods()},
            90,
        )
        store.wait_well(3)
        assert call(store.primary(), "GET", "late-19") == b"yes"
        assert label(store.primary(), names.LABEL_ROLE) == names.ROLE_PRIMARY


def test_a_renamed_service_leaves_no_second_one(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1)
        store.wait_well(1)
        store.change(serviceSpec={"name": "door"})

        def found() -> set[str]:
            return {each.metadata.name or "" for each in client.list(Service) if each.metadata}

        store.wait(lambda: found() == {"door"}, 20)


def test_a_deleted_resource_takes_everything_with_it(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        store.wait_well(3)
        client.delete(store.item.__class__, store.name)
        store.wait(lambda: not store.pods(), 60)


def test_what_was_deleted_by_hand_is_made_again(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=2)
        store.wait_well(2)
        client.delete(Service, store.name)
        store.wait_well(2)
