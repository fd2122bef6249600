"""Real instances and Sentinels under the supervisor of a local deployment."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines_fixture import ENGINES, GENUINE_SENTINEL, binary_of, engine
from everfly.core.model import Engine, Role
from everfly.engines.command import EngineBinary
from everfly.engines.dialect import report
from everfly.errors import SettingsError
from everfly.local.deployment import Deployment
from everfly.local.home import Home
from everfly.local.members import Member
from everfly.local.ports import random_free
from everfly.local.settings import HOST, Settings
from everfly.observe.picture import GroupPicture
from everfly.runtime.client import Client, Credentials
from everfly.wire.info import parse_info
from everfly.wire.resp import Reply

__all__ = ["engine"]  # a fixture is used by its name

pytestmark = pytest.mark.integration

START_S = 20.0
"""Ten seconds is the promise, measured on an idle machine; tests share theirs."""
FAILOVER_S = 20.0


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def is_closed(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) != 0


def moved_from(old: Member) -> Callable[[GroupPicture], bool]:
    return lambda picture: picture.primary not in (None, old.address)


async def call(member: Member, *args: str, password: str = "") -> Reply:
    async with await Client.connect(member.address, credentials=Credentials(password)) as client:
        return await client.call(*args)


async def write(member: Member, count: int, *, replicas: int) -> None:
    """Write keys and wait until that many replicas have them."""
    async with await Client.connect(member.address) as client:
        for number in range(count):
            assert await client.call("SET", f"key:{number}", "x") == b"OK"
        assert await client.call("WAIT", str(replicas), "5000", timeout_s=10) == replicas


async def persist(member: Member, count: int, *, replicas: int) -> None:
    """Write keys and wait until they are on its disk and on those of that many replicas."""
    async with await Client.connect(member.address) as client:
        for number in range(count):
            assert await client.call("SET", f"key:{number}", "x") == b"OK"
        done = await client.call("WAITAOF", "1", str(replicas), "9000", timeout_s=10)
        assert done == [1, replicas]


async def counts(deployment: Deployment) -> list[Reply]:
    return [await call(each, "DBSIZE") for each in deployment.instances]


async def pause(member: Member) -> Reply:
    return await call(member, "CONFIG", "GET", "repl-diskless-sync-delay")


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_deployment_is_complete_in_seconds_and_leaves_nothing(
    engine: EngineBinary,
) -> None:
    async with Deployment.temporary(engine) as deployment:
        picture = await deployment.until_healthy(START_S)
        roles = [view.report.role for view in picture.instances]
        assert (roles.count(Role.PRIMARY), roles.count(Role.REPLICA)) == (1, 2)
        assert {view.report.engine for view in picture.instances} == {engine.engine}
        pids = [member.pid for member in deployment.members]
        ports = [member.address.port for member in deployment.members]
        directory = deployment.settings.directory
    assert None not in pids
    assert all(is_gone(pid) for pid in pids if pid is not None)
    assert all(is_closed(port) for port in ports)
    assert not directory.exists()


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_killed_replica_comes_back_as_a_replica(engine: EngineBinary) -> None:
    async with Deployment.temporary(engine) as deployment:
        await deployment.until_healthy(START_S)
        primary = await deployment.primary()
        replica = next(each for each in deployment.instances if each is not primary)
        first_pid = replica.pid
        deployment.kill(replica)
        await deployment.until(
            lambda picture: (
                replica.pid not in (None, first_pid) and deployment.is_complete(picture)
            ),
            START_S,
            "the replica is back",
        )
        assert await deployment.primary() is primary


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica_of_the_new_one(
    engine: EngineBinary,
) -> None:
    async with Deployment.temporary(engine) as deployment:
        await deployment.until_healthy(START_S)
        old = await deployment.primary()
        await write(old, 10, replicas=2)
        deployment.kill(old)
        picture = await deployment.until(moved_from(old), FAILOVER_S, "a failover")
        new = deployment.at(picture.primary)
        assert new is not None
        picture = await deployment.until_healthy(FAILOVER_S)
        view = picture.instance(old.address)
        assert view is not None
        assert view.report.role is Role.REPLICA
        assert view.report.primary == new.address
        assert await counts(deployment) == [10, 10, 10]


async def test_genuine_sentinels_can_watch_a_deployment() -> None:
    async with Deployment.temporary(
        binary_of("valkey"), sentinel_command=GENUINE_SENTINEL
    ) as deployment:
        await deployment.until_healthy(START_S)
        old = await deployment.primary()
        deployment.kill(old)
        await deployment.until(moved_from(old), FAILOVER_S, "a failover")
        await deployment.until_healthy(30.0)


async def test_a_killed_sentinel_comes_back_with_what_it_knew() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        picture = await deployment.until_healthy(START_S)
        sentinel = deployment.sentinels[0]
        before = next(each for each in picture.sentinels if each.address == sentinel.address)
        first_pid = sentinel.pid
        deployment.kill(sentinel)
        picture = await deployment.until(
            lambda picture: (
                sentinel.pid not in (None, first_pid) and deployment.is_complete(picture)
            ),
            START_S,
            "the Sentinel is back",
        )
        after = next(each for each in picture.sentinels if each.address == sentinel.address)
        assert after.run_id == before.run_id


async def test_when_all_instances_are_killed_they_come_back_with_their_data() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        await deployment.until_healthy(START_S)
        await persist(await deployment.primary(), 10, replicas=2)
        pids = {member.pid for member in deployment.instances}
        for member in deployment.instances:
            deployment.kill(member)
        await deployment.until(
            lambda picture: (
                not pids & {member.pid for member in deployment.instances}
                and deployment.is_complete(picture)
            ),
            40.0,
            "all are back",
        )
        assert await counts(deployment) == [10, 10, 10]


async def test_a_lone_primary_comes_back_with_its_data() -> None:
    async with Deployment.temporary(binary_of("valkey"), replicas=0, sentinels=1) as deployment:
        primary = await deployment.primary()
        await persist(primary, 10, replicas=0)
        first_pid = primary.pid
        deployment.kill(primary)
        await deployment.until(
            lambda picture: (
                primary.pid not in (None, first_pid)
                and all(view.is_reachable for view in picture.instances)
            ),
            START_S,
            "it is back",
        )
        assert await counts(deployment) == [10]


@pytest.mark.slow
async def test_an_empty_reborn_primary_does_not_empty_its_replicas() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        await deployment.until_healthy(START_S)
        old = await deployment.primary()
        await write(old, 10, replicas=2)
        await until_known(deployment, old)
        await deployment.restart_empty(old)
        await deployment.until(moved_from(old), FAILOVER_S, "a failover")
        await deployment.until_healthy(30.0)
        assert await counts(deployment) == [10, 10, 10]


async def until_known(deployment: Deployment, primary: Member) -> None:
    """Wait until every Sentinel knows that the replicas hold what is written (INFO, every 10 s)."""
    info = await call(primary, "INFO", "replication")
    assert isinstance(info, bytes)
    written = report(parse_info(info)).offset
    assert written
    async with asyncio.timeout(30):
        for sentinel in deployment.sentinels:
            while True:
                if await least_known_offset(sentinel, deployment.settings.group) >= written:
                    break
                await asyncio.sleep(0.1)


async def least_known_offset(sentinel: Member, group: str) -> int:
    replicas = await call(sentinel, "SENTINEL", "REPLICAS", group)
    assert isinstance(replicas, list)
    offsets = [
        each[each.index(b"slave-repl-offset") + 1] for each in replicas if isinstance(each, list)
    ]
    return min(int(offset) for offset in offsets if isinstance(offset, bytes))


async def test_a_frozen_instance_stalls_nothing() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        await deployment.until_healthy(START_S)
        primary = await deployment.primary()
        replica = next(each for each in deployment.instances if each is not primary)
        deployment.kill(replica, signal.SIGSTOP)
        started = time.monotonic()
        picture = await deployment.picture()
        assert time.monotonic() - started < 5.0
        view = picture.instance(replica.address)
        assert view is not None
        assert not view.is_reachable
        assert any(str(replica.address) in problem for problem in picture.problems)
        deployment.kill(replica, signal.SIGCONT)
        await deployment.until_healthy(START_S)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_frozen_primary_is_replaced_and_follows_when_it_thaws(
    engine: EngineBinary,
) -> None:
    async with Deployment.temporary(engine) as deployment:
        await deployment.until_healthy(START_S)
        old = await deployment.primary()
        pid = old.pid
        deployment.kill(old, signal.SIGSTOP)
        picture = await deployment.until(moved_from(old), FAILOVER_S, "a failover")
        new = picture.primary
        deployment.kill(old, signal.SIGCONT)
        picture = await deployment.until_healthy(FAILOVER_S)
        view = picture.instance(old.address)
        assert view is not None
        assert view.report.primary == new
        assert old.pid == pid


async def test_what_is_not_supervised_stays_down_until_it_is_again() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        await deployment.until_healthy(START_S)
        primary = await deployment.primary()
        replica = next(each for each in deployment.instances if each is not primary)
        deployment.suspend_supervision(replica)
        deployment.kill(replica)
        down = f"the replica {replica.address} does not answer"
        await deployment.until(
            lambda picture: any(down in problem for problem in picture.problems), 10.0, "it is down"
        )
        # Two looks of the supervisor later it is still down.
        for _ in range(2):
            await deployment.picture()
        assert not replica.is_running
        deployment.resume_supervision(replica)
        await deployment.until_healthy(START_S)


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
async def test_a_stopped_deployment_comes_back_with_the_same_primary_and_data(
    engine: EngineBinary, tmp_path: Path
) -> None:
    count = 9 if engine.engine is Engine.DRAGONFLY else 6
    ports = random_free(HOST, count)
    settings = Settings(
        engine=engine,
        directory=tmp_path,
        ports=tuple(ports[:3]),
        sentinel_ports=tuple(ports[3:6]),
        admin_ports=tuple(ports[6:]),
        failover_timeout_ms=2_000,
        password="hunter2",
    )
    with Home(tmp_path) as home:
        async with Deployment(settings, home) as deployment:
            await deployment.until_healthy(START_S)
            first = await deployment.primary()
            deployment.kill(first)
            await deployment.until(moved_from(first), FAILOVER_S, "a failover")
            await deployment.until_healthy(FAILOVER_S)
            second = await deployment.primary()
            reply = await call(second, "SET", "greeting", "hello", password="hunter2")
            assert reply == b"OK"
            primary_port = second.address.port
    with Home(tmp_path) as home:
        async with Deployment(settings, home) as deployment:
            await deployment.until_healthy(START_S)
            third = await deployment.primary()
            assert third.address.port == primary_port
            assert await call(third, "GET", "greeting", password="hunter2") == b"hello"
    assert not files_with("hunter2", tmp_path, ("log", "deployment.json"))


async def test_a_stopped_deployment_may_come_back_with_more_replicas(tmp_path: Path) -> None:
    ports = random_free(HOST, 6)
    settings = Settings(
        engine=binary_of("valkey"),
        directory=tmp_path,
        ports=tuple(ports[:2]),
        sentinel_ports=tuple(ports[3:]),
        group="grows",
    )
    with Home(tmp_path) as home:
        async with Deployment(settings, home) as deployment:
            await deployment.until_healthy(START_S)
            await persist(await deployment.primary(), 10, replicas=1)
        async with Deployment(replace(settings, ports=tuple(ports[:3])), home) as deployment:
            picture = await deployment.until_healthy(START_S)
            assert len(picture.instances) == 3
            assert await counts(deployment) == [10, 10, 10]


def files_with(text: str, folder: Path, names: tuple[str, ...]) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.name in names]
    assert files
    return [path for path in files if text in path.read_text(errors="replace")]


async def test_a_primary_whose_data_are_gone_is_not_started_before_replicas_that_have_them(
    tmp_path: Path,
) -> None:
    ports = random_free(HOST, 5)
    settings = Settings(
        engine=binary_of("valkey"),
        directory=tmp_path,
        ports=tuple(ports[:2]),
        sentinel_ports=tuple(ports[2:]),
    )
    with Home(tmp_path) as home:
        async with Deployment(settings, home) as deployment:
            await deployment.until_healthy(START_S)
        home.wipe_data("instance-1")
        with pytest.raises(SettingsError, match="instance-2 have: they would be emptied"):
            await Deployment(settings, home).start()


async def test_an_instance_that_ends_at_its_start_shows_its_log_and_nothing_is_left() -> None:
    before = set(asyncio.all_tasks())
    with pytest.raises(SettingsError) as caught:
        async with Deployment.temporary(binary_of("valkey"), maxmemory="nonsense"):
            pass
    text = str(caught.value)
    assert "instance-1 (127.0.0.1:" in text
    assert "ended at its start: exit status 1" in text
    assert "maxmemory" in text
    assert set(asyncio.all_tasks()) == before


async def test_a_sentinel_that_ends_at_its_start_stops_everything() -> None:
    async def start() -> None:
        async with Deployment.temporary(
            binary_of("valkey"), sentinel_command=("/bin/sh", "-c", "echo no such option; exit 3")
        ):
            pass

    with pytest.raises(SettingsError, match=r"(?s)exit status 3.*no such option"):
        await start()


async def test_the_pause_of_a_promoted_instance_ends_when_the_sentinels_know_it() -> None:
    async with Deployment.temporary(binary_of("valkey")) as deployment:
        await deployment.until_healthy(START_S)
        old = await deployment.primary()
        assert await pause(old) == [b"repl-diskless-sync-delay", b"0"]
        pauses = [await pause(each) for each in deployment.instances if each is not old]
        assert pauses == [[b"repl-diskless-sync-delay", b"5"]] * 2
        deployment.kill(old)
        picture = await deployment.until(moved_from(old), FAILOVER_S, "a failover")
        new = deployment.at(picture.primary)
        assert new is not None
        await deployment.until(lambda _: not new.has_grace, FAILOVER_S, "the pause has ended")
        assert await pause(new) == [b"repl-diskless-sync-delay", b"0"]
