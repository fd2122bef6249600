"""What becomes of disks: sizes read, changes judged, notes read back, orders understood. Pure."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_observe import member, pod_object, seen, set_object, store_object

from everfly.core.group_view import (
    Contact,
    Facts,
    GroupView,
    Intent,
    Lineage,
    Member,
    Move,
    Rebuild,
    Record,
)
from everfly.core.model import Address, Epoch, Instant, Role
from everfly.operator import names
from everfly.operator.apiserver.sight import pod_sight, set_sight, store_sight
from everfly.operator.chores.volumes_unused import histories_held, is_smaller_and_well
from everfly.operator.observe import is_ours
from everfly.operator.resources.owner import Owner
from everfly.operator.resources.stateful_set import stateful_set
from everfly.operator.volumes.claims import (
    HISTORY,
    ClaimChange,
    ClaimSight,
    are_grown,
    change_of,
    claim_sight,
    number_of,
)
from everfly.operator.volumes.rebuilds import Begun, RebuildOrder, begun_of, orders_of, orders_text
from everfly.operator.volumes.remake import without_nothing
from everfly.operator.volumes.remake_note import Remake, remake_fields, remake_of
from everfly.operator.wishes.quantity import bytes_of
from everfly.operator.wishes.spec import SpecError, read_spec

GI = 1024**3


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1Gi", GI), ("1024Mi", GI), ("1.5Gi", 3 * GI // 2), ("500M", 500_000_000), ("1e3", 1000),
        ("2E3", 2000), ("1E", 10**18), (1024, 1024), ("100m", 1), ("0", 0), (".5k", 500),
        ("", None), ("Gi", None), ("1 Gi", None), ("1GiB", None), (True, None), (None, None),
        ("1" * 65, None), ("1e999", 10**999), ("1e9999", None), (["1Gi"], None),
    ],
)  # fmt: skip
def test_quantities_are_read_as_kubernetes_does(text: Any, amount: int | None) -> None:
    assert bytes_of(text) == amount


def template(name: str = "df", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    told = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": name}, "spec": told | spec}


def filled_in(name: str = "df", size: str = "1Gi") -> dict[str, Any]:
    """As the API server shows it."""
    made = template(name, size, volumeMode="Filesystem", storageClassName="fast")
    return {**made, "status": {"phase": "Pending"}}


def test_the_same_with_defaults_filled_in_is_no_change() -> None:
    for wanted in (template(), template(size="1024Mi"), template(storageClassName="fast")):
        change = change_of([wanted], [filled_in()])
        assert not change.is_any
        assert change.refused == []
        assert change.templates == [filled_in()]


def test_a_disk_grows_and_keeps_all_else_that_it_is() -> None:
    change = change_of([template(size="3Gi")], [filled_in()])
    assert (change.grown, change.added, change.refused) == (["df"], [], [])
    assert change.templates == [filled_in(size="3Gi")]


def test_a_disk_is_added_beside_the_others() -> None:
    change = change_of([template(), template("tiering")], [filled_in()])
    assert (change.grown, change.added, change.refused) == ([], ["tiering"], [])
    assert change.templates == [filled_in(), template("tiering")]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([template(size="1Mi")], "disks do not shrink"),
        ([template(storageClassName="slow")], "storageClassName cannot be changed"),
        ([template(size="2Gi", accessModes=["ReadOnlyMany"])], "accessModes cannot be changed"),
        ([], "df cannot be taken away"),
    ],
)
def test_what_would_lose_data_or_cannot_be_done_is_refused_with_its_reason(
    wanted: list[Any], words: str
) -> None:
    change = change_of(wanted, [filled_in()])
    assert not change.is_any
    assert change.templates == [filled_in()]
    (reason,) = change.refused
    assert words in reason


def test_one_disk_that_cannot_change_holds_up_no_other() -> None:
    change = change_of(
        [template(size="1Mi"), template("tiering", "9Gi")], [filled_in(), filled_in("tiering")]
    )
    assert change.grown == ["tiering"]
    assert len(change.refused) == 1
    assert change.templates == [filled_in(), filled_in("tiering", "9Gi")]


def claim_object(number: int = 0, given: str = "1Gi", **metadata: Any) -> dict[str, Any]:
    waits = {"type": "FileSystemResizePending", "status": "True", "message": "for the node"}
    return {
        "metadata": {"name": f"df-cache-{number}", "uid": f"c{number}",
                     "labels": {"app": "cache"}} | metadata,
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "2Gi"}}},
        "status": {"capacity": {"storage": given}, "conditions": [waits]},
    }  # fmt: skip


def test_a_claim_shows_what_it_asks_for_what_it_has_and_what_is_in_the_way() -> None:
    told = claim_object(annotations={HISTORY: "h"}, ownerReferences=[{"uid": "s"}])
    assert claim_sight(told) == ClaimSight(
        name="df-cache-0", uid="c0", app="cache", storage_class="fast", asked=2 * GI, given=GI,
        troubles=("FileSystemResizePending for the node",), is_terminating=False,
        owners=("s",), history="h",
    )  # fmt: skip
    unbound = claim_sight({"metadata": {"name": "x", "uid": "u", "deletionTimestamp": "now"}})
    assert (unbound.asked, unbound.given, unbound.is_terminating) == (0, 0, True)


def test_disks_have_grown_when_those_of_all_pods_that_exist_have() -> None:
    change = change_of([template(size="2Gi")], [filled_in()])
    claims = [claim_sight(claim_object(n, size)) for n, size in enumerate(("2Gi", "2Gi", "1Gi"))]
    assert not are_grown(change, claims, "cache", frozenset({0, 1, 2}))
    assert are_grown(change, claims, "cache", frozenset({0, 1}))
    assert are_grown(ClaimChange(), claims, "cache", frozenset({0, 1, 2}))


@pytest.mark.parametrize(
    ("claim", "number"),
    [
        ("df-cache-0", 0), ("df-cache-12", 12), ("df-cache", None), ("df-cache-", None),
        ("df-cache-x", None), ("df-cache-2-0", None), ("tiering-cache-0", None),
        ("df-cachet-0", None), ("df-cache-0-1", None),
    ],
)  # fmt: skip
def test_the_pod_of_a_claim_is_known_by_its_name(claim: str, number: int | None) -> None:
    assert number_of(claim, "df", "cache") == number


OWNER = {"manager": "everfly-operator", "operation": "Apply", "fieldsV1": {"f:spec": {".": {}}}}
SPEC = {"replicas": 3, "serviceName": "cache"}
REMAKE = Remake("old", "cache-1", SPEC, {"cache-1": "u1"}, [OWNER])


def well(**changes: Any) -> GroupView:
    """A group of two in order, whose primary was promoted from another history."""
    here = Address("10.0.0.0", 9999)
    seen_now = Contact(Instant(1))
    facts = Facts(Role.PRIMARY, "now", promoted_from="before")
    primary = Member("cache-0", 0, here, facts=facts, contact=seen_now)
    facts = Facts(Role.REPLICA, "now", 5, here, is_link_up=True)
    replica = Member("cache-1", 1, Address("10.0.0.1", 9999), facts=facts, contact=seen_now)
    record = Record("cache-0", Lineage("now", history_before="older"))
    group = GroupView((primary, replica), record, Intent(replicas=2, running=2))
    return replace(group, **changes)


def test_a_disk_is_known_to_be_spare_only_by_the_histories_that_the_primary_went_on_from() -> None:
    # What the record calls the history before may have been lost: a wake begins another.
    assert histories_held(well()) == {"now", "before"}
    assert histories_held(well(record=Record("cache-0"))) == {"before"}
    assert histories_held(GroupView(())) == set()


MOVING = Record("cache-0", move=Move("cache-1", "", "cache-0", is_planned=True, epoch=Epoch(1)))
LAGGING = Member("cache-1", 1, None)


@pytest.mark.parametrize(
    ("changes", "is_well"),
    [
        ({}, True),
        ({"intent": Intent(replicas=2, running=2, is_hibernated=True)}, False),
        ({"intent": Intent(replicas=0, running=0)}, False),
        ({"intent": Intent(replicas=2, running=3)}, False),
        ({"intent": Intent(replicas=3, running=3)}, False),
        ({"record": MOVING}, False),
        ({"members": (well().members[0], LAGGING)}, False),
        ({"members": ()}, False),
    ],
)
def test_disks_go_only_when_the_smaller_group_is_awake_and_in_order(
    changes: dict[str, Any], *, is_well: bool
) -> None:
    owned_set = set_sight({**set_object(), "status": {"observedGeneration": 3, "replicas": 2}})
    assert is_smaller_and_well(well(**changes), owned_set) is is_well
    shrinking = set_sight({**set_object(), "status": {"observedGeneration": 3, "replicas": 4}})
    assert not is_smaller_and_well(well(**changes), shrinking)
    unseen = set_sight({**set_object(), "status": {"observedGeneration": 2, "replicas": 2}})
    assert not is_smaller_and_well(well(**changes), unseen)


def noted(remake: Remake | None = REMAKE) -> Any:
    return store_sight({**store_object(), "status": remake_fields(remake)})


def test_a_note_is_read_back_as_it_was_written_and_nonsense_is_none() -> None:
    assert remake_of(remake_fields(REMAKE)) == REMAKE
    assert remake_of(remake_fields(None)) is None
    assert remake_of({"record": {"remake": "x"}}) is None
    odd = remake_of({"record": {"remake": {"set": "s", "pods": {"a": 1}, "spec": 3}}})
    assert odd == Remake("s", "", {}, {}, [])
    assert odd.replicas == 0


def test_what_is_null_is_left_out_so_that_a_note_reads_back() -> None:
    told = {"a": None, "b": {"c": None, "d": [{"e": None, "f": 1}, 2]}, "g": ""}
    assert without_nothing(told) == {"b": {"d": [{"f": 1}, 2]}, "g": ""}


@pytest.mark.parametrize(
    ("changes", "is_instance"),
    [
        ({"metadata__ownerReferences": []}, True),
        ({"metadata__ownerReferences": [{"uid": "old", "controller": True}]}, True),
        ({"metadata__ownerReferences": [{"uid": "stranger", "controller": True}]}, False),
        ({"metadata__ownerReferences": [], "metadata__uid": "u2"}, False),
        ({"metadata__ownerReferences": [], "metadata__name": "cache-2"}, False),
        ({"metadata__ownerReferences": [], "metadata__labels__app": "other"}, False),
    ],
)
def test_while_the_set_is_made_anew_its_pods_stay_instances(
    changes: dict[str, Any], *, is_instance: bool
) -> None:
    pod = pod_sight(pod_object(**changes))
    assert is_ours(pod, noted(), None) is is_instance
    assert is_ours(pod, noted(), set_sight(set_object())) is is_instance
    assert not is_ours(pod, noted(None), None)


def test_while_there_is_no_set_the_group_is_as_large_as_before() -> None:
    assert seen(store=noted(), owned_set=None).intent.running == 3
    assert seen(store=noted(None), owned_set=None).intent.running == 0


def test_orders_to_rebuild_are_read_and_written_back() -> None:
    annotations = {names.REBUILD: " cache-1, cache-2:force,,"}
    orders = orders_of(annotations)
    assert orders == (RebuildOrder("cache-1", False), RebuildOrder("cache-2", True))
    assert orders_text(orders) == "cache-1,cache-2:force"
    assert orders_text(()) is None
    assert orders_of({}) == ()
    begun = Begun("cache-1", "u1", ("c1", "c2"))
    assert begun_of({names.REBUILDING: begun.text()}) == begun
    assert begun_of({names.REBUILDING: "cache-1"}) is None


@pytest.mark.parametrize(
    ("annotations", "rebuild"),
    [
        ({}, None),
        ({names.REBUILD: "cache-2"}, None),
        ({names.REBUILD: "cache-2,cache-1"}, Rebuild()),
        ({names.REBUILD: "cache-1:force"}, Rebuild(is_forced=True)),
        ({names.REBUILD: "cache-1", names.REBUILDING: "cache-1 u1"}, Rebuild(is_begun=True)),
        ({names.REBUILDING: "cache-1 u1 c1"}, Rebuild(is_begun=True)),
        ({names.REBUILD: "cache-1", names.REBUILDING: "cache-1 u0"}, Rebuild()),
        ({names.REBUILDING: "cache-1 u0"}, None),
    ],
)
def test_only_the_very_pod_whose_disk_is_given_up_is_to_go(
    annotations: dict[str, str], rebuild: Rebuild | None
) -> None:
    assert member(store=store_sight(store_object(annotations))).rebuild == rebuild


def test_what_waits_for_the_window_is_known_by_its_moment() -> None:
    window = {"schedule": "0 3 * * *", "duration": "1h", "appliesTo": "All"}
    spec = read_spec({"replicas": 3, "everfly": {"maintenanceWindow": window}})
    intent = seen(spec=spec, voluntary_from=Instant(7)).intent
    assert (intent.voluntary_from, intent.restarts_wait) == (Instant(7), True)
    assert seen().intent.voluntary_from is None


def manifest(**everfly: Any) -> Any:
    spec = read_spec({"replicas": 3, "everfly": everfly})
    return stateful_set(spec, Owner("cache", "n", "u"), "image", "cache")["spec"]


def test_the_order_of_pods_is_in_the_manifest_only_where_it_is_asked_for() -> None:
    assert "podManagementPolicy" not in manifest()
    assert manifest(podManagement="Parallel")["podManagementPolicy"] == "Parallel"
    assert manifest(podManagement="OrderedReady")["podManagementPolicy"] == "OrderedReady"
    same = dict(manifest(podManagement="Parallel"))
    del same["podManagementPolicy"]
    assert same == manifest()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("podManagement", "Sideways"),
        ("handOverOnStop", "yes"),
        ("volumeRetention", {"whenScaled": "Perhaps"}),
        ("volumeRetention", {"whenDeleted": 3}),
    ],
)
def test_what_is_wrong_is_refused_with_the_path_of_the_field(field: str, value: Any) -> None:
    with pytest.raises(SpecError) as refused:
        read_spec({"everfly": {field: value}})
    (problem,) = refused.value.problems
    assert problem.startswith(f"spec.everfly.{field}")


def test_disks_stay_unless_people_say_otherwise() -> None:
    keep = read_spec({"everfly": {}}).extras.retention
    assert (keep.goes_with_pod, keep.goes_with_resource) == (False, False)
    told = {"volumeRetention": {"whenScaled": "Delete", "whenDeleted": "Retain"}}
    keep = read_spec({"everfly": told}).extras.retention
    assert (keep.goes_with_pod, keep.goes_with_resource) == (True, False)


def hook(**everfly: Any) -> str:
    (container,) = manifest(handOverOnStop=True, **everfly)["template"]["spec"]["containers"]
    shell, flag, script = container["lifecycle"]["preStop"]["exec"]["command"]
    assert (shell, flag) == ("/bin/sh", "-c")
    return str(script)


def test_pods_wait_for_a_hand_over_only_where_that_is_asked_for() -> None:
    (plain,) = manifest()["template"]["spec"]["containers"]
    assert "lifecycle" not in plain
    (asked,) = manifest(handOverOnStop=True)["template"]["spec"]["containers"]
    rest = {key: value for key, value in asked.items() if key != "lifecycle"}
    assert rest == plain


@pytest.mark.parametrize(("grace_s", "wait_s"), [(0, 10), (60, 10), (20, 10), (6, 3), (1, 1)])
def test_the_wait_leaves_half_of_the_time_for_the_end_itself(grace_s: int, wait_s: int) -> None:
    script = hook(terminationGracePeriodSeconds=grace_s)
    assert f"+ {wait_s}))" in script
    assert "localhost 9999" in script


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("role:master\\r\\nconnected_slaves:2\\r\\n", True),
        ("role:master\\r\\nconnected_slaves:10\\r\\n", True),
        ("role:master\\r\\nconnected_slaves:0\\r\\n", False),
        ("role:slave\\r\\nmaster_host:10.0.0.1\\r\\n", False),
        ("", False),
    ],
)
def test_the_hook_waits_while_a_primary_feeds_replicas_and_for_nothing_else(
    tmp_path: Path, said: str, *, waits: bool
) -> None:
    """The very script, with an `nc` that says this once and then what a replica says."""
    (tmp_path / "nc").write_text(
        f'#!/bin/sh\nread -r line\necho "$line" >> {tmp_path}/asked\n'
        f"[ -e {tmp_path}/second ] && printf 'role:slave\\r\\n' && exit\n"
        f": > {tmp_path}/second\nprintf '{said}'\n"
    )
    (tmp_path / "nc").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", hook()], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0
    asked = (tmp_path / "asked").read_text().split()
    assert len(asked) // 2 == (2 if waits else 1)
    assert "INFO" in asked
