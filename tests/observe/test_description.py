from pathlib import Path

import pytest

from everfly.core.model import Address, Engine
from everfly.errors import SettingsError, Unavailable
from everfly.observe.commands import parse_address
from everfly.observe.description import (
    FILE_NAME,
    Description,
    Part,
    default_directory,
    read_credentials,
    read_description,
    running_deployment,
)

DESCRIPTION = Description(
    group="g",
    engine=Engine.VALKEY,
    engine_binary="/bin/valkey-server",
    engine_version="9.1.2",
    instances=(
        Part(name="instance-1", address=Address("127.0.0.1", 6379), pid=7, admin_port=None),
    ),
    sentinels=(Part(name="sentinel-1", address=Address("127.0.0.1", 26379)),),
    down_after_ms=1000,
    failover_timeout_ms=2000,
    supervisor_pid=5,
)


def test_a_description_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(DESCRIPTION.to_json())
    assert read_description(tmp_path) == DESCRIPTION


def test_no_file_is_no_deployment(tmp_path: Path) -> None:
    assert read_description(tmp_path) is None
    with pytest.raises(Unavailable, match="start one with `everfly up`"):
        running_deployment(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99}', '{"format": 1}', "\xff"])
def test_any_other_file_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match="--dir"):
        read_description(tmp_path)


def test_the_default_directory_follows_the_xdg_specification() -> None:
    home = {"HOME": "/home/eve"}
    assert default_directory(home) == Path("/home/eve/.local/state/everfly/default")
    assert default_directory(home | {"XDG_STATE_HOME": "/s"}) == Path("/s/everfly/default")
    relative = home | {"XDG_STATE_HOME": "s"}
    assert default_directory(relative) == Path("/home/eve/.local/state/everfly/default")


def test_the_password_is_beside_the_description_and_not_in_it(tmp_path: Path) -> None:
    assert read_credentials(tmp_path).password == ""
    (tmp_path / "password").write_text("hunter2\n")
    assert read_credentials(tmp_path).password == "hunter2"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h", Address("h", 26379)),
        ("h:1", Address("h", 1)),
        ("[::1]:2", Address("::1", 2)),
        ("::1", Address("::1", 26379)),
    ],
)
def test_an_address_may_leave_out_its_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":1", "h:x", "h:0", "h:65536", "h:-1", "[]:1", "h:999999"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_address(text)
