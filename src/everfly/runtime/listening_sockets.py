"""Turn what `bind`, `port` and `unixsocket` say into sockets that listen, or into a clear error.

Source: `listenToPort`, redis/src/server.c (7.0.15).
"""

import errno
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.runtime.log import NOTICE

log = logging.getLogger(__name__)

_MISSING: Final = frozenset(
    {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT}
)
"""What makes an optional address missing."""


def open_tcp(binds: Sequence[str], port: int, backlog: int) -> list[socket.socket]:
    """Return a listening socket for each address, all on one port, also when that is 0 (any).

    `*` is all of IPv4, `::*` all of IPv6; a leading `-` allows an address to be missing on this
    machine. Raises SettingsError; then no socket is left open.
    """
    sockets: list[socket.socket] = []
    try:
        for bind in binds:
            raw = _listening(bind, port, backlog)
            if raw is not None:
                sockets.append(raw)
                port = raw.getsockname()[1]
    except SettingsError:
        for raw in sockets:
            raw.close()
        raise
    if not sockets:
        raise SettingsError(
            f"Could not listen on port {port}: none of the addresses to bind ({' '.join(binds)}) "
            "exists on this machine: correct `bind` in the configuration file"
        )
    return sockets


def open_unix(path: Path, mode: int | None, backlog: int) -> socket.socket:
    """Return a listening socket at `path`, in place of a stale one; `mode` as in chmod.

    Raises SettingsError when that cannot be done.
    """
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        if path.is_socket():
            path.unlink()
        raw.bind(str(path))
        if mode is not None:
            path.chmod(mode)
        raw.listen(backlog)
    except OSError as error:
        raw.close()
        raise SettingsError(f"Failed opening Unix socket {path}: bind: {_why(error)}") from error
    return raw


def close_unix(path: Path) -> None:
    """Remove a socket from the file system."""
    log.log(NOTICE, "Removing the unix socket file.")
    path.unlink(missing_ok=True)


def _listening(bind: str, port: int, backlog: int) -> socket.socket | None:
    host = bind.removeprefix("-")
    try:
        return _bound(host, port, backlog)
    except OSError as error:
        if bind.startswith("-") and error.errno in _MISSING:
            return None
        raise SettingsError(
            f"Could not create server TCP listening socket {host}:{port}: bind: {_why(error)}"
        ) from error


def _bound(host: str, port: int, backlog: int) -> socket.socket:
    is_v6 = ":" in host
    raw = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_v6:
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        raw.setblocking(False)
        raw.bind(({"*": "", "::*": "::"}.get(host, host), port))
        raw.listen(backlog)
    except OSError:
        raw.close()
        raise
    return raw


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
