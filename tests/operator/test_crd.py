"""The resource definition: the file, and what a real API server does with it."""

from typing import Any

import pytest
import yaml
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType
from test_resources import EVERYTHING

from everfly.operator.crd import definition_text, without_rules
from everfly.operator.crd.fields import SPEC
from everfly.operator.crd.generate import definition, definition_yaml
from everfly.operator.wishes.spec import SpecError, read_spec

DRAGONFLY = create_namespaced_resource("dragonflydb.io", "v1alpha1", "Dragonfly", "dragonflies")

UPSTREAM_FIELDS = [
    "additionalContainers", "additionalVolumes", "aclFromSecret", "affinity", "annotations",
    "args", "authentication", "containerSecurityContext", "customLivenessProbeConfigMap",
    "customReadinessProbeConfigMap", "customStartupProbeConfigMap",
    "enableReplicationReadinessGate", "env", "image", "imagePullPolicy", "imagePullSecrets",
    "initContainers", "labels", "memcachedPort", "networkPolicyEnabled", "nodeSelector",
    "ownedObjectsMetadata", "pdb", "podMetadata", "podSecurityContext", "priorityClassName",
    "replicas", "resources", "serviceAccountName", "serviceSpec", "skipFSGroup", "snapshot",
    "tiering", "tlsSecretRef", "tolerations", "topologySpreadConstraints",
]  # fmt: skip


def version() -> Any:
    return yaml.safe_load(definition_text())["spec"]["versions"][0]


def create(client: Client, spec: dict[str, Any], name: str = "cache") -> Any:
    body = DRAGONFLY.from_dict({"metadata": {"name": name}, "spec": spec})
    return client.create(body).to_dict()


def test_the_file_is_what_the_generator_writes() -> None:
    assert definition_text() == definition_yaml()


def test_the_spec_has_all_fields_of_upstream_and_one_of_ours() -> None:
    assert len(UPSTREAM_FIELDS) == 36
    assert sorted(SPEC) == sorted([*UPSTREAM_FIELDS, "everfly"])


def test_no_field_is_required() -> None:
    schema = version()["schema"]["openAPIV3Schema"]
    assert "required" not in schema
    assert "required" not in schema["properties"]["spec"]
    assert "required" not in schema["properties"]["status"]


def test_the_columns_of_upstream_come_first() -> None:
    columns = version()["additionalPrinterColumns"]
    assert [(each["name"], each["type"], each["jsonPath"]) for each in columns[:3]] == [
        ("Phase", "string", ".status.phase"),
        ("Rolling Update", "boolean", ".status.isRollingUpdate"),
        ("Replicas", "integer", ".spec.replicas"),
    ]


def test_rules_can_be_taken_out_for_old_servers() -> None:
    assert "x-kubernetes-validations" in str(definition())
    assert "x-kubernetes-validations" not in str(without_rules(definition()))


def test_a_resource_with_every_field_is_kept_as_it_is(client: Client) -> None:
    assert create(client, EVERYTHING)["spec"] == EVERYTHING


def test_an_empty_spec_gets_the_two_defaults(client: Client) -> None:
    assert create(client, {})["spec"] == {"imagePullPolicy": "Always", "networkPolicyEnabled": True}


@pytest.mark.parametrize(
    "spec",
    [
        {"replicas": "3"},
        {"args": "--x"},
        {"env": [{"value": "no name"}]},
        {"aclFromSecret": {"name": "no key"}},
        {"pdb": {"minAvailable": []}},
        {"affinity": {"nodeAffinity": []}},
    ],
    ids=str,
)
def test_a_wrong_type_is_refused_by_the_server_and_by_us(
    client: Client, spec: dict[str, Any]
) -> None:
    with pytest.raises(ApiError) as refusal:
        create(client, spec)
    assert refusal.value.status.code == 422
    if spec != {"affinity": {"nodeAffinity": []}}:  # which goes into the template unread
        with pytest.raises(SpecError):
            read_spec(spec)


@pytest.mark.parametrize("quantity", ["1Gi", 1073741824], ids=str)
def test_a_quantity_may_be_a_number(client: Client, quantity: object) -> None:
    spec = {"resources": {"limits": {"memory": quantity}}}
    assert create(client, spec)["spec"]["resources"] == spec["resources"]


def test_the_status_is_written_apart_from_the_spec(client: Client) -> None:
    create(client, {"replicas": 3})
    status = {
        "phase": "Ready",
        "isRollingUpdate": False,
        "pods": [{"name": "cache-0", "anything": {"goes": True}}],
        "lineage": {"history": "abc", "offset": 7},
        "record": {"epoch": 1, "move": {"to": "cache-1"}},
        "conditions": [
            {
                "type": "Available",
                "status": "True",
                "reason": "Serves",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
    patch = {"spec": {"replicas": 5}, "status": status}
    written = client.patch(DRAGONFLY.Status, "cache", patch, patch_type=PatchType.MERGE).to_dict()
    assert written["status"] == status
    assert written["spec"]["replicas"] == 3


def test_an_autoscaler_can_read_and_write_the_number_of_pods(client: Client) -> None:
    create(client, {"replicas": 3})
    status = {"status": {"replicas": 2, "selector": "app=cache"}}
    client.patch(DRAGONFLY.Status, "cache", status, patch_type=PatchType.MERGE)
    scale = client.get(DRAGONFLY.Scale, "cache")
    assert scale.spec is not None
    assert scale.status is not None
    assert (scale.spec.replicas, scale.status.replicas) == (3, 2)
    assert scale.status.selector == "app=cache"
    client.patch(DRAGONFLY.Scale, "cache", {"spec": {"replicas": 4}}, patch_type=PatchType.MERGE)
    assert client.get(DRAGONFLY, "cache").to_dict()["spec"]["replicas"] == 4
