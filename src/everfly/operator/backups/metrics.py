"""Turn backups into the text that Prometheus scrapes, by data store."""

from collections.abc import Callable, Iterable
from typing import Final

from everfly.operator.apiserver.caches import Key
from everfly.operator.backups.desk import Tally
from everfly.operator.backups.progress import Phase, Progress, progress_of
from everfly.operator.backups.sight import BackupSight
from everfly.operator.manifest import text
from everfly.wire.exposition import Family, Histogram, Kind

_STORE = ("namespace", "name")

BACKUPS: Final = Family(
    "everfly_operator_backups", Kind.GAUGE, "Backups by their phase.", (*_STORE, "phase")
)
AGE: Final = Family(
    "everfly_operator_backup_age_seconds", Kind.GAUGE, "Age of the last good backup.", _STORE
)
KEYS: Final = Family(
    "everfly_operator_backup_keys", Kind.GAUGE, "Keys in the last good backup.", _STORE
)
MEMORY: Final = Family(
    "everfly_operator_backup_memory_bytes",
    Kind.GAUGE,
    "Memory that the data of the last good backup take.",
    _STORE,
)
LENGTH: Final = Family(
    "everfly_operator_backup_last_seconds", Kind.GAUGE, "How long the last good one took.", _STORE
)
FAILURES: Final = Family(
    "everfly_operator_backup_failures_total", Kind.COUNTER, "Attempts that failed.", _STORE
)
TIMES: Final = Family(
    "everfly_operator_backup_seconds", Kind.HISTOGRAM, "How long good backups took."
)
_OF_THE_LAST: Final[tuple[tuple[Family, Callable[[Progress, float], float]], ...]] = (
    (AGE, lambda each, now: max(0.0, now - each.completed_at)),
    (LENGTH, lambda each, _: each.completed_at - each.started_at),
    (KEYS, lambda each, _: each.cut.keys if each.cut is not None else 0),
    (MEMORY, lambda each, _: each.cut.memory_bytes if each.cut is not None else 0),
)
LIMITS: Final = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0)


def metrics_text(
    backups: Iterable[tuple[Key, BackupSight]],
    tallies: dict[Key, Tally],
    now: float,
    times: Histogram,
) -> str:
    """Return all metrics of backups; `now` is in seconds since 1970."""
    counts: dict[tuple[str, str, str], int] = {}
    last: dict[Key, Progress] = {}
    for (namespace, _), each in backups:
        store, progress = (namespace, text(each.spec, "store")), progress_of(each.status)
        row = (*store, progress.phase.value)
        counts[row] = counts.get(row, 0) + 1
        is_good = progress.phase is Phase.COMPLETED
        if is_good and progress.completed_at > last.get(store, Progress()).completed_at:
            last[store] = progress
    parts = [BACKUPS.head(), *(BACKUPS.sample(count, *row) for row, count in counts.items())]
    for family, measure in _OF_THE_LAST:
        parts.append(family.head())
        parts += [family.sample(measure(each, now), *store) for store, each in last.items()]
    parts.append(FAILURES.head())
    for store, tally in tallies.items():
        parts.append(FAILURES.sample(tally.attempts_failed, *store))
        for seconds in tally.seconds:
            times.add(seconds)
        tally.seconds.clear()
    parts += [TIMES.head(), TIMES.buckets(times)]
    return "".join(parts)
