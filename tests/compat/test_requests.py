"""Bytes sent to a genuine Sentinel give as many commands and the same errors as in our parser."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from everfly.wire.resp import (
    NEED_MORE,
    ErrorReply,
    HttpRequest,
    ProtocolError,
    Reply,
    ReplyParser,
    RequestParser,
    encode_command,
    to_bytes,
)
from kinds import HOST, Kind, missing
from servers import Sentinel

pytestmark = pytest.mark.compat

MARK = b"the stream was understood to its end"
STREAMS = [
    b"PING\r\n",
    b"PING\n",
    b"  PING  \r\n",
    b"\r\n   \r\nPING\r\n",
    b"*0\r\n*-1\r\n*-5\r\n*-2147483649\r\nPING\r\n",
    b'"PING" x\r\n',
    b'ping "\\x41\\n\\q"\r\n',
    b"PING 'a\\'b'\r\nPING \"\"\r\n",
    b'PING a"b"\r\n',
    b"PING\rx\r\n",
    b"PING a\x0bb\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"post\r\n",
    b"Host: a\r\n",
    encode_command("HOST:"),
    encode_command("PING", b"\x00\xff\r\n"),
    b"*1\r\n:5\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n\xff\r\n",
    b'*1\r\n"$4\r\n',
    b"*abc\r\n",
    b"*\r\n",
    b"*-\r\n",
    b"*-0\r\n",
    b"*01\r\n",
    b"*+1\r\n",
    b"*1 \r\n",
    b"*1\n$4\r\n",
    b"*2147483648\r\n",
    b"*9223372036854775808\r\n",
    b"*-9223372036854775809\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$4 \r\nPING\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$536870913\r\n",
    b'PING "a\r\n',
    b"PING 'a\r\n",
    b"PING\r\n*1\r\n$x\r\n",
    b"A" * 65537,
    b"*" + b"1" * 65536,
    b"*1\r\n$" + b"1" * 65536,
]
ONLY_REDIS = [
    # Valkey 9 looks at what stands in the place of CRLF, and lets quotes end inside of a word.
    b"*1\r\n$4\r\nPINGxxPING\r\n",
    b"'PI'NG\r\n",
    b"PING 'a''b'\r\n",
]


@dataclass(frozen=True)
class Outcome:
    commands: int
    error: bytes
    is_closed: bool


@pytest.fixture(scope="module", params=[Kind.REDIS, Kind.VALKEY], ids=lambda kind: kind.value)
def genuine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sentinel]:
    if reason := missing(request.param):
        pytest.skip(reason)
    sentinel = Sentinel(request.param, tmp_path_factory.mktemp("requests"))
    try:
        sentinel.start([])
        yield sentinel
    finally:
        sentinel.kill()


def ours(stream: bytes, *, is_authenticated: bool = True) -> Outcome:
    parser, commands = RequestParser(), 0
    parser.is_authenticated = is_authenticated
    parser.feed(stream)
    try:
        while parser.next_command() is not None:
            commands += 1
    except ProtocolError as error:
        return Outcome(commands, to_bytes(f"ERR {error.message}"), is_closed=True)
    except HttpRequest:
        return Outcome(commands, b"", is_closed=True)
    return Outcome(commands, b"", is_closed=False)


def theirs(sentinel: Sentinel, stream: bytes) -> Outcome:
    """Send a stream and a mark; read replies up to the mark's, or to the end."""
    replies: list[Reply] = []
    parser = ReplyParser()
    is_closed = False
    with socket.create_connection((HOST, sentinel.port), timeout=10) as connection:
        connection.sendall(stream)
        # An over-long line must be judged before more of it comes.
        if len(stream) < 60_000:
            connection.sendall(encode_command("PING", MARK))
        while not is_closed and MARK not in replies:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                data = b""
            is_closed = not data
            parser.feed(data)
            while (reply := parser.next_reply()) is not NEED_MORE:
                replies.append(reply)
    if not is_closed:
        replies.remove(MARK)
    match replies:
        case [*_, ErrorReply(text=text)] if is_closed and text.startswith("ERR Protocol"):
            return Outcome(len(replies) - 1, to_bytes(text), is_closed)
        case _:
            return Outcome(len(replies), b"", is_closed)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: repr(stream[:20]))
def test_streams_are_understood_alike(genuine: Sentinel, stream: bytes) -> None:
    assert theirs(genuine, stream) == ours(stream)


@pytest.mark.parametrize("stream", ONLY_REDIS, ids=repr)
def test_streams_that_only_redis_takes_are_taken(genuine: Sentinel, stream: bytes) -> None:
    if genuine.kind is not Kind.REDIS:
        pytest.skip("Valkey 9 is stricter or looser here; ours is as Redis 7")
    assert theirs(genuine, stream) == ours(stream)


@pytest.mark.parametrize("kind", [Kind.REDIS, Kind.VALKEY], ids=lambda kind: kind.value)
def test_before_authentication_limits_are_alike(
    kind: Kind, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if reason := missing(kind):
        pytest.skip(reason)
    sentinel = Sentinel(kind, tmp_path_factory.mktemp("requests"))
    try:
        sentinel.start([])
        sentinel.ask("ACL", "SETUSER", "default", ">secret")
        for stream in (b"*11\r\n", b"*1\r\n$16385\r\n", b"*2147483648\r\n", b"*1\r\n$-1\r\n"):
            assert theirs(sentinel, stream) == ours(stream, is_authenticated=False)
        largest = encode_command(*["x" * 16384] * 10)
        assert ours(largest, is_authenticated=False).commands == 1
        with socket.create_connection((HOST, sentinel.port), timeout=10) as connection:
            connection.sendall(largest)
            assert b"Protocol error" not in connection.recv(100)
    finally:
        sentinel.kill()
