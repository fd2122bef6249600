"""Draw conclusions from what a drill saw: phases, what clients felt, and whether all is as it must.

Pure. All times are milliseconds since the fault. A problem is a sentence; none means that the drill
was passed.
"""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from everfly.drill.faults import NATURES
from everfly.drill.record import Record, Said
from everfly.local.view import subject
from everfly.observe.events import Event

STALL_MS: Final = 50.0
"""A pause between two acknowledged writes that counts as time without writes: 25 times the pause
that the writer makes itself."""

_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)

DEMOTION_MS: Final = 250.0
"""From the agreement of a majority to the moment when the old primary obeys: an order and its
answer on a loaded machine. Genuine Sentinels take 10 s."""

SAME_WITHIN_MS: Final = 3_000.0
"""Window in which the same words of another Sentinel are the same event: a leader that waits for
its replicas says +switch-master a second or two after the others."""

STANDSTILL_MS: Final = 100.0
"""From here on it is worth telling that the drill itself stood still."""

NOTEWORTHY: Final = ("+tilt", "-failover-abort-")
"""What makes a failover slow or fail; it is no fault of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """When what happened. None: not at all."""

    first_sdown: float | None
    all_sdown: float | None
    """When the last Sentinel called the primary down, if all did."""
    odown: float | None
    elected: float | None
    promoted: float | None
    first_switch: float | None
    all_switched: float | None
    """When the last Sentinel said +switch-master, if all did."""
    first_write: float | None
    """When the first write was acknowledged by another instance than the old primary."""
    well: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of the way back, with its limits."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """What the writer that never left the old primary lost."""

    acknowledged: int
    """Since the fault."""
    lost: int
    window: float
    """From the first to the last lost write."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event on the merged timeline: who said it, and when first."""

    channel: str
    payload: str
    times: dict[str, float]

    @property
    def at(self) -> float:
        """When it was said first."""
        return min(self.times.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run showed."""

    record: Record
    phases: Phases
    failovers: int
    attempts: int
    """Elections that were started; more than failovers: some found no winner."""
    without_writes: float
    """Sum of all pauses longer than STALL_MS since the fault."""
    pause: tuple[float, float]
    """The longest one between two acknowledged writes: its start and its end."""
    stale: Stale | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def longest_pause(self) -> float:
        """How long the longest pause between two acknowledged writes was."""
        return self.pause[1] - self.pause[0]

    @property
    def is_passed(self) -> bool:
        """Whether everything was as it must be."""
        return not self.problems


def conclude(record: Record) -> Report:
    """Return what a record means."""
    pauses = _pauses(record)
    longest = max(pauses, key=lambda pause: pause[1] - pause[0], default=(0.0, 0.0))
    failovers = _failovers(record)
    return Report(
        record=record,
        phases=_phases(record),
        failovers=failovers,
        attempts=sum(each.channel == "+try-failover" for each in _after(record)),
        without_writes=sum(end - start for start, end in pauses if end - start > STALL_MS),
        pause=longest,
        stale=_stale(record),
        problems=tuple(_problems(record, failovers, longest[1])),
        remarks=tuple(_remarks(record)),
    )


def bars(report: Report) -> list[Bar]:
    """Return the parts of the way back that there were, in order."""
    phases = report.phases
    steps: tuple[tuple[str, float | None], ...] = (
        ("noticed by the first Sentinel", phases.first_sdown),
        ("agreed on (quorum)", phases.odown),
        ("leader elected", phases.elected),
        ("replica promoted", phases.promoted),
        ("first Sentinel announces", phases.first_switch),
        ("all Sentinels agree", phases.all_switched),
    )
    found: list[Bar] = []
    start = 0.0
    for name, at in steps:
        if at is not None:
            found.append(Bar(name, min(start, at), at))
            start = max(start, at)
    if report.longest_pause > STALL_MS:
        found.append(Bar("clients cannot write", *report.pause))
    if phases.well is not None:
        found.append(Bar("everything is well again", min(start, phases.well), phases.well))
    return found


def merged(record: Record) -> list[Row]:
    """Return what the Sentinels said since just before the fault, the same words in one row."""
    rows: list[Row] = []
    for said in record.said:
        words = said.payload.partition(" #")[0]
        for row in reversed(rows):
            is_same = (row.channel, row.payload.partition(" #")[0]) == (said.channel, words)
            if is_same and said.sentinel not in row.times and said.at - row.at <= SAME_WITHIN_MS:
                row.times[said.sentinel] = said.at
                break
        else:
            rows.append(Row(said.channel, said.payload, {said.sentinel: said.at}))
    return sorted(rows, key=lambda row: row.at)


def about(row: Row, record: Record) -> str:
    """Return whom something that was said is about, by name where that is known."""
    event = Event(at=_NO_TIME, sources=(), channel=row.channel, payload=row.payload)
    return subject(event, record.names)


def spread(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    """Return minimum, median and maximum of what there is; None: there is nothing."""
    known = [value for value in values if value is not None]
    return (min(known), statistics.median(known), max(known)) if known else None


def _after(record: Record) -> list[Said]:
    return [each for each in record.said if each.at >= 0]


def _pauses(record: Record) -> list[tuple[float, float]]:
    """Return the pauses between acknowledged writes that reach beyond the fault."""
    times = [*record.writes.acknowledged, record.end]
    before = [record.start, *record.writes.acknowledged]
    return [(start, end) for start, end in zip(before, times, strict=True) if end >= 0]


def _phases(record: Record) -> Phases:
    first_of: dict[str, dict[str, float]] = {}
    for said in _after(record):
        # Replicas and Sentinels go down too; the phases are those of the primary.
        if said.channel in ("+sdown", "+odown") and not said.payload.startswith("master "):
            continue
        first_of.setdefault(said.channel, {}).setdefault(said.sentinel, said.at)

    def first(channel: str) -> float | None:
        return min(first_of.get(channel, {}).values(), default=None)

    def by_all(channel: str) -> float | None:
        times = first_of.get(channel, {})
        return max(times.values()) if len(times) == len(record.sentinels) else None

    return Phases(
        first_sdown=first("+sdown"),
        all_sdown=by_all("+sdown"),
        odown=first("+odown"),
        elected=first("+elected-leader"),
        promoted=first("+promoted-slave"),
        first_switch=first("+switch-master"),
        all_switched=by_all("+switch-master"),
        first_write=next(
            (at for at, name in record.writes.moves if at >= 0 and name != record.old_primary), None
        ),
        well=record.well_at,
    )


def _switches(record: Record) -> Counter[str]:
    """Return how many changes of the primary each Sentinel announced."""
    return Counter(each.sentinel for each in _after(record) if each.channel == "+switch-master")


def _failovers(record: Record) -> int:
    promotions = sum(each.channel == "+promoted-slave" for each in _after(record))
    return max([promotions, *_switches(record).values()])


def _stale(record: Record) -> Stale | None:
    writes = record.stubborn
    if writes is None:
        return None
    lost = writes.lost
    return Stale(
        acknowledged=sum(at >= 0 for at in writes.acknowledged),
        lost=len(lost),
        window=lost[-1] - lost[0] if lost else 0.0,
    )


def _problems(record: Record, failovers: int, pause_end: float) -> Iterator[str]:
    expected = NATURES[record.fault].failovers
    if failovers != expected:
        wanted = "exactly one" if expected else "none"
        yield f"{_count(failovers, 'failover')}, where there must be {wanted}"
    switches = _switches(record)
    for name in record.sentinels:
        if switches[name] != expected and failovers == expected:
            yield f"{name} said +switch-master {_count(switches[name], 'time')}, not {expected}"
    lost = [at for at in record.writes.lost if not _may_be_lost(record, at)]
    if lost:
        yield f"{_lost_words(record, lost)}"
    if record.writes.counted != record.writes.summed and record.writes.counted is not None:
        yield (
            f"the final dataset contradicts itself: its counter says {record.writes.counted}, "
            f"its keys add up to {record.writes.summed}"
        )
    if pause_end == record.end and record.end - _last_write(record) > STALL_MS:
        yield f"no write was possible any more: {record.writes.last_failure or 'no answer'}"
    yield from record.trouble


def _remarks(record: Record) -> Iterator[str]:
    counts = Counter(each.channel for each in _after(record) if each.channel.startswith(NOTEWORTHY))
    for channel, count in sorted(counts.items()):
        yield f"{channel} was said {_count(count, 'time')}"
    excused = [at for at in record.writes.lost if _may_be_lost(record, at)]
    if excused:
        yield f"{_lost_words(record, excused)}: {NATURES[record.fault].may_lose_until_agreed}"
    if record.standstill > STANDSTILL_MS:
        yield (
            f"the drill itself stood still for {record.standstill:.0f} ms, for the machine was "
            "busy: what happened then is dated too late"
        )
    doubled = record.writes.doubled
    if doubled:
        yield (
            f"{_count(doubled, 'write')} carried out twice: the answer was lost, so the client "
            "sent it again"
        )


def _may_be_lost(record: Record, at: float) -> bool:
    switched: dict[str, float] = {}
    for said in _after(record):
        if said.channel == "+switch-master":
            switched.setdefault(said.sentinel, said.at)
    majority = len(record.sentinels) // 2 + 1
    if not NATURES[record.fault].may_lose_until_agreed or len(switched) < majority:
        return False
    # The leader says it last, when its replicas follow; a majority knows long before.
    return 0 <= at <= sorted(switched.values())[majority - 1] + DEMOTION_MS


def _lost_words(record: Record, lost: Sequence[float]) -> str:
    return (
        f"{_count(len(lost), 'acknowledged write')} of {len(record.writes.acknowledged)} lost, "
        f"acknowledged {lost[0]:.0f} to {lost[-1]:.0f} ms after the fault"
    )


def _last_write(record: Record) -> float:
    return record.writes.acknowledged[-1] if record.writes.acknowledged else record.start


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
