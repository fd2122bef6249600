"""The HTTP server against careless and hostile clients, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.errors import SettingsError
from everfly.runtime.http import HttpLimits, HttpServer, Request, Response, text_response
from shell_doubles import until

HOST = "127.0.0.1"
LIMIT_S = 10.0


async def echo(request: Request) -> Response:
    if request.path == "/bug":
        raise ValueError("a fault")
    if request.path == "/slow":
        await asyncio.Event().wait()
    return text_response(HTTPStatus.OK, f"{request.path} {sorted(request.query.items())}")


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[Request], Awaitable[Response]] = echo, limits: HttpLimits | None = None
) -> AsyncIterator[HttpServer]:
    server = HttpServer(handler, limits)
    await server.start(HOST, 0)
    try:
        yield server
    finally:
        await server.stop()


async def exchange(server: HttpServer, data: bytes) -> bytes:
    """Send, and read to the end."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        try:
            writer.write(data)
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_request_is_answered_and_the_connection_kept() -> None:
    async with serving() as server:
        request = b"GET /a%20b?x=1&y= HTTP/1.1\r\nHost: localhost:9\r\n\r\n"
        answer = await exchange(server, request * 2)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.count(b"/a b [('x', '1'), ('y', '')]\n") == 2
    assert b"X-Content-Type-Options: nosniff" in answer


async def test_head_has_the_length_but_no_body() -> None:
    async with serving() as server:
        request = b"HEAD /xyz HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n"
        answer = await exchange(server, request)
    assert status_of(answer) == 200
    assert b"Content-Length: 8\r\n" in answer
    assert b"/xyz" not in answer


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd", 405),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd", 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET x HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost.evil.example:80\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 65 + b"\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\na: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /?" + b"a=1&" * 20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_for_us_is_refused_with_a_reason(
    request_text: bytes, status: int
) -> None:
    async with serving() as server:
        answer = await exchange(server, request_text)
        assert status_of(answer) == status
        assert answer.count(b"HTTP/1.1 ") == 1
        assert server.refused == 1
        ok = await exchange(server, b"GET / HTTP/1.0\r\n\r\n")
    assert status_of(ok) == 200


async def test_a_fault_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        answer = await exchange(server, b"GET /bug HTTP/1.0\r\n\r\n")
    assert status_of(answer) == 500
    assert b"a fault" not in answer
    assert "a fault" in caplog.text


async def test_an_answer_that_takes_too_long_is_given_up() -> None:
    async with serving(limits=HttpLimits(handle_s=0.05)) as server:
        answer = await exchange(server, b"GET /slow HTTP/1.0\r\n\r\n")
    assert status_of(answer) == 503


async def test_who_sends_nothing_is_closed() -> None:
    async with serving(limits=HttpLimits(idle_s=0.05)) as server, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"GET / HT")
        with contextlib.suppress(ConnectionResetError):  # as good an end
            assert await reader.read() == b""
        writer.close()


async def test_too_many_connections_are_refused_and_those_that_are_stay() -> None:
    async with serving(limits=HttpLimits(connections=2)) as server, asyncio.timeout(LIMIT_S):
        held = [await asyncio.open_connection(HOST, server.port) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        reader, writer = await asyncio.open_connection(HOST, server.port)
        assert await reader.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
        for _, each in [*held, (reader, writer)]:
            each.close()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    asked = asyncio.Event()

    async def large(_: Request) -> Response:
        asked.set()
        return Response(HTTPStatus.OK, "text/plain", b"x" * 32_000_000)

    async with serving(large, HttpLimits(write_s=0.05)) as server, asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(HOST, server.port, limit=1024)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await asked.wait()
        # It is cut off while we have not begun to read.
        await until(lambda: not server.is_serving)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await reader.read(65_536):
                received += len(data)
        assert received < 32_000_000
        writer.close()


async def test_stopping_ends_what_is_open() -> None:
    async with asyncio.timeout(LIMIT_S):
        async with serving() as server:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: server.requests)
        with contextlib.suppress(ConnectionResetError):  # as good an end
            assert await reader.read() == b""
        writer.close()


async def test_an_address_that_is_taken_is_a_clear_error() -> None:
    async with serving() as server:
        with pytest.raises(SettingsError, match=str(server.port)):
            await HttpServer(echo).start(HOST, server.port)


@given(st.binary(max_size=300))
def test_random_bytes_get_an_answer_or_silence(data: bytes) -> None:
    async def talk() -> bytes:
        async with serving() as server:
            return await exchange(server, data + b"\r\n\r\n")

    answer = asyncio.run(talk())
    assert answer == b"" or 400 <= status_of(answer) < 500
