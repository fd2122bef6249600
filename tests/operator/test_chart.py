"""The chart and the plain manifests, made by the real helm and checked by the newest Kubernetes."""

import json
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import newest_tools
import pytest
import yaml

from everfly.operator import metrics
from everfly.operator.backups import metrics as backups
from everfly.operator.crd import BACKUP_FILES, FILE, definition_text
from everfly.wire.exposition import Family, Kind

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "everfly-operator"
PLAIN = ROOT / "deploy" / "kubernetes" / "everfly-operator.yaml"
GOLDEN = Path(__file__).parent / "golden"
DOUBLES_METRICS = ROOT / "tests" / "doubles" / "double_metrics.py"
"""What an instance serves, as far as dashboards look at it."""
NAMESPACE = "everfly-operator-system"
PLAIN_VALUES = {"rbacProxy": {"enabled": False}, "crds": {"keep": False}}
HEAD = f"""\
# The operator without Helm. Set the image of the container `manager`, then:
#
#   kubectl apply --server-side -f deploy/kubernetes/everfly-operator.yaml
#
# Written by `EVERFLY_WRITE_GOLDEN=1 pytest tests/operator/test_chart.py` from the chart.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
"""

pytestmark = pytest.mark.timeout(60 if newest_tools.are_built() else newest_tools.BUILD_S)
needs_helm = pytest.mark.skipif(bool(newest_tools.missing()), reason=newest_tools.missing())


def program_folder() -> Path:
    try:
        return newest_tools.tools()
    except newest_tools.OutOfReachError as error:
        pytest.skip(str(error))


def render(values: dict[str, Any] | None = None, release: str = "everfly-operator") -> str:
    """Return what helm makes of the chart. Raise CalledProcessError."""
    done = subprocess.run(
        [str(program_folder() / "helm"), "template", release, str(CHART),
         "--namespace", NAMESPACE, "--kube-version", "1.37.0", "--values", "-"],
        input=json.dumps(values or {}), capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[Any]:
    return [each for each in yaml.safe_load_all(text) if each]


def one(found: list[Any], kind: str, name: str = "") -> Any:
    (each,) = [
        each for each in found if each["kind"] == kind and name in ("", each["metadata"]["name"])
    ]
    return each


def manager(found: list[Any]) -> Any:
    containers = one(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    return next(each for each in containers if each["name"] == "manager")


def problems(files: Iterable[Path]) -> str:
    """Return what the newest Kubernetes finds wrong, a line each."""
    done = subprocess.run(
        [str(program_folder() / "newest"), *map(str, files)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return done.stdout


EVERY_VALUE: dict[str, Any] = {
    "replicaCount": 2,
    "crds": {"annotations": {"note": "x"}},
    "dragonflyImage": "registry.example/dragonfly:v1",
    "additionalLabels": {"team": "data"},
    "monitoring": {"namespace": "where-prometheus-runs"},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"note": "pod"},
    "podLabels": {"note": "pod"},
    "deploymentAnnotations": {"note": "deployment"},
    "deploymentLabels": {"note": "deployment"},
    "service": {"annotations": {"note": "service"}},
    "serviceAccount": {"annotations": {"note": "account"}},
    "rbacProxy": {"extraArgs": ["--v=2"]},
    "manager": {
        "extraArgs": ["--zap-log-level=debug"],
        "resources": {"limits": {"memory": "128Mi"}},
        "priorityClassName": "high",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"operator": "Exists"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "affinity": {"nodeAffinity": {}},
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "relabelings": [{"action": "drop", "regex": "x"}],
        "metricRelabelings": [{"action": "drop", "regex": "y"}],
        "rbacProxyMetricsReader": {
            "create": True,
            "serviceAccountName": "prometheus",
            "serviceAccountNamespace": "monitoring",
        },
    },
    "grafanaDashboard": {"enabled": True, "grafanaOperator": {"enabled": True}},
}


@pytest.mark.parametrize("file", [FILE, *BACKUP_FILES])
def test_the_chart_installs_the_definitions_of_the_package(file: str) -> None:
    assert (CHART / "files" / file).read_text() == definition_text(file)


@needs_helm
@pytest.mark.parametrize(
    "values",
    [{}, EVERY_VALUE, {"watchNamespaces": ["a", "b"]}, PLAIN_VALUES],
    ids=["default", "every", "namespaces", "plain"],
)
def test_the_newest_kubernetes_accepts_what_the_chart_makes(
    values: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "made.yaml"
    file.write_text(render(values))
    assert problems([file]) == ""


@needs_helm
def test_the_newest_kubernetes_accepts_what_a_resource_owns_and_the_samples() -> None:
    definitions = [CHART / "files" / file for file in (FILE, *BACKUP_FILES)]
    samples = (ROOT / "deploy" / "kubernetes" / "samples").glob("*.yaml")
    assert problems([*definitions, *GOLDEN.glob("*.yaml"), *samples]) == ""


@needs_helm
def test_the_rules_of_the_definition_refuse_what_cannot_work(tmp_path: Path) -> None:
    spec = {
        "replicas": -1,
        "nonsense": 1,
        "pdb": {"minAvailable": 1, "maxUnavailable": 1},
        "snapshot": {"cron": "* * * * *"},
    }
    both = {_CLAIM: {}, _EXISTING: "x"}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump_all([_dragonfly(spec), _dragonfly({"snapshot": both})]))
    found = problems([CHART / "files" / "dragonflies.yaml", file])
    # Go walks the fields in any order.
    assert set(found.replace(f"{file}: ", "").splitlines()) == {
        "unknown field spec.nonsense",
        "spec.pdb: Invalid value: minAvailable and maxUnavailable cannot be both set",
        "spec.replicas: Invalid value: -1: replicas cannot be negative",
        f"spec.snapshot: Invalid value: cron needs {_CLAIM}, {_EXISTING} or dir",
        f"spec.snapshot: Invalid value: {_CLAIM} and {_EXISTING} exclude each other",
    }


_CLAIM = "persistentVolumeClaimSpec"
_EXISTING = "existingPersistentVolumeClaimName"


def _dragonfly(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "dragonflydb.io/v1alpha1",
        "kind": "Dragonfly",
        "metadata": {"name": "x"},
        "spec": spec,
    }


@needs_helm
def test_the_plain_manifest_is_what_the_chart_makes() -> None:
    made = f"{HEAD}{_stable(render(PLAIN_VALUES))}"
    if os.environ.get("EVERFLY_WRITE_GOLDEN"):
        PLAIN.write_text(made)
    assert PLAIN.read_text() == made


def _stable(text: str) -> str:
    """Return manifests without what only Helm needs."""
    made = objects(text)
    for each in made:
        labels = each["metadata"]["labels"]
        labels.pop("helm.sh/chart")
        labels["app.kubernetes.io/managed-by"] = "kubectl"
    template = one(made, "Deployment")["spec"]["template"]["metadata"]["labels"]
    template.pop("helm.sh/chart")
    template["app.kubernetes.io/managed-by"] = "kubectl"
    return "".join(f"---\n{yaml.safe_dump(each, sort_keys=False, width=100)}" for each in made)


@needs_helm
def test_every_value_shows_in_what_is_made() -> None:
    def leaves(value: Any) -> Iterable[str]:
        if isinstance(value, dict):
            for each in value.values():
                yield from leaves(each)
        elif isinstance(value, list):
            for each in value:
                yield from leaves(each)
        elif isinstance(value, str):
            yield value

    made = render(EVERY_VALUE)
    assert [each for each in leaves(EVERY_VALUE) if each not in made] == []
    assert one(objects(made), "Deployment")["spec"]["replicas"] == 2


@needs_helm
def test_the_operator_gets_the_flags_of_upstream() -> None:
    assert manager(objects(render()))["args"] == [
        "operator",
        "--leader-elect",
        "--health-probe-bind-address=:8081",
        "--metrics-bind-address=127.0.0.1:8080",
    ]
    open_metrics = manager(objects(render(PLAIN_VALUES)))["args"]
    assert "--metrics-bind-address=:8080" in open_metrics


@needs_helm
def test_the_operator_carries_the_label_that_network_policies_let_in() -> None:
    labels = one(objects(render()), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["control-plane"] == "controller-manager"


@needs_helm
def test_operators_know_their_machine_and_two_are_put_on_different_ones() -> None:
    fields = {each["name"]: each.get("valueFrom") for each in manager(objects(render()))["env"]}
    assert fields["NODE_NAME"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}

    def spread(values: dict[str, Any]) -> Any:
        template = one(objects(render(values)), "Deployment")["spec"]["template"]["spec"]
        return template.get("topologySpreadConstraints")

    (made,) = spread({"replicaCount": 2})
    assert (made["topologyKey"], made["whenUnsatisfiable"]) == (
        "kubernetes.io/hostname",
        "ScheduleAnyway",
    )
    assert spread({}) is None
    assert spread({"replicaCount": 2, "manager": {"affinity": {"nodeAffinity": {}}}}) is None


@needs_helm
def test_the_definition_outlives_the_chart_unless_told_otherwise() -> None:
    def found(values: dict[str, Any]) -> list[Any]:
        made = objects(render(values))
        return [each["metadata"] for each in made if each["kind"] == "CustomResourceDefinition"]

    kept, dropped = found({}), found({"crds": {"keep": False}})
    assert len(kept) == len(dropped) == 3
    assert all(each["annotations"] == {"helm.sh/resource-policy": "keep"} for each in kept)
    assert all("annotations" not in each for each in dropped)
    assert "CustomResourceDefinition" not in render({"crds": {"install": False}})


@needs_helm
def test_an_operator_of_some_namespaces_has_no_rights_in_others() -> None:
    found = objects(render({"watchNamespaces": ["a", "b"]}))
    bindings = [
        each
        for each in found
        if each["kind"].endswith("Binding") and each["roleRef"]["name"].endswith("-manager")
    ]
    assert [(each["kind"], each["metadata"]["namespace"]) for each in bindings] == [
        ("RoleBinding", "a"),
        ("RoleBinding", "b"),
    ]
    variables = {each["name"]: each.get("value") for each in manager(found)["env"]}
    assert variables["WATCH_NAMESPACE"] == "a,b"


@needs_helm
@pytest.mark.parametrize("places", [[], ["a", "b"]], ids=["everywhere", "namespaces"])
def test_secrets_are_read_only_where_that_is_wanted(places: list[str]) -> None:
    def rights(*, is_wanted: bool) -> list[tuple[str, str | None]]:
        values = {"watchNamespaces": places, "secretRotation": {"enabled": is_wanted}}
        return [
            (each["kind"], each["metadata"].get("namespace"))
            for each in objects(render(values))
            if each["metadata"]["name"].endswith("-secrets")
        ]

    bindings = [("RoleBinding", place) for place in places] or [("ClusterRoleBinding", None)]
    assert sorted(rights(is_wanted=True), key=str) == sorted(
        [("ClusterRole", None), *bindings], key=str
    )
    assert rights(is_wanted=False) == []


@needs_helm
def test_everything_is_named_after_a_release_of_another_name() -> None:
    names = {each["metadata"]["name"] for each in objects(render(release="other"))}
    assert {"other-everfly-operator", "other-everfly-operator-manager"} <= names


def dashboards() -> dict[str, str]:
    """Return the dashboards of the chart, by their file."""
    maps = [each for each in objects(render(EVERY_VALUE)) if each["kind"] == "ConfigMap"]
    return {file: text for each in maps for file, text in each.get("data", {}).items()}


@needs_helm
def test_the_dashboards_show_metrics_that_there_are() -> None:
    found = {file: text for file, text in dashboards().items() if file.endswith(".json")}
    assert set(found) >= {"everfly-operator.json", "dragonfly-data-store.json"}
    known = {each.name for each in families()}
    known |= {f"{each.name}_bucket" for each in families() if each.kind is Kind.HISTOGRAM}
    for text in found.values():
        shown = set(re.findall(r"everfly_operator_\w+", json.dumps(json.loads(text))))
        assert shown <= known
        assert len(shown) >= 5
    shown = set(re.findall(r"dragonfly_\w+", found["dragonfly-data-store.json"]))
    served = set(re.findall(r'family\(\s*"(\w+)"', DOUBLES_METRICS.read_text()))
    assert len(shown) >= 10
    assert shown <= {f"dragonfly_{name}" for name in served}


def families() -> list[Family]:
    return [each for module in (metrics, backups) for each in vars(module).values()
            if isinstance(each, Family)]  # fmt: skip
