"""Play one node: register it, say that it is alive, and run the pods that are bound to it.

What happens to the node is written by the tests into the file `nodes/NAME`: `up`; `dead` (its
processes end at once, nobody hears of it); `isolated` (its processes live, their links are down,
nobody hears of them). After `dead` or `isolated`, `up` is a reboot or the end of the isolation.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Final

from lightkube import AsyncClient
from lightkube.core.client import FieldSelector
from lightkube.core.exceptions import ApiError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import PatchType

from .container import utc_now
from .fields import Json
from .network import GATEWAY, NodeAddresses
from .pod import API_ERRORS, Host, RunningPod, remove_from_api
from .settings import KubeletSettings, NodeShape

LOOK_S: Final = 0.1
"""Between two looks at the file that tells the node's fate."""
HEARTBEAT_S: Final = 1.0
STATUS_EVERY: Final = 5
"""Heartbeats between two writes of the node's status."""
LEASE_NAMESPACE: Final = "kube-node-lease"
AGAIN_S: Final = 0.3
"""Before a watch is begun anew."""
_CAPACITY: Final = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"}
_PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure")


class PlayedNode:
    """One node of the cluster; `run` plays it until it is cancelled."""

    def __init__(
        self, shape: NodeShape, number: int, client: AsyncClient, settings: KubeletSettings
    ) -> None:
        self.shape = shape
        self.host = Host(shape.name, client, settings)
        self._client = client
        self._addresses = NodeAddresses(number)
        self._fate = "up"
        self._known: dict[str, Json] = {}
        self._pods: dict[str, RunningPod] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        await self._register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._beat())
            tasks.create_task(self._watch())
            tasks.create_task(self._look())

    async def stop(self) -> None:
        """End all pods at once, without a word to the API."""
        await asyncio.gather(*(pod.stop(0, is_reported=False) for pod in self._pods.values()))

    async def _register(self) -> None:
        labels = {
            "kubernetes.io/hostname": self.shape.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": self.shape.zone,
            "topology.kubernetes.io/region": "local",
        }
        await self._client.create(Node(metadata=ObjectMeta(name=self.shape.name, labels=labels)))
        lease = Lease(
            metadata=ObjectMeta(name=self.shape.name, namespace=LEASE_NAMESPACE),
            spec=LeaseSpec(holderIdentity=self.shape.name, leaseDurationSeconds=8),
        )
        while True:
            try:
                await self._client.create(lease)
            except ApiError as error:
                # The namespace is made by the controllers, which may be starting yet.
                if error.status.code != 404:
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _beat(self) -> None:
        count = 0
        while True:
            if self._fate == "up":
                try:
                    if count % STATUS_EVERY == 0:
                        await self._client.patch(Node.Status, self.shape.name, _node_status())
                    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
                    await self._client.patch(
                        Lease, self.shape.name, {"spec": {"renewTime": now}},
                        namespace=LEASE_NAMESPACE, patch_type=PatchType.MERGE,
                    )  # fmt: skip
                    count += 1
                except API_ERRORS as error:
                    self._say(f"no heartbeat: {error}")
            else:
                count = 0
            await asyncio.sleep(HEARTBEAT_S)

    async def _look(self) -> None:
        file = self.host.settings.folder / "nodes" / self.shape.name
        while True:
            fate = file.read_text().strip() if file.exists() else "up"
            if fate != self._fate and fate in ("up", "dead", "isolated"):
                await self._change(fate)
            await asyncio.sleep(LOOK_S)

    async def _change(self, fate: str) -> None:
        before, self._fate = self._fate, fate
        self.host.is_cut = fate != "up"
        if fate == "dead":
            await self.stop()
            self._pods.clear()
        for running in self._pods.values():
            await running.network.set_link(is_up=fate == "up")
        self._say(f"was {before}, is {fate}")
        if fate == "up":
            for pod in list(self._known.values()):
                self._see(pod)

    async def _watch(self) -> None:
        mine: FieldSelector = {"spec.nodeName": self.shape.name}
        while True:
            try:
                listed = self._client.list(Pod, namespace="*", fields=mine)
                found = {pod["metadata"]["uid"]: pod async for each in listed
                         for pod in [each.to_dict()]}  # fmt: skip
                for uid in self._known.keys() - found.keys():
                    self._forget(uid)
                for pod in found.values():
                    self._see(pod)
                async for change, each in self._client.watch(
                    Pod, namespace="*", fields=mine, resource_version=listed.resourceVersion
                ):
                    pod = each.to_dict()
                    if change == "DELETED":
                        self._forget(pod["metadata"]["uid"])
                    else:
                        self._see(pod)
            except API_ERRORS as error:
                self._say(f"the watch begins anew: {error!r}")
            await asyncio.sleep(AGAIN_S)

    def _forget(self, uid: str) -> None:
        self._known.pop(uid, None)
        if self._fate == "up" and (running := self._pods.pop(uid, None)):
            self._do(running.stop(0, is_reported=False))

    def _see(self, pod: Json) -> None:
        metadata = pod["metadata"]
        uid = metadata["uid"]
        self._known[uid] = pod
        if self._fate != "up":
            return
        running = self._pods.get(uid)
        if metadata.get("deletionTimestamp"):
            if running is None:
                self._do(remove_from_api(self._client, pod))
            else:
                self._do(running.update(pod))
                self._do(running.stop(metadata.get("deletionGracePeriodSeconds", 30)))
        elif running is not None:
            self._do(running.update(pod))
        elif pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            self._pods[uid] = RunningPod(self.host, pod, self._addresses.take())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._say(f"failed: {error!r}")

    def _say(self, text: str) -> None:
        print(f"{self.shape.name}: {text}", flush=True)  # noqa: T201 - the kubelet's log


def _node_status() -> Json:
    now = utc_now()
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    others = [{"type": each, "status": "False", "reason": "Enough"} for each in _PRESSURES]
    times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
    return {
        "status": {
            "capacity": _CAPACITY,
            "allocatable": _CAPACITY,
            "conditions": [each | times for each in (ready, *others)],
            "addresses": [{"type": "InternalIP", "address": GATEWAY}],
        }
    }
