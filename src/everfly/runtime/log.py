"""Turn log records into lines as Redis writes them, or into JSON, on stdout or in a file.

    PID:X DD Mon YYYY HH:MM:SS.mmm C message
    {"ts": "2026-01-31T12:00:00.123+00:00", "level": "warning", "msg": "+sdown ...", ...}

Rules: nothing goes to stderr in normal life; a file that was renamed or removed is opened anew, so
that it can be rotated; a message is one line, and nothing in it can steer a terminal; a log that
cannot be written never stops what is logged.
Source: `serverLogRaw`, redis/src/server.c (7.0.15).
"""

import json
import logging
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

VERBOSE: Final = logging.INFO
NOTICE: Final = 25
"""Between INFO and WARNING: what an operator should see, while nothing is wrong."""

NOTHING: Final = logging.CRITICAL + 1
"""A level above all others."""

LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": NOTICE,
    "warning": logging.WARNING,
    "nothing": NOTHING,
}
"""The words of `loglevel`."""

REOPEN_CHECK_S: Final = 1.0
"""How long a line may still go into a file that was rotated away."""

STDOUT: Final = 1

MESSAGE_CHARS_MAX: Final = 8_192
"""A traceback fits; a megabyte that somebody sent does not."""

_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What moves a cursor, breaks a line or turns the direction of text, and what is no character."""
_NAMED: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


class LineFormatter(logging.Formatter):
    """Writes lines as Redis does; `X` is the role letter of a Sentinel."""

    _MARKS: Final = ((logging.WARNING, "#"), (NOTICE, "*"), (VERBOSE, "-"))

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        mark = next((sign for level, sign in self._MARKS if record.levelno >= level), ".")
        day = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        return f"{os.getpid()}:X {day}.{record.msecs:03.0f} {mark} {escaped(text)}"


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line: ts (ISO 8601, UTC), level, msg, logger, pid, and of a notice
    event, group and payload.
    """

    _LEVELS: Final = ((logging.WARNING, "warning"), (NOTICE, "notice"), (VERBOSE, "verbose"))

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        word = next((word for level, word in self._LEVELS if record.levelno >= level), "debug")
        if record.levelno >= logging.ERROR:
            word = "error"
        told: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": word,
            "msg": _cut(record.getMessage()),
            "logger": record.name,
            "pid": os.getpid(),
        }
        for name in JSON_FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                told[name] = _cut(value) if isinstance(value, str) else value
        if record.exc_info:
            told["traceback"] = _cut(self.formatException(record.exc_info))
        # All but ASCII is escaped: nothing steers a terminal, and what is no text does no harm.
        return json.dumps(told)


JSON_FIELDS: Final = ("event", "group", "payload", "facts")
"""What `extra` of a log call may add to its line."""

FORMATS: Final = {"redis": LineFormatter, "json": JsonFormatter}
"""The words of `log_format`."""


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARS_MAX else text[:MESSAGE_CHARS_MAX] + "... (cut)"


def escaped(text: str) -> str:
    r"""Return text on one line and without control characters: `\n`, `\x1b`; bounded in length."""
    return _CONTROL.sub(_escape, _cut(text))


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    return _NAMED.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class LineHandler(logging.Handler):
    """Writes lines to a file, or to stdout when `path` is empty.

    A file is looked for under its name every `check_s` seconds. Raises OSError at construction when
    it cannot be opened.
    """

    def __init__(self, path: str, check_s: float = REOPEN_CHECK_S) -> None:
        super().__init__()
        self.setFormatter(LineFormatter())
        self._path = path
        self._check_s = check_s
        self._checked_at = time.monotonic()
        self._descriptor = _open(path) if path else STDOUT

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what cannot be written is lost."""
        try:
            data = (self.format(record) + "\n").encode()
            if self._path:
                self._reopen_if_moved()
            # Past all buffers: they would keep what a full disk refused, and try it again for ever.
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            # A full disk or a closed pipe: there is nobody left to tell.
            return
        except Exception:  # noqa: BLE001 - a wrong format string must not stop a failover
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        if self._path and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _reopen_if_moved(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < self._check_s:
            return
        self._checked_at = now
        ours = os.fstat(self._descriptor)
        try:
            there = Path(self._path).stat()
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        fresh = _open(self._path)
        os.close(self._descriptor)
        self._descriptor = fresh


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def set_up(path: str, level: str, line_format: str = "redis") -> None:
    """Send all logs of this process to `path` (stdout when empty), from `level` on.

    `level` is a word of `LEVELS`, `line_format` one of `FORMATS`. Raises OSError when the file
    cannot be opened.
    """
    handler = LineHandler(path)
    handler.setFormatter(FORMATS[line_format]())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    set_level(level)


def set_level(level: str) -> None:
    """Log from `level` on, a word of `LEVELS`."""
    logging.getLogger().setLevel(LEVELS[level])
    # Of the event loop itself only complaints: its debug lines tell of each slow callback.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
