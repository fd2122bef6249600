"""What an endpoint offers to a platform: probes for anybody, secrets that may be swapped."""

from pathlib import Path

import pytest

from endpoint_process import EndpointProcess, needs_plane
from everfly.endpoint.fresh_files import FreshFiles
from everfly.endpoint.settings import load_settings
from kinds import HOST
from processes import free_port, until
from servers import Deployment
from web_client import get, send

ENOUGH = {"listen": "6380", "sentinels": "10.0.0.1"}


def test_the_files_of_secrets_are_those_of_all_settings(tmp_path: Path) -> None:
    for name in ("password", "token"):
        (tmp_path / name).write_text("x" * 40)
    file = tmp_path / "endpoint.toml"
    file.write_text('password_file = "password"\nadmin_token_file = "token"\n')
    found = load_settings(str(file), ENOUGH, {})
    assert sorted(found.secret_files) == [str(tmp_path / name) for name in ("password", "token")]


def test_a_file_that_is_swapped_is_a_change_and_one_that_is_gone_is_none(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("of the old")
    new.write_text("of the new")
    link = tmp_path / "secret"
    link.symlink_to(old)
    files = FreshFiles([str(link), str(tmp_path / "never-there")])
    assert not files.have_changed()
    link.unlink()
    assert not files.have_changed()
    link.symlink_to(new)
    assert files.have_changed()
    assert not files.have_changed()
    (tmp_path / "never-there").write_text("now it is")
    assert files.have_changed()


@needs_plane
@pytest.mark.integration
def test_probes_are_for_anybody_and_change_nothing(tmp_path: Path) -> None:
    port = free_port()
    options = ("--probes", f"{HOST}:{port}")
    with Deployment() as deployment, EndpointProcess(tmp_path, deployment, options):
        assert get(port, "/healthz").status == 200
        assert get(port, "/readyz").status == 200
        assert "everfly_endpoint_" in get(port, "/metrics").body
        assert get(port, "/status").status == 404
        assert get(port, "/switchover").status == 404
        assert send(port, "POST", "/drain", "{}").status in (400, 404, 405)
        assert get(port, "/healthz").status == 200


@needs_plane
@pytest.mark.integration
def test_secrets_that_are_swapped_are_taken_over_without_a_signal(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("of-the-instances\n")
    options = ("--password-file", str(secret), "--reloads-on-change", "yes")
    with (
        Deployment(password="of-the-instances") as deployment,
        EndpointProcess(tmp_path, deployment, options) as endpoint,
    ):
        log = endpoint.children[0].log
        other = tmp_path / "new"
        other.write_text("another\n")
        other.rename(secret)
        until(lambda: "Reloaded: certificates and secrets" in log.read_text(), 20)
        assert endpoint.children[0].exit_status is None
