"""What people see of a data store: what is in order in a word, what is not with its reason."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from everfly.operator.commands.picture import Material, facts_of, picture_of, table_of

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


def _store(*conditions: tuple[str, str, str, str], **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "cache", "namespace": "shop", "annotations": {}},
        "spec": {"replicas": 2},
        "status": {
            "phase": "Ready",
            "primary": "cache-1",
            "replicas": 2,
            "readyReplicas": 2,
            "lineage": {"history": "abcdef0123456789"},
            "record": {"epoch": 4},
            "pods": [
                {"name": "cache-0", "role": "replica", "ready": True, "healthy": True,
                 "zone": "zone-a"},
                {"name": "cache-1", "role": "master", "ready": True, "healthy": True,
                 "zone": "zone-b"},
            ],
            "conditions": [
                dict(zip(("type", "status", "reason", "message"), each, strict=True))
                for each in conditions
            ],
        } | status,
    }  # fmt: skip


def _pod(name: str, restarts: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": "host-7"},
        "status": {
            "podIP": "10.1.2.3",
            "startTime": "2030-01-01T09:00:00Z",
            "containerStatuses": [{"name": "dragonfly", "restartCount": restarts}],
        },
    }


def _shown(material: Material) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(picture_of(material, NOW))
    return out.getvalue()


def test_replicas_hang_from_the_primary() -> None:
    text = _shown(Material(_store(), pods=[_pod("cache-1", 0), _pod("cache-0", 2)]))
    lines = text.splitlines()
    assert "cache" in lines[0]
    assert "Ready" in lines[0]
    assert "epoch 4, history abcdef012345" in lines[0]
    assert "primary  cache-1  zone-b  host-7  10.1.2.3  up 3 h" in lines[1]
    assert "replica  cache-0" in lines[2]
    assert "up 3 h, 2 restarts" in lines[2]
    assert lines[2].index("replica") > lines[1].index("primary")


def test_without_a_primary_it_says_so() -> None:
    pods = [{"name": "cache-0", "role": "", "ready": False, "healthy": False, "fenced": True}]
    text = _shown(Material(_store(phase="Configuring", pods=pods)))
    assert "no primary in service" in text
    assert "out of service  cache-0" in text
    assert "not ready, does not do its part, fenced" in text


def test_only_conditions_that_are_wrong_are_told() -> None:
    text = _shown(
        Material(
            _store(
                ("Available", "True", "PrimaryServes", ""),
                ("Valid", "False", "Wrong", "spec.image: must be a text"),
                ("Degraded", "True", "ReplicaLinkDown", ""),
                ("Paused", "False", "No", ""),
                ("Monitored", "False", "NotAskedFor", ""),
                ("SecretRotation", "True", "Current", ""),
                ("Restored", "False", "Copying", "cache-0 copies"),
            )
        )
    )
    assert "Valid is false  Wrong: spec.image: must be a text" in text
    assert "Degraded is true  ReplicaLinkDown" in text
    assert "Available" not in text
    assert "Restored is false  Copying: cache-0 copies" in text
    for fine in ("Paused", "Monitored", "SecretRotation"):
        assert fine not in text


def test_all_in_order_is_one_line() -> None:
    text = _shown(Material(_store(("Available", "True", "PrimaryServes", ""))))
    assert "conditions: all in order" in text


def test_what_was_asked_for_and_what_grows_is_told() -> None:
    store = _store()
    store["metadata"]["annotations"] = {"everfly.dev/paused": "true", "everfly.dev/fenced": "c-2"}
    claim = {
        "metadata": {"name": "df-cache-0"},
        "spec": {"resources": {"requests": {"storage": "2Gi"}}},
        "status": {"capacity": {"storage": "1Gi"}},
    }
    text = _shown(Material(store, claims=[claim], unreadable=["events"]))
    assert "paused: nothing is changed" in text
    assert "fenced c-2" in text
    assert "disk df-cache-0  1Gi  2Gi wanted" in text
    assert "not shown, because you may not read them: events" in text


def test_the_newest_events_come_last() -> None:
    events = [
        {"lastTimestamp": f"2030-01-01T11:{minute:02}:00Z", "type": "Warning",
         "reason": "PrimaryChange", "message": f"number {minute}"}
        for minute in range(30)
    ]  # fmt: skip
    lines = _shown(Material(_store(), events=events)).splitlines()
    assert "31 min ago" in lines[-1]
    assert "number 29" in lines[-1]
    assert "number 21" not in "".join(lines)


def test_the_json_form_has_the_same_parts() -> None:
    facts = facts_of(Material(_store(), pods=[_pod("cache-1", 3)]))
    assert json.loads(json.dumps(facts))["replicas"] == {
        "wanted": 2, "running": 2, "ready": 2, "updated": 0,
    }  # fmt: skip
    pods: Any = facts["pods"]
    assert [each["restarts"] for each in pods] == [0, 3]
    assert pods[1]["host"] == "host-7"


@pytest.mark.parametrize("status", [{}, {"conditions": "nonsense", "pods": [1]}])
def test_a_store_that_nobody_has_seen_yet_is_shown_too(status: dict[str, Any]) -> None:
    store = {"metadata": {"name": "new", "namespace": "shop"}, "status": status}
    assert "not seen by an operator yet" in _shown(Material(store))
    out = io.StringIO()
    Console(file=out, width=160).print(table_of([store]))
    assert "new" in out.getvalue()
    assert facts_of(Material(store))["phase"] == ""
