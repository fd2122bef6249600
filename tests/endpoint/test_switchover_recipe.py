"""A switch-over holds, hands over, and releases, or changes nothing, with real Sentinels."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from endpoint_plane import RecordingPlane
from everfly.core.model import Address
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.members import Members
from everfly.endpoint.preconditions import Bounds
from everfly.endpoint.switchover import Limits, Progress, State, Switchovers, Wish
from everfly.errors import Unavailable
from everfly.runtime.client import Credentials
from kinds import HOST, Kind, missing
from servers import Deployment
from shell_doubles import until

pytestmark = pytest.mark.integration

LIMIT_S = 20.0
LIMITS = Limits(total_ms=8_000, drain_ms=500, bounds=Bounds(lag=1_000_000, pause_ms=0))


@dataclass
class Stage:
    plane: RecordingPlane
    follower: Follower
    members: Members
    switchovers: Switchovers

    async def switch(self, wish: Wish | None = None, limits: Limits = LIMITS) -> Progress:
        progress = self.switchovers.begin(wish or Wish())
        async with asyncio.timeout(LIMIT_S):
            return await self.switchovers.run(progress, limits)


@pytest.fixture
def plane() -> Iterator[RecordingPlane]:
    plane = RecordingPlane(counters={"held_total": 3, "ambiguous": 0})
    yield plane
    plane.close()


@contextlib.asynccontextmanager
async def stage(deployment: Deployment, plane: RecordingPlane) -> AsyncIterator[Stage]:
    places = tuple(Address(HOST, each.port) for each in deployment.sentinels)
    settings = FollowSettings(deployment.name, places, Credentials(), Credentials())
    follower = Follower(settings, plane)
    members = Members(settings, plane)
    task = asyncio.create_task(follower.run())
    try:
        await until(lambda: follower.accepted is not None, LIMIT_S)
        yield Stage(plane, follower, members, Switchovers(follower, members, plane, settings))
    finally:
        task.cancel()
        await asyncio.wait([task])
        await members.close()


def calls(plane: RecordingPlane) -> list[str]:
    wanted = {"hold", "drained", "set_primary", "release"}
    return [name for name in plane.names() if name in wanted]


async def test_the_role_moves_between_hold_and_release(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        old = deployment.primary()
        async with stage(deployment, plane) as it:
            done = await it.switch()
            assert done.state is State.DONE, done
            new = await asyncio.to_thread(deployment.new_primary, old)
            assert done.old == Address(HOST, old.port)
            assert done.new == Address(HOST, new.port)
            assert it.follower.accepted is not None
            assert it.follower.accepted.primary == done.new
        assert calls(plane) == ["set_primary", "hold", "drained", "set_primary", "release"]
        assert plane.state == "open"
        assert done.held_ms is not None
        assert done.held_ms < 2_000
        assert done.seen == {"held_total": 0, "ambiguous": 0}


async def test_the_role_moves_to_the_replica_that_is_asked_for(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        old = deployment.primary()
        async with stage(deployment, plane) as it:
            for replica in [each for each in deployment.group.instances if each is not old]:
                done = await it.switch(Wish(to=Address(HOST, replica.port)))
                assert done.state is State.DONE, done
                assert done.new == Address(HOST, replica.port)
                await asyncio.to_thread(deployment.settle)


@pytest.mark.skipif(bool(missing(Kind.REDIS)), reason=missing(Kind.REDIS))
async def test_genuine_sentinels_are_asked_for_a_failover_when_all_is_replicated(
    plane: RecordingPlane,
) -> None:
    with Deployment(kinds=(Kind.REDIS,) * 3) as deployment:
        async with stage(deployment, plane) as it:
            old = deployment.primary()
            replica = next(each for each in deployment.group.instances if each is not old)
            refused = await it.switch(Wish(to=Address(HOST, replica.port)))
            assert refused.state is State.ABORTED
            assert "cannot hand over to a replica of your choice" in refused.reason
            assert plane.state == "open"
            done = await it.switch()
            assert done.state is State.DONE, done
            assert "each replica has everything" in [step.text for step in done.steps]
            assert done.new != done.old


async def test_what_is_under_way_too_long_stops_it_and_nothing_has_changed(
    plane: RecordingPlane,
) -> None:
    plane.drains = False
    with Deployment() as deployment:
        old = deployment.primary()
        async with stage(deployment, plane) as it:
            done = await it.switch()
            assert done.state is State.ABORTED
            assert "drain_ms" in done.reason
        assert calls(plane) == ["set_primary", "hold", "drained", "release"]
        assert deployment.primary() is old


async def test_a_hand_over_that_fails_gives_the_old_primary_back(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        old = deployment.primary()
        replicas = [each for each in deployment.group.instances if each is not old]

        def freeze() -> None:
            for replica in replicas:
                replica.signal(signal.SIGSTOP)

        plane.on_drained = freeze
        async with stage(deployment, plane) as it:
            try:
                done = await it.switch()
            finally:
                for replica in replicas:
                    replica.signal(signal.SIGCONT)
            assert done.state is State.ABORTED, done
        assert plane.state == "open"
        assert plane.primary == f"{HOST}:{old.port}"
        assert deployment.primary() is old


async def test_a_dry_run_touches_nothing(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        async with stage(deployment, plane) as it:
            done = await it.switch(Wish(is_dry_run=True))
            assert done.state is State.DRY
            assert all(check.is_met for check in done.checks)
            names = [check.name for check in done.checks]
            assert names == ["primary", "settled", "candidate", "copies", "quorum", "pause"]
        assert calls(plane) == ["set_primary"]


async def test_without_a_replica_in_sync_it_is_refused(plane: RecordingPlane) -> None:
    with Deployment(replicas=1) as deployment:
        primary = deployment.primary()
        (replica,) = [each for each in deployment.group.instances if each is not primary]
        async with stage(deployment, plane) as it:
            replica.kill()
            done = await it.switch()
            assert done.state is State.REFUSED
            assert "nobody to hand over to" in done.reason
        assert calls(plane) == ["set_primary"]


async def test_it_is_refused_too_soon_after_the_last_change(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        async with stage(deployment, plane) as it:
            assert (await it.switch()).state is State.DONE
            await asyncio.to_thread(deployment.settle)
            bounds = Bounds(lag=1_000_000, pause_ms=3_600_000)
            soon = await it.switch(limits=Limits(total_ms=5_000, drain_ms=500, bounds=bounds))
            assert soon.state is State.REFUSED
            assert "switchover_pause_ms" in soon.reason


async def test_there_is_one_at_a_time(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        async with stage(deployment, plane) as it:
            first = it.switchovers.begin(Wish())
            with pytest.raises(Unavailable, match="switch-over 1 is under way"):
                it.switchovers.begin(Wish())
            await it.switchovers.run(first, LIMITS)
            assert it.switchovers.begin(Wish(is_dry_run=True)).number == 2


def command(deployment: Deployment, *words: str) -> subprocess.CompletedProcess[str]:
    places = ",".join(f"{HOST}:{each.port}" for each in deployment.sentinels)
    line = [sys.executable, "-m", "everfly", "switchover", "--sentinels", places, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_moves_the_primary_of_sentinels_alone() -> None:
    with Deployment() as deployment:
        old = deployment.primary()
        dry = command(deployment, "--dry-run")
        assert dry.returncode == 0, dry
        assert "a switch-over could begin now" in dry.stdout
        done = command(deployment, "--json")
        assert done.returncode == 0, done
        told = json.loads(done.stdout)
        new = deployment.new_primary(old)
        assert (told["state"], told["to"]) == ("done", f"{HOST}:{new.port}")
        stranger = command(deployment, "--to", "127.0.0.1:1")
        assert stranger.returncode == 1
        assert "127.0.0.1:1 is no instance of this group" in stranger.stdout
        unknown = command(deployment, "--name", "unknown")
        assert unknown.returncode == 2
        assert "nobody can be moved" in unknown.stderr
