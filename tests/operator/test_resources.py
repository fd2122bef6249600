"""The objects that a resource owns: whole ones by eye, and each field by what it changes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from everfly.operator.crd.fields import SPEC
from everfly.operator.manifest import JsonObject
from everfly.operator.resources import Around, desired
from everfly.operator.resources.owner import DEFAULT_IMAGE, Owner
from everfly.operator.wishes.spec import read_spec

OWNER = Owner("cache", "shop", "0e3a")
AROUND = Around(operator_namespace="dragonfly-operator-system")
GOLDEN = Path(__file__).parent / "golden"

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
KEY = {"name": "secret", "key": "key"}
EVERYTHING: dict[str, Any] = {
    "replicas": 3,
    "image": "registry.example/dragonfly:v1.40.0",
    "imagePullPolicy": "IfNotPresent",
    "imagePullSecrets": [{"name": "registry"}],
    "args": ["--maxmemory=1gb"],
    "env": [{"name": "TZ", "value": "UTC"}],
    "aclFromSecret": KEY,
    "annotations": {"old": "annotation"},
    "labels": {"old": "label"},
    "podMetadata": {"annotations": {"new": "annotation"}, "labels": {"new": "label"}},
    "ownedObjectsMetadata": {"annotations": {"team": "shop"}, "labels": {"team": "shop"}},
    "additionalContainers": [{"name": "exporter", "image": "exporter:1"}],
    "additionalVolumes": [{"name": "scratch", "emptyDir": {}}],
    "initContainers": [{"name": "prepare", "image": "busybox:1"}],
    "resources": {"limits": {"memory": "1Gi"}},
    "affinity": {"nodeAffinity": {}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "data", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ],
    "priorityClassName": "high",
    "serviceAccountName": "cache",
    "podSecurityContext": {"runAsNonRoot": True},
    "containerSecurityContext": {"readOnlyRootFilesystem": True},
    "skipFSGroup": True,
    "memcachedPort": 11211,
    "authentication": {"passwordFromSecret": KEY, "clientCaCertSecret": KEY},
    "tlsSecretRef": {"name": "tls"},
    "tiering": {"persistentVolumeClaimSpec": CLAIM},
    "snapshot": {"cron": "*/5 * * * *", "persistentVolumeClaimSpec": CLAIM},
    "serviceSpec": {
        "type": "NodePort",
        "name": "cache-clients",
        "nodePort": 30_000,
        "annotations": {"dns": "cache"},
        "labels": {"dns": "cache"},
    },
    "enableReplicationReadinessGate": True,
    "networkPolicyEnabled": True,
    "pdb": {"minAvailable": 2},
    "customReadinessProbeConfigMap": {"name": "my-readiness"},
    "everfly": {
        "replicaService": True,
        "terminationGracePeriodSeconds": 60,
        "networkPolicy": {
            "clientsFrom": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}],
        },
    },
}
GOLDENS: dict[str, dict[str, Any]] = {
    "empty": {},
    "single": {"replicas": 1},
    "sample": {
        "replicas": 3,
        "args": ["--maxmemory=512mb"],
        "resources": {"requests": {"cpu": "500m", "memory": "500Mi"}},
        "snapshot": {"cron": "*/5 * * * *", "persistentVolumeClaimSpec": CLAIM},
    },
    "everything": EVERYTHING,
}


def manifests(value: dict[str, Any], around: Around = AROUND) -> list[JsonObject]:
    return desired(read_spec(value), OWNER, around)


def one(value: dict[str, Any], kind: str, name: str = "") -> Any:
    """Return the object of a kind (and name) as plain data."""
    found = [
        each
        for each in plain(manifests(value))
        if each["kind"] == kind and name in ("", each["metadata"]["name"])
    ]
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def plain(value: object) -> Any:
    return json.loads(json.dumps(value))


def template(value: dict[str, Any]) -> Any:
    return one(value, "StatefulSet")["spec"]["template"]


def container(value: dict[str, Any]) -> Any:
    return template(value)["spec"]["containers"][-1]


@pytest.mark.parametrize("name", GOLDENS)
def test_the_objects_are_those_that_were_reviewed(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    made = plain(manifests(GOLDENS[name]))
    if os.environ.get("EVERFLY_WRITE_GOLDEN"):
        file.write_text(yaml.safe_dump_all(made, sort_keys=False))
    assert list(yaml.safe_load_all(file.read_text())) == made


CHANGES: dict[str, Any] = {
    "replicas": 2,
    "image": "other:1",
    "imagePullPolicy": "Never",
    "imagePullSecrets": [{"name": "other"}],
    "args": ["--other"],
    "env": [{"name": "OTHER", "value": "1"}],
    "aclFromSecret": {"name": "other", "key": "key"},
    "annotations": {"other": "annotation"},
    "labels": {"other": "label"},
    "podMetadata": {"labels": {"other": "label"}},
    "ownedObjectsMetadata": {"labels": {"other": "label"}},
    "additionalContainers": [{"name": "other", "image": "other:1"}],
    "additionalVolumes": [{"name": "other", "emptyDir": {}}],
    "initContainers": [{"name": "other", "image": "other:1"}],
    "resources": {"limits": {"memory": "2Gi"}},
    "affinity": {"podAffinity": {}},
    "nodeSelector": {"disk": "slow"},
    "tolerations": [],
    "topologySpreadConstraints": [],
    "priorityClassName": "low",
    "serviceAccountName": "other",
    "podSecurityContext": {"fsGroup": 1},
    "containerSecurityContext": {},
    "skipFSGroup": False,
    "memcachedPort": 0,
    "authentication": {},
    "tlsSecretRef": {"name": "other"},
    "tiering": {},
    "snapshot": {"dir": "/other"},
    "serviceSpec": {"type": "LoadBalancer"},
    "enableReplicationReadinessGate": False,
    "networkPolicyEnabled": False,
    "pdb": {"maxUnavailable": "50%"},
    "customLivenessProbeConfigMap": {"name": "other"},
    "customReadinessProbeConfigMap": {"name": "other"},
    "customStartupProbeConfigMap": {"name": "other"},
    "everfly": {},
}


@pytest.mark.parametrize("field", SPEC)
def test_no_field_is_without_effect(field: str) -> None:
    base = dict(EVERYTHING)
    if field == "skipFSGroup":
        del base["podSecurityContext"]  # which wins over it
    assert manifests({**base, field: CHANGES[field]}) != manifests(base)


INNER = [
    ("everfly", "replicaService", False),
    ("everfly", "terminationGracePeriodSeconds", 5),
    ("everfly", "networkPolicy", {"clientsFrom": []}),
    ("authentication", "passwordFromSecret", {"name": "other", "key": "key"}),
    ("authentication", "clientCaCertSecret", {"name": "other", "key": "key"}),
    ("snapshot", "dir", "/other"),
    ("snapshot", "cron", ""),
    ("snapshot", "persistentVolumeClaimSpec", {}),
    ("serviceSpec", "type", "ClusterIP"),
    ("serviceSpec", "name", "other"),
    ("serviceSpec", "nodePort", 0),
    ("serviceSpec", "annotations", {}),
    ("serviceSpec", "labels", {}),
    ("ownedObjectsMetadata", "annotations", {}),
    ("podMetadata", "annotations", {}),
]


@pytest.mark.parametrize(("field", "inner", "value"), INNER)
def test_no_inner_field_is_without_effect(field: str, inner: str, value: object) -> None:
    changed = {**EVERYTHING, field: {**EVERYTHING[field], inner: value}}
    assert manifests(changed) != manifests(EVERYTHING)


def test_the_image_is_the_resources_then_the_flags_then_the_running_one() -> None:
    everywhere = Around(default_image="flag:1", running_image="running:1")
    running = Around(running_image="running:1")
    found = [
        _image(manifests(value, around))
        for value, around in (
            ({"image": "resource:1"}, everywhere),
            ({}, everywhere),
            ({}, running),
            ({}, Around()),
        )
    ]
    assert found == ["resource:1", "flag:1", "running:1", DEFAULT_IMAGE]


def _image(made: list[JsonObject]) -> str:
    found = next(each for each in plain(made) if each["kind"] == "StatefulSet")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_the_arguments_come_in_the_upstream_order() -> None:
    assert container(EVERYTHING)["args"] == [
        "--alsologtostderr",
        "--break_replication_on_master_restart=true",
        "--primary_port_http_enabled=false",
        "--admin_port=9999",
        "--admin_nopass",
        "--maxmemory=1gb",
        "--memcached_port=11211",
        "--aclfile=/var/lib/dragonfly/dragonfly.acl",
        "--tiered_prefix=/dragonfly/tiering/vol",
        "--dir=/dragonfly/snapshots",
        "--snapshot_cron=*/5 * * * *",
        "--no_tls_on_admin_port",
        "--tls",
        "--tls_cert_file=/etc/dragonfly-tls/tls.crt",
        "--tls_key_file=/etc/dragonfly-tls/tls.key",
        "--tls_ca_cert_file=/etc/dragonfly/tls/ca.crt",
    ]


def test_the_users_variables_come_first_and_cannot_hide_the_port_of_the_check() -> None:
    names = [each["name"] for each in container(EVERYTHING)["env"]]
    assert names == ["TZ", "HEALTHCHECK_PORT", "DFLY_requirepass"]


def test_a_users_container_comes_first_and_replaces_ours_of_its_name() -> None:
    users = [{"name": "dragonfly", "image": "mine"}, {"name": "other", "image": "x"}]
    assert template({"additionalContainers": users})["spec"]["containers"] == users
    side = template({"additionalContainers": users[1:]})["spec"]["containers"]
    assert [each["name"] for each in side] == ["other", "dragonfly"]


def test_a_users_volume_replaces_ours_of_its_name() -> None:
    users = [{"name": "dragonfly-tls", "emptyDir": {}}]
    pod = template({"tlsSecretRef": {"name": "x"}, "additionalVolumes": users})
    assert pod["spec"]["volumes"] == users


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, {"fsGroup": 999}),
        ({"skipFSGroup": True}, None),
        ({"podSecurityContext": {}}, {}),
        ({"podSecurityContext": {"fsGroup": 1}, "skipFSGroup": True}, {"fsGroup": 1}),
    ],
)
def test_the_group_of_files_is_the_users_or_999(value: dict[str, Any], expected: object) -> None:
    assert template(value)["spec"].get("securityContext") == expected


def test_probes_ask_the_images_check_on_the_admin_port() -> None:
    check = container({})["readinessProbe"]
    assert check == container({})["livenessProbe"]
    assert check["exec"]["command"] == ["/bin/sh", "/usr/local/bin/healthcheck.sh"]
    assert "startupProbe" not in container({})


def test_one_script_of_the_users_makes_all_three_probes_scripts() -> None:
    value = {"customStartupProbeConfigMap": {"name": "mine"}}
    made = {kind: container(value)[f"{kind}Probe"] for kind in ("liveness", "readiness", "startup")}
    for kind, probe in made.items():
        script = f"/etc/dragonfly/probes/{kind}-check.sh"
        assert probe["exec"]["command"] == ["/bin/sh", script]
    assert (made["startup"]["periodSeconds"], made["startup"]["failureThreshold"]) == (5, 60)
    maps = [each for each in plain(manifests(value)) if each["kind"] == "ConfigMap"]
    assert [each["metadata"]["name"] for each in maps] == [
        "cache-liveness-probe",
        "cache-readiness-probe",
    ]
    assert "loading:0" in maps[1]["data"]["readiness-check.sh"]


@pytest.mark.parametrize(("replicas", "budgets"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_a_group_of_one_has_no_budget(replicas: int, budgets: int) -> None:
    made = manifests({"replicas": replicas})
    assert sum(each["kind"] == "PodDisruptionBudget" for each in made) == budgets


@pytest.mark.parametrize(
    ("pdb", "bounds"),
    [
        (None, {"maxUnavailable": 1}),
        ({}, {"maxUnavailable": 1}),
        ({"minAvailable": "50%"}, {"minAvailable": "50%"}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
    ],
)
def test_a_budget_has_the_users_bound_or_one_at_a_time(pdb: object, bounds: object) -> None:
    spec = one({"replicas": 2, "pdb": pdb}, "PodDisruptionBudget")["spec"]
    assert {key: each for key, each in spec.items() if key != "selector"} == bounds


def test_the_service_leads_to_the_primary_and_the_other_one_to_replicas() -> None:
    value = {"everfly": {"replicaService": True}}
    assert one(value, "Service", "cache")["spec"]["selector"]["role"] == "master"
    assert one(value, "Service", "cache-ro")["spec"]["selector"]["role"] == "replica"


def test_the_stateful_set_keeps_its_service_name_whatever_the_service_is_called() -> None:
    value = {"serviceSpec": {"name": "other"}}
    assert one(value, "StatefulSet")["spec"]["serviceName"] == "cache"
    assert one(value, "Service")["metadata"]["name"] == "other"


def test_the_admin_port_is_for_the_operator_and_the_group() -> None:
    assert _peers({}, 9999) == [
        {
            "podSelector": {"matchLabels": {"control-plane": "controller-manager"}},
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": "dragonfly-operator-system"}
            },
        },
        {"podSelector": one({}, "StatefulSet")["spec"]["selector"]},
    ]


def test_data_ports_are_for_the_namespace_or_for_whom_the_user_lists() -> None:
    everybody = [{"namespaceSelector": {}}]
    value = {"memcachedPort": 11211}
    assert _peers(value, 6379) == _peers(value, 11211) == [{"podSelector": {}}]
    value["everfly"] = {"networkPolicy": {"clientsFrom": everybody}}  # type: ignore[assignment]
    assert _peers(value, 6379) == _peers(value, 11211) == everybody


def test_a_list_of_nobody_lets_nobody_in() -> None:
    # A rule without peers would let everybody in.
    assert _peers({"everfly": {"networkPolicy": {"clientsFrom": []}}}, 6379) is None


def _peers(value: dict[str, Any], port: int) -> Any:
    rules = one(value, "NetworkPolicy")["spec"]["ingress"]
    found = [rule["from"] for rule in rules if rule["ports"][0]["port"] == port]
    assert len(found) <= 1
    return found[0] if found else None


def test_every_object_belongs_to_the_resource_and_carries_the_contracts_labels() -> None:
    for each in plain(manifests(EVERYTHING)):
        metadata = each["metadata"]
        assert metadata["namespace"] == "shop"
        assert metadata["ownerReferences"] == [plain(OWNER.reference())]
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "dragonfly-operator"
        assert metadata["labels"]["app"] == "cache"
        assert metadata["labels"]["team"] == "shop"


def test_pods_carry_the_contracts_labels_and_the_users() -> None:
    assert template(EVERYTHING)["metadata"]["labels"] == {
        "app": "cache",
        "app.kubernetes.io/name": "dragonfly",
        "app.kubernetes.io/part-of": "dragonfly",
        "old": "label",
        "new": "label",
    }


def test_the_snapshot_claim_has_only_the_labels_that_upstream_gives_it() -> None:
    # Claim templates can never be changed.
    claims = one(EVERYTHING, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert [each["metadata"]["name"] for each in claims] == ["tiering", "df"]
    assert set(claims[1]["metadata"]["labels"]) == {
        "app",
        "app.kubernetes.io/name",
        "app.kubernetes.io/part-of",
    }
    assert claims[0]["metadata"]["labels"]["team"] == "shop"


def test_an_empty_wish_stays_in_the_template() -> None:
    # The API server keeps it, and a template without it would be another one.
    pod = template({"affinity": {}, "containerSecurityContext": {}})
    assert pod["spec"]["affinity"] == {}
    assert pod["spec"]["containers"][0]["securityContext"] == {}
