"""Virtual time: a heap of timed deliveries and a seed. No asyncio, no threads, no clock.

Whoever needs randomness has a generator of its own, derived from the seed and its name, so that
one more roll in one place does not change all others.

What happens is told twice: `trace` holds what people want to know of (the same in every run of a
seed), `messages` holds each message with both its ends, for drawings, and only when asked for.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

AT_ONE_INSTANT_MAX: Final = 20_000
"""Deliveries without time going on; five Sentinels and three instances need some 100."""
_HASH_FACTOR: Final = 1_000_003
_HASH_MASK: Final = (1 << 64) - 1


class StandstillError(Exception):
    """Things happen, and time does not go on: somebody answers himself for ever."""


class Kind(Enum):
    """What a line of a trace is about."""

    WORLD = "world"
    """The simulation itself: phases."""
    FAULT = "fault"
    """Something that is made to go wrong, or its end."""
    LIFE = "life"
    """A process started, ended, was stopped, went on."""
    ROLE = "role"
    """An instance became a primary or a replica."""
    DATA = "data"
    """A dataset was replaced or lost."""
    NOTICE = "notice"
    """What a Sentinel tells people."""
    DECISION = "decision"
    """Why a Sentinel decided something, or what it ordered."""
    CLIENT = "client"
    """What clients and endpoints saw."""
    RULE = "rule"
    """A rule was broken: the text is the violation."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of a trace: what happened where."""

    at: int
    who: str
    what: str
    kind: Kind = Kind.WORLD


@dataclass(slots=True)
class Message:
    """One message between two processes."""

    number: int
    """Counts from 1, in the order of sending."""
    source: str
    target: str
    text: str
    sent_at: int
    arrived_at: int | None = None
    """When the other end read it; None: never."""


@dataclass(slots=True, eq=False)
class World:
    """The clock, the heap and the trace of one simulation."""

    seed: int
    records_messages: bool = False
    now: int = 0
    trace: list[Mark] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    deliveries: int = 0
    fingerprint: int = 0
    """Of every delivery's instant and number: two runs that differ anywhere differ here."""
    _heap: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def dice(self, name: str) -> random.Random:
        """Return a generator for one user of randomness."""
        return random.Random(f"{self.seed}:{name}")  # noqa: S311 - reproducible on purpose

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Have something happen at an instant; among equals, in the order of asking."""
        self._count += 1
        now = self.now
        heapq.heappush(self._heap, (max(now, when), self._count, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        """Have something happen later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, what))

    def run_until(self, end: int) -> None:
        """Let everything happen that is due up to an instant.

        Raises StandstillError where that never ends.
        """
        heap = self._heap
        pop = heapq.heappop
        fingerprint = self.fingerprint
        done = began = 0
        instant = self.now
        while heap and heap[0][0] <= end:
            now, count, what = pop(heap)
            if now != instant:
                instant = self.now = now
                began = done
            elif done - began > AT_ONE_INSTANT_MAX:
                raise StandstillError(f"more than {AT_ONE_INSTANT_MAX} deliveries at {now} ms")
            fingerprint = (fingerprint * _HASH_FACTOR + now + count) & _HASH_MASK
            done += 1
            what()
        self.fingerprint = fingerprint
        self.deliveries += done
        self.now = end

    def mark(self, who: str, what: str, kind: Kind = Kind.WORLD) -> None:
        """Add to the trace."""
        if not what.isascii():
            # Instances may say what is no text at all, and it is told to terminals and pages.
            what = what.encode(errors="backslashreplace").decode()
        self.trace.append(Mark(self.now, who, what, kind))

    def note_message(self, source: str, target: str, about: object) -> Message | None:
        """Record a message that is being sent, if messages are recorded."""
        if not self.records_messages:
            return None
        message = Message(len(self.messages) + 1, source, target, str(about), self.now)
        self.messages.append(message)
        return message
