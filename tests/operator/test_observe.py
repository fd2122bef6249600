"""What objects of the API server mean for a data store."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from everfly.core.group_view import Contact, Facts, GroupView, Member, Memory, Service
from everfly.core.model import Address, Instant, Role
from everfly.operator import names
from everfly.operator.apiserver.sight import (
    HostSight,
    PodSight,
    SetSight,
    StoreSight,
    host_sight,
    pod_sight,
    set_sight,
    store_sight,
)
from everfly.operator.observe import Observation, is_ours, ordinal_of, view_of
from everfly.operator.probe import Reading
from everfly.operator.wishes.spec import read_spec

GOOD_HOST = HostSight("zone-a", is_ready=True, is_leaving=False)


def pod_object(**changes: Any) -> dict[str, Any]:
    item: dict[str, Any] = {
        "metadata": {
            "name": "cache-1",
            "namespace": "n",
            "uid": "u1",
            "resourceVersion": "5",
            "labels": {
                "app": "cache",
                "role": "replica",
                "master-ip": "10.0.0.9",
                "controller-revision-hash": "r2",
            },
            "annotations": {names.ANNOTATION_LED_BY: "10.0.0.9"},
            "ownerReferences": [{"uid": "set", "controller": True}],
        },
        "spec": {"nodeName": "node-a"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [
                {"type": "ContainersReady", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "containerStatuses": [
                {"name": "dragonfly", "restartCount": 2, "state": {"running": {}}}
            ],
        },
    }
    for path, value in changes.items():
        part = item
        *way, last = path.split("__")
        for key in way:
            part = part.setdefault(key, {})
        part[last] = value
    return item


def set_object(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "cache", "namespace": "n", "uid": "set", "generation": 3,
                     "ownerReferences": [{"uid": "store", "controller": True}]},
        "spec": {"replicas": 3, "serviceName": "cache"} | spec,
        "status": {"observedGeneration": 3, "replicas": 3, "updateRevision": "r2"},
    }  # fmt: skip


def store_object(
    annotations: Mapping[str, str] | None = None, spec: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "metadata": {"name": "cache", "namespace": "n", "uid": "store", "resourceVersion": "9",
                     "generation": 1, "annotations": dict(annotations or {})},
        "spec": {"replicas": 3} | dict(spec or {}),
    }  # fmt: skip


def seen(
    pod: PodSight | None = None, host: HostSight | None = GOOD_HOST, **changes: Any
) -> GroupView:
    store: StoreSight = store_sight(store_object())
    base = Observation(
        store=store,
        spec=read_spec(store.spec),
        owned_set=set_sight(set_object()),
        pods=(pod or pod_sight(pod_object()),),
        readings={},
        hosts=lambda _: host,
        sees_hosts=True,
    )
    return view_of(replace(base, **changes), 7, Memory())


def member(*args: Any, **changes: Any) -> Member:
    (found,) = seen(*args, **changes).members
    return found


def test_a_pod_becomes_a_member_with_all_that_is_known_of_it() -> None:
    facts = Facts(Role.REPLICA, "h")
    reading = Reading(facts, Contact(Instant(5)), Instant(3))
    assert member(readings={"u1": reading}) == Member(
        name="cache-1",
        ordinal=1,
        address=Address("10.0.0.1", 9999),
        zone="zone-a",
        incarnation="u1/2",
        facts=facts,
        contact=Contact(Instant(5)),
        link_down_since=Instant(3),
        service=Service.REPLICA,
        led_by="10.0.0.9",
    )


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"metadata__deletionTimestamp": "2026-01-01T00:00:00Z"}, "is_terminating", True),
        ({"status__podIP": ""}, "address", None),
        ({"metadata__labels__controller-revision-hash": "r1"}, "is_current", False),
        ({"status__phase": "Failed"}, "is_process_gone", True),
        ({"metadata__labels__role": "nonsense"}, "service", Service.NONE),
        ({"metadata__labels__master-ip": "10.0.0.8"}, "led_by", ""),
    ],
)
def test_what_a_pod_shows_counts(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(member(pod_sight(pod_object(**changes))), field) == value


@pytest.mark.parametrize(
    ("container", "is_gone"),
    [
        ({"state": {"terminated": {"exitCode": 0}}}, True),
        ({"state": {"waiting": {}}, "lastState": {"terminated": {}}}, True),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, False),
        ({"state": {"running": {}}, "lastState": {"terminated": {}}}, False),
    ],
)
def test_a_process_is_gone_when_the_platform_says_that_it_ended(
    container: dict[str, Any], is_gone: bool
) -> None:
    status = [{"name": "sidecar", "state": {"running": {}}}, {"name": "dragonfly", **container}]
    found = member(pod_sight(pod_object(status__containerStatuses=status)))
    assert found.is_process_gone is is_gone


def test_a_disruption_that_was_announced_counts_as_being_stopped() -> None:
    conditions = [{"type": "DisruptionTarget", "status": "True"}]
    assert member(pod_sight(pod_object(status__conditions=conditions))).is_terminating


@pytest.mark.parametrize(
    ("host", "sees_hosts", "pod_ready", "is_host_ready"),
    [
        (GOOD_HOST, True, "False", True),
        (replace(GOOD_HOST, is_ready=False), True, "True", False),
        (None, True, "True", False),
        (None, False, "True", True),
        (None, False, "False", False),
    ],
)
def test_a_lost_machine_is_known_by_itself_or_by_its_pods(
    host: HostSight | None, sees_hosts: bool, pod_ready: str, is_host_ready: bool
) -> None:
    conditions = [
        {"type": "ContainersReady", "status": "True"},
        {"type": "Ready", "status": pod_ready},
    ]
    pod = pod_sight(pod_object(status__conditions=conditions))
    assert member(pod, host, sees_hosts=sees_hosts).is_host_ready is is_host_ready


def test_a_gate_that_is_shut_is_no_lost_machine_and_is_opened_with_the_role() -> None:
    conditions = [
        {"type": "ContainersReady", "status": "True"},
        {"type": "Ready", "status": "False"},
        {"type": names.GATE, "status": "False"},
    ]
    gates = [{"conditionType": names.GATE}]
    pod = pod_sight(pod_object(status__conditions=conditions, spec__readinessGates=gates))
    found = member(pod, None, sees_hosts=False)
    assert found.is_host_ready
    assert found.led_by == ""


def test_which_revision_is_wanted_is_not_known_before_the_set_was_looked_at() -> None:
    old = pod_sight(pod_object(**{"metadata__labels__controller-revision-hash": "r1"}))
    late = set_object()
    late["metadata"]["generation"] = 4
    assert member(old, owned_set=set_sight(late)).is_current


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"metadata__ownerReferences": []}, False),
        ({"metadata__ownerReferences": [{"uid": "set", "controller": False}]}, False),
        ({"metadata__ownerReferences": [{"uid": "other", "controller": True}]}, False),
        ({"metadata__labels__app": "other"}, False),
    ],
)
def test_labels_alone_make_no_instance(changes: dict[str, Any], ours: bool) -> None:
    store, owned_set = store_sight(store_object()), set_sight(set_object())
    pod = pod_sight(pod_object(**changes))
    assert is_ours(pod, store, owned_set) is ours
    assert not is_ours(pod, store, None)


def test_what_people_ask_for_is_read_from_annotations() -> None:
    annotations = {
        names.SWITCH_TO: " cache-1 ",
        names.FENCED: "cache-1, cache-2",
        names.PAUSED: "TRUE",
        names.HIBERNATED: "no",
        names.ACCEPTED_LOSS: "always",
    }
    view = seen(store=store_sight(store_object(annotations)))
    assert view.intent.switch_to == "cache-1"
    assert view.intent.is_paused
    assert not view.intent.is_hibernated
    assert view.intent.accepts_loss_of == "always"
    assert view.members[0].is_fenced


def test_a_wrong_spec_keeps_what_runs_and_restarts_nobody() -> None:
    intent = seen(spec=None).intent
    assert (intent.replicas, intent.running, intent.may_restart) == (3, 3, False)


@pytest.mark.parametrize(
    ("snapshot", "has"),
    [
        (None, False),
        ({}, False),
        ({"persistentVolumeClaimSpec": {"accessModes": []}}, True),
        ({"existingPersistentVolumeClaimName": "disk"}, True),
        ({"dir": "s3://bucket/path"}, True),
        ({"dir": "/tmp/x"}, False),
    ],
)
def test_data_come_back_only_from_what_outlives_a_pod(
    snapshot: dict[str, Any] | None, has: bool
) -> None:
    store = store_sight(store_object(spec={"snapshot": snapshot} if snapshot is not None else {}))
    assert seen(store=store, spec=read_spec(store.spec)).intent.has_snapshots is has


def test_the_number_of_a_pod_is_at_its_end() -> None:
    assert ordinal_of("my-cache-12") == 12
    assert ordinal_of("cache") > 1000


@pytest.mark.parametrize(
    ("spec", "is_leaving"),
    [
        ({}, False),
        ({"unschedulable": True}, True),
        ({"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}, True),
        ({"taints": [{"key": "anything.else"}]}, False),
    ],
)
def test_a_machine_that_is_cordoned_or_condemned_is_leaving(
    spec: dict[str, Any], is_leaving: bool
) -> None:
    host = host_sight({"metadata": {"labels": {names.LABEL_ZONE: "z"}}, "spec": spec})
    assert host == HostSight("z", is_ready=False, is_leaving=is_leaving)


def test_an_absent_set_runs_nobody() -> None:
    absent: SetSight | None = None
    assert seen(owned_set=absent).intent.running == 0
