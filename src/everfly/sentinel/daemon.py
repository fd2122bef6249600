"""Turn `daemonize`, `pidfile` and `supervised` into what whoever started this process expects.

Source: `daemonize`, `createPidFile`, `redisCommunicateSystemd`, redis/src/server.c (7.0.15).
"""

import contextlib
import logging
import os
import resource
import socket
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

PIDFILE_OF_DAEMON: Final = "/var/run/everfly-sentinel.pid"
"""Where a daemon writes its id when nobody says."""

LINK_DESCRIPTORS: Final = 16_384
"""Descriptors beside those for clients: links to the instances of a few thousand groups."""


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
    log.warning("Removing the pid file.")
    with contextlib.suppress(OSError):
        Path(path).unlink()


def tell_supervisor(state: str) -> None:
    """Tell systemd (`READY=1`, `STOPPING=1`); nothing happens when it did not start us."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.connect(address)
            notify.send(state.encode())
    except OSError as error:
        log.warning("Cannot tell systemd %s on %s: %s", state, path, error.strerror)


def allow_descriptors(clients: int) -> None:
    """Raise the limit of open files as far as `clients` and our links may need, where allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + LINK_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("The limit of open files stays at %d: %s", soft, error)
