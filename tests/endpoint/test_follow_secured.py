"""An endpoint follows Sentinels that want a password, TLS, and a certificate; and a new list."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from endpoint_plane import RecordingPlane
from everfly.core.model import Address
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.settings import load_settings
from everfly.runtime.client import Credentials
from kinds import HOST, Kind
from processes import free_port
from servers import Deployment, Sentinel
from shell_doubles import until
from tls_files import Authority

pytestmark = pytest.mark.integration

LIMIT_S = 15.0
NAME = "default-primary"


@pytest.fixture
def plane() -> Iterator[RecordingPlane]:
    plane = RecordingPlane()
    yield plane
    plane.close()


@contextlib.asynccontextmanager
async def following(settings: FollowSettings, plane: RecordingPlane) -> AsyncIterator[Follower]:
    follower = Follower(settings, plane)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Authority, int, int]]:
    """A Sentinel with a password that speaks TLS, and asks for certificates; its primary."""
    authority = Authority(tmp_path / "authority")
    tls_port = free_port()
    with Deployment(kinds=(), replicas=0) as deployment:
        primary = deployment.group.instances[0].port
        sentinel = Sentinel(Kind.EVERFLY, tmp_path / "guarded")
        try:
            sentinel.start(
                [
                    f"sentinel monitor {NAME} {HOST} {primary} 1",
                    "requirepass s3cret",
                    f"tls-port {tls_port}",
                    *authority.lines(authority.issue("sentinel")),
                ]
            )
            yield authority, tls_port, primary
        finally:
            sentinel.kill()


def errors(follower: Follower) -> str:
    return "; ".join(each.error for each in follower.sentinels)


def settings_of(tmp_path: Path, authority: Authority, port: int, password: str) -> FollowSettings:
    pair = authority.issue(f"endpoint-{password}")
    (tmp_path / "password").write_text(f"{password}\n")
    file = tmp_path / "endpoint.toml"
    file.write_text(
        f"""
        listen = ["127.0.0.1:0"]
        sentinels = ["{HOST}:{port}"]
        sentinel_password_file = "password"
        sentinel_tls_ca_file = "{authority.ca}"
        sentinel_tls_cert_file = "{pair.cert}"
        sentinel_tls_key_file = "{pair.key}"
        """
    )
    read = load_settings(str(file), {}, {})
    return FollowSettings(read.group, read.sentinels, read.of_sentinels, read.of_instances)


async def test_a_sentinel_behind_tls_and_a_password_is_followed(
    tmp_path: Path, guarded: tuple[Authority, int, int], plane: RecordingPlane
) -> None:
    authority, port, primary = guarded
    async with following(settings_of(tmp_path, authority, port, "s3cret"), plane) as follower:
        await until(lambda: follower.accepted is not None, LIMIT_S)
        await until(lambda: follower.sentinels[0].is_listening, LIMIT_S)
    assert plane.primary == f"{HOST}:{primary}"


async def test_a_wrong_password_is_said_and_tried_again(
    tmp_path: Path, guarded: tuple[Authority, int, int], plane: RecordingPlane
) -> None:
    authority, port, _ = guarded
    async with following(settings_of(tmp_path, authority, port, "wrong"), plane) as follower:
        await until(lambda: "refuses the password" in errors(follower), LIMIT_S)
        assert follower.accepted is None
        assert "wrong" not in errors(follower)
        follower.reload(settings_of(tmp_path, authority, port, "s3cret"))
        await until(lambda: follower.accepted is not None, LIMIT_S)


async def test_a_sentinel_of_another_authority_is_not_believed(
    tmp_path: Path, guarded: tuple[Authority, int, int], plane: RecordingPlane
) -> None:
    _, port, _ = guarded
    stranger = Authority(tmp_path / "stranger")
    async with following(settings_of(tmp_path, stranger, port, "s3cret"), plane) as follower:
        await until(lambda: "certificate verify failed" in errors(follower), LIMIT_S)
        assert plane.names() == []


async def test_a_new_list_of_sentinels_is_followed_without_a_change_of_primary(
    plane: RecordingPlane,
) -> None:
    with Deployment() as deployment:
        places = tuple(Address(HOST, each.port) for each in deployment.sentinels)
        settings = FollowSettings(deployment.name, places[:1], Credentials(), Credentials())
        async with following(settings, plane) as follower:
            await until(lambda: follower.accepted is not None, LIMIT_S)
            follower.reload(
                FollowSettings(deployment.name, places[1:], Credentials(), Credentials())
            )
            await until(lambda: errors(follower) == "; ", LIMIT_S)
            assert [each.address for each in follower.sentinels] == list(places[1:])
        assert len(plane.of("set_primary")) == 1
