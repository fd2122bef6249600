"""Turn a `sentinel.conf` into durable state and settings, and both back into the file.

Rules: the file belongs to the person who wrote it, so a write merges what changed into its present
text; it is replaced in one step, or not at all; what is not for the core (scripts, secrets, names
of commands) goes to `Settings` and comes back from there at each write.
"""

import glob
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from everfly.core.model import Address, GroupName, RunId
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState, GroupState
from everfly.errors import SettingsError, Unavailable
from everfly.runtime.files import write_atomically
from everfly.runtime.threads import in_thread
from everfly.sentinel.settings import GroupExtras, Settings
from everfly.wire.resp import to_bytes, to_text
from everfly.wire.sentinel_conf import (
    GroupConf,
    KnownReplica,
    KnownSentinel,
    SentinelConf,
    overrides,
    parse,
)
from everfly.wire.sentinel_conf_rewrite import rewrite

CONFIG_BYTES_MAX: Final = 64 * 1024 * 1024
"""Thousands of groups need one megabyte; more is not a configuration."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file said."""

    path: Path
    """Absolute."""
    conf: SentinelConf
    state: DurableState
    settings: Settings
    is_first_start: bool
    """The file had no id yet; the state has a fresh one."""


def load(path: Path, arguments: Sequence[str] = ()) -> Loaded:
    """Read a file, with the options given behind it on the command line (`--port 5000`).

    Scripts are looked for relative to `dir`. Raises SettingsError (ConfigError names the line),
    OSError when the file cannot be read.
    """
    text = _read(path) + "\n" + overrides(arguments)
    # Twice, because `dir` may stand behind the scripts that it concerns.
    folder = parse(text, str(path), _included).text("dir", ".")
    conf = parse(
        text, str(path), _included, lambda script: os.access(Path(folder, script), os.X_OK)
    )
    is_first_start = not conf.my_id
    if is_first_start:
        conf = replace(conf, my_id=secrets.token_hex(20))
    settings = _settings_of(conf)
    settings.config_file = str(path)
    return Loaded(path, conf, state_of(conf), settings, is_first_start)


def state_of(conf: SentinelConf) -> DurableState:
    """Return the core's part of a configuration. Names are not resolved yet."""
    return DurableState(
        me=RunId(conf.my_id),
        current_epoch=conf.current_epoch,
        announce_host=conf.announce_ip,
        announce_port=conf.announce_port,
        shows_hostnames=conf.announce_hostnames,
        groups=tuple(_group_state(group) for group in conf.groups),
    )


def merged(conf: SentinelConf, state: DurableState, settings: Settings) -> SentinelConf:
    """Return a configuration with what holds now, and all else as it was."""
    return replace(
        conf,
        my_id=str(state.me),
        current_epoch=state.current_epoch,
        announce_ip=settings.announce_ip,
        announce_port=settings.announce_port,
        deny_scripts_reconfig=settings.deny_scripts_reconfig,
        resolve_hostnames=settings.resolve_hostnames,
        announce_hostnames=settings.announce_hostnames,
        sentinel_user=settings.sentinel_user,
        sentinel_pass=settings.sentinel_pass,
        groups=tuple(_group_conf(group, settings.group(group.name)) for group in state.groups),
    )


class StateFile:
    """One Sentinel's file. `conf` is what was read, with an absolute `dir`.

    `user_lines`: who may connect now, as names and rules; without it these lines stay as they are.
    """

    def __init__(
        self,
        path: Path,
        conf: SentinelConf,
        settings: Settings,
        user_lines: Callable[[], Sequence[tuple[str, ...]]] | None = None,
    ) -> None:
        self._path = path
        self._conf = conf
        self._settings = settings
        self._user_lines = user_lines
        self._wrote_log_level = False

    async def write(self, state: DurableState) -> None:
        """Make state and settings durable, off the event loop. One call at a time.

        Raises Unavailable when it could not; then the old content is intact.
        """
        # Settings change only on the event loop, so they are taken here and not in the thread.
        conf = self._current(state)
        await in_thread("write state", lambda: self._write(conf))

    def write_now(self, state: DurableState) -> None:
        """Make state and settings durable, blocking: before the event loop runs.

        Raises Unavailable when it could not.
        """
        self._write(self._current(state))

    def _current(self, state: DurableState) -> SentinelConf:
        self._settings.keep_only({group.name: group for group in state.groups})
        try:
            conf = merged(self._conf, state, self._settings)
        except SettingsError as error:
            raise Unavailable(f"the state cannot be written down: {error}") from error
        if self._user_lines is not None:
            conf = conf.with_users(self._user_lines())
        if self._wrote_log_level or self._settings.loglevel != self._conf.text(
            "loglevel", "notice"
        ):
            self._wrote_log_level = True
            conf = conf.with_directive("loglevel", self._settings.loglevel)
        return conf

    def _write(self, conf: SentinelConf) -> None:
        try:
            old = _read(self._path)
        except FileNotFoundError:
            old = ""
        except OSError as error:
            raise Unavailable(error.strerror or str(error)) from error
        except SettingsError as error:
            raise Unavailable(str(error)) from error
        write_atomically(self._path, to_bytes(rewrite(old, conf)))


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(CONFIG_BYTES_MAX + 1)
    if len(data) > CONFIG_BYTES_MAX:
        raise SettingsError(f"{path} has more than {CONFIG_BYTES_MAX} bytes: is it the right file?")
    return to_text(data)


def _included(pattern: str) -> list[tuple[str, str]]:
    found = sorted(glob.glob(pattern))  # noqa: PTH207 - a Path cannot hold an absolute pattern
    if not found and not glob.has_magic(pattern):
        raise SettingsError(f"Can't open config file '{pattern}': no such file")
    try:
        return [(path, _read(Path(path))) for path in found]
    except OSError as error:
        raise SettingsError(
            f"Can't open config file '{error.filename}': {error.strerror}"
        ) from error


def _settings_of(conf: SentinelConf) -> Settings:
    default = Settings()
    return Settings(
        announce_ip=conf.announce_ip,
        announce_port=conf.announce_port,
        resolve_hostnames=conf.resolve_hostnames,
        announce_hostnames=conf.announce_hostnames,
        sentinel_user=conf.sentinel_user,
        sentinel_pass=conf.sentinel_pass,
        requirepass=conf.text("requirepass"),
        deny_scripts_reconfig=conf.deny_scripts_reconfig,
        loglevel=conf.text("loglevel", "notice").lower(),
        maxclients=conf.number("maxclients", default.maxclients),
        timeout_s=conf.number("timeout", default.timeout_s),
        tcp_keepalive_s=conf.number("tcp-keepalive", default.tcp_keepalive_s),
        tcp_backlog=conf.number("tcp-backlog", default.tcp_backlog),
        is_protected=conf.is_yes("protected-mode"),
        renamed_commands=tuple(
            (line.args[0], line.args[1])
            for line in conf.directives
            if line.name == "rename-command"
        ),
        bind=conf.bind,
        groups={GroupName(group.name): _extras_of(group) for group in conf.groups},
    )


def _extras_of(group: GroupConf) -> GroupExtras:
    return GroupExtras(
        notification_script=group.notification_script,
        client_reconfig_script=group.client_reconfig_script,
        auth_user=group.auth_user,
        auth_pass=group.auth_pass,
        renamed_commands={old.upper(): new for old, new in group.renamed_commands},
    )


def _group_state(group: GroupConf) -> GroupState:
    return GroupState(
        name=GroupName(group.name),
        primary=Address(group.host, group.port),
        settings=GroupSettings(
            quorum=group.quorum,
            down_after=group.down_after,
            failover_timeout=group.failover_timeout,
            parallel_syncs=group.parallel_syncs,
            reboot_down_after=group.reboot_down_after,
        ),
        config_epoch=group.config_epoch,
        leader_epoch=group.leader_epoch,
        replicas=tuple(Address(replica.host, replica.port) for replica in group.replicas),
        peers=tuple(
            (Address(peer.host, peer.port), RunId(peer.run_id)) for peer in group.sentinels
        ),
    )


def _group_conf(group: GroupState, extras: GroupExtras) -> GroupConf:
    settings = group.settings
    return GroupConf(
        name=str(group.name),
        host=group.primary.host,
        port=group.primary.port,
        quorum=settings.quorum,
        down_after=settings.down_after,
        failover_timeout=settings.failover_timeout,
        parallel_syncs=settings.parallel_syncs,
        notification_script=extras.notification_script,
        client_reconfig_script=extras.client_reconfig_script,
        auth_pass=extras.auth_pass,
        auth_user=extras.auth_user,
        reboot_down_after=settings.reboot_down_after,
        config_epoch=group.config_epoch,
        leader_epoch=group.leader_epoch,
        replicas=tuple(KnownReplica(replica.host, replica.port) for replica in group.replicas),
        sentinels=tuple(
            KnownSentinel(peer.host, peer.port, str(run_id)) for peer, run_id in group.peers
        ),
        renamed_commands=tuple(extras.renamed_commands.items()),
    )
