"""The state file of a simulated Sentinel: one write at a time, slow, failing, lost in a crash; and
what waits for it. It keeps to the rules of `runtime.executor` (1 to 4 there), over virtual time.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from everfly.core.effects import Answer, Ask, Effect, SendHello, Vote
from everfly.core.model import Epoch, GroupName
from everfly.core.snapshot import DurableState
from everfly.sim.world import World

GATHER_MS: Final = 1_000
"""`GATHER_S` of `runtime.executor`, and so are the others."""
RETRY_MS_MIN: Final = 500
RETRY_MS_MAX: Final = 30_000
WAITING_MAX: Final = 5_000
FAILED_LATE: Final = 0.2
"""Share of failed writes in which the new content is there all the same: only the last flush of the
directory failed."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """What the disk calls."""

    state: Callable[[], DurableState]
    start: Callable[[Effect], None]
    refuse: Callable[[Effect], None]
    """An effect that waited is dropped: its asker hears an error."""
    when_awake: Callable[[Callable[[], None]], None]
    """Runs it now, or when the process is resumed, or never if it has ended."""


@dataclass(slots=True, eq=False)
class Disk:
    """One Sentinel's disk, over all its lives."""

    world: World
    dice: random.Random
    content: DurableState
    delay_ms: tuple[int, int] = (1, 5)
    slow_until: int = 0
    """Each write takes up to `slow_ms` longer until then."""
    slow_ms: int = 0
    fails_until: int = 0
    writes: int = 0
    failures: int = 0
    waiting_max: int = 0
    """The most that ever waited."""
    epochs: dict[GroupName, Epoch] = field(default_factory=dict)
    """Config epochs on disk: what fences orders."""
    _outlets: Outlets | None = None
    _waiting: deque[tuple[int, Effect]] = field(default_factory=deque)
    _urgent: int = 0
    released_at: int = 0
    """When what had waited was last let go. Until it all is, some of it is older than that."""
    _durable: int = 0
    _failed: int = 0
    _is_dirty: bool = False
    _is_due: bool = False
    _is_writing: bool = False
    _is_gathering: bool = False
    _retry: int = 0
    """Names the retry that is awaited; 0: none."""
    _retries: int = 0
    _delay: int = RETRY_MS_MIN
    _life: int = 0
    _in_flight: DurableState | None = None

    def open(self, outlets: Outlets) -> None:
        """Begin to serve a process that has just started."""
        self._life += 1
        self._outlets = outlets
        self._waiting.clear()
        self._urgent = self._durable = self._failed = 0
        self._is_dirty = self._is_due = self._is_writing = self._is_gathering = False
        self._retry = 0
        self._delay = RETRY_MS_MIN
        self.epochs = {group.name: group.config_epoch for group in self.content.groups}

    def crash(self) -> None:
        """Forget what waited: what was being written is on disk or not."""
        self._life += 1
        if self._in_flight is not None and self.dice.random() < 0.5:
            self.content = self._in_flight
        self._in_flight = None
        self._waiting.clear()
        # What was to be written next is gone with the process, which may have ended in a turn.
        self._is_dirty = self._is_due = False

    def persist(self, *, is_urgent: bool) -> None:
        """Have the state written; an urgent one makes what follows wait."""
        self._is_dirty = True
        if is_urgent:
            self._urgent += 1
            self._is_due = True
        elif not (self._is_gathering or self._is_due):
            self._is_gathering = True
            self._later(GATHER_MS, self._gathered)

    def holds(self, effect: Effect) -> bool:
        """Take an effect that must wait; False: it need not."""
        if not effect.after_durable or self._urgent <= self._durable or _is_opinion(effect):
            return False
        if isinstance(effect, Answer) and self._urgent == self._failed:
            # The disk has just refused exactly this, and nothing newer is being tried.
            self._call().refuse(effect)
            return True
        if len(self._waiting) >= WAITING_MAX:
            self._shed()
        self._waiting.append((self._urgent, effect))
        self.waiting_max = max(self.waiting_max, len(self._waiting))
        return True

    def end_turn(self) -> None:
        """Begin a write that this turn asked for."""
        if self._is_due and not self._is_writing:
            self._write()

    def _call(self) -> Outlets:
        assert self._outlets is not None, "opened when the process starts"
        return self._outlets

    def _later(self, delay: int, what: Callable[[], None]) -> None:
        life = self._life
        when_awake = self._call().when_awake

        def go_on() -> None:
            if life == self._life:
                what()

        self.world.after(delay, lambda: when_awake(go_on) if life == self._life else None)

    def _gathered(self) -> None:
        self._is_gathering = False
        if self._is_dirty:
            self._is_due = True
            self.end_turn()

    def _write(self) -> None:
        self._is_due = self._is_dirty = False
        self._is_writing = True
        self._retry = 0
        covered = self._urgent
        state = self._in_flight = self._call().state()
        low, high = self.delay_ms
        delay = low + int(self.dice.random() * (high - low + 1))
        if self.world.now < self.slow_until:
            delay += int(self.dice.random() * self.slow_ms)
        self._later(delay, partial(self._written, covered, state))

    def _written(self, covered: int, state: DurableState) -> None:
        self._is_writing = False
        self._in_flight = None
        if self.world.now < self.fails_until:
            self._write_failed(covered, state)
        else:
            self.writes += 1
            self.content = state
            self._durable = covered
            self._delay = RETRY_MS_MIN
            self.epochs = {group.name: group.config_epoch for group in state.groups}
            self._release()
            self.released_at = self.world.now
        self.end_turn()

    def _release(self) -> None:
        waiting, life, call = self._waiting, self._life, self._call()
        while waiting and waiting[0][0] <= self._durable and life == self._life:
            call.start(waiting.popleft()[1])

    def _write_failed(self, covered: int, state: DurableState) -> None:
        self.failures += 1
        self._is_dirty = True
        self._failed = covered
        if self.dice.random() < FAILED_LATE:
            self.content = state
        kept: deque[tuple[int, Effect]] = deque()
        for ticket, effect in self._waiting:
            if isinstance(effect, Answer) and ticket <= covered:
                self._call().refuse(effect)
            else:
                kept.append((ticket, effect))
        self._waiting = kept
        self._retries += 1
        self._retry = self._retries
        self._later(self._delay, partial(self._try_again, self._retry))
        self._delay = min(2 * self._delay, RETRY_MS_MAX)

    def _try_again(self, retry: int) -> None:
        if retry == self._retry and not self._is_writing:
            self._is_due = True
            self.end_turn()

    def _shed(self) -> None:
        kept = deque(pair for pair in self._waiting if not isinstance(pair[1], SendHello | Ask))
        shed = [effect for _, effect in self._waiting if isinstance(effect, SendHello | Ask)]
        self._waiting = kept
        for effect in shed:
            self._call().refuse(effect)


def _is_opinion(effect: Effect) -> bool:
    """Whether this only tells what we see, which nobody needs to remember."""
    return (
        isinstance(effect, Answer)
        and isinstance(effect.result, Vote)
        and effect.result.leader is None
    )
