"""Virtual time: a heap of timed deliveries and a seed. No asyncio, no threads, no clock.

Whoever needs randomness has a generator of its own, derived from the seed and its name, so that
one more roll in one place does not change all others.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of a trace: what happened where."""

    at: int
    who: str
    what: str


@dataclass(slots=True, eq=False)
class World:
    """The clock, the heap and the trace of one simulation."""

    seed: int
    now: int = 0
    trace: list[Mark] = field(default_factory=list)
    _heap: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def dice(self, name: str) -> random.Random:
        """Return a generator for one user of randomness."""
        return random.Random(f"{self.seed}:{name}")  # noqa: S311 - reproducible on purpose

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Have something happen at an instant; among equals, in the order of asking."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        """Have something happen later."""
        self.at(self.now + delay, what)

    def run_until(self, end: int) -> None:
        """Let everything happen that is due up to an instant."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, what = heapq.heappop(heap)
            what()
        self.now = end

    def mark(self, who: str, what: str) -> None:
        """Add to the trace."""
        self.trace.append(Mark(self.now, who, what))
