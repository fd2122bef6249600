"""A data store on a real API server, from its first pod on."""

from pathlib import Path

from controlplane.cluster import Cluster
from lightkube import Client
from lightkube.resources.coordination_v1 import Lease
from stage import running

from everfly.operator.names import LEASE_NAME
from processes import until


def renewed(client: Client) -> str:
    spec = client.get(Lease, LEASE_NAME).spec
    assert spec is not None
    return str(spec.renewTime)


def test_a_new_resource_becomes_ready_in_the_order_of_the_phases(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        phases: list[str] = []

        def watch() -> bool:
            phase = store.status.get("phase", "")
            if phase and (not phases or phases[-1] != phase):
                phases.append(phase)
            return phase == "Ready"

        store.wait(watch, 60)
        store.wait_well(3)
        assert phases == ["ResourcesCreated", "Configuring", "Ready"]
        assert {"Resources", "Replication"} <= store.reasons()


def test_peace_costs_no_writes(
    cluster: Cluster, client: Client, namespace: str, tmp_path: Path
) -> None:
    with running(cluster, client, namespace, tmp_path) as store:
        store.create()
        store.wait_well(3)
        before = store.item["metadata"]["resourceVersion"]
        renewals: set[str] = set()

        def time_passes() -> bool:
            """Four renewals of the lease went by."""
            renewals.add(renewed(client))
            return len(renewals) > 4

        until(time_passes, 30)
        assert store.item["metadata"]["resourceVersion"] == before
