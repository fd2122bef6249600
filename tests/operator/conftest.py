"""One real cluster for all tests of a session, and a namespace of its own for each of them.

A test that asks for `cluster` runs inside the cluster's network: what it connects to, listens on
and starts is there. Under xdist such tests are two groups, so that two workers have a cluster each.
"""

import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
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

GROUP = "kubernetes"
CLUSTERS = 2
"""At once, with xdist: one for each core of the machines that these tests are run on."""
TEST_S = 240
"""A failover of real pods on a busy machine, several times over."""
BUILD_S = 3600
"""Building the control plane takes three to twelve minutes, once."""


@pytest.hookimpl(tryfirst=True)  # before xdist looks at groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what needs a cluster in few hands, and give it time."""
    limit = TEST_S if are_built() else BUILD_S
    groups = _groups(item for item in items if _needs_cluster(item))
    for item in items:
        if _needs_cluster(item):
            if config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group(groups[item.path]))
            item.add_marker(pytest.mark.netns)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(limit))


def _needs_cluster(item: pytest.Item) -> bool:
    return "kubernetes" in getattr(item, "fixturenames", ())


def _groups(items: Iterable[pytest.Item]) -> dict[Path, str]:
    """Return the group of each file: one for each cluster, with about as many tests each."""
    sizes = Counter(item.path for item in items)
    loads = Counter({f"{GROUP}-{number}": 0 for number in range(CLUSTERS)})
    groups = {}
    # Every worker must come to the same end, in whatever order it collects.
    for path, size in sorted(sizes.items(), key=lambda each: (-each[1], str(each[0]))):
        group, _ = min(loads.items(), key=lambda each: (each[1], each[0]))
        loads[group] += size
        groups[path] = group
    return groups


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
