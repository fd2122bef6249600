"""Services, names of pods and the spread, as the cluster shows them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Endpoints, Node, Pod, Service
from lightkube.types import CascadeType
from stage import Store, address, name_of, running, uid_of

from everfly.operator import names

ALL = {"services": {"replicas": True, "all": True, "headless": True}}


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store that is yet to be created, and its operator."""
    with running(cluster, client, namespace, tmp_path) as store:
        yield store


def led_to(store: Store, service: str) -> set[str]:
    """Return the addresses to which a Service leads."""
    subsets = store.client.get(Endpoints, service).subsets or []
    return {each.ip for subset in subsets for each in subset.addresses or [] if each.ip}


def names_of_pods(store: Store, service: str) -> set[str]:
    subsets = store.client.get(Endpoints, service).subsets or []
    return {each.hostname or "" for subset in subsets for each in subset.addresses or []}


def everybody(store: Store) -> set[str]:
    return {address(each) for each in store.pods()}


def zone_of(client: Client, pod: Pod) -> str:
    assert pod.spec is not None
    assert pod.spec.nodeName is not None
    node = client.get(Node, pod.spec.nodeName)
    assert node.metadata is not None
    return (node.metadata.labels or {}).get(names.LABEL_ZONE, "")


def template_of(client: Client) -> Any:
    spec = client.get(StatefulSet, "cache").spec
    assert spec is not None
    assert spec.template.spec is not None
    return spec


def test_a_new_data_store_has_the_services_it_asks_for_and_a_pod_in_each_zone(
    store: Store, client: Client
) -> None:
    store.create(everfly=ALL)
    store.wait_well(3)
    primary = address(store.primary())
    store.wait(lambda: led_to(store, "cache-r") == everybody(store))
    store.wait(lambda: led_to(store, "cache-ro") == everybody(store) - {primary})
    store.wait(lambda: led_to(store, "cache-pods") == everybody(store))
    # By these the names are made: cache-0.cache-pods.NAMESPACE.svc.
    assert names_of_pods(store, "cache-pods") == {"cache-0", "cache-1", "cache-2"}
    set_spec = template_of(client)
    assert set_spec.serviceName == "cache-pods"
    spread = set_spec.template.spec.topologySpreadConstraints
    assert [each.topologyKey for each in spread] == [
        "kubernetes.io/hostname",
        names.LABEL_ZONE,
    ]
    assert len({zone_of(client, each) for each in store.pods()}) == 3
    # What was made so stays so: another operator sees it by the set alone.
    before = {name_of(each): uid_of(each) for each in store.pods()}
    assert store.operator is not None
    store.operator.restart()
    store.change(everfly={"services": {"replicas": False}})
    store.wait(lambda: "cache-ro" not in services(client), 40)
    store.wait_well(3)
    assert {name_of(each): uid_of(each) for each in store.pods()} == before
    assert template_of(client).template.spec.topologySpreadConstraints == spread


def services(client: Client) -> set[str]:
    found = [each.metadata for each in client.list(Service)]
    return {each.name for each in found if each is not None and each.name}


def test_whoever_is_fenced_is_not_among_those_that_serve(store: Store) -> None:
    store.create(everfly=ALL)
    store.wait_well(3)
    store.wait(lambda: led_to(store, "cache-r") == everybody(store))
    out = store.labelled(names.ROLE_REPLICA)[0]
    store.annotate(fenced=name_of(out))
    store.wait(lambda: led_to(store, "cache-r") == everybody(store) - {address(out)})
    assert address(out) in led_to(store, "cache-pods")
    store.annotate(fenced=None)
    store.wait(lambda: led_to(store, "cache-r") == everybody(store))


def test_a_data_store_that_runs_keeps_its_pods_when_services_are_asked_for(
    store: Store, client: Client
) -> None:
    store.create(everfly={"defaultSpread": False})
    store.wait_well(3)
    assert template_of(client).template.spec.topologySpreadConstraints is None
    before = {name_of(each): uid_of(each) for each in store.pods()}
    # Left to us now; but it runs, and another template would restart it.
    store.change(everfly={"defaultSpread": None, **ALL})
    store.wait(lambda: led_to(store, "cache-r") == everybody(store))
    store.wait(lambda: "ImmutableField" in store.reasons())
    assert template_of(client).template.spec.topologySpreadConstraints is None
    assert template_of(client).serviceName == "cache"
    assert {name_of(each): uid_of(each) for each in store.pods()} == before


def test_a_set_that_is_made_again_names_pods_and_restarts_none(
    store: Store, client: Client
) -> None:
    image = "elsewhere.example/dragonfly:v1.39.0"
    store.create(image=image)
    store.wait_well(3)
    store.change(image=None, everfly={"services": {"headless": True}})
    store.wait(lambda: "ImmutableField" in store.reasons())
    store.wait_well(3)
    before = {name_of(each): uid_of(each) for each in store.pods()}
    spread = template_of(client).template.spec.topologySpreadConstraints
    # As the event says.
    client.delete(StatefulSet, "cache", cascade=CascadeType.ORPHAN)
    store.wait(lambda: template_of(client).serviceName == "cache-pods")
    store.wait_well(3)
    made = template_of(client).template.spec
    assert made.topologySpreadConstraints == spread
    assert [each.image for each in made.containers] == [image]
    assert {name_of(each): uid_of(each) for each in store.pods()} == before
