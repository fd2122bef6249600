"""Turn thousands of plain TCP connections into calls of their protocols, cheaply.

The event loop spends several times what a PONG itself costs on finding out whom to call for it. So
all connections of a hub are watched by one epoll of the hub's own, and the event loop watches that
as if it were one connection: what has come for all of them is read in one call.

Rules:

1. A pass reads once from each connection that has something to say, so all have their turn, and one
   pass of the event loop is a full look at all of them (see `driver`, facts before timers).
2. What the kernel does not take is kept, and `unsent` tells how much; whoever writes judges.
3. A connection ends once: by `close`, which tells nobody, or by trouble, which tells
   `connection_lost`, never from inside of a call of `write`.
4. Without a connection there is no epoll and nothing is watched, so nothing has to be closed.

Where the system has no epoll (`is_supported`), and where connections are encrypted, asyncio's own
transports do the same work.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Final

RECEIVE_BYTES: Final = 65_536
"""Of one connection in one pass: twelve INFOs. More than 128 KB would be mapped anew each time."""

is_supported: Final = hasattr(select, "epoll")

_READ: Final = 0x001  # EPOLLIN and EPOLLOUT of Linux, where `select` may lack the names.
_WRITE: Final = 0x004


class Stream:
    """One connection: what a protocol needs of an asyncio transport."""

    __slots__ = ("_fd", "_hub", "_send", "_unsent", "protocol", "receive", "socket")

    def __init__(
        self, hub: "StreamHub", connection: socket.socket, protocol: asyncio.Protocol
    ) -> None:
        self.socket: Final = connection
        self.protocol: Final = protocol
        self.receive: Final[Callable[[int], bytes]] = connection.recv
        self._send: Final[Callable[[bytes | bytearray], int]] = connection.send
        self._hub: StreamHub | None = hub
        self._fd = connection.fileno()
        self._unsent = bytearray()

    def write(self, data: bytes) -> None:
        """Send, or keep what the other side does not take yet."""
        hub = self._hub
        if hub is None:
            return
        sent = 0
        if not self._unsent:
            try:
                sent = self._send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                self.close()
                hub.tell_lost(self, error)
                return
            if sent == len(data):
                return
            hub.watch(self._fd, _READ | _WRITE)
        self._unsent += data[sent:]

    def flush(self) -> None:
        """Send more of what was kept (by the hub)."""
        hub = self._hub
        if hub is None:
            return
        try:
            del self._unsent[: self._send(self._unsent)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close()
            hub.tell_lost(self, error)
            return
        if not self._unsent:
            hub.watch(self._fd, _READ)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the kernel has not taken yet."""
        return len(self._unsent)

    def get_extra_info(self, name: str) -> object:
        """Return what asyncio's transports tell under this name, as far as plain ones know it."""
        try:
            match name:
                case "socket":
                    return self.socket
                case "sockname":
                    return self.socket.getsockname()
                case _:
                    return None
        except OSError:
            return None  # It has broken already; the next read says so.

    def close(self) -> None:
        """End it; what the kernel has not taken is lost. Tells nobody."""
        hub, self._hub = self._hub, None
        if hub is not None:
            self._unsent.clear()
            hub.forget(self._fd)
            self.socket.close()

    abort = close

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._hub is None


class StreamHub:
    """All plain connections of one owner, in the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll: select.epoll | None = None
        self._streams: dict[int, Stream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    async def connect(
        self, protocol: asyncio.Protocol, host: str, port: int, source: str = ""
    ) -> Stream:
        """Connect to an IP, from the local address `source` if given; then the protocol is called.

        Raises OSError when it cannot.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            if source:
                connection.bind((source, 0))
            await self._loop.sock_connect(connection, (host, port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._add(connection, protocol)
        except BaseException:
            connection.close()
            raise

    def watch(self, fd: int, events: int) -> None:
        """Watch a connection for other events."""
        if self._poll is not None:
            self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch a connection no more, which is still open. The last one ends the watch."""
        del self._streams[fd]
        if self._poll is None:
            return
        self._poll.unregister(fd)
        if not self._streams:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            self._poll = None

    def tell_lost(self, stream: Stream, error: OSError) -> None:
        """Tell a protocol, in a turn of its own, that its connection has broken."""
        self._loop.call_soon(stream.protocol.connection_lost, error)

    def _add(self, connection: socket.socket, protocol: asyncio.Protocol) -> Stream:
        poll = self._poll
        if poll is None:
            poll = self._poll = select.epoll()
            self._loop.add_reader(poll.fileno(), self._on_ready)
        stream = Stream(self, connection, protocol)
        fd = connection.fileno()
        poll.register(fd, _READ)
        self._streams[fd] = stream
        return stream

    def _on_ready(self) -> None:
        if self._poll is None:
            return
        streams = self._streams
        # A connection may be closed, and its number be given to a new one, by what an earlier one
        # said: reading from that finds nothing.
        for fd, events in self._poll.poll(0, len(streams)):
            stream = streams.get(fd)
            if stream is None:
                continue
            if events & _WRITE:
                stream.flush()
                if events == _WRITE:
                    continue
            try:
                data = stream.receive(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                stream.close()
                stream.protocol.connection_lost(error)
                continue
            try:
                if data:
                    stream.protocol.data_received(data)
                else:
                    _end(stream)
            except Exception as error:  # noqa: BLE001 - a fault in one protocol ends that one alone
                self._fail(stream, error)

    def _fail(self, stream: Stream, error: Exception) -> None:
        """Tell of a fault as the event loop does, and end the connection."""
        self._loop.call_exception_handler(
            {
                "message": "Fatal error: protocol.data_received() call failed.",
                "exception": error,
                "protocol": stream.protocol,
            }
        )
        if not stream.is_closed:
            stream.close()
            stream.protocol.connection_lost(error)


def _end(stream: Stream) -> None:
    """Tell that the other side has said all that it will."""
    stream.protocol.eof_received()
    if not stream.is_closed:
        stream.close()
        stream.protocol.connection_lost(None)
