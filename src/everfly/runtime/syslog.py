"""Turn log records into messages for the system's log, beside those in our own.

Rules: a message has the priority of its level, our name and process id; the system's log is spoken
to through its socket and never waited for: what it does not take at once is lost there.
Source: `serverLogRaw`, redis/src/server.c (7.0.15); RFC 3164 for the format.
"""

import logging
import os
import socket
import time
from typing import Final

from everfly.runtime.log import NOTICE, VERBOSE, escaped

PLACE: Final = "/dev/log"

FACILITIES: Final = {"user": 1} | {f"local{number}": 16 + number for number in range(8)}
"""The words of `syslog-facility`. Source: `syslog_facility_enum`, redis/src/config.c (7.0.15)."""

_PRIORITIES: Final = ((logging.WARNING, 4), (NOTICE, 5), (VERBOSE, 6))
_DEBUG: Final = 7
"""As Redis maps its levels: `syslogLevelMap`."""


class SystemLog(logging.Handler):
    """Writes to the system's log under the name `ident`; `facility` is a word of `FACILITIES`."""

    def __init__(self, ident: str, facility: str, place: str = PLACE) -> None:
        super().__init__()
        self._ident = ident
        self._facility = FACILITIES[facility]
        self._place = place
        self._socket: socket.socket | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; what cannot be sent is lost."""
        try:
            text = escaped(record.getMessage())
            priority = next((n for level, n in _PRIORITIES if record.levelno >= level), _DEBUG)
            day = time.strftime("%b %e %H:%M:%S", time.localtime(record.created))
            head = f"<{self._facility * 8 + priority}>{day} {self._ident}[{os.getpid()}]: "
            self._send((head + text).encode(errors="replace"))
        except OSError:
            self._close_socket()  # It may have been started anew: the next record looks for it.
        except Exception:  # noqa: BLE001 - a wrong format string must not stop a failover
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._close_socket()
        super().close()

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            self._socket.connect(self._place)
        self._socket.send(data)

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def add_system_log(ident: str, facility: str, place: str = PLACE) -> None:
    """Send all logs of this process to the system's log too, from now on."""
    logging.getLogger().addHandler(SystemLog(ident, facility, place))
