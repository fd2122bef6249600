import asyncio
import contextlib
import logging
import random
import socket

import pytest

from everfly.core.effects import Ask, Connect, Purpose, Reconfigure
from everfly.core.inputs import (
    AskReplied,
    ChannelHeard,
    CommandRefused,
    Connected,
    HelloHeard,
    HelloSent,
    HostResolved,
    InfoReceived,
    Input,
    LinkLost,
    Ponged,
    ScriptKilled,
)
from everfly.core.model import Address, Engine, Epoch, GroupName, Hello, LinkId, Role
from everfly.runtime.link import LinkPool, Shell
from everfly.runtime.link_connection import COMMAND_REPLY_BYTES_MAX
from everfly.runtime.resolver import Resolver
from link_bench import GROUP, HELLO, ONE, PEER, SETNAME, TWO, LinkSettings, bench
from loopback import SUBSCRIBED, bulk, message, scripted_instance, usual
from shell_doubles import ME, turns, until

HELLO_BYTES = b"127.0.0.2,26379," + PEER.encode() + b",3,cache,127.0.0.1,6379,2"


async def test_a_command_link_introduces_itself_and_carries_commands() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        assert it.take() == [Connected(ONE, "127.0.0.1")]
        assert it.pool.local_host(ONE) == "127.0.0.1"
        it.pool.ping(ONE)
        it.pool.end_turn()
        assert await it.told(1) == [Ponged(ONE, "PONG")]
        assert instance.visit.commands == [SETNAME, [b"PING"]]


async def test_what_a_turn_gathers_leaves_in_one_piece() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        before = instance.visit.chunks
        for _ in range(50):
            it.pool.ping(ONE)
        await turns()
        assert instance.visit.chunks == before, "nothing leaves before the end of the turn"
        it.pool.end_turn()
        assert await it.told(50) == [Ponged(ONE, "PONG")] * 50
        assert instance.visit.chunks == before + 1


async def test_credentials_come_first_and_are_those_of_the_other_end() -> None:
    settings = LinkSettings(group_login=("eve", "secret"), peer_login=("", "other"))
    async with scripted_instance() as instance, bench(settings) as it:
        await it.open(instance)
        await it.open(instance, link=TWO, group=None)
        assert [visit.commands for visit in instance.visits] == [
            [[b"AUTH", b"eve", b"secret"], SETNAME],
            [[b"AUTH", b"other"], SETNAME],
        ]


async def test_refused_credentials_are_logged_once_and_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = LinkSettings(group_login=("eve", "hunter2"))
    async with scripted_instance() as instance, bench(settings) as it:
        instance.answer = lambda command: (
            b"-WRONGPASS invalid username-password pair\r\n"
            if command[0] == b"AUTH"
            else b"+OK\r\n"
        )
        for number in range(5):
            await it.open(instance, link=LinkId(number))
        assert [type(fact) for fact in it.take()] == [Connected] * 5
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "of cache refuses our credentials: WRONGPASS" in record.message
    assert "auth-pass" in record.message
    assert "hunter2" not in caplog.text


async def test_commands_go_out_under_their_names_in_the_group() -> None:
    names = {"AUTH": "a1", "CLIENT": "c1", "PING": "p1", "INFO": "i1", "MULTI": "m1"}
    names |= {"SLAVEOF": "s1", "CONFIG": "g1", "EXEC": "e1", "PUBLISH": "u1", "SCRIPT": "t1"}
    settings = LinkSettings(group_login=("", "x"), renamed=names)
    async with scripted_instance() as instance, bench(settings) as it:
        await it.open(instance)
        it.pool.ping(ONE)
        it.pool.ask_info(ONE)
        it.pool.publish(ONE, HELLO)
        it.pool.kill_script(ONE)
        it.pool.reconfigure(Reconfigure(ONE, GROUP, HELLO.primary, None, Epoch(1)))
        it.pool.end_turn()
        await until(lambda: len(instance.visit.commands) >= 12)
        assert [command[0].decode() for command in instance.visit.commands] == [
            "a1", "c1", "p1", "i1", "u1", "t1", "m1", "s1", "g1", "c1", "c1", "e1"
        ]  # fmt: skip


async def test_each_command_is_answered_by_one_fact_wherever_the_stream_is_cut() -> None:
    dice = random.Random(7)
    replies = (
        b"+PONG\r\n" b"-LOADING busy\r\n" + bulk(b"role:slave\r\n") + b"-NOAUTH no\r\n"
        b"-NOPERM no\r\n" b":0\r\n" b"+OK\r\n"
        b"*3\r\n:1\r\n$1\r\n*\r\n:0\r\n" b"-ERR unknown\r\n"
    )  # fmt: skip
    for _ in range(20):
        async with scripted_instance() as instance, bench() as it:
            await it.open(instance)
            it.take()
            instance.answer = lambda _: b""
            pool = it.pool
            pool.ping(ONE)
            pool.ping(ONE)
            pool.ask_info(ONE)
            pool.ask_info(ONE)
            pool.publish(ONE, HELLO)
            pool.publish(ONE, HELLO)
            pool.kill_script(ONE)
            for _ in range(2):
                pool.ask(Ask(ONE, GROUP, HELLO.primary, Epoch(4), None))
            pool.end_turn()
            await until(lambda at=instance: len(at.visit.commands) == 10)  # type: ignore[misc]
            rest = replies
            while rest:
                cut = dice.randint(1, 12)
                instance.visit.say(rest[:cut])
                rest = rest[cut:]
                await turns(3)
            facts = await it.told(9)
            info = facts[2]
            assert isinstance(info, InfoReceived)
            assert info.report.role is Role.REPLICA
            assert [*facts[:2], *facts[3:]] == [
                Ponged(ONE, "PONG"),
                Ponged(ONE, "LOADING busy"),
                CommandRefused(ONE, "NOAUTH no"),
                HelloSent(ONE),
                HelloSent(ONE),
                ScriptKilled(ONE),
                AskReplied(
                    ONE,
                    GROUP,
                    is_down=True,
                    leader=None,
                    leader_epoch=Epoch(0),
                    primary=HELLO.primary,
                ),
                CommandRefused(ONE, "ERR unknown"),
            ]


@pytest.mark.parametrize(
    "reply",
    [b"+OK\r\n", b"*0\r\n", b"*2\r\n:1\r\n$1\r\n*\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n",
     b"*3\r\n:1\r\n$1\r\n*\r\n:-1\r\n", b"$-1\r\n"],
)  # fmt: skip
async def test_an_answer_that_makes_no_sense_is_no_vote(reply: bytes) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance, group=None)
        it.take()
        instance.answer = lambda _: reply
        it.pool.ask(Ask(ONE, GROUP, HELLO.primary, Epoch(4), ME))
        it.pool.end_turn()
        (fact,) = await it.told(1)
        assert isinstance(fact, CommandRefused)


async def test_a_question_to_a_peer_names_the_primary_the_epoch_and_the_candidate() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance, group=None)
        named = Address("db", 6379, "10.0.0.7")
        it.pool.ask(Ask(ONE, GROUP, named, Epoch(4), ME))
        it.settings.shows_hostnames = True
        it.pool.ask(Ask(ONE, GROUP, named, Epoch(5), None))
        it.pool.end_turn()
        await until(lambda: len(instance.visit.commands) == 3)
        words = [b"SENTINEL", b"is-master-down-by-addr"]
        assert instance.visit.commands[1:] == [
            [*words, b"10.0.0.7", b"6379", b"4", ME.encode()],
            [*words, b"db", b"6379", b"5", b"*"],
        ]


async def test_a_vote_names_its_leader() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance, group=None)
        it.take()
        instance.answer = lambda _: b"*3\r\n:0\r\n" + bulk(PEER.encode()) + b":9\r\n"
        it.pool.ask(Ask(ONE, GROUP, HELLO.primary, Epoch(9), ME))
        it.pool.end_turn()
        assert await it.told(1) == [
            AskReplied(
                ONE,
                GROUP,
                is_down=False,
                leader=PEER,
                leader_epoch=Epoch(9),
                primary=HELLO.primary,
            )
        ]


async def test_a_channel_link_subscribes_and_tells_hellos_from_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance, Purpose.CHANNEL)
        await until(lambda: len(it.facts) == 2)
        assert it.take() == [Connected(ONE, "127.0.0.1"), ChannelHeard(ONE)]
        assert instance.visit.commands == [
            [b"CLIENT", b"SETNAME", b"sentinel-aaaaaaaa-pubsub"],
            [b"SUBSCRIBE", b"__sentinel__:hello"],
        ]
        own = HELLO_BYTES.replace(PEER.encode(), ME.encode())
        for payload in (HELLO_BYTES, own, b"noise", HELLO_BYTES, b"x" * 2000):
            instance.visit.say(message(payload))
        heard = HelloHeard(ONE, HELLO)
        noise = ChannelHeard(ONE)
        assert await it.told(5) == [heard, noise, noise, heard, noise]
        assert it.pool.malformed_hellos == 2
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1


async def test_a_hello_with_names_waits_for_their_addresses() -> None:
    settings = LinkSettings(resolves_hostnames=True)
    names = {"sentinel-2": "127.0.0.2", "db": "127.0.0.1"}
    async with scripted_instance() as instance, bench(settings, names) as it:
        await it.open(instance, Purpose.CHANNEL)
        await it.told(2)
        payload = HELLO_BYTES.replace(b"127.0.0.2", b"sentinel-2").replace(b"127.0.0.1", b"db")
        instance.visit.say(message(payload))
        (fact,) = await it.told(1)
        assert isinstance(fact, HelloHeard)
        assert fact.hello == HELLO
        assert (fact.hello.sender.host, fact.hello.primary.host) == ("sentinel-2", "db")


async def test_a_refused_channel_ends_the_link(caplog: pytest.LogCaptureFixture) -> None:
    async with scripted_instance() as instance, bench() as it:
        instance.answer = lambda command: (
            b"-NOPERM no channels\r\n" if command[0] == b"SUBSCRIBE" else b"+OK\r\n"
        )
        await it.open(instance, Purpose.CHANNEL)
        await until(lambda: len(it.facts) == 2)
        assert it.take() == [Connected(ONE, "127.0.0.1"), LinkLost(ONE, "NOPERM no channels")]
    assert "refuses the hello channel: NOPERM" in caplog.text


async def test_a_hello_is_said_with_addresses_or_with_names() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        named = Hello(
            Address("127.0.0.2", 26379), PEER, Epoch(3), GROUP,
            Address("db", 6379, "10.0.0.7"), Epoch(2),
        )  # fmt: skip
        it.pool.publish(ONE, named)
        it.settings.shows_hostnames = True
        it.pool.publish(ONE, named)
        it.pool.end_turn()
        await until(lambda: len(instance.visit.commands) == 3)
        rest = b"127.0.0.2,26379," + PEER.encode() + b",3,cache,%b,6379,2"
        assert instance.visit.commands[1:] == [
            [b"PUBLISH", b"__sentinel__:hello", rest % host] for host in (b"10.0.0.7", b"db")
        ]


async def test_a_hello_that_cannot_be_said_is_told_once_and_counts_as_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        bad = Hello(
            HELLO.sender, PEER, Epoch(1), GroupName("a,b"), HELLO.primary, Epoch(1)
        )  # fmt: skip
        it.pool.publish(ONE, bad)
        it.pool.publish(ONE, bad)
        it.pool.end_turn()
        assert it.take() == [HelloSent(ONE), HelloSent(ONE)]
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1


async def test_info_of_the_same_bytes_is_the_same_report_and_is_kept_with_its_age() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        it.pool.ask_info(ONE)
        it.pool.ask_info(ONE)
        it.pool.end_turn()
        first, second = await it.told(2)
        assert isinstance(first, InfoReceived)
        assert isinstance(second, InfoReceived)
        assert first.report is second.report
        assert first.report.engine is Engine.REDIS
        known = it.pool.infos.last(Address("127.0.0.1", instance.port))
        assert known is not None
        assert 0 <= known[0] < 5000
        assert known[1] == usual([b"INFO"])[5:-2]


async def test_nobody_listening_is_a_refusal() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = Address("127.0.0.1", unused.getsockname()[1])
        async with bench() as it:
            it.pool.connect(Connect(ONE, address, Purpose.COMMANDS, GROUP))
            assert await it.told(1) == [LinkLost(ONE, "Connection refused", is_refusal=True)]
            assert len(it.pool) == 0


async def test_a_host_that_does_not_answer_is_given_up_and_is_no_refusal() -> None:
    with socket.socket() as deaf, contextlib.ExitStack() as crowd:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # A full queue of connections: the kernel then drops every further SYN.
        for _ in range(3):
            one = crowd.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        async with bench() as it:
            address = Address("127.0.0.1", deaf.getsockname()[1])
            it.pool.connect(Connect(ONE, address, Purpose.COMMANDS, GROUP))
            assert await it.told(1) == [LinkLost(ONE, "Connection timed out")]


@pytest.mark.parametrize(
    ("is_reset", "reason"),
    [(False, "Server closed the connection"), (True, "Connection reset by peer")],
)
async def test_an_end_by_the_other_side_is_a_refusal(is_reset: bool, reason: str) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        it.pool.ping(ONE)
        if is_reset:
            instance.visit.reset()
        else:
            instance.visit.transport.close()
        assert await it.told(1) == [LinkLost(ONE, reason, is_refusal=True)]
        assert len(it.pool) == 0
        it.pool.end_turn()
        it.pool.ping(ONE)
        assert it.take() == []


@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n", b"+PONG\r\n", b"$99999999999\r\n", b":notanumber\r\n",
     b"$%d\r\n" % (COMMAND_REPLY_BYTES_MAX + 1), b"*1\r\n" * 50],
)  # fmt: skip
async def test_garbage_ends_the_link(garbage: bytes) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.visit.say(garbage)
        (fact,) = await it.told(1)
        assert isinstance(fact, LinkLost)
        assert fact.reason.startswith("Protocol error: ")
        assert not fact.is_refusal
        await until(lambda: instance.visit.has_ended)


async def test_a_link_that_is_closed_tells_nothing_more() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        it.pool.ping(ONE)
        it.pool.disconnect(ONE)
        await until(lambda: instance.visit.has_ended)
        it.pool.connect(Connect(TWO, Address("127.0.0.1", instance.port), Purpose.COMMANDS, GROUP))
        it.pool.disconnect(TWO)
        await turns(50)
        assert it.take() == []
        assert it.pool.local_host(ONE) == ""


async def test_an_instance_that_does_not_read_loses_its_link() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.visit.transport.pause_reading()

        def lost() -> bool:
            for _ in range(1000):
                it.pool.publish(ONE, HELLO)
            it.pool.end_turn()
            return bool(it.facts)

        await until(lost, within_s=20)
        assert it.take() == [LinkLost(ONE, "Output buffer limit reached")]


async def test_a_name_is_resolved_anew_for_each_connection() -> None:
    names = {"db": "127.0.0.1"}
    async with scripted_instance() as instance, bench(LinkSettings(True), names) as it:
        moved = Address("db", instance.port, "127.0.0.9")
        it.pool.connect(Connect(ONE, moved, Purpose.COMMANDS, GROUP))
        assert await it.told(2) == [
            HostResolved("db", "127.0.0.1"),
            Connected(ONE, "127.0.0.1"),
        ], "the core hears of the new IP first"


async def test_a_name_that_leads_where_it_did_is_nothing_to_tell() -> None:
    names = {"db": "127.0.0.1"}
    async with scripted_instance() as instance, bench(LinkSettings(True), names) as it:
        same = Address("db", instance.port, "127.0.0.1")
        it.pool.connect(Connect(ONE, same, Purpose.COMMANDS, GROUP))
        assert await it.told(1) == [Connected(ONE, "127.0.0.1")]


async def test_a_name_that_cannot_be_resolved_is_no_refusal() -> None:
    def fail(host: str) -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolver = Resolver(fail)
    facts: list[Input] = []
    async with asyncio.TaskGroup() as tasks:
        pool = LinkPool(ME, Shell(facts.append, tasks, resolver, LinkSettings(True)))
        pool.connect(Connect(ONE, Address("db", 6379), Purpose.COMMANDS, GROUP))
    (fact,) = facts
    assert isinstance(fact, LinkLost)
    assert "Failed to resolve hostname 'db'" in fact.reason
    assert not fact.is_refusal


async def test_connections_come_from_the_wanted_address() -> None:
    async with scripted_instance() as instance, bench(LinkSettings(source_host="127.0.0.5")) as it:
        await it.open(instance)
        assert it.take() == [Connected(ONE, "127.0.0.5")]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_ipv6_works() -> None:
    async with scripted_instance("::1") as instance, bench() as it:
        await it.open(instance, host="::1")
        assert it.take() == [Connected(ONE, "::1")]


async def test_the_subscription_may_arrive_together_with_messages() -> None:
    async with scripted_instance() as instance, bench() as it:
        instance.answer = lambda command: (
            SUBSCRIBED + message(HELLO_BYTES) if command[0] == b"SUBSCRIBE" else b"+OK\r\n"
        )
        await it.open(instance, Purpose.CHANNEL)
        assert (await it.told(3))[1:] == [ChannelHeard(ONE), HelloHeard(ONE, HELLO)]
