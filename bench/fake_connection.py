"""Turn sockets into parsed commands and counted answers, for the fakes: as cheap as Python can."""

import resource
import select
import socket
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import hiredis

RECEIVE_BYTES: Final = 65_536
UNSENT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Twenty seconds of hellos for two thousand groups: the watched Sentinel has stopped to read."""


class Connection:
    """One stream. Commands, or replies, go to `take` one by one."""

    __slots__ = ("_unsent", "last_ping", "on_end", "poll", "reader", "socket", "take")

    def __init__(
        self,
        stream: socket.socket,
        poll: select.epoll,
        take: "Take",
    ) -> None:
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = stream
        self.poll = poll
        self.take = take
        self.reader = hiredis.Reader()
        self.last_ping = 0.0
        self.on_end: list[Callable[[], None]] = []
        self._unsent = bytearray()
        poll.register(stream, select.EPOLLIN)

    def send(self, data: bytes) -> None:
        """Send, or keep what the other side does not take yet."""
        if not self._unsent:
            try:
                sent = self.socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the next read finds the end
            if sent == len(data):
                return
            data = data[sent:]
            self.poll.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)
        self._unsent += data
        if len(self._unsent) > UNSENT_BYTES_MAX:
            raise RuntimeError("the watched Sentinel does not read what it is sent")

    def flush(self) -> None:
        """Send more of what was kept."""
        try:
            del self._unsent[: self.socket.send(self._unsent)]
        except OSError:
            return
        if not self._unsent:
            self.poll.modify(self.socket, select.EPOLLIN)

    def receive(self) -> bytes:
        """Return what came; empty at the end."""
        try:
            return self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            raise
        except OSError:
            return b""

    def close(self) -> None:
        """Close and forget."""
        self.poll.unregister(self.socket)
        self.socket.close()
        for each in self.on_end:
            each()


Take = Callable[[Connection, object], None]
"""Takes a connection and one command, or one reply, of its other side."""


@dataclass
class Counts:
    """What happened since the last reset. Intervals in seconds."""

    since: float = field(default_factory=time.monotonic)
    cpu_s: float = field(default_factory=time.process_time)
    pings: "array[float]" = field(default_factory=lambda: array("d"))
    publishes: int = 0
    infos: int = 0
    messages: int = 0
    late_s: float = 0.0
    """The longest that this process itself was behind its own timetable."""

    def report(self) -> dict[str, object]:
        """Return all of it, for JSON."""
        spent = time.process_time() - self.cpu_s
        return {
            "intervals": list(self.pings),
            "publishes": self.publishes,
            "infos": self.infos,
            "messages": self.messages,
            "late_ms": round(self.late_s * 1000, 1),
            "cpu_percent": round(100 * spent / (time.monotonic() - self.since), 1),
        }


def raise_file_limit() -> int:
    """Allow as many files as the system grants; return how many. For this process and children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):  # only root may go beyond the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return most
