"""Turn reports into what a terminal shows: bars, numbers, and what each Sentinel said.

Nothing is told by colour alone, and a pipe gets the same words as a terminal.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from everfly.drill.faults import NATURES
from everfly.drill.measures import measures
from everfly.drill.record import Record
from everfly.drill.report import Bar, Report, about, bars, merged, spread
from everfly.observe.printable import printable

BAR_COLUMNS: Final = 30
"""What 80 columns leave beside the names and the numbers."""

NUMBER_COLUMNS: Final = 7
"""Of a time in ms, which is never cut: up to a quarter of an hour with its comma."""

PIPE_COLUMNS: Final = 160
"""A file or a pipe has no edge to wrap at."""

GOOD: Final = "●"
BAD: Final = "✗"
_QUIET: Final = frozenset({"+role-change", "-role-change"})


def show(console: Console, reports: Sequence[Report]) -> None:
    """Print one report in full, or of several the summary and what was wrong."""
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    if len(reports) == 1:
        console.print(render(reports[0]))
    else:
        console.print(render_summary(reports))


def render(report: Report) -> RenderableType:
    """Return the view of one run."""
    record = report.record
    nature = NATURES[record.fault]
    head = Text.assemble(
        (f"{record.fault.value}", "bold"),
        f": the drill {nature.summary}\n",
        (setting(record), "dim"),
    )
    return Group(
        head,
        Text(),
        _bar_table(report),
        Text(),
        _number_table(report),
        Text(),
        _said_table(record),
        Text(),
        *_verdict(report),
    )


def setting(record: Record) -> str:
    """Return one line on what ran: engine, Sentinels, settings, victim."""
    return (
        f"1 + {len(record.instances) - 1} instances of {record.engine}, "
        f"{len(record.sentinels)} Sentinels ({record.sentinel_kind}), down-after "
        f"{record.down_after_ms} ms; victim: {record.victim}"
    )


def render_summary(reports: Sequence[Report]) -> RenderableType:
    """Return minimum, median and maximum of several runs, and each problem of any."""
    record = reports[0].record
    table = _table("", "minimum", "median", "maximum", "runs")
    for column in table.columns[1:]:
        column.justify = "right"
    for measure in measures(reports):
        limits = spread(measure.values)
        count = sum(value is not None for value in measure.values)
        if limits is not None:
            table.add_row(
                Text(measure.name), *(Text(f"{each:,.0f}") for each in limits), str(count)
            )
    parts: list[RenderableType] = [
        Text.assemble((record.fault.value, "bold"), f", {len(reports)} runs\n"),
        Text(setting(record).partition("; victim")[0], style="dim"),
        Text(),
        table,
        Text(),
    ]
    for number, report in enumerate(reports, 1):
        parts += [Text(f"run {number}: ") + line for line in _lines(report)]
    passed = sum(report.is_passed for report in reports)
    mark, style = (GOOD, "green") if passed == len(reports) else (BAD, "red")
    parts.append(Text.assemble((mark, style), f" {passed} of {len(reports)} runs passed"))
    return Group(*parts)


def _lines(report: Report) -> Iterator[Text]:
    for problem in report.problems:
        yield Text.assemble((BAD, "red"), " ", printable(problem, 400))
    for remark in report.remarks:
        yield Text.assemble("  ", printable(remark, 400))


def _verdict(report: Report) -> Iterator[Text]:
    yield from _lines(report)
    if report.is_passed:
        yield Text.assemble((GOOD, "green"), " passed: everything is as it must be")


def _bar_table(report: Report) -> Table:
    table = _table("", "from ms", "to ms", "")
    for column in table.columns[1:3]:
        column.justify, column.min_width = "right", NUMBER_COLUMNS
    shown = bars(report)
    length = max((bar.end for bar in shown), default=0.0) or 1.0
    for bar in shown:
        style = "red" if bar.name.startswith("clients") else "green"
        table.add_row(
            Text(bar.name),
            Text(f"{bar.start:,.0f}"),
            Text(f"{bar.end:,.0f}"),
            Text(_drawn(bar, length), style=style),
        )
    return table


def _drawn(bar: Bar, length: float) -> str:
    start = min(BAR_COLUMNS - 1, round(max(0.0, bar.start) / length * BAR_COLUMNS))
    end = max(start + 1, round(bar.end / length * BAR_COLUMNS))
    return "·" * start + "█" * (end - start) + "·" * (BAR_COLUMNS - end)


def _number_table(report: Report) -> Table:
    table = _table("", "")
    table.show_header = False
    table.columns[1].justify = "right"
    for measure in measures([report]):
        value = measure.values[0]
        table.add_row(Text(measure.name), Text("-" if value is None else f"{value:,.0f}"))
    return table


def _said_table(record: Record) -> Table:
    table = _table("ms", *record.sentinels, "event", "about")
    for column in table.columns[: 1 + len(record.sentinels)]:
        column.justify, column.min_width = "right", NUMBER_COLUMNS
    rows: list[tuple[float, tuple[str | Text, ...]]] = [
        (
            row.at,
            (
                f"{row.at:,.0f}",
                *(
                    f"{row.times[each]:,.0f}" if each in row.times else "·"
                    for each in record.sentinels
                ),
                Text(row.channel, style="bold" if row.channel == "+switch-master" else ""),
                Text(about(row, record)),
            ),
        )
        for row in merged(record)
        if row.channel not in _QUIET
    ]
    rows += [
        (
            mark.at,
            (f"{mark.at:,.0f}", *("" for _ in record.sentinels), "", Text(mark.text, "bold")),
        )
        for mark in record.marks
    ]
    for _, cells in sorted(rows, key=lambda row: row[0]):
        table.add_row(*cells)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(Text(column), no_wrap=True)
    return table
