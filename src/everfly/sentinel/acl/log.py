"""Remember what was refused, newest first, repeats within a minute as one entry.

Source: `addACLLogEntry`, redis/src/acl.c (7.0.15).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from everfly.sentinel.acl.selectors import Reason

GROUPING_MS: Final = 60_000
"""Source: `ACL_LOG_GROUPING_MAX_TIME_DELTA` (7.0.15)."""
COMPARED: Final = 10
"""How many of the newest entries a new one is compared with. Source: `addACLLogEntry` (7.0.15)."""
LENGTH: Final = 128
"""Default of `acllog-max-len`. Source: redis/src/config.c (7.0.15)."""
LENGTH_MAX: Final = 1_000
"""Whatever the file says: strangers fill it, with up to 16 KB each."""
OBJECT_CHARS_MAX: Final = 4_096
"""Of a channel or a user's name as a stranger gave it. Redis keeps all of it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused to whom."""

    reason: Reason
    object: str
    """The command, the channel, or what was to prove who somebody is (`AUTH`)."""
    username: str


@dataclass(slots=True)
class Entry:
    """One or more refusals of the same kind."""

    id: int
    refusal: Refusal
    created_ms: int
    updated_ms: int
    """Both: Unix time."""
    client: bytes
    """The last one that met it, as CLIENT LIST shows it."""
    count: int = 1


class AclLog:
    """The newest refusals."""

    def __init__(self, length: int = LENGTH) -> None:
        self.entries: Final[list[Entry]] = []
        self.counts: Final[Counter[Reason]] = Counter()
        """All refusals since the start, by reason."""
        self._length = min(length, LENGTH_MAX)
        self._next_id = 0

    def add(self, refusal: Refusal, client: bytes, now_ms: int) -> None:
        """Add a refusal. `now_ms` is Unix time."""
        self.counts[refusal.reason] += 1
        refusal = Refusal(
            refusal.reason,
            refusal.object[:OBJECT_CHARS_MAX],
            refusal.username[:OBJECT_CHARS_MAX],
        )
        for entry in self.entries[:COMPARED]:
            if entry.refusal == refusal and now_ms - entry.updated_ms <= GROUPING_MS:
                entry.client, entry.updated_ms = client, now_ms
                entry.count += 1
                self.entries.remove(entry)
                self.entries.insert(0, entry)
                return
        self.entries.insert(0, Entry(self._next_id, refusal, now_ms, now_ms, client))
        self._next_id += 1
        del self.entries[self._length :]

    def clear(self) -> None:
        """Forget all entries."""
        self.entries.clear()
