"""Turn one process into many fake instances and two fake Sentinels around one real Sentinel.

Each group has a primary and two replicas, each with a loopback address and a hello channel of its
own. To the watched Sentinel all of them look alive and well: they answer what a Sentinel asks, with
an INFO text that a real Valkey wrote and that changes each time. The two fake Sentinels are heard
on every channel every two seconds and publish to the watched one directly, as genuine peers do.

Everything is one loop around epoll without any framework, because the fakes must never be what is
measured. `bench/scale.py` starts it: a line `reset` on stdin begins to count anew, `report` answers
a line of JSON, the end of stdin ends the process.
"""

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from fake_connection import RECEIVE_BYTES, Connection, Counts, Take, raise_file_limit

REPLICAS: Final = 2
MEMBERS: Final = 1 + REPLICAS
PEERS: Final = 2
HELLO_PERIOD_S: Final = 2.0
"""Source: `sentinel_publish_period`, valkey/src/sentinel.c (8.0)."""

PING_PERIOD_S: Final = 1.0
TICK_S: Final = 0.01
RETRY_S: Final = 0.1
BACKLOG: Final = 512
GROUPS_MAX: Final = 20_000
"""Three addresses each must fit below those of the peers in 127.77.0.0/16."""

CHANNEL: Final = b"__sentinel__:hello"
PING: Final = b"*1\r\n$4\r\nPING\r\n"
PONG: Final = b"+PONG\r\n"
ONE: Final = b":1\r\n"
OK: Final = b"+OK\r\n"
SUBSCRIBED: Final = b"*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n"
ALL_WELL: Final = b"*3\r\n:0\r\n$1\r\n*\r\n:0\r\n"


@dataclass(frozen=True)
class Plan:
    """What one process fakes: the groups whose number is `part` modulo `parts`."""

    groups: int
    port: int
    """Of every fake, each on an address of its own."""
    watched_port: int
    info: str
    """The file with the INFO text of a real instance."""
    part: int = 0
    parts: int = 1

    def own_groups(self) -> range:
        """Return the numbers of the groups of this process."""
        return range(self.part, self.groups, self.parts)


def group_name(group: int) -> str:
    """Return the name of a group."""
    return f"group-{group:05d}"


def host(group: int, member: int) -> str:
    """Return the address of an instance; member 0 is the primary."""
    number = group * MEMBERS + member
    return f"127.77.{number >> 8}.{number & 255}"


def peer_host(peer: int) -> str:
    """Return the address of a fake Sentinel."""
    return f"127.77.255.{1 + peer}"


def run_id(host_of_it: str) -> str:
    """Return 40 hexadecimal digits that belong to an address."""
    return "".join(f"{int(byte):02x}" for byte in host_of_it.split(".")).rjust(40, "a")


def info_templates(text: str) -> list[bytes]:
    """Turn a real INFO into templates, of a primary and of a replica.

    Their places: run id, uptime (s), then the changing lines of the replication section.
    """
    replaced = {"run_id": "run_id:%b", "uptime_in_seconds": "uptime_in_seconds:%d"}
    kept: list[str] = []
    section = ""
    for line in text.replace("%", "%%").splitlines():
        if line.startswith("#"):
            section = line
        if section != "# Replication":
            kept.append(replaced.get(line.partition(":")[0], line))
    history = "master_failover_state:no-failover\r\nmaster_replid:" + "b" * 40
    primary = f"# Replication\r\nrole:master\r\nconnected_slaves:{REPLICAS}\r\n%b{history}\r\n"
    replica = f"# Replication\r\nrole:slave\r\n%b{history}\r\n"
    head = "\r\n".join(kept)
    return [f"{head}\r\n\r\n{each}\r\n".encode() for each in (primary, replica)]


@dataclass
class Instance:
    """One fake instance and who listens to its channel."""

    group: int
    member: int
    run_id: bytes
    listeners: set[Connection] = field(default_factory=set)


class Fakes:
    """All fakes of one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._listening: dict[int, tuple[socket.socket, Take]] = {}
        self._templates = info_templates(Path(plan.info).read_text())
        self._start = time.monotonic()
        self._counts = Counts()
        self._peers: list[Connection | None] = [None] * PEERS
        self._next_try = self._next_ping = 0.0
        self._timetable: list[Callable[[], None]] = []
        for group in plan.own_groups():
            members = [self._listen_instance(group, member) for member in range(MEMBERS)]
            for peer in range(PEERS):
                self._plan_hellos(group, peer, members)
        if plan.part == 0:
            for peer in range(PEERS):
                self._listen(peer_host(peer), self._take_as_peer)

    def run(self) -> None:
        """Serve until stdin ends."""
        print("ready", flush=True)
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)
        begin = time.monotonic()
        done = 0
        while True:
            for fd, event in self._poll.poll(TICK_S):
                if fd == sys.stdin.fileno():
                    if not self._obey():
                        return
                elif fd in self._listening:
                    self._accept(*self._listening[fd])
                else:
                    self._serve(fd, event)
            now = time.monotonic()
            self._keep_peers(now)
            # Spread evenly over the period, so that no two seconds differ.
            due = int((now - begin) / HELLO_PERIOD_S * len(self._timetable))
            self._counts.late_s = max(
                self._counts.late_s, (due - done) * HELLO_PERIOD_S / len(self._timetable)
            )
            while done < due:
                self._timetable[done % len(self._timetable)]()
                done += 1

    def _obey(self) -> bool:
        """Carry out the commands on stdin. Return whether there may be more."""
        words = os.read(sys.stdin.fileno(), RECEIVE_BYTES).split()
        for word in words:
            if word == b"reset":
                self._counts = Counts()
            elif word == b"report":
                print(json.dumps(self._counts.report()), flush=True)
        return bool(words)

    def _listen_instance(self, group: int, member: int) -> Instance:
        own_host = host(group, member)
        instance = Instance(group, member, run_id(own_host).encode())

        def take(connection: Connection, command: object) -> None:
            self._take(instance, connection, command)

        self._listen(own_host, take)
        return instance

    def _listen(self, own_host: str, take: Take) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((own_host, self._plan.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
        self._listening[listener.fileno()] = (listener, take)
        self._poll.register(listener, select.EPOLLIN)

    def _accept(self, listener: socket.socket, take: Take) -> None:
        stream, _ = listener.accept()
        self._connections[stream.fileno()] = Connection(stream, self._poll, take)

    def _serve(self, fd: int, event: int) -> None:
        connection = self._connections.get(fd)
        if connection is None:
            return
        if event & select.EPOLLOUT:
            connection.flush()
        if not event & ~select.EPOLLOUT:
            return
        try:
            data = connection.receive()
        except BlockingIOError:
            return
        if not data:
            del self._connections[fd]
            connection.close()
            return
        connection.reader.feed(data)
        while (command := connection.reader.gets()) is not False:
            connection.take(connection, command)

    def _take(self, instance: Instance, connection: Connection, command: object) -> None:
        """Answer a Sentinel as an instance."""
        counts = self._counts
        match command:
            case [b"PING"]:
                now = time.monotonic()
                if connection.last_ping > counts.since:
                    counts.pings.append(now - connection.last_ping)
                connection.last_ping = now
                connection.send(PONG)
            case [b"PUBLISH", _, bytes(payload)]:
                counts.publishes += 1
                connection.send(ONE)
                self._deliver(instance, message(payload))
            case [b"INFO"]:
                counts.infos += 1
                text = self._info(instance)
                connection.send(b"$%d\r\n%b\r\n" % (len(text), text))
            case [b"SUBSCRIBE", _]:
                instance.listeners.add(connection)
                connection.on_end.append(lambda: instance.listeners.discard(connection))
                connection.send(SUBSCRIBED)
            case [b"CLIENT", *_]:
                connection.send(OK)
            case _:
                raise RuntimeError(f"nobody thought of {command!r}")

    def _take_as_peer(self, connection: Connection, command: object) -> None:
        """Answer a Sentinel as another Sentinel."""
        match command:
            case [b"PING"]:
                connection.send(PONG)
            case [b"PUBLISH", *_]:
                connection.send(ONE)
            case [b"SENTINEL", *_]:
                connection.send(ALL_WELL)
            case _:
                connection.send(OK)

    def _deliver(self, instance: Instance, data: bytes) -> None:
        for listener in instance.listeners:
            self._counts.messages += 1
            listener.send(data)

    def _info(self, instance: Instance) -> bytes:
        uptime = int(time.monotonic() - self._start)
        group, port, offset = instance.group, self._plan.port, 1000 + 100 * uptime
        if instance.member == 0:
            lines = "".join(
                f"slave{member - 1}:ip={host(group, member)},port={port},state=online,"
                f"offset={offset},lag=0,type=replica\r\n"
                for member in range(1, MEMBERS)
            )
        else:
            lines = (
                f"master_host:{host(group, 0)}\r\nmaster_port:{port}\r\nmaster_link_status:up\r\n"
                f"master_last_io_seconds_ago:1\r\nmaster_sync_in_progress:0\r\n"
                f"slave_repl_offset:{offset}\r\nslave_priority:100\r\nslave_read_only:1\r\n"
                "replica_announced:1\r\nconnected_slaves:0\r\n"
            )
        lines += f"master_repl_offset:{offset}\r\n"
        template = self._templates[min(instance.member, 1)]
        return template % (instance.run_id, uptime, lines.encode())

    def _plan_hellos(self, group: int, peer: int, members: list[Instance]) -> None:
        port = self._plan.port
        payload = ",".join(
            (peer_host(peer), str(port), run_id(peer_host(peer)), "0",
             group_name(group), host(group, 0), str(port), "0")
        ).encode()  # fmt: skip
        heard = message(payload)
        direct = b"*3\r\n$7\r\nPUBLISH\r\n$18\r\n%b\r\n$%d\r\n%b\r\n" % (
            CHANNEL,
            len(payload),
            payload,
        )

        def publish() -> None:
            connection = self._peers[peer]
            if connection is not None:
                connection.send(direct)

        self._timetable.append(publish)
        for instance in members:
            self._timetable.append(partial(self._deliver, instance, heard))

    def _keep_peers(self, now: float) -> None:
        """Keep the links of the fake Sentinels to the watched one, and ping it over them."""
        if now >= self._next_try and None in self._peers:
            self._next_try = now + RETRY_S
            for peer, connection in enumerate(self._peers):
                if connection is None:
                    self._connect_peer(peer)
        if now >= self._next_ping:
            self._next_ping = now + PING_PERIOD_S
            for connection in self._peers:
                if connection is not None:
                    connection.send(PING)

    def _connect_peer(self, peer: int) -> None:
        try:
            stream = socket.create_connection(("127.0.0.1", self._plan.watched_port), timeout=1.0)
        except OSError:
            return  # it has not started yet
        connection = Connection(stream, self._poll, lambda _connection, _reply: None)
        self._connections[stream.fileno()] = connection
        self._peers[peer] = connection

        def forget() -> None:
            self._peers[peer] = None

        connection.on_end.append(forget)


def message(payload: bytes) -> bytes:
    """Return what a subscriber receives."""
    return b"*3\r\n$7\r\nmessage\r\n$18\r\n%b\r\n$%d\r\n%b\r\n" % (CHANNEL, len(payload), payload)


if __name__ == "__main__":
    raise_file_limit()
    Fakes(Plan(**json.loads(sys.argv[1]))).run()
