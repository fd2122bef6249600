"""Listening sockets go from one process to the next, and to nobody else."""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfly.core.model import Address
from everfly.endpoint.belief import Belief
from everfly.endpoint.handover import ADMIN, Door, inherit
from everfly.errors import SettingsError, Unavailable
from kinds import HOST

BELIEF = Belief(Address("10.0.0.1", 6379), 7, (1 << 40) + 7)
LIMIT_S = 10.0


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Door]:
    door = Door(str(path))
    door.open()
    try:
        yield door
    finally:
        door.close(is_last=True)


def listening() -> socket.socket:
    raw = socket.socket()
    raw.bind((HOST, 0))
    raw.listen(8)
    return raw


async def test_a_connection_that_waits_is_served_by_the_successor(tmp_path: Path) -> None:
    path = tmp_path / "door"
    with listening() as data, listening() as admin:
        place = data.getsockname()
        sockets = [("0.0.0.0:6379", data.fileno()), (ADMIN, admin.fileno())]
        async with opened(path) as door:
            taking = asyncio.create_task(door.until_taken(lambda: (sockets, BELIEF)))
            inherited = await asyncio.to_thread(inherit, str(path))
            assert inherited is not None
            assert inherited.belief == BELIEF
            (taken,) = inherited.take("0.0.0.0:6379")
            (of_admin,) = inherited.take(ADMIN)
            os.close(of_admin)
            with (
                socket.socket(fileno=taken) as mine,
                socket.create_connection(place, timeout=LIMIT_S) as client,
            ):
                confirming = asyncio.create_task(inherited.confirm())
                async with asyncio.timeout(LIMIT_S):
                    successor = await taking
                assert not confirming.done(), "the old one has not let go yet"
                data.close()
                successor.close()
                await confirming
                mine.settimeout(LIMIT_S)
                accepted, _ = mine.accept()
                with accepted:
                    client.sendall(b"PING\r\n")
                    assert accepted.recv(16) == b"PING\r\n"


async def test_a_successor_that_fails_harms_nobody_and_the_next_may_try(tmp_path: Path) -> None:
    path = tmp_path / "door"
    with listening() as data:
        async with opened(path) as door:
            taking = asyncio.create_task(door.until_taken(lambda: ([("a", data.fileno())], None)))
            failed = await asyncio.to_thread(inherit, str(path))
            assert failed is not None
            assert failed.belief is None
            failed.give_back()
            assert failed.sockets == {}
            second = await asyncio.to_thread(inherit, str(path))
            assert second is not None
            assert not taking.done()
            confirming = asyncio.create_task(second.confirm())
            async with asyncio.timeout(LIMIT_S):
                (await taking).close()
                await confirming
            second.close_rest()


async def test_the_door_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "door"
    async with opened(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_door_that_a_crash_left_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "door"
    crashed = Door(str(path))
    crashed.open()
    crashed.close(is_last=False)
    assert path.exists()
    assert await asyncio.to_thread(inherit, str(path)) is None
    async with opened(path):
        assert path.is_socket()


async def test_a_file_of_somebody_else_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "door"
    path.write_text("precious")
    with pytest.raises(SettingsError, match="restart_socket"):
        Door(str(path)).open()
    assert path.read_text() == "precious"


def test_without_a_process_before_there_is_nothing_to_inherit(tmp_path: Path) -> None:
    assert inherit(str(tmp_path / "door")) is None


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        json.dumps({"format": 2, "addresses": [], "belief": None}).encode(),
        json.dumps({"format": 1, "addresses": ["a"], "belief": None}).encode(),
        json.dumps({"format": 1, "addresses": [], "belief": ["h", "x", 1, 1]}).encode(),
        json.dumps({"format": 1, "addresses": [], "belief": ["h"]}).encode(),
        json.dumps({"format": 1, "addresses": 5, "belief": None}).encode(),
    ],
)
async def test_a_stranger_at_the_door_is_no_endpoint(tmp_path: Path, message: bytes) -> None:
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen(1)
        asking = asyncio.create_task(asyncio.to_thread(inherit, str(path)))
        connection, _ = await asyncio.to_thread(stranger.accept)
        with connection:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            with pytest.raises(SettingsError, match="no endpoint that fits"):
                await asking


async def test_a_process_that_does_not_let_go_is_told(tmp_path: Path) -> None:
    path = tmp_path / "door"
    async with opened(path) as door:
        taking = asyncio.create_task(door.until_taken(lambda: ([], None)))
        inherited = await asyncio.to_thread(inherit, str(path))
        assert inherited is not None
        taking.cancel()
        await asyncio.wait([taking])
        inherited._connection.shutdown(socket.SHUT_RDWR)
        with pytest.raises(Unavailable, match="does not let go"):
            await inherited.confirm()
