"""Turn a deployment into an endpoint in front of it: a real process with its real data plane."""

import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import pytest

from everfly.endpoint.plane import is_installed
from kinds import HOST
from processes import Child, Connection, free_port, until
from servers import Deployment
from web_client import Got, get, send

START_S: Final = 20.0
SWITCH_S: Final = 40.0

needs_plane = pytest.mark.skipif(
    not is_installed(),
    reason="the data plane of the endpoint is not built: run make with Rust on PATH",
)


@dataclass
class EndpointProcess:
    """One endpoint on free ports. Use it as a context, or start and stop it."""

    folder: Path
    deployment: Deployment
    options: Sequence[str] = ()
    port: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    children: list[Child] = field(default_factory=list)

    @property
    def restart_socket(self) -> Path:
        return self.folder / "restart.sock"

    def command(self) -> list[str]:
        sentinels = ",".join(f"{HOST}:{each.port}" for each in self.deployment.sentinels)
        return [
            *(sys.executable, "-m", "everfly", "endpoint"),
            *("--listen", f"{HOST}:{self.port}", "--admin", f"{HOST}:{self.admin}"),
            *("--sentinels", sentinels, "--name", self.deployment.name),
            *("--restart-socket", str(self.restart_socket), "--grace-ms", "3000"),
            *self.options,
        ]

    def start(self) -> Child:
        """Start a process, the first or a successor, and return when it is ready."""
        number = len(self.children)
        child = Child(self.command(), self.folder / f"endpoint-{number}.log")
        self.children.append(child)

        def is_ready() -> bool:
            """The endpoint says that it is ready."""
            if child.exit_status is not None:
                raise RuntimeError(f"the endpoint ended:\n{child.log_tail()}")
            return "Ready: clients of group" in child.log.read_text()

        until(is_ready, START_S, show=child.log_tail)
        until(lambda: self.status()["primary"], START_S, show=child.log_tail)
        return child

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            for child in self.children:
                sys.stderr.write(child.log_tail() + "\n")
        self.kill()

    def kill(self) -> None:
        for child in self.children:
            child.kill()

    def connect(self, timeout_s: float = 30.0) -> Connection:
        return Connection(self.port, timeout_s=timeout_s)

    def get(self, path: str) -> Got:
        return get(self.admin, path)

    def post(self, path: str, body: object = None) -> Got:
        return send(self.admin, "POST", path, json.dumps({} if body is None else body))

    def status(self) -> dict[str, object]:
        return self.get("/status").json()

    def primary_port(self) -> int:
        return int(str(self.status()["primary"]).rpartition(":")[2])

    def switch_over(self, **wish: object) -> dict[str, object]:
        """Have the role moved; return what is told when it is over."""
        told = self.post("/switchover", wish).json()
        while told.get("state") == "running":
            steps = told["steps"]
            assert isinstance(steps, list)
            told = self.get(f"/switchover?after={len(steps)}").json()
        return told

    def switch_over_when_well(self) -> dict[str, object]:
        """Have the role moved as soon as that can be.

        Refused while a replica copies, given up when this machine is too busy: neither may harm a
        client, so it is simply asked for again.
        """
        last: dict[str, object] = {}

        def is_done() -> bool:
            """A switch-over is done."""
            last.clear()
            last.update(self.switch_over())
            return last["state"] == "done"

        until(is_done, SWITCH_S, show=lambda: last)
        return last

    def stop(self) -> int:
        """Ask the last process to end; return its exit status."""
        child = self.children[-1]
        with contextlib.suppress(ProcessLookupError):
            child.signal(signal.SIGTERM)
        return child.wait(START_S)
