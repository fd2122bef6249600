"""Move the role of the primary on purpose, so that clients see nothing but a short wait.

    check ─► hold ─► drain ─► ask a Sentinel ─► the new one is primary by ROLE ─► release
      │        └────────┴────────────┴───────────────────┴──► anything else: release, no change
      └─► refused, nothing was touched

Rules: commands are held here, before the instances, and never by CLIENT PAUSE: held ones would
count as running there, and a take-over waits for those. What is under way is answered first. Every
step has a limit, and their sum is one: then the old primary goes on. Only one at a time.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from everfly.core.model import Address
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.members import Members
from everfly.endpoint.plane import Plane
from everfly.endpoint.preconditions import Bounds, Check, Situation, preconditions, unmet
from everfly.errors import EverflyError, Unavailable
from everfly.runtime.client import Client
from everfly.runtime.log import NOTICE
from everfly.wire.resp import ErrorReply, Reply

log = logging.getLogger(__name__)

CONNECT_S: Final = 1.0
CATCH_UP_S: Final = 1.0
"""How long replicas may take to have all of a primary that nobody writes to."""

LOOK_S: Final = 0.01
BUDGET_GRACE_MS: Final = 1_000
"""The data plane ends a hold by itself, should this process die; it must not do so before us."""

COUNTED: Final = (
    "held_total",
    "replayed",
    "refused_hidden",
    "ambiguous",
    "answered_loading",
    "blocking_cut",
)
"""What the data plane counts of what clients saw."""


class State(Enum):
    """How far a switch-over is."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """A precondition was not met: nothing was touched."""
    ABORTED = "aborted"
    """It was given up; the old primary goes on."""
    DRY = "dry-run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    to: Address | None = None
    """Whom to promote; None: the Sentinel chooses."""
    is_dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long it may take."""

    total_ms: int
    """From the hold to the release."""
    drain_ms: int
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done, and when after the beginning."""

    at_ms: int
    text: str


@dataclass(slots=True)
class Progress:
    """One switch-over, as far as it is."""

    number: int
    wish: Wish
    state: State = State.RUNNING
    reason: str = ""
    """Why it was refused or aborted."""
    old: Address | None = None
    new: Address | None = None
    checks: tuple[Check, ...] = ()
    steps: list[Step] = field(default_factory=list)
    held_ms: int | None = None
    """How long commands were held."""
    seen: dict[str, int] = field(default_factory=dict)
    """What clients saw of it, by `COUNTED`."""
    began: float = field(default_factory=time.monotonic)

    def step(self, text: str) -> None:
        """Note that something was done."""
        at_ms = round((time.monotonic() - self.began) * 1000)
        self.steps.append(Step(at_ms, text))
        log.log(NOTICE, "Switch-over %d, %d ms: %s", self.number, at_ms, text)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state is not State.RUNNING


class _Aborted(Exception):  # noqa: N818 - it names an outcome
    """It is given up, for this reason."""


class Switchovers:
    """All that were asked for, one at a time. The last one is kept to be looked at."""

    def __init__(
        self, follower: Follower, members: Members, plane: Plane, settings: FollowSettings
    ) -> None:
        self._follower = follower
        self._members = members
        self._plane = plane
        self.settings = settings
        self.last: Progress | None = None
        self.counts: dict[State, int] = dict.fromkeys(State, 0)
        self.changed = asyncio.Event()
        """Replaced whenever something happened."""

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self.last is not None and not self.last.is_over

    def begin(self, wish: Wish) -> Progress:
        """Take a wish up; `run` carries it out. Raises Unavailable while another one runs."""
        if self.last is not None and not self.last.is_over:
            raise Unavailable(f"switch-over {self.last.number} is under way; wait for it")
        self.last = Progress((self.last.number if self.last else 0) + 1, wish)
        return self.last

    async def run(self, progress: Progress, limits: Limits) -> Progress:
        """Carry a switch-over out; return it when it is over. Raises nothing."""
        try:
            await self._run(progress, limits)
        except _Aborted as aborted:
            progress.state, progress.reason = State.ABORTED, str(aborted)
        except asyncio.CancelledError:
            progress.state, progress.reason = State.ABORTED, "this process ends"
            raise
        except EverflyError as error:
            progress.state, progress.reason = State.ABORTED, str(error)
        finally:
            if progress.reason:
                progress.step(f"{progress.state.value}: {progress.reason}")
            self.counts[progress.state] += 1
            self._signal()
        return progress

    async def _run(self, progress: Progress, limits: Limits) -> None:
        follower = self._follower
        picture = await self._members.look(max_age_s=0.0)
        progress.old = follower.accepted.primary if follower.accepted else None
        progress.checks = preconditions(picture, self._situation(), progress.wish.to, limits.bounds)
        against = unmet(progress.checks)
        if against:
            progress.state, progress.reason = State.REFUSED, against
            return
        if progress.wish.is_dry_run:
            progress.state = State.DRY
            return
        self._note(progress, f"{progress.old} is to hand over")
        before = self._counts()
        ends_at = time.monotonic() + limits.total_ms / 1000
        token = self._plane.hold("switch-over", limits.total_ms + BUDGET_GRACE_MS)
        held_at = time.monotonic()
        follower.expects_change = True
        try:
            self._note(progress, "commands are held")
            await self._drain(progress, limits)
            await self._hand_over(progress, ends_at)
            progress.state = State.DONE
        finally:
            follower.expects_change = False
            self._plane.release(token)
            progress.held_ms = round((time.monotonic() - held_at) * 1000)
            after = self._counts()
            progress.seen = {name: after[name] - before[name] for name in after}
            self._note(progress, f"commands go on, to {follower.accepted_text}")

    async def _drain(self, progress: Progress, limits: Limits) -> None:
        if not await asyncio.to_thread(self._plane.drained, limits.drain_ms):
            raise _Aborted(
                f"commands that were under way took longer than {limits.drain_ms} ms (drain_ms)"
            )
        self._note(progress, "nothing is under way any more")

    async def _hand_over(self, progress: Progress, ends_at: float) -> None:
        """Have the Sentinels move the role, and wait until commands may go to the new primary."""
        follower = self._follower
        old, events = follower.accepted, follower.told[0]
        assert old is not None, "checked"

        def is_moved() -> bool:
            return follower.accepted is not None and follower.accepted.order > old.order

        def is_aborted() -> bool:
            count, told = follower.told
            return count > events and told.channel.startswith("-failover-abort")

        asking = asyncio.create_task(self._ask_somebody(progress, ends_at), name="switch-over")
        try:
            await self._until(lambda: is_moved() or is_aborted() or asking.done(), asking, ends_at)
            if asking.done():
                asking.result()
            await follower.until(lambda: is_moved() or is_aborted(), ends_at - time.monotonic())
        finally:
            asking.cancel()
            await asyncio.wait([asking])
        if is_moved():
            assert follower.accepted is not None, "it moved there"
            progress.new = follower.accepted.primary
            self._note(progress, f"{progress.new} is the primary, and says so itself")
            return
        if is_aborted():
            raise _Aborted(f"the Sentinels gave it up: {follower.told[1].channel}")
        raise _Aborted("there was no new primary in time (switchover_limit_ms)")

    async def _until(
        self, condition: Callable[[], bool], asking: "asyncio.Task[None]", ends_at: float
    ) -> None:
        """Wait until something here or the answer makes the condition true."""
        waiting = asyncio.create_task(
            self._follower.until(condition, ends_at - time.monotonic()), name="new primary"
        )
        try:
            await asyncio.wait([waiting, asking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            await asyncio.wait([waiting])

    async def _ask_somebody(self, progress: Progress, ends_at: float) -> None:
        """Ask one Sentinel after the other until one takes it up. Raises _Aborted."""
        reasons: list[str] = []
        for state in sorted(self._follower.sentinels, key=lambda each: bool(each.error)):
            try:
                client = await Client.connect(
                    state.address,
                    timeout_s=CONNECT_S,
                    credentials=self.settings.of_sentinels,
                    name="everfly-switchover",
                )
            except EverflyError as error:
                reasons.append(str(error))
                continue
            async with client:
                await self._ask(client, progress, max(0.1, ends_at - time.monotonic()))
                self._note(progress, f"the Sentinel {state.address} was asked and did not refuse")
                return
        raise _Aborted(f"no Sentinel can be asked: {'; '.join(reasons)}")

    async def _ask(self, client: Client, progress: Progress, limit_s: float) -> None:
        """Ask one Sentinel, which may have heard although it is silent. Raises _Aborted."""
        group, to = self.settings.group, progress.wish.to
        place = (to.host, to.port) if to is not None else ()
        reply = await _reply(client, limit_s, "SENTINEL", "SWITCHOVER", group, *place)
        if isinstance(reply, ErrorReply) and _is_unknown(reply):
            if to is not None:
                raise _Aborted(
                    f"the Sentinel {client.address} cannot hand over to a replica of your choice: "
                    "it is no Everfly; leave --to out"
                )
            await self._catch_up(progress)
            reply = await _reply(client, limit_s, "SENTINEL", "FAILOVER", group)
        if isinstance(reply, ErrorReply):
            raise _Aborted(f"the Sentinel {client.address} refuses: {reply.text}")

    async def _catch_up(self, progress: Progress) -> None:
        """Wait until each replica has all: a genuine Sentinel promotes without looking.

        Nobody writes through us meanwhile; what others write to the primary itself may be lost.
        """
        deadline = time.monotonic() + CATCH_UP_S
        while True:
            picture = await self._members.look(max_age_s=0.0)
            late = [each.address for each in picture.instances if each.is_in_sync and each.lag != 0]
            if not late:
                self._note(progress, "each replica has everything")
                return
            if time.monotonic() > deadline:
                names = ", ".join(map(str, late))
                raise _Aborted(f"{names} did not catch up within {CATCH_UP_S:g} s")
            await asyncio.sleep(LOOK_S)

    def _situation(self) -> Situation:
        follower = self._follower
        state = str(self._plane.stats().get("state", ""))
        is_open = state == "open" and not follower.is_announced and not follower.trouble
        changed_at = follower.changed_at
        return Situation(
            primary=follower.accepted.primary if follower.accepted else None,
            is_settled=is_open,
            trouble=follower.trouble or ("" if is_open else f"commands are held ({state})"),
            changed_ms_ago=None
            if changed_at is None
            else round((time.monotonic() - changed_at) * 1000),
        )

    def _counts(self) -> dict[str, int]:
        return _counted(self._plane.stats())

    def _note(self, progress: Progress, text: str) -> None:
        progress.step(text)
        self._signal()

    def _signal(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


def _counted(stats: Mapping[str, object]) -> dict[str, int]:
    found = {name: stats.get(name) for name in COUNTED}
    return {name: value for name, value in found.items() if isinstance(value, int)}


async def _reply(client: Client, limit_s: float, *words: str | int) -> Reply:
    """Ask; silence is an answer too, for the command may have been carried out: None."""
    try:
        return await client.call(*words, timeout_s=limit_s)
    except EverflyError as error:
        log.warning("Asking %s for a switch-over: %s", client.address, error)
        return None


def _is_unknown(reply: ErrorReply) -> bool:
    """Whether the Sentinel has no such command: a genuine one."""
    text = reply.text.lower()
    return "unknown" in text and "subcommand" in text
