"""One real cluster for all tests of a session, and a namespace of its own for each of them.

A test that asks for `cluster` runs inside the cluster's network: what it connects to, listens on
and starts is there. Under xdist each worker has a cluster of its own.
"""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from controlplane.binaries import are_built, missing
from controlplane.cluster import Cluster, Shape
from controlplane.recipe import OutOfReachError
from lightkube import Client
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace

from everfly.operator.crd import BACKUP_FILES, FILE, definition_text, without_rules

TEST_S = 240
"""A failover of real pods on a busy machine, several times over."""
BUILD_S = 3600
"""Building the control plane takes three to twelve minutes, once."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what needs the cluster its time."""
    limit = TEST_S if are_built() else BUILD_S
    for item in items:
        if "kubernetes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.netns)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(limit))


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of the session; ask for `cluster` instead."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("kubernetes")
    texts = [definition_text(file) for file in (FILE, *BACKUP_FILES)]
    definitions = [without_rules(yaml.safe_load(text)) for text in texts]
    cluster = Cluster(folder / "cluster", Shape(definitions=definitions))
    try:
        yield cluster.start()
    except OutOfReachError as error:
        pytest.skip(str(error))
    finally:
        cluster.stop()


@pytest.fixture
def cluster(kubernetes: Cluster) -> Iterator[Cluster]:
    """The cluster, from inside its network. Nodes that a test broke are whole again afterwards."""
    with kubernetes.network():
        yield kubernetes
        kubernetes.mend()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test alone; its pods end with the test."""
    name = f"test-{secrets.token_hex(4)}"
    # API servers since 1.21 set this label themselves.
    labels = {"kubernetes.io/metadata.name": name}
    with cluster.client() as client:
        client.create(Namespace(metadata=ObjectMeta(name=name, labels=labels)))
        yield name
        client.delete(Namespace, name)


@pytest.fixture
def client(cluster: Cluster, namespace: str) -> Iterator[Client]:
    """An administrator's client, in the namespace of the test."""
    with cluster.client(namespace) as client:
        yield client
