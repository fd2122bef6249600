"""A scripted instance on a real loopback socket: remembers commands, answers as the test says."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Final

from everfly.wire.resp import RequestParser

Answers = Callable[[list[bytes]], bytes]

SUBSCRIBED: Final = b"*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n"


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def message(payload: bytes) -> bytes:
    return b"*3\r\n$7\r\nmessage\r\n$18\r\n__sentinel__:hello\r\n" + bulk(payload)


def usual(command: list[bytes]) -> bytes:
    """Answer as a healthy instance does."""
    match [command[0].upper(), *command[1:]]:
        case [b"PING"]:
            return b"+PONG\r\n"
        case [b"INFO"]:
            return bulk(b"redis_version:7.0.15\r\nrole:master\r\n")
        case [b"SUBSCRIBE", _]:
            return SUBSCRIBED
        case [b"PUBLISH", _, _]:
            return b":1\r\n"
        case _:
            return b"+OK\r\n"


class Visit(asyncio.Protocol):
    """One connection that somebody made to the instance."""

    def __init__(self, instance: "ScriptedInstance") -> None:
        self.commands: list[list[bytes]] = []
        self.chunks = 0
        self.has_ended = False
        self._instance = instance
        self._parser = RequestParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._instance.visits.append(self)

    def data_received(self, data: bytes) -> None:
        self.chunks += 1
        self._parser.feed(data)
        answers = []
        while (command := self._parser.next_command()) is not None:
            self.commands.append(command)
            answers.append(self._instance.answer(command))
        self.transport.write(b"".join(answers))

    def connection_lost(self, _: Exception | None) -> None:
        self.has_ended = True

    def say(self, data: bytes) -> None:
        self.transport.write(data)

    def reset(self) -> None:
        """End the connection by an RST."""
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class ScriptedInstance:
    """Listens on `port`; `answer` may be replaced at any time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer: Answers = usual
        self.visits: list[Visit] = []

    @property
    def visit(self) -> Visit:
        """The only visit."""
        (visit,) = self.visits
        return visit


@contextlib.asynccontextmanager
async def scripted_instance(host: str = "127.0.0.1") -> AsyncIterator[ScriptedInstance]:
    instance = ScriptedInstance(0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Visit(instance), host, 0)
    instance.port = server.sockets[0].getsockname()[1]
    try:
        yield instance
    finally:
        server.close()
        for visit in instance.visits:
            visit.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)
