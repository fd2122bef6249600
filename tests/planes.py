"""Turn a configuration into a running data plane in this process, with clients of its own.

The plane is the real one (Rust); the instances behind it are real processes (`servers.py`).
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import hiredis
import pytest

from kinds import HOST, Engine
from processes import Connection, Reply, until
from servers import Instance

everfly_endpoint = pytest.importorskip(
    "everfly_endpoint", reason="the data plane is not built: it needs cargo (make endpoint)"
)

WITHIN_S: Final = 10.0
"""A plane answers in microseconds; a loaded machine may take seconds."""


class Endpoint:
    """A running plane on a free port, workers of a small machine."""

    def __init__(self, primary: Instance | None = None, **config: Any) -> None:
        listener = config.pop("listener", {})
        defaults = {"listeners": [{"address": f"{HOST}:0", **listener}], "workers": 2}
        self.plane = everfly_endpoint.Plane({**defaults, **config})
        self.primary = primary
        self.port = 0

    def __enter__(self) -> Self:
        self.plane.start()
        self.port = int(self.plane.addresses()[0][1].rsplit(":", 1)[1])
        if self.primary:
            self.follow(self.primary, 1)
        return self

    def __exit__(self, *exc: object) -> None:
        self.plane.stop()

    def follow(self, instance: Instance, epoch: int) -> bool:
        answer = self.plane.set_primary(HOST, instance.port, epoch)
        assert isinstance(answer, bool)
        return answer

    def connect(self, timeout_s: float = WITHIN_S) -> Connection:
        return Connection(self.port, timeout_s=timeout_s)

    def stat(self, name: str) -> Any:
        return self.plane.stats()[name]

    def wait_for(self, name: str, at_least: int) -> None:
        """Wait until a count of the plane is at least so high."""

        def is_reached() -> bool:
            """A count of the plane is high enough."""
            return bool(self.stat(name) >= at_least)

        until(is_reached, WITHIN_S, show=self.plane.stats)

    def notices(self) -> list[str]:
        return [str(notice["kind"]) for notice in self.plane.notices()]


@contextlib.contextmanager
def instance(folder: Path, engine: Engine = Engine.VALKEY, **settings: Any) -> Iterator[Instance]:
    """Run one instance."""
    running = Instance(engine, folder / "primary", **settings)
    try:
        running.start()
        yield running
    finally:
        running.kill()


def replies(connection: Connection, count: int) -> list[Reply]:
    return [connection.receive() for _ in range(count)]


def send_raw(connection: Connection, data: bytes) -> None:
    connection.socket.sendall(data)


def receive_raw(connection: Connection, count: int) -> bytes:
    """Return exactly so many bytes as they came."""
    data = b""
    while len(data) < count:
        piece = connection.socket.recv(count - len(data))
        if not piece:
            raise ConnectionResetError(f"the other side closed after {data!r}")
        data += piece
    return data


def is_closed(connection: Connection) -> bool:
    """The other side closes the connection without another byte."""
    try:
        return connection.socket.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def error_text(reply: Reply) -> str:
    assert isinstance(reply, hiredis.ReplyError), reply
    return str(reply)


def is_silent(connection: Connection, for_s: float) -> bool:
    """Nothing comes for so long."""
    before = connection.socket.gettimeout()
    connection.socket.settimeout(for_s)
    try:
        connection.socket.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        connection.socket.settimeout(before)
    return False
