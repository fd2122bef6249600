"""Draw what happened in a drill as SVG: lanes for clients, Sentinels, instances and phases.

Pure. The drawing takes its colours from the page (CSS classes), tells nothing by colour alone
(states are written into their bars, notices have shapes), and escapes all text. A full description
of each mark and bar shows when the pointer rests on it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from everfly.drill.record import Record, Writes
from everfly.drill.report import Bar, Report, Row, about, bars

WIDTH: Final = 1_060.0
LEFT: Final = 190.0
"""For the names of the lanes. All of these are in pixels of the drawing."""
RIGHT: Final = 20.0
TOP: Final = 54.0
LANE: Final = 26.0
GAP: Final = 16.0
HISTOGRAM: Final = 72.0
SMALL_HISTOGRAM: Final = 40.0
LETTER: Final = 6.4
"""Width of a letter of the small print, to know what fits."""

BIN_MS: Final = 50.0
FINE_BIN_MS: Final = 10.0
FINE_BELOW_MS: Final = 1_500.0
"""A short window is drawn finer."""

TICKS: Final = (1, 2, 5)
TICKS_MAX: Final = 12
LABEL_ROWS: Final = 2

SHAPES: Final = {
    "+sdown": ("down", "M0,-6 L6,5 L-6,5 Z"),
    "+odown": ("agreed", "M0,-7 L7,0 L0,7 L-7,0 Z"),
    "+elected-leader": ("elected", "M-5,-5 H5 V5 H-5 Z"),
    "+promoted-slave": ("promoted", "M0,6 L6,-5 L-6,-5 Z"),
    "+switch-master": ("switched", "M-6,0 a6,6 0 1,0 12,0 a6,6 0 1,0 -12,0 Z"),
}
"""Notice -> (class, path around 0,0): the steps of a failover."""

OTHER_SHAPE: Final = ("other", "M-0.75,-6 H0.75 V6 H-0.75 Z")


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the time that is drawn, in milliseconds since the fault."""

    start: float
    end: float

    @property
    def bin_ms(self) -> float:
        """How much time one bar of a histogram is about."""
        return FINE_BIN_MS if self.end - self.start < FINE_BELOW_MS else BIN_MS

    def x(self, at: float) -> float:
        """Return where a time is, kept within the plot."""
        inside = min(max(at, self.start), self.end)
        return LEFT + (inside - self.start) / (self.end - self.start) * (WIDTH - LEFT - RIGHT)

    def has(self, start: float, end: float | None = None) -> bool:
        """Return whether a time, or any of a span, is within."""
        return self.start <= (start if end is None else end) and start <= self.end


def draw(report: Report, window: Window, title: str) -> str:
    """Return an SVG element of what happened within a window."""
    record = report.record
    parts: list[str] = []
    y = TOP
    for height, lane in _lanes(report, window):
        parts.append(lane(y))
        y += height
    bottom = y + 4
    return "\n".join(
        (
            (
                f'<svg viewBox="0 0 {WIDTH:g} {bottom + 26:g}" role="img" '
                f'xmlns="http://www.w3.org/2000/svg">'
            ),
            f"<title>{escape(title)}</title>",
            *_axis(window, bottom),
            *_actions(record, window, bottom),
            *parts,
            "</svg>",
        )
    )


_Lane = Callable[[float], str]


def _lanes(report: Report, window: Window) -> Iterator[tuple[float, _Lane]]:
    """Yield (height, function of the upper edge) for each lane, top down."""
    record = report.record
    hint = f"writes per {window.bin_ms:g} ms"
    yield (
        HISTOGRAM + GAP,
        lambda y: _histogram(record.writes, window, ("clients", hint), y, HISTOGRAM),
    )
    stubborn = record.stubborn
    if stubborn is not None:
        yield (
            SMALL_HISTOGRAM + GAP,
            lambda y: _histogram(
                stubborn, window, ("old primary", "who stays there"), y, SMALL_HISTOGRAM
            ),
        )
    for name in record.sentinels:
        yield LANE, lambda y, name=name: _notices(record, window, name, y)  # type: ignore[misc]  # bound now
    yield GAP, lambda _: ""
    for name in record.instances:
        yield LANE, lambda y, name=name: _roles(record, window, name, y)  # type: ignore[misc]  # as above
    yield GAP, lambda _: ""
    for bar in bars(report):
        if window.has(bar.start, bar.end):
            yield LANE - 4, lambda y, bar=bar: _phase(bar, window, y)  # type: ignore[misc]  # as above


def _axis(window: Window, bottom: float) -> Iterator[str]:
    length = window.end - window.start
    step = next(
        unit * 10**power
        for power in range(1, 8)
        for unit in TICKS
        if length / (unit * 10**power) <= TICKS_MAX
    )
    at = -(-window.start // step) * step
    while at <= window.end:
        x = window.x(at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6:g}" y2="{bottom:g}"/>'
        yield _text(x, bottom + 16, f"{at:,.0f} ms", "tick middle")
        at += step


def _actions(record: Record, window: Window, bottom: float) -> Iterator[str]:
    """Draw what the drill did as lines from top to bottom; the labels take turns in rows."""
    row = 0
    for mark in record.marks:
        if not window.has(mark.at):
            continue
        x, y = window.x(mark.at), 14.0 + 16 * (row % LABEL_ROWS)
        row += 1
        yield f'<line class="action" x1="{x:.1f}" x2="{x:.1f}" y1="{y + 4:g}" y2="{bottom:g}"/>'
        # Where the right edge is near, the label stands left of its line.
        is_left = x + len(mark.text) * LETTER > WIDTH - RIGHT
        place = "label end" if is_left else "label"
        yield _text(x - 4 if is_left else x + 4, y + 2, mark.text, place)


def _histogram(
    writes: Writes, window: Window, names: tuple[str, str], y: float, height: float
) -> str:
    size = window.bin_ms
    lost = Counter(at // size for at in writes.lost)
    counts = Counter(at // size for at in writes.acknowledged)
    most = max(counts.values(), default=1)
    parts = [_name(names[0], y + height / 2 - 2), _text(0, y + height / 2 + 13, names[1], "hint")]
    base = y + height
    for number, count in sorted(counts.items()):
        start = number * size
        if not window.has(start, start + size):
            continue
        x = window.x(start)
        width = max(0.8, window.x(start + size) - x - 0.6)
        tall = count / most * height
        said = f"{count} writes in the {size:g} ms from {start:,.0f} ms"
        said += f", {lost[number]} of them lost" if lost[number] else ""
        parts.append(_box("writes", (x, base - tall, width, tall), said))
        if lost[number]:
            tall = lost[number] / most * height
            parts.append(_box("lost", (x, base - tall, width, tall), said))
    parts.append(
        f'<line class="base" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{base:g}" y2="{base:g}"/>'
    )
    return "\n".join(parts)


def _notices(record: Record, window: Window, sentinel: str, y: float) -> str:
    middle = y + LANE / 2
    parts = [
        _name(sentinel, middle + 4),
        (
            f'<line class="base" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" '
            f'y1="{middle:g}" y2="{middle:g}"/>'
        ),
    ]
    said = [each for each in record.said if each.sentinel == sentinel and window.has(each.at)]
    # The steps of a failover last, so that they lie on top.
    for each in sorted(said, key=lambda each: each.channel in SHAPES):
        is_step = each.channel in SHAPES and not each.payload.startswith(("slave", "sentinel"))
        is_step = is_step or each.channel == "+promoted-slave"
        kind, path = SHAPES[each.channel] if is_step else OTHER_SHAPE
        whom = about(Row(each.channel, each.payload, {}), record)
        parts.append(
            f'<path class="notice {kind}" d="{path}" '
            f'transform="translate({window.x(each.at):.1f},{middle:g})">'
            f"<title>{escape(f'{each.at:,.0f} ms: {each.channel} {whom}')}</title></path>"
        )
    return "\n".join(parts)


def _roles(record: Record, window: Window, instance: str, y: float) -> str:
    parts = [_name(instance, y + LANE / 2 + 4)]
    for span in record.spans:
        if span.instance != instance or not window.has(span.start, span.end):
            continue
        x, width = _extent(window, span.start, span.end)
        said = f"{span.state} from {span.start:,.0f} to {span.end:,.0f} ms"
        parts.append(_box(f"role {span.state}", (x, y + 3, width, LANE - 6), said))
        if width > (len(span.state) + 2) * LETTER:
            style = f"in {span.state}"
            parts.append(_text(x + 6, y + LANE / 2 + 4, span.state, style))
    return "\n".join(parts)


def _phase(bar: Bar, window: Window, y: float) -> str:
    height = LANE - 4
    x, width = _extent(window, bar.start, bar.end)
    style = "phase stall" if bar.name.startswith("clients") else "phase"
    said = f"{bar.end - bar.start:,.0f} ms"
    label = f"{bar.name}: from {bar.start:,.0f} to {bar.end:,.0f} ms"
    fits = x + width + (len(said) + 1) * LETTER < WIDTH - RIGHT
    place = _text(x + width + 5, y + height / 2 + 4, said, "hint")
    if not fits:
        place = _text(x - 5, y + height / 2 + 4, said, "hint end")
    return "\n".join(
        (
            _name(bar.name, y + height / 2 + 4, "name step"),
            _box(style, (x, y + 4, width, height - 8), label),
            place,
        )
    )


def _extent(window: Window, start: float, end: float) -> tuple[float, float]:
    x = window.x(start)
    return x, max(2.0, window.x(end) - x)


def _name(text: str, y: float, style: str = "name") -> str:
    return _text(0, y, text, style)


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _box(style: str, box: Sequence[float], said: str) -> str:
    x, y, width, height = box
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}">'
        f"<title>{escape(said)}</title></rect>"
    )
