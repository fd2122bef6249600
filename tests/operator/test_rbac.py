"""The operator with exactly the rights of the manifest: enough to work, and no more."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from backup_stage import Backup, make_claim
from controlplane.cluster import Cluster
from lightkube import Client, codecs
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.authorization_v1 import ResourceAttributes, SubjectAccessReviewSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.authorization_v1 import SubjectAccessReview
from lightkube.resources.core_v1 import Secret, ServiceAccountToken
from lightkube.types import PatchType
from stage import OperatorProcess, Store, name_of

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "everfly-operator.yaml"
KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


@dataclass(frozen=True)
class Account:
    """Whom the operator of the manifest is to the API server."""

    name: str
    user: str
    kubeconfig: Path


def of_the_manifest(namespace: str) -> list[Any]:
    """Return its objects about rights, moved into the namespace of a test."""
    text = MANIFEST.read_text().replace("everfly-operator-system", namespace)
    # Cluster-wide names are made the test's own.
    text = text.replace("name: everfly-operator-", f"name: {namespace}-")
    return [each for each in yaml.safe_load_all(text) if each["kind"] in KINDS]


@pytest.fixture
def account(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Account]:
    made = [codecs.from_dict(each) for each in of_the_manifest(namespace)]
    for each in made:
        client.create(each)
    name = next(each.metadata.name for each in made if each.kind == "ServiceAccount")
    request = ServiceAccountToken(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=TokenRequestSpec(audiences=[]),
    )
    token = client.create(request, name, namespace=namespace).status
    assert token is not None
    kubeconfig = cluster.kubeconfig_for(token.token, tmp_path / "operator.kubeconfig")
    yield Account(name, f"system:serviceaccount:{namespace}:{name}", kubeconfig)
    for each in made:
        if each.kind.startswith("Cluster"):
            client.delete(type(each), each.metadata.name)


def well(store: Store, replicas: int) -> None:
    # While roles move there is now and then no primary, or more than one.
    store.wait(lambda: not store.why_unwell(replicas), 60)


def refusals(client: Client) -> set[str]:
    """Return what the API server has answered with 403: counts by verb and kind.

    The controllers, which speak protobuf, get it too, for objects in namespaces that end.
    """
    lines = client._client._client.get("/metrics").text.splitlines()
    return {
        line
        for line in lines
        if line.startswith("apiserver_request_total{")
        and 'code="403"' in line
        and "protobuf" not in line
    }


def test_the_rights_of_the_manifest_are_enough_for_a_life(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path, account: Account
) -> None:
    before = refusals(client)
    store = Store(cluster, client, namespace)
    operator = OperatorProcess(cluster, namespace, tmp_path, f"--kubeconfig={account.kubeconfig}")
    try:
        client.create(Secret(metadata=ObjectMeta(name="entry"), stringData={"word": "old"}))
        password = {"passwordFromSecret": {"name": "entry", "key": "word"}}
        store.create(enableReplicationReadinessGate=True, authentication=password)
        well(store, 3)
        old = name_of(store.primary())
        cluster.signal(store.primary(), signal.SIGKILL)
        store.wait(lambda: name_of(store.primary()) != old)
        well(store, 3)
        store.change(replicas=2, networkPolicyEnabled=False)
        well(store, 2)
        store.annotate(switchover="*")
        store.wait(lambda: not (store.item["metadata"].get("annotations") or {}))
        well(store, 2)
        store.change(args=["--maxmemory=200mb"])
        store.wait(lambda: store.status.get("isRollingUpdate"))
        well(store, 2)
        client.patch(Secret, "entry", {"stringData": {"word": "new"}}, patch_type=PatchType.MERGE)
        store.wait(lambda: "SecretRotated" in store.reasons(), 60)
        assert "Resources" in store.reasons()
        make_claim(client)
        backup = Backup(store).create(deletionPolicy="Delete")
        backup.wait()
        backup.delete()
        store.wait(lambda: "BackupDeleted" in store.reasons(), 60)
        endpoint = {"enabled": True, "image": "nothing:1", "sentinels": ["10.244.0.1:26379"]}
        store.change(everfly={"endpoint": endpoint})
        store.wait(lambda: list(client.list(Deployment)))
        store.change(everfly={"endpoint": {"enabled": False}})
        store.wait(lambda: not list(client.list(Deployment)), 60)
    except BaseException:
        print(operator.child.log_tail())  # noqa: T201 - shown with the failure
        raise
    finally:
        operator.kill()
    assert refusals(client) - before == set()


ALLOWED = [
    ("get", "", "pods", ""),
    ("delete", "", "pods", ""),
    ("patch", "dragonflydb.io", "dragonflies", "status"),
    ("delete", "apps", "deployments", ""),
    ("delete", "everfly.dev", "dragonflybackups", ""),
    ("patch", "everfly.dev", "dragonflybackupschedules", "status"),
    ("patch", "monitoring.coreos.com", "podmonitors", ""),
    ("delete", "monitoring.coreos.com", "prometheusrules", ""),
    ("delete", "", "persistentvolumeclaims", ""),
    ("get", "apps", "controllerrevisions", ""),
    ("get", "", "secrets", ""),
    ("get", "storage.k8s.io", "storageclasses", ""),
]
REFUSED = [
    ("list", "", "secrets", ""),
    ("watch", "", "secrets", ""),
    ("patch", "", "secrets", ""),
    ("create", "", "pods", "exec"),
    ("update", "", "nodes", ""),
    ("delete", "dragonflydb.io", "dragonflies", ""),
    ("delete", "everfly.dev", "dragonflybackupschedules", ""),
    ("create", "", "persistentvolumeclaims", ""),
    ("delete", "", "persistentvolumes", ""),
    ("create", "", "serviceaccounts", "token"),
    ("list", "monitoring.coreos.com", "prometheusrules", ""),
    ("get", "monitoring.coreos.com", "servicemonitors", ""),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles", ""),
    ("impersonate", "", "users", ""),
]


@pytest.mark.parametrize("action", [*ALLOWED, *REFUSED], ids=" ".join)
def test_the_rights_of_the_manifest_are_no_more_than_needed(
    client: Client, namespace: str, account: Account, action: tuple[str, str, str, str]
) -> None:
    verb, group, resource, part = action
    what = ResourceAttributes(
        namespace=namespace, verb=verb, group=group, resource=resource, subresource=part
    )
    review = SubjectAccessReview(
        spec=SubjectAccessReviewSpec(
            user=account.user,
            groups=["system:serviceaccounts", "system:authenticated"],
            resourceAttributes=what,
        )
    )
    answer = client.create(review).status
    assert answer is not None
    assert answer.allowed is (action in ALLOWED)
