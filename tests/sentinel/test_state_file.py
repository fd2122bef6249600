import stat
from pathlib import Path

import pytest

from everfly.core.model import Address, Epoch, GroupName, Millis, RunId
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState, GroupState
from everfly.errors import SettingsError, Unavailable
from everfly.sentinel.settings import GroupExtras
from everfly.sentinel.state_file import StateFile, load
from everfly.wire.sentinel_conf import ConfigError

ME = "a" * 40
PEER = RunId("b" * 40)
FULL = f"""\
# kept by hand
port 26379
requirepass "our secret"
maxclients 50
timeout 7
loglevel verbose
sentinel myid {ME}
sentinel monitor cache 127.0.0.1 6379 2
sentinel down-after-milliseconds cache 1500
sentinel failover-timeout cache 9000
sentinel parallel-syncs cache 3
sentinel master-reboot-down-after-period cache 100
sentinel auth-user cache eve
sentinel auth-pass cache "a \\"b\\" #c"
sentinel rename-command cache config "g u a r d e d"
sentinel config-epoch cache 7
sentinel leader-epoch cache 8
sentinel known-replica cache 127.0.0.1 6380
sentinel known-sentinel cache 127.0.0.2 26379 {PEER}
sentinel monitor other ::1 6379 1
sentinel current-epoch 9
sentinel announce-ip 192.0.2.1
sentinel announce-port 5000
sentinel sentinel-user sentry
sentinel sentinel-pass "x y"
sentinel deny-scripts-reconfig no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
"""
CACHE = GroupState(
    name=GroupName("cache"),
    primary=Address("127.0.0.1", 6379),
    settings=GroupSettings(2, Millis(1500), Millis(9000), 3, Millis(100)),
    config_epoch=Epoch(7),
    leader_epoch=Epoch(8),
    replicas=(Address("127.0.0.1", 6380),),
    peers=((Address("127.0.0.2", 26379), PEER),),
)
OTHER = GroupState(
    GroupName("other"), Address("::1", 6379), GroupSettings(1, Millis(30_000), Millis(180_000))
)
STATE = DurableState(
    me=RunId(ME),
    current_epoch=Epoch(9),
    announce_host="192.0.2.1",
    announce_port=5000,
    shows_hostnames=True,
    groups=(CACHE, OTHER),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "sentinel.conf"
    path.write_text(text)
    return path


def test_a_file_is_read_into_state_and_settings(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, FULL))
    assert loaded.state == STATE
    assert not loaded.is_first_start
    settings = loaded.settings
    assert (settings.requirepass, settings.maxclients, settings.timeout_s) == ("our secret", 50, 7)
    assert (settings.announce_ip, settings.announce_port) == ("192.0.2.1", 5000)
    assert (settings.sentinel_user, settings.sentinel_pass) == ("sentry", "x y")
    assert settings.loglevel == "verbose"
    assert settings.resolve_hostnames
    assert settings.announce_hostnames
    assert not settings.deny_scripts_reconfig
    assert settings.group(CACHE.name) == GroupExtras(
        auth_user="eve", auth_pass='a "b" #c', renamed_commands={"CONFIG": "g u a r d e d"}
    )
    assert "secret" not in repr(loaded)
    assert '"b"' not in repr(loaded)


async def test_what_was_read_is_written_back_and_read_again_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path)
    await StateFile(path, loaded.conf, loaded.settings).write(loaded.state)
    again = load(path)
    assert (again.state, again.settings) == (loaded.state, loaded.settings)
    assert path.read_text().startswith("# kept by hand\nport 26379\n")


async def test_changes_of_state_and_settings_reach_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path)
    file = StateFile(path, loaded.conf, loaded.settings)
    moved = GroupState(
        CACHE.name, Address("127.0.0.1", 6380), CACHE.settings, Epoch(12), Epoch(13),
        (Address("127.0.0.1", 6379),),
    )  # fmt: skip
    loaded.settings.group_for_change(CACHE.name).auth_pass = "new\npass"
    loaded.settings.group_for_change(CACHE.name).notification_script = "/bin/true"
    loaded.settings.loglevel = "debug"
    loaded.settings.announce_ip = ""
    state = DurableState(RunId(ME), Epoch(13), "", 5000, shows_hostnames=True, groups=(moved,))
    await file.write(state)
    again = load(path)
    assert again.state == state
    assert again.settings.group(CACHE.name).auth_pass == "new\npass"
    assert again.settings.group(CACHE.name).notification_script == "/bin/true"
    assert again.settings.loglevel == "debug"
    assert again.conf.group("other") is None


async def test_the_part_of_a_forgotten_group_does_not_come_back(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path)
    file = StateFile(path, loaded.conf, loaded.settings)
    await file.write(DurableState(RunId(ME), groups=(OTHER,)))
    assert "auth-user" not in path.read_text()
    await file.write(STATE)
    assert load(path).settings.group(CACHE.name) == GroupExtras()


async def test_what_a_person_added_meanwhile_stays(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path)
    with path.open("a") as file:
        file.write("# written by hand while it ran\n")
    await StateFile(path, loaded.conf, loaded.settings).write(STATE)
    assert "# written by hand while it ran\n" in path.read_text()


def test_the_first_start_chooses_an_id(tmp_path: Path) -> None:
    path = written(tmp_path, "port 26379\n")
    first, second = load(path), load(path)
    assert first.is_first_start
    assert len(first.state.me) == 40
    assert int(first.state.me, 16)
    assert first.state.me != second.state.me
    StateFile(path, first.conf, first.settings).write_now(first.state)
    third = load(path)
    assert (third.state, third.is_first_start) == (first.state, False)


def test_options_of_the_command_line_win(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path, ["--port", "5001", "--sentinel", "announce-ip", "192.0.2.9"])
    assert loaded.conf.port == 5001
    assert loaded.state.announce_host == "192.0.2.9"


def test_files_that_are_included_count_and_a_missing_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("sentinel monitor more 127.0.0.1 1 1\n")
    loaded = load(written(tmp_path, f"include {tmp_path}/m*.conf\n"))
    assert [group.name for group in loaded.state.groups] == ["more"]
    with pytest.raises(SettingsError, match="gone\\.conf"):
        load(written(tmp_path, f"include {tmp_path}/gone.conf\n"))


def test_scripts_are_looked_for_in_the_folder_of_dir(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    script = folder / "notify.sh"
    script.write_text("#!/bin/sh\n")
    text = "sentinel monitor m 127.0.0.1 1 1\nsentinel notification-script m notify.sh\n"
    path = written(tmp_path, text + f"dir {folder}\n")
    with pytest.raises(ConfigError, match="Notification script seems non existing"):
        load(path)
    script.chmod(0o755)
    assert load(path).settings.group(GroupName("m")).notification_script == "notify.sh"


def test_a_wrong_line_is_told_without_its_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such master") as caught:
        load(written(tmp_path, "sentinel auth-pass nobody hunter2\n"))
    assert "hunter2" not in str(caught.value) + caught.value.fatal_text("7.0.15")


async def test_a_write_that_fails_keeps_the_old_content_and_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = written(folder, FULL)
    loaded = load(path)
    path.unlink()
    folder.rmdir()
    with pytest.raises(Unavailable, match="No such file or directory"):
        await StateFile(path, loaded.conf, loaded.settings).write(STATE)


async def test_state_that_no_file_can_hold_is_refused_and_the_old_content_stays(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path)
    evil = GroupState(GroupName("a\nrequirepass x"), CACHE.primary, CACHE.settings)
    with pytest.raises(Unavailable, match="cannot be written down"):
        await StateFile(path, loaded.conf, loaded.settings).write(
            DurableState(RunId(ME), groups=(evil,))
        )
    assert path.read_text() == FULL


async def test_a_file_that_somebody_removed_is_made_anew_and_is_private(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    loaded = load(path)
    path.unlink()
    await StateFile(path, loaded.conf, loaded.settings).write(STATE)
    assert load(path).state == STATE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
