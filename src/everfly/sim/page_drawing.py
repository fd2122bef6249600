"""Draw the lanes of one world as SVG.

Pure. Colours come from the page (CSS classes); nothing is told by colour alone: states are written
into their bars, notices have shapes, faults have numbers; all text is escaped. What a mark, a bar
or an arrow is shows when the pointer rests on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final

from everfly.sim.checkers import Violation
from everfly.sim.lanes import Arrow, Band, Lane, Picture
from everfly.sim.world import Kind, Mark

WIDTH: Final = 1_160.0
LEFT: Final = 150.0
"""For the names of the lanes. All of these are in pixels of the drawing."""
RIGHT: Final = 24.0
TOP: Final = 62.0
LANE: Final = 34.0
WIDE_LANE: Final = 58.0
"""Where arrows go between lanes."""
BAR: Final = 16.0
GAP: Final = 14.0
"""Between Sentinels and instances."""
LETTER: Final = 6.2
"""Width of a letter of the small print, to know what fits."""
ARROWS_MAX: Final = 700
"""More are a wall of ink; routine ones go first."""
LABELS_MAX: Final = 60

_TICKS: Final = (1, 2, 5)
_TICKS_MAX: Final = 12

SHAPES: Final = {
    "down": ("finds something down (+sdown)", "M0,-6 L6,5 L-6,5 Z"),
    "agreed": ("a quorum agrees (+odown)", "M0,-7 L7,0 L0,7 L-7,0 Z"),
    "vote": ("votes", "M-6,0 L0,-3 L6,0 L0,3 Z"),
    "elected": ("leads a failover (+elected-leader)", "M-5,-5 H5 V5 H-5 Z"),
    "promoted": ("chooses or sees a promotion", "M0,6 L6,-5 L-6,-5 Z"),
    "switched": ("moves the group (+switch-master)", "M-6,0 a6,6 0 1,0 12,0 a6,6 0 1,0 -12,0 Z"),
    "other": ("anything else", "M-0.75,-6 H0.75 V6 H-0.75 Z"),
}
"""Class of a notice -> what it means, path around 0,0."""

_CLASSES: Final = {
    "+sdown": "down",
    "+odown": "agreed",
    "+vote-for-leader": "vote",
    "+elected-leader": "elected",
    "+selected-slave": "promoted",
    "+promoted-slave": "promoted",
    "+switch-master": "switched",
}


_TIP: Final = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path class="tip" d="M0,0 L8,4 L0,8 Z"/></marker></defs>'
)
"""The head of an arrow."""


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the time that is drawn, in ms."""

    start: int
    end: int

    def x(self, at: float) -> float:
        """Return where a time is, kept within the plot."""
        inside = min(max(at, self.start), self.end)
        share = (inside - self.start) / max(1, self.end - self.start)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def has(self, start: int, end: int | None = None) -> bool:
        """Return whether a time, or any of a span, is within."""
        return self.start <= (start if end is None else end) and start <= self.end


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn, which part of it, and where the lanes are."""

    picture: Picture
    window: Window
    violations: tuple[Violation, ...]
    with_arrows: bool

    def middles(self) -> dict[str, float]:
        """Return the middle of every lane."""
        height = WIDE_LANE if self.with_arrows else LANE
        found = {}
        at = TOP
        kind = ""
        for lane in self.picture.lanes:
            at += GAP if kind and lane.kind != kind else 0
            kind = lane.kind
            found[lane.name] = at + height / 2
            at += height
        return found

    @property
    def bottom(self) -> float:
        """Return where the lanes end."""
        height = WIDE_LANE if self.with_arrows else LANE
        return max(self.middles().values(), default=TOP) + height / 2


def draw(plot: Plot, title: str) -> str:
    """Return an SVG element."""
    head = (
        f'<svg viewBox="0 0 {WIDTH:g} {plot.bottom + 28:g}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>'
    )
    parts = [head, _TIP, *_axis(plot), *_bands(plot), *_lanes(plot)]
    if plot.with_arrows:
        parts += _arrows(plot)
    return "\n".join([*parts, *_notices(plot), *_violations(plot), "</svg>"])


def _axis(plot: Plot) -> Iterator[str]:
    window = plot.window
    bottom = plot.bottom
    for at in ticks(window):
        x = window.x(at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6:g}" y2="{bottom:g}"/>'
        yield (f'<text class="tick middle" x="{x:.1f}" y="{bottom + 18:g}">{at / 1000:g} s</text>')


def ticks(window: Window) -> list[int]:
    """Return round times within a window, not too many."""
    length = max(1, window.end - window.start)
    step = 1
    while True:
        for factor in _TICKS:
            if length / (step * factor) <= _TICKS_MAX:
                size = step * factor
                first = -(-window.start // size) * size
                return list(range(first, window.end + 1, size))
        step *= 10


def _bands(plot: Plot) -> Iterator[str]:
    window = plot.window
    middles = plot.middles()
    height = WIDE_LANE if plot.with_arrows else LANE
    for band in plot.picture.bands:
        if not window.has(band.start, band.end):
            continue
        left, right = window.x(band.start), window.x(band.end)
        width = max(right - left, 2.0)
        title = f"<title>fault {band.number}: {escape(band.text)}</title>"
        whole = [TOP - 4, plot.bottom] if not band.lanes else None
        tops = [whole[0]] if whole else [middles[name] - height / 2 for name in band.lanes]
        tall = whole[1] - whole[0] if whole else height
        for top in tops:
            yield (
                f'<g>{title}<rect class="fault" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
                f'height="{tall:.1f}"/></g>'
            )
        yield _flag(band, left)


def _flag(band: Band, left: float) -> str:
    # Numbers of faults that begin at about one time stand in two rows.
    y = TOP - 14 - 12 * (band.number % 2)
    return (
        f"<g><title>fault {band.number}: {escape(band.text)}</title>"
        f'<text class="flag middle" x="{left:.1f}" y="{y:g}">{band.number}</text></g>'
    )


def _lanes(plot: Plot) -> Iterator[str]:
    middles = plot.middles()
    for lane in plot.picture.lanes:
        y = middles[lane.name]
        name = escape(lane.name)
        yield f'<text class="label end" x="{LEFT - 10:g}" y="{y + 4:.1f}">{name}</text>'
        yield from _spans(lane, plot.window, y)


def _spans(lane: Lane, window: Window, y: float) -> Iterator[str]:
    for span in lane.spans:
        if not window.has(span.start, span.end):
            continue
        left, right = window.x(span.start), window.x(span.end)
        title = f"{lane.name}: {span.state}, {span.start / 1000:g} s to {span.end / 1000:g} s"
        yield (
            f'<g><title>{escape(title)}</title><rect class="state {escape(span.state)}" '
            f'x="{left:.1f}" y="{y - BAR / 2:.1f}" width="{max(right - left, 1):.1f}" '
            f'height="{BAR:g}" rx="3"/></g>'
        )
        is_worth_a_word = span.state != "up" and right - left > len(span.state) * LETTER + 8
        if is_worth_a_word:
            yield (
                f'<text class="in {escape(span.state)}" x="{left + 5:.1f}" y="{y + 4:.1f}">'
                f"{escape(span.state)}</text>"
            )


def _arrows(plot: Plot) -> Iterator[str]:
    middles = plot.middles()
    labels = 0
    for arrow in chosen_arrows(plot.picture, plot.window):
        message = arrow.message
        start, end = middles.get(message.source), middles.get(message.target)
        if start is None or end is None:
            continue
        is_lost = message.arrived_at is None
        arrived = message.sent_at + 150 if message.arrived_at is None else message.arrived_at
        x1, x2 = plot.window.x(message.sent_at), plot.window.x(arrived)
        down = 1 if end > start else -1
        y1, y2 = start + down * BAR / 2, end - down * BAR / 2
        if is_lost:
            y2 = y1 + (y2 - y1) * 0.7
        kind = f"{arrow.kind}{' lost' if is_lost else ''}"
        fate = "never arrived" if is_lost else f"arrived after {arrived - message.sent_at} ms"
        title = f"{message.source} to {message.target}, {message.sent_at / 1000:g} s, {fate}: "
        yield (
            f"<g><title>{escape(title + arrow.label)}</title>"
            f'<line class="arrow {kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'marker-end="url(#tip)"/></g>'
        )
        if arrow.is_order and labels < LABELS_MAX:
            # Near the head: several orders often start from one place at one time.
            labels += 1
            is_far = x2 > WIDTH * 0.8
            side, at = (" end", x2 - 6) if is_far else ("", x2 + 6)
            yield (
                f'<text class="hint{side}" x="{at:.1f}" y="{y2 - down * 5:.1f}">'
                f"{escape(arrow.label[:40])}</text>"
            )


def chosen_arrows(picture: Picture, window: Window) -> list[Arrow]:
    """Return the messages that are drawn within a window; of too many those that matter."""
    inside = [
        arrow for arrow in picture.arrows if window.start <= arrow.message.sent_at <= window.end
    ]
    rank = {"order": 0, "vote": 1, "hello": 2, "routine": 3}
    best = sorted(inside, key=lambda arrow: rank[arrow.kind])[:ARROWS_MAX]
    return sorted(best, key=lambda arrow: (-rank[arrow.kind], arrow.message.number))


def _notices(plot: Plot) -> Iterator[str]:
    middles = plot.middles()
    for lane in plot.picture.lanes:
        y = middles[lane.name]
        for mark in lane.notices:
            if plot.window.has(mark.at) and not _is_silent(mark):
                yield _notice(mark, plot.window.x(mark.at), y)


def _is_silent(mark: Mark) -> bool:
    """Whether a notice repeats at every start and switch what the picture shows anyway."""
    return mark.kind is Kind.NOTICE and mark.what.startswith(("+slave ", "+sentinel ", "+monitor "))


def _notice(mark: Mark, x: float, y: float) -> str:
    kind = _CLASSES.get(mark.what.partition(" ")[0], "other")
    path = SHAPES[kind][1]
    title = f"{mark.at / 1000:g} s {mark.who}: {mark.what}"
    return (
        f'<g transform="translate({x:.1f} {y:.1f})"><title>{escape(title)}</title>'
        f'<path class="notice {kind}" d="{path}"/></g>'
    )


def _violations(plot: Plot) -> Iterator[str]:
    shown: set[tuple[int, str]] = set()
    for violation in plot.violations:
        key = (violation.at, violation.rule)
        if key in shown or not plot.window.has(violation.at):
            continue
        shown.add(key)
        x = plot.window.x(violation.at)
        yield (
            f"<g><title>{escape(str(violation))}</title>"
            f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="20" y2="{plot.bottom:g}"/></g>'
        )
        if len(shown) == 1:
            is_right = x > WIDTH / 2
            side, at = ("end", x - 6) if is_right else ("", x + 6)
            yield (
                f'<text class="broken {side}" x="{at:.1f}" y="14">✗ {escape(violation.rule)}</text>'
            )
