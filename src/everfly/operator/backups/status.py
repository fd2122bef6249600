"""Turn how far a backup is into the conditions of its status, and into sentences for people."""

from typing import Final

from everfly.operator.backups.place import Place, Snapshot, told
from everfly.operator.backups.progress import Phase, Progress, stamp_of
from everfly.operator.manifest import Json, JsonObject, objects, text

_KINDS: Final = (("Complete", Phase.COMPLETED), ("Failed", Phase.FAILED))


def with_conditions(before: JsonObject, fields: dict[str, Json], now: float) -> dict[str, Json]:
    """Return the fields of a status with its conditions; `now` is in seconds since 1970."""
    known = {text(each, "type"): each for each in objects(before, "conditions")}
    phase, message = text(fields, "phase"), text(fields, "lastError")
    conditions: list[Json] = []
    for kind, holds in _KINDS:
        state = "True" if phase == holds.value else "False"
        old = known.get(kind, {})
        since = text(old, "lastTransitionTime") if text(old, "status") == state else ""
        conditions.append(
            {
                "type": kind,
                "status": state,
                "reason": phase,
                "message": message,
                "lastTransitionTime": since or stamp_of(now),
            }
        )
    return {**fields, "conditions": conditions}


def told_of(name: str, place: Place, progress: Progress) -> str:
    """Return a sentence about a backup."""
    cut = progress.cut
    if progress.phase is Phase.COMPLETED and cut is not None:
        where = told(Snapshot(place, progress.basename))
        seconds = progress.completed_at - progress.started_at
        return f"backup {name}: {cut.keys} keys of {cut.source} are at {where}, in {seconds:.0f} s"
    if progress.phase is Phase.FAILED:
        return f"backup {name} failed for good after {progress.attempt} attempts: " + (
            progress.last_error
        )
    if progress.phase is Phase.PENDING:
        return f"backup {name}: attempt {progress.attempt} failed: {progress.last_error}"
    return f"backup {name}: attempt {progress.attempt} begins"
