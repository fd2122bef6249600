"""The plain manifest as people apply it: the operator runs in a pod, with its own rights."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from controlplane.cluster import Cluster
from lightkube import Client, codecs
from lightkube.core.exceptions import ApiError
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.networking_v1 import NetworkPolicy
from stage import Store

from processes import until

MANIFEST = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "everfly-operator.yaml"
NAMESPACE = "everfly-operator-system"
INSTALL_S = 60.0


@pytest.fixture
def installed(cluster: Cluster, client: Client) -> Iterator[None]:
    """The operator of the manifest, which looks after all namespaces."""
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    # The definition is there from the start, without its rules: this API server knows none.
    made = [
        codecs.from_dict(each) for each in documents if each["kind"] != "CustomResourceDefinition"
    ]
    for each in made:
        client.create(each)
    yield
    for each in made:
        if each.kind.startswith("Cluster"):
            client.delete(type(each), each.metadata.name)
    client.delete(Namespace, NAMESPACE)
    until(lambda: _is_gone(client), INSTALL_S)


def _is_gone(client: Client) -> bool:
    """The namespace of the operator is not there."""
    try:
        client.get(Namespace, NAMESPACE)
    except ApiError as error:
        return error.status.code == 404
    return False


def test_the_operator_of_the_manifest_is_ready_and_makes_a_data_store_ready(
    cluster: Cluster, client: Client, namespace: str, installed: None
) -> None:
    def is_ready() -> bool:
        """The operator's Deployment has its pod, ready."""
        status = client.get(Deployment, "everfly-operator", namespace=NAMESPACE).status
        return status is not None and status.readyReplicas == 1

    until(is_ready, INSTALL_S, show=lambda: _shown(cluster, client))
    store = Store(cluster, client, namespace)
    store.create()
    try:
        store.wait_well(3)
    except TimeoutError:
        print(_shown(cluster, client))  # noqa: T201 - shown with the failure
        raise
    policy = client.get(NetworkPolicy, store.name).to_dict()["spec"]
    peers = [peer for rule in policy["ingress"] for peer in rule["from"]]
    # The operator knows where it is, so that only it reaches the admin port.
    assert {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}} in [
        each.get("namespaceSelector") for each in peers
    ]


def _shown(cluster: Cluster, client: Client) -> Any:
    pods = [each.to_dict().get("status") for each in client.list(Pod, namespace=NAMESPACE)]
    logs = []
    for log in (cluster.folder / "pods" / NAMESPACE).glob("*/*.log"):
        with contextlib.suppress(OSError):
            logs.append(log.read_text()[-3000:])
    return pods, "\n".join(logs)
