"""Turn the runs of `scale.py` into a table, and into what breaks a limit."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table

from fake_instances import HELLO_PERIOD_S, PEERS, REPLICAS

CPU_RATIO_MAX: Final = 1.5
MEMORY_RATIO_MAX: Final = 3.0
DISCOVERY_RATIO_MAX: Final = 0.2
"""Of the time beyond the floor. The floor is the period of the other Sentinels' hellos: of each
group each of them is heard once in it, so nobody knows all of them sooner."""
MANY: Final = 500
"""From so many groups on the discovery of the genuine one is limited by its file; with fewer, both
wait for the same hellos and INFO replies."""

WRITES_MAX: Final = 20
LATE_MS_MAX: Final = 1_000
"""Who is not let run for so long is not measured: a second later a Sentinel calls it TILT."""


@dataclass
class Run:
    """One Sentinel at one size. Times in seconds, unless the name says milliseconds."""

    kind: str
    groups: int
    load: float
    discovery_s: float | None = None
    """None: not within the patience; then nothing else was measured in a steady state."""
    discovery_cpu_s: float = 0.0
    cpu_percent: float = 0.0
    rss_mb: float = 0.0
    rss_peak_mb: float = 0.0
    files: int = 0
    answer_ms: tuple[float, float] = (0.0, 0.0)
    """Of PING by a client: median and 99th percentile."""
    ping_interval_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Between two PINGs to one instance: median, 99th percentile and longest."""
    writes: int = 0
    tilts: int = 0
    sdowns: int = 0
    fakes_cpu_percent: list[float] = field(default_factory=list)
    fakes_late_ms: float = 0.0

    @property
    def beyond_floor_s(self) -> float | None:
        """What the discovery took beyond what it takes anybody, at least 10 ms; None: too long."""
        if self.discovery_s is None:
            return None
        return max(0.01, self.discovery_s - HELLO_PERIOD_S)


def middle_of(runs: list[Run]) -> Run:
    """Return one run of the median figures of several, and of their worst counts of faults."""
    if len(runs) == 1:
        return runs[0]

    def median(figure: Callable[[Run], float]) -> float:
        return statistics.median(map(figure, runs))

    has_given_up = any(run.discovery_s is None for run in runs)
    return Run(
        kind=runs[0].kind,
        groups=runs[0].groups,
        load=median(lambda run: run.load),
        discovery_s=None if has_given_up else median(lambda run: run.discovery_s or 0.0),
        discovery_cpu_s=median(lambda run: run.discovery_cpu_s),
        cpu_percent=median(lambda run: run.cpu_percent),
        rss_mb=median(lambda run: run.rss_mb),
        rss_peak_mb=median(lambda run: run.rss_peak_mb),
        files=max(run.files for run in runs),
        answer_ms=(median(lambda run: run.answer_ms[0]), median(lambda run: run.answer_ms[1])),
        ping_interval_ms=(
            median(lambda run: run.ping_interval_ms[0]),
            median(lambda run: run.ping_interval_ms[1]),
            max(run.ping_interval_ms[2] for run in runs),
        ),
        writes=max(run.writes for run in runs),
        tilts=max(run.tilts for run in runs),
        sdowns=max(run.sdowns for run in runs),
        fakes_cpu_percent=runs[-1].fakes_cpu_percent,
        fakes_late_ms=max(run.fakes_late_ms for run in runs),
    )


BEYOND_FLOOR: Final = f"beyond the floor of {HELLO_PERIOD_S:g} s, s"

ROWS: Final = {
    "CPU, % of a core": lambda run: f"{run.cpu_percent:.1f}",
    "memory now / peak, MB": lambda run: f"{run.rss_mb:.1f} / {run.rss_peak_mb:.1f}",
    "all discovered after, s": lambda run: (
        "too long" if run.discovery_s is None else f"{run.discovery_s:.1f}"
    ),
    BEYOND_FLOOR: lambda run: (
        "too long" if run.beyond_floor_s is None else f"{run.beyond_floor_s:.1f}"
    ),
    "CPU spent until then, s": lambda run: f"{run.discovery_cpu_s:.1f}",
    "answer to PING p50 / p99, ms": lambda run: " / ".join(f"{each:.1f}" for each in run.answer_ms),
    "own PINGs every p50 / p99 / max, ms": lambda run: " / ".join(
        f"{each:.0f}" for each in run.ping_interval_ms
    ),
    "writes of the file": lambda run: str(run.writes),
    "TILT": lambda run: str(run.tilts),
    "false +sdown": lambda run: str(run.sdowns),
    "open files": lambda run: str(run.files),
    "fakes: CPU, %": lambda run: " + ".join(f"{each:.0f}" for each in run.fakes_cpu_percent),
    "fakes: late at most, ms": lambda run: f"{run.fakes_late_ms:.0f}",
}


def ratios(ours: Run, theirs: Run, patience: float) -> dict[str, tuple[float, float]]:
    """Return each ratio that has a limit, with the limit. A run that gave up gives a bound."""
    found: dict[str, tuple[float, float]] = {}
    if ours.beyond_floor_s is not None and ours.groups >= MANY:
        found[BEYOND_FLOOR] = (
            ours.beyond_floor_s / (theirs.beyond_floor_s or patience),
            DISCOVERY_RATIO_MAX,
        )
    if ours.discovery_s is not None and theirs.discovery_s is not None:
        found["CPU, % of a core"] = (ours.cpu_percent / theirs.cpu_percent, CPU_RATIO_MAX)
        found["memory now / peak, MB"] = (ours.rss_mb / theirs.rss_mb, MEMORY_RATIO_MAX)
    return found


def table_of(runs: list[Run], patience: float) -> Table:
    """Return the table of one size: ours first, a column of ratios for each other kind."""
    title = f"{runs[0].groups} primaries x {REPLICAS} replicas, {PEERS + 1} Sentinels"
    table = Table(title=title, title_justify="left")
    table.add_column("one Sentinel process")
    for run in runs:
        table.add_column(run.kind, justify="right", no_wrap=True)
    for run in runs[1:]:
        table.add_column(f"{runs[0].kind} / {run.kind} (limit)", justify="right", no_wrap=True)
    compared = [ratios(runs[0], theirs, patience) for theirs in runs[1:]]
    for label, shown in ROWS.items():
        cells = [
            f"{each[label][0]:.2f} ({each[label][1]:g})" if label in each else ""
            for each in compared
        ]
        table.add_row(label, *map(shown, runs), *cells)
    return table


def failures(runs: list[Run], patience: float) -> list[str]:
    """Return what `--check` finds wrong with ours at one size, as sentences."""
    ours = runs[0]
    where = f"{ours.groups} primaries"
    found: list[str] = []
    if ours.discovery_s is None:
        found.append(f"{where}: not everything was discovered within {patience:g} s")
    late = [run.kind for run in runs if run.fakes_late_ms > LATE_MS_MAX]
    if late:
        found.append(
            f"{where}: the fakes were late by more than {LATE_MS_MAX} ms in the runs of "
            f"{', '.join(late)}: this machine is too busy to say anything; try again"
        )
    if ours.tilts or ours.sdowns:
        found.append(f"{where}: {ours.tilts} TILT, {ours.sdowns} false +sdown; there must be none")
    if ours.writes > WRITES_MAX:
        found.append(f"{where}: {ours.writes} writes of the file; the limit is {WRITES_MAX}")
    for theirs in runs[1:]:
        for label, (value, limit) in ratios(ours, theirs, patience).items():
            if value > limit:
                found.append(
                    f"{where}: {label}: {ours.kind} / {theirs.kind} is {value:.2f}; "
                    f"the limit is {limit:g}"
                )
    return found
