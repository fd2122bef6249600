"""What is said to a ferry, and what it makes of it: against a process that speaks as Dragonfly."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from everfly.core.model import Address, Role
from everfly.errors import RemoteError, Unavailable
from everfly.operator.backups.decide import FerryFacts, is_whole
from everfly.operator.backups.words import Words, facts_of
from everfly.wire.info import parse_info
from processes import Child, ask, free_port, until

IMAGE = Path(__file__).parent / "controlplane" / "images" / "dragonfly_image.py"
HOST = "127.0.0.1"
LIMIT_S = 10.0


class Process:
    """One instance, or a ferry; its admin port is `admin`."""

    def __init__(self, folder: Path, slow_s: float = 0.0) -> None:
        self.folder, self.admin = folder, free_port()
        folder.mkdir()
        flags = (
            f"--port={free_port()}",
            f"--admin_port={self.admin}",
            f"--dir={folder}",
            "--dbfilename=",
        )
        environment = {**os.environ, "DOUBLE_SLOW_S": str(slow_s)}
        self.child = Child(
            [sys.executable, str(IMAGE), *flags], folder / "log", environment=environment
        )
        until(lambda: ask(self.admin, "PING"), 20, despite=(OSError,))

    @property
    def words(self) -> Words:
        return Words(Address(HOST, self.admin))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def start(slow_s: float = 0.0) -> Process:
        made.append(Process(tmp_path / str(len(made)), slow_s))
        return made[-1]

    try:
        yield start
    finally:
        for each in made:
            each.child.kill()


async def see(process: Process, is_so: Callable[[FerryFacts], bool]) -> FerryFacts:
    async with asyncio.timeout(LIMIT_S):
        while not is_so(facts := await process.words.look()):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    return facts


@asynccontextmanager
async def followed(start: Callable[..., Process]) -> AsyncIterator[tuple[Process, Process]]:
    """A primary with one key, and a ferry that copied it."""
    primary, ferry = start(), start()
    ask(primary.admin, "SET", "key", "value")
    await ferry.words.follow(Address(HOST, primary.admin))
    await see(ferry, is_whole)
    yield primary, ferry


async def test_a_ferry_copies_lets_go_writes_and_reads(processes: Callable[..., Process]) -> None:
    async with followed(processes) as (primary, ferry):
        before = await ferry.words.look()
        assert (before.role, before.keys) == (Role.REPLICA, 1)
        assert before.primary == Address(HOST, primary.admin)
        assert before.history == (await primary.words.look()).history
        await ferry.words.detach(before.history)
        ask(primary.admin, "SET", "later", "value")
        await ferry.words.save("nightly-1")
        after = await see(ferry, lambda each: bool(each.saved_file))
        assert after.saved_file == f"{ferry.folder}/nightly-1-summary.dfs"
        assert (after.role, after.keys, after.save_error) == (Role.PRIMARY, 1, "")
        assert after.memory_bytes > 0
        assert after.engine.startswith("df-")
        read = await ferry.words.load(after.saved_file, LIMIT_S)
        assert read.keys == 1


async def test_a_ferry_that_follows_another_history_keeps_following(
    processes: Callable[..., Process],
) -> None:
    async with followed(processes) as (_, ferry):
        with pytest.raises(Unavailable, match="no longer holds a whole copy of stranger"):
            await ferry.words.detach("stranger")
        assert (await ferry.words.look()).role is Role.REPLICA


async def test_a_ferry_that_lost_its_primary_does_not_keep_what_it_has(
    processes: Callable[..., Process],
) -> None:
    async with followed(processes) as (primary, ferry):
        history = (await ferry.words.look()).history
        primary.child.kill()
        await see(ferry, lambda each: not each.is_link_up)
        with pytest.raises(Unavailable, match="no longer holds a whole copy"):
            await ferry.words.detach(history)


async def test_letting_go_twice_is_the_same_as_once(processes: Callable[..., Process]) -> None:
    async with followed(processes) as (_, ferry):
        history = (await ferry.words.look()).history
        await ferry.words.detach(history)
        await ferry.words.detach(history)
        assert (await ferry.words.look()).keys == 1


async def test_what_cannot_be_written_is_told_by_the_ferry(
    processes: Callable[..., Process],
) -> None:
    ferry = processes()
    (ferry.folder / "taken-0000.dfs.tmp").mkdir()
    await ferry.words.save("taken")
    facts = await see(ferry, lambda each: bool(each.save_error))
    assert facts.saved_file == ""
    with pytest.raises(RemoteError, match="no filename extension"):
        await ferry.words.save("a.b")


async def test_a_damaged_snapshot_is_refused_in_the_engines_words(
    processes: Callable[..., Process],
) -> None:
    ferry = processes()
    ask(ferry.admin, "SET", "key", "value")
    await ferry.words.save("one")
    path = (await see(ferry, lambda each: bool(each.saved_file))).saved_file
    data = ferry.folder / "one-0000.dfs"
    data.write_bytes(data.read_bytes()[:-3])
    with pytest.raises(RemoteError, match="Internal error when loading RDB file"):
        await ferry.words.load(path, LIMIT_S)
    with pytest.raises(RemoteError, match="No such file"):
        await ferry.words.load(path.replace("one", "two"), LIMIT_S)


async def test_a_ferry_that_reads_or_writes_is_not_told_to_read(
    processes: Callable[..., Process],
) -> None:
    ferry = processes(slow_s=1.0)
    ask(ferry.admin, "SET", "key", "value")
    await ferry.words.save("one")
    path = f"{ferry.folder}/one-summary.dfs"
    with pytest.raises(Unavailable, match="is busy with a snapshot"):
        await ferry.words.load(path, LIMIT_S)
    await see(ferry, lambda each: bool(each.saved_file))
    reading = asyncio.create_task(ferry.words.load(path, LIMIT_S))
    await see(ferry, lambda each: each.is_busy)
    # A second order would empty what the first one reads, and be answered with OK.
    with pytest.raises(Unavailable, match="is busy with a snapshot"):
        await ferry.words.load(path, LIMIT_S)
    assert (await reading).keys == 1


async def test_a_ferry_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Words(Address(HOST, free_port())).look()


def test_facts_are_read_from_what_dragonfly_says() -> None:
    # As recorded of Dragonfly 1.40.1, a replica in the middle of a copy.
    said = (
        b"# Server\r\ndragonfly_version:df-v1.40.1\r\n# Memory\r\nused_memory:2097152\r\n"
        b"# Persistence\r\nlast_saved_file:\r\nloading:1\r\nsaving:0\r\n"
        b"rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\nlast_failed_save:0\r\n"
        b"last_error:\r\n# Replication\r\nrole:slave\r\nmaster_host:10.0.0.1\r\n"
        b"master_port:9999\r\nmaster_link_status:up\r\nmaster_sync_in_progress:1\r\n"
        b"master_replid:abc\r\n# Keyspace\r\ndb0:keys=51932,expires=3,avg_ttl=-1\r\n"
        b"db1:keys=8,expires=1,avg_ttl=-1\r\n"
    )
    facts = facts_of(parse_info(said))
    assert facts == FerryFacts(
        role=Role.REPLICA,
        primary=Address("10.0.0.1", 9999),
        history="abc",
        is_link_up=True,
        is_busy=True,
        keys=51_940,
        volatile_keys=4,
        memory_bytes=2_097_152,
        engine="df-v1.40.1",
    )
    assert not is_whole(facts)


def test_nonsense_makes_no_facts() -> None:
    facts = facts_of({"slave_repl_offset": "x", "master_port": "", "db0": "keys=,expires=z"})
    assert (facts.role, facts.offset, facts.keys) == (Role.PRIMARY, 0, 0)
