"""Remember who wants to be looked at when: a heap with lazy deletion.

Each `Timed` has at most one valid entry, the earliest asked for. A later wish does not replace an
earlier one: whoever is woken early looks, and asks again.
"""

import heapq

from everfly.core.model import Instant
from everfly.core.records import Timed


class Alarms:
    """All wishes to be woken."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Timed]] = []
        self._count = 0
        self._held: Timed | None = None

    def wake(self, who: Timed, at: Instant) -> None:
        """Have `who` looked at by `at`."""
        if who.due is None or at < who.due:
            who.due = at
            if who is not self._held:
                self._push(at, who)

    def earliest(self) -> Instant | None:
        """Return the next instant at which somebody wants to be looked at."""
        heap = self._heap
        while heap:
            at, _, who = heap[0]
            if who.due == at and not who.is_gone:
                return at
            heapq.heappop(heap)
        return None

    def pop_due(self, now: Instant) -> Timed | None:
        """Take one whose time has come, to look at it. Call until there is none.

        A look utters several wishes, often the far ones first. Only the earliest goes on the heap,
        when the next one is taken.
        """
        looked_at, self._held = self._held, None
        if looked_at is not None and looked_at.due is not None:
            self._push(looked_at.due, looked_at)
        at = self.earliest()
        if at is None or at > now:
            return None
        who = heapq.heappop(self._heap)[2]
        who.due = None
        self._held = who
        return who

    def _push(self, at: Instant, who: Timed) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, who))
