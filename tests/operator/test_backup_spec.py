"""What backups and schedules may say, and that what is wrong is named with its field."""

from typing import Any

import pytest
import yaml
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource

from everfly.operator.backups.names import BACKUP, SCHEDULE
from everfly.operator.backups.place import Bucket, RestoreWish, Snapshot, Volume, path_of
from everfly.operator.backups.spec import read_backup, read_schedule
from everfly.operator.crd import BACKUP_FILES, definition_text
from everfly.operator.crd.generate import backup_yamls
from everfly.operator.wishes.spec import SpecError, read_spec

DRAGONFLY = create_namespaced_resource("dragonflydb.io", "v1alpha1", "Dragonfly", "dragonflies")
VOLUME: dict[str, Any] = {"volume": {"claimName": "backups"}}
S3: dict[str, Any] = {
    "s3": {"uri": "s3://bucket/some/where", "secretName": "keys", "endpoint": "minio:9000"}
}


def problems(read: Any, value: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(SpecError) as refusal:
        read(value)
    return refusal.value.problems


def test_a_backup_has_its_defaults() -> None:
    spec = read_backup({"store": "cache", "to": VOLUME})
    assert spec.place == Volume("backups")
    assert (spec.verifies, spec.deletes_files, spec.backoff_limit) == (True, False, 3)


def test_everything_may_be_said() -> None:
    spec = read_backup(
        {
            "store": "cache",
            "to": {"volume": {"claimName": "backups", "directory": "a/b"}},
            "verify": False,
            "deletionPolicy": "Delete",
            "backoffLimit": 0,
            "timeoutSeconds": 60,
            "resources": {"limits": {"memory": "1Gi"}},
            "image": "other",
        }
    )
    assert spec.place == Volume("backups", "a/b")
    assert (spec.verifies, spec.deletes_files, spec.backoff_limit) == (False, True, 0)
    assert (spec.attempt_s, spec.image) == (60, "other")
    assert spec.resources == {"limits": {"memory": "1Gi"}}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"to": VOLUME}, "spec.store"),
        ({"store": "cache"}, "spec.to"),
        ({"store": "cache", "to": {}}, "spec.to"),
        ({"store": "cache", "to": VOLUME | S3}, "spec.to"),
        ({"store": "cache", "to": {"volume": {}}}, "spec.to.volume.claimName"),
        (
            {"store": "cache", "to": {"volume": {"claimName": "a", "directory": "../b"}}},
            "spec.to.volume.directory",
        ),
        (
            {"store": "cache", "to": {"volume": {"claimName": "a", "directory": "x/summary"}}},
            "spec.to.volume.directory",
        ),
        ({"store": "cache", "to": {"s3": {"uri": "http://x"}}}, "spec.to.s3.uri"),
        ({"store": "cache", "to": {"s3": {"uri": "s3://b/a-summary"}}}, "spec.to.s3.uri"),
        ({"store": "cache", "to": {"s3": {"uri": "s3://b/a*"}}}, "spec.to.s3.uri"),
        (
            {"store": "cache", "to": {"s3": {"uri": "s3://bucket", "endpoint": "a b"}}},
            "spec.to.s3.endpoint",
        ),
        ({"store": "cache", "to": VOLUME, "deletionPolicy": "Keep"}, "spec.deletionPolicy"),
        ({"store": "cache", "to": S3, "deletionPolicy": "Delete"}, "spec.deletionPolicy"),
        ({"store": "cache", "to": VOLUME, "backoffLimit": -1}, "spec.backoffLimit"),
        ({"store": "cache", "to": VOLUME, "timeoutSeconds": 0}, "spec.timeoutSeconds"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_backup_that_is_wrong_names_the_field(value: dict[str, Any], path: str) -> None:
    assert any(each.startswith(f"{path}:") for each in problems(read_backup, value))


def test_files_of_a_schedule_go_with_their_backups_but_not_from_a_bucket() -> None:
    schedule = {"store": "cache", "schedule": "0 3 * * *", "template": {"to": VOLUME}}
    assert read_schedule(schedule).backup.deletes_files
    assert not read_schedule({**schedule, "template": {"to": S3}}).backup.deletes_files
    kept = {"to": VOLUME, "deletionPolicy": "Retain"}
    assert not read_schedule({**schedule, "template": kept}).backup.deletes_files


@pytest.mark.parametrize(
    ("age", "seconds"), [("90s", 90), ("12h", 43_200), ("30d", 2_592_000), ("8w", 4_838_400)]
)
def test_ages_have_units(age: str, seconds: int) -> None:
    value = {"store": "c", "schedule": "0 3 * * *", "template": {"to": VOLUME}}
    assert read_schedule({**value, "retention": {"maxAge": age}}).max_age_s == seconds


def test_a_schedule_that_is_wrong_names_each_field() -> None:
    value = {"schedule": "61 * * * *", "template": {}, "retention": {"maxAge": "long", "keep": -1}}
    found = "\n".join(problems(read_schedule, value))
    for path in (
        "spec.schedule",
        "spec.store",
        "spec.template.to",
        "spec.retention.maxAge",
        "spec.retention.keep",
    ):
        assert path in found


def restore(**value: Any) -> RestoreWish | None:
    return read_spec({"everfly": {"restoreFrom": value}}).extras.restore


def test_a_store_may_begin_with_a_backup_or_with_a_snapshot_somewhere() -> None:
    assert restore(backup="nightly-1") == RestoreWish("nightly-1")
    on_volume = restore(volume={"claimName": "df-cache-0", "basename": "dump-2026-11-24T12:00:00"})
    assert on_volume is not None
    assert on_volume.snapshot is not None
    assert path_of(on_volume.snapshot) == "/backup/dump-2026-11-24T12:00:00-summary.dfs"
    in_bucket = restore(s3={"uri": "s3://bucket/x/", "basename": "dump", "secretName": "keys"})
    wanted = Snapshot(Bucket("s3://bucket/x", "keys"), "dump")
    assert in_bucket == RestoreWish(snapshot=wanted)
    assert path_of(wanted) == "s3://bucket/x/dump-summary.dfs"
    assert read_spec({}).extras.restore is None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"backup": "a", "s3": {"uri": "s3://bucket", "basename": "b"}},
        {"backup": "Not A Name"},
        {"volume": {"claimName": "a"}},
        {"volume": {"claimName": "a", "basename": "b/../c"}},
        {"s3": {"uri": "s3://bucket", "basename": "dump-summary"}},
    ],
    ids=str,
)
def test_a_restore_that_is_wrong_names_the_field(value: dict[str, Any]) -> None:
    found = problems(read_spec, {"everfly": {"restoreFrom": value}})
    assert all(each.startswith("spec.everfly.restoreFrom") for each in found)


def test_the_files_are_what_the_generator_writes() -> None:
    assert {file: definition_text(file) for file in BACKUP_FILES} == backup_yamls()


def test_the_definitions_keep_every_field(client: Client) -> None:
    backup = {
        "store": "cache",
        "to": S3,
        "verify": False,
        "deletionPolicy": "Retain",
        "backoffLimit": 1,
        "timeoutSeconds": 60,
        "resources": {"limits": {"memory": "1Gi"}},
        "image": "other",
    }
    item = client.create(BACKUP({"metadata": {"name": "b"}, "spec": backup}))
    assert item["spec"] == backup
    template = {key: value for key, value in backup.items() if key != "store"}
    schedule = {
        "store": "cache",
        "schedule": "0 3 * * *",
        "suspend": True,
        "startingDeadlineSeconds": 5,
        "retention": {"keep": 3, "maxAge": "30d"},
        "template": template,
    }
    item = client.create(SCHEDULE({"metadata": {"name": "s"}, "spec": schedule}))
    assert item["spec"] == schedule
    wish = {"restoreFrom": {"volume": {"claimName": "a", "directory": "d", "basename": "b"}}}
    item = client.create(
        DRAGONFLY.from_dict({"metadata": {"name": "d"}, "spec": {"everfly": wish}})
    )
    assert item["spec"]["everfly"] == wish


@pytest.mark.parametrize(
    "spec",
    [{"to": VOLUME}, {"store": "cache"}, {"store": "cache", "to": {"volume": {}}}],
    ids=str,
)
def test_a_backup_without_its_main_fields_is_refused_by_the_server(
    client: Client, spec: dict[str, Any]
) -> None:
    with pytest.raises(ApiError) as refusal:
        client.create(BACKUP({"metadata": {"name": "b"}, "spec": spec}))
    assert refusal.value.status.code == 422


def test_no_text_of_a_definition_is_yaml_that_refers_to_itself() -> None:
    for file in BACKUP_FILES:
        assert "&id" not in definition_text(file)
        assert yaml.safe_load(definition_text(file))["spec"]["group"] == "everfly.dev"
