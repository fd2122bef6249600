"""SENTINEL FAILOVER under load, with every engine: the role moves, and no write is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from engines_fixture import ENGINES, binary_of, engine
from event_log import EventLog
from everfly.core.model import Role
from everfly.drill.load import GroupConnections, Writer, audit
from everfly.drill.stage import OwnStage
from everfly.engines.command import EngineBinary
from everfly.local.deployment import Deployment
from everfly.local.members import Member
from everfly.observe.picture import GroupPicture
from everfly.runtime.client import Client
from everfly.wire.resp import ErrorReply
from shell_doubles import until

__all__ = ["engine"]  # a fixture is used by its name

pytestmark = pytest.mark.integration

START_S = 20.0
SWITCH_S = 20.0
WRITERS = 3
MORE_WRITES = 100
"""Before and after each change, so that it happens under load."""
GAP_MAX_S = 5.0
"""Clients wait for milliseconds; a shared machine may stand still for a second or two. Without a
hand-over a client of a primary that is paused or gone would wait for down-after and more."""


@contextlib.asynccontextmanager
async def writers(stage: OwnStage) -> AsyncIterator[list[Writer]]:
    """Run clients that find the primary through the Sentinels and write all the time."""
    connections = [GroupConnections(stage) for _ in range(WRITERS)]
    found = [Writer(each, f"w{at}", every_s=0.001) for at, each in enumerate(connections)]
    async with asyncio.TaskGroup() as tasks:
        for writer in found:
            tasks.create_task(writer.run())
        try:
            yield found
        finally:
            for writer in found:
                writer.is_stopping = True
    for each in connections:
        await each.close()


async def some_more(found: list[Writer]) -> None:
    """Wait until each client has had more writes acknowledged."""
    wanted = [len(writer.acknowledged) + MORE_WRITES for writer in found]
    await until(
        lambda: all(
            len(writer.acknowledged) >= count for writer, count in zip(found, wanted, strict=True)
        ),
        SWITCH_S,
    )


def follow(deployment: Deployment, new: Member, picture: GroupPicture) -> bool:
    """Whether all Sentinels name the new primary, and all others are replicas of it in sync."""
    views = {view.address: view for view in picture.instances}
    others = [each.address for each in deployment.instances if each is not new]
    return (
        deployment.is_complete(picture)
        and {view.client_address for view in picture.sentinels} == {new.address}
        and not any(view.failover_state for view in picture.sentinels)
        and views[new.address].report.role is Role.PRIMARY
        and all(views[at].is_in_sync and views[at].report.primary == new.address for at in others)
    )


async def switch_over(
    deployment: Deployment, sentinel: Member, log: EventLog, to: Member | None = None
) -> None:
    """Ask one Sentinel for a failover, or for a switchover to one replica; return when its outcome
    is complete, and nothing else.
    """
    old = await deployment.primary()
    seen = len(log.of("+switch-master"))
    command = ["FAILOVER", deployment.settings.group]
    if to is not None:
        command = ["SWITCHOVER", *command[1:], to.address.host, str(to.address.port)]
    async with await Client.connect(sentinel.address) as client:
        answer = await client.call("SENTINEL", *command)
    assert answer == b"OK"
    picture = await deployment.until(
        lambda picture: picture.primary not in (None, old.address), SWITCH_S, "a new primary"
    )
    new = deployment.at(picture.primary)
    assert new is not None
    assert to in (None, new)
    await deployment.until(
        lambda picture: follow(deployment, new, picture), SWITCH_S, "all follow the new primary"
    )
    sentinels = {each.address.port for each in deployment.sentinels}
    switches = log.wait_for("+switch-master", count=seen + len(sentinels))[seen:]
    assert {event.port for event in switches} == sentinels
    assert {event.payload.split()[-1] for event in switches} == {str(new.address.port)}


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_three_switchovers_in_a_row_lose_no_acknowledged_write(engine: EngineBinary) -> None:
    async with Deployment.temporary(engine) as deployment:
        await deployment.until_healthy(START_S)
        ports = [each.address.port for each in deployment.sentinels]
        with EventLog(ports) as log:
            async with writers(OwnStage(deployment)) as found:
                for sentinel in deployment.sentinels:
                    await some_more(found)
                    await switch_over(deployment, sentinel, log)
                await some_more(found)
            assert "+sdown master" not in str(log), "nobody was taken for dead"
            assert len(log.of("+switch-master")) == 3 * len(ports), "one change each time"
        for writer in found:
            assert len(writer.moves) == 4, "each client has followed the primary each time"
            gaps = [after - before for before, after in pairwise(writer.acknowledged)]
            assert max(gaps) < GAP_MAX_S
        last = await deployment.primary()
        assert last.address == found[0].moves[-1][1]
        async with await Client.connect(last.address) as client:
            assert await client.call("SET", "last", "x") == b"OK"
            assert await client.call("WAIT", "2", "9000", timeout_s=10) == 2
        for member in deployment.instances:
            async with await Client.connect(member.address) as client:
                for writer in found:
                    assert (await audit(client, writer)).lost == ()


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_switchover_goes_to_the_replica_that_was_asked_for(engine: EngineBinary) -> None:
    async with Deployment.temporary(engine) as deployment:
        await deployment.until_healthy(START_S)
        first = await deployment.primary()
        wanted = [each for each in deployment.instances if each is not first][-1]
        ports = [each.address.port for each in deployment.sentinels]
        with EventLog(ports) as log:
            async with writers(OwnStage(deployment)) as found:
                await some_more(found)
                await switch_over(deployment, deployment.sentinels[1], log, to=wanted)
                await some_more(found)
        async with await Client.connect(wanted.address) as client:
            for writer in found:
                assert (await audit(client, writer)).lost == ()


async def test_a_switchover_that_cannot_be_says_why_and_changes_nothing() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        await deployment.until_healthy(START_S)
        first = await deployment.primary()
        group = deployment.settings.group
        async with await Client.connect(deployment.sentinels[0].address) as client:
            here = (first.address.host, str(first.address.port))
            nobody = await client.call("SENTINEL", "SWITCHOVER", group, *here)
            assert isinstance(nobody, ErrorReply)
            assert nobody.text == f"NOGOODSLAVE {first.address} is no replica of {group}"
            for member in deployment.instances:
                async with await Client.connect(member.address) as instance:
                    await instance.call("CONFIG", "SET", "replica-priority", "0")
            refused = await client.call("SENTINEL", "SWITCHOVER", group)
            assert isinstance(refused, ErrorReply)
            assert "switchover refused, nothing has changed" in refused.text
            assert refused.text.count("rejected: priority 0") == 2
            assert await client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group) == [
                each.encode() for each in here
            ]
