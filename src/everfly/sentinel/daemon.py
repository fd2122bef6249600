"""Turn `daemonize`, `pidfile` and `supervised` into what whoever started this process expects.

Source: `daemonize`, `createPidFile`, redis/src/server.c (7.0.15).
"""

import contextlib
import logging
import os
import resource
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.runtime.log import NOTICE

log = logging.getLogger(__name__)

PIDFILE_OF_DAEMON: Final = "/var/run/everfly-sentinel.pid"
"""Where a daemon writes its id when nobody says."""

OWN_DESCRIPTORS: Final = 64
"""Ports, the log, the event loop, the file being written, scripts.
Redis has 32 (`CONFIG_MIN_RESERVED_FDS`, redis/src/server.h, 7.0.15) and no room for links."""
LINK_DESCRIPTORS: Final = 16_384
"""Welcome beside those that are needed: for instances and groups that come later."""


def daemonize() -> None:
    """Go on in a child without a terminal; the caller's process ends here with status 0.

    Call before any thread or event loop exists.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def write_pid_file(path: str) -> None:
    """Write our process id; a file that cannot be written is only a warning."""
    try:
        Path(path).write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        log.warning("Failed to write PID file %s: %s", path, error.strerror)


def remove_pid_file(path: str) -> None:
    """Remove the file with our process id, if it is there."""
    log.log(NOTICE, "Removing the pid file.")
    with contextlib.suppress(OSError):
        Path(path).unlink()


def is_supervised(mode: str) -> bool:
    """Tell whether somebody keeps us in the foreground; `mode` as in `supervised`.

    Source: `redisIsSupervised`, redis/src/server.c (7.0.15).
    """
    if mode not in ("systemd", "auto"):
        return False
    if os.environ.get("NOTIFY_SOCKET"):
        log.warning(
            "WARNING supervised by systemd - you MUST set appropriate values for TimeoutStartSec "
            "and TimeoutStopSec in your service unit."
        )
        return True
    if mode == "systemd":
        log.warning("systemd supervision requested, but NOTIFY_SOCKET not found!")
    return False


def allow_descriptors(maxclients: int, links: int) -> int:
    """Raise the limit of open files as far as needed and allowed; return how many clients fit.

    `links`: connections that the groups of the file need, which go before clients. Raises
    SettingsError when not one client would fit.
    Source: `adjustOpenFilesLimit`, redis/src/server.c (7.0.15), and its texts.
    """
    reserved = OWN_DESCRIPTORS + links
    needed = maxclients + reserved
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = soft
    if soft != resource.RLIM_INFINITY and soft < needed + LINK_DESCRIPTORS:
        allowed = _raise_limit(soft, hard, needed)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return maxclients
    if allowed <= reserved:
        raise SettingsError(
            f"Your current 'ulimit -n' of {allowed} is not enough for the server to start. Please "
            f"increase your open file limit to at least {reserved + 1}. Exiting."
        )
    log.warning(
        "You requested maxclients of %d requiring at least %d max file descriptors.",
        maxclients,
        needed,
    )
    log.warning(
        "Server can't set maximum open files to %d because of OS error: Operation not permitted.",
        needed,
    )
    log.warning(
        "Current maximum open files is %d. maxclients has been reduced to %d to compensate for low "
        "ulimit. If you need higher maxclients increase 'ulimit -n'.",
        allowed,
        allowed - reserved,
    )
    return allowed - reserved


def _raise_limit(soft: int, hard: int, needed: int) -> int:
    """Return the limit that holds then: what is needed, and what is welcome where it is free."""
    if hard != resource.RLIM_INFINITY and hard < needed:
        # Only who administrates the system may; others are refused.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed + LINK_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if wanted > soft:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
