"""What is read from a resource, and what is said about one that is wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.operator.crd.fields import SPEC
from everfly.operator.resources import Around, desired
from everfly.operator.resources.owner import Owner
from everfly.operator.wishes.spec import RESERVED_LABELS, SNAPSHOTS, SecretKey, SpecError, read_spec

INNER_NAMES = [
    "name", "key", "labels", "annotations", "dir", "cron", "persistentVolumeClaimSpec",
    "existingPersistentVolumeClaimName", "minAvailable", "maxUnavailable", "passwordFromSecret",
    "type", "nodePort", "networkPolicy", "clientsFrom", "metricsFrom", "replicaService",
    "preferredZones",
]  # fmt: skip


def problems_of(value: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        read_spec(value)
    return caught.value.problems


def test_an_empty_spec_is_no_pods_behind_the_upstream_defaults() -> None:
    spec = read_spec({})
    assert (spec.replicas, spec.image, spec.image_pull_policy) == (0, "", "Always")
    assert spec.has_network_policy
    assert not spec.has_readiness_gate
    assert spec.snapshot is None
    assert spec.service.type == ""


def test_null_counts_as_absent() -> None:
    nothing = dict.fromkeys(("replicas", "image", "args", "snapshot", "pdb", "everfly"))
    assert read_spec(nothing) == read_spec({})


def test_pod_metadata_wins_over_the_deprecated_fields() -> None:
    spec = read_spec(
        {
            "annotations": {"a": "old", "b": "kept"},
            "labels": {"x": "old", "y": "kept"},
            "podMetadata": {"annotations": {"a": "new"}, "labels": {"x": "new"}},
        }
    )
    assert spec.pod_metadata.annotations == {"a": "new", "b": "kept"}
    assert spec.pod_metadata.labels == {"x": "new", "y": "kept"}


def test_snapshots_go_to_their_usual_place_unless_told() -> None:
    assert _snapshot({}).directory == SNAPSHOTS
    assert _snapshot({"dir": ""}).directory == SNAPSHOTS
    assert _snapshot({"dir": "s3://bucket/x", "cron": "* * * * *"}).directory == "s3://bucket/x"


def _snapshot(value: dict[str, Any]) -> Any:
    snapshot = read_spec({"snapshot": value}).snapshot
    assert snapshot is not None
    return snapshot


def test_an_empty_name_of_a_script_is_no_script() -> None:
    assert not read_spec({"customLivenessProbeConfigMap": {"name": ""}}).probes.are_used
    assert read_spec({"customLivenessProbeConfigMap": {"name": "x"}}).probes.are_used


def test_a_secret_key_says_whether_it_may_be_missing() -> None:
    key = {"name": "s", "key": "k"}
    assert read_spec({"aclFromSecret": key}).acl == SecretKey("s", "k", None)
    assert read_spec({"aclFromSecret": {**key, "optional": False}}).acl == SecretKey(
        "s", "k", False
    )


def test_nobody_listed_is_another_wish_than_nothing_said() -> None:
    assert read_spec({"everfly": {}}).extras.clients_from is None
    assert read_spec({"everfly": {"networkPolicy": {"clientsFrom": []}}}).extras.clients_from == ()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replicas": -1}, "spec.replicas: must be 0..1000, is -1"),
    ({"replicas": "3"}, "spec.replicas: must be a whole number, is '3'"),
    ({"replicas": True}, "spec.replicas: must be a whole number, is True"),
    ({"image": 1}, "spec.image: must be a text, is 1"),
    ({"args": "--x"}, "spec.args: must be a list of a text, is '--x'"),
    ({"args": ["--x", 1]}, "spec.args[1]: must be a text, is 1"),
    ({"env": [{"value": "x"}]}, "spec.env[0].name: is required"),
    ({"additionalContainers": [{"image": "x"}]}, "spec.additionalContainers[0].name: is required"),
    ({"tolerations": ["x"]}, "spec.tolerations[0]: must be an object, is 'x'"),
    ({"nodeSelector": {"a": 1}}, "spec.nodeSelector['a']: must be a text, is 1"),
    ({"affinity": []}, "spec.affinity: must be an object, is []"),
    ({"skipFSGroup": "no"}, "spec.skipFSGroup: must be true or false, is 'no'"),
    ({"memcachedPort": 70_000}, "spec.memcachedPort: must be 0..65535, is 70000"),
    ({"aclFromSecret": {"name": "x"}}, "spec.aclFromSecret.key: is required"),
    ({"tlsSecretRef": {}}, "spec.tlsSecretRef.name: is required"),
    (
        {"authentication": {"passwordFromSecret": {"key": "k"}}},
        "spec.authentication.passwordFromSecret.name: is required",
    ),
    (
        {"snapshot": {"persistentVolumeClaimSpec": {}, "existingPersistentVolumeClaimName": "x"}},
        (
            "spec.snapshot: "
            "persistentVolumeClaimSpec and existingPersistentVolumeClaimName exclude each other"
        ),
    ),
    (
        {"snapshot": {"cron": "* * * * *"}},
        (
            "spec.snapshot.cron: needs a place to write to: persistentVolumeClaimSpec, "
            "existingPersistentVolumeClaimName or dir"
        ),
    ),
    (
        {"snapshot": {"dir": "s3://bucket", "persistentVolumeClaimSpec": {}}},
        "spec.snapshot.dir: must be a path when a volume is mounted there, is 's3://bucket'",
    ),
    (
        {"pdb": {"minAvailable": 1, "maxUnavailable": 1}},
        "spec.pdb: minAvailable and maxUnavailable exclude each other",
    ),
    (
        {"pdb": {"minAvailable": [1]}},
        "spec.pdb.minAvailable: must be a number or a percentage: [1]",
    ),
    ({"serviceSpec": {"nodePort": -1}}, "spec.serviceSpec.nodePort: must be 0..65535, is -1"),
    (
        {"everfly": {"terminationGracePeriodSeconds": -1}},
        "spec.everfly.terminationGracePeriodSeconds: must be 0..2147483647, is -1",
    ),
]


@pytest.mark.parametrize(("value", "problem"), WRONG, ids=[problem for _, problem in WRONG])
def test_a_wrong_field_is_named_with_what_is_wrong(value: dict[str, Any], problem: str) -> None:
    assert problems_of(value) == (problem,)


@pytest.mark.parametrize("key", sorted(RESERVED_LABELS))
@pytest.mark.parametrize("field", ["labels", "podMetadata", "ownedObjectsMetadata", "serviceSpec"])
def test_no_label_of_the_operator_can_be_set(field: str, key: str) -> None:
    value = {key: "x"}
    place = "spec" if field == "labels" else f"spec.{field}"
    wanted = {"labels": value} if field == "labels" else {field: {"labels": value}}
    assert problems_of(wanted) == (f"{place}.labels[{key!r}]: is set by the operator alone",)


def test_all_problems_are_named_at_once() -> None:
    assert len(problems_of({"replicas": -1, "image": 1, "pdb": []})) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.text("ab-/", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(INNER_NAMES), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*SPEC, "nonsense"]), JSON, max_size=5))
def test_nonsense_is_refused_with_the_fields_named_or_can_be_carried_out(value: Any) -> None:
    problems: tuple[str, ...] = ()
    try:
        spec = read_spec(value)
    except SpecError as error:
        problems = error.problems
    else:
        made = desired(spec, Owner("cache", "shop", "uid"), Around())
        assert "StatefulSet" in json.dumps(made)
    assert all(each.startswith("spec.") and ": " in each for each in problems)
