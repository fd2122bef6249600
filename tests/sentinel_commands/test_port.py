"""What peers, probes and clients meet at the port beside changes: trust, hellos, votes, notices."""

import asyncio

import hiredis
import pytest

from everfly.core.effects import Vote
from everfly.core.inputs import HelloHeard, VoteRequested
from everfly.core.model import Address, Epoch, GroupName, Millis, RunId
from everfly.core.notices import Event, Level, Notice, Subject
from everfly.runtime.ports import ScriptView
from everfly.sentinel.settings import Settings
from resp_client import RespClient, until
from sentinel_face import ME, face, group_view

VIEW = group_view("mymaster", Address("127.0.0.1", 6379))
PEER = RunId("a" * 40)
SUBJECT = Subject("master", "mymaster", "127.0.0.1", 6379)


def text_of(reply: object) -> str:
    assert isinstance(reply, hiredis.ReplyError), reply
    return str(reply)


def hello(run_id: str) -> str:
    return f"127.0.0.1,26379,{run_id},3,mymaster,127.0.0.1,6379,2"


async def test_a_peers_hello_enters_the_core_but_no_channel() -> None:
    async with (
        face(VIEW) as port,
        await RespClient.open(port.port) as peer,
        await RespClient.open(port.port) as listening,
    ):
        await listening.ask("PSUBSCRIBE", "*")
        assert await peer.ask("PUBLISH", "__sentinel__:hello", hello(PEER)) == 1
        [fact] = port.brain.inputs
        assert isinstance(fact, HelloHeard)
        assert (fact.link, fact.hello.sender_run_id, fact.hello.config_epoch) == (None, PEER, 2)
        port.pubsub.publish(b"end", b"of test")
        assert await listening.receive() == [b"pmessage", b"*", b"end", b"of test"]


@pytest.mark.parametrize("payload", ["", "nonsense", hello(ME), "1,2,3,4,5,6,7", "x" * 5000])
async def test_our_own_and_malformed_hellos_are_dropped_in_silence(payload: str) -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as peer:
        assert await peer.ask("PUBLISH", "__sentinel__:hello", payload) == 1
        assert port.brain.inputs == []


async def test_votes_of_many_groups_are_asked_side_by_side_and_answered_in_order() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as peer:
        loop = asyncio.get_running_loop()
        first, second = loop.create_future(), loop.create_future()
        port.brain.votes = [first, second]
        for number in (6379, 6380):
            peer.send("SENTINEL", "is-master-down-by-addr", "127.0.0.1", number, 5, PEER)
        peer.send("PING")
        await until(lambda: len(port.brain.inputs) == 2)
        second.set_result(Vote(is_down=True, leader=None, leader_epoch=Epoch(0)))
        first.set_result(Vote(is_down=True, leader=PEER, leader_epoch=Epoch(5)))
        assert await peer.receive() == [1, PEER.encode(), 5]
        assert await peer.receive() == [1, b"*", 0]
        assert await peer.receive() == b"PONG"


@pytest.mark.parametrize(
    ("run_id", "epoch", "candidate"),
    [
        (PEER, "7", PEER),
        ("*", "7", None),
        ("a b", "7", None),
        ("x" * 65, "7", None),
        ("a\nb", "7", None),
        (PEER, "-1", None),
    ],
)
async def test_only_what_can_be_a_run_id_gets_a_vote(
    run_id: str, epoch: str, candidate: str | None
) -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as peer:
        words = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "6379", epoch, run_id)
        assert await peer.ask(*words) == [0, b"*", 0]
        [fact] = port.brain.inputs
        assert isinstance(fact, VoteRequested)
        assert (fact.candidate, fact.epoch) == (candidate, max(0, int(epoch)))


async def test_notices_reach_their_channel_and_patterns_but_debug_is_for_the_log() -> None:
    async with (
        face(VIEW) as port,
        await RespClient.open(port.port) as by_name,
        await RespClient.open(port.port) as by_pattern,
    ):
        await by_name.ask("SUBSCRIBE", "+odown")
        await by_pattern.ask("PSUBSCRIBE", "*")
        for event, detail in ((Event.LINK_LOST, "#gone"), (Event.O_DOWN, "#quorum 2/2")):
            port.pubsub.on_notice(Notice(event, GroupName("mymaster"), SUBJECT, detail))
        payload = b"master mymaster 127.0.0.1 6379 #quorum 2/2"
        assert await by_name.receive() == [b"message", b"+odown", payload]
        assert await by_pattern.receive() == [b"pmessage", b"*", b"+odown", payload]
        assert Event.LINK_LOST.level is Level.DEBUG


async def test_resp3_gets_messages_between_answers_and_may_ask_anything() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        await client.ask("HELLO", 3)
        confirmation = await client.ask("SUBSCRIBE", "+tilt")
        assert type(confirmation).__name__ == "PushNotification"
        port.pubsub.on_notice(Notice(Event.TILT, None, None, "#tilt mode entered"))
        message = await client.receive()
        assert message == [b"message", b"+tilt", b"#tilt mode entered"]
        assert type(message).__name__ == "PushNotification"
        assert await client.ask("SENTINEL", "MYID") == ME.encode()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_message_overtakes_an_awaited_reply_where_it_can_be_told_from_it(
    protocol: int,
) -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        await client.ask("HELLO", protocol)
        vote = asyncio.get_running_loop().create_future()
        port.brain.votes = [vote]
        client.send("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "6379", "1", PEER)
        client.send("SUBSCRIBE", "news")
        await until(lambda: port.pubsub.channel_count == 1)
        port.pubsub.publish(b"news", b"early")
        vote.set_result(Vote(is_down=True, leader=None, leader_epoch=Epoch(0)))
        # The reply to SUBSCRIBE waits in its place, and no message comes before it.
        assert await client.receive() == [1, b"*", 0]
        assert await client.receive() == [b"subscribe", b"news", 1]
        assert await client.receive() == [b"message", b"news", b"early"]
        if protocol == 3:
            vote = asyncio.get_running_loop().create_future()
            port.brain.votes = [vote]
            client.send("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "127.0.0.1", "6379", "1", PEER)
            await until(lambda: not port.brain.votes)
            port.pubsub.publish(b"news", b"now")
            assert await client.receive() == [b"message", b"news", b"now"]
            vote.set_result(Vote(is_down=False, leader=None, leader_epoch=Epoch(0)))
            assert await client.receive() == [0, b"*", 0]


async def test_a_stranger_may_only_prove_who_he_is() -> None:
    settings = Settings(requirepass="s3cret")
    async with face(VIEW, settings=settings) as port, await RespClient.open(port.port) as client:
        for words in (("PING",), ("SENTINEL", "MYID"), ("SUBSCRIBE", "x"), ("CLIENT", "ID")):
            assert text_of(await client.ask(*words)) == "NOAUTH Authentication required."
        assert text_of(await client.ask("HELLO", 3)).startswith("NOAUTH HELLO must be called")
        for words in (("AUTH", "wrong"), ("AUTH", "other", "s3cret"), ("AUTH", "default", "")):
            assert text_of(await client.ask(*words)).startswith("WRONGPASS ")
        assert text_of(await client.ask("ECHO", "x")).startswith("ERR unknown command")
        assert await client.ask("AUTH", "s3cret") == b"OK"
        assert await client.ask("PING") == b"PONG"
        [line] = await client.ask("ACL", "LIST")  # type: ignore[misc]
        assert b"s3cret" not in line
        assert b" #" in line


async def test_a_stranger_may_not_send_much() -> None:
    settings = Settings(requirepass="s3cret")
    async with face(VIEW, settings=settings) as port:
        for request, fault in (
            (b"*11\r\n", b"unauthenticated multibulk length"),
            (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", b"unauthenticated bulk length"),
        ):
            async with await RespClient.open(port.port) as client:
                client.send_bytes(request)
                assert await client.rest() == b"-ERR Protocol error: " + fault + b"\r\n"


async def test_hello_can_prove_name_and_switch_at_once() -> None:
    settings = Settings(requirepass="s3cret")
    async with face(VIEW, settings=settings) as port, await RespClient.open(port.port) as client:
        reply = await client.ask("HELLO", 3, "AUTH", "default", "s3cret", "SETNAME", "probe")
        assert isinstance(reply, dict)
        assert reply[b"proto"] == 3
        assert await client.ask("CLIENT", "GETNAME") == b"probe"


async def test_client_kill_ends_those_that_fit_and_answers_the_caller_first() -> None:
    async with (
        face(VIEW) as port,
        await RespClient.open(port.port) as caller,
        await RespClient.open(port.port) as subscriber,
        await RespClient.open(port.port) as other,
    ):
        await subscriber.ask("SUBSCRIBE", "x")
        other_id = await other.ask("CLIENT", "ID")
        assert isinstance(other_id, int)
        assert await caller.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
        assert await subscriber.rest() == b""
        assert port.pubsub.channel_count == 0
        assert await caller.ask("CLIENT", "KILL", "ID", other_id, "USER", "default") == 1
        assert await other.rest() == b""
        assert await caller.ask("CLIENT", "KILL", "USER", "default") == 0
        caller.send("CLIENT", "KILL", "USER", "default", "SKIPME", "no")
        assert await caller.rest() == b":1\r\n"


async def test_a_pause_holds_all_commands_until_it_ends() -> None:
    async with (
        face(VIEW) as port,
        await RespClient.open(port.port) as caller,
        await RespClient.open(port.port) as other,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await caller.ask("CLIENT", "PAUSE", 300) == b"OK"
        assert await other.ask("PING") == b"PONG"
        assert loop.time() - began >= 0.3
        assert await caller.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"OK"
        assert await other.ask("PING") == b"PONG"
        other.send("PUBLISH", "x", "y")
        assert await caller.ask("CLIENT", "UNPAUSE") == b"OK"
        assert text_of(await other.receive()).startswith("ERR Only HELLO messages")


async def test_shutdown_ends_the_caller_and_tells_the_home() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        client.send("SHUTDOWN", "NOSAVE")
        client.send("PING")
        assert await client.rest() == b""
        assert port.around.shutdowns == 1


async def test_the_last_info_of_each_instance_is_shown_with_its_age() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        port.around.infos["mymaster"] = ((Millis(12), b"# Server\r\n"), (Millis(0), None))
        reply = await client.ask("SENTINEL", "INFO-CACHE", "nobody", "mymaster", "mymaster")
        assert reply == [b"mymaster", [[12, b"# Server\r\n"], [0, None]]]


async def test_scripts_are_shown_running_or_waiting() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        port.around.scripts = (
            ScriptView(("/bin/notify", "+sdown", "x"), 4711, Millis(20), 0),
            ScriptView(("/bin/notify", "-sdown", "x"), None, Millis(30_000), 1),
        )
        running, waiting = await client.ask("SENTINEL", "PENDING-SCRIPTS")  # type: ignore[misc]
        assert running == [
            *(b"argv", [b"/bin/notify", b"+sdown", b"x"], b"flags", b"running"),
            *(b"pid", b"4711", b"run-time", b"20", b"retry-num", b"0"),
        ]
        assert waiting[2:] == [
            *(b"flags", b"scheduled", b"pid", b"0", b"run-delay", b"30000", b"retry-num", b"1")
        ]
        info = await client.ask("INFO", "sentinel")
        assert isinstance(info, bytes)
        assert b"sentinel_running_scripts:1\r\nsentinel_scripts_queue_length:2\r\n" in info


async def test_tilt_is_shown_with_its_age() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        port.brain.tilt_for = Millis(3_999)
        info = await client.ask("INFO", "sentinel")
        assert isinstance(info, bytes)
        assert b"sentinel_tilt:1\r\nsentinel_tilt_since_seconds:3\r\n" in info


async def test_subscriptions_of_one_client_are_bounded() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        reply = await client.ask("SUBSCRIBE", *range(1_001))
        assert text_of(reply).startswith("ERR a client may have")
        assert text_of(await client.ask("PSUBSCRIBE", "x" * 5_000)).startswith("ERR a channel or")
        assert port.pubsub.channel_count == port.pubsub.pattern_count == 0


async def test_command_docs_describe_arguments_as_a_tree() -> None:
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        await client.ask("HELLO", 3)
        docs = await client.ask("COMMAND", "DOCS", "client|kill", "sentinel")
        assert isinstance(docs, dict)
        [old_or_new] = docs[b"client|kill"][b"arguments"]
        assert old_or_new[b"type"] == b"oneof"
        address, filters = old_or_new[b"arguments"]
        assert address == {b"name": b"ip:port", b"type": b"string"}
        assert (filters[b"type"], filters[b"flags"]) == (b"oneof", [b"multiple"])
        assert filters[b"arguments"][0] == {
            b"name": b"client-id",
            b"type": b"integer",
            b"token": b"ID",
            b"flags": [b"optional"],
        }
        assert len(docs[b"sentinel"][b"subcommands"]) == 21
