"""The values that travel in RESP, and how they become bytes.

Text is UTF-8; bytes that are not travel through `str` as surrogates, so nothing is lost.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal, Self, assert_never

from everfly.errors import RemoteError

LINE_BYTES_MAX: Final = 64 * 1024
"""An inline command, or a header. Source: `PROTO_INLINE_MAX_SIZE`, redis/src/server.h (7.0.15)."""


class ProtocolError(RemoteError):
    """The other side broke the protocol; after it the stream means nothing and must be closed.

    `message` is what a client is told after `-ERR `.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class HttpRequest(RemoteError):  # noqa: N818 - it names what came, the fault is in the base
    """The stream is HTTP, perhaps sent by a web page that attacks: close it without an answer."""


class NeedMore(Enum):
    """Says that no reply is complete yet."""

    NEED_MORE = "need more"


class NullArray(Enum):
    """A null where RESP2 clients expect an array."""

    NULL_ARRAY = "null array"


NEED_MORE: Final = NeedMore.NEED_MORE
NULL_ARRAY: Final = NullArray.NULL_ARRAY


class SimpleString(bytes):
    """A status such as `+OK`; equal to the bytes it holds."""

    __slots__ = ()

    def __new__(cls, text: str | bytes) -> Self:
        """Make a status of text; line ends become spaces when it is sent."""
        return bytes.__new__(cls, to_bytes(text))


class ErrorReply:
    """An error sent as a reply: `ErrorReply("ERR no such thing")`. Not raised, but returned."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    @property
    def code(self) -> str:
        """Return the first word, such as `NOAUTH`; clients branch on it."""
        return self.text.partition(" ")[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorReply) and other.text == self.text

    def __hash__(self) -> int:
        return hash((ErrorReply, self.text))

    def __repr__(self) -> str:
        return f"ErrorReply({self.text!r})"


class Verbatim(bytes):
    """Text for a person: RESP3 `=` with the format `txt`, a bulk string in RESP2."""

    __slots__ = ()


class Unordered(list["Value"]):
    """Elements in no order that matters: RESP3 `~`, a plain array in RESP2."""

    __slots__ = ()


class Push(list["Reply"]):
    """A message nobody asked for, such as one of a channel: RESP3 `>`, a plain array in RESP2."""

    __slots__ = ()


Reply = bytes | ErrorReply | int | float | None | list["Reply"] | dict["Reply", "Reply"]
"""What `ReplyParser` returns: bulk and verbatim strings are `bytes`, statuses `SimpleString`,
booleans `bool`, sets `list`, pushes `Push`, both nulls None."""

Value = (
    str
    | bytes
    | ErrorReply
    | int
    | float
    | NullArray
    | None
    | Sequence["Value"]
    | Mapping[str, "Value"]
    | Mapping[bytes, "Value"]
)
"""What `encode_reply` accepts."""


def to_bytes(text: str | bytes) -> bytes:
    """Encode text as it travels: UTF-8, and surrogates back to the bytes they stood for."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def to_text(data: bytes) -> str:
    """Decode what travelled, keeping bytes that are not UTF-8 as surrogates."""
    return data.decode("utf-8", "surrogateescape")


def one_line(text: str | bytes) -> bytes:
    """Encode text that must not end its line: CR and LF become spaces."""
    return to_bytes(text).replace(b"\r", b" ").replace(b"\n", b" ")


def encode_command(*args: bytes | str | int) -> bytes:
    """Encode a command as an array of bulk strings, as every engine accepts it."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = b"%d" % arg if isinstance(arg, int) else to_bytes(arg)
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def encode_reply(value: Value, protocol: Literal[2, 3]) -> bytes:
    """Encode a reply in the protocol that the client chose; text and bytes become bulk strings."""
    parts: list[bytes] = []
    _encode(value, protocol, parts)
    return b"".join(parts)


def _encode(value: Value, protocol: Literal[2, 3], parts: list[bytes]) -> None:
    is_new = protocol == 3
    if type(value) is int:  # The answer to each hello of a peer; `bool` is another type.
        parts.append(_encode_integer(value, is_new=is_new))
    elif isinstance(value, SimpleString):
        parts.append(b"+%b\r\n" % one_line(value))
    elif isinstance(value, str | bytes):
        if is_new and isinstance(value, Verbatim):
            parts.append(b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value))
        else:
            parts.append(_encode_bulk(to_bytes(value)))
    elif isinstance(value, Mapping):
        parts.append(b"%%%d\r\n" % len(value) if is_new else b"*%d\r\n" % (2 * len(value)))
        for key, item in value.items():
            _encode(key, protocol, parts)
            _encode(item, protocol, parts)
    elif isinstance(value, Sequence):
        kind = b"*"
        if is_new and isinstance(value, Push | Unordered):
            kind = b">" if isinstance(value, Push) else b"~"
        parts.append(b"%b%d\r\n" % (kind, len(value)))
        for item in value:
            _encode(item, protocol, parts)
    else:
        parts.append(_encode_scalar(value, is_new=is_new))


def _encode_bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _encode_scalar(
    value: ErrorReply | int | float | NullArray | None,  # noqa: PYI041 - they differ on the wire
    *,
    is_new: bool,
) -> bytes:
    match value:
        case None:
            return b"_\r\n" if is_new else b"$-1\r\n"
        case NullArray():
            return b"_\r\n" if is_new else b"*-1\r\n"
        case ErrorReply():
            return b"-%b\r\n" % one_line(value.text)
        case bool():
            return (b"#t\r\n" if value else b"#f\r\n") if is_new else b":%d\r\n" % value
        case int():
            return _encode_integer(value, is_new=is_new)
        case float():
            digits = b"%.17g" % value
            return b",%b\r\n" % digits if is_new else _encode_bulk(digits)
        case _:
            assert_never(value)


def _encode_integer(value: int, *, is_new: bool) -> bytes:
    if -(2**63) <= value < 2**63:
        return b":%d\r\n" % value
    digits = b"%d" % value
    return b"(%b\r\n" % digits if is_new else _encode_bulk(digits)
