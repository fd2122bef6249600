"""Turn the bytes of RESP2 and RESP3 replies into trees that keep every type mark, for comparison.

A simple string and a bulk of the same text are different here: clients tell them apart too.
"""

import contextlib
import socket
from dataclasses import dataclass, field
from typing import Final

from kinds import HOST

TIMEOUT_S: Final = 5.0
REPLY_MAX_BYTES: Final = 4 * 1024 * 1024
MARKER: Final = "that-was-all"


@dataclass(frozen=True)
class Value:
    """One value of a reply: its type mark, its text if it is a leaf, its children if it is not."""

    mark: str
    text: str = ""
    children: tuple["Value", ...] = field(default=())

    def __str__(self) -> str:
        if self.mark in "*%>~|":
            return f"{self.mark}[{' '.join(map(str, self.children))}]"
        return f"{self.mark}{self.text!r}"

    def holds(self, text: str) -> bool:
        """This value, or one inside it, is that text."""
        return self.text == text or any(child.holds(text) for child in self.children)


class WireConnection:
    """A connection that sends any bytes and reads replies as trees."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=TIMEOUT_S)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> "WireConnection":  # noqa: PYI034 - it is no base of anything
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()
        self._socket.close()

    def exchange(self, request: bytes) -> list[str]:
        """Send bytes and return all replies to them; the last is `(closed)` if it closed then.

        A PING with a marker goes right behind: its reply ends the replies to the request.
        """
        # The other side may close in the middle of what it refuses; its reply is there anyway.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(request + encode("PING", MARKER))
        replies: list[str] = []
        while True:
            try:
                value = self._read()
            except (EOFError, ConnectionResetError):
                return [*replies, "(closed)"]
            if value.holds(MARKER):
                return replies
            replies.append(str(value))

    def read_all(self, request: bytes) -> list[Value]:
        """As `exchange`, but return trees. Raise EOFError when it closes."""
        self._socket.sendall(request + encode("PING", MARKER))
        values: list[Value] = []
        while not values or not values[-1].holds(MARKER):
            values.append(self._read())
        return values[:-1]

    def _line(self) -> str:
        line = self._stream.readline(REPLY_MAX_BYTES)
        if not line.endswith(b"\r\n"):
            raise EOFError
        return line[:-2].decode(errors="replace")

    def _read(self) -> Value:
        line = self._line()
        mark, rest = line[:1], line[1:]
        if mark in "+-:_#,(":
            return Value(mark, rest)
        if mark in "$=!":
            length = int(rest)
            if length < 0:
                return Value(mark, "(null)")
            assert length <= REPLY_MAX_BYTES, line
            data = self._stream.read(length + 2)
            if len(data) < length + 2:
                raise EOFError
            assert data.endswith(b"\r\n"), data[-20:]
            return Value(mark, data[:-2].decode(errors="replace"))
        if mark in "*%>~|":
            count = int(rest)
            if count < 0:
                return Value("(null array)")
            pairs = 2 if mark in "%|" else 1
            return Value(mark, children=tuple(self._read() for _ in range(count * pairs)))
        raise AssertionError(f"no RESP type starts like this: {line!r}")


def encode(*words: str) -> bytes:
    """Return a command as a RESP array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)
