"""A Sentinel that names nobody: the front of Kubernetes does so while no primary is in service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from endpoint_plane import RecordingPlane
from everfly.core.model import Address, Instant
from everfly.endpoint.belief import Claim, Jury
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.tap import claim_of
from everfly.errors import Unavailable
from everfly.runtime.client import Credentials
from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.runtime.listener import Limits, Listener
from everfly.wire.resp import NULL_ARRAY, ErrorReply, SimpleString

S1, S2, S3 = (Address("10.0.0.1", port) for port in (1, 2, 3))
A, B = (Address("10.0.1.1", port) for port in (6379, 6380))
T0 = Instant(1_000)
MASTER = [b"flags", b"s_down,o_down,master", b"config-epoch", b"7"]


def test_nobody_named_by_a_sentinel_that_knows_the_group_is_no_claim() -> None:
    assert claim_of(S1, "cache", MASTER, None) is None
    with pytest.raises(Unavailable, match="says of group `cache`"):
        claim_of(S1, "cache", ErrorReply("ERR No such master with that name"), None)


def test_a_vacancy_never_makes_a_belief() -> None:
    jury = Jury(1)
    jury.vacate(S1)
    assert jury.belief is None
    assert (jury.heard, jury.is_changing, jury.is_vacant) == (0, False, True)


def test_a_vacancy_is_a_change_under_way_until_somebody_is_named_again() -> None:
    jury = Jury(1)
    jury.hear(T0, S1, Claim(A, 7))
    jury.vacate(S1)
    assert jury.is_changing
    assert jury.is_vacant
    assert jury.belief is not None
    assert jury.belief.primary == A
    belief = jury.hear(T0, S1, Claim(B, 8))
    assert belief is not None
    assert belief.primary == B
    assert (jury.is_changing, jury.is_vacant) == (False, False)


def test_a_sentinel_that_sees_nothing_is_believed_first_but_never_over_a_later_epoch() -> None:
    fields = [b"flags", b"master,disconnected", b"config-epoch", b"4"]
    blind = claim_of(S1, "cache", fields, [b"10.0.1.1", b"6379"])
    assert blind == Claim(A, 4, is_blind=True)
    jury = Jury(1)
    first = jury.hear(T0, S1, blind)
    assert first is not None
    assert first.primary == A
    later = jury.hear(T0, S1, Claim(B, 5))
    assert later is not None
    for at in range(1_000, 60_000, 1_000):
        assert jury.hear(Instant(T0 + at), S1, blind) is None
    assert jury.belief == later


def test_a_vacancy_counts_by_majority_and_ends_with_the_silence_of_who_said_it() -> None:
    jury = Jury(3)
    for sentinel in (S1, S2, S3):
        jury.hear(T0, sentinel, Claim(A, 7))
    jury.vacate(S1)
    assert not jury.is_vacant
    jury.vacate(S2)
    assert jury.is_vacant
    jury.forget(S2)
    assert not jury.is_vacant
    jury.vacate(S2)
    jury.rename(frozenset({S3}))
    assert not jury.is_vacant


class Stage:
    """One port that is instance and Sentinel in one, and names it or nobody."""

    def __init__(self) -> None:
        self.is_vacant = False
        self.is_blind = False
        self.asked: list[int] = []
        """Which connections asked, in order."""
        self.listener = Listener(Limits(), lambda _: self)

    def execute(self, client: ClientConnection, command: list[bytes]) -> Outcome:
        match [word.upper() for word in command[:2]]:
            case [b"SENTINEL", b"MASTER"]:
                self.asked.append(client.id)
                flags = b"master,disconnected" if self.is_blind else b"master"
                return list(MASTER) if self.is_vacant else [b"flags", flags, *MASTER[2:]]
            case [b"SENTINEL", _]:
                return NULL_ARRAY if self.is_vacant else [b"127.0.0.1", b"%d" % self.listener.port]
            case [b"ROLE"]:
                return [b"master", 0, []]
            case [b"SUBSCRIBE", *_]:
                return ErrorReply("ERR nothing is told here")
            case _:
                return SimpleString("OK")

    def joined(self, client: ClientConnection) -> None:
        client.authenticate(is_proved=True)

    def left(self, client: ClientConnection) -> None:
        del client


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    await stage.listener.start(["127.0.0.1"], 0)
    yield stage
    await stage.listener.stop()


@contextlib.asynccontextmanager
async def following(stage: Stage) -> AsyncIterator[Follower]:
    plane = RecordingPlane()
    me = Address("127.0.0.1", stage.listener.port)
    nobody = Credentials("", "", None)
    follower = Follower(FollowSettings("cache", (me,), nobody, nobody), plane)
    running = asyncio.create_task(follower.run())
    try:
        assert await follower.until(lambda: follower.accepted is not None, 10)
        yield follower
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        plane.close()


async def test_one_who_sees_nothing_is_left_for_whoever_else_may_answer(stage: Stage) -> None:
    async with following(stage) as follower:
        stage.is_blind = True
        assert await follower.until(lambda: len(set(stage.asked)) > 2, 20)
        stage.is_blind = False
        count = len(stage.asked)
        assert await follower.until(lambda: len(stage.asked) >= count + 5, 20)
        # The first of these may be the last that was renewed; one who sees is asked on.
        assert len(set(stage.asked[count + 2 :])) == 1
        assert follower.accepted is not None


async def test_commands_wait_while_nobody_is_in_service_and_go_on_with_the_same_primary(
    stage: Stage,
) -> None:
    async with following(stage) as follower:
        stage.is_vacant = True
        assert await follower.until(lambda: follower.is_announced, 10)
        # Far longer than an announcement is believed that nobody confirms.
        assert not await follower.until(lambda: not follower.is_announced, 2.5)
        stage.is_vacant = False
        assert await follower.until(lambda: not follower.is_announced, 10)
        assert await follower.until(lambda: not follower.trouble, 10)
