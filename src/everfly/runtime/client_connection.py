"""Turn the bytes of one client into commands, and answers into bytes, in the order of the commands.

A command handler answers at once, or with `Later`. Rules:

* Answers leave in the order of the commands. A `Later` that is a barrier holds back the client's
  next commands until it is answered, so they see what it did; others run side by side, up to
  `LATER_MAX`. While a client is held back nothing more is read from it. Other clients go on.
* A client gets a bounded share of one turn of the event loop, then the others have theirs.
* What a client may leave unread, and what it may send before it makes a command, is bounded: it is
  closed beyond that, and the log says so.
* A broken protocol is answered, then closed. HTTP is closed without an answer.

Source: redis/src/networking.c (7.0.15).
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, cast

from everfly.wire.resp import (
    ErrorReply,
    HttpRequest,
    ProtocolError,
    RequestParser,
    Value,
    encode_reply,
    one_line,
)

log = logging.getLogger(__name__)

LATER_MAX: Final = 1_024
"""Unanswered commands of one client that run side by side: a peer asks one for each group."""
COMMANDS_PER_TURN: Final = 200
"""Then other clients and links have their turn; about two milliseconds of PINGs."""
OUTPUT_PER_TURN_BYTES: Final = 256 * 1024
"""The same, for commands with long answers."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Bytes to send as they are: no reply at all, or messages, which CLIENT REPLY OFF lets pass."""

    data: bytes


NO_REPLY: Final = Encoded(b"")

Answer = Value | Encoded


@dataclass(frozen=True, slots=True)
class Later:
    """An answer that takes time."""

    work: Coroutine[object, object, Answer]
    is_barrier: bool = True
    """The client's next commands wait for it."""


Outcome = Answer | Later


@dataclass(slots=True)
class Tracking:
    """What CLIENT TRACKING set. A Sentinel has no keys to track, but remembers and shows it."""

    is_on: bool = False
    is_broadcast: bool = False
    mode: Literal["", "optin", "optout"] = ""
    is_loop_free: bool = False
    redirect: int = 0
    """The client that is told instead; 0: itself."""
    prefixes: list[bytes] = field(default_factory=list)
    caching: Literal["", "yes", "no"] = ""


class Home(Protocol):
    """Where a connection lives: the listener."""

    def opened(self, client: "ClientConnection") -> ErrorReply | None:
        """Take in a new client, or return why not."""
        ...

    def closed(self, client: "ClientConnection") -> None:
        """Forget a client."""
        ...

    def execute(self, client: "ClientConnection", command: list[bytes]) -> Outcome:
        """Carry out a command. Never raises."""
        ...

    def own(self, client: "ClientConnection", later: Later) -> "asyncio.Task[Answer]":
        """Start a task that is ended with the listener. It never raises but CancelledError."""
        ...

    def received(self, size: int) -> None:
        """Count bytes that a client sent."""
        ...

    def sent(self, size: int) -> None:
        """Count bytes that went to a client."""
        ...

    def hold_is_too_large(self, client: "ClientConnection") -> bool:
        """Tell whether a client keeps too much unfinished input or unread output; logs it."""
        ...

    def was_http(self, client: "ClientConnection") -> None:
        """Somebody sent HTTP."""
        ...


@dataclass(slots=True)
class _Slot:
    """The place of an answer among the others; empty while it is awaited."""

    data: bytes | None = None


class ClientConnection(asyncio.Protocol):
    """One client: its state, and its way in and out."""

    def __init__(self, home: Home, id: int, now: float) -> None:
        """`now` is the event loop's clock, in seconds."""
        self._home = home
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser()
        self._out: list[bytes] = []
        self._out_size = 0
        self._slots: deque[_Slot] = deque()
        self._waiting_size = 0  # Bytes behind an answer that is awaited.
        self._later = 0
        self._has_barrier = False
        self._is_running = False
        self._is_reading = True
        self._turn: asyncio.Handle | None = None

        self.id: Final = id
        self.opened_at: Final = now
        self.active_at = now
        self.input_bytes = self.output_bytes = self.commands = 0
        self.protocol: Literal[2, 3] = 2
        self.name = b""
        self.user = "default"
        self.command_name: str | None = None
        self.is_authenticated = True
        self.is_eviction_free = False
        self.tracking = Tracking()
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.addr = self.laddr = "?:0"
        self.fd = -1
        self.is_unix_socket = False
        self.is_local = False  # As `protected-mode` sees it.
        self.over_soft_limit_since: float | None = None
        self.is_closing = False
        """No more commands are taken; what is to be said is said, then the connection ends."""
        self.is_muted = False
        """CLIENT REPLY OFF."""
        self.skips = 0
        """CLIENT REPLY SKIP: 2 while it is executed, 1 during the command that it silences."""

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the home, or be turned away."""
        # Not checked: the transports of uvloop are no subclasses.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=2**31 - 1)  # The home judges, nobody pauses writing.
        raw = transport.get_extra_info("socket")
        self.fd = raw.fileno()
        self.is_unix_socket = raw.family == socket.AF_UNIX
        peer = transport.get_extra_info("peername")
        self.addr = _shown(peer, transport)
        self.is_local = self.is_unix_socket or bool(peer and peer[0] in ("127.0.0.1", "::1"))
        self.laddr = _shown(transport.get_extra_info("sockname"), transport)
        if (refusal := self._home.opened(self)) is not None:
            self._write(encode_reply(refusal, 2))
            self.close_after_replies()
            self.flush()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and carry out the commands that they complete."""
        if self.is_closing:
            return
        self._home.received(len(data))
        self.input_bytes += len(data)
        self._parser.feed(data)
        if self._may_run():
            self._run()
        else:
            self._read(is_wanted=False)

    def connection_lost(self, error: Exception | None) -> None:
        """Leave the home. Work that was started goes on; its answer is dropped."""
        del error  # How a client goes makes no difference.
        self.is_closing = True
        if self._turn is not None:
            self._turn.cancel()
        self._drop_output()
        self._home.closed(self)

    # What commands and the listener ask.

    @property
    def kind(self) -> str:
        """Return `normal` or `pubsub`, as CLIENT KILL TYPE and the limits know it."""
        return "pubsub" if self.channels or self.patterns else "normal"

    @property
    def held_input(self) -> int:
        """Return the bytes of commands that are not complete or not carried out yet."""
        return self._parser.held_bytes

    @property
    def held_output(self) -> int:
        """Return the bytes that the client has not taken yet."""
        written = self._transport.get_write_buffer_size() if self._transport else 0
        return written + self._out_size + self._waiting_size

    def authenticate(self, *, is_proved: bool) -> None:
        """Set whether the client has proved who it is, which widens the limits of what it sends."""
        self.is_authenticated = is_proved
        self._parser.is_authenticated = is_proved

    def probe_every(self, seconds: int) -> None:
        """Let the kernel find out that the other machine is gone, within about two intervals.

        0: do not. Source: `anetKeepAlive`, redis/src/anet.c (7.0.15).
        """
        if self._transport is None or self.is_unix_socket or not seconds:
            return
        raw = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def push(self, data: bytes) -> None:
        """Send bytes that are no reply.

        RESP3 tells them from replies, so they overtake those that are still awaited: a client
        hears what its command did before it hears that it is done, as ever.
        """
        if self.is_closing:
            return
        place = len(self._slots)
        while self.protocol == 3 and place and self._slots[place - 1].data is None:
            place -= 1
        if place == 0:
            self._out.append(data)
            self._out_size += len(data)
        else:
            self._slots.insert(place, _Slot(data))
            self._waiting_size += len(data)
        self.flush()

    def close_after_replies(self) -> None:
        """Take no more commands; end when what was begun is answered."""
        self.is_closing = True

    def abort(self) -> None:
        """End now; what is not written yet is lost."""
        self.is_closing = True
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Hand what is ready to the socket, and end when that was the last."""
        while self._slots and self._slots[0].data is not None:
            data = self._slots.popleft().data or b""
            self._waiting_size -= len(data)
            self._out.append(data)
        transport = self._transport
        if transport is None or self._is_running:
            return
        if self._out and not transport.is_closing():
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._home.sent(len(data))
            self.output_bytes += len(data)
            transport.write(data)
            self._out.clear()
            self._out_size = 0
        if (self._waiting_size or transport.get_write_buffer_size()) and (
            self._home.hold_is_too_large(self)
        ):
            self.abort()
        if self.is_closing and not self._slots:
            transport.close()

    # The way of a command.

    def _may_run(self) -> bool:
        is_held = self._has_barrier or self._later >= LATER_MAX
        return not (is_held or self._turn or self.is_closing)

    def _run(self) -> None:
        """Carry out what is complete, within this client's share of the turn."""
        self._is_running = True
        done = 0
        try:
            while self._may_run():
                command = self._parser.next_command()
                if command is None:
                    break
                self._execute(command)
                done += 1
                if done >= COMMANDS_PER_TURN or self._out_size >= OUTPUT_PER_TURN_BYTES:
                    self._turn = asyncio.get_running_loop().call_soon(self._go_on)
        except ProtocolError as error:
            self._answer(ErrorReply(f"ERR {error.message}"))
            self.close_after_replies()
        except HttpRequest:
            self._home.was_http(self)
            self._drop_output()
            self.close_after_replies()
        self._is_running = False
        self.flush()
        if self._parser.held_bytes and self._home.hold_is_too_large(self):
            self.abort()
        self._read(is_wanted=self._may_run())

    def _go_on(self) -> None:
        self._turn = None
        if self._may_run():
            self._run()
        else:
            self.flush()

    def _execute(self, command: list[bytes]) -> None:
        self.skips = max(0, self.skips - 1)
        outcome = self._home.execute(self, command)
        is_silent = self.is_muted or self.skips == 1
        if not isinstance(outcome, Later):
            if not is_silent or isinstance(outcome, Encoded):
                self._answer(outcome)
            return
        slot = _Slot()
        self._slots.append(slot)
        self._later += 1
        self._has_barrier = outcome.is_barrier
        task = self._home.own(self, outcome)
        protocol = self.protocol

        def fill(done: "asyncio.Task[Answer]") -> None:
            is_lost = done.cancelled()
            slot.data = b"" if is_silent or is_lost else _encode(done.result(), protocol)
            self._waiting_size += len(slot.data)
            self._later -= 1
            if outcome.is_barrier:
                self._has_barrier = False
            # Answers that are ready together leave together: many wait for the same write to disk.
            if self._turn is None:
                self._turn = asyncio.get_running_loop().call_soon(self._go_on)

        task.add_done_callback(fill)

    def _answer(self, answer: Answer) -> None:
        self._write(_encode(answer, self.protocol))

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._slots:
            self._slots.append(_Slot(data))
            self._waiting_size += len(data)
        else:
            self._out.append(data)
            self._out_size += len(data)

    def _drop_output(self) -> None:
        self._out.clear()
        self._slots.clear()
        self._out_size = self._waiting_size = 0

    def _read(self, *, is_wanted: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or is_wanted is self._is_reading:
            return
        self._is_reading = is_wanted
        if is_wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()


def _encode(answer: Answer, protocol: Literal[2, 3]) -> bytes:
    if isinstance(answer, Encoded):
        return answer.data
    return encode_reply(answer, protocol)


def _shown(name: object, transport: asyncio.BaseTransport) -> str:
    """Write an address as CLIENT LIST does: `1.2.3.4:5`, `[::1]:5`, `/path:0`."""
    match name:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case _:
            path = transport.get_extra_info("sockname")
            return f"{one_line(path).decode(errors='replace')}:0" if path else "?:0"
