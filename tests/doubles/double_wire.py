"""Turn bytes into commands and replies into bytes, for the double of Dragonfly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BULK_MAX = 64 * 1024 * 1024


class Status(str):
    __slots__ = ()


class Error(Exception):
    pass


def encode(value: object, protocol: int = 2) -> bytes:
    if isinstance(value, Status):
        return b"+%b\r\n" % value.encode()
    if isinstance(value, Error):
        return b"-%b\r\n" % str(value).encode()
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"$-1\r\n" if protocol == 2 else b"_\r\n"
    if isinstance(value, dict):
        flat = [each for pair in value.items() for each in pair]
        head = b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % len(flat)
        return head + b"".join(encode(each, protocol) for each in flat)
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(encode(each, protocol) for each in value)
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


async def commands(reader: asyncio.StreamReader) -> AsyncIterator[list[bytes]]:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
        while line := (await reader.readuntil(b"\n")).rstrip(b"\r\n"):
            if line[:1] != b"*":
                yield line.split()
                continue
            command = []
            for _ in range(int(line[1:])):
                length = int((await reader.readuntil(b"\n"))[1:])
                if not 0 <= length <= BULK_MAX:
                    return
                command.append((await reader.readexactly(length + 2))[:-2])
            if command:
                yield command


@dataclass(eq=False)
class Connection:
    writer: asyncio.StreamWriter
    number: int
    is_admitted: bool
    name: str = ""
    protocol: int = 2
    queued: list[list[bytes]] | None = None
    channels: set[tuple[str, str]] = field(default_factory=set)
    # Of a replica:
    replica_port: int = 0
    replica_ip: str = ""
    state: str = ""
    acked: int = -1

    @property
    def peer(self) -> str:
        host, port = self.writer.get_extra_info("peername")[:2]
        return f"{host}:{port}"

    @property
    def replica_host(self) -> str:
        return self.replica_ip or self.peer.rpartition(":")[0]

    @property
    def local(self) -> str:
        host, port = self.writer.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    def send(self, value: object) -> None:
        self.writer.write(encode(value, self.protocol))

    def push(self, kind: str, *rest: object) -> None:
        body = encode([kind, *rest], self.protocol)
        self.writer.write(b">" + body[1:] if self.protocol == 3 else body)
