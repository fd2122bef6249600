"""Turn how far a backup is into fields of its status, and back.

    phase: Saving                 Pending, Copying, Saving, Verifying, Completed or Failed
    attempt: 2                    the first is 1
    startedAt, attemptAt, completedAt
    ferry: {name, incarnation}    whose data are saved; another incarnation holds none
    source: cache-0
    lineage: {history, offset}    of which line of writes, and how far at least
    keys: 4711                    exactly those in the snapshot
    basename, location            where it is
    lastError                     of the attempt that failed last

Rules: nonsense counts as absent; what is written is read back as the same; nothing in it changes
while nothing happens.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from everfly.operator.backups.place import Place, Snapshot, place_fields, place_in, told
from everfly.operator.backups.sight import seconds_of
from everfly.operator.manifest import Json, JsonObject, part, text

_MESSAGE_LETTERS: Final = 1000


class Phase(Enum):
    """How far a backup is."""

    PENDING = "Pending"
    COPYING = "Copying"
    SAVING = "Saving"
    VERIFYING = "Verifying"
    COMPLETED = "Completed"
    FAILED = "Failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing more is done."""
        return self in (Phase.COMPLETED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Cut:
    """What was copied, at the moment when the ferry let go of the primary."""

    incarnation: str
    """Of the ferry that holds it."""
    source: str
    history: str
    offset: int
    keys: int = 0
    volatile_keys: int = 0
    """Those that expire by themselves."""
    memory_bytes: int = 0
    engine: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backup is. Times are seconds since 1970, 0.0 for none."""

    phase: Phase = Phase.PENDING
    attempt: int = 0
    started_at: float = 0.0
    attempt_at: float = 0.0
    completed_at: float = 0.0
    ferry: str = ""
    cut: Cut | None = None
    basename: str = ""
    """Of the snapshot of this attempt."""
    last_error: str = ""


def progress_of(status: JsonObject) -> Progress:
    """Return what a status says."""
    words = {each.value: each for each in Phase}
    return Progress(
        phase=words.get(text(status, "phase"), Phase.PENDING),
        attempt=_number(status, "attempt"),
        started_at=seconds_of(text(status, "startedAt")),
        attempt_at=seconds_of(text(status, "attemptAt")),
        completed_at=seconds_of(text(status, "completedAt")),
        ferry=text(status, "ferry", "name"),
        cut=_cut_of(status),
        basename=text(status, "basename"),
        last_error=text(status, "lastError"),
    )


def _cut_of(status: JsonObject) -> Cut | None:
    incarnation = text(status, "ferry", "incarnation")
    if not incarnation:
        return None
    lineage = part(status, "lineage")
    return Cut(
        incarnation=incarnation,
        source=text(status, "source"),
        history=text(lineage, "history"),
        offset=_number(lineage, "offset"),
        keys=_number(status, "keys"),
        volatile_keys=_number(status, "volatileKeys"),
        memory_bytes=_number(status, "memoryBytes"),
        engine=text(status, "engineVersion"),
    )


def _number(value: JsonObject, key: str) -> int:
    found = value.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def progress_fields(progress: Progress, place: Place) -> dict[str, Json]:
    """Return the fields of a status; None for what is to be taken away."""
    cut = progress.cut
    snapshot = Snapshot(place, progress.basename) if progress.basename else None
    lineage: Json = None if cut is None else {"history": cut.history, "offset": cut.offset}
    return {
        "phase": progress.phase.value,
        "attempt": progress.attempt,
        "startedAt": stamp_of(progress.started_at),
        "attemptAt": stamp_of(progress.attempt_at),
        "completedAt": stamp_of(progress.completed_at),
        "ferry": {
            "name": progress.ferry or None,
            "incarnation": cut.incarnation if cut is not None else None,
        },
        "source": cut.source if cut is not None else None,
        "lineage": lineage,
        "keys": cut.keys if cut is not None else None,
        "volatileKeys": cut.volatile_keys if cut is not None else None,
        "memoryBytes": cut.memory_bytes if cut is not None else None,
        "engineVersion": (cut.engine or None) if cut is not None else None,
        "basename": progress.basename or None,
        "location": told(snapshot) if snapshot is not None else None,
        "place": place_fields(place),
        "lastError": progress.last_error[:_MESSAGE_LETTERS] or None,
    }


def snapshot_of(status: JsonObject) -> Snapshot | None:
    """Return where a good backup is, or None when there is none."""
    place = place_in(part(status, "place"))
    progress = progress_of(status)
    if place is None or progress.phase is not Phase.COMPLETED or not progress.basename:
        return None
    return Snapshot(place, progress.basename)


def stamp_of(seconds: float) -> str | None:
    """Return a time as the API server writes it; None for none."""
    if not seconds:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
