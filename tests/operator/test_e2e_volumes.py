"""Disks that grow, come, go and are given up, around pods that serve on."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from controlplane.cluster import Cluster
from controlplane.images import DRAGONFLY
from lightkube import Client, codecs
from lightkube.core.exceptions import ApiError
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, ServiceAccountToken
from lightkube.resources.storage_v1 import StorageClass
from lightkube.types import CascadeType, PatchType
from stage import DRAGONFLY as RESOURCE
from stage import OperatorProcess, Store, Writer, call, disks, name_of, running, uid_of
from test_rbac import of_the_manifest, refusals

from everfly.operator import names
from everfly.operator.apiserver.api import CONFIG_MAP, Api
from everfly.operator.app import kubeconfig_of
from everfly.operator.settings import Settings
from processes import until

CHANGE = "PrimaryChange"


def growing(client: Client, size: str = "1Gi") -> dict[str, Any]:
    """Return a claim of a disk whose class lets disks grow."""
    known = StorageClass(
        metadata=ObjectMeta(name="growing"),
        provisioner="kubernetes.io/host-path",
        reclaimPolicy="Delete",
        allowVolumeExpansion=True,
    )
    with contextlib.suppress(ApiError):  # one for all tests
        client.create(known)
    return {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "growing",
        "resources": {"requests": {"storage": size}},
    }


def with_disk(claim: dict[str, Any]) -> dict[str, Any]:
    return {"persistentVolumeClaimSpec": claim}


def claims(client: Client) -> dict[str, PersistentVolumeClaim]:
    found = client.list(PersistentVolumeClaim)
    return {each.metadata.name: each for each in found if each.metadata and each.metadata.name}


def sizes(client: Client) -> dict[str, str]:
    """Return how much each claim has been given."""
    return {
        name: str((each.status.capacity or {}).get("storage", "")) if each.status else ""
        for name, each in claims(client).items()
    }


def owner(claim: PersistentVolumeClaim) -> str:
    assert claim.metadata is not None
    return next((each.uid for each in claim.metadata.ownerReferences or []), "")


def set_of(store: Store) -> Any:
    return store.client.get(StatefulSet, store.name)


def template_size(store: Store) -> str:
    sizes_of = [
        str(each.spec.resources.requests["storage"])
        for each in set_of(store).spec.volumeClaimTemplates or []
    ]
    return ",".join(sizes_of)


def uids(store: Store) -> dict[str, str]:
    return {name_of(each): uid_of(each) for each in store.pods()}


def well(store: Store, replicas: int) -> None:
    # While roles move there is now and then no primary, or more than one.
    store.wait(lambda: not store.why_unwell(replicas), 90)


def note(store: Store) -> object:
    return (store.status.get("record") or {}).get("remake")


def are_adopted(store: Store) -> bool:
    mine = set_of(store).metadata.uid
    return all(
        [each.uid for each in pod.metadata.ownerReferences or []] == [mine]
        for pod in store.pods()
        if pod.metadata
    )


def annotations(store: Store) -> dict[str, str]:
    return dict(store.item["metadata"].get("annotations") or {})


def are_current(store: Store) -> bool:
    revision = set_of(store).status.updateRevision
    return all(
        (each.metadata.labels or {}).get(names.LABEL_REVISION) == revision
        for each in store.pods()
        if each.metadata
    )


@pytest.fixture
def store(cluster: Cluster, client: Client, namespace: str, tmp_path: Path) -> Iterator[Store]:
    """A data store of three with disks that can grow, in order."""
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(image=DRAGONFLY, snapshot=with_disk(growing(client)))
        well(store, 3)
        yield store


def test_disks_grow_and_no_pod_restarts(store: Store, client: Client) -> None:
    # As `kubectl rollout restart` marks it; what others put there must survive.
    mark = {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "noon"}}}}}
    client.patch(StatefulSet, store.name, mark, patch_type=PatchType.MERGE)
    store.wait(lambda: store.status["phase"] == "RollingUpdate", 30)
    well(store, 3)
    before, primary, old_set = uids(store), name_of(store.primary()), set_of(store)
    with Writer(store) as writer:
        store.change(snapshot=with_disk(growing(client, "2Gi")))
        store.wait(lambda: template_size(store) == "2Gi", 60)
        store.wait(lambda: note(store) is None, 30)
        well(store, 3)
    assert set_of(store).metadata.uid != old_set.metadata.uid
    assert set_of(store).spec.template.metadata.annotations == {"restartedAt": "noon"}
    assert set_of(store).spec.template == old_set.spec.template
    assert sizes(client) == {f"df-cache-{number}": "2Gi" for number in range(3)}
    assert uids(store) == before
    assert are_current(store)
    assert name_of(store.primary()) == primary
    assert writer.longest_gap() < 0.5
    assert writer.lost(store.primary()) == []
    assert store.condition("VolumesGrowing") == "False"
    store.change(replicas=4)
    well(store, 4)
    assert sizes(client)["df-cache-3"] == "2Gi"
    # What was made anew is ours to change, as before: a field that is taken away goes.
    store.change(priorityClassName=None, nodeSelector={"kubernetes.io/os": "linux"})
    store.wait(lambda: set_of(store).spec.template.spec.nodeSelector is not None, 30)
    store.change(nodeSelector=None)
    store.wait(lambda: set_of(store).spec.template.spec.nodeSelector is None, 30)


def account_without(
    client: Client, cluster: Cluster, namespace: str, folder: Path, lacking: tuple[str, str]
) -> Path:
    """Return a kubeconfig with the operator's rights but one."""
    verb, resource = lacking
    made = [codecs.from_dict(each) for each in of_the_manifest(namespace)]
    for each in made:
        for rule in getattr(each, "rules", None) or []:
            if resource in (rule.resources or []):
                rule.verbs = [word for word in rule.verbs if word != verb]
        client.create(each)
    name = next(each.metadata.name for each in made if each.kind == "ServiceAccount")
    request = ServiceAccountToken(
        metadata=ObjectMeta(name=name, namespace=namespace), spec=TokenRequestSpec(audiences=[])
    )
    token = client.create(request, name, namespace=namespace).status
    assert token is not None
    return cluster.kubeconfig_for(token.token, folder / "lesser.kubeconfig")


STEPS: dict[str, Callable[[Store, str], bool]] = {
    "delete": lambda store, _: note(store) is not None,
    "create": lambda store, _: not list(store.client.list(StatefulSet)),
    "patch": lambda store, old: set_of(store).metadata.uid != old,
}
"""What an operator that lacks this right on StatefulSets comes to, and no further."""


@pytest.mark.parametrize("lacking", STEPS)
def test_an_operator_that_ends_while_the_set_is_made_anew_is_finished_by_the_next(
    store: Store, client: Client, cluster: Cluster, namespace: str, tmp_path: Path, *, lacking: str
) -> None:
    assert store.operator is not None
    store.operator.stop()
    before, old_set = uids(store), set_of(store).metadata.uid
    lesser = account_without(client, cluster, namespace, tmp_path, (lacking, "statefulsets"))
    stuck = OperatorProcess(cluster, namespace, tmp_path, f"--kubeconfig={lesser}")
    try:
        store.change(snapshot=with_disk(growing(client, "2Gi")))
        until(
            lambda: STEPS[lacking](store, old_set), 60, show=stuck.child.log_tail,
            despite=(ApiError,),
        )  # fmt: skip
        # Whatever there is of a StatefulSet, a primary that dies is replaced.
        with Writer(store) as writer:
            old = store.primary()
            cluster.signal(old, signal.SIGKILL)
            store.wait(lambda: name_of(store.primary()) != name_of(old), 30)
        assert writer.lost(store.primary()) == []
        assert note(store) is not None
    finally:
        stuck.kill()
    store.operator.restart()
    store.wait(lambda: template_size(store) == "2Gi", 60)
    store.wait(lambda: note(store) is None, 30)
    well(store, 3)
    assert set_of(store).metadata.uid != old_set
    assert uids(store) == before
    assert are_current(store)


def test_only_the_very_object_that_is_meant_is_deleted(
    cluster: Cluster, client: Client, namespace: str
) -> None:
    made = client.create(ConfigMap(metadata=ObjectMeta(name="thing", namespace=namespace)))
    assert made.metadata is not None
    assert made.metadata.uid is not None

    async def delete(uid: str) -> None:
        api = Api(kubeconfig_of(Settings(kubeconfig=str(cluster.kubeconfig))))
        try:
            await api.delete_very(CONFIG_MAP, (namespace, "thing"), uid)
        finally:
            await api.close()

    asyncio.run(delete("00000000-0000-0000-0000-000000000000"))
    assert client.get(ConfigMap, "thing").metadata == made.metadata
    for _ in range(2):
        asyncio.run(delete(made.metadata.uid))
        with pytest.raises(ApiError, match="not found"):
            client.get(ConfigMap, "thing")


def test_a_set_that_is_deleted_without_its_pods_is_made_again_and_nobody_fails_over(
    store: Store, client: Client
) -> None:
    # The last number: a controller adopts the others first.
    store.annotate(switchover="cache-2")
    store.wait(lambda: name_of(store.primary()) == "cache-2", 30)
    well(store, 3)
    before, changes = uids(store), [each for each in store.events() if each.reason == CHANGE]
    with Writer(store) as writer:
        for _ in range(3):
            old = set_of(store).metadata.uid
            client.delete(StatefulSet, store.name, cascade=CascadeType.ORPHAN)
            store.wait(lambda: set_of(store).metadata.uid != old, 30)  # noqa: B023 - awaited here
            store.wait(lambda: are_adopted(store), 30)
            well(store, 3)
    assert uids(store) == before
    assert len([each for each in store.events() if each.reason == CHANGE]) == len(changes)
    assert writer.longest_gap() < 0.5
    assert writer.lost(store.primary()) == []


def test_the_rights_of_the_manifest_are_enough_for_disks(
    store: Store, client: Client, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    assert store.operator is not None
    store.operator.stop()
    kubeconfig = account_without(client, cluster, namespace, tmp_path, ("", ""))
    before = refusals(client)
    operator = OperatorProcess(cluster, namespace, tmp_path, f"--kubeconfig={kubeconfig}")
    try:
        retention = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        store.change(
            snapshot=with_disk(growing(client, "2Gi")), everfly={"volumeRetention": retention}
        )
        until(
            lambda: template_size(store) == "2Gi" and note(store) is None, 60,
            show=operator.child.log_tail, despite=(ApiError,),
        )  # fmt: skip
        well(store, 3)
        old = client.get(PersistentVolumeClaim, "df-cache-2").metadata
        store.annotate(rebuild="cache-2")
        store.wait(lambda: names.REBUILD not in annotations(store), 60)
        new = client.get(PersistentVolumeClaim, "df-cache-2").metadata
        assert old is not None
        assert new is not None
        assert new.uid != old.uid
        well(store, 3)
        store.change(replicas=2)
        store.wait(lambda: "df-cache-2" not in claims(client), 60)
    finally:
        operator.kill()
    assert refusals(client) - before == set()


def test_what_cannot_be_done_to_disks_is_told_and_nothing_is_changed(
    store: Store, client: Client
) -> None:
    before = set_of(store).metadata.uid

    def told() -> str:
        return " ".join(each.message or "" for each in store.events())

    store.change(snapshot=with_disk(growing(client, "512Mi")))
    store.wait(lambda: "disks do not shrink" in told(), 30)
    other = disks(client)["storageClassName"]
    store.change(snapshot=with_disk({**growing(client), "storageClassName": other}))
    store.wait(lambda: "storageClassName cannot be changed" in told(), 30)
    store.change(snapshot=with_disk(growing(client)))
    well(store, 3)
    assert "ImmutableField" in store.reasons()
    assert set_of(store).metadata.uid == before
    assert set(sizes(client).values()) == {"1Gi"}


def test_a_class_whose_disks_cannot_grow_is_named(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        fixed = disks(client)
        store.create(image=DRAGONFLY, replicas=1, snapshot=with_disk(fixed))
        well(store, 1)
        greater = {**fixed, "resources": {"requests": {"storage": "2Gi"}}}
        store.change(snapshot=with_disk(greater))
        store.wait(lambda: store.condition("Valid") == "False", 30)
        conditions = {each["type"]: each for each in store.status["conditions"]}
        assert "'disks' does not let disks grow" in conditions["Valid"]["message"]
        assert "df-cache-0" in conditions["VolumesGrowing"]["message"]
        store.change(snapshot=with_disk(fixed))
        store.wait(lambda: store.condition("Valid") == "True", 30)


def test_a_disk_is_added_only_while_no_pod_runs_and_until_then_nothing_breaks(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(image=DRAGONFLY)
        well(store, 3)
        store.change(snapshot=with_disk(growing(client)))
        store.wait(lambda: store.condition("Valid") == "False", 30)
        conditions = {each["type"]: each for each in store.status["conditions"]}
        assert "df: a volume cannot be added while pods run" in conditions["Valid"]["message"]
        # A pod that goes now comes back: it is not asked for a volume that it cannot have.
        gone = store.pod("cache-2")
        client.delete(type(gone), "cache-2")
        store.wait(lambda: uid_of(store.pod("cache-2")) != uid_of(gone), 30)
        well(store, 3)
        store.change(replicas=2)
        well(store, 2)
        store.annotate(hibernated="true")
        store.wait(lambda: not store.pods(), 60)
        store.wait(lambda: template_size(store) == "1Gi", 60)
        store.annotate(hibernated=None)
        well(store, 2)
        assert set(claims(client)) == {"df-cache-0", "df-cache-1"}
        assert store.condition("Valid") == "True"
        store.change(replicas=3)
        well(store, 3)


def test_disks_of_pods_that_a_smaller_group_lost_go_and_those_of_one_that_sleeps_stay(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        retention = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        store.create(
            replicas=4, image=DRAGONFLY, snapshot=with_disk(growing(client)),
            everfly={"volumeRetention": retention},
        )  # fmt: skip
        well(store, 4)
        store.annotate(switchover="cache-3")
        store.wait(lambda: name_of(store.primary()) == "cache-3", 30)
        well(store, 4)
        call(store.primary(), "SET", "kept", "yes")
        store.change(replicas=2)
        store.wait(lambda: set(claims(client)) == {"df-cache-0", "df-cache-1"}, 60)
        well(store, 2)
        assert call(store.primary(), "GET", "kept") == b"yes"
        store.annotate(hibernated="true")
        store.wait(lambda: not store.pods(), 60)
        # It wakes smaller: the disk that is left over may be the newer one.
        store.change(replicas=1)
        store.annotate(hibernated=None)
        well(store, 1)
        store.wait(lambda: store.condition("UnusedVolumes") == "True", 30)
        assert set(claims(client)) == {"df-cache-0", "df-cache-1"}
        assert call(store.primary(), "GET", "kept") == b"yes"
        owned = {
            each.metadata.name: owner(each) for each in claims(client).values() if each.metadata
        }
        assert set(owned.values()) == {store.item["metadata"]["uid"]}
        store.change(everfly={"volumeRetention": {"whenDeleted": "Retain"}})
        store.wait(lambda: {owner(each) for each in claims(client).values()} == {""}, 30)
        store.change(everfly={"volumeRetention": {"whenDeleted": "Delete"}})
        store.wait(lambda: "" not in {owner(each) for each in claims(client).values()}, 30)
        client.delete(RESOURCE, store.name)
        store.wait(lambda: not claims(client), 60)


def test_replicas_are_rebuilt_one_after_the_other_and_never_the_primary(
    store: Store, client: Client, cluster: Cluster
) -> None:
    def k8s(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "everfly", "k8s", f"--kubeconfig={cluster.kubeconfig}"]
        return subprocess.run(
            [*command, f"--namespace={store.namespace}", *words],
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    old = {name: each.metadata.uid for name, each in claims(client).items() if each.metadata}
    refused = k8s("rebuild", "cache", "cache-0")
    assert refused.returncode == 1
    assert "cache-0 is the primary" in refused.stderr
    with Writer(store) as writer:
        store.annotate(rebuild="cache-2,cache-1")
        most_away = 0

        def is_done() -> bool:
            nonlocal most_away
            most_away = max(most_away, 2 - len(store.labelled(names.ROLE_REPLICA)))
            return not annotations(store).keys() & {names.REBUILD, names.REBUILDING}

        store.wait(is_done, 120)
        well(store, 3)
    new = {name: each.metadata.uid for name, each in claims(client).items() if each.metadata}
    assert most_away <= 1
    assert new.keys() == old.keys()
    assert [name for name in sorted(new) if new[name] != old[name]] == ["df-cache-1", "df-cache-2"]
    assert name_of(store.primary()) == "cache-0"
    assert writer.lost(store.pod("cache-1")) == []
    assert writer.longest_gap() < 0.5
    store.change(replicas=2)
    well(store, 2)
    last = k8s("rebuild", "cache", "cache-1")
    assert last.returncode == 1
    assert "last copy beside the primary" in last.stderr
    forced = k8s("rebuild", "cache", "cache-1", "--force")
    assert forced.returncode == 0, forced.stderr
    assert "cache-1 was rebuilt" in forced.stdout


def test_pods_start_all_at_once_where_that_is_asked_also_later(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create(image=DRAGONFLY, everfly={"podManagement": "Parallel"})
        well(store, 3)
        assert set_of(store).spec.podManagementPolicy == "Parallel"
        before = uids(store)
        store.change(everfly={"podManagement": "OrderedReady"})
        store.wait(lambda: set_of(store).spec.podManagementPolicy == "OrderedReady", 60)
        store.wait(lambda: note(store) is None, 30)
        well(store, 3)
        assert uids(store) == before
