"""Backups on the real API server: of what clients wrote, kept as long as asked, and restored."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from backup_stage import (
    Backup,
    BucketServer,
    backups_of,
    damage,
    files_of,
    make_claim,
    make_schedule,
    restored,
)
from controlplane.cluster import Cluster
from controlplane.kubelet.network import GATEWAY
from lightkube import Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Secret
from lightkube.resources.networking_v1 import NetworkPolicy
from stage import DRAGONFLY, Store, Writer, call, disks, is_ready, running

from everfly.operator import names


def keys_of(pod: Pod) -> set[bytes]:
    return set(call(pod, "KEYS", "*"))


def policies_of(client: Client) -> set[str]:
    return {str(each.metadata.name) for each in client.list(NetworkPolicy) if each.metadata}


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
            door = {"cache", "first-ferry-1", "first-ferry-1-in"}
            store.wait(lambda: policies_of(client) == door, 30)
            status = backup.wait()
        assert len(before) >= 5
        assert status["keys"] >= len(before)
        assert status["lineage"]["history"] == store.status["lineage"]["history"]
        assert status["source"] == store.status["primary"]
        store.wait(lambda: {"BackupStarted", "BackupCompleted"} <= store.reasons(), 20)
        store.wait(lambda: not backup.ferries(), 30)
        store.wait(lambda: policies_of(client) == {"cache"}, 60)
        # What the ferry was to the group is over: it never was an instance of it.
        assert {each["name"] for each in store.status["pods"]} == {"cache-0", "cache-1"}
        gone(store)
        store.create(replicas=2, everfly={"restoreFrom": {"backup": "first"}})
        store.wait_well(2, 120)
        store.wait(lambda: restored(store)["status"] == "True", 30)
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
        make_claim(client, "others")
        Backup(store, "second").create("others").wait()
        gone(store)
        store.create(replicas=1, everfly={"restoreFrom": {"backup": "first"}})
        store.wait(lambda: restored(store)["reason"] == "CannotRead", 60)
        assert "Internal error when loading RDB file" in restored(store)["message"]
        assert store.status["phase"] == "Configuring"
        assert store.endpoints() == []
        store.wait(lambda: is_ready(store.pod("cache-0")), 30)
        assert store.labelled(names.ROLE_PRIMARY) == []
        # Whoever has another backup, elsewhere, names that one.
        other = Store(cluster, client, namespace, "other")
        other.create(replicas=1, everfly={"restoreFrom": {"backup": "first"}})
        other.wait(lambda: restored(other)["reason"] == "CannotRead", 60)
        other.change(everfly={"restoreFrom": {"backup": "second"}})
        other.wait_well(1)
        assert keys_of(other.primary()) == {b"key"}
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


def test_an_operator_that_dies_during_a_backup_is_followed_by_one_that_finishes_it(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        assert store.operator is not None
        store.create(replicas=1, env=[{"name": "DOUBLE_SLOW_S", "value": "2"}])
        store.wait_well(1)
        call(store.primary(), "SET", "key", "value")
        backup = Backup(store).create()
        for phase in ("Copying", "Saving", "Verifying"):
            store.wait(lambda phase=phase: backup.phase() == phase, 60)
            store.operator.restart()
        status = backup.wait(within_s=120)
        assert (status["attempt"], status["keys"]) == (1, 1), status
        assert keys_of(store.primary()) == {b"key"}
        store.wait(lambda: not backup.ferries(), 30)
        gone(store)
        # The same for a restore: killed while the ferry reads, and while the primary copies.
        slow = [{"name": "DOUBLE_SLOW_S", "value": "2"}]
        store.create(replicas=1, env=slow, everfly={"restoreFrom": {"backup": "first"}})
        for phase in ("Loading", "Copying"):
            store.wait(lambda phase=phase: store.status["restore"]["phase"] == phase, 60)
            store.operator.restart()
        store.wait_well(1, 120)
        store.wait(lambda: restored(store)["status"] == "True", 30)
        assert keys_of(store.primary()) == {b"key"}
        store.wait(lambda: not backup.ferries(), 30)


def test_a_failover_in_the_middle_of_a_copy_costs_no_attempt(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=2)
        store.wait_well(2)
        call(store.primary(), "SET", "key", "value")
        old = store.primary()
        backup = Backup(store).create()
        store.wait(backup.ferries, 30)
        cluster.signal(old, signal.SIGKILL)
        status = backup.wait()
        assert (status["attempt"], status["keys"]) == (1, 1), status
        store.wait_well(2)
        assert {each["name"] for each in store.status["pods"]} == {"cache-0", "cache-1"}


def test_a_ferry_that_dies_costs_one_attempt_and_the_next_one_is_good(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1, env=[{"name": "DOUBLE_SLOW_S", "value": "3"}])
        store.wait_well(1)
        call(store.primary(), "SET", "key", "value")
        backup = Backup(store).create()
        store.wait(lambda: backup.phase() == "Saving", 60)
        (ferry,) = backup.ferries()
        cluster.signal(ferry, signal.SIGKILL)
        status = backup.wait()
        assert (status["attempt"], status["keys"]) == (2, 1), status
        store.wait(lambda: "BackupAttemptFailed" in store.reasons(), 20)
        # What the first one left behind is not part of the second one's snapshot.
        assert all(each.startswith(status["basename"]) for each in files_of(store)), files_of(store)


def test_a_backup_that_cannot_succeed_says_why_and_is_tried_no_more_than_asked(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1)
        store.wait_well(1)
        backup = Backup(store)
        backup.create("nowhere", backoffLimit=0, timeoutSeconds=5, deletionPolicy="Delete")
        status = backup.wait("Failed", 60)
        assert status["attempt"] == 1
        assert "took longer than 5 s" in status["lastError"]
        assert 'persistentvolumeclaim "nowhere" not found' in status["lastError"]
        assert {each["type"]: each["status"] for each in status["conditions"]} == {
            "Complete": "False",
            "Failed": "True",
        }
        store.wait(lambda: "BackupFailed" in store.reasons(), 20)
        store.wait(lambda: not backup.ferries(), 30)
        # Files on a volume that is not there hold nobody up.
        backup.delete()
        store.wait(lambda: backups_of(client, is_all=True) == set(), 60)
        store.wait(lambda: not backup.ferries(), 30)


def test_a_bucket_takes_backups_and_gives_them_back_to_whoever_has_its_keys(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    client.create(
        Secret(
            metadata=ObjectMeta(name="keys"),
            stringData={"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret"},
        )
    )
    with (
        BucketServer(GATEWAY, "me") as bucket,
        running(cluster, client, namespace, tmp_path) as store,
    ):
        place = {"uri": "s3://bucket/shop", "secretName": "keys", "endpoint": bucket.endpoint}
        store.create(replicas=1)
        store.wait_well(1)
        call(store.primary(), "SET", "key", "value")
        status = Backup(store).create(to={"s3": place}).wait()
        base = f"/bucket/shop/{status['basename']}"
        assert set(bucket.objects) == {f"{base}-0000.dfs", f"{base}-summary.dfs"}
        assert status["location"] == f"s3:/{base}"
        stranger = Backup(store, "stranger")
        stranger.create(to={"s3": place | {"secretName": ""}}, backoffLimit=0)
        assert "S3 answers 403" in stranger.wait("Failed")["lastError"]
        gone(store)
        store.create(replicas=1, everfly={"restoreFrom": {"backup": "first"}})
        store.wait_well(1)
        assert keys_of(store.primary()) == {b"key"}
        copy = Store(cluster, client, namespace, "copy")
        snapshot = place | {"basename": status["basename"]}
        copy.create(replicas=1, everfly={"restoreFrom": {"s3": snapshot}})
        copy.wait_well(1)
        assert keys_of(copy.primary()) == {b"key"}


def test_a_schedule_makes_backups_and_keeps_as_many_as_asked(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1)
        store.wait_well(1)
        for name in ("one", "two"):
            made = Backup(store, name)
            # As the schedule itself makes them, at times that have passed.
            made.create(deletionPolicy="Delete", labels={"everfly.dev/schedule": "often"})
            made.wait()
        assert len(files_of(store)) == 4
        make_schedule(store, retention={"keep": 1})
        store.wait(lambda: backups_of(client) == {"two"}, 60)
        store.wait(lambda: len(files_of(store)) == 2, 30)
        assert {each.split("-")[0] for each in files_of(store)} == {"two"}
        # The next minute is a run.
        store.wait(lambda: any(each.startswith("often-") for each in backups_of(client)), 75)
        (name,) = backups_of(client) - {"two"}
        Backup(store, name).wait()
        store.wait(lambda: backups_of(client) == {name}, 60)
        store.wait(lambda: {each.split("-")[0] for each in files_of(store)} == {"often"}, 60)


def test_people_ask_for_backups_and_restores_on_the_command_line(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)

    def k8s(*words: str) -> str:
        command = [sys.executable, "-m", "everfly", "k8s", "-n", namespace]
        options = [f"--kubeconfig={cluster.kubeconfig}"]
        done = subprocess.run(
            [*command, *options, *words], capture_output=True, text=True, timeout=120, check=False
        )
        return f"{done.stdout}{done.stderr}({done.returncode})"

    with running(cluster, client, namespace, tmp_path) as store:
        store.create(replicas=1, serviceSpec={"name": "door"})
        store.wait(lambda: store.status["phase"] == "Ready", 60)
        call(store.primary(), "SET", "key", "value")
        words = ("backup", "cache", "--to", "backups:a/b", "--as", "mine", "--wait")
        assert k8s(*words).startswith("mine: 1 keys at backups:a/b/mine-")
        row = json.loads(k8s("backups", "--json", "cache").removesuffix("(0)"))
        assert (row["name"], row["phase"], row["keys"]) == ("mine", "Completed", 1)
        assert "Completed" in k8s("backups")
        assert k8s("restore", "copy", "--from", "mine", "--wait") == "copy\n(0)"
        copy = Store(cluster, client, namespace, "copy")
        copy.wait_well(1)
        assert keys_of(copy.primary()) == {b"key"}
        assert "there is no backup 'none'" in k8s("restore", "other", "--from", "none")
        assert "there is no Dragonfly 'none'" in k8s("backup", "none", "--to", "backups")
        metrics = store.operator
        assert metrics is not None
        text = metrics.get(metrics.metrics_port, "/metrics").text
        labels = f'namespace="{namespace}",name="cache"'
        assert f"everfly_operator_backup_keys{{{labels}}} 1" in text
        assert f"everfly_operator_backup_age_seconds{{{labels}}}" in text


def test_disks_that_hold_data_are_kept_and_empty_ones_are_filled(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    make_claim(client)
    spec: dict[str, Any] = {
        "replicas": 2,
        # The platform starts the second instance only when the first one is ready.
        "enableReplicationReadinessGate": True,
        "snapshot": {"persistentVolumeClaimSpec": disks(client)},
    }
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(**spec)
        store.wait_well(2)
        call(store.primary(), "SET", "old", "value")
        Backup(store).create().wait()
        call(store.primary(), "SET", "newer", "value")
        gone(store)
        wish = {"restoreFrom": {"backup": "first"}}
        store.create(**spec, everfly=wish)
        store.wait(lambda: restored(store)["reason"] == "HasData", 60)
        assert store.endpoints() == []
        store.change(everfly={"restoreFrom": None})
        store.wait_well(2)
        assert keys_of(store.primary()) == {b"old", b"newer"}
        copy = Store(cluster, client, namespace, "copy")
        copy.create(**spec, everfly=wish)
        copy.wait_well(2)
        copy.wait(lambda: restored(copy)["status"] == "True", 30)
        assert keys_of(copy.primary()) == {b"old"}
