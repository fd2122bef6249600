"""Turn one pod of the API into processes, and their state into the status of the pod."""

import asyncio
import contextlib
import json
import shutil
from dataclasses import dataclass
from typing import Final

import httpx2
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.resources.core_v1 import Pod

from .account import with_account
from .container import Container, Surroundings, utc_now
from .fields import ConfigError, Json, Sources
from .network import GATEWAY, PodNetwork
from .settings import STATE, KubeletSettings
from .shell import CommandError
from .volumes import Volumes

API_ERRORS: Final = (ApiError, httpx2.HTTPError)


def is_gone(error: Exception) -> bool:
    """Tell whether the pod was deleted, or another one has its name now."""
    return isinstance(error, ApiError) and error.status.code in (404, 409)


@dataclass
class Host:
    """The node that a pod runs on, as far as its pods see it."""

    name: str
    client: AsyncClient
    settings: KubeletSettings
    is_cut: bool = False
    """Dead or isolated: nothing is reported."""


class RunningPod:
    """One pod from its start to its removal."""

    def __init__(self, host: Host, pod: Json, address: str) -> None:
        self.host = host
        self.pod = with_account(pod)
        metadata = pod["metadata"]
        self.uid: str = metadata["uid"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.network = PodNetwork(self.uid, address)
        self._addresses = {
            "status.podIP": address,
            "status.hostIP": GATEWAY,
            "spec.nodeName": host.name,
        }
        self._volumes = Volumes(host.client, STATE / "volumes" / self.uid, self._addresses)
        self._started = utc_now()
        self._inits: list[Container] = []
        self._containers: list[Container] = []
        self._published = ""
        self._publishing = asyncio.Lock()
        self._is_over = False
        self._stopping: asyncio.Task[None] | None = None
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(self._tell_failure)

    async def _run(self) -> None:
        backoff = self.host.settings.backoff_s
        while True:
            if await self._set_up():
                break
            await asyncio.sleep(backoff)
        for container in self._inits:
            while await container.run_once() != 0:
                container.state.restarts += 1
                await self.publish()
                await asyncio.sleep(backoff)
        async with asyncio.TaskGroup() as tasks:
            for container in self._containers:
                tasks.create_task(container.keep_running())
            tasks.create_task(self._refresh())

    def _tell_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._say(f"{self.namespace}/{self.name}: given up: {error!r}")

    async def _set_up(self) -> bool:
        try:
            await self.network.set_up()
            await self._volumes.set_up(self.pod)
        except (ConfigError, CommandError, *API_ERRORS) as error:
            self._say(f"{self.namespace}/{self.name}: not set up: {error}")
            return False
        around = Surroundings(
            settings=self.host.settings,
            pod=self.pod,
            sources=Sources(self.host.client, self.namespace),
            addresses=self._addresses,
            namespace=self.network.namespace,
            volumes=self._volumes.paths,
            changed=self.publish,
        )
        spec = self.pod["spec"]
        # After the reboot of a node its containers have restarted.
        before = {
            each["name"]: each["restartCount"] + 1
            for each in self.pod.get("status", {}).get("containerStatuses", [])
        }
        self._inits = [Container(each, around) for each in spec.get("initContainers", [])]
        self._containers = [
            Container(each, around, restarts=before.get(each["name"], 0))
            for each in spec["containers"]
        ]
        return True

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self.host.settings.refresh_s)
            # What could not be written before is written now.
            await self.publish()
            # A source that cannot be read leaves the files as they are.
            with contextlib.suppress(ConfigError, *API_ERRORS, OSError):
                if not self.host.is_cut:
                    await self._volumes.refresh(self.pod)

    def _say(self, text: str) -> None:
        print(f"{self.host.name}: {text}", flush=True)  # noqa: T201 - the kubelet's log

    async def update(self, pod: Json) -> None:
        """Take the pod as the API has it now: labels, conditions of readiness gates."""
        self.pod = with_account(pod)
        await self.publish()

    async def publish(self) -> None:
        """Write the status, when it is not the one written last and anybody may hear of it."""
        async with self._publishing:
            if self.host.is_cut or self._is_over:
                return
            status, wanted = self._status()
            text = json.dumps(status, sort_keys=True)
            # Others write conditions too: of a node that was silent all pods become not ready.
            changed = self._conditions(wanted)
            if text == self._published and not changed:
                return
            patch = {"metadata": {"uid": self.uid}, "status": status | changed}
            try:
                written = await self.host.client.patch(
                    Pod.Status, self.name, patch, namespace=self.namespace
                )
            except API_ERRORS as error:
                if not is_gone(error):
                    self._say(f"{self.namespace}/{self.name}: status not written: {error}")
                return
            self._published = text
            self.pod["status"] = written.to_dict()["status"]

    def _status(self) -> tuple[Json, dict[str, bool]]:
        spec = self.pod["spec"]
        states = [each.state for each in self._containers]
        is_running = any("running" in state.now or state.restarts for state in states)
        is_initialized = all(
            each.state.now.get("terminated", {}).get("exitCode") == 0 for each in self._inits
        )
        are_ready = bool(states) and all(state.is_ready for state in states)
        have = self._have()
        gates = [gate["conditionType"] for gate in spec.get("readinessGates", [])]
        status = {
            "phase": self._over() or ("Running" if is_running else "Pending"),
            "hostIP": GATEWAY,
            "podIP": self.network.address,
            "podIPs": [{"$patch": "replace"}, {"ip": self.network.address}],
            "startTime": self._started,
            "containerStatuses": [each.state.status(each.name) for each in self._containers],
            "initContainerStatuses": [each.state.status(each.name) for each in self._inits],
        }
        return status, {
            "Initialized": is_initialized,
            "ContainersReady": are_ready,
            "Ready": are_ready and all(have.get(gate) == "True" for gate in gates),
        }

    def _over(self) -> str:
        """Return the phase of a pod whose containers have ended for good, or an empty text."""
        ends = [each.state.now.get("terminated") for each in self._containers]
        if self.pod["spec"].get("restartPolicy") != "Never" or not ends or None in ends:
            return ""
        return "Succeeded" if all(end["exitCode"] == 0 for end in ends) else "Failed"

    def _have(self) -> dict[str, str]:
        conditions = self.pod.get("status", {}).get("conditions") or []
        return {each["type"]: each["status"] for each in conditions}

    def _conditions(self, wanted: dict[str, bool]) -> Json:
        have = self._have()
        changed = []
        for kind, holds in wanted.items():
            status = "True" if holds else "False"
            if have.get(kind) != status:
                condition = {"type": kind, "status": status, "lastTransitionTime": utc_now()}
                if kind == "Ready" and wanted["ContainersReady"] and not holds:
                    condition["reason"] = "ReadinessGatesNotReady"
                changed.append(condition)
        return {"conditions": changed} if changed else {}

    async def stop(self, grace_s: float, *, is_reported: bool = True) -> None:
        """End all containers and remove the pod, also from the API unless it must not hear."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_s, is_reported=is_reported))
        await asyncio.shield(self._stopping)

    async def _stop(self, grace_s: float, *, is_reported: bool) -> None:
        containers = [*self._inits, *self._containers]
        await asyncio.gather(*(each.stop(grace_s) for each in containers))
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        # One that was about to start when it was told to stop.
        await asyncio.gather(*(each.stop(0) for each in containers))
        self._is_over = True
        await self.network.tear_down()
        self._volumes.remove()
        shutil.rmtree(STATE / "containers" / self.uid[:8], ignore_errors=True)
        if is_reported:
            await remove_from_api(self.host.client, self.pod)


async def remove_from_api(client: AsyncClient, pod: Json) -> None:
    """Delete a pod for good, unless another one has its name by now."""
    metadata = pod["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    try:
        current = await client.get(Pod, name, namespace=namespace)
        assert current.metadata is not None
        if current.metadata.uid == metadata["uid"]:
            await client.delete(Pod, name, namespace=namespace, grace_period=0)
    except ApiError as error:
        if not is_gone(error):
            raise
