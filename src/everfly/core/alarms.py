"""Remember who wants to be looked at when: a calendar of instants with lazy deletion.

Each `Timed` has at most one valid entry, the earliest asked for. A later wish does not replace an
earlier one: whoever is woken early looks, and asks again. Of two who are due at one instant the one
who asked first is looked at first.
"""

import heapq

from everfly.core.model import Instant
from everfly.core.records import Timed


class Alarms:
    """All wishes to be woken."""

    def __init__(self) -> None:
        # Thousands share a few hundred instants, so whole numbers are sorted, not entries.
        self._instants: list[Instant] = []
        self._at: dict[Instant, list[Timed]] = {}
        self._held: Timed | None = None

    def wake(self, who: Timed, at: Instant) -> None:
        """Have `who` looked at by `at`."""
        if who.due is None or at < who.due:
            who.due = at
            if who is not self._held:
                self._enter(at, who)

    def earliest(self) -> Instant | None:
        """Return the next instant at which somebody wants to be looked at."""
        instants = self._instants
        while instants:
            at = instants[0]
            entries = self._at[at]
            while entries:
                who = entries[0]
                if who.due == at and not who.is_gone:
                    return at
                entries.pop(0)
            del self._at[at]
            heapq.heappop(instants)
        return None

    def may_be_due(self, now: int) -> bool:
        """Tell whether `earliest` may be `now` or before; cheaper than to find out."""
        return bool(self._instants) and self._instants[0] <= now

    def pop_due(self, now: Instant) -> Timed | None:
        """Take one whose time has come, to look at it. Call until there is none.

        A look utters several wishes, often the far ones first. Only the earliest is entered, when
        the next one is taken.
        """
        held = self._held
        if held is not None:
            self._held = None
            if held.due is not None:
                self._enter(held.due, held)
        instants = self._instants
        while instants:
            at = instants[0]
            if at > now:
                return None
            entries = self._at[at]
            while entries:
                who = entries.pop(0)
                if who.due == at and not who.is_gone:
                    who.due = None
                    self._held = who
                    return who
            del self._at[at]
            heapq.heappop(instants)
        return None

    def _enter(self, at: Instant, who: Timed) -> None:
        entries = self._at.get(at)
        if entries is None:
            self._at[at] = [who]
            heapq.heappush(self._instants, at)
        else:
            entries.append(who)
