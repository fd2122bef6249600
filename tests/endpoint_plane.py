"""A data plane that remembers what it is told, for tests of the control beside real Sentinels.

It stands at the port (`everfly.endpoint.plane.Plane`), keeps its rules about epochs and holds, and
carries no traffic.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from everfly.endpoint.plane import PlaneNotice


@dataclass
class RecordingPlane:
    """Remembers calls with the monotonic time of each."""

    calls: list[tuple[float, str, tuple[object, ...]]] = field(default_factory=list)
    primary: str | None = None
    epoch: int = -1
    state: str = "no-primary"
    drains: bool = True
    on_drained: Callable[[], None] = lambda: None
    """What happens while it drains."""
    clients: int = 0
    replicas: tuple[tuple[str, int, str, int], ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    latency: dict[str, object] | None = None
    bound: list[tuple[str, str]] = field(default_factory=list)
    _token: int = 0
    _waiting: list[PlaneNotice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._out, self._in = os.pipe()
        self._lock = threading.Lock()

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)

    def names(self) -> list[str]:
        """What was called, in order, without what is only looked at."""
        return [name for _, name, _ in self.calls]

    def at(self, name: str) -> list[float]:
        """When something was called."""
        return [at for at, called, _ in self.calls if called == name]

    def of(self, name: str) -> list[tuple[object, ...]]:
        """With what something was called."""
        return [words for _, called, words in self.calls if called == name]

    def notice(self, kind: str, address: str | None = None) -> None:
        """Notice something, as the plane's threads do."""
        at_ms = int(time.time() * 1000)
        self._waiting.append(
            {"kind": kind, "text": kind, "address": address, "count": 1, "at_ms": at_ms}
        )
        os.write(self._in, b"!")

    def _note(self, name: str, *words: object) -> None:
        with self._lock:
            self.calls.append((time.monotonic(), name, words))

    def start(self) -> None:
        self._note("start")

    def stop(self, grace_s: float = 0.0) -> None:
        self._note("stop", grace_s)
        self.state = "stopped"

    def set_primary(self, host: str, port: int, epoch: int) -> bool:
        self._note("set_primary", host, port, epoch)
        if epoch < self.epoch:
            return False
        self.primary, self.epoch = f"{host}:{port}", epoch
        if self.state == "no-primary":
            self.state = "open"
        return True

    def no_primary(self, reason: str) -> None:
        self._note("no_primary", reason)
        if self.state == "open":
            self.state = "no-primary"

    def hold(self, reason: str, budget_ms: int) -> int:
        self._note("hold", reason, budget_ms)
        self.state = "holding"
        self._token += 1
        return self._token

    def release(self, token: int | None = None) -> bool:
        self._note("release", token)
        if self.state != "holding" or token not in (None, self._token):
            return False
        self.state = "open"
        return True

    def drained(self, timeout_ms: int) -> bool:
        self._note("drained", timeout_ms)
        self.on_drained()
        return self.drains

    def set_replicas(self, replicas: Sequence[tuple[str, int, str, int]]) -> None:
        self._note("set_replicas", tuple(replicas))
        self.replicas = tuple(replicas)

    def reload_tls(self) -> None:
        self._note("reload_tls")

    def stop_accepting(self) -> None:
        self._note("stop_accepting")

    def close_idle(self) -> int:
        self._note("close_idle")
        return self.clients

    def listener_fds(self) -> list[tuple[str, int]]:
        return []

    def addresses(self) -> list[tuple[str, str]]:
        return self.bound

    def connections(self) -> int:
        return self.clients

    def stats(self) -> dict[str, object]:
        return {
            "state": self.state,
            "primary": self.primary,
            "epoch": self.epoch,
            "connections": self.clients,
            "latency": self.latency,
            **self.counters,
        }

    def notices(self) -> list[PlaneNotice]:
        waiting, self._waiting = self._waiting, []
        if waiting:
            os.read(self._out, 4096)
        return waiting

    def notice_fd(self) -> int:
        return self._out
