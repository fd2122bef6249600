"""What a user may not do never reaches the core, also when it lost the permission meanwhile."""

import asyncio
import logging
from dataclasses import replace

import hiredis
import pytest

from everfly.core.inputs import HelloHeard
from everfly.core.model import Address
from everfly.sentinel.compat import Compat
from everfly.sentinel.settings import Settings
from resp_client import RespClient, until
from sentinel_face import Face, face, group_view

VIEW = group_view("m", Address("127.0.0.1", 6379))
HELLO = f"127.0.0.1,26379,{'a' * 40},3,m,127.0.0.1,6379,2"


async def as_eve(port: Face, *rules: str) -> RespClient:
    eve = await RespClient.open(port.port)
    assert await eve.ask("ACL", "SETUSER", "eve", "on", "nopass", *rules) == b"OK"
    assert await eve.ask("AUTH", "eve", "any") == b"OK"
    return eve


async def test_a_failover_that_is_not_allowed_never_enters_the_core() -> None:
    async with face(VIEW) as port, await as_eve(port, "+@all", "-sentinel|failover") as eve:
        reply = await eve.ask("SENTINEL", "FAILOVER", "m")
        assert str(reply) == (
            "NOPERM this user has no permissions to run the 'sentinel|failover' command"
        )
        assert port.brain.inputs == []


@pytest.mark.parametrize(
    ("change", "is_heard"),
    [
        (("PING",), True),
        (("ACL", "SETUSER", "eve", "-publish"), False),
        (("ACL", "SETUSER", "eve", "resetchannels"), False),
        (("ACL", "DELUSER", "eve"), False),
        (("CLIENT", "KILL", "USER", "eve"), False),
    ],
)
async def test_a_command_that_waits_is_judged_when_its_turn_comes(
    change: tuple[str, ...], is_heard: bool
) -> None:
    async with (
        face(VIEW) as port,
        await RespClient.open(port.port) as admin,
        await as_eve(port, "+@all", "&*") as eve,
    ):
        assert await admin.ask("CLIENT", "PAUSE", 60_000, "WRITE") == b"OK"
        eve.send("PUBLISH", "__sentinel__:hello", HELLO)
        clients = port.listener.clients
        await until(lambda: any(one.command_name == "publish" for one in clients.values()))
        assert not isinstance(await admin.ask(*change), hiredis.ReplyError)
        assert await admin.ask("CLIENT", "UNPAUSE") == b"OK"
        assert await admin.ask("PING") == b"PONG"
        assert any(isinstance(fact, HelloHeard) for fact in port.brain.inputs) is is_heard


async def test_a_password_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with face(VIEW) as port, await RespClient.open(port.port) as client:
        await client.ask("ACL", "SETUSER", "eve", "on", ">hunter2", "+@all")
        await client.ask("ACL", "SETUSER", "eve", "<hunter2x")
        await client.ask("AUTH", "eve", "hunter2y")
        assert await client.ask("AUTH", "eve", "hunter2") == b"OK"
        shown = await client.ask("ACL", "LOG")
    assert "hunter2" not in caplog.text + repr(shown)


async def test_redis_7_0_does_not_show_that_a_primary_rebooted() -> None:
    rebooted = replace(VIEW, primary=replace(VIEW.primary, flags=("master", "master_reboot")))
    for compat, flags in (
        (Compat.REDIS_7_0, b"master"),
        (Compat.REDIS_7_4, b"master,master_reboot"),
    ):
        async with (
            face(rebooted, settings=Settings(compat=compat)) as port,
            await RespClient.open(port.port) as client,
        ):
            answer = await client.ask("SENTINEL", "MASTER", "m")
            assert isinstance(answer, list)
            assert answer[answer.index(b"flags") + 1] == flags


async def first_answer_to_a_neighbour(port: Face) -> bytes:
    """Return what somebody with another address of this machine hears first."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port.port, local_addr=("127.0.0.2", 0)
    )
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(10):
            return (await reader.readline())[:8]
    finally:
        writer.close()


async def test_protected_mode_goes_by_the_password_that_default_has_now() -> None:
    async with (
        face(VIEW, settings=Settings(is_protected=True)) as port,
        await RespClient.open(port.port) as admin,
    ):
        assert await first_answer_to_a_neighbour(port) == b"-DENIED "
        assert await admin.ask("ACL", "SETUSER", "default", ">x") == b"OK"
        assert await first_answer_to_a_neighbour(port) == b"-NOAUTH "
        assert await admin.ask("ACL", "SETUSER", "default", "nopass") == b"OK"
        assert await first_answer_to_a_neighbour(port) == b"-DENIED "
