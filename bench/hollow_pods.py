"""Turn pods that are bound to the machines of a cluster into running ones, without any process.

Plays three machines: says that they are alive, gives each pod an address of this network, reports
it running and ready, and has one instance (`hollow_dragonflies.py`) answer there. A killed instance
comes back empty, as a container that is restarted. Orders come as lines on stdin and are answered
by one line of JSON each: `kill IP`, `freeze IP`, `thaw IP`, `report`; the end of stdin ends it.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import PatchType

from hollow_dragonflies import Dragonflies

ZONES: Final = ("zone-a", "zone-b", "zone-c")
PREFIX: Final = "10.245"
HEARTBEAT_S: Final = 2.0
RESTART_S: Final = 3.0
"""Until the platform has restarted a container: about what image and start take."""
AGAIN_S: Final = 0.5
KEYS: Final = 1000
"""Of the first instance of a data store, so that an empty one is told from it."""
LEASES: Final = "kube-node-lease"

Json = dict[str, Any]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class HollowMachines:
    """All machines and their pods. `run` it until it is cancelled."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.dragonflies = Dragonflies()
        self._pods: dict[str, str] = {}
        """Address by the uid of the pod."""
        self._names: dict[str, tuple[str, str, str]] = {}
        """Namespace, name and uid of the pod by address."""
        self._restarts: dict[str, int] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._cpu = time.process_time(), time.monotonic()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for zone in ZONES:
                await self._register(f"hollow-{zone}", zone)
                tasks.create_task(self._beat(f"hollow-{zone}"))
            tasks.create_task(self._watch())

    async def obey(self, line: str) -> Json:
        """Carry out an order."""
        match line.split():
            case ["kill", ip]:
                self.kill(ip)
            case ["freeze", ip]:
                self.dragonflies.freeze(ip, is_frozen=True)
            case ["thaw", ip]:
                self.dragonflies.freeze(ip, is_frozen=False)
            case ["report"]:
                cpu, since = self._cpu
                self._cpu = time.process_time(), time.monotonic()
                return {
                    "cpu": (self._cpu[0] - cpu) / (self._cpu[1] - since),
                    "questions": self.dragonflies.questions,
                }
        return {}

    def kill(self, ip: str) -> None:
        """End an instance; its platform restarts it."""
        self.dragonflies.kill(ip)
        self._do(self._restart(ip))

    async def _restart(self, ip: str) -> None:
        await asyncio.sleep(RESTART_S)
        found = self._names.get(ip)
        if found is None:
            return
        namespace, name, uid = found
        self._restarts[uid] = self._restarts.get(uid, 0) + 1
        await self.dragonflies.start(ip)
        await self._publish(namespace, name, uid, ip)

    async def _register(self, name: str, zone: str) -> None:
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
        await self._client.create(Node(metadata=ObjectMeta(name=name, labels=labels)))
        lease = Lease(
            metadata=ObjectMeta(name=name, namespace=LEASES),
            spec=LeaseSpec(holderIdentity=name, leaseDurationSeconds=8),
        )
        while True:
            try:
                await self._client.create(lease)
            except ApiError as error:
                if error.status.code != 404:  # its namespace is made by the controllers
                    raise
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _beat(self, name: str) -> None:
        while True:
            now = _now()
            times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"} | times
            room = {"cpu": "640", "memory": "2560Gi", "pods": "1100"}
            status: Json = {"capacity": room, "allocatable": room, "conditions": [ready]}
            micro = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            with contextlib.suppress(ApiError):
                await self._client.patch(Node.Status, name, {"status": status})
                await self._client.patch(
                    Lease, name, {"spec": {"renewTime": micro}},
                    namespace=LEASES, patch_type=PatchType.MERGE,
                )  # fmt: skip
            await asyncio.sleep(HEARTBEAT_S)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(ApiError, TimeoutError):
                async for change, pod in self._client.watch(Pod, namespace="*"):
                    item = pod.to_dict()
                    if change == "DELETED":
                        self._forget(item["metadata"]["uid"])
                    else:
                        self._see(item)
            await asyncio.sleep(AGAIN_S)

    def _see(self, pod: Json) -> None:
        metadata = pod["metadata"]
        uid = metadata["uid"]
        if metadata.get("deletionTimestamp"):
            self._do(self._remove(metadata["namespace"], metadata["name"], uid))
        elif pod["spec"].get("nodeName") and uid not in self._pods:
            self._number += 1
            ip = f"{PREFIX}.{self._number >> 8}.{self._number & 255}"
            self._pods[uid] = ip
            self._names[ip] = metadata["namespace"], metadata["name"], uid
            self._do(self._begin(pod, ip))

    def _forget(self, uid: str) -> None:
        ip = self._pods.pop(uid, None)
        if ip is not None:
            self._names.pop(ip, None)
            self.dragonflies.kill(ip)

    async def _begin(self, pod: Json, ip: str) -> None:
        metadata = pod["metadata"]
        await self.dragonflies.start(ip, KEYS if metadata["name"].endswith("-0") else 0)
        await self._publish(metadata["namespace"], metadata["name"], metadata["uid"], ip)

    async def _publish(self, namespace: str, name: str, uid: str, ip: str) -> None:
        now = _now()
        container = {
            "name": "dragonfly",
            "image": "hollow",
            "imageID": "hollow",
            "containerID": f"hollow://{uid}",
            "ready": True,
            "started": True,
            "restartCount": self._restarts.get(uid, 0),
            "state": {"running": {"startedAt": now}},
            "lastState": {},
        }
        kinds = ("Initialized", "ContainersReady", "Ready")
        status: Json = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"$patch": "replace"}, {"ip": ip}],
            "startTime": now,
            "containerStatuses": [container],
            "conditions": [
                {"type": each, "status": "True", "lastTransitionTime": now} for each in kinds
            ],
        }
        change = {"metadata": {"uid": uid}, "status": status}
        with contextlib.suppress(ApiError):
            await self._client.patch(Pod.Status, name, change, namespace=namespace)

    async def _remove(self, namespace: str, name: str, uid: str) -> None:
        self._forget(uid)
        with contextlib.suppress(ApiError):
            await self._client.delete(Pod, name, namespace=namespace, grace_period=0)

    def _do(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def main(kubeconfig: Path) -> None:
    """Play until stdin ends."""
    client = AsyncClient(KubeConfig.from_file(kubeconfig), trust_env=False)
    machines = HollowMachines(client)
    playing = asyncio.create_task(machines.run())
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        if playing.done():
            playing.result()
        print(json.dumps(await machines.obey(line.decode())), flush=True)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await client.close()


if __name__ == "__main__":
    # Every address of the range is ours, without an interface for each.
    subprocess.run(["ip", "route", "add", "local", f"{PREFIX}.0.0/16", "dev", "lo"], check=True)
    asyncio.run(main(Path(sys.argv[1])))
