"""The Sentinel front of the chart, made by the real helm and checked by the newest Kubernetes."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import newest_tools
import pytest
import yaml
from test_chart import (
    CHART,
    NAMESPACE,
    ROOT,
    _stable,
    needs_helm,
    objects,
    one,
    problems,
    program_folder,
    render,
)

SAMPLE = ROOT / "deploy" / "kubernetes" / "samples" / "sentinel-front.yaml"
NAME = "everfly-operator-sentinel"
ENABLED = {"enabled": True}
OF_ONE = {"sentinelFront": {**ENABLED, "namespaces": ["default"]}}
EVERYTHING: dict[str, Any] = {
    "enabled": True,
    "replicas": 3,
    "allowSwitchover": True,
    "compat": "valkey-8",
    "auth": {"secretName": "front-password", "key": "word"},
    "tls": {"secretName": "front-tls", "authClients": "yes"},
    "service": {"type": "LoadBalancer", "annotations": {"note": "service"}},
    "extraArgs": ["--log-format=json"],
    "podAnnotations": {"note": "pod"},
    "podLabels": {"team": "data"},
    "priorityClassName": "high",
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
HEAD = """\
# Sentinel-aware clients find the primaries of the data stores of namespace `default` here:
#
#   everfly-operator-sentinel.everfly-operator-system.svc:26379, master name = name of the resource
#
# Set the image, and the namespace in Role and RoleBinding; see docs/operator.md. The chart makes it
# by `sentinelFront.enabled`. Written by `EVERFLY_WRITE_GOLDEN=1 pytest
# tests/operator/test_chart_front.py` from the chart.
"""

pytestmark = [
    pytest.mark.timeout(60 if newest_tools.are_built() else newest_tools.BUILD_S),
    needs_helm,
]


def front_of(values: dict[str, Any]) -> list[Any]:
    """Return the objects of the front alone."""
    return [
        each
        for each in objects(render(values))
        if each["metadata"]["labels"].get("app.kubernetes.io/component") == "sentinel-front"
    ]


def refused(values: dict[str, Any]) -> str:
    done = subprocess.run(
        [str(program_folder() / "helm"), "template", "x", str(CHART),
         "--kube-version", "1.37.0", "--values", "-"],
        input=json.dumps(values), capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode != 0
    return done.stderr


def test_there_is_no_front_unless_it_is_asked_for() -> None:
    assert front_of({}) == []


@pytest.mark.parametrize(
    "values", [{"sentinelFront": ENABLED}, OF_ONE, {"sentinelFront": EVERYTHING}], ids=str
)
def test_the_newest_kubernetes_accepts_the_front(values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(yaml.safe_dump_all(front_of(values)))
    assert problems([file]) == ""


def test_the_sample_is_what_the_chart_makes() -> None:
    made = HEAD + _stable(yaml.safe_dump_all(front_of(OF_ONE), sort_keys=False))
    if os.environ.get("EVERFLY_WRITE_GOLDEN"):
        SAMPLE.write_text(made)
    assert SAMPLE.read_text() == made


def test_a_front_may_look_and_no_more_unless_it_is_to_move_primaries() -> None:
    looks = [
        {"apiGroups": ["dragonflydb.io"], "resources": ["dragonflies"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    ]
    assert one(front_of({"sentinelFront": ENABLED}), "ClusterRole")["rules"] == looks
    assert one(front_of(OF_ONE), "Role")["rules"] == looks
    may = one(front_of({"sentinelFront": EVERYTHING}), "ClusterRole")["rules"]
    assert may[0]["verbs"] == ["list", "watch", "patch"]
    assert may[1] == looks[1]


def test_a_front_of_some_namespaces_has_rights_in_no_others() -> None:
    found = front_of({"watchNamespaces": ["a", "b"], "sentinelFront": ENABLED})
    rights = [each for each in found if each["kind"].endswith(("Role", "Binding"))]
    assert sorted((each["metadata"]["namespace"], each["kind"]) for each in rights) == [
        ("a", "Role"),
        ("a", "RoleBinding"),
        ("b", "Role"),
        ("b", "RoleBinding"),
    ]
    args = one(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--namespaces=a,b" in args


def test_a_front_that_anybody_could_ask_may_not_move_primaries() -> None:
    text = refused({"sentinelFront": {**ENABLED, "allowSwitchover": True}})
    assert "set sentinelFront.auth.secretName or sentinelFront.acl.secretName" in text


def test_the_front_is_no_operator_to_services_and_policies() -> None:
    found = objects(render({"sentinelFront": ENABLED}))
    pod = one(found, "Deployment", NAME)["spec"]["template"]["metadata"]["labels"]
    assert "control-plane" not in pod
    selector = one(found, "Deployment", "everfly-operator")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= pod.items()
    chosen = one(found, "Service", NAME)["spec"]["selector"]
    assert chosen.items() <= pod.items()
    budget = one(found, "PodDisruptionBudget", NAME)["spec"]
    assert budget["selector"]["matchLabels"].items() <= pod.items()


def test_a_front_has_no_more_than_it_needs_of_its_machine() -> None:
    pod = one(front_of({"sentinelFront": ENABLED}), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumes" not in pod


def test_the_secrets_of_the_front_are_files() -> None:
    pod = one(front_of({"sentinelFront": EVERYTHING}), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert [each["secret"]["secretName"] for each in pod["volumes"]] == [
        "front-tls",
        "front-password",
    ]
    assert "--password-file=/etc/everfly/auth/password" in container["args"]
    assert "--tls-ca-cert-file=/etc/everfly/tls/ca.crt" in container["args"]
    assert "--tls-auth-clients=yes" in container["args"]
    assert "--bind=0" in container["args"]
    assert "env" not in container


def test_the_front_is_in_the_namespace_of_the_operator() -> None:
    found = one(front_of({"sentinelFront": ENABLED}), "Service")
    assert found["metadata"]["namespace"] == NAMESPACE


def test_the_operator_tells_endpoints_of_the_front_and_of_their_image() -> None:
    values = {"sentinelFront": ENABLED, "endpointImage": "registry.example/endpoint:1"}
    pod = one(objects(render(values)), "Deployment", "everfly-operator")["spec"]["template"]["spec"]
    (manager,) = [each for each in pod["containers"] if each["name"] == "manager"]
    told = {each["name"]: each.get("value") for each in manager["env"]}
    assert told["ENDPOINT_IMAGE"] == "registry.example/endpoint:1"
    assert told["SENTINEL_FRONT"] == f"{NAME}.{NAMESPACE}.svc:26379"
    plain = one(objects(render()), "Deployment")["spec"]["template"]["spec"]["containers"]
    names = {each["name"] for container in plain for each in container.get("env", [])}
    assert not names & {"ENDPOINT_IMAGE", "SENTINEL_FRONT"}
