"""The listener with a small table of its own: order, limits, and that clients do not meet."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hiredis
import pytest

from everfly.errors import SettingsError
from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.runtime.listener import Limits, Listener, OutputLimit
from everfly.runtime.pubsub import PubSub
from everfly.wire.resp import ErrorReply, SimpleString
from resp_client import RespClient, until


class Table:
    """`ECHO x`; `WAIT name` and `ASK name`, answered by a test, the first as a barrier; others."""

    def __init__(self) -> None:
        self.pubsub = PubSub()
        self.waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self.done: list[bytes] = []

    def joined(self, client: ClientConnection) -> None:
        client.authenticate(is_proved=True)

    def left(self, client: ClientConnection) -> None:
        self.pubsub.forget(client)

    def execute(self, client: ClientConnection, command: list[bytes]) -> Outcome:
        word, *rest = command
        self.done.append(word)
        match word.upper():
            case b"ECHO":
                return rest[0]
            case b"BIG":
                return b"x" * int(rest[0])
            case b"BUG":
                raise ZeroDivisionError
            case b"LISTEN":
                self.pubsub.subscribe(client, rest[0])
                return SimpleString("OK")
            case b"WAIT" | b"ASK":
                return Later(self._answer(rest[0]), is_barrier=word == b"WAIT")
            case b"LATE-BUG":
                return Later(self._fail())
        return ErrorReply("ERR what?")

    async def _answer(self, name: bytes) -> Answer:
        self.waiting[name] = asyncio.get_running_loop().create_future()
        return await self.waiting[name]

    async def _fail(self) -> Answer:
        raise ZeroDivisionError


@asynccontextmanager
async def serve(limits: Limits | None = None) -> AsyncIterator[tuple[Listener, Table]]:
    table = Table()
    listener = Listener(limits or Limits(), lambda _: table)
    await listener.start(["127.0.0.1"], 0)
    try:
        yield listener, table
    finally:
        async with asyncio.timeout(10):
            await listener.stop()


async def test_answers_leave_in_the_order_of_the_commands() -> None:
    async with serve() as (listener, table), await RespClient.open(listener.port) as client:
        for words in (("ASK", "a"), ("ECHO", "b"), ("ASK", "c"), ("ECHO", "d")):
            client.send(*words)
        await until(lambda: table.done == [b"ASK", b"ECHO", b"ASK", b"ECHO"])
        await until(lambda: len(table.waiting) == 2)
        table.waiting[b"c"].set_result(b"C")
        async with await RespClient.open(listener.port) as other:
            assert await other.ask("ECHO", "meanwhile") == b"meanwhile"
        table.waiting[b"a"].set_result(b"A")
        assert [await client.receive() for _ in range(4)] == [b"A", b"b", b"C", b"d"]


async def test_a_barrier_holds_back_the_next_commands_of_its_client_alone() -> None:
    async with serve() as (listener, table), await RespClient.open(listener.port) as client:
        client.send("ASK", "early")
        client.send("WAIT", "w")
        client.send("ECHO", "behind")
        await until(lambda: b"w" in table.waiting)
        # The earlier answer must not open the barrier of the later command.
        table.waiting[b"early"].set_result(b"early")
        assert await client.receive() == b"early"
        async with await RespClient.open(listener.port) as other:
            assert await other.ask("ECHO", "x") == b"x"
        assert table.done == [b"ASK", b"WAIT", b"ECHO"]
        table.waiting[b"w"].set_result(b"w")
        assert [await client.receive(), await client.receive()] == [b"w", b"behind"]
        assert table.done == [b"ASK", b"WAIT", b"ECHO", b"ECHO"]


async def test_a_busy_client_leaves_turns_to_others() -> None:
    async with serve() as (listener, table), await RespClient.open(listener.port) as busy:
        async with await RespClient.open(listener.port) as other:
            count = 20_000
            busy.send_bytes(hiredis.pack_command(("ECHO", "x")) * count)
            await until(lambda: len(table.done) > 100)
            assert await other.ask("ECHO", "y") == b"y"
            assert len(table.done) < count
        for _ in range(count):
            assert await busy.receive() == b"x"


async def test_a_client_that_goes_while_it_is_held_back_is_forgotten_with_its_answer() -> None:
    async with serve() as (listener, table):
        async with await RespClient.open(listener.port) as client:
            client.send("WAIT", "w")
            await until(lambda: b"w" in table.waiting)
        table.waiting[b"w"].set_result(b"too late")
        await until(lambda: not listener.clients)


async def test_one_client_too_many_is_told_and_closed() -> None:
    async with serve(Limits(maxclients=1)) as (listener, _):
        async with await RespClient.open(listener.port) as first:
            assert await first.ask("ECHO", "in") == b"in"
            async with await RespClient.open(listener.port) as second:
                assert await second.rest() == b"-ERR max number of clients reached\r\n"
            assert await first.ask("ECHO", "still") == b"still"
            assert listener.traffic.rejected == 1
        await until(lambda: not listener.clients)
        async with await RespClient.open(listener.port) as third:
            assert await third.ask("ECHO", "again") == b"again"


@pytest.mark.parametrize(
    "limit", [OutputLimit(200_000, 200_000, 60.0), OutputLimit(1 << 30, 100_000, 0.0)]
)
async def test_a_subscriber_that_never_reads_is_closed(
    limit: OutputLimit, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        serve(Limits(pubsub_output=limit)) as (listener, table),
        await RespClient.open(listener.port) as deaf,
        await RespClient.open(listener.port) as other,
    ):
        assert await deaf.ask("LISTEN", "news") == b"OK"
        assert await other.ask("LISTEN", "other news") == b"OK"
        for _ in range(1_000):
            table.pubsub.publish(b"news", b"n" * 100_000)
            if len(listener.clients) == 1:
                break
            await asyncio.sleep(0)
        await until(lambda: len(listener.clients) == 1)
        assert await other.ask("ECHO", "fine") == b"fine"
        assert table.pubsub.channel_count == 1
    assert "overcoming of output buffer limits" in caplog.text


async def test_a_client_that_leaves_answers_unread_is_closed() -> None:
    limit = OutputLimit(1_000_000, 1_000_000, 60.0)
    async with (
        serve(Limits(normal_output=limit)) as (listener, _),
        await RespClient.open(listener.port) as deaf,
    ):
        deaf.send_bytes(hiredis.pack_command(("BIG", 100_000)) * 1_000)
        await until(lambda: bool(listener.clients))
        await until(lambda: not listener.clients)
        assert len(await deaf.rest()) < 100_000_000


async def test_answers_behind_an_awaited_one_count_as_unread() -> None:
    limit = OutputLimit(1_000_000, 1_000_000, 60.0)
    async with (
        serve(Limits(normal_output=limit)) as (listener, table),
        await RespClient.open(listener.port) as client,
    ):
        client.send("ASK", "never")
        await until(lambda: bool(table.waiting))
        client.send_bytes(hiredis.pack_command(("BIG", 100_000)) * 11)
        assert await client.rest() == b""


async def test_a_command_that_never_ends_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serve(Limits(input_bytes=100_000)) as (listener, _),
        await RespClient.open(listener.port) as client,
    ):
        client.send_bytes(b"*2\r\n$4\r\nECHO\r\n$1000000\r\n" + b"x" * 200_000)
        assert await client.rest() == b""
    assert "max query buffer length" in caplog.text


async def test_an_idle_client_is_closed_but_no_subscriber() -> None:
    async with (
        serve(Limits(timeout_s=1)) as (listener, table),
        await RespClient.open(listener.port) as idle,
        await RespClient.open(listener.port) as subscriber,
    ):
        assert await subscriber.ask("LISTEN", "news") == b"OK"
        assert await idle.rest() == b""
        table.pubsub.publish(b"news", b"n")
        assert await subscriber.receive() == [b"message", b"news", b"n"]


async def test_a_broken_protocol_is_answered_after_what_came_before_then_closed() -> None:
    async with serve() as (listener, table), await RespClient.open(listener.port) as client:
        client.send("ASK", "a")
        client.send_bytes(b"*1\r\n:1\r\n*1\r\n$4\r\nECHO\r\n")
        await until(lambda: b"a" in table.waiting)
        table.waiting[b"a"].set_result(b"A")
        assert await client.rest() == b"$1\r\nA\r\n-ERR Protocol error: expected '$', got ':'\r\n"
        assert table.done == [b"ASK"]


async def test_http_is_closed_without_an_answer_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve() as (listener, _):
        for request in (b"POST / HTTP/1.1\r\n\r\n", b"Host: example\r\n"):
            async with await RespClient.open(listener.port) as client:
                client.send_bytes(request)
                assert await client.rest() == b""
    assert caplog.text.count("Possible SECURITY ATTACK") == 1


@pytest.mark.parametrize("word", ["BUG", "LATE-BUG"])
async def test_a_fault_of_ours_is_an_error_of_one_command(
    word: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as (listener, _), await RespClient.open(listener.port) as client:
        reply = await client.ask(word)
        assert isinstance(reply, hiredis.ReplyError)
        assert str(reply).startswith("ERR internal error")
        assert await client.ask("ECHO", "alive") == b"alive"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_stop_answers_what_is_done_closes_all_and_frees_the_port() -> None:
    async with serve() as (listener, table), await RespClient.open(listener.port) as client:
        assert await client.ask("ECHO", "one") == b"one"
        client.send("WAIT", "for ever")
        await until(lambda: bool(table.waiting))
        port = listener.port
        await listener.stop()
        assert await client.rest() == b""
        assert not listener.clients
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    assert [task for task in asyncio.all_tasks() if "_work" in repr(task)] == []


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with serve() as (listener, table):
        other = Listener(Limits(), lambda _: table)
        with pytest.raises(SettingsError) as error:
            await other.start(["127.0.0.1"], listener.port)
        assert str(error.value) == (
            f"Could not create server TCP listening socket 127.0.0.1:{listener.port}: "
            "bind: Address already in use"
        )


async def test_an_optional_address_may_be_missing_but_not_all() -> None:
    listener = Listener(Limits(), lambda _: Table())
    missing = "-192.0.2.1"  # Reserved for documentation: no machine has it.
    with pytest.raises(SettingsError, match="none of the addresses to bind"):
        await listener.start([missing], 0)
    with pytest.raises(SettingsError, match="Cannot assign requested address"):
        await listener.start(["192.0.2.1"], 0)
    await listener.start([missing, "127.0.0.1"], 0)
    async with await RespClient.open(listener.port) as client:
        assert await client.ask("ECHO", "x") == b"x"
    await listener.stop()


async def test_a_socket_in_the_file_system_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "everfly.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    listener = Listener(Limits(), lambda _: Table())
    await listener.start_unix(path, 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    async with RespClient(*await asyncio.open_unix_connection(path)) as client:
        assert await client.ask("ECHO", "x") == b"x"
        [connection] = listener.clients.values()
        assert connection.addr == f"{path}:0"
    await listener.stop()
    assert not path.exists()
