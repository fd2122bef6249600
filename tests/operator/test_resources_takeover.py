"""A deployment of the upstream operator is taken over: nothing restarts, nothing moves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import upstream_objects as upstream
from controlplane.cluster import Cluster
from lightkube import Client, KubeConfig
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod, Service
from lightkube.types import PatchType
from stage import DRAGONFLY, OperatorProcess, Store, address, call, name_of, replication, uid_of

from everfly.operator import names
from everfly.operator.manifest import JsonObject
from everfly.operator.resources import Around, desired
from everfly.operator.resources.owner import Owner
from everfly.operator.wishes.spec import read_spec

NAME = "cache"


@pytest.fixture
def before(cluster: Cluster, namespace: str) -> Any:
    """A client that writes as the upstream operator does."""
    config = KubeConfig.from_file(cluster.kubeconfig)
    client = Client(
        config, namespace=namespace, field_manager=upstream.FIELD_MANAGER, trust_env=False
    )
    yield client
    client.close()


def create_resource(client: Client, spec: dict[str, Any]) -> Any:
    body = {"metadata": {"name": NAME}, "spec": spec}
    return client.create(DRAGONFLY.from_dict(body)).to_dict()


@pytest.mark.parametrize(
    ("spec", "stateful_set"),
    [
        (upstream.SIMPLE, upstream.simple_stateful_set),
        (upstream.RICH, upstream.rich_stateful_set),
    ],
    ids=["simple", "rich"],
)
def test_our_stateful_set_is_the_upstream_one_to_the_api_server(
    client: Client,
    before: Client,
    namespace: str,
    spec: dict[str, Any],
    stateful_set: Callable[[str, str], dict[str, Any]],
) -> None:
    resource = create_resource(client, spec)
    uid = resource["metadata"]["uid"]
    theirs = before.create(StatefulSet.from_dict(stateful_set(NAME, uid))).to_dict()
    image = theirs["spec"]["template"]["spec"]["containers"][-1]["image"]
    around = Around(running_image=image)
    made = desired(read_spec(resource["spec"]), Owner(NAME, namespace, uid), around)
    ours = next(each for each in made if each["kind"] == "StatefulSet")
    taken = client.apply(
        StatefulSet.from_dict(dict(ours)), field_manager=names.FIELD_MANAGER, force=True
    ).to_dict()
    assert taken["spec"] == theirs["spec"]
    # Counts every change of the spec, so that it also tells of one that came and went.
    assert taken["metadata"]["generation"] == theirs["metadata"]["generation"] == 1
    assert taken["metadata"]["labels"] == theirs["metadata"]["labels"]
    assert taken["metadata"]["ownerReferences"] == theirs["metadata"]["ownerReferences"]


def test_a_running_group_is_taken_over_as_it_is(
    cluster: Cluster, client: Client, before: Client, namespace: str, tmp_path: Path
) -> None:
    uid = create_resource(client, upstream.SIMPLE)["metadata"]["uid"]
    before.create(StatefulSet.from_dict(upstream.simple_stateful_set(NAME, uid)))
    before.create(Service.from_dict(upstream.simple_service(NAME, uid)))
    store = Store(cluster, client, namespace)
    store.wait(lambda: len(store.pods()) == 3 and all(map(_is_ready, store.pods())), 60)
    _configure_as_upstream(before, store, "cache-1")
    call(store.pod("cache-1"), "SET", "key", "value")
    store.wait(lambda: call(store.pod("cache-2"), "GET", "key") == b"value")
    pods = {name_of(each): uid_of(each) for each in store.pods()}
    operator = OperatorProcess(cluster, namespace, tmp_path)
    try:
        store.wait(lambda: store.status.get("primary"), 30)
        store.wait(lambda: not store.why_unwell(3), 60)
        # A second look, after all that the operator might yet have to do.
        generation = store.item["metadata"]["generation"]
        store.wait(lambda: store.status.get("observedGeneration") == generation)
    except BaseException:
        print(operator.child.log_tail())  # noqa: T201 - shown with the failure
        raise
    finally:
        operator.kill()
    assert {name_of(each): uid_of(each) for each in store.pods()} == pods
    assert store.status["primary"] == name_of(store.primary()) == "cache-1"
    assert call(store.primary(), "GET", "key") == b"value"
    found = client.get(StatefulSet, NAME)
    assert found.metadata is not None
    assert found.metadata.generation == 1
    assert found.status is not None
    assert found.status.currentRevision == found.status.updateRevision


def _is_ready(pod: Pod) -> bool:
    conditions = (pod.status.conditions if pod.status else None) or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


def _configure_as_upstream(before: Client, store: Store, primary: str) -> None:
    """Give roles to pods and write the phase as the upstream operator does."""
    leader = store.pod(primary)
    call(leader, "SLAVEOF", "NO", "ONE", port=names.ADMIN_PORT)
    for pod in store.pods():
        labels: JsonObject = {"role": "master"}
        if name_of(pod) != primary:
            call(pod, "SLAVEOF", address(leader), names.ADMIN_PORT, port=names.ADMIN_PORT)
            labels = {"role": "replica", "master-ip": address(leader)}
        metadata = {
            "labels": labels,
            "annotations": {"operator.dragonflydb.io/masterIP": address(leader)},
        }
        before.patch(Pod, name_of(pod), {"metadata": metadata}, patch_type=PatchType.MERGE)
    store.wait(
        lambda: (
            [replication(each).get("master_link_status") for each in store.pods()].count("up") == 2
        )
    )
    status = {"status": {"phase": "Ready", "isRollingUpdate": False}}
    before.patch(DRAGONFLY.Status, NAME, status, patch_type=PatchType.MERGE)
