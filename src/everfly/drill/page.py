"""Turn the reports of a drill into one page that needs nothing else: HTML with pictures in it.

Well-formed as XML too, without scripts and without anything from elsewhere (a policy in the page
forbids both); every text from outside is escaped. It follows the reader's choice of light or dark.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from everfly.drill.drawing import SHAPES, Window, draw
from everfly.drill.faults import NATURES
from everfly.drill.measures import Measure, measures
from everfly.drill.record import Record
from everfly.drill.report import Report, about, merged, spread
from everfly.drill.style import STYLE
from everfly.drill.text import setting
from everfly.observe.offline_page import offline_page

BEFORE_MS: Final = 1_000.0
"""Drawn of the time before the fault."""

AROUND_MS: Final = 120.0
"""Drawn before and after the failover in its own picture."""

ZOOM_MIN: Final = 3.0
"""The failover gets a picture of its own when it would be smaller than a third of the whole."""

RUNS_DRAWN: Final = 20
"""Of many runs the first so many are drawn, and every one that was not passed."""

_NAMES: Final = {
    "+sdown": "calls it down (+sdown)",
    "+odown": "quorum agrees (+odown)",
    "+elected-leader": "leads the failover (+elected-leader)",
    "+promoted-slave": "sees the promotion (+promoted-slave)",
    "+switch-master": "announces the new primary (+switch-master)",
}


def page(reports: Sequence[Report]) -> str:
    """Return the text of the page about these runs, of which there is at least one."""
    record = reports[0].record
    passed = sum(report.is_passed for report in reports)
    verdict = "passed" if passed == len(reports) else "not passed"
    count = f"{passed} of {len(reports)} runs passed" if len(reports) > 1 else verdict
    title = f"everfly drill {record.fault.value}: {count}"
    body = [
        f"<h1>everfly drill <em>{escape(record.fault.value)}</em></h1>",
        (
            f'<p class="verdict {"good" if passed == len(reports) else "bad"}">'
            f"{'●' if passed == len(reports) else '✗'} {escape(count)}</p>"
        ),
        (
            f"<p>The drill {escape(NATURES[record.fault].summary)}, while clients write and read. "
            "All times are in milliseconds since the fault.</p>"
        ),
        (
            f'<p class="quiet">{escape(setting(record).partition("; victim")[0])}; '
            f"{escape(record.began_at)}</p>"
        ),
    ]
    if len(reports) > 1:
        body += ["<h2>All runs</h2>", _summary(list(measures(reports)))]
        for number, report in enumerate(reports, 1):
            if number <= RUNS_DRAWN or not report.is_passed:
                state = "passed" if report.is_passed else "not passed"
                # An attribute needs a value to be well-formed XML.
                is_open = ' open="open"' if number == 1 or not report.is_passed else ""
                body += [f"<details{is_open}><summary>run {number}: {state}</summary>"]
                body += [*_run(report), "</details>"]
    else:
        body += _run(reports[0])
    return offline_page(title, STYLE, body)


def _run(report: Report) -> Iterator[str]:
    record = report.record
    for problem in report.problems:
        yield f'<p class="bad">✗ {escape(problem)}</p>'
    for remark in report.remarks:
        yield f"<p>{escape(remark)}</p>"
    whole = Window(max(record.start, -BEFORE_MS), record.end)
    zoom = _zoom(report, whole)
    if zoom is not None:
        yield "<h2>The failover</h2>"
        yield _figure(draw(report, zoom, "The failover, in detail"))
    yield "<h2>The whole drill</h2>"
    yield _figure(draw(report, whole, "The whole drill"))
    yield _legend()
    yield "<h2>Figures</h2>"
    yield _figures(list(measures([report])))
    yield "<h2>What the Sentinels said</h2>"
    yield _notices(record)


def _zoom(report: Report, whole: Window) -> Window | None:
    phases = report.phases
    steps = [phases.first_sdown, phases.elected, phases.first_switch, phases.first_write]
    known = [each for each in steps if each is not None]
    if phases.first_switch is None or not known:
        return None
    start, end = min(known) - AROUND_MS, max(known) + AROUND_MS
    is_small = (end - start) * ZOOM_MIN < whole.end - whole.start
    return Window(max(start, whole.start), min(end, whole.end)) if is_small else None


def _figure(drawing: str) -> str:
    return f"<figure>{drawing}</figure>"


def _legend() -> str:
    items = [
        f'<span><svg class="key" viewBox="-8 -8 16 16" xmlns="http://www.w3.org/2000/svg">'
        f'<path class="notice {kind}" d="{path}"/></svg> {escape(_NAMES[channel])}</span>'
        for channel, (kind, path) in SHAPES.items()
    ]
    items.append('<span class="bad">red bars: acknowledged, and lost</span>')
    return f'<p class="legend">{" ".join(items)}</p>'


def _summary(every: Sequence[Measure]) -> str:
    rows = []
    for measure in every:
        limits = spread(measure.values)
        if limits is not None:
            cells = "".join(f"<td>{value:,.0f}</td>" for value in limits)
            rows.append(f'<tr><th scope="row">{escape(measure.name)}</th>{cells}</tr>')
    return _table(["", "minimum", "median", "maximum"], rows)


def _figures(every: Sequence[Measure]) -> str:
    rows = [
        f'<tr><th scope="row">{escape(measure.name)}</th><td>'
        + ("-" if measure.values[0] is None else f"{measure.values[0]:,.0f}")
        + "</td></tr>"
        for measure in every
    ]
    return _table([], rows)


def _notices(record: Record) -> str:
    rows = [
        (
            row.at,
            "".join(
                f"<td>{row.times[name]:,.0f}</td>" if name in row.times else "<td>·</td>"
                for name in record.sentinels
            )
            + f'<td class="text">{escape(row.channel)}</td>'
            + f'<td class="text">{escape(about(row, record))}</td>',
        )
        for row in merged(record)
    ]
    span = len(record.sentinels)
    rows += [
        (
            mark.at,
            (
                f'<td colspan="{span}"></td><td class="text"></td>'
                f'<td class="text"><strong>{escape(mark.text)}</strong></td>'
            ),
        )
        for mark in record.marks
    ]
    lines = [
        f'<tr><th scope="row" class="time">{at:,.0f}</th>{cells}</tr>'
        for at, cells in sorted(rows, key=lambda row: row[0])
    ]
    return _table(["ms", *record.sentinels, "event", "about"], lines)


def _table(columns: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    head = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return f'<div class="wide"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'
