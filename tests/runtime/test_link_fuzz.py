import asyncio
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from everfly.core.effects import Connect, Purpose
from everfly.core.inputs import Connected, Input, LinkLost
from everfly.core.model import Address, GroupName, LinkId
from everfly.runtime.link import LinkPool, Shell
from everfly.runtime.link_connection import Handler, Link
from everfly.runtime.link_replies import ReplyReader, Transaction
from everfly.runtime.resolver import Resolver
from everfly.sentinel.link_settings import SentinelLinkSettings
from everfly.sentinel.settings import Settings
from loopback import SUBSCRIBED, bulk, message
from shell_doubles import ME

GROUP = GroupName("g")

PIECES = st.one_of(
    st.sampled_from(
        [b"+PONG\r\n", b"-LOADING\r\n", b":1\r\n", b"$-1\r\n", b"*0\r\n", b"*2\r\n", b"*-1\r\n",
         b"%1\r\n", b">2\r\n", b"_\r\n", b"#t\r\n", b"*3\r\n:1\r\n$1\r\n*\r\n:0\r\n", SUBSCRIBED,
         bulk(b"role:slave\r\nmaster_host:x\r\nmaster_port:99999999\r\n"),
         bulk(b"role:master\r\nslave0:ip=,port=,\r\nslave1:ip=::1,port=1\r\n"),
         message(b"1,2,3,4,5,6,7,8"), message(b"127.0.0.1,1,\xff,0,g,127.0.0.1,1,0"),
         message(b"name,1,x,0,g,127.0.0.1,1,0"), message(ME.encode())]
    ),
    st.binary(max_size=40),
    st.binary(max_size=40).map(bulk),
    st.binary(max_size=120).map(message),
)  # fmt: skip


class SilentTransport(asyncio.Transport):
    """A connection on which nothing leaves."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        del data

    def close(self) -> None:
        pass


@given(st.lists(PIECES, max_size=30), st.sampled_from(Purpose), st.integers(1, 50))
async def test_whatever_an_instance_sends_becomes_facts_or_the_end_of_its_link(
    pieces: list[bytes], purpose: Purpose, cut: int
) -> None:
    facts: list[Input] = []
    async with asyncio.TaskGroup() as tasks:
        settings = SentinelLinkSettings(Settings(), "")
        pool = LinkPool(ME, Shell(facts.append, tasks, Resolver(), settings))
        replies = ReplyReader(facts.append, pool.names, pool.infos)
        link = Link(Connect(LinkId(1), Address("127.0.0.1", 1), purpose, GROUP), pool)
        link.connection_made(SilentTransport())
        handlers: list[Handler] = [
            replies.on_pong, replies.on_info, replies.on_published, replies.on_script_killed,
            partial(replies.on_asked, GROUP), replies.on_pong,
        ]  # fmt: skip
        for handler in handlers:
            link.send(b"", handler)
        order = Transaction(3, "it", lambda _: facts.append(Connected(LinkId(2), "")))
        for _ in range(3):
            link.send(b"", order.on_reply)
        stream = b"".join(pieces)
        for start in range(0, len(stream), cut):
            link.data_received(stream[start : start + cut])
        link.connection_lost(None)
        link.data_received(b"+PONG\r\n")
        pool.close()
    assert [fact for fact in facts if isinstance(fact, LinkLost)] == facts[-1:]
    if purpose is Purpose.COMMANDS:
        # One for the connection, one for its end, and never more than one for each command.
        assert len(facts) <= 2 + len(handlers) + 1
