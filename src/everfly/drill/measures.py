"""List every figure of a drill once, for the terminal, the page and JSON. Times are in ms."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from everfly.drill.report import Report

_Take = Callable[[Report], float | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure and its value in each run; None: there was nothing to measure."""

    key: str
    """For programs."""
    name: str
    """For people."""
    values: tuple[float | None, ...]


_ALWAYS: Final[tuple[tuple[str, str, _Take], ...]] = (
    ("first_sdown_ms", "first +sdown, ms", lambda it: it.phases.first_sdown),
    ("all_sdown_ms", "all +sdown, ms", lambda it: it.phases.all_sdown),
    ("odown_ms", "first +odown, ms", lambda it: it.phases.odown),
    ("elected_ms", "leader elected, ms", lambda it: it.phases.elected),
    ("promoted_ms", "replica promoted, ms", lambda it: it.phases.promoted),
    ("first_switch_ms", "first +switch-master, ms", lambda it: it.phases.first_switch),
    ("all_switched_ms", "all Sentinels agree, ms", lambda it: it.phases.all_switched),
    ("first_write_ms", "first write at the new primary, ms", lambda it: it.phases.first_write),
    ("without_writes_ms", "time without writes, ms", lambda it: it.without_writes),
    ("longest_pause_ms", "longest pause between writes, ms", lambda it: it.longest_pause),
    ("well_ms", "everything well again, ms", lambda it: it.phases.well),
    (
        "writes_acknowledged",
        "writes acknowledged",
        lambda it: len(it.record.writes.acknowledged),
    ),
    ("writes_lost", "writes lost", lambda it: len(it.record.writes.lost)),
    ("writes_doubled", "writes carried out twice", lambda it: it.record.writes.doubled),
    ("write_failures", "failed attempts to write", lambda it: it.record.writes.failures),
    ("reads_answered", "reads answered", lambda it: it.record.reads.answered),
    ("reads_failed", "reads failed", lambda it: it.record.reads.failed),
    ("failovers", "failovers", lambda it: it.failovers),
    ("elections", "elections", lambda it: it.attempts),
)

_OF_STALE: Final[tuple[tuple[str, str, _Take], ...]] = (
    (
        "stubborn_acknowledged",
        "writes to the old primary since the fault",
        lambda it: None if it.stale is None else it.stale.acknowledged,
    ),
    (
        "stubborn_lost",
        "... of these lost",
        lambda it: None if it.stale is None else it.stale.lost,
    ),
    (
        "stubborn_window_ms",
        "... from the first to the last, ms",
        lambda it: None if it.stale is None else it.stale.window,
    ),
)


def measures(reports: Sequence[Report]) -> Iterator[Measure]:
    """Yield every figure with its values in these runs, in the order of a report."""
    has_stale = any(report.stale is not None for report in reports)
    for key, name, take in (*_ALWAYS, *(_OF_STALE if has_stale else ())):
        yield Measure(key, name, tuple(take(report) for report in reports))
