"""The observer and the timeline against peers that are silent, hostile or broken."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from everfly.core.model import Address
from everfly.observe.events import BACK, LOST, Event, Timeline
from everfly.observe.observer import INSTANCES_MAX, Observer, picture
from everfly.wire.resp import ErrorReply, Push, Value, encode_reply
from scripted_peer import answers, peer, says

LIMIT_S = 0.3


def sentinel_says(primary: Address, **changes: Value) -> dict[str, Value]:
    fields = ["name", "g", "ip", primary.host, "port", str(primary.port), "flags", "master"]
    pair: Value = [primary.host, str(primary.port)]
    replies: dict[str, Value] = {
        "SENTINEL MYID": "a" * 40,
        "SENTINEL MASTERS": [fields],
        "SENTINEL MASTER": fields,
        "SENTINEL REPLICAS": [],
        "SENTINEL SENTINELS": [],
        "SENTINEL GET-MASTER-ADDR-BY-NAME": pair,
        "SENTINEL CKQUORUM": "OK 1 usable Sentinels.",
        "CLIENT": "OK",
    }
    return replies | {key.replace("_", " "): value for key, value in changes.items()}


INFO = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nrole:master\r\nmaster_repl_offset:5\r\n"
INSTANCE: dict[str, Value] = {"INFO": INFO, "CLIENT": "OK"}


async def test_a_silent_instance_delays_a_picture_by_the_limit_and_no_more() -> None:
    async with peer(answers({})) as silent, peer(answers(sentinel_says(silent))) as sentinel:
        started = time.monotonic()
        seen = await picture([sentinel], "g", limit_s=LIMIT_S)
        assert time.monotonic() - started < 10 * LIMIT_S
    assert seen.primary == silent
    assert seen.problems[0] == f"the primary {silent} does not answer: silent for 0.3 s"


async def test_the_only_group_is_found_and_its_instance_is_asked() -> None:
    async with peer(answers(INSTANCE)) as instance, peer(answers(sentinel_says(instance))) as one:
        seen = await picture([one], limit_s=LIMIT_S)
    assert seen.group == "g"
    view = seen.instance(instance)
    assert view is not None
    assert (view.version, view.report.offset) == ("7.0.15", 5)


async def test_several_groups_must_be_chosen_from() -> None:
    groups: Value = [["name", "one"], ["name", "two"]]
    told = sentinel_says(Address("127.0.0.1", 1), SENTINEL_MASTERS=groups)
    async with peer(answers(told)) as sentinel:
        seen = await picture([sentinel], limit_s=LIMIT_S)
    assert seen.problems == ("the Sentinels watch 2 groups (one, two); choose one with --name",)


async def test_connections_are_kept_and_made_again_when_lost() -> None:
    connections: list[asyncio.StreamWriter] = []

    async with peer(answers(INSTANCE)) as instance:
        answer = answers(sentinel_says(instance))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            await answer(reader, writer)

        async with peer(serve) as sentinel, Observer([sentinel], "g", limit_s=2.0) as observer:
            for _ in range(3):
                assert (await observer.picture()).is_reachable
            assert len(connections) == 1
            connections[0].transport.abort()
            async with asyncio.timeout(10):
                while len(connections) == 1:
                    await observer.picture()
            assert (await observer.picture()).is_reachable


async def test_a_hostile_sentinel_cannot_steer_the_terminal_or_make_us_connect_to_thousands() -> (
    None
):
    many: Value = [
        ["name", "x", "ip", f"\x1b[2J{number}", "port", "1", "flags", "slave,\x1b[31m"]
        for number in range(10 * INSTANCES_MAX)
    ]
    told = sentinel_says(Address("127.0.0.1", 1), SENTINEL_REPLICAS=many)
    async with peer(answers(told)) as sentinel:
        seen = await picture([sentinel], "g", limit_s=LIMIT_S)
    assert len(seen.instances) == INSTANCES_MAX
    assert seen.instance(Address("127.0.0.1", 1)) is not None
    assert "\x1b" not in repr(seen) + "".join(seen.problems)
    assert any("\\x1b" in view.address.host for view in seen.instances)


@pytest.mark.parametrize(
    "nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*1\r\n$999999999999\r\n", b"+OK\r\n" * 20]
)
async def test_what_is_no_sentinel_is_one_problem(nonsense: bytes) -> None:
    async with peer(says(nonsense, nonsense)) as stranger:
        seen = await picture([stranger], "g", limit_s=LIMIT_S)
    assert not seen.is_reachable
    assert str(stranger) in seen.problems[0]


async def test_an_instance_is_no_sentinel() -> None:
    unknown = ErrorReply("ERR unknown command 'SENTINEL'")
    replies = dict.fromkeys(sentinel_says(Address("127.0.0.1", 1)), unknown)
    async with peer(answers(replies)) as instance:
        seen = await picture([instance], "g", limit_s=LIMIT_S)
    assert "is no Sentinel: ERR unknown command" in seen.problems[0]


async def test_odd_shapes_of_replies_are_nothing_known() -> None:
    odd: list[Value] = [None, 7, "text", [], [[]], [7], [["ip"]], [["ip", "h", "port", "x"]]]
    for value in odd:
        replies = dict.fromkeys(sentinel_says(Address("127.0.0.1", 1)), value)
        async with peer(answers(replies)) as sentinel:
            seen = await picture([sentinel], "g", limit_s=LIMIT_S)
        assert not seen.is_healthy
        assert seen.primary is None


def publishing(*messages: tuple[str, str]) -> bytes:
    confirmed = encode_reply(Push([b"psubscribe", b"*", 1]), 2)
    return confirmed + b"".join(
        encode_reply(["pmessage", "*", channel, payload], 2) for channel, payload in messages
    )


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(10):
        return [await anext(events) for _ in range(count)]


async def test_a_timeline_neutralises_what_is_hostile() -> None:
    script = says(b"+OK\r\n", publishing(("\x1b]0;owned\x07", "[red]\r\nfake line")))
    async with peer(script) as sentinel, Timeline([sentinel]) as timeline:
        back, event = await take(timeline, 2)
    assert back.channel == BACK
    assert event.channel == "\\x1b]0;owned\\x07"
    assert event.payload == "[red]\\x0d\\x0afake line"


async def test_a_timeline_says_that_a_sentinel_is_lost_and_that_it_is_back() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(65_536)
        writer.write(b"+OK\r\n")
        await reader.read(65_536)
        writer.write(publishing(("+sdown", f"connection {connections}")))
        await writer.drain()
        if connections > 1:
            await reader.read(65_536)

    async with peer(serve) as sentinel, Timeline([sentinel]) as timeline:
        events = await take(timeline, 5)
    assert [each.channel for each in events] == [BACK, "+sdown", LOST, BACK, "+sdown"]
    assert events[2].is_ours
    assert "closed the connection" in events[2].payload
    assert events[4].payload == "connection 2"
