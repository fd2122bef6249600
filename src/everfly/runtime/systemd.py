"""Tell systemd how this process is: ready, reloading, stopping.

Source: `redisCommunicateSystemd`, redis/src/server.c (7.0.15); sd_notify(3).
"""

import logging
import os
import socket

log = logging.getLogger(__name__)


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
