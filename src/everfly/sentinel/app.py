"""Turn a `sentinel.conf` into a running Sentinel, and a request to stop into an orderly end.

Rules: what is wrong with the file or the port is said before anything is watched or written, with
exit status 1; an orderly end frees the port, saves the state and is over within a second, with
status 0; a fault of ours ends with status 1, because a restart from durable state is safe and a
Sentinel that decides on half a fact is not.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from everfly import __version__
from everfly.core.snapshot import DurableState
from everfly.errors import LocalError, SettingsError
from everfly.runtime.log import NOTICE, set_up
from everfly.runtime.syslog import add_system_log
from everfly.sentinel.daemon import (
    PIDFILE_OF_DAEMON,
    allow_descriptors,
    daemonize,
    is_supervised,
    remove_pid_file,
    write_pid_file,
)
from everfly.sentinel.everfly_toml import EverflySettings
from everfly.sentinel.process_title import show_title, title_of
from everfly.sentinel.state_file import Loaded, load
from everfly.wire.sentinel_conf import ConfigError, SentinelConf

log = logging.getLogger(__name__)

COMPATIBLE_VERSION: Final = "7.0.15"
"""The Redis whose texts these are."""


def run(file: str, options: Sequence[str] = (), ours: EverflySettings | None = None) -> int:
    """Run a Sentinel until it is told to stop; return the exit status of this process.

    `file` may be relative; `options` are settings that follow it (`--port`, `5000`); `ours` are
    those that Redis has no words for.
    """
    ours = ours or EverflySettings()
    set_up("", "notice", ours.log_format)
    if not file:
        log.warning("Sentinel needs config file on disk to save state. Exiting...")
        return 1
    try:
        loaded = load(Path(file).absolute(), options)
        _refuse_unsupported(loaded.conf)
        loaded = _enter_folder(loaded)
        loaded.settings.compat = ours.compat
        _check_users(loaded)
        title_of(loaded.conf, str(loaded.path))
    except ConfigError as error:
        sys.stderr.write(error.fatal_text(COMPATIBLE_VERSION))
        return 1
    except SettingsError as error:
        sys.stderr.write(f"\n*** FATAL CONFIG FILE ERROR (Redis {COMPATIBLE_VERSION}) ***\n")
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        reason = error.strerror or str(error)
        sys.stderr.write(f"Fatal error, can't open config file '{Path(file)}': {reason}\n")
        return 1
    return _run_loaded(loaded, ours)


def _run_loaded(loaded: Loaded, ours: EverflySettings) -> int:
    conf = loaded.conf
    try:
        set_up(conf.text("logfile"), loaded.settings.loglevel, ours.log_format)
    except OSError as error:
        sys.stderr.write(f"Can't open the log file {error.filename}: {error.strerror}\n")
        return 1
    if conf.is_yes("syslog-enabled"):
        facility = conf.text("syslog-facility", "local0").lower()
        add_system_log(conf.text("syslog-ident", "redis"), facility)
    if not _is_writable(loaded.path):
        return 1
    is_daemon = conf.is_yes("daemonize") and not is_supervised(conf.text("supervised").lower())
    if is_daemon:
        daemonize()
    pid_file = conf.text("pidfile") or (PIDFILE_OF_DAEMON if is_daemon else "")
    log.warning("oO0OoO0OoO0Oo Everfly is starting oO0OoO0OoO0Oo")
    log.warning("Everfly version=%s, pid=%d, just started", __version__, os.getpid())
    log.warning("Configuration loaded")
    log.log(NOTICE, "State is kept in %s", loaded.path)
    if conf.is_yes("set-proc-title", default=True):
        show_title(title_of(conf, str(loaded.path)))
    if pid_file:
        write_pid_file(pid_file)
    # Not at the top: a wrong file is told without paying for the event loop.
    from everfly.sentinel.service import serve_until_stopped  # noqa: PLC0415

    try:
        links = _links_of(loaded.state)
        loaded.settings.maxclients = allow_descriptors(loaded.settings.maxclients, links)
        serve_until_stopped(loaded, ours)
    except SettingsError as error:
        log.warning("%s", error)
        return 1
    except LocalError as error:
        log.critical("A fault of this program, please report it: %s. Exiting...", error)
        return 1
    finally:
        if pid_file:
            remove_pid_file(pid_file)
    log.warning("Sentinel is now ready to exit, bye bye...")
    return 0


def _links_of(state: DurableState) -> int:
    """Return how many connections the known groups need: two to an instance, one to a peer."""
    instances = sum(1 + len(group.replicas) for group in state.groups)
    return 2 * instances + len({run_id for group in state.groups for _, run_id in group.peers})


def _refuse_unsupported(conf: SentinelConf) -> None:
    """Raise SettingsError for what would be dangerous to ignore."""
    if any(directive.name == "loadmodule" for directive in conf.directives):
        raise SettingsError(
            "loadmodule: this Sentinel cannot load modules, which are made for the engine's own "
            "program; remove the line"
        )


def _check_users(loaded: Loaded) -> None:
    """Raise SettingsError for what is wrong with users: who may come in is known, or nobody is."""
    if loaded.conf.users or loaded.conf.text("aclfile"):
        # Not at the top, for the same reason as the service.
        from everfly.sentinel.access import access_of  # noqa: PLC0415

        access_of(loaded.conf, loaded.settings.compat)


def _enter_folder(loaded: Loaded) -> Loaded:
    folder = loaded.conf.text("dir")
    if folder:
        try:
            os.chdir(folder)
        except OSError as error:
            raise SettingsError(f"Can't chdir to '{folder}': {error.strerror}") from error
    conf = loaded.conf.with_directive("dir", str(Path.cwd()))
    return Loaded(loaded.path, conf, loaded.state, loaded.settings, loaded.is_first_start)


def _is_writable(path: Path) -> bool:
    """Log why the file cannot be replaced, if so."""
    if not os.access(path, os.W_OK):
        reason = "Read-only file system" if _is_read_only(path) else "Permission denied"
        log.warning("Sentinel config file %s is not writable: %s. Exiting...", path, reason)
        return False
    folder = path.resolve().parent
    if not os.access(folder, os.W_OK | os.X_OK):
        log.warning(
            "Sentinel config file %s is not writable: the folder %s is not, and a file is saved by "
            "replacing it. Exiting...",
            path,
            folder,
        )
        return False
    return True


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
