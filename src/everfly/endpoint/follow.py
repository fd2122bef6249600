"""Keep the data plane on the primary that the Sentinels name, and hold it when a change begins.

    Sentinels ──► Tap ──► Jury (which claim to believe) ──► ROLE of that instance ──► set_primary
                    │                                                                    ▲
                    └── "a failover begins" ──► no_primary (commands wait)               │
    data plane ── "my connection is lost, or refused" ──► ask all, ask ROLE again ───────┘

Rules: nothing is sent to an instance before it said itself that it is a primary; while it does not,
it is asked again within milliseconds, and the Sentinels too. A hold that a Sentinel announced ends
by a new primary, or when nobody sees a change any more and the old one still says that it is one.
What does not answer delays nothing but itself. Where that is set, nothing is sent either while no
majority of the Sentinels answers: they may have a primary that we cannot see.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address, Instant
from everfly.endpoint.belief import Belief, Claim, Jury
from everfly.endpoint.plane import Plane
from everfly.endpoint.tap import Tap, TapHandlers, Told
from everfly.errors import EverflyError, Unavailable
from everfly.runtime.client import Client, Credentials
from everfly.runtime.log import NOTICE
from everfly.runtime.resolver import is_literal
from everfly.wire.info import PrimaryRole, ReplicaRole, parse_role
from everfly.wire.resp import ErrorReply

log = logging.getLogger(__name__)

ROLE_S: Final = 1.0
"""For an instance to be connected to and to answer ROLE: a healthy one takes a millisecond."""

ROLE_AGAIN_S: Final = (0.005, 0.2)
"""First and longest pause before an instance that is no primary yet is asked again."""

ASK_AGAIN_S: Final = 0.1
"""Between two rounds of questions to all Sentinels while there is no primary."""

ANNOUNCED_S: Final = 1.0
"""How long an announcement is believed that no Sentinel's answer confirms."""

ANNOUNCEMENTS: Final = frozenset({"+odown", "+try-failover"})
ENDS: Final = ("-odown", "-failover-abort")


@dataclass(frozen=True, slots=True)
class SentinelState:
    """One Sentinel as it is known here."""

    address: Address
    error: str
    """Why it cannot be asked; empty: it can."""
    is_listening: bool
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class FollowSettings:
    """Whom to follow, and how."""

    group: str
    sentinels: tuple[Address, ...]
    of_sentinels: Credentials
    of_instances: Credentials
    holds_on_announcement: bool = True
    fence_ms: int = 0
    """How long no majority may answer before commands are held; 0: for ever."""


class Follower:
    """Follows one group. `run` until cancelled; all else is called in the same event loop."""

    def __init__(self, settings: FollowSettings, plane: Plane) -> None:
        self._settings = settings
        self._plane = plane
        self._jury = Jury(len(settings.sentinels))
        self._taps: dict[Address, Tap] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[Address, asyncio.Task[None]] = {}
        self._verifying: asyncio.Task[None] | None = None
        self._announced_at: float | None = None
        self._in_contact_at = time.monotonic()
        self._is_fenced = False
        self._changed = asyncio.Event()
        self.accepted: Belief | None = None
        """Whom commands go to."""
        self.changed_at: float | None = None
        """When the primary last changed from one to another, in monotonic seconds."""
        self.switches = 0
        """How often it did."""
        self.trouble = "no Sentinel has answered yet"
        """Why there is no primary; empty: there is one."""
        self.told: tuple[int, Told] = (0, Told("", ""))
        """How many events about the group came, and the last one."""
        self.expects_change = False
        """A switch-over of our own is under way: announcements are no news."""
        self.on_change: Callable[[Belief, Belief | None], None] = _ignore
        """Called with the new primary and the old one."""

    # What others ask.

    @property
    def believed(self) -> Belief | None:
        """Whom the Sentinels name, accepted or not yet."""
        return self._jury.belief

    @property
    def accepted_text(self) -> str:
        """Whom commands go to, for people."""
        return str(self.accepted.primary) if self.accepted else "nobody"

    @property
    def is_announced(self) -> bool:
        """Whether commands wait because a Sentinel said that a change begins."""
        return self._announced_at is not None

    @property
    def sentinels(self) -> tuple[SentinelState, ...]:
        """All Sentinels, in the order in which they were named."""
        return tuple(
            SentinelState(
                tap.address, tap.error, tap.is_listening, self._jury.claims.get(tap.address)
            )
            for tap in self._taps.values()
        )

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until something here changed so that it holds; False after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not condition():
                    await self._changed.wait()
        return condition()

    # What others say.

    def push(self, primary: Address, epoch: int) -> bool:
        """Take it that somebody who is entitled to says where the primary is.

        False when they knew better before: the epoch must be higher, or all the same.
        """
        known = self._jury.belief
        if known is None or epoch > known.epoch:
            self._believe(self._jury.settle(primary, epoch, epoch))
            return True
        self.doubt()
        return (epoch, primary) == (known.epoch, known.primary)

    def inherit(self, belief: Belief) -> None:
        """Take what the process before us believed. Call before `run`."""
        self._jury.settle(belief.primary, belief.epoch, belief.order)

    def doubt(self) -> None:
        """Make sure of the primary: the data plane has trouble with it."""
        self._ask_all()
        if not self._is_verifying and self._jury.belief is not None:
            self._verify_soon(self._jury.belief)

    def reload(self, settings: FollowSettings) -> None:
        """Follow by these settings from now on; the group stays."""
        self._settings = settings
        self._jury.rename(frozenset(settings.sentinels))
        for address in list(self._taps):
            self._running.pop(address).cancel()
            del self._taps[address]
        self._start_taps()

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if self._jury.belief is not None:
                    self._verify_soon(self._jury.belief)
                self._start_taps()
                await self._watch_over()
        finally:
            self._tasks = None

    async def _watch_over(self) -> None:
        """Ask more often while there is no primary, and end holds that came to nothing."""
        while True:
            await asyncio.sleep(ASK_AGAIN_S)
            self._look_at_contact()
            if self._announced_at is None and not self._is_verifying:
                continue
            self._ask_all()
            announced_for = time.monotonic() - (self._announced_at or time.monotonic())
            if announced_for > ANNOUNCED_S and not self._jury.is_changing:
                self._end_announcement("no Sentinel sees a change any more")

    def _look_at_contact(self) -> None:
        """Hold commands while we may be on the wrong side of a split, if that is wanted."""
        now, belief = time.monotonic(), self._jury.belief
        answering = sum(not tap.error for tap in self._taps.values())
        if belief is None or not self._taps or answering >= self._jury.majority:
            self._in_contact_at = now
            if self._is_fenced and belief is not None:
                self._is_fenced = False
                self._verify_soon(belief)
            return
        fence_s = self._settings.fence_ms / 1000
        if fence_s and not self._is_fenced and now - self._in_contact_at > fence_s:
            self._is_fenced = True
            self.trouble = f"{answering} of {self._jury.size} Sentinels answer (fence_ms)"
            log.warning("Commands are held: %s", self.trouble)
            self._plane.no_primary(self.trouble)
            self._signal()

    def _start_taps(self) -> None:
        assert self._tasks is not None, "it runs"
        settings = self._settings
        handlers = TapHandlers(self._on_claim, self._on_told, self._on_vacancy, self._on_silence)
        for address in settings.sentinels:
            tap = Tap(address, settings.group, settings.of_sentinels, handlers)
            self._taps[address] = tap
            self._running[address] = self._tasks.create_task(tap.run(), name=f"tap of {address}")

    def _ask_all(self) -> None:
        for tap in self._taps.values():
            tap.want()

    # What the Sentinels say.

    def _on_claim(self, tap: Tap, claim: Claim) -> None:
        before = self._jury.belief
        belief = self._jury.hear(_now(), tap.address, claim)
        if belief is not None:
            log.log(
                NOTICE,
                "Sentinel %s: the primary of %s is %s (epoch %d)",
                tap.address,
                self._settings.group,
                belief.primary,
                belief.epoch,
            )
            self._believe(belief)
        elif before is None:
            self.trouble = (
                f"{self._jury.heard} of {self._jury.size} Sentinels have answered; "
                f"{self._jury.majority} must, before commands go anywhere"
            )
        self._signal()

    def _on_vacancy(self, tap: Tap) -> None:
        self._jury.vacate(tap.address)
        if self._jury.belief is None:
            self.trouble = f"the Sentinel {tap.address} says that nobody is in service"
        elif self._jury.is_vacant:
            self._announce(f"nobody is in service, says the Sentinel {tap.address}")
        self._signal()

    def _on_silence(self, tap: Tap) -> None:
        log.warning("The Sentinel %s cannot be asked: it is tried again", tap.address)
        self._jury.forget(tap.address)
        self._signal()

    def _on_told(self, tap: Tap, told: Told) -> None:
        log.log(NOTICE, "Sentinel %s says %s %s", tap.address, told.channel, told.payload)
        self.told = (self.told[0] + 1, told)
        self._ask_all()
        if told.channel in ANNOUNCEMENTS and self._is_about_accepted(told):
            self._announce(f"{told.channel} of the Sentinel {tap.address}")
        elif told.channel.startswith(ENDS) and self._is_about_accepted(told):
            self._end_announcement(f"{told.channel} of the Sentinel {tap.address}")
        self._signal()

    def _is_about_accepted(self, told: Told) -> bool:
        words = told.payload.split(" ")
        accepted = self.accepted
        return (
            accepted is not None
            and words[0] == "master"
            and words[2:4] == [accepted.primary.host, str(accepted.primary.port)]
        )

    def _announce(self, why: str) -> None:
        if (
            self._announced_at is None
            and self._settings.holds_on_announcement
            and not self.expects_change
            and not self._is_verifying
        ):
            self._announced_at = time.monotonic()
            self._plane.no_primary(why)

    def _end_announcement(self, why: str) -> None:
        if self._announced_at is None:
            return
        log.log(NOTICE, "The primary stays, if it says so: %s", why)
        self._announced_at = None
        assert self._jury.belief is not None, "it was accepted before it was announced"
        self._verify_soon(self._jury.belief)

    # What the instance says.

    def _believe(self, belief: Belief) -> None:
        self._announced_at = None
        if self.accepted is not None and self.accepted.primary != belief.primary:
            # Nothing more goes to the old one, whatever takes how long.
            self._plane.no_primary(f"{belief.primary} is the primary, by epoch {belief.epoch}")
        self._verify_soon(belief)

    @property
    def _is_verifying(self) -> bool:
        return self._verifying is not None and not self._verifying.done()

    def _verify_soon(self, belief: Belief) -> None:
        if self._verifying is not None:
            self._verifying.cancel()
        if self._tasks is not None:
            self._verifying = self._tasks.create_task(
                self._verify(belief), name=f"role of {belief.primary}"
            )

    async def _verify(self, belief: Belief) -> None:
        pause, longest = ROLE_AGAIN_S
        client: Client | None = None
        try:
            while True:
                try:
                    if client is None or not client.is_usable:
                        client = await self._connect(belief.primary)
                    trouble = await _role_trouble(client)
                    if not trouble and self._announced_at is None and not self._is_fenced:
                        await self._accept(belief)
                        return
                except EverflyError as error:
                    trouble = str(error)
                if trouble and trouble != self.trouble:
                    log.warning("No command goes to %s: %s", belief.primary, trouble)
                    self.trouble = trouble
                    self._signal()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        finally:
            if client is not None:
                await client.close()

    async def _connect(self, primary: Address) -> Client:
        return await Client.connect(
            primary,
            timeout_s=ROLE_S,
            credentials=self._settings.of_instances,
            name="everfly-endpoint",
        )

    async def _accept(self, belief: Belief) -> None:
        host, port = belief.primary.host, belief.primary.port
        if is_literal(host):
            is_taken = self._plane.set_primary(host, port, belief.order)
        else:
            try:
                is_taken = await asyncio.to_thread(
                    self._plane.set_primary, host, port, belief.order
                )
            except OSError as error:
                raise Unavailable(f"{host} is unknown: {error}") from error
        old, self.accepted = self.accepted, belief
        self.trouble = "" if is_taken else "the data plane knows a later primary"
        if old is None or old.primary != belief.primary:
            log.log(NOTICE, "Commands go to %s (epoch %d)", belief.primary, belief.epoch)
            if old is not None:
                self.changed_at = time.monotonic()
                self.switches += 1
        self.on_change(belief, old)
        self._signal()

    def _signal(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _role_trouble(client: Client) -> str:
    """Return why nothing may go there, or nothing."""
    reply = await client.call("ROLE", timeout_s=ROLE_S)
    match parse_role(reply):
        case PrimaryRole():
            return ""
        case ReplicaRole(primary=primary):
            return f"it says that it is a replica of {primary}"
        case _:
            said = reply.text if isinstance(reply, ErrorReply) else "no role of an instance"
            return f"it answers ROLE by: {said}"


def _now() -> Instant:
    return Instant(time.monotonic_ns() // 1_000_000)


def _ignore(new: Belief, old: Belief | None) -> None:
    """Have nobody to tell."""
    del new, old
