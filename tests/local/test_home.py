import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from everfly.core.model import Address, Engine
from everfly.engines.command import EngineBinary
from everfly.errors import SettingsError
from everfly.local.home import Home, write_private
from everfly.local.reopen import Options, settings_for
from everfly.local.sentinel_file import Belief, first_text, newest, read_belief

VALKEY = EngineBinary(Engine.VALKEY, Path("/bin/valkey-server"), "9.1.2")
A, B = Address("127.0.0.1", 6379), Address("127.0.0.1", 6380)


def test_only_the_owner_can_read_anything(tmp_path: Path) -> None:
    with Home(tmp_path / "store") as home:
        home.write_password("hunter2")
        secrets = home.write_secrets("instance-1", VALKEY, "hunter2")
        assert secrets is not None
        assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
        for file in (tmp_path / "store").rglob("*"):
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_two_deployments_cannot_have_one_directory(tmp_path: Path) -> None:
    refusal = rf"runs in .* already \(pid {os.getpid()}\)"
    with Home(tmp_path), pytest.raises(SettingsError, match=refusal):
        Home(tmp_path)
    with Home(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"Not a directory; choose one .* --dir"):
        Home(tmp_path / "file" / "store")


def test_data_is_seen_and_can_be_removed(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        assert not home.has_data("instance-1")
        (home.data("instance-1") / "dump").write_text("x")
        assert home.has_data("instance-1")
        home.wipe_data("instance-1")
        assert not home.has_data("instance-1")


def test_without_a_password_no_secrets_are_written(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        home.write_password("")
        assert home.write_secrets("instance-1", VALKEY, "") is None
        assert home.password() == ""


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    (tmp_path / f".file.{os.getpid()}").mkdir()  # the temporary file cannot be made
    with pytest.raises(OSError, match="directory"):
        write_private(path, "new")
    assert path.read_text() == "old"


def test_the_first_file_of_a_sentinel_says_whom_it_watches() -> None:
    settings = settings_for(Options(sentinels=5), VALKEY, Path("/d"), None)
    text = first_text(settings, 1, Path("/d/sentinel-2"), A)
    assert "port 26380" in text.splitlines()
    assert "sentinel monitor default-primary 127.0.0.1 6379 3" in text.splitlines()
    assert 'dir "/d/sentinel-2"' in text.splitlines()
    assert "auth-pass" not in text
    assert read_belief(text, "default-primary") == Belief(A, 0)


def test_a_password_is_quoted_in_the_file_of_a_sentinel() -> None:
    settings = replace(settings_for(Options(), VALKEY, Path("/d"), None), password='a"b\\c')
    text = first_text(settings, 0, Path("/d"), A)
    assert 'sentinel auth-pass default-primary "a\\"b\\\\c"' in text.splitlines()


def test_the_belief_with_the_highest_epoch_wins() -> None:
    old = "sentinel monitor g 127.0.0.1 6379 2\nsentinel config-epoch g 3\n"
    new = "sentinel config-epoch g 7\nsentinel monitor g 127.0.0.1 6380 2\n"
    beliefs = [read_belief(old, "g"), read_belief(new, "g"), None]
    assert newest(beliefs) == B
    assert newest([None]) is None


@pytest.mark.parametrize(
    "text", ["", "port 1", "sentinel monitor other 1.2.3.4 1 1", "sentinel monitor g h x 1", '"']
)
def test_a_file_that_says_nothing_of_the_group_is_no_belief(text: str) -> None:
    assert read_belief(text, "g") is None


def test_a_missing_file_is_no_belief(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        assert home.belief("sentinel-1", "g") is None
