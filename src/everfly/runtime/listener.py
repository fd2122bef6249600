"""Turn a port into a RESP service for any table of commands.

    listener = Listener(limits, make_commands)
    await listener.start(["127.0.0.1"], 26379)
    ...
    await listener.stop()

It owns the clients: takes them in up to a limit, closes those that idle or hoard, and ends all at
the end. What commands mean is the business of `Commands`, which are made with the listener at
hand. Everything runs in one event loop.
Source: redis/src/networking.c, redis/src/server.c (7.0.15).
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.runtime.listening_sockets import close_unix, open_tcp, open_unix
from everfly.runtime.tls import Tls
from everfly.runtime.tls_door import TlsDoor
from everfly.wire.resp import ErrorReply

log = logging.getLogger(__name__)

HTTP_LOG_EVERY_S: Final = 60.0
"""Source: `securityWarningCommand`, redis/src/networking.c (7.0.15)."""
TICK_S: Final = 1.0
"""Between two looks for clients that idle or hoard."""
CLOSE_WITHIN_S: Final = 0.5
"""How long the last answers may take to leave when all ends."""


@dataclass(slots=True)
class OutputLimit:
    """What a client may leave unread: never more than `hard`, nor `soft` for `soft_s` seconds."""

    hard: int
    soft: int
    soft_s: float


@dataclass(slots=True)
class Limits:
    """What clients may take. Changes hold from then on."""

    maxclients: int = 10_000
    timeout_s: int = 0
    """0: idle clients are never closed."""
    tcp_keepalive_s: int = 300
    """0: no probes."""
    tcp_backlog: int = 511
    is_protected: bool = False
    """Nobody comes in but from this machine (`protected-mode`, while there is no password)."""
    input_bytes: int = 64 * 1024 * 1024
    """Of one client, for commands that are not complete. Redis allows 1 GB, for values; the largest
    thing that anybody has to tell a Sentinel is a hello."""
    normal_output: OutputLimit = field(
        default_factory=lambda: OutputLimit(256 * 1024 * 1024, 256 * 1024 * 1024, 60.0)
    )
    """Redis has none for normal clients; this one stops a client that never reads before it takes
    the machine down."""
    pubsub_output: OutputLimit = field(
        default_factory=lambda: OutputLimit(32 * 1024 * 1024, 8 * 1024 * 1024, 60.0)
    )
    """Default of `client-output-buffer-limit pubsub`. Source: redis/src/config.c (7.0.15)."""


@dataclass(slots=True)
class Traffic:
    """What went through, since the start."""

    connections: int = 0
    rejected: int = 0
    commands: int = 0
    errors: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    reads: int = 0
    writes: int = 0
    input_limit_closings: int = 0
    output_limit_closings: int = 0
    """These two: clients that were closed for what they held."""
    commands_per_s: float = 0.0
    """These three: during the last whole tick."""
    input_per_s: float = 0.0
    output_per_s: float = 0.0


class Commands(Protocol):
    """What a listener serves."""

    def execute(self, client: ClientConnection, command: list[bytes]) -> Outcome:
        """Carry out one command, never empty. Called in the order in which they came."""
        ...

    def joined(self, client: ClientConnection) -> None:
        """Prepare a new client, before its first command."""
        ...

    def left(self, client: ClientConnection) -> None:
        """Forget a client that is gone."""
        ...


class Listener:
    """All clients of one service."""

    def __init__(self, limits: Limits, make_commands: "Callable[[Listener], Commands]") -> None:
        self.limits: Final = limits
        self.traffic: Final = Traffic()
        self.clients: Final[dict[int, ClientConnection]] = {}
        """By id, in the order of their coming."""
        self.port = 0
        """Where it listens first, once started; the one chosen by the system for port 0."""
        self._commands = make_commands(self)
        self._servers: list[asyncio.Server] = []
        self._doors: list[TlsDoor] = []
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._last_id = 0
        self._tick: asyncio.TimerHandle | None = None
        self._http_logged_at = -HTTP_LOG_EVERY_S
        self._last_counts = (0, 0, 0)
        self._socket_path: Path | None = None
        self._when_gone: asyncio.Future[None] | None = None

    async def start(self, binds: Sequence[str], port: int) -> None:
        """Listen on each address, as `listening_sockets.open_tcp` reads them.

        Raises SettingsError when an address cannot be had.
        """
        loop = asyncio.get_running_loop()
        sockets = self._open(binds, port)
        for raw in sockets:
            server = await loop.create_server(
                self._accept, sock=raw, backlog=self.limits.tcp_backlog
            )
            self._servers.append(server)

    def start_tls(self, binds: Sequence[str], port: int, tls: Tls) -> int:
        """Listen on each address for those who encrypt; return the port.

        Raises SettingsError when an address cannot be had.
        """
        sockets = self._open(binds, port)
        self._doors += [TlsDoor(raw, tls, self._accept) for raw in sockets]
        return int(sockets[0].getsockname()[1])

    async def start_unix(self, path: Path, mode: int | None = None) -> None:
        """Listen on a socket in the file system, in place of a stale one; `mode` as in chmod.

        Raises SettingsError when that cannot be done.
        """
        raw = open_unix(path, mode, self.limits.tcp_backlog)
        self._socket_path = path
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._accept, sock=raw))
        self._keep_ticking()

    async def stop(self) -> None:
        """Close all clients, after what was already answered, and free the port."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for server in self._servers:
            server.close()
        for door in self._doors:
            await door.close()
        self._doors.clear()
        if self._socket_path is not None:
            close_unix(self._socket_path)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in list(self.clients.values()):
            client.close_after_replies()
            client.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._wait_until_empty()
        for client in list(self.clients.values()):
            client.abort()
        # A transport closes its socket in a later turn; the port is free only then.
        await self._wait_until_empty()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def _wait_until_empty(self) -> None:
        while self.clients:
            self._when_gone = asyncio.get_running_loop().create_future()
            await self._when_gone

    # What connections ask (`client_connection.Home`).

    def opened(self, client: ClientConnection) -> ErrorReply | None:
        """Take in a new client, or return why not."""
        if len(self.clients) >= self.limits.maxclients:
            self.traffic.rejected += 1
            return _TOO_MANY
        if self.limits.is_protected and not client.is_local:
            self.traffic.rejected += 1
            return _PROTECTED
        self.traffic.connections += 1
        self.clients[client.id] = client
        client.probe_every(self.limits.tcp_keepalive_s)
        self._commands.joined(client)
        return None

    def closed(self, client: ClientConnection) -> None:
        """Forget a client."""
        if self.clients.pop(client.id, None) is None:
            return
        self._commands.left(client)
        if self._when_gone is not None and not self._when_gone.done():
            self._when_gone.set_result(None)

    def execute(self, client: ClientConnection, command: list[bytes]) -> Outcome:
        """Carry out a command; a fault of ours ends as an error of this client alone."""
        client.active_at = asyncio.get_running_loop().time()
        try:
            outcome = self._commands.execute(client, command)
        except Exception:
            log.exception("BUG: the command %r of client %s failed", command[0][:64], client.addr)
            outcome = _OUR_FAULT
        if isinstance(outcome, ErrorReply):
            self.traffic.errors += 1
        return outcome

    def own(self, client: ClientConnection, later: Later) -> asyncio.Task[Answer]:
        """Start a task that is ended with the listener."""
        task = asyncio.get_running_loop().create_task(self._work(client, later))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def received(self, size: int) -> None:
        """Count bytes that a client sent."""
        self.traffic.input_bytes += size
        self.traffic.reads += 1

    def sent(self, size: int) -> None:
        """Count bytes that went to a client."""
        self.traffic.output_bytes += size
        self.traffic.writes += 1

    def hold_is_too_large(self, client: ClientConnection) -> bool:
        """Tell whether a client keeps too much unfinished input or unread output; logs it."""
        if client.held_input > self.limits.input_bytes:
            self.traffic.input_limit_closings += 1
            log.warning(
                "Closing client %s that reached max query buffer length: %d bytes of a command "
                "that is not complete",
                client.addr,
                client.held_input,
            )
            return True
        held = client.held_output
        limit = self._output_limit(client)
        if held <= limit.soft:
            client.over_soft_limit_since = None
            return False
        now = asyncio.get_running_loop().time()
        if client.over_soft_limit_since is None:
            client.over_soft_limit_since = now
        if held <= limit.hard and now - client.over_soft_limit_since <= limit.soft_s:
            return False
        self.traffic.output_limit_closings += 1
        log.warning(
            "Client %s scheduled to be closed ASAP for overcoming of output buffer limits: it left "
            "%d bytes unread",
            client.addr,
            held,
        )
        return True

    def was_http(self, client: ClientConnection) -> None:
        """Warn, once a minute."""
        now = asyncio.get_running_loop().time()
        if now - self._http_logged_at < HTTP_LOG_EVERY_S:
            return
        self._http_logged_at = now
        log.warning(
            "Possible SECURITY ATTACK detected. It looks like somebody at %s is sending POST or "
            "Host: commands. A web page may be trying to reach this port through a browser. "
            "Connection aborted.",
            client.addr,
        )

    # The rest.

    def _accept(self) -> ClientConnection:
        self._last_id += 1
        return ClientConnection(self, self._last_id, asyncio.get_running_loop().time())

    async def _work(self, client: ClientConnection, later: Later) -> Answer:
        try:
            answer = await later.work
        except Exception:
            log.exception("BUG: a command of client %s failed", client.addr)
            answer = _OUR_FAULT
        if isinstance(answer, ErrorReply):
            self.traffic.errors += 1
        return answer

    def _open(self, binds: Sequence[str], port: int) -> list[socket.socket]:
        sockets = open_tcp(binds, port, self.limits.tcp_backlog)
        self.port = self.port or sockets[0].getsockname()[1]
        self._keep_ticking()
        return sockets

    def _output_limit(self, client: ClientConnection) -> OutputLimit:
        limits = self.limits
        return limits.pubsub_output if client.kind == "pubsub" else limits.normal_output

    def _keep_ticking(self) -> None:
        if self._tick is None:
            self._schedule_tick()

    def _schedule_tick(self) -> None:
        self._tick = asyncio.get_running_loop().call_later(TICK_S, self._on_tick)

    def _on_tick(self) -> None:
        self._schedule_tick()
        traffic = self.traffic
        counts = (traffic.commands, traffic.input_bytes, traffic.output_bytes)
        traffic.commands_per_s, traffic.input_per_s, traffic.output_per_s = (
            (new - old) / TICK_S for new, old in zip(counts, self._last_counts, strict=True)
        )
        self._last_counts = counts
        now = asyncio.get_running_loop().time()
        for client in list(self.clients.values()):
            idle = now - client.active_at
            is_idle = 0 < self.limits.timeout_s < idle and client.kind == "normal"
            if is_idle or (client.held_output and self.hold_is_too_large(client)):
                client.abort()


_OUR_FAULT: Final = ErrorReply("ERR internal error, the log of this Sentinel has the details")
_TOO_MANY: Final = ErrorReply("ERR max number of clients reached")
_PROTECTED: Final = ErrorReply(
    "DENIED Redis is running in protected mode because protected mode is enabled and no password "
    "is set for the default user. In this mode connections are only accepted from the loopback "
    "interface. If you want to connect from external computers, set `protected-mode no` or "
    "`requirepass` in the configuration file of this Sentinel and restart it."
)
"""Source: `clientAcceptHandler`, redis/src/networking.c (7.0.15); its advice is for a Sentinel."""
