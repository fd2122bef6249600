"""Turn what an instance or a peer answers into Python values: RESP2 and RESP3, in one parser.

Everything that was announced is checked against a limit before anything is kept for it. Streamed
strings and aggregates of RESP3 are refused: no engine sends them.
Source: the RESP3 specification, redis/redis-specifications, protocol/RESP3.md.
"""

import re
from collections.abc import Callable
from typing import Final

from everfly.wire.resp_values import (
    LINE_BYTES_MAX,
    NEED_MORE,
    ErrorReply,
    NeedMore,
    ProtocolError,
    Push,
    Reply,
    SimpleString,
    to_text,
)

REPLY_BULK_BYTES_MAX: Final = 64 * 1024 * 1024
"""Far above what a Sentinel asks for (INFO has about 5 KB), far below what hurts."""
DEPTH_MAX: Final = 32
"""Engines nest less than 8 deep, in COMMAND DOCS."""
ELEMENTS_MAX: Final = 1024 * 1024
"""Values in one whole reply, counted through all its levels."""

_COMPACT_ABOVE: Final = 64 * 1024
# What most replies to a Sentinel are: hellos on a channel, thousands a second. One match instead of
# seven values; whatever does not fit exactly, or not at once, takes the long way. The bounds keep a
# longer text that arrives in pieces from being looked at again and again.
_MESSAGE = re.compile(
    rb"\*3\r\n\$7\r\nmessage\r\n"
    rb"\$([0-9]{1,3})\r\n([^\r\n]{0,999})\r\n\$([0-9]{1,3})\r\n([^\r\n]{0,999})\r\n"
)
_MESSAGE_BEGINS = b"*3\r\n$7\r\nm"
_MESSAGE_ELEMENTS = 4  # The array and its three strings.
_INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")
_BIG_INTEGER = re.compile(rb"[+-]?[0-9]{1,4000}")  # Python reads 4300 digits at most.
_DOUBLE = re.compile(rb"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?(?:[eE][+-]?[0-9]{1,9})?|inf|nan)")
_LENGTH_DIGITS_MAX = 19


class _Opened:
    """An aggregate whose elements are being read."""

    __slots__ = ("elements", "kind", "missing")

    def __init__(self, kind: int, missing: int) -> None:
        self.kind = kind
        self.missing = missing
        self.elements: list[Reply] = []

    def close(self) -> Reply:
        elements = self.elements
        match chr(self.kind):
            case "%":
                try:
                    return dict(zip(elements[::2], elements[1::2], strict=True))
                except TypeError:
                    raise ProtocolError("an aggregate is the key of a map") from None
            case ">":
                return Push(elements)
            case _:
                return elements


class ReplyParser:
    """Turn a stream of replies into values, whatever pieces it arrives in.

    `max_bulk` bounds one string (bytes), `max_depth` the nesting, `max_elements` the values in one
    whole reply.
    """

    __slots__ = ("_body", "_buffer", "_elements", "_failure", "_max_bulk", "_max_depth",
                 "_max_elements", "_open", "_position", "_scanned")  # fmt: skip

    def __init__(
        self,
        *,
        max_bulk: int = REPLY_BULK_BYTES_MAX,
        max_depth: int = DEPTH_MAX,
        max_elements: int = ELEMENTS_MAX,
    ) -> None:
        self._max_bulk = max_bulk
        self._max_depth = max_depth
        self._max_elements = max_elements
        self._buffer = bytearray()
        self._position = 0
        self._scanned = 0  # No line end lies between `_position` and here.
        self._body: tuple[int, int] | None = None  # Kind and length of the string that comes next.
        self._open: list[_Opened] = []
        self._elements = 0
        self._failure: ProtocolError | None = None

    @property
    def is_between_replies(self) -> bool:
        """Whether nothing is kept of an unfinished reply: what comes next begins one."""
        return not self._elements and not self._buffer and self._failure is None

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived; dropped after an error."""
        if self._failure is None:
            self._buffer += data

    def next_reply(self) -> Reply | NeedMore:
        """Return the next complete reply, or NEED_MORE. Attributes are read over.

        Raises ProtocolError for what is no RESP or beyond a limit: close the connection.
        """
        if self._failure is not None:
            raise self._failure
        try:
            reply = self._next_reply()
        except ProtocolError as error:
            self._failure = error
            self._buffer.clear()
            self._open = []
            raise
        if self._position == len(self._buffer):
            self._buffer.clear()
            self._position = self._scanned = 0
        elif self._position > _COMPACT_ABOVE:
            del self._buffer[: self._position]
            self._scanned = max(0, self._scanned - self._position)
            self._position = 0
        return reply

    def _next_reply(self) -> Reply | NeedMore:
        if self._buffer.startswith(_MESSAGE_BEGINS, self._position):
            message = self._read_message()
            if message is not None:
                return message
        while True:
            value = self._read_value()
            if value is NEED_MORE:
                return NEED_MORE
            if isinstance(value, _Opened):
                if value.missing:
                    self._open.append(value)
                    continue
                if value.kind == _ATTRIBUTE:
                    continue
                value = value.close()
            is_whole, value = self._close_filled(value)
            if is_whole:
                self._elements = 0
                return value

    def _read_message(self) -> Reply:
        """Return a whole message of a channel, or None for anything else."""
        if self._open or self._elements or self._body is not None:
            return None
        found = _MESSAGE.match(self._buffer, self._position)
        if found is None:
            return None
        channel_length, channel, length, payload = found.groups()
        is_exact = int(channel_length) == len(channel) and int(length) == len(payload)
        is_allowed = (
            max(len(channel), len(payload), len(b"message")) <= self._max_bulk
            and self._max_elements >= _MESSAGE_ELEMENTS
            and self._max_depth > 0
        )
        if not is_exact or not is_allowed:
            return None  # the long way says what is wrong
        self._position = found.end()
        return [b"message", channel, payload]

    def _close_filled(self, value: Reply) -> tuple[bool, Reply]:
        """Put a value where it belongs; tell whether that made a whole reply, and which."""
        while self._open:
            aggregate = self._open[-1]
            aggregate.elements.append(value)
            aggregate.missing -= 1
            if aggregate.missing:
                return False, None
            self._open.pop()
            if aggregate.kind == _ATTRIBUTE:
                return False, None
            value = aggregate.close()
        return True, value

    def _read_value(self) -> Reply | _Opened | NeedMore:
        if self._body is None:
            line = self._read_line()
            if line is None:
                return NEED_MORE
            self._elements += 1
            if self._elements > self._max_elements:
                raise ProtocolError(f"a reply has more than {self._max_elements} values")
            kind = line[0] if line else 0
            if kind in _SCALARS:
                return _SCALARS[kind](line[1:])
            if kind in _AGGREGATES:
                return self._open_aggregate(kind, line[1:])
            if kind not in _BODIES:
                raise ProtocolError(f"a reply begins with {line[:16]!r}, which is no RESP type")
            if kind == _BULK and line == b"$-1":
                return None
            self._body = kind, _to_length(line[1:], self._max_bulk)
        kind, length = self._body
        end = self._position + length
        if len(self._buffer) < end + 2:
            return NEED_MORE
        if self._buffer[end : end + 2] != b"\r\n":
            raise ProtocolError(f"a string of {length} bytes does not end with CRLF")
        data = bytes(self._buffer[self._position : end])
        self._position = end + 2
        self._body = None
        return _BODIES[kind](data)

    def _read_line(self) -> bytes | None:
        found = self._buffer.find(b"\r\n", max(self._position, self._scanned - 1))
        if (found if found >= 0 else len(self._buffer)) - self._position > LINE_BYTES_MAX:
            raise ProtocolError(f"a line of a reply has more than {LINE_BYTES_MAX} bytes")
        if found < 0:
            self._scanned = len(self._buffer)
            return None
        line = bytes(self._buffer[self._position : found])
        self._position = found + 2
        return line

    def _open_aggregate(self, kind: int, digits: bytes) -> _Opened | None:
        if kind == _ARRAY and digits == b"-1":
            return None
        if len(self._open) >= self._max_depth:
            raise ProtocolError(f"a reply is nested more than {self._max_depth} deep")
        if kind == _PUSH and self._open:
            raise ProtocolError("a push is inside of another reply")
        missing = _to_length(digits, self._max_elements)
        if kind in (_MAP, _ATTRIBUTE):
            missing *= 2
        return _Opened(kind, missing)


def _to_length(digits: bytes, limit: int) -> int:
    if not digits.isdigit() or len(digits) > _LENGTH_DIGITS_MAX:
        raise ProtocolError(f"{digits[:32]!r} is no length")
    length = int(digits)
    if length > limit:
        raise ProtocolError(f"a length of {length} is above the limit of {limit}")
    return length


def _to_integer(digits: bytes) -> int:
    if _INTEGER.fullmatch(digits) is None or not -(2**63) <= int(digits) < 2**63:
        raise ProtocolError(f"{digits[:32]!r} is no integer of 64 bits")
    return int(digits)


def _to_big_integer(digits: bytes) -> int:
    if _BIG_INTEGER.fullmatch(digits) is None:
        raise ProtocolError(f"{digits[:32]!r} is no integer")
    return int(digits)


def _to_double(digits: bytes) -> float:
    if _DOUBLE.fullmatch(digits) is None:
        raise ProtocolError(f"{digits[:32]!r} is no number")
    return float(digits)


def _to_boolean(letter: bytes) -> bool:
    if letter not in (b"t", b"f"):
        raise ProtocolError(f"{letter[:32]!r} is no boolean")
    return letter == b"t"


def _to_null(rest: bytes) -> None:
    if rest:
        raise ProtocolError(f"{rest[:32]!r} follows a null")


def _to_status(text: bytes) -> SimpleString:
    return bytes.__new__(SimpleString, text)


def _to_error(text: bytes) -> ErrorReply:
    return ErrorReply(to_text(text))


def _to_verbatim(data: bytes) -> bytes:
    if data[3:4] != b":":
        raise ProtocolError(f"a verbatim string begins with {data[:8]!r}, not with its format")
    return data[4:]


_BULK = ord("$")
_ARRAY = ord("*")
_MAP = ord("%")
_PUSH = ord(">")
_ATTRIBUTE = ord("|")
_SCALARS: Final[dict[int, Callable[[bytes], Reply]]] = {
    ord("+"): _to_status,
    ord("-"): _to_error,
    ord(":"): _to_integer,
    ord(","): _to_double,
    ord("#"): _to_boolean,
    ord("_"): _to_null,
    ord("("): _to_big_integer,
}
_BODIES: Final[dict[int, Callable[[bytes], Reply]]] = {
    _BULK: bytes,
    ord("!"): _to_error,
    ord("="): _to_verbatim,
}
_AGGREGATES: Final = frozenset({_ARRAY, ord("~"), _MAP, _PUSH, _ATTRIBUTE})
