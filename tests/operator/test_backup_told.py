"""What people and machines are told of backups, and what is read from pods of ferries."""

from dataclasses import replace
from typing import Any

import pytest

from everfly.core.model import Address
from everfly.operator.backups.desk import Tally
from everfly.operator.backups.metrics import LIMITS, metrics_text
from everfly.operator.backups.place import Volume
from everfly.operator.backups.progress import Cut, Phase, Progress, progress_fields
from everfly.operator.backups.sight import BackupSight, backup_sight, ferry_sight
from everfly.operator.backups.status import told_of, with_conditions
from everfly.operator.commands.backup import without_shared
from everfly.wire.exposition import Histogram

NOW = 1_000_000.0
PLACE = Volume("backups", "a")
CUT = Cut("uid/0", "c-0", "h" * 40, 5, keys=7, memory_bytes=4096)
DONE = Progress(Phase.COMPLETED, 2, NOW - 100, completed_at=NOW - 60, cut=CUT, basename="nightly-1")


def sight(name: str, progress: Progress, store: str = "cache") -> BackupSight:
    status = {k: v for k, v in progress_fields(progress, PLACE).items() if v is not None}
    return backup_sight(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "uid": name,
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"store": store},
            "status": status,
        }
    )


def test_the_metrics_are_those_of_the_last_good_backup_of_each_store() -> None:
    older = replace(DONE, completed_at=NOW - 5000, cut=replace(CUT, keys=3))
    failed = Progress(Phase.FAILED, 4, NOW - 10, last_error="no space")
    found = [sight("a", older), sight("b", DONE), sight("c", failed), sight("d", DONE, "other")]
    tallies = {("shop", "cache"): Tally(4, [40.0])}
    rows = [(("shop", each.name), each) for each in found]
    text = metrics_text(rows, tallies, NOW, Histogram(LIMITS))
    labels = 'namespace="shop",name="cache"'
    for line in (
        f'everfly_operator_backups{{{labels},phase="Completed"}} 2',
        f'everfly_operator_backups{{{labels},phase="Failed"}} 1',
        f"everfly_operator_backup_age_seconds{{{labels}}} 60",
        f"everfly_operator_backup_keys{{{labels}}} 7",
        f"everfly_operator_backup_memory_bytes{{{labels}}} 4096",
        f"everfly_operator_backup_failures_total{{{labels}}} 4",
        "everfly_operator_backup_seconds_count 1",
        'everfly_operator_backup_age_seconds{namespace="shop",name="other"} 60',
    ):
        assert line in text
    assert tallies["shop", "cache"].seconds == []


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (DONE, "7 keys of c-0 are at backups:a/nightly-1, in 40 s"),
        (Progress(Phase.FAILED, 4, last_error="no space"), "after 4 attempts: no space"),
        (Progress(Phase.PENDING, 1, last_error="no space"), "attempt 1 failed: no space"),
        (Progress(Phase.COPYING, 1), "attempt 1 begins"),
    ],
)
def test_a_backup_is_told_in_a_sentence(progress: Progress, words: str) -> None:
    assert told_of("nightly", PLACE, progress).endswith(words)


def test_a_condition_keeps_since_when_it_holds() -> None:
    fields = progress_fields(Progress(Phase.COPYING, 1), PLACE)
    first: Any = with_conditions({}, fields, NOW)
    later: Any = with_conditions(first, progress_fields(DONE, PLACE), NOW + 60)
    since = {each["type"]: each["lastTransitionTime"] for each in later["conditions"]}
    assert since == {"Complete": "1970-01-12T13:47:40Z", "Failed": "1970-01-12T13:46:40Z"}
    states = {each["type"]: each["status"] for each in later["conditions"]}
    assert states == {"Complete": "True", "Failed": "False"}


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "f", "uid": "u"}, "status": status}


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "dragonfly", "restartCount": 0} | fields]


def test_a_ferry_that_runs_has_an_address() -> None:
    found = ferry_sight(pod(podIP="10.0.0.1", containerStatuses=container(state={"running": {}})))
    assert found.address == Address("10.0.0.1", 9999)
    assert (found.incarnation, found.exit_code, found.trouble) == ("u/0", None, "")


def test_a_ferry_that_is_being_stopped_has_none() -> None:
    item = pod(podIP="10.0.0.1", containerStatuses=container(state={"running": {}}))
    item["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert ferry_sight(item).address is None


@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [
        ({}, None, ""),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, 1,
         "Failed: low on memory"),
        ({"phase": "Succeeded"}, 0, ""),
        ({"containerStatuses": container(state={"terminated": {"exitCode": 137}})}, 137, ""),
        ({"containerStatuses": container(lastState={"terminated": {"exitCode": 1}})}, 1, ""),
        ({"containerStatuses": container(
            state={"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})},
         None, "ImagePullBackOff: no such image"),
        ({"containerStatuses": container(state={"waiting": {"reason": "ContainerCreating"}})},
         None, ""),
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                          "message": "no node fits"}]}, None, "Unschedulable: no node fits"),
    ],
    ids=["new", "evicted", "over", "killed", "restarted", "no image", "starting", "no place"],
)  # fmt: skip
def test_why_a_ferry_is_of_no_use_is_read_from_its_pod(
    status: dict[str, Any], code: int | None, trouble: str
) -> None:
    found = ferry_sight(pod(**status))
    assert (found.exit_code, found.trouble) == (code, trouble)
    assert found.address is None


def test_a_restarted_container_is_another_incarnation() -> None:
    before = ferry_sight(pod(containerStatuses=container()))
    after = ferry_sight(pod(containerStatuses=container(restartCount=1)))
    assert before.incarnation != after.incarnation


def test_a_new_store_takes_over_nothing_that_only_one_can_have() -> None:
    spec = {
        "replicas": 3,
        "serviceSpec": {"name": "door", "nodePort": 30_000, "type": "NodePort"},
        "snapshot": {"existingPersistentVolumeClaimName": "shared", "cron": "0 * * * *"},
    }
    assert without_shared(spec) == {"replicas": 3, "serviceSpec": {"type": "NodePort"}}
    kept = {"snapshot": {"persistentVolumeClaimSpec": {"a": 1}, "cron": "0 * * * *"}}
    assert without_shared(kept) == kept
