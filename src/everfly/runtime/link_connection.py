"""Turn one connection to an instance or a peer into facts: the replies to what was sent, in order.

Rules: everything is done inside the callbacks of the event loop, with no task of its own; each
reply goes to the handler that its command left in the queue; what was written during a turn leaves
in one piece at its end. A connection ends once: by `close`, which tells nobody, or by trouble,
which tells `on_end`.
"""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from everfly.core.effects import Connect, Purpose
from everfly.core.inputs import HelloSent, Input, Ponged
from everfly.core.model import LinkId
from everfly.runtime.tls import reason_of_tls
from everfly.wire.hello import CHANNEL
from everfly.wire.resp import NeedMore, ProtocolError, Reply, ReplyParser, SimpleString, to_text

COMMAND_REPLY_BYTES_MAX: Final = 8 * 1024 * 1024
"""INFO has 5 KB, and 100 bytes more for each replica."""
CHANNEL_MESSAGE_BYTES_MAX: Final = 64 * 1024
"""A hello has at most 1 KB; anybody may publish more on its channel."""
REPLY_ELEMENTS_MAX: Final = 1_024
REPLY_DEPTH_MAX: Final = 8
"""The widest reply that is asked for has ten elements, the deepest is flat."""

UNSENT_BYTES_MAX: Final = 1024 * 1024
"""The other side has stopped to read long before a link has so much to say."""

KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_PROBES: Final = 3
"""A channel link sends nothing by itself, so the kernel must find out that its end is gone."""

TLS_FAILED: Final = "TLS: "
"""Begins a reason that has to do with encryption."""

PONG: Final = SimpleString("PONG")
REPEATED_BYTES_MAX: Final = 512
"""A message with a longer hello is read each time."""
TOGETHER_BYTES_MAX: Final = 4_096
"""So many bytes of messages that came together are looked up; more are read."""
REPEATS_MAX: Final = 32
"""Of one channel: a hello of each Sentinel, and some of before the last change."""

_MESSAGE_BEGINS: Final = b"*3\r\n$7\r\nmessage\r\n"
_MESSAGE_ENDS: Final = b"$%d\r\n%b\r\n$%d\r\n%b\r\n"
USUAL_BYTES_MAX: Final = 16
_SUBSCRIBERS_MAX: Final = 32
# What comes over a command link nearly always: the answers to PING, to PUBLISH, and to both.
_USUAL: Final[dict[bytes, tuple[Reply, ...]]] = {
    b"+PONG\r\n": (PONG,),
    **{b":%d\r\n" % count: (count,) for count in range(_SUBSCRIBERS_MAX)},
    **{b"+PONG\r\n:%d\r\n" % count: (PONG, count) for count in range(_SUBSCRIBERS_MAX)},
}

Handler = Callable[["Link", Reply], None]
"""Takes the reply to one command."""


class LinkOwner(Protocol):
    """Who holds links. Implemented by `runtime.link.LinkPool`."""

    def on_up(self, link: "Link") -> None:
        """Take a connection that can carry commands."""
        ...

    def on_end(self, link: "Link", reason: str, *, is_refusal: bool) -> None:
        """Forget a connection that ended by itself."""
        ...

    def on_message(self, link: "Link", payload: bytes) -> None:
        """Take a message of a channel."""
        ...

    def on_repeated(self, fact: Input) -> None:
        """Take what a message of a channel means that it has already told of."""
        ...

    def on_unsent(self, link: "Link") -> None:
        """Call `flush` of this link at the end of the turn."""
        ...


class Wire(Protocol):
    """What a link needs of its connection: asyncio's transports and `stream_hub.Stream`."""

    def write(self, data: bytes, /) -> None:
        """Send, or keep what cannot be sent yet."""
        ...

    def get_write_buffer_size(self) -> int:
        """Return the bytes that are kept."""
        ...

    def get_extra_info(self, name: str, /) -> Any:
        """Return the `socket`, its `sockname`, and where it is encrypted its `sslcontext`."""
        ...

    def close(self) -> None:
        """End it."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...


class Link(asyncio.Protocol):
    """One connection, from its attempt to its end."""

    __slots__ = ("_is_channel", "_owner", "_parser", "_pending", "_repeats", "_transport",
                 "_unsent", "effect", "has_ended", "id", "local_host", "ponged", "published",
                 "task")  # fmt: skip

    def __init__(self, effect: Connect, owner: LinkOwner) -> None:
        self.id: Final[LinkId] = effect.link
        self.effect: Final = effect
        self.local_host = ""
        """Our own address, while it is up."""
        self.has_ended = False
        self.task: asyncio.Task[None] | None = None
        """The attempt to connect."""
        self.ponged: Final = Ponged(effect.link, PONG.decode())
        self.published: Final = HelloSent(effect.link)
        """What is told again and again."""
        self._owner = owner
        self._transport: Wire | None = None
        self._is_channel = is_channel = effect.purpose is Purpose.CHANNEL
        self._repeats: dict[bytes, Input] = {}
        self._parser = ReplyParser(
            max_bulk=CHANNEL_MESSAGE_BYTES_MAX if is_channel else COMMAND_REPLY_BYTES_MAX,
            max_depth=REPLY_DEPTH_MAX,
            max_elements=REPLY_ELEMENTS_MAX,
        )
        self._pending: deque[Handler] = deque()
        self._unsent: list[bytes] = []

    @property
    def is_up(self) -> bool:
        """Whether it can carry commands."""
        return self._transport is not None and not self.has_ended

    def send(self, command: bytes, handler: Handler) -> None:
        """Send a command at the end of the turn; `handler` takes its reply."""
        if not self._unsent:
            self._owner.on_unsent(self)
        self._unsent.append(command)
        self._pending.append(handler)

    def flush(self) -> None:
        """Send what waits. Ends the link when the other side does not read."""
        transport = self._transport
        if transport is None or self.has_ended or not self._unsent:
            return
        transport.write(b"".join(self._unsent))
        self._unsent.clear()
        if transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self.end("Output buffer limit reached", is_refusal=False)

    def close(self) -> None:
        """End it without telling its owner. What was sent before still leaves if it can at once."""
        if self.has_ended:
            return
        self.flush()
        self._release()

    def end(self, reason: str, *, is_refusal: bool) -> None:
        """End it and tell its owner. Harmless when it has ended."""
        if self.has_ended:
            return
        self._release()
        self._owner.on_end(self, reason, is_refusal=is_refusal)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection (by the event loop)."""
        # Not checked: the transports of uvloop are no subclasses.
        self.take(cast("asyncio.Transport", transport))

    def take(self, transport: Wire) -> None:
        """Take the connection."""
        self._transport = transport
        if self.has_ended:
            transport.abort()
            return
        name = transport.get_extra_info("sockname")
        self.local_host = str(name[0]) if name else ""
        connection = transport.get_extra_info("socket")
        if connection is not None:
            _keep_alive(connection)
        self._owner.on_up(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes (by the event loop)."""
        if self._is_channel:
            is_usual = len(data) < TOGETHER_BYTES_MAX and self._tell_repeats(data)
        else:
            is_usual = len(data) < USUAL_BYTES_MAX and self._take_usual(data)
        if not is_usual:
            self._parse(data)

    def _take_usual(self, data: bytes) -> bool:
        """Take what answers PING and PUBLISH; return False for anything else."""
        replies = _USUAL.get(data)
        if replies is None or not self._parser.is_between_replies:
            return False
        for reply in replies:
            if not self.has_ended:
                self._take(reply)
        return True

    def _tell_repeats(self, data: bytes) -> bool:
        """Tell what messages mean that all came before; return False for anything else."""
        messages = data.split(_MESSAGE_BEGINS)
        if messages[0] or not self._parser.is_between_replies:
            return False
        repeats = self._repeats
        try:
            facts = [repeats[message] for message in messages[1:]]
        except KeyError:
            return False
        for fact in facts:
            self._owner.on_repeated(fact)
        return True

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        parser.feed(data)
        try:
            while not self.has_ended:
                reply = parser.next_reply()
                if isinstance(reply, NeedMore):
                    return
                self._take(reply)
        except ProtocolError as error:
            self.end(f"Protocol error: {error.message}", is_refusal=False)

    def remember(self, payload: bytes, fact: Input) -> None:
        """Tell the owner `fact` at once when this message of a channel comes again.

        Only for a fact that depends on nothing but this link and the payload.
        """
        message = _MESSAGE_ENDS % (len(CHANNEL), CHANNEL, len(payload), payload)
        if len(message) < REPEATED_BYTES_MAX:
            if len(self._repeats) >= REPEATS_MAX:
                self._repeats.clear()
            self._repeats[message] = fact

    def eof_received(self) -> bool:
        """Take the end of the stream (by the event loop)."""
        self.end("Server closed the connection", is_refusal=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection (by the event loop)."""
        is_reset = isinstance(exc, ConnectionResetError | BrokenPipeError)
        self.end(reason_of(exc), is_refusal=exc is None or is_reset)

    def _take(self, reply: Reply) -> None:
        if self._is_channel and isinstance(reply, list):
            match reply:
                case [b"message", bytes(), bytes(payload)]:
                    self._owner.on_message(self, payload)
                    return
        if not self._pending:
            self.end(f"Protocol error: a reply that nobody asked for: {shown(reply)}",
                     is_refusal=False)  # fmt: skip
            return
        self._pending.popleft()(self, reply)

    def _release(self) -> None:
        self.has_ended = True
        self._pending.clear()
        self._unsent.clear()
        if self.task is not None:
            self.task.cancel()
        transport = self._transport
        if transport is not None:
            # What the other side does not read would keep a closing connection for ever.
            # Nor is the other side's farewell awaited where connections are encrypted.
            if transport.get_write_buffer_size() or transport.get_extra_info("sslcontext"):
                transport.abort()
            else:
                transport.close()


def reason_of(error: BaseException | None) -> str:
    """Return a short text for a broken connection, in the system's words."""
    if error is None:
        return "Server closed the connection"
    if isinstance(error, ssl.SSLError):
        # Its number is not one of the system's.
        return TLS_FAILED + reason_of_tls(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def shown(reply: Reply) -> str:
    """Return a reply as text for a message, bounded."""
    return to_text(reply)[:100] if isinstance(reply, bytes) else repr(reply)[:100]


def _keep_alive(connection: socket.socket) -> None:
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    except OSError:
        # The connection has broken already; the event loop will say so.
        return
