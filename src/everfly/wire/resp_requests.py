"""Turn what a client sends into commands: RESP arrays of bulk strings, or lines typed by a person.

Limits and error texts are those of Redis, because clients and probes match on them.
Source: `processInlineBuffer`, `processMultibulkBuffer`, redis/src/networking.c (7.0.15).
"""

import re
from typing import Final

from everfly.errors import RemoteError
from everfly.wire.resp_values import LINE_BYTES_MAX, HttpRequest, ProtocolError, one_line, to_text

BULK_BYTES_MAX: Final = 512 * 1024 * 1024
"""Default of `proto-max-bulk-len`. Source: redis/src/config.c (7.0.15)."""
ARGUMENTS_MAX: Final = 2**31 - 1
"""Arguments in one command: `INT_MAX`. Source: `processMultibulkBuffer` (7.0.15)."""
ARGUMENTS_MAX_BEFORE_AUTH: Final = 10
BULK_BYTES_MAX_BEFORE_AUTH: Final = 16 * 1024
"""Both: what a client may send before it has proved who it is. Source: as above."""

_COMPACT_ABOVE: Final = 64 * 1024
"""Consumed bytes that may stay in a buffer: fewer moves of the rest, still little memory."""

_LENGTH = re.compile(rb"0|-?[1-9][0-9]{0,18}")
"""What `string2ll` accepts: no plus, no leading zero, no minus zero. Source: redis/src/util.c."""

# What peers send thousands of times a minute: PUBLISH and its two arguments. One match instead of
# a dozen steps; whatever does not fit exactly, or not at once, takes the long way. The bounds keep
# a text that arrives in pieces from being looked at again and again.
_TRIPLE = re.compile(
    rb"\*3\r\n"
    rb"\$([1-9][0-9]?)\r\n([^\r\n]{1,99})\r\n"
    rb"\$([1-9][0-9]?)\r\n([^\r\n]{1,99})\r\n"
    rb"\$([1-9][0-9]{0,2})\r\n([^\r\n]{1,999})\r\n"
)
_TRIPLE_BEGINS = b"*3\r\n$"

_SPLIT_PLAIN = re.compile(rb"[^\"'\x0b\x0c]*")
_TOKEN = re.compile(
    # Nothing is ever given back (`*+`), so a match takes at least one byte and linear time.
    rb"[ \t\n\r\x0b\x0c]*+"
    rb"(?P<plain>[^ \t\n\r\"']*+)"
    rb"(?:\"(?P<double>[^\"\\]*+(?:\\.[^\"\\]*+)*+)\"(?=[ \t\n\r\x0b\x0c]|\Z)"
    rb"|'(?P<single>[^'\\]*+(?:\\'?+[^'\\]*+)*+)'(?=[ \t\n\r\x0b\x0c]|\Z)"
    rb"|(?=[ \t\n\r]|\Z))",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split_args(line: bytes) -> list[bytes] | None:
    r"""Split a line into arguments as a shell would; None when its quotes do not balance.

    Double quotes know `\n \r \t \b \a \xHH` and `\` before any other character; single quotes
    know `\'` alone. A closing quote ends its argument, so a space must follow it.
    Source: `sdssplitargs`, redis/src/sds.c (7.0.15).
    """
    if _SPLIT_PLAIN.fullmatch(line):
        return line.split()
    line = line.rstrip(b" \t\n\r\x0b\x0c")
    arguments: list[bytes] = []
    position = 0
    while position < len(line):
        token = _TOKEN.match(line, position)
        if token is None:
            return None
        plain, double, single = token.groups()
        if double is not None:
            plain += _ESCAPE.sub(_unescape, double)
        elif single is not None:
            plain += single.replace(b"\\'", b"'")
        arguments.append(plain)
        position = token.end()
    return arguments


def _unescape(escape: re.Match[bytes]) -> bytes:
    digits, letter = escape.groups()
    if digits is not None:
        return bytes((int(digits, 16),))
    return _ESCAPED.get(letter, letter)


class RequestParser:
    """Turn what a client sends into commands: arrays of bulk strings, or lines typed by a person.

    Set `is_authenticated` to False while the client has yet to prove who it is: much smaller limits
    then hold from the next header on.
    """

    __slots__ = ("_arguments", "_buffer", "_bulk", "_failure", "_held", "_missing", "_position",
                 "_scanned", "is_authenticated")  # fmt: skip

    def __init__(self) -> None:
        self.is_authenticated = True
        self._buffer = bytearray()
        self._position = 0
        self._scanned = 0  # No line end lies between `_position` and here.
        self._missing = 0  # Arguments of the current command that are still to come.
        self._bulk = -1  # Length of the argument whose bytes come next; -1: its header does.
        self._arguments: list[bytes] = []
        self._held = 0
        self._failure: RemoteError | None = None

    @property
    def held_bytes(self) -> int:
        """Return how much of unfinished commands is kept; a listener closes whoever has too much.

        Counts what each argument costs beside its bytes.
        """
        return len(self._buffer) - self._position + self._held

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived; dropped after an error."""
        if self._failure is None:
            self._buffer += data

    def next_command(self) -> list[bytes] | None:
        """Return the next complete command, never empty, or None when more bytes are needed.

        Raises ProtocolError (tell the client, then close) and HttpRequest (close).
        """
        if self._failure is not None:
            raise self._failure
        try:
            command = self._read_triple() or self._next_command()
            if command and command[0].lower() in (b"post", b"host:"):
                raise HttpRequest(f"{to_text(command[0])!r} is a line of HTTP, not a command")
        except RemoteError as error:
            self._failure = error
            self._buffer.clear()
            self._arguments = []
            self._position = self._held = 0
            raise
        self._compact()
        return command

    def _compact(self) -> None:
        if self._position == len(self._buffer):
            self._buffer.clear()
        elif self._position > _COMPACT_ABOVE:
            del self._buffer[: self._position]
        else:
            return
        self._scanned = max(0, self._scanned - self._position)
        self._position = 0

    def _next_command(self) -> list[bytes] | None:
        while True:
            if self._missing:
                if not self._read_arguments():
                    return None
                command, self._arguments = self._arguments, []
                self._held = 0
                return command
            if self._position == len(self._buffer):
                return None
            if self._buffer[self._position] == 0x2A:  # *
                if not self._read_count():
                    return None
            else:
                line = self._read_until(b"\n", "too big inline request")
                if line is None:
                    return None
                arguments = split_args(line.removesuffix(b"\r"))
                if arguments is None:
                    raise ProtocolError("Protocol error: unbalanced quotes in request")
                if arguments:
                    return arguments

    def _read_triple(self) -> list[bytes] | None:
        """Return a whole command of three short words, or None for anything else."""
        if self._missing or not self._buffer.startswith(_TRIPLE_BEGINS, self._position):
            return None
        found = _TRIPLE.match(self._buffer, self._position)
        if found is None:
            return None
        length, name, next_length, first, last_length, last = found.groups()
        if (int(length), int(next_length), int(last_length)) != (len(name), len(first), len(last)):
            return None  # the long way says what is wrong
        self._position = found.end()
        return [name, first, last]

    def _read_until(self, end: bytes, too_long: str) -> bytes | None:
        """Return the text up to `end` and step behind it; None when `end` has not come yet."""
        found = self._buffer.find(end, max(self._scanned, self._position))
        length = (found if found >= 0 else len(self._buffer)) - self._position
        if length > LINE_BYTES_MAX:
            raise ProtocolError(f"Protocol error: {too_long}")
        if found < 0:
            self._scanned = len(self._buffer)
            return None
        # Redis takes any byte for the LF behind a CR, but waits for it.
        after = found + (2 if end == b"\r" else 1)
        if after > len(self._buffer):
            return None
        line = bytes(self._buffer[self._position : found])
        self._position = after
        return line

    def _read_count(self) -> bool:
        header = self._read_until(b"\r", "too big mbulk count string")
        if header is None:
            return False
        count = _to_length(header[1:])
        if count is None or count > ARGUMENTS_MAX:
            raise ProtocolError("Protocol error: invalid multibulk length")
        if count > ARGUMENTS_MAX_BEFORE_AUTH and not self.is_authenticated:
            raise ProtocolError("Protocol error: unauthenticated multibulk length")
        self._missing = max(0, count)
        return True

    def _read_arguments(self) -> bool:
        buffer = self._buffer
        while self._missing:
            if self._bulk < 0:
                header = self._read_until(b"\r", "too big bulk count string")
                if header is None:
                    return False
                self._bulk = self._checked_bulk(header)
            end = self._position + self._bulk
            if len(buffer) < end + 2:
                return False
            self._arguments.append(bytes(buffer[self._position : end]))
            self._held += self._bulk + 40  # The object and its place in the list.
            self._position = end + 2
            self._bulk = -1
            self._missing -= 1
            if self._position > _COMPACT_ABOVE:
                self._compact()
        return True

    def _checked_bulk(self, header: bytes) -> int:
        if header[:1] != b"$":
            got = to_text(one_line(header[:1] or b"\r"))
            raise ProtocolError(f"Protocol error: expected '$', got '{got}'")
        length = _to_length(header[1:])
        if length is None or not 0 <= length <= BULK_BYTES_MAX:
            raise ProtocolError("Protocol error: invalid bulk length")
        if length > BULK_BYTES_MAX_BEFORE_AUTH and not self.is_authenticated:
            raise ProtocolError("Protocol error: unauthenticated bulk length")
        return length


def _to_length(digits: bytes) -> int | None:
    """Return the number, or None for what is not exactly one in 64 bits."""
    if _LENGTH.fullmatch(digits) is None:
        return None
    length = int(digits)
    return length if -(2**63) <= length < 2**63 else None
