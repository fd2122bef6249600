"""What an instance holds: writes in order, how far they go, and to which history they belong.

An entry of a history is a write (its id) or something else that moves the offset (0). Offsets count
entries. Whoever reconnects continues where it was if its history is ours (or the one that ours
continues, up to where the two part) and what it misses is in the backlog; otherwise its dataset is
replaced by a copy of ours. Source: `masterTryPartialResync`, redis/src/replication.c (7.0.15).
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from everfly.sim.instance import SimInstance

NOTHING: Final = 0
"""An entry that is no write: replication's own PING."""


class Witness(Protocol):
    """Who is told what happens to data."""

    def note_promotion(self, instance: "SimInstance") -> None:
        """Take it that an instance is about to become a primary, or is told to be one."""
        ...

    def note_loss(self, instance: "SimInstance", gone: list[int]) -> None:
        """Take it that a primary started again without these writes."""
        ...


@dataclass(slots=True, eq=False)
class Dataset:
    """One instance's data."""

    history: str
    backlog_max: int
    has_second_history: bool
    """Whether it can continue another's history: Dragonfly cannot."""
    log: list[int] = field(default_factory=list)
    """Ids of the writes applied, in order."""
    written_at: list[int] = field(default_factory=list)
    """When each of them was applied here."""
    offset: int = 0
    history_before: str = ""
    before_until: int = 0
    """Up to which offset the history before is also ours."""
    backlog: deque[int] = field(default_factory=deque)

    def append(self, entry: int, now: int) -> None:
        """Apply one entry."""
        self.offset += 1
        self.backlog.append(entry)
        if len(self.backlog) > self.backlog_max:
            self.backlog.popleft()
        if entry != NOTHING:
            self.log.append(entry)
            self.written_at.append(now)

    def can_continue(self, history: str, offset: int) -> bool:
        """Whether somebody with this history and offset needs no copy."""
        is_ours = history == self.history and offset <= self.offset
        is_before = history == self.history_before != "" and offset <= self.before_until
        return (is_ours or is_before) and self.offset - offset <= len(self.backlog)

    def since(self, offset: int) -> list[int]:
        """Return the entries after an offset."""
        return list(islice(self.backlog, len(self.backlog) - (self.offset - offset), None))

    def begin_history(self, history: str) -> None:
        """Become a primary: what follows is a new history, which continues the one before."""
        if self.has_second_history:
            self.history_before, self.before_until = self.history, self.offset
        self.history = history

    def continue_history(self, history: str) -> None:
        """Follow a primary whose history continues ours."""
        if history != self.history:
            self.begin_history(history)

    def copy_from(self, other: "Dataset", now: int) -> None:
        """Be replaced by a copy."""
        self.log = list(other.log)
        self.written_at = [now] * len(self.log)
        self.offset = other.offset
        self.history = other.history
        self.history_before = ""
        self.backlog.clear()

    def snapshot(self) -> "Dataset":
        """Return a copy that later writes do not change."""
        copy = Dataset(self.history, 0, self.has_second_history)
        copy.log, copy.offset = list(self.log), self.offset
        return copy

    def restart(self, history: str, *, keep: int) -> None:
        """Be what a new process finds on disk: the first `keep` writes, under a new history."""
        del self.log[keep:]
        del self.written_at[keep:]
        self.offset = 0
        self.history, self.history_before = history, ""
        self.backlog.clear()

    def written_before(self, when: int) -> int:
        """Return how many writes were applied before an instant."""
        count = len(self.written_at)
        while count and self.written_at[count - 1] >= when:
            count -= 1
        return count
