"""Turn facts of the shell into steps of the machine, and its deadline into one timer.

Rules:

1. The only caller of `step`. Facts wait in one queue and are decided on in the order in which they
   came, all of them in one turn of the event loop.
2. Facts before timers: a timer that fires late says that we slept, not that the others were
   silent. What they sent meanwhile lies unread in sockets, so everything readable is read and
   decided on before the time is told to the machine.
3. The queue is bounded: hellos, which repeat, are dropped first; requests never are.
4. An exception in a step is a bug. Nothing is decided after it: `run` raises, the process ends.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from everfly.core.effects import Effect, Result
from everfly.core.inputs import ChannelHeard, HelloHeard, Input, TimerExpired
from everfly.core.model import Address, Epoch, GroupName, Instant, Millis, Token
from everfly.core.snapshot import DurableState, GroupView
from everfly.errors import LocalError, Unavailable

log = logging.getLogger(__name__)

QUEUE_MAX: Final = 20_000
"""Facts that wait; above it those that repeat by themselves are dropped. About a second of work.
All others are bounded elsewhere: by commands sent, by links and by clients."""

FACTS_PER_READING: Final = 64
"""Facts that are decided on with one reading of the clock: about a tenth of a millisecond."""

LATE_MS: Final = 10
"""A timer that fires this late was held up. The event loop itself rounds up to a millisecond."""


class Decider(Protocol):
    """What is driven. Implemented by `core.machine.Machine`."""

    def start(self, now: Instant) -> list[Effect]:
        """Announce and connect."""
        ...

    def step(self, now: Instant, input: Input) -> list[Effect]:
        """Take one fact, return what to do."""
        ...

    def next_deadline(self) -> Instant | None:
        """Return when to step with `TimerExpired`, or None for never."""
        ...

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now."""
        ...

    def tilt_for(self, now: Instant) -> Millis | None:
        """How long it only watches already; None: it acts."""
        ...

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, in the order in which they were added."""
        ...

    def group_view(self, now: Instant, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group, or None."""
        ...

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go."""
        ...

    @property
    def current_epoch(self) -> Epoch:
        """The greatest epoch it knows."""
        ...


class Effects(Protocol):
    """Who carries out what was decided. Implemented by `runtime.executor.Executor`."""

    def execute(self, effects: list[Effect]) -> None:
        """Start these, in order, without waiting."""
        ...

    def end_turn(self) -> None:
        """Send what this turn has gathered."""
        ...


def monotonic_now() -> Instant:
    """Return the machine's clock: milliseconds that never go back."""
    return Instant(time.monotonic_ns() // 1_000_000)


class Driver:
    """Owns a machine, its inputs and its timer; what the rest of the shell sees of it.

    Give it `effects` by `start`, before which facts only gather, and hold it by `run`.
    """

    def __init__(self, machine: Decider, *, clock: Callable[[], Instant] = monotonic_now) -> None:
        self._machine = machine
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._effects: Effects | None = None
        self._queue: deque[Input] = deque()
        self._is_drain_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = Instant(0)
        self._requests: dict[Token, asyncio.Future[Result]] = {}
        self._last_token = 0
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self.dropped = 0
        """Facts that found the queue full."""

    def start(self, effects: Effects) -> None:
        """Begin to decide, and carry out by `effects`. Call once."""
        assert self._effects is None, "a driver starts once"
        self._effects = effects
        try:
            effects.execute(self._machine.start(self._clock()))
            effects.end_turn()
        except Exception as error:  # noqa: BLE001 - told, and the end of the process
            self._fail("start", error)
            return
        self._schedule_drain()
        self._arm()

    async def run(self) -> None:
        """Wait for the end. Raise LocalError when a step failed: a bug, so all must end."""
        await asyncio.shield(self._ended)

    def stop(self) -> None:
        """Decide no more. Requests that wait raise Unavailable."""
        if not self._ended.done():
            self._ended.set_result(None)
        self._release()

    def submit(self, fact: Input) -> None:
        """Put a fact in the queue; it is decided on in this turn of the event loop or the next."""
        if len(self._queue) >= QUEUE_MAX and isinstance(fact, HelloHeard | ChannelHeard):
            self.dropped += 1
            return
        self._queue.append(fact)
        if not self._is_drain_scheduled:
            self._schedule_drain()

    async def request(self, make: Callable[[Token], Input]) -> Result:
        """Enter a request and return its answer, which comes after it is durable.

        Raises `Unavailable` when the state file could not be written (the text says why), and when
        this process ends.
        """
        if self._ended.done():
            raise Unavailable("shutting down")
        self._last_token += 1
        token = Token(self._last_token)
        future: asyncio.Future[Result] = self._loop.create_future()
        self._requests[token] = future
        try:
            self.submit(make(token))
            return await future
        finally:
            self._requests.pop(token, None)

    def resolve(self, token: Token, result: Result) -> None:
        """Answer a request. Harmless when whoever asked has gone."""
        future = self._requests.get(token)
        if future is not None and not future.done():
            future.set_result(result)

    def refuse(self, token: Token, reason: str) -> None:
        """Make a request raise Unavailable. Harmless when whoever asked has gone."""
        future = self._requests.get(token)
        if future is not None and not future.done():
            future.set_exception(Unavailable(reason))

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, in the order in which they were added."""
        return self._machine.group_names()

    def group_view(self, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group as of now, or None."""
        return self._machine.group_view(self._clock(), name)

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go."""
        return self._machine.current_address(name)

    @property
    def tilt_for(self) -> Millis | None:
        """How long it only watches already; None: it acts."""
        return self._machine.tilt_for(self._clock())

    @property
    def current_epoch(self) -> Epoch:
        """The greatest epoch it knows."""
        return self._machine.current_epoch

    @property
    def has_ended(self) -> bool:
        """Whether it decides no more."""
        return self._ended.done()

    @property
    def queued(self) -> int:
        """How many facts wait."""
        return len(self._queue)

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now."""
        return self._machine.durable_state()

    def _schedule_drain(self) -> None:
        if self._effects is not None and self._queue and not self._ended.done():
            self._is_drain_scheduled = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._is_drain_scheduled = False
        effects = self._effects
        if effects is None or self._ended.done():
            return
        queue, machine = self._queue, self._machine
        fact: Input = TimerExpired()
        try:
            # What the effects themselves submit waits for the next turn, so a turn always ends.
            for count in range(len(queue)):
                if count % FACTS_PER_READING == 0:
                    now = self._clock()
                fact = queue.popleft()
                decided = machine.step(now, fact)
                if decided:
                    effects.execute(decided)
            effects.end_turn()
        except Exception as error:  # noqa: BLE001 - told, and the end of the process
            self._fail(repr(fact), error)
            return
        if queue and not self._is_drain_scheduled:
            self._schedule_drain()
        self._arm()

    def _arm(self) -> None:
        deadline = self._machine.next_deadline()
        if deadline is None:
            return
        if self._timer is not None:
            # Deadlines mostly move away. A timer that is too early just looks again.
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        delay_s = max(0, deadline - self._clock()) / 1000
        self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        deadline = self._machine.next_deadline()
        if deadline is None or self._ended.done():
            return
        late_ms = self._clock() - max(deadline, self._timer_at)
        if late_ms < 0:
            self._arm()
        elif late_ms < LATE_MS:
            self._expire()
        else:
            # The loop runs what is scheduled before what its next look at the sockets finds. So
            # the second turn from here is the first that comes after a full pass of reading.
            self._loop.call_soon(self._loop.call_soon, self._expire)

    def _expire(self) -> None:
        # At the end of the queue: facts that were already read are decided on first.
        self._queue.append(TimerExpired())
        self._drain()

    def _fail(self, input_text: str, error: Exception) -> None:
        log.critical("BUG: deciding on %s failed: this process ends", input_text, exc_info=error)
        if not self._ended.done():
            failure = LocalError(f"deciding on {input_text} failed: {error!r}")
            failure.__cause__ = error
            self._ended.set_exception(failure)
            # Retrieved here, so that a driver nobody runs any more does not complain at its end.
            self._ended.exception()
        self._release()

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for token in tuple(self._requests):
            self.refuse(token, "shutting down")
