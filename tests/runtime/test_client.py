"""The client against scripted peers; real servers use it in the integration tests."""

import asyncio
import contextlib

import pytest

from everfly.errors import RemoteError, SettingsError, Unavailable
from everfly.runtime.client import CALLS_MAX, MESSAGES_MAX, Client, Credentials
from everfly.wire.resp import ErrorReply
from scripted_peer import peer, says


async def test_replies_come_in_the_order_of_the_calls() -> None:
    async with (
        peer(says(b"+one\r\n:2\r\n$5\r\nthree\r\n")) as address,
        await Client.connect(address) as client,
    ):
        replies = await client.transaction([("A",), ("B",), ("C",)])
    assert replies == [b"one", 2, b"three"]


async def test_an_error_reply_is_an_answer() -> None:
    async with (
        peer(says(b"-ERR no such thing\r\n")) as address,
        await Client.connect(address) as client,
    ):
        assert await client.call("X") == ErrorReply("ERR no such thing")


async def test_a_late_answer_is_dropped_and_the_next_one_is_right() -> None:
    async with (
        peer(says(b"", b"+late\r\n+right\r\n")) as address,
        await Client.connect(address) as client,
    ):
        with pytest.raises(Unavailable, match=r"does not answer SLOW within 0.05 s"):
            await client.call("SLOW", timeout_s=0.05)
        assert await client.call("FAST") == b"right"


async def test_a_closed_connection_fails_all_calls_in_flight_and_later_ones() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)

    async with peer(hang_up) as address, await Client.connect(address) as client:
        calls = await asyncio.gather(client.call("A"), client.call("B"), return_exceptions=True)
        assert [type(each) for each in calls] == [Unavailable, Unavailable]
        assert not client.is_usable
        with pytest.raises(Unavailable, match=str(address.port)):
            await client.call("C")


async def test_nonsense_is_the_fault_of_the_other_side() -> None:
    async with (
        peer(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address,
        await Client.connect(address) as client,
    ):
        with pytest.raises(RemoteError, match="speaks no RESP"):
            await client.call("PING")


async def test_an_answer_nobody_asked_for_is_nonsense() -> None:
    async with peer(says(b"+one\r\n+two\r\n")) as address, await Client.connect(address) as client:
        assert await client.call("PING") == b"one"
        with pytest.raises(RemoteError, match="nobody asked for"):
            await client.call("PING")


async def test_a_refused_connection_says_so() -> None:
    async with peer(says()) as address:
        pass
    with pytest.raises(
        Unavailable, match=f"127.0.0.1:{address.port} cannot be reached: Connection"
    ):
        await Client.connect(address)


async def test_too_many_calls_without_an_answer_are_refused() -> None:
    async with peer(says()) as address, await Client.connect(address) as client:
        calls = [asyncio.create_task(client.call("X")) for _ in range(CALLS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="is not asked for more"):
            await client.call("X")
        await client.close()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_refused_password_is_a_setting_and_is_not_shown() -> None:
    async with peer(says(b"-WRONGPASS invalid username-password pair\r\n")) as address:
        with pytest.raises(SettingsError, match="refuses the password: WRONGPASS") as caught:
            await Client.connect(address, credentials=Credentials("hunter2"))
    assert "hunter2" not in str(caught.value) + repr(Credentials("hunter2"))


async def test_messages_arrive_with_their_channel() -> None:
    confirmed = (
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:2\r\n"
    )
    plain = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
    matched = b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nb\r\n$2\r\nho\r\n"
    async with (
        peer(says(confirmed + plain + matched)) as address,
        await Client.connect(address) as client,
    ):
        messages = await client.subscribe(["a"], ["*"])
        first, second = await anext(messages), await anext(messages)
    assert (first.pattern, first.channel, first.payload) == (None, "a", "hi")
    assert (second.pattern, second.channel, second.payload) == ("*", "b", "ho")


async def test_a_lost_subscription_is_noticed_after_what_came_before() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(
            b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n"
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with peer(serve) as address, await Client.connect(address) as client:
        messages = await client.subscribe(["a"])
        assert (await anext(messages)).payload == "1"
        with pytest.raises(Unavailable, match="closed the connection"):
            await anext(messages)


async def test_a_slow_reader_makes_the_sender_wait() -> None:
    sent = 0
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$60000\r\n%b\r\n" % (b"x" * 60_000)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(65_536)
        writer.write(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
        with contextlib.suppress(TimeoutError):
            while sent < 3 * MESSAGES_MAX:
                writer.write(message)
                async with asyncio.timeout(1.0):
                    await writer.drain()
                sent += 1
        stalled.set()
        await reader.read(65_536)

    stalled = asyncio.Event()
    async with peer(flood) as address, await Client.connect(address) as client:
        await client.subscribe(["a"])
        async with asyncio.timeout(30):
            await stalled.wait()
        assert MESSAGES_MAX < sent < 3 * MESSAGES_MAX
