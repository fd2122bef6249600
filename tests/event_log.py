"""Turn the Pub/Sub channels of several Sentinels into one list of events with times of arrival.

One thread reads all of them. Times are those of `time.monotonic()`, taken when the bytes arrive.
"""

import os
import selectors
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import hiredis

from processes import Connection, until

RECEIVE_BYTES: Final = 65_536


@dataclass(frozen=True)
class Event:
    """One message of one Sentinel. `at` in seconds of the monotonic clock."""

    at: float
    port: int
    channel: str
    payload: str


class EventLog:
    """Everything that the Sentinels on these ports publish, from `__enter__` on."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = list(ports)
        self._events: list[Event] = []
        self._connections: list[Connection] = []
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._read, name="event-log", daemon=True)

    def __enter__(self) -> Self:
        for port in self._ports:
            connection = Connection(port)
            self._connections.append(connection)
            connection.call("PSUBSCRIBE", "*")
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None:
            sys.stderr.write(f"the events of the Sentinels:\n{self}\n")
        os.write(self._wake_write, b"x")
        self._thread.join(5.0)
        for connection in self._connections:
            connection.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _read(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ, None)
            for port, connection in zip(self._ports, self._connections, strict=True):
                reader = hiredis.Reader()
                selector.register(connection.socket, selectors.EVENT_READ, (port, reader))
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    port, reader = key.data
                    data = os.read(key.fd, RECEIVE_BYTES)
                    if not data:
                        selector.unregister(key.fileobj)  # that Sentinel ended; the others go on
                        continue
                    self._take(port, reader, data)

    def _take(self, port: int, reader: hiredis.Reader, data: bytes) -> None:
        now = time.monotonic()
        reader.feed(data)
        while (message := reader.gets()) is not False:
            if isinstance(message, list) and message[0] == b"pmessage":
                channel, payload = message[2].decode(), message[3].decode(errors="replace")
                self._events.append(Event(now, port, channel, payload))

    def __str__(self) -> str:
        first = self._events[0].at if self._events else 0.0
        return "\n".join(
            f"{event.at - first:8.3f} {event.port} {event.channel} {event.payload}"
            for event in self.since()
        )

    def since(self, start: float = 0.0) -> list[Event]:
        """Return the events that arrived at or after `start`, in order of arrival."""
        return [event for event in tuple(self._events) if event.at >= start]

    def of(self, channel: str, start: float = 0.0) -> list[Event]:
        """Return the events of one channel that arrived at or after `start`."""
        return [event for event in self.since(start) if event.channel == channel]

    def watch(self, end: float) -> None:
        """Return when `time.monotonic()` passes `end`: for what must not happen until then."""
        self._thread.join(max(0.0, end - time.monotonic()))
        assert self._thread.is_alive(), "nobody reads the events any more"

    def wait_for(
        self, channel: str, *, count: int = 1, start: float = 0.0, within_s: float = 15.0
    ) -> list[Event]:
        """Wait for that many events of one channel; return all of them."""

        def arrived() -> list[Event]:
            """The awaited number of events has arrived."""
            found = self.of(channel, start)
            return found if len(found) >= count else []

        return until(arrived, within_s, show=self.__str__)
