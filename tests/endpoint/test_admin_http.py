"""POST over raw HTTP, against careless and hostile clients; only who wants bodies gets them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest

from everfly.runtime.http import HttpLimits, HttpServer, Request, Response, text_response
from kinds import HOST

LIMIT_S = 10.0
BODY_MAX = 100
HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"


async def echo(request: Request) -> Response:
    word = "POST" if request.is_post else "GET"
    return text_response(HTTPStatus.OK, f"{word} {request.body.decode()}")


@contextlib.asynccontextmanager
async def serving(limits: HttpLimits) -> AsyncIterator[HttpServer]:
    server = HttpServer(echo, limits)
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
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_bodies_come_whole_and_the_connection_stays() -> None:
    one = HEAD + JSON + b"Content-Length: 2\r\n\r\n{}"
    two = HEAD + b"Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 4\r\n\r\nnull"
    get = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(HttpLimits(body_bytes=BODY_MAX)) as server:
        answer = await exchange(server, one + two + get)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert [line for line in answer.split(b"\n") if line.startswith((b"POST", b"GET"))] == [
        b"POST {}",
        b"POST null",
        b"GET ",
    ]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\n{}", 415),
        (HEAD + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
        (HEAD + JSON + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (HEAD + JSON + b"Content-Length: 101\r\n\r\n" + b"x" * 101, 413),
        (HEAD + JSON + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (HEAD + JSON + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
        (b"PUT /x HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Content-Length: 0\r\n\r\n", 405),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 413),
    ],
)
async def test_another_body_is_refused(request_text: bytes, status: int) -> None:
    async with serving(HttpLimits(body_bytes=BODY_MAX)) as server:
        answer = await exchange(server, request_text)
    assert int(answer.split(b" ", 2)[1]) == status


async def test_a_body_that_does_not_come_ends_the_connection() -> None:
    async with serving(HttpLimits(body_bytes=BODY_MAX, idle_s=0.1)) as server:
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(HEAD + JSON + b"Content-Length: 50\r\n\r\n{")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        assert not server.is_serving


async def test_who_wants_no_bodies_takes_no_posts() -> None:
    async with serving(HttpLimits()) as server:
        answer = await exchange(server, HEAD + JSON + b"Content-Length: 2\r\n\r\n{}")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD\r\n" in answer
