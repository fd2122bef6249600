"""Turn calls into commands on one RESP connection and what comes back into replies and messages.

For our own questions to instances and Sentinels (never on the way of user traffic). Rules:

* Replies come in the order of the calls; any number of tasks may call at the same time.
* An error reply is an answer, so it is returned as `ErrorReply`, not raised.
* `Unavailable` is raised for all trouble with the connection and for answers that are late; a late
  answer is read and dropped, so the connection stays usable. `RemoteError` is raised for what is no
  RESP. The text names the address.
* A connection that subscribed carries messages and nothing else.
* Calls in flight and messages nobody has read yet are bounded.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from everfly.core.model import Address
from everfly.errors import RemoteError, SettingsError, Unavailable
from everfly.runtime.tls import reason_of_tls
from everfly.wire.resp import ErrorReply, NeedMore, Reply, ReplyParser, encode_command, to_text

TIMEOUT_S: Final = 2.0
"""Default limit of a connection attempt and of a call: a healthy one takes a millisecond."""

CALLS_MAX: Final = 1_000
"""Calls without an answer on one connection. Beyond it the other side is as good as gone."""

MESSAGES_MAX: Final = 1_000
"""Messages that wait for their reader. Then the socket is left unread: its sender notices."""

_READ_BYTES: Final = 64 * 1024
_KEEPALIVE_S: Final = 5
"""A subscriber sends nothing, so the kernel must notice when the other machine is gone."""
_KEEPALIVE_TRIES: Final = 3
_FREED = (b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe")


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to prove who we are. No password: not at all; no user: as the default one."""

    password: str = ""
    user: str = ""
    tls: ssl.SSLContext | None = None
    """Speak inside TLS, in this context; None: in the clear."""

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password={'***' if self.password else ''!r})"


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived on a channel. Text from outside: it may hold anything."""

    pattern: str | None
    """The pattern that matched, or None for a channel subscribed by name."""
    channel: str
    payload: str


class Client:
    """One connection. Make it with `connect`, end it with `close` or `async with`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: Address
    ) -> None:
        self.address: Final = address
        self._reader = reader
        self._writer = writer
        self._calls: deque[asyncio.Future[Reply]] = deque()
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(MESSAGES_MAX)
        self._confirmations = 0
        self._is_subscriber = False
        self._confirmed = asyncio.Event()
        self._failure: Unavailable | RemoteError | None = None
        self._reading = asyncio.create_task(self._read(), name=f"client of {address}")

    @classmethod
    async def connect(
        cls,
        address: Address,
        *,
        timeout_s: float = TIMEOUT_S,
        credentials: Credentials | None = None,
        name: str = "",
    ) -> Self:
        """Connect, authenticate if there is a password, and name the connection if asked to.

        All of it within `timeout_s` seconds. Raises Unavailable, and SettingsError for a password
        that is refused.
        """
        credentials = credentials or Credentials()
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(
                    address.ip or address.host, address.port, ssl=credentials.tls
                )
        except TimeoutError as error:
            raise Unavailable(f"{address} accepts no connection within {timeout_s:g} s") from error
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{address} cannot be reached: {_reason(error)}") from error
        _watch_line(writer)
        client = cls(reader, writer, address)
        try:
            await client._introduce(credentials, name, timeout_s)
        except BaseException:
            await client.close()
            raise
        return client

    async def _introduce(self, credentials: Credentials, name: str, timeout_s: float) -> None:
        if credentials.password:
            words = [credentials.user, credentials.password]
            reply = await self.call("AUTH", *filter(None, words), timeout_s=timeout_s)
            if isinstance(reply, ErrorReply):
                raise SettingsError(
                    f"{self.address} refuses the password: {reply.text}; check the password file"
                )
        if name:
            await self.call("CLIENT", "SETNAME", name, timeout_s=timeout_s)

    async def call(self, *args: str | bytes | int, timeout_s: float = TIMEOUT_S) -> Reply:
        """Send one command and return its reply, which may be an `ErrorReply`.

        Raises Unavailable when the connection is or gets lost or the answer is not there within
        `timeout_s` seconds (the command may have been carried out), RemoteError for nonsense.
        """
        self._check_usable()
        if self._is_subscriber:
            raise Unavailable(f"the connection to {self.address} carries only messages")
        if len(self._calls) >= CALLS_MAX:
            raise Unavailable(f"{self.address} owes {CALLS_MAX} answers; it is not asked for more")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        # Appended and written in one step, so that the order is the same for both.
        self._calls.append(answer)
        self._writer.write(encode_command(*args))
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError as error:
            what = to_text(args[0]) if isinstance(args[0], bytes) else args[0]
            raise Unavailable(
                f"{self.address} does not answer {what} within {timeout_s:g} s"
            ) from error

    async def transaction(
        self, commands: Sequence[Sequence[str]], *, timeout_s: float = TIMEOUT_S
    ) -> list[Reply]:
        """Send commands in one piece and return their replies, within `timeout_s` altogether."""
        self._check_usable()
        return list(
            await asyncio.gather(*(self.call(*each, timeout_s=timeout_s) for each in commands))
        )

    async def subscribe(
        self,
        channels: Sequence[str] = (),
        patterns: Sequence[str] = (),
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> AsyncIterator[Message]:
        """Subscribe, wait until all is confirmed, and return the messages from then on.

        The iterator raises Unavailable when the connection is lost; it never ends by itself.
        Raises the same when the subscription is not confirmed within `timeout_s` seconds.
        """
        self._check_usable()
        self._is_subscriber = True
        self._confirmations = len(channels) + len(patterns)
        if channels:
            self._writer.write(encode_command("SUBSCRIBE", *channels))
        if patterns:
            self._writer.write(encode_command("PSUBSCRIBE", *patterns))
        try:
            async with asyncio.timeout(timeout_s):
                await self._confirmed.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"{self.address} does not confirm a subscription within {timeout_s:g} s"
            ) from error
        self._check_usable()
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Message]:
        while True:
            message = await self._messages.get()
            if message is None:
                self._check_usable()
                raise Unavailable(f"the connection to {self.address} is closed")
            yield message

    async def close(self) -> None:
        """End the connection at once; calls in flight raise Unavailable. Harmless when repeated."""
        self._fail(Unavailable(f"the connection to {self.address} is closed"))
        self._reading.cancel()
        await asyncio.wait([self._reading])
        # Not `wait_closed`: nothing that was not sent yet is worth waiting for.
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def wait_lost(self) -> None:
        """Return when the connection is lost or closed, at once if it is."""
        await asyncio.wait([self._reading])

    @property
    def is_usable(self) -> bool:
        """Whether the connection still stands, as far as anybody noticed."""
        return self._failure is None

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(str(self._failure))

    def _fail(self, failure: Unavailable | RemoteError) -> None:
        if self._failure is not None:
            return
        self._failure = failure
        while self._calls:
            answer = self._calls.popleft()
            if not answer.done():
                answer.set_exception(type(failure)(str(failure)))
        self._confirmed.set()
        if self._messages.full():
            self._messages.get_nowait()
        self._messages.put_nowait(None)

    async def _read(self) -> None:
        parser = ReplyParser()
        try:
            while data := await self._reader.read(_READ_BYTES):
                parser.feed(data)
                while not isinstance(reply := parser.next_reply(), NeedMore):
                    await self._take(reply)
            self._fail(Unavailable(f"{self.address} closed the connection"))
        except OSError as error:
            self._fail(Unavailable(f"the connection to {self.address} broke: {_reason(error)}"))
        except RemoteError as error:
            self._fail(RemoteError(f"{self.address} speaks no RESP: {error}"))
        finally:
            self._writer.transport.abort()

    async def _take(self, reply: Reply) -> None:
        if self._is_subscriber and not self._calls:
            await self._take_message(reply)
        elif self._calls:
            answer = self._calls.popleft()
            if not answer.done():  # its caller gave up
                answer.set_result(reply)
        else:
            raise RemoteError("an answer that nobody asked for")

    async def _take_message(self, reply: Reply) -> None:
        if isinstance(reply, ErrorReply):
            raise RemoteError(f"a subscription is refused: {reply.text}")
        match reply:
            case [b"message", bytes() as channel, bytes() as payload]:
                await self._messages.put(Message(None, to_text(channel), to_text(payload)))
            case [b"pmessage", bytes() as pattern, bytes() as channel, bytes() as payload]:
                message = Message(to_text(pattern), to_text(channel), to_text(payload))
                await self._messages.put(message)
            case [kind, *_] if kind in _FREED:
                self._confirmations -= 1
                if self._confirmations <= 0:
                    self._confirmed.set()
            case _:
                raise RemoteError("a subscriber was sent something that is no message")


def _watch_line(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_TRIES)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return reason_of_tls(error)
    # Of a failed connection asyncio's own text says which call failed, but not why.
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
