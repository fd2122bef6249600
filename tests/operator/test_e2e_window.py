"""When voluntary moves are made, and what a pod does that is told to stop."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY
from lightkube import Client
from lightkube.resources.core_v1 import Pod
from stage import Store, Writer, name_of, running, uid_of

from everfly.operator import names

NEWER = DRAGONFLY.rpartition(":")[0] + ":v1.40.0"


def images(store: Store) -> dict[str, str]:
    return {name_of(each): str(each.spec.containers[0].image) for each in store.pods() if each.spec}


def progressing(store: Store) -> dict[str, Any]:
    conditions = {each["type"]: each for each in store.status["conditions"]}
    return dict(conditions["Progressing"])


def well(store: Store, replicas: int) -> None:
    # While roles move there is now and then no primary, or more than one.
    store.wait(lambda: not store.why_unwell(replicas), 90)


def opening_in(minutes: int) -> tuple[dict[str, Any], datetime]:
    """Return a window that opens once, at the full minute that many minutes from now."""
    opens = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=minutes)
    schedule = f"{opens.minute} {opens.hour} {opens.day} {opens.month} *"
    return {"schedule": schedule, "duration": "30m"}, opens


def test_a_rollout_leaves_the_primary_until_the_window_opens(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        window, opens = opening_in(6 * 60)
        store.create(image=DRAGONFLY, everfly={"maintenanceWindow": window})
        well(store, 3)
        old = uid_of(store.primary())
        with Writer(store) as writer:
            store.change(image=NEWER)
            replicas = {"cache-1": NEWER, "cache-2": NEWER}
            store.wait(lambda: images(store) == {"cache-0": DRAGONFLY, **replicas}, 90)
            store.wait(lambda: progressing(store)["reason"] == "MaintenanceWindow", 60)
            said = progressing(store)["message"]
            assert "cache-0 is to be restarted" in said
            assert f"opens at {opens:%Y-%m-%dT%H:%M:00Z}" in said
            assert uid_of(store.primary()) == old
            # People's own orders do not wait.
            store.annotate(switchover="cache-1")
            store.wait(lambda: name_of(store.primary()) == "cache-1", 30)
            store.wait(lambda: images(store)["cache-0"] == NEWER, 60)
            well(store, 3)
        assert writer.lost(store.primary()) == []
        assert progressing(store)["reason"] == "Ready"


def test_the_window_opens_by_itself_and_the_rollout_ends(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        far, _ = opening_in(6 * 60)
        far["appliesTo"] = "All"
        store.create(replicas=2, image=DRAGONFLY, everfly={"maintenanceWindow": far})
        well(store, 2)
        store.change(image=NEWER)
        store.wait(lambda: progressing(store)["reason"] == "MaintenanceWindow", 30)
        assert "cache-1: to be restarted" in progressing(store)["message"]
        near, opens = opening_in(2)
        store.change(everfly={"maintenanceWindow": near})
        store.wait(lambda: f"{opens:%H:%M:00Z}" in progressing(store)["message"], 30)
        assert set(images(store).values()) == {DRAGONFLY}
        assert datetime.now(UTC) < opens
        store.wait(lambda: set(images(store).values()) == {NEWER}, 180)
        assert datetime.now(UTC) >= opens
        well(store, 2)


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store whose primary hands over before it stops."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(image=DRAGONFLY, everfly={"handOverOnStop": True})
        well(store, 3)
        yield store


def test_a_primary_that_is_deleted_again_and_again_hands_over_first(
    store: Store, client: Client
) -> None:
    with Writer(store) as writer:
        for _ in range(5):
            old = store.primary()
            client.delete(Pod, name_of(old))
            store.wait(lambda: name_of(store.primary()) != name_of(old), 30)  # noqa: B023 - awaited here
            well(store, 3)
    lost, gap = writer.lost(store.primary()), writer.longest_gap()
    print(f"{len(writer.acknowledged)} writes, {len(lost)} lost, {gap:.3f} s at most between two")  # noqa: T201 - shown with -s
    assert lost == []
    assert not writer.led_to_two
    assert gap <= 0.5
    assert "Failover" not in store.reasons()


def test_without_an_operator_a_primary_stops_after_a_bounded_wait(
    store: Store, client: Client
) -> None:
    assert store.operator is not None
    replica = next(each for each in store.labelled(names.ROLE_REPLICA))
    store.operator.stop()
    began = time.monotonic()
    client.delete(Pod, name_of(replica))
    store.wait(lambda: uid_of(store.pod(name_of(replica))) != uid_of(replica), 8)
    old = store.primary()
    began = time.monotonic()
    client.delete(Pod, name_of(old))
    store.wait(lambda: uid_of(store.pod(name_of(old))) != uid_of(old), 25)
    assert 9 < time.monotonic() - began < 20
    store.operator.restart()
    well(store, 3)
