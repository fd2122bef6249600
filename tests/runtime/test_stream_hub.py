"""Connections of a hub against real sockets of loopback."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from everfly.runtime.stream_hub import Stream, StreamHub, is_supported
from shell_doubles import turns, until

pytestmark = pytest.mark.skipif(not is_supported, reason="this system has no epoll")

MUCH = 8 * 1024 * 1024
"""More than the kernel keeps for a connection whose other side does not read."""


class Heard(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self, on_data: Callable[[bytes], None] = lambda _: None) -> None:
        self.data = b""
        self.ends: list[str] = []
        self._on_data = on_data

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._on_data(data)

    def eof_received(self) -> bool | None:
        self.ends.append("end of stream")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(type(exc).__name__)


class Far:
    """The other sides: blocking sockets of the test's own."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._others: list[socket.socket] = []
        self.port: int = listener.getsockname()[1]

    async def join(self, hub: StreamHub, protocol: Heard) -> tuple[Stream, socket.socket]:
        stream = await hub.connect(protocol, "127.0.0.1", self.port)
        other, _ = self._listener.accept()
        self._others.append(other)
        return stream, other

    def close(self) -> None:
        for each in (*self._others, self._listener):
            each.close()


@contextlib.asynccontextmanager
async def far() -> AsyncIterator[Far]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    it = Far(listener)
    try:
        yield it
    finally:
        it.close()
        await turns()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def epolls() -> int:
    links = (Path("/proc/self/fd") / name for name in map(str, range(4096)))
    return sum("eventpoll" in str(each.readlink()) for each in links if each.is_symlink())


async def test_each_connection_hears_what_its_own_other_side_says() -> None:
    async with far() as other_sides:
        hub = StreamHub()
        protocols = [Heard() for _ in range(20)]
        pairs = [await other_sides.join(hub, each) for each in protocols]
        for number, (stream, other) in enumerate(pairs):
            other.sendall(b"to %d" % number)
            stream.write(b"from %d" % number)
        await until(lambda: all(each.data for each in protocols))
        for number, (stream, other) in enumerate(pairs):
            assert protocols[number].data == b"to %d" % number
            assert other.recv(100) == b"from %d" % number
            stream.close()


async def test_what_the_other_side_does_not_take_is_kept_and_sent_in_order() -> None:
    said = bytes(range(256)) * (MUCH // 256)
    async with far() as other_sides:
        hub = StreamHub()
        stream, other = await other_sides.join(hub, Heard())
        other.setblocking(False)
        stream.write(said)
        assert 0 < stream.get_write_buffer_size() < MUCH
        stream.write(b"last")
        heard = bytearray()

        def take() -> bool:
            with contextlib.suppress(BlockingIOError):
                heard.extend(other.recv(MUCH))
            return len(heard) == MUCH + 4

        await until(take)
        assert bytes(heard) == said + b"last"
        assert stream.get_write_buffer_size() == 0
        stream.close()


async def test_the_end_of_a_stream_is_told_once_and_closes_it() -> None:
    async with far() as other_sides:
        hub, protocol = StreamHub(), Heard()
        stream, other = await other_sides.join(hub, protocol)
        other.sendall(b"bye")
        other.close()
        await until(lambda: len(protocol.ends) > 1)
        await turns()
        assert protocol.data == b"bye"
        assert protocol.ends == ["end of stream", "NoneType"]
        assert stream.is_closed
        stream.write(b"to nobody")
        stream.close()


async def test_a_reset_is_told_with_its_reason() -> None:
    async with far() as other_sides:
        hub, protocol = StreamHub(), Heard()
        _, other = await other_sides.join(hub, protocol)
        reset(other)
        await until(lambda: protocol.ends)
        assert protocol.ends == ["ConnectionResetError"]


async def test_a_write_that_fails_is_told_after_the_call_and_once() -> None:
    async with far() as other_sides:
        hub, protocol = StreamHub(), Heard()
        stream, _ = await other_sides.join(hub, protocol)
        stream.socket.shutdown(socket.SHUT_WR)  # what follows is a broken pipe
        stream.write(b"x")
        assert protocol.ends == []
        assert stream.is_closed
        await turns()
        assert protocol.ends == ["BrokenPipeError"]


async def test_what_is_kept_is_lost_with_the_connection() -> None:
    async with far() as other_sides:
        hub, protocol = StreamHub(), Heard()
        stream, other = await other_sides.join(hub, protocol)
        stream.write(bytes(MUCH))
        reset(other)
        await until(lambda: protocol.ends)
        assert stream.is_closed
        assert stream.get_write_buffer_size() == 0


async def test_a_closed_connection_hears_nothing_that_came_before() -> None:
    async with far() as other_sides:
        hub = StreamHub()
        streams: list[Stream] = []
        protocols = [Heard(lambda _: close_all()) for _ in range(2)]

        def close_all() -> None:
            for stream in streams:
                stream.close()

        pairs = [await other_sides.join(hub, each) for each in protocols]
        streams += [stream for stream, _ in pairs]
        for _, other in pairs:
            other.sendall(b"x")
        await until(lambda: any(each.data for each in protocols))
        await turns()
        assert sorted(each.data for each in protocols) == [b"", b"x"]
        assert [each.ends for each in protocols] == [[], []]


async def test_a_fault_in_one_protocol_ends_that_one_alone() -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    async with far() as other_sides:
        hub, faulty, sound = StreamHub(), Heard(fail), Heard()
        _, other = await other_sides.join(hub, faulty)
        stream, second = await other_sides.join(hub, sound)
        other.sendall(b"x")
        second.sendall(b"y")
        await until(lambda: faulty.ends and sound.data)
        assert faulty.ends == ["ZeroDivisionError"]
        assert sound.ends == []
        assert [type(each["exception"]) for each in told] == [ZeroDivisionError]
        stream.close()


async def test_nothing_is_left_behind_when_the_last_connection_ends() -> None:
    before = epolls()
    async with far() as other_sides:
        hub = StreamHub()
        for _ in range(2):
            first, _ = await other_sides.join(hub, Heard())
            second, _ = await other_sides.join(hub, Heard())
            assert epolls() == before + 1
            first.close()
            second.close()
            assert epolls() == before
        assert len(hub) == 0


async def test_a_refused_connection_raises_and_leaves_nothing() -> None:
    before = epolls()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    hub = StreamHub()
    with pytest.raises(ConnectionRefusedError):
        await hub.connect(Heard(), "127.0.0.1", port)
    assert (len(hub), epolls()) == (0, before)


async def test_a_connection_comes_from_the_address_that_is_asked_for() -> None:
    async with far() as other_sides:
        hub = StreamHub()
        stream = await hub.connect(Heard(), "127.0.0.1", other_sides.port, "127.0.0.9")
        assert stream.get_extra_info("sockname")[0] == "127.0.0.9"  # type: ignore[index]
        assert stream.get_extra_info("socket") is stream.socket
        assert stream.get_extra_info("sslcontext") is None
        stream.close()
        assert stream.get_extra_info("sockname") is None
