"""Turn replies to the commands of a Sentinel into inputs of the core, one for each command.

A reply of a shape that its command cannot have is `CommandRefused`, as an error is: an instance may
say anything at any time, and none of it raises.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from everfly.core.effects import Ask
from everfly.core.inputs import (
    AskReplied,
    CommandRefused,
    InfoReceived,
    Input,
    PauseAnswered,
    Ponged,
    ScriptKilled,
    TakeOverAnswered,
)
from everfly.core.model import Address, Engine, Epoch, GroupName, InstanceReport, RunId
from everfly.engines.dialect import report
from everfly.runtime.hostnames import Hostnames
from everfly.runtime.link_connection import PONG, Link, shown
from everfly.wire.info import parse_info, sections
from everfly.wire.resp import ErrorReply, Reply, to_text

log = logging.getLogger(__name__)

INFOS_MAX: Final = 4_096
"""Instances whose last INFO is kept (5 KB each); more are parsed each time."""


@dataclass(frozen=True, slots=True)
class KnownInfo:
    """The last INFO of an instance."""

    text: bytes
    report: InstanceReport
    """Its hosts are as given, without IPs."""
    at: float
    """When it came, in seconds of the loop's clock."""


class InfoMemory:
    """The last INFO of each instance, the most recent ones. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[Address, KnownInfo] = {}

    def read(self, address: Address, text: bytes) -> InstanceReport:
        """Return what INFO says, and keep it."""
        known = self._known.pop(address, None)
        said = (
            known.report
            if known and known.text == text
            else report(parse_info(sections(text, "Server", "Replication", "Keyspace")))
        )
        self._known[address] = KnownInfo(text, said, self._clock())
        if len(self._known) > INFOS_MAX:
            del self._known[next(iter(self._known))]
        return said

    def engine_of(self, address: Address) -> Engine:
        """Return what answered at this address last."""
        known = self._known.get(address)
        return Engine.UNKNOWN if known is None else known.report.engine

    def last(self, address: Address) -> tuple[int, bytes] | None:
        """Return the age (ms) and text of the last INFO, or None when there was none."""
        known = self._known.get(address)
        if known is None:
            return None
        return int((self._clock() - known.at) * 1000), known.text


class PingTimes:
    """Who wants to know how long PINGs take."""

    def __init__(self) -> None:
        self.on_ping: Callable[[GroupName | None, float], None] | None = None
        """Told of each that was answered: the group (None: of a peer) and the seconds it took."""


class ReplyReader:
    """The handlers of replies; each takes the link and the reply to one command."""

    def __init__(
        self, submit: Callable[[Input], None], names: Hostnames, infos: InfoMemory
    ) -> None:
        self._submit = submit
        self._names = names
        self._infos = infos
        self.pings = PingTimes()

    def pong_handler(self) -> Callable[[Link, Reply], None]:
        """Return who takes the reply to a PING that is sent now."""
        if self.pings.on_ping is None:
            return self.on_pong
        return partial(self._on_timed_pong, time.monotonic())

    def _on_timed_pong(self, sent_at: float, link: Link, reply: Reply) -> None:
        if self.pings.on_ping is not None:
            self.pings.on_ping(link.effect.group, time.monotonic() - sent_at)
        self.on_pong(link, reply)

    def on_pong(self, link: Link, reply: Reply) -> None:
        """PING."""
        if reply == PONG:
            self._submit(link.ponged)
        elif isinstance(reply, ErrorReply):
            self._submit(Ponged(link.id, reply.text))
        else:
            self._submit(Ponged(link.id, shown(reply)))

    def on_info(self, link: Link, reply: Reply) -> None:
        """INFO."""
        if not isinstance(reply, bytes):
            self._refuse(link, reply)
            return
        said = self._infos.read(link.effect.to, reply)
        self._names.resolve_report(said, lambda told: self._submit(InfoReceived(link.id, told)))

    def on_published(self, link: Link, _reply: Reply) -> None:
        """PUBLISH, whatever came of it."""
        self._submit(link.published)

    def on_taken_over(self, link: Link, reply: Reply) -> None:
        """REPLTAKEOVER."""
        error = reply.text if isinstance(reply, ErrorReply) else None
        self._submit(TakeOverAnswered(link.id, error))

    def on_paused(self, is_paused: bool, link: Link, reply: Reply) -> None:
        """CLIENT PAUSE or UNPAUSE."""
        error = reply.text if isinstance(reply, ErrorReply) else None
        self._submit(PauseAnswered(link.id, is_paused, error))

    def on_script_killed(self, link: Link, _reply: Reply) -> None:
        """SCRIPT KILL, whatever came of it."""
        self._submit(ScriptKilled(link.id))

    def on_asked(self, ask: Ask, link: Link, reply: Reply) -> None:
        """SENTINEL is-master-down-by-addr."""
        match reply:
            case [int(down), bytes(leader), int(epoch)] if epoch >= 0:
                voted = None if leader == b"*" else RunId(to_text(leader))
                answer = (down == 1, voted, Epoch(epoch))
                self._submit(AskReplied(link.id, ask.group, *answer, primary=ask.primary))
            case _:
                self._refuse(link, reply)

    def _refuse(self, link: Link, reply: Reply) -> None:
        reason = reply.text if isinstance(reply, ErrorReply) else f"unexpected: {shown(reply)}"
        self._submit(CommandRefused(link.id, reason))


class Transaction:
    """Gathers the replies from MULTI to EXEC of `size` commands; `done` gets the error, or None."""

    __slots__ = ("_done", "_failure", "_missing", "_whose")

    def __init__(self, size: int, whose: str, done: Callable[[str | None], None]) -> None:
        self._missing = size
        self._whose = whose
        self._done = done
        self._failure: str | None = None

    def on_reply(self, _link: Link, reply: Reply) -> None:
        """Take the next reply."""
        self._missing -= 1
        if self._missing:
            # Of a command that is refused already here the reason is told, not that EXEC failed.
            if isinstance(reply, ErrorReply) and self._failure is None:
                self._failure = reply.text
            return
        self._done(self._outcome(reply))

    def _outcome(self, reply: Reply) -> str | None:
        if isinstance(reply, ErrorReply):
            return self._failure or reply.text
        match reply:
            case [first, *others]:
                for other in others:
                    # Normal: an instance without a configuration file cannot rewrite it.
                    if isinstance(other, ErrorReply):
                        log.debug("%s: part of its change of role failed: %s",
                                  self._whose, other.text)  # fmt: skip
                return first.text if isinstance(first, ErrorReply) else None
            case _:
                return self._failure or f"unexpected reply to EXEC: {shown(reply)}"
