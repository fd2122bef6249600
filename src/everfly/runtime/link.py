"""Turn link effects into connections and commands, and what comes back into inputs of the core.

Rules: exactly one input for each command sent, or `LinkLost`; AUTH, CLIENT SETNAME and SUBSCRIBE
are our own business; commands go out under the names that the group's instances give them; no
secret reaches a log. Own hellos are recognised by our id, and an INFO or a hello with the same
bytes as the one before is not parsed again.
Source: `sentinelReconnectInstance`, `sentinelSendPeriodicCommands`, redis/src/sentinel.c (7.0.15).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from everfly.core.effects import Ask, Connect, Purpose, Reconfigure, TakeOver
from everfly.core.inputs import (
    ChannelHeard,
    Connected,
    HelloHeard,
    HelloSent,
    HostResolved,
    Input,
    LinkLost,
    Reconfigured,
)
from everfly.core.model import Address, Engine, Hello, LinkId, Millis, RunId
from everfly.engines.dialect import (
    follow_commands,
    pause_command,
    promote_commands,
    resume_command,
    take_over_command,
)
from everfly.errors import EverflyError, RemoteError, Unavailable
from everfly.runtime.hostnames import Hostnames, has_names
from everfly.runtime.link_connection import TLS_FAILED, Handler, Link, reason_of
from everfly.runtime.link_hellos import Hellos, remember
from everfly.runtime.link_replies import InfoMemory, ReplyReader, Transaction
from everfly.runtime.link_settings import LinkSettings
from everfly.runtime.resolver import Resolver, is_literal
from everfly.runtime.stream_hub import StreamHub, is_supported
from everfly.wire.hello import CHANNEL, read_hello
from everfly.wire.resp import ErrorReply, Reply, encode_command

log = logging.getLogger(__name__)

CONNECT_LIMIT_S: Final = 1.5
"""For names, TCP and TLS together. The kernel repeats a lost SYN after 1 s; an attempt that hangs
longer is better begun anew, because the kernel's next repetitions come ever later."""

MALFORMED_LOG_S: Final = 60.0
"""Between two complaints about hellos of the same sender."""

_PING: Final = encode_command("PING")
_INFO: Final = encode_command("INFO")


@dataclass(frozen=True, slots=True)
class Shell:
    """Whom a pool works with: where facts go, who owns its tasks, names and what people set."""

    submit: Callable[[Input], None]
    tasks: asyncio.TaskGroup
    resolver: Resolver
    settings: LinkSettings


class LinkPool:
    """All links of one Sentinel. `me` is its id."""

    def __init__(self, me: RunId, shell: Shell) -> None:
        self._loop = asyncio.get_running_loop()
        self._submit = shell.submit
        self._tasks = shell.tasks
        self._resolver = shell.resolver
        self._settings = shell.settings
        self._me = str(me).encode()
        self._names = Hostnames(
            shell.resolver, shell.tasks, lambda: shell.settings.resolves_hostnames
        )
        self.infos = InfoMemory(self._loop.time)
        self._replies = ReplyReader(shell.submit, self._names, self.infos)
        self.pings = self._replies.pings
        self._hub = StreamHub()
        self._links: dict[LinkId, Link] = {}
        self._unsent: list[Link] = []
        self._hellos = Hellos(shell.settings)
        self._complaints: dict[tuple[str, str], str] = {}
        self._malformed_logged: dict[Address, float] = {}
        self.malformed_hellos = 0

    @property
    def names(self) -> Hostnames:
        """Who resolves hosts; also for hellos that peers publish to us directly."""
        return self._names

    def __len__(self) -> int:
        return len(self._links)

    def local_host(self, link: LinkId) -> str:
        """Return our own address on a link that is up; empty otherwise."""
        found = self._links.get(link)
        return found.local_host if found is not None and found.is_up else ""

    def connect(self, effect: Connect) -> None:
        """Open a link; `Connected` or `LinkLost` follows."""
        link = Link(effect, self)
        self._links[effect.link] = link
        link.task = self._tasks.create_task(self._open(link), name=f"connect {effect.to}")

    def disconnect(self, link: LinkId) -> None:
        """Close a link; nothing follows."""
        found = self._links.pop(link, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """Close all links."""
        for link in tuple(self._links):
            self.disconnect(link)

    def ping(self, link: LinkId) -> None:
        """Send PING; `Ponged` follows."""
        found = self._links.get(link)
        if found is not None and found.is_up:
            name = self._settings.command_name(found.effect.group, "PING")
            command = _PING if name == "PING" else encode_command(name)
            found.send(command, self._replies.pong_handler())

    def ask_info(self, link: LinkId) -> None:
        """Send INFO; `InfoReceived` or `CommandRefused` follows."""
        found = self._links.get(link)
        if found is not None and found.is_up:
            name = self._settings.command_name(found.effect.group, "INFO")
            command = _INFO if name == "INFO" else encode_command(name)
            found.send(command, self._replies.on_info)

    def publish(self, link: LinkId, hello: Hello) -> None:
        """Send a hello; `HelloSent` follows."""
        found = self._links.get(link)
        if found is None or not found.is_up:
            return
        try:
            name = self._settings.command_name(found.effect.group, "PUBLISH")
            command = self._hellos.command(hello, name)
        except EverflyError as error:
            self._complain((str(hello.group), "hello"), str(error))
            self._submit(HelloSent(link))
            return
        found.send(command, self._replies.on_published)

    def kill_script(self, link: LinkId) -> None:
        """Send SCRIPT KILL; `ScriptKilled` follows."""
        found = self._links.get(link)
        if found is not None and found.is_up:
            self._send(found, self._replies.on_script_killed, "SCRIPT", "KILL")

    def ask(self, effect: Ask) -> None:
        """Ask a peer about a primary; `AskReplied` or `CommandRefused` follows."""
        found = self._links.get(effect.link)
        if found is None or not found.is_up:
            return
        self._send(
            found,
            partial(self._replies.on_asked, effect),
            "SENTINEL",
            "is-master-down-by-addr",
            self._hellos.shown(effect.primary),
            effect.primary.port,
            effect.epoch,
            effect.candidate or "*",
        )

    def reconfigure(self, effect: Reconfigure) -> None:
        """Change the role of an instance; `Reconfigured` follows."""
        found = self._links.get(effect.link)
        if found is None or not found.is_up:
            return
        engine = self.infos.engine_of(found.effect.to)
        if effect.follow is None:
            commands = promote_commands(engine)
        else:
            commands = follow_commands(
                engine, self._hellos.shown(effect.follow), effect.follow.port
            )
        if engine is Engine.UNKNOWN:
            log.debug("%s has sent no INFO yet: spoken to as to a Redis", effect.instance)

        def done(error: str | None) -> None:
            self._submit(Reconfigured(effect.link, error))

        transaction = Transaction(len(commands), str(effect.instance), done)
        for command in commands:
            self._send(found, transaction.on_reply, *command)

    def take_over(self, effect: TakeOver) -> None:
        """Have a replica take over; `TakeOverAnswered` follows."""
        found = self._links.get(effect.link)
        if found is not None and found.is_up:
            self._send(found, self._replies.on_taken_over, *take_over_command(effect.limit))

    def pause_writes(self, link: LinkId, limit: Millis) -> None:
        """Have a primary hold its clients' writes; `PauseAnswered` follows."""
        found = self._links.get(link)
        if found is not None and found.is_up:
            answered = partial(self._replies.on_paused, True)
            self._send(found, answered, *pause_command(limit))

    def resume_writes(self, link: LinkId) -> None:
        """Let a primary's clients write again; `PauseAnswered` follows."""
        found = self._links.get(link)
        if found is not None and found.is_up:
            answered = partial(self._replies.on_paused, False)
            self._send(found, answered, *resume_command())

    def end_turn(self) -> None:
        """Write what was gathered since the last call."""
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            for link in unsent:
                link.flush()

    def on_up(self, link: Link) -> None:
        """Introduce ourselves on a fresh connection, and tell the core."""
        effect = link.effect
        user, password = self._settings.credentials(effect.group)
        if password:
            words = (user, password) if user else (password,)
            self._send(link, self._on_auth, "AUTH", *words)
        name = f"sentinel-{self._me[:8].decode()}-{effect.purpose.value}"
        self._send(link, self._on_named, "CLIENT", "SETNAME", name)
        if effect.purpose is Purpose.CHANNEL:
            self._send(link, self._on_subscribed, "SUBSCRIBE", CHANNEL)
        link.flush()
        self._submit(Connected(link.id, link.local_host))

    def on_end(self, link: Link, reason: str, *, is_refusal: bool) -> None:
        """Forget a link that ended by itself, and tell the core."""
        self._links.pop(link.id, None)
        if reason.startswith(TLS_FAILED):
            text = f"{reason}; check the tls- settings of both sides"
            self._complain((str(link.effect.to), "tls"), f"Link to {link.effect.to}: {text}")
        self._submit(LinkLost(link.id, reason, is_refusal))

    def on_message(self, link: Link, payload: bytes) -> None:
        """Turn a message on the hello channel into a fact."""
        if self._me in payload:
            self._tell_again(link, payload, ChannelHeard(link.id))
            return
        try:
            hello = read_hello(payload)
        except RemoteError as error:
            self._on_malformed(link, error)
            return
        if has_names(hello.sender, hello.primary):
            self._names.resolve_hello(hello, partial(self._on_resolved, link))
            return
        self._tell_again(link, payload, HelloHeard(link.id, hello))

    def _tell_again(self, link: Link, payload: bytes, fact: Input) -> None:
        """Tell a fact, now and whenever these bytes come again."""
        link.remember(payload, fact)
        self._submit(fact)

    def on_repeated(self, fact: Input) -> None:
        """Tell what a message means that came before."""
        self._submit(fact)

    def on_unsent(self, link: Link) -> None:
        """Note that a link has something to write at the end of the turn."""
        self._unsent.append(link)

    async def _open(self, link: Link) -> None:
        address = link.effect.to
        source = self._settings.source_host
        failure, is_refusal = "", False
        tls = self._settings.tls(link.effect.group)
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                ip = await self._current_ip(address)
                if tls is None and is_supported:
                    link.take(await self._hub.connect(link, ip, address.port, source))
                else:
                    await self._loop.create_connection(
                        lambda: link,
                        ip,
                        address.port,
                        ssl=tls,
                        # An address says nothing in a handshake: the certificate's name is free.
                        server_hostname=None if tls is None else "",
                        ssl_shutdown_timeout=None if tls is None else CONNECT_LIMIT_S,
                        local_addr=(source, 0) if source else None,
                    )
        except TimeoutError:
            failure = "Connection timed out"
        except Unavailable as error:
            failure = str(error)
        except OSError as error:
            failure = reason_of(error)
            is_refusal = isinstance(error, ConnectionRefusedError | ConnectionResetError)
        finally:
            link.task = None
        if failure:
            link.end(failure, is_refusal=is_refusal)

    async def _current_ip(self, address: Address) -> str:
        """Return where to connect: a name may have moved since the core was told its IP."""
        if not self._settings.resolves_hostnames and address.ip:
            return address.ip
        try:
            ip = await self._resolver.resolve(address.host)
        except Unavailable:
            if address.ip:
                return address.ip
            raise
        if ip != address.ip and not is_literal(address.host):
            # The core compares places by IP.
            self._submit(HostResolved(address.host, ip))
        return ip

    def _send(self, link: Link, handler: Handler, *words: str | bytes | int) -> None:
        name = self._settings.command_name(link.effect.group, str(words[0]))
        link.send(encode_command(name, *words[1:]), handler)

    def _on_resolved(self, link: Link, hello: Hello | None) -> None:
        self._submit(ChannelHeard(link.id) if hello is None else HelloHeard(link.id, hello))

    def _on_malformed(self, link: Link, error: RemoteError) -> None:
        self._submit(ChannelHeard(link.id))
        self.malformed_hellos += 1
        now, sender = self._loop.time(), link.effect.to
        if now - self._malformed_logged.get(sender, -MALFORMED_LOG_S) >= MALFORMED_LOG_S:
            remember(self._malformed_logged, sender, now)
            log.warning("A message on the hello channel of %s is ignored: %s", sender, error)

    def _on_auth(self, link: Link, reply: Reply) -> None:
        key = (str(link.effect.group or ""), "auth")
        if not isinstance(reply, ErrorReply):
            self._complaints.pop(key, None)
        elif link.effect.group is None:
            text = f"Sentinel {link.effect.to} refuses our credentials: {reply.text}"
            self._complain(key, f"{text}; check sentinel-user and sentinel-pass")
        else:
            text = f"{link.effect.to} of {link.effect.group} refuses our credentials: {reply.text}"
            self._complain(key, f"{text}; check auth-user and auth-pass of this group")

    def _on_named(self, link: Link, _reply: Reply) -> None:
        # Not before: with TLS 1.3 a certificate is refused after the connection seems to be up.
        self._complaints.pop((str(link.effect.to), "tls"), None)

    def _on_subscribed(self, link: Link, reply: Reply) -> None:
        if isinstance(reply, ErrorReply):
            text = f"{link.effect.to} refuses the hello channel: {reply.text}"
            self._complain((str(link.effect.group or ""), "subscribe"), text)
            link.end(reply.text, is_refusal=False)
        else:
            self._submit(ChannelHeard(link.id))

    def _complain(self, key: tuple[str, str], text: str) -> None:
        """Log what stays wrong until somebody mends it, once."""
        if self._complaints.get(key) != text:
            remember(self._complaints, key, text)
            log.warning("%s", text)
