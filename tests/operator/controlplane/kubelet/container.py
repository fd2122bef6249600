"""Run one container of a pod again and again, and keep what its status says."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from .account import ENVIRONMENT
from .fields import ConfigError, Json, Sources, environment_of
from .probes import Target, outcomes
from .sandbox import Sandbox, command_of, mounts_of
from .settings import STATE, KubeletSettings
from .shell import attempt

PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
KILL_BY_PROBE_S: Final = 5.0
"""What a container that is not alive gets for an orderly end."""
BACKOFF_FACTOR_MAX: Final = 10


def utc_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Surroundings:
    """What the containers of a pod share."""

    settings: KubeletSettings
    pod: Json
    sources: Sources
    addresses: dict[str, str]
    namespace: str
    volumes: dict[str, Path]
    changed: Callable[[], Awaitable[None]]
    """Publishes the status of the pod."""

    @property
    def key(self) -> str:
        return str(self.pod["metadata"]["uid"])[:8]


@dataclass
class State:
    """What the status of a pod says of one container."""

    image: str
    restarts: int = 0
    is_ready: bool = False
    is_started: bool = False
    process: int = 0
    now: Json = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Json = field(default_factory=dict)

    def status(self, name: str) -> Json:
        return {
            "name": name,
            "image": self.image,
            "imageID": self.image,
            "containerID": f"process://{self.process}" if self.process else "",
            "ready": self.is_ready,
            "started": self.is_started,
            "restartCount": self.restarts,
            "state": self.now,
            "lastState": self.last,
        }


class Container:
    """One container. `run_once` for an init container, `keep_running` for the others."""

    def __init__(self, shape: Json, around: Surroundings, *, restarts: int = 0) -> None:
        self.shape = shape
        self.name: str = shape["name"]
        self.state = State(shape["image"], restarts)
        self._around = around
        self._environment: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()
        self._is_stopping = False

    async def keep_running(self) -> None:
        """Start it, and again after each end, later each time, unless its pod says never."""
        is_once = self._around.pod["spec"].get("restartPolicy") == "Never"
        backoff = self._around.settings.backoff_s
        delay = backoff
        while True:
            await self.run_once()
            has_ended = "terminated" in self.state.now
            if self._is_stopping or (is_once and has_ended):
                return
            if has_ended:
                self.state.restarts += 1
                await self._set(waiting={"reason": "CrashLoopBackOff"})
            await asyncio.sleep(delay)
            delay = min(delay * 2, backoff * BACKOFF_FACTOR_MAX)

    async def run_once(self) -> int | None:
        """Return the exit status, or None when it could not be started; the status says why."""
        image = self._around.settings.image(self.state.image)
        if image is None:
            message = f"no process stands for the image {self.state.image}"
            await self._set(waiting={"reason": "ErrImagePull", "message": message})
            return None
        around = self._around
        sandbox = Sandbox(STATE / "containers" / f"{around.key}-{self.name}")
        try:
            self._environment = (
                ENVIRONMENT
                | image.environment
                | await environment_of(self.shape, around.pod, around.sources, around.addresses)
            )
            mounts = mounts_of(self.shape, around.volumes)
            command = command_of(self.shape, image, self._environment)
            script = sandbox.script(
                around.pod["metadata"]["name"], image, mounts,
                self.shape.get("workingDir") or image.folder,
            )  # fmt: skip
            return await self._run(script, command)
        except ConfigError as error:
            await self._set(waiting={"reason": "CreateContainerConfigError", "message": str(error)})
            return None
        finally:
            sandbox.remove()

    async def _run(self, script: str, command: list[str]) -> int:
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        with self._log().open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                "nsenter", f"--net=/run/netns/{self._around.namespace}",
                "unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL",
                "sh", "-ec", script, "sh", *variables, *command,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._process = process
        started = utc_now()
        self.state.process = process.pid
        self._started.clear()
        if "startupProbe" not in self.shape:
            self._started.set()
        self.state.is_started = self._started.is_set()
        self.state.is_ready = self.state.is_started and "readinessProbe" not in self.shape
        await self._set(running={"startedAt": started})
        probes = [asyncio.create_task(self._probe(kind)) for kind in PROBES if kind in self.shape]
        try:
            status = await process.wait()
        finally:
            for task in probes:
                task.cancel()
            await asyncio.gather(*probes, return_exceptions=True)
        self._process = None
        await self._ended(status if status >= 0 else 128 - status, started)
        return status

    async def _ended(self, status: int, started: str) -> None:
        end = {
            "exitCode": status,
            "reason": "Completed" if status == 0 else "Error",
            "startedAt": started,
            "finishedAt": utc_now(),
            "containerID": f"process://{self.state.process}",
        }
        self.state.is_ready = self.state.is_started = False
        self.state.last = {"terminated": end}
        await self._set(terminated=end)

    async def _set(self, **state: Json) -> None:
        self.state.now = dict(state)
        await self._around.changed()

    def _log(self) -> Path:
        metadata = self._around.pod["metadata"]
        place: str = f"{metadata['namespace']}/{metadata['name']}"
        folder = self._around.settings.folder / "pods" / place
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.name}.log"

    async def _probe(self, kind: str) -> None:
        if kind != "startupProbe":
            await self._started.wait()
        ports = {port["name"]: port["containerPort"] for port in self.shape.get("ports", [])
                 if "name" in port}  # fmt: skip
        target = Target(self._around.addresses["status.podIP"], ports, self.execute)
        verdicts: asyncio.Queue[bool] = asyncio.Queue()
        speed = self._around.settings.speed
        asking = asyncio.create_task(outcomes(self.shape[kind], target, speed, verdicts.put_nowait))
        try:
            while await self._judge(kind, is_good=await verdicts.get()):
                pass
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _judge(self, kind: str, *, is_good: bool) -> bool:
        """Do what a verdict of this probe asks for; return whether it is to go on asking."""
        state = self.state
        if kind == "readinessProbe":
            if state.is_ready != is_good:
                state.is_ready = is_good
                await self._around.changed()
            return True
        if not is_good:
            self._note(f"{kind} failed: {self.name} is stopped")
            await self.end_process(KILL_BY_PROBE_S)
            return False
        if kind == "startupProbe":
            state.is_started = True
            self._started.set()
            state.is_ready = "readinessProbe" not in self.shape
            await self._around.changed()
            return False
        return True

    def _inner(self) -> int | None:
        """Return the number of the container's first process, as seen from here."""
        if self._process is None:
            return None
        outer = self._process.pid
        with contextlib.suppress(OSError, IndexError):
            return int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])
        return None

    async def execute(self, command: list[str], within_s: float) -> bool:
        """Run a command in the container; return whether its status was 0."""
        inner = self._inner()
        if inner is None:
            return False
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        status, output = await attempt(
            "nsenter", f"--target={inner}", "--mount", "--net", "--pid", "--uts", "--root", "--wd",
            "/usr/bin/env", "-i", *variables, *command, within_s=within_s,
        )  # fmt: skip
        if status != 0:
            self._note(f"{command}: status {status}: {output.strip()}")
        return status == 0

    def _note(self, text: str) -> None:
        with self._log().open("a") as log:
            log.write(f"kubelet: {text}\n")

    async def stop(self, grace_s: float) -> None:
        """End it for good: preStop, SIGTERM, and SIGKILL when the grace is over."""
        self._is_stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        hook = self.shape.get("lifecycle", {}).get("preStop", {}).get("exec")
        if hook and grace_s > 0:
            await self.execute(hook["command"], grace_s)
        await self.end_process(deadline - loop.time())

    async def end_process(self, grace_s: float) -> None:
        process = self._process
        if process is None:
            return
        inner = self._inner()
        if grace_s > 0 and inner is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(inner, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await process.wait()
        if process.returncode is None:
            # The kernel ends everything inside with it.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
