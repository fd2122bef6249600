"""The data plane knows which replicas are in sync, how far behind, and where they are."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from endpoint_plane import RecordingPlane
from everfly.core.model import Address
from everfly.endpoint.follow import FollowSettings
from everfly.endpoint.members import Members
from everfly.runtime.client import Credentials
from kinds import HOST
from servers import Deployment

pytestmark = pytest.mark.integration


@pytest.fixture
def plane() -> Iterator[RecordingPlane]:
    plane = RecordingPlane()
    yield plane
    plane.close()


@asynccontextmanager
async def members_of(deployment: Deployment, plane: RecordingPlane) -> AsyncIterator[Members]:
    places = tuple(Address(HOST, each.port) for each in deployment.sentinels)
    credentials = Credentials(deployment.shape.password)
    settings = FollowSettings(deployment.name, places, Credentials(), credentials)
    members = Members(settings, plane)
    try:
        yield members
    finally:
        await members.close()


async def test_replicas_in_sync_are_told_with_their_zone_and_no_others(
    plane: RecordingPlane,
) -> None:
    with Deployment(password="s3cret") as deployment:
        primary = deployment.primary()
        first, second = [each for each in deployment.group.instances if each is not primary]
        first.ask("CONFIG", "SET", "availability-zone", "eu-1a")
        async with members_of(deployment, plane) as members:
            await members.look(max_age_s=0.0)
            told = {port: (host, zone) for host, port, zone, _ in plane.replicas}
            assert told == {first.port: (HOST, "eu-1a"), second.port: (HOST, "")}
            assert all(lag >= 0 for *_, lag in plane.replicas)
            second.kill()
            await members.look(max_age_s=0.0)
            assert [port for _, port, *_ in plane.replicas] == [first.port]


async def test_a_picture_that_is_fresh_is_not_made_again(plane: RecordingPlane) -> None:
    with Deployment() as deployment:
        async with members_of(deployment, plane) as members:
            picture = await members.look()
            assert await members.look(max_age_s=60.0) is picture
            assert await members.look(max_age_s=0.0) is not picture
            assert len(plane.of("set_replicas")) >= 1
