"""Backups on the real API server: of what clients wrote, kept as long as asked, and restored."""

from pathlib import Path

from backup_stage import Backup, damage, files_of, make_claim, restored
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.resources.core_v1 import Pod
from stage import DRAGONFLY, Store, Writer, call, is_ready, running

from everfly.operator import names


def keys_of(pod: Pod) -> set[bytes]:
    return set(call(pod, "KEYS", "*"))


def gone(store: Store) -> None:
    store.client.delete(DRAGONFLY, store.name)
    store.wait(lambda: not store.pods(), 60)


def test_what_was_acknowledged_before_a_backup_began_is_in_a_store_made_of_it(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=2)
        store.wait_well(2)
        with Writer(store) as writer:
            before = set(writer.acknowledged)
            backup = Backup(store).create()
            status = backup.wait()
        assert len(before) >= 5
        assert status["keys"] >= len(before)
        assert status["lineage"]["history"] == store.status["lineage"]["history"]
        assert status["source"] == store.status["primary"]
        assert {"BackupStarted", "BackupCompleted"} <= store.reasons()
        store.wait(lambda: not backup.ferries(), 30)
        # What the ferry was to the group is over: it never was an instance of it.
        assert {each["name"] for each in store.status["pods"]} == {"cache-0", "cache-1"}
        gone(store)
        store.create(replicas=2, everfly={"restoreFrom": {"backup": "first"}})
        store.wait_well(2, 120)
        assert restored(store)["status"] == "True", store.status
        found = {key.decode() for key in keys_of(store.primary())}
        assert before <= found
        assert len(found) == status["keys"]
        # It is a data store as any other: its replicas have the data, and it takes writes.
        assert call(store.primary(), "SET", "new", "yes") == b"OK"
        (replica,) = store.labelled(names.ROLE_REPLICA)
        store.wait(lambda: keys_of(replica) == keys_of(store.primary()), 20)
        store.wait(lambda: not backup.ferries(), 30)


def test_a_snapshot_that_is_damaged_leaves_the_store_out_of_service_and_says_why(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1)
        store.wait_well(1)
        call(store.primary(), "SET", "key", "value")
        Backup(store).create().wait()
        (data,) = [each for each in files_of(store) if each.endswith("-0000.dfs")]
        damage(store, data)
        gone(store)
        store.create(replicas=1, everfly={"restoreFrom": {"backup": "first"}})
        store.wait(lambda: restored(store)["reason"] == "CannotRead", 60)
        assert "Internal error when loading RDB file" in restored(store)["message"]
        assert store.status["phase"] == "Configuring"
        assert store.endpoints() == []
        store.wait(lambda: is_ready(store.pod("cache-0")), 30)
        assert store.labelled(names.ROLE_PRIMARY) == []
        # Whoever can do without the data says so.
        store.change(everfly={"restoreFrom": None})
        store.wait_well(1)
        assert keys_of(store.primary()) == set()
        store.wait(lambda: not Backup(store).ferries(), 30)


def test_a_store_that_has_data_keeps_them_whatever_is_to_be_restored(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1)
        store.wait_well(1)
        call(store.primary(), "SET", "old", "value")
        Backup(store).create().wait()
        call(store.primary(), "SET", "newer", "value")
        store.change(everfly={"restoreFrom": {"backup": "first"}})
        store.wait(lambda: restored(store)["reason"] == "HasData", 30)
        store.wait_well(1)
        assert keys_of(store.primary()) == {b"old", b"newer"}
