"""The double of Dragonfly says what the real one was recorded to say, where Sentinels look."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from engines_fixture import HAS_DRAGONFLY, binary_of
from everfly.core.model import Address, Role
from everfly.engines.command import InstanceSpec
from everfly.engines.dialect import follow_commands, promote_commands, report, start_command
from processes import Child, Connection, ask, free_port, info, until

NAME = "dragonfly" if HAS_DRAGONFLY else "dragonfly-double"
pytestmark = [
    pytest.mark.integration,
    # A test of the double where there is no Dragonfly, and of the real one where there is.
    pytest.mark.parametrize("program", [pytest.param("dragonfly", id=NAME)]),
]

START_S = 15.0


class Pair:
    """A primary and its replica, in sync."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.children: dict[int, Child] = {}
        self.start(0)
        self.start(1, follow=0)
        until(lambda: info(self.ports[1]).get("master_link_status") == "up", START_S)
        until(lambda: info(self.ports[1]).get("slave_repl_offset"), START_S)

    def start(self, index: int, follow: int | None = None) -> None:
        directory = self.folder / str(index)
        directory.mkdir(exist_ok=True)
        primary = None if follow is None else Address("127.0.0.1", self.ports[follow])
        spec = InstanceSpec(port=self.ports[index], directory=directory, replica_of=primary)
        command = start_command(binary_of("dragonfly"), spec)
        self.children[index] = Child(command, directory / "log")
        until(lambda: ask(self.ports[index], "PING") == b"PONG", START_S)

    def kill(self, index: int) -> None:
        self.children[index].kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    for child in made.children.values():
        child.kill()


def replies(port: int, *commands: tuple[str, ...]) -> list[object]:
    with Connection(port) as connection:
        for command in commands:
            connection.send(*command)
        return [connection.receive() for _ in commands]


def test_its_info_is_a_dragonfly_report(pair: Pair, program: str) -> None:
    primary, replica = (report(info(port)) for port in pair.ports)
    assert (primary.role, replica.role) == (Role.PRIMARY, Role.REPLICA)
    assert primary.offset is None
    assert "run_id" not in info(pair.ports[0])
    assert replica.offset is not None
    assert replica.history == primary.history
    assert primary.replicas == (Address("127.0.0.1", pair.ports[1]),)
    assert primary.run_id != replica.run_id


def test_a_genuine_sentinels_promotion_works_though_half_of_it_fails(
    pair: Pair, program: str
) -> None:
    before = report(info(pair.ports[1]))
    *queued, done = replies(
        pair.ports[1],
        ("MULTI",),
        ("SLAVEOF", "NO", "ONE"),
        ("CONFIG", "REWRITE"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "KILL", "TYPE", "pubsub"),
        ("EXEC",),
    )
    assert queued == [b"OK", *[b"QUEUED"] * 4]
    assert isinstance(done, list)
    assert done[0] == b"OK"
    assert str(done[1]) == "ERR The server is running without a config file"
    assert [str(each) for each in done[2:]] == ["ERR syntax error"] * 2
    after = report(info(pair.ports[1]))
    assert after.role is Role.PRIMARY
    assert after.history != before.history
    assert after.run_id == before.run_id


def test_our_own_commands_have_no_errors(pair: Pair, program: str) -> None:
    engine = binary_of("dragonfly").engine
    assert replies(pair.ports[1], *promote_commands(engine))[-1] == [b"OK"]
    follow = follow_commands(engine, "127.0.0.1", pair.ports[1])
    assert replies(pair.ports[0], *follow)[-1] == [b"OK"]
    until(lambda: report(info(pair.ports[0])).primary_link_up, START_S)


def test_it_replicates_and_refuses_writes_on_a_replica(pair: Pair, program: str) -> None:
    with Connection(pair.ports[0]) as connection:
        assert connection.call("SET", "k", "v") == b"OK"
        assert connection.call("RPUSH", "l", "a", "b") == 2
        assert connection.call("INCR", "n") == 1
        assert connection.call("WAIT", "1", "2000") == 1
    assert ask(pair.ports[1], "GET", "k") == b"v"
    assert ask(pair.ports[1], "LRANGE", "l", "0", "-1") == [b"a", b"b"]
    with pytest.raises(hiredis.ReplyError, match="READONLY"):
        ask(pair.ports[1], "SET", "k", "w")


def test_it_will_not_follow_a_dead_address_and_keeps_the_old_one(pair: Pair, program: str) -> None:
    with pytest.raises(hiredis.ReplyError, match="replication cancelled"):
        ask(pair.ports[1], "REPLICAOF", "127.0.0.1", str(free_port()))
    assert report(info(pair.ports[1])).primary == Address("127.0.0.1", pair.ports[0])


def test_a_replica_leaves_a_primary_that_restarted_empty(pair: Pair, program: str) -> None:
    with Connection(pair.ports[0]) as connection:
        connection.call("SET", "k", "v")
        connection.call("WAIT", "1", "2000")
    pair.kill(0)
    until(lambda: not report(info(pair.ports[1])).primary_link_up, START_S)
    pair.start(0)
    # It looks again several times a second; a primary that it followed would show it by then.
    until(lambda: int(info(pair.ports[0])["uptime_in_seconds"]) >= 2, START_S)
    assert ask(pair.ports[1], "GET", "k") == b"v"
    assert info(pair.ports[0])["connected_slaves"] == "0"


def test_a_takeover_ends_the_old_primary_and_loses_nothing(pair: Pair, program: str) -> None:
    ask(pair.ports[0], "SET", "k", "v")
    assert ask(pair.ports[1], "REPLTAKEOVER", "5") == b"OK"
    assert pair.children[0].wait(START_S) == 0
    assert report(info(pair.ports[1])).role is Role.PRIMARY
    assert ask(pair.ports[1], "GET", "k") == b"v"


def test_an_orderly_end_saves_the_data(pair: Pair, program: str) -> None:
    ask(pair.ports[0], "SET", "k", "v")
    os.kill(pair.children[0].pid, signal.SIGTERM)
    assert pair.children[0].wait(START_S) == 0
    pair.start(0)
    assert ask(pair.ports[0], "GET", "k") == b"v"
