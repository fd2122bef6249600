"""Turn effects into actions of the ports, in order, and hold back those that must be durable first.

Rules:

1. An effect with `after_durable` starts when every urgent `Persist` before it is on disk; all
   others start at once. Nothing waits for a `Persist` that is not urgent (see `effects.Persist`),
   and an answer that names no vote waits for none: a slow or broken disk must not keep us from
   saying that a primary is down.
2. Writes are gathered: while one is in flight all further ones become the next; one that is not
   urgent waits up to `GATHER_S` for company.
3. A failed write is tried again, later and later, at once when something new must be saved.
   Requests that waited for it raise `Unavailable`: a vote that a crash would undo is not given.
   Hellos and questions go on waiting, the oldest of them until there are too many.
4. `Reconfigure` is dropped when the epoch of a newer configuration of its group is on disk.
5. A command that is dropped is answered as if it had been sent and refused, so that the machine
   never waits for it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, assert_never

from everfly.core.effects import (
    Answer,
    Ask,
    Connect,
    Crash,
    Disconnect,
    Effect,
    Explain,
    Notify,
    PauseWrites,
    Persist,
    Reconfigure,
    ReconfigureClients,
    Result,
    ResumeWrites,
    SendHello,
    SendInfo,
    SendPing,
    SendScriptKill,
    TakeOver,
    Vote,
)
from everfly.core.inputs import CommandRefused, HelloSent, Input, Reconfigured, TakeOverAnswered
from everfly.core.model import Address, Epoch, GroupName, Hello, LinkId, Millis, Token
from everfly.core.snapshot import DurableState
from everfly.errors import Unavailable
from everfly.runtime.log import NOTICE, VERBOSE
from everfly.runtime.ports import NoticeSink, StateFile

log = logging.getLogger(__name__)

GATHER_S: Final = 1.0
"""How long a write that nobody waits for may wait for others. It saves what a restart would find
out again in a few seconds, such as the address of a replica."""

RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
"""Between two tries to write to a disk that fails: soon enough for a short trouble, rare enough for
the log."""

WAITING_MAX: Final = 5_000
"""Effects held back. Above it hellos and questions are shed: their time has passed anyway."""

HISTORY_MAX: Final = 256
"""Explanations kept; the same as `Policy.history_length_max`."""


class LinkCommands(Protocol):
    """What effects ask of links. A link that is no more ignores them; `runtime.link.LinkPool`."""

    def connect(self, effect: Connect) -> None:
        """Open a link."""
        ...

    def disconnect(self, link: LinkId) -> None:
        """Close a link."""
        ...

    def ping(self, link: LinkId) -> None:
        """Send PING."""
        ...

    def ask_info(self, link: LinkId) -> None:
        """Send INFO."""
        ...

    def publish(self, link: LinkId, hello: Hello) -> None:
        """Send a hello."""
        ...

    def kill_script(self, link: LinkId) -> None:
        """Send SCRIPT KILL."""
        ...

    def ask(self, effect: Ask) -> None:
        """Send SENTINEL is-master-down-by-addr."""
        ...

    def take_over(self, effect: TakeOver) -> None:
        """Have a replica take over."""
        ...

    def pause_writes(self, link: LinkId, limit: Millis) -> None:
        """Have a primary hold its clients' writes."""
        ...

    def resume_writes(self, link: LinkId) -> None:
        """Let a primary's clients write again."""
        ...

    def reconfigure(self, effect: Reconfigure) -> None:
        """Send the transaction that changes a role."""
        ...

    def end_turn(self) -> None:
        """Write what was gathered since the last call."""
        ...


class Requests(Protocol):
    """Who waits for answers. Implemented by `runtime.driver.Driver`."""

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now."""
        ...

    def submit(self, fact: Input) -> None:
        """Put a fact in the queue."""
        ...

    def resolve(self, token: Token, result: Result) -> None:
        """Answer a request."""
        ...

    def refuse(self, token: Token, reason: str) -> None:
        """Make a request raise Unavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where effects go, beside links."""

    state_file: StateFile
    sinks: tuple[NoticeSink, ...]
    reconfigure_clients: Callable[[ReconfigureClients], None]
    crash: Callable[[], None]
    """Ends the process at once."""
    explained: Callable[[Explain], None] = lambda _: None
    """Takes each explanation, at once, without waiting and without raising."""


class Executor:
    """Carries out effects. `run` must run for as long as anything is to become durable."""

    def __init__(self, links: LinkCommands, requests: Requests, outlets: Outlets) -> None:
        self._links = links
        self._requests = requests
        self._outlets = outlets
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[int, Effect]] = deque()
        self._urgent = 0  # Urgent Persists so far; the ticket of what follows them.
        self._durable = 0  # As many of them are on disk.
        self._failed = 0  # As many of them were part of the last write, and it failed.
        self._failure = ""
        self._is_dirty = False  # Some Persist is not part of a write yet.
        self._is_write_due = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._gathering: asyncio.TimerHandle | None = None
        self._epochs: dict[GroupName, Epoch] = {}
        self._note_epochs(requests.durable_state())
        self.history: deque[tuple[datetime, Explain]] = deque(maxlen=HISTORY_MAX)
        """What was decided and why, the newest last, with the time of day (UTC)."""
        self.writes = 0
        self.write_failures = 0
        self.shed = 0
        """Commands dropped because too many waited for the disk."""

    @property
    def waiting(self) -> int:
        """How many effects wait for the disk."""
        return len(self._waiting)

    def execute(self, effects: list[Effect]) -> None:
        """Start these, in order, without waiting."""
        for effect in effects:
            if self._urgent > self._durable and effect.after_durable and not _is_opinion(effect):
                self._hold(effect)
            else:
                self._start(effect)

    def end_turn(self) -> None:
        """Send what this turn has gathered; begin a write that it asked for."""
        self._links.end_turn()
        if self._is_write_due:
            self._wake.set()

    async def run(self) -> None:
        """Write whenever it is due, until cancelled."""
        delay_s = RETRY_MIN_S
        while True:
            await self._wake.wait()
            if await self._write():
                delay_s = RETRY_MIN_S
            elif not self._is_write_due:
                # Not `asyncio.timeout`: something new to save ends the pause at once.
                retry = self._loop.call_later(delay_s, self._write_soon)
                await self._wake.wait()
                retry.cancel()
                delay_s = min(2 * delay_s, RETRY_MAX_S)

    async def flush(self) -> bool:
        """Write what was not written yet, and tell whether all is on disk. For the orderly end."""
        if self._is_dirty or self._urgent > self._durable:
            self._write_soon()
        await self._idle.wait()
        return not self._is_dirty

    def _start(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - a case for each effect
        """Carry out one effect; the frequent ones come first."""
        links = self._links
        match effect:
            case SendPing():
                links.ping(effect.link)
            case SendHello():
                links.publish(effect.link, effect.hello)
            case SendInfo():
                links.ask_info(effect.link)
            case Ask():
                links.ask(effect)
            case Notify():
                for sink in self._outlets.sinks:
                    sink.on_notice(effect.notice)
            case Answer():
                self._requests.resolve(effect.token, effect.result)
            case Persist():
                self._persist(is_urgent=effect.is_urgent)
            case Connect():
                links.connect(effect)
            case Disconnect():
                links.disconnect(effect.link)
            case Reconfigure():
                self._reconfigure(effect)
            case TakeOver():
                self._take_over(effect)
            case PauseWrites():
                links.pause_writes(effect.link, effect.limit)
            case ResumeWrites():
                links.resume_writes(effect.link)
            case SendScriptKill():
                links.kill_script(effect.link)
            case Explain():
                self._explain(effect)
            case ReconfigureClients():
                self._outlets.reconfigure_clients(effect)
            case Crash():
                self._outlets.crash()
            case _:
                assert_never(effect)

    def _hold(self, effect: Effect) -> None:
        if isinstance(effect, Answer) and self._urgent == self._failed:
            # The disk has just refused exactly this, and nothing newer is being tried.
            self._requests.refuse(effect.token, self._failure)
            return
        if len(self._waiting) >= WAITING_MAX:
            self._shed()
        self._waiting.append((self._urgent, effect))

    def _shed(self) -> None:
        """Drop hellos and questions that wait, and answer them as refused."""
        kept: deque[tuple[int, Effect]] = deque()
        for ticket, effect in self._waiting:
            match effect:
                case SendHello():
                    self._requests.submit(HelloSent(effect.link))
                case Ask():
                    self._requests.submit(CommandRefused(effect.link, "waited too long for disk"))
                case _:
                    kept.append((ticket, effect))
        self.shed += len(self._waiting) - len(kept)
        self._waiting = kept

    def _reconfigure(self, effect: Reconfigure) -> None:
        reason = self._why_fenced(effect.group, effect.epoch, effect.instance)
        if reason is None:
            self._links.reconfigure(effect)
        else:
            self._requests.submit(Reconfigured(effect.link, reason))

    def _take_over(self, effect: TakeOver) -> None:
        reason = self._why_fenced(effect.group, effect.epoch, effect.replica)
        if reason is None:
            self._links.take_over(effect)
        else:
            self._requests.submit(TakeOverAnswered(effect.link, reason))

    def _why_fenced(self, group: GroupName, epoch: Epoch, instance: Address) -> str | None:
        newest = self._epochs.get(group, Epoch(0))
        if epoch >= newest:
            return None
        reason = f"fenced: epoch {epoch} is older than {newest}"
        log.log(NOTICE, "%s: not sent to %s, %s", group, instance, reason)
        return reason

    def _explain(self, effect: Explain) -> None:
        self.history.append((datetime.now(UTC), effect))
        self._outlets.explained(effect)
        if log.isEnabledFor(VERBOSE):
            facts = effect.facts
            fields = {"group": effect.group, "facts": facts}
            told = (effect.group, effect.decision, "; ".join(facts))
            log.log(VERBOSE, "%s: %s: %s", *told, extra=fields)

    def _persist(self, *, is_urgent: bool) -> None:
        self._is_dirty = True
        self._idle.clear()
        if is_urgent:
            self._urgent += 1
            # The write itself begins at the end of the turn, with all that the turn decided.
            self._is_write_due = True
        elif self._gathering is None and not self._is_write_due:
            self._gathering = self._loop.call_later(GATHER_S, self._write_soon)

    def _write_soon(self) -> None:
        self._is_write_due = True
        self._idle.clear()
        self._wake.set()

    async def _write(self) -> bool:
        """Write once, and let go what waited for it. Return whether it worked."""
        self._wake.clear()
        self._is_write_due = False
        self._is_dirty = False
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        covered = self._urgent
        state = self._requests.durable_state()
        try:
            await self._outlets.state_file.write(state)
        except Unavailable as error:
            self._write_failed(covered, str(error))
            return False
        finally:
            if not self._is_write_due:
                self._idle.set()
        self.writes += 1
        log.log(NOTICE, "Sentinel new configuration saved on disk")
        self._durable = covered
        self._note_epochs(state)
        self._release(covered)
        return True

    def _write_failed(self, covered: int, reason: str) -> None:
        self.write_failures += 1
        self._is_dirty = True
        self._failed = covered
        self._failure = reason
        log.warning(
            "WARNING: Sentinel was not able to save the new configuration on disk!!!: %s", reason
        )
        kept: deque[tuple[int, Effect]] = deque()
        for ticket, effect in self._waiting:
            if isinstance(effect, Answer) and ticket <= covered:
                self._requests.refuse(effect.token, reason)
            else:
                kept.append((ticket, effect))
        self._waiting = kept

    def _release(self, covered: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= covered:
            self._start(waiting.popleft()[1])
        self._links.end_turn()

    def _note_epochs(self, state: DurableState) -> None:
        self._epochs = dict(_config_epochs(state))


def _is_opinion(effect: Effect) -> bool:
    """Return whether this only tells what we see, which nobody needs to remember."""
    if not isinstance(effect, Answer) or not isinstance(effect.result, Vote):
        return False
    return effect.result.leader is None


def _config_epochs(state: DurableState) -> Iterable[tuple[GroupName, Epoch]]:
    return ((group.name, group.config_epoch) for group in state.groups)
