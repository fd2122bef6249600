"""Who is told to be the primary, and what is told between two looks."""

from dataclasses import replace

import pytest

from everfly.core.model import GroupName
from everfly.front.faces import pod_face, store_face
from everfly.front.picture import Picture, PodFace, StoreFace, picture_of
from everfly.front.tidings import tidings

PRIMARY, REPLICA = "master", "replica"
GROUP = GroupName("cache")


def pod(number: int, role: str, **changes: object) -> PodFace:
    face = PodFace(
        name=f"cache-{number}",
        ip=f"10.0.0.{number}",
        run_id=f"{number}" * 40,
        app="cache",
        owner="cache",
        role=role,
        is_ready=True,
    )
    return replace(face, **changes)  # type: ignore[arg-type]  # a test's own words


STORE = StoreFace(uid="u", primary="cache-0", epoch=4, move_to="", switch_to="")
THREE = (pod(0, PRIMARY), pod(1, REPLICA), pod(2, REPLICA))


def seen(store: StoreFace = STORE, *pods: PodFace, before: Picture | None = None) -> Picture:
    found = picture_of(store, pods or THREE, before)
    assert found is not None
    return found


PEACE = seen()


def told(before: Picture | None, after: Picture | None) -> list[str]:
    return [f"{each.event.wire} {each.payload}" for each in tidings(GROUP, before, after)]


def test_the_pod_that_the_service_leads_to_is_the_primary() -> None:
    assert (PEACE.primary.ip, PEACE.primary.serves, PEACE.epoch) == ("10.0.0.0", True, 4)
    assert [each.ip for each in PEACE.replicas] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    "changes",
    [{"role": ""}, {"is_ready": False}, {"role": REPLICA}],
    ids=["without its label", "not ready", "replica"],
)
def test_a_primary_out_of_service_is_shown_as_down(changes: dict[str, object]) -> None:
    after = seen(STORE, replace(THREE[0], **changes), *THREE[1:], before=PEACE)  # type: ignore[arg-type]
    assert (after.primary.ip, after.primary.serves) == ("10.0.0.0", False)


def test_a_primary_whose_pod_is_gone_is_remembered_as_down() -> None:
    after = seen(STORE, *THREE[1:], before=PEACE)
    assert (after.primary.ip, after.primary.serves) == ("10.0.0.0", False)


def test_the_last_primary_of_another_resource_of_the_same_name_is_none_of_ours() -> None:
    assert picture_of(replace(STORE, uid="new", primary=""), THREE[1:], PEACE) is None


def test_whoever_was_written_down_is_shown_as_down_by_a_front_that_just_started() -> None:
    after = seen(STORE, replace(THREE[0], role=""), *THREE[1:])
    assert (after.primary.ip, after.primary.serves) == ("10.0.0.0", False)


def test_a_resource_that_never_had_a_primary_is_no_group() -> None:
    assert picture_of(replace(STORE, primary=""), [pod(0, "")], None) is None


def test_a_pod_that_only_wears_the_labels_is_not_believed() -> None:
    stray = pod(9, PRIMARY, owner="", name="stray")
    assert seen(STORE, *THREE, stray) == PEACE
    other = pod(9, PRIMARY, owner="another-set")
    assert seen(STORE, *THREE, other) == PEACE


def test_of_two_labelled_pods_the_one_that_is_written_down_counts() -> None:
    two = (THREE[0], pod(1, PRIMARY), THREE[2])
    assert seen(STORE, *two).primary.name == "cache-0"
    assert seen(replace(STORE, move_to="cache-1"), *two).primary.name == "cache-1"
    nobody = seen(replace(STORE, primary="cache-2"), *two)
    assert (nobody.primary.name, nobody.primary.serves) == ("cache-2", False)


def test_a_pod_without_an_address_is_not_shown() -> None:
    assert len(seen(STORE, *THREE[:2], pod(2, "", ip="")).replicas) == 1


def test_a_replica_serves_by_its_label_while_it_is_ready() -> None:
    pods = (THREE[0], pod(1, REPLICA, is_ready=False), pod(2, ""), pod(3, REPLICA))
    assert [each.serves for each in seen(STORE, *pods).replicas] == [False, False, True]


def test_the_epoch_of_a_move_is_told_only_with_the_new_primary() -> None:
    moving = replace(STORE, move_to="cache-1", epoch=5)
    assert seen(moving).epoch == 4
    between = seen(moving, replace(THREE[0], role=""), *THREE[1:], before=PEACE)
    assert (between.epoch, between.is_moving) == (4, True)
    after = (replace(THREE[0], role=""), pod(1, PRIMARY), THREE[2])
    assert seen(moving, *after, before=between).epoch == 5


def test_a_failover_is_told_as_a_sentinel_tells_it() -> None:
    moving = replace(STORE, move_to="cache-1", epoch=5)
    out = (replace(THREE[0], role=""), *THREE[1:])
    led = (replace(THREE[0], role=""), pod(1, PRIMARY), THREE[2])
    first = seen(moving, before=PEACE)
    second = seen(moving, *out, before=first)
    third = seen(moving, *led, before=second)
    last = seen(replace(STORE, primary="cache-1", epoch=5), *led, before=third)
    assert told(PEACE, first) == ["+new-epoch 5", "+try-failover master cache 10.0.0.0 6379"]
    assert told(first, second) == [
        "+sdown master cache 10.0.0.0 6379",
        "+odown master cache 10.0.0.0 6379 #quorum 1/1",
    ]
    assert told(second, third)[0] == "+switch-master cache 10.0.0.0 6379 10.0.0.1 6379"
    assert told(third, last) == ["+failover-end master cache 10.0.0.1 6379"]


def test_a_failover_that_was_seen_at_once_is_told_in_the_right_order() -> None:
    after = seen(
        replace(STORE, primary="cache-1", epoch=5),
        replace(THREE[0], role=REPLICA), pod(1, PRIMARY), THREE[2], before=PEACE,
    )  # fmt: skip
    assert told(PEACE, after) == [
        "+switch-master cache 10.0.0.0 6379 10.0.0.1 6379",
        "+slave slave 10.0.0.0:6379 10.0.0.0 6379 @ cache 10.0.0.1 6379",
    ]


def test_a_move_that_comes_to_nothing_is_told_as_given_up() -> None:
    moving = seen(replace(STORE, move_to="cache-1", epoch=5), before=PEACE)
    stays = seen(replace(STORE, epoch=5), before=moving)
    assert told(moving, stays) == ["-failover-abort-slave-timeout master cache 10.0.0.0 6379"]


def test_a_primary_that_comes_back_is_told_as_up() -> None:
    out = seen(STORE, replace(THREE[0], is_ready=False), *THREE[1:], before=PEACE)
    assert told(out, seen(before=out)) == [
        "-sdown master cache 10.0.0.0 6379",
        "-odown master cache 10.0.0.0 6379",
    ]


def test_replicas_that_come_go_and_come_back_are_told() -> None:
    without = seen(STORE, *THREE[:2])
    about = "slave 10.0.0.2:6379 10.0.0.2 6379 @ cache 10.0.0.0 6379"
    assert told(without, PEACE) == [f"+slave {about}"]
    assert told(PEACE, without) == [f"+sdown {about}"]
    silent = seen(STORE, *THREE[:2], replace(THREE[2], is_ready=False))
    assert told(PEACE, silent) == [f"+sdown {about}"]
    assert told(silent, PEACE) == [f"-sdown {about}"]
    assert told(silent, without) == []


def test_groups_that_begin_and_end_are_told() -> None:
    assert told(None, PEACE)[0] == "+monitor master cache 10.0.0.0 6379 quorum 1"
    assert told(PEACE, None) == ["-monitor master cache 10.0.0.0 6379"]
    anew = seen(replace(STORE, uid="new"))
    assert [line.split()[0] for line in told(PEACE, anew)] == [
        "-monitor", "+monitor", "+slave", "+slave",
    ]  # fmt: skip
    assert told(PEACE, PEACE) == []
    assert told(None, None) == []


def item(**changes: object) -> dict[str, object]:
    metadata = {
        "name": "cache-0", "uid": "of-the-pod", "labels": {"app": "cache", "role": PRIMARY},
        "ownerReferences": [
            {"kind": "Team", "name": "data"},
            {"kind": "StatefulSet", "name": "cache", "uid": "s", "controller": True},
        ],
    }  # fmt: skip
    status = {"podIP": "10.0.0.0", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": metadata | changes, "spec": {}, "status": status}


def test_a_pod_is_read_as_the_service_sees_it() -> None:
    face = pod_face(item())
    assert (face.name, face.ip, face.app, face.owner) == ("cache-0", "10.0.0.0", "cache", "cache")
    assert (face.role, face.is_ready, len(face.run_id)) == (PRIMARY, True, 40)
    assert not pod_face(item(deletionTimestamp="2026-01-01T00:00:00Z")).is_ready
    assert pod_face(item(ownerReferences=[])).owner == ""
    assert pod_face(item(uid="another")).run_id != face.run_id


def test_a_resource_is_read_with_its_record_and_what_people_ask() -> None:
    record = {"epoch": 7, "move": {"to": "cache-1", "incarnation": "x", "epoch": 7}}
    face = store_face(
        {
            "metadata": {"uid": "u", "annotations": {"everfly.dev/switchover": "*"}},
            "status": {"primary": "cache-0", "record": record},
        }
    )
    assert face == StoreFace("u", "cache-0", 7, "cache-1", "*")
    assert store_face({"metadata": {"uid": "u"}}) == StoreFace("u", "", 0, "", "")
