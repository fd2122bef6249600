"""Turn one world into a page that needs nothing else: HTML with pictures in it.

Well-formed as XML too, without scripts and without anything from elsewhere (a policy in the page
forbids both); every text from the world is escaped. It follows the reader's choice of light or
dark.
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from everfly.observe.offline_page import offline_page
from everfly.sim.lanes import Picture, picture_of, window_of
from everfly.sim.page_drawing import SHAPES, Plot, Window, chosen_arrows, draw
from everfly.sim.page_style import STYLE
from everfly.sim.run import Outcome
from everfly.sim.story import Event, about, chosen_events, names
from everfly.sim.world import Kind

MESSAGES_MAX: Final = 400
"""In the table: those that matter, of the time that is drawn in detail."""

_LINES: Final = {Kind.FAULT: "fault-line", Kind.RULE: "rule-line"}


def page(outcome: Outcome) -> str:
    """Return the text of the page about this world. With messages it also has arrows."""
    is_broken = bool(outcome.violations)
    verdict = f"broken: {outcome.violations[0].rule}" if is_broken else "no rule is broken"
    title = f"everfly sim, seed {outcome.seed}: {verdict}"
    picture = picture_of(outcome)
    body = [
        f"<h1>everfly sim, seed {outcome.seed}</h1>",
        (
            f'<p class="verdict {"bad" if is_broken else "good"}">'
            f"{'✗' if is_broken else '●'} {escape(verdict)}</p>"
        ),
        f'<p class="quiet">{escape(about(outcome).partition(": ")[2])}</p>',
        *_violations(outcome),
        "<h2>What happened</h2>",
        _story(chosen_events(outcome)),
        *_pictures(outcome, picture),
        *_faults(outcome),
    ]
    return offline_page(title, STYLE, body)


def _violations(outcome: Outcome) -> Iterator[str]:
    if not outcome.violations:
        return
    yield "<ul>"
    for violation in outcome.violations[:10]:
        yield f'<li class="bad">{escape(str(violation))}</li>'
    if len(outcome.violations) > 10:
        yield f"<li>and {len(outcome.violations) - 10} more</li>"
    yield "</ul>"


def _story(events: Sequence[Event]) -> str:
    lines = []
    for event in events:
        who = "" if event.kind in {*_LINES, Kind.WORLD} else names(event.who)
        said = f'<span class="who">{escape(who)}</span>' if who else ""
        mark = {Kind.FAULT: "fault: ", Kind.RULE: "✗ "}.get(event.kind, "")
        lines.append(
            f'<li><span class="time">{event.at / 1000:.3f} s</span>'
            f'<span class="{_LINES.get(event.kind, "line")}">{said}{mark}{escape(event.text)}'
            "</span></li>"
        )
    return f'<ol class="story">{"".join(lines)}</ol>'


def _pictures(outcome: Outcome, picture: Picture) -> Iterator[str]:
    detail = Window(*window_of(outcome))
    violations = outcome.violations
    if outcome.messages:
        place = "around the broken rule" if violations else "around the first trouble"
        title = f"In detail, {place}"
        yield f"<h2>{title}</h2>"
        yield f"<figure>{draw(Plot(picture, detail, violations, with_arrows=True), title)}</figure>"
        yield _legend(with_arrows=True)
    yield "<h2>The whole world</h2>"
    whole = Plot(picture, Window(0, picture.end), violations, with_arrows=False)
    yield f"<figure>{draw(whole, 'The whole world')}</figure>"
    if not outcome.messages:
        yield _legend(with_arrows=False)
    yield from _messages(picture, detail)


def _legend(*, with_arrows: bool) -> str:
    items = [
        f'<span><svg class="key" viewBox="-8 -8 16 16" xmlns="http://www.w3.org/2000/svg">'
        f'<path class="notice {kind}" d="{path}"/></svg> {escape(words)}</span>'
        for kind, (words, path) in SHAPES.items()
    ]
    if with_arrows:
        items += [
            f'<span><svg class="key" viewBox="0 0 16 16" xmlns="http://www.w3.org/2000/svg">'
            f'<line class="arrow {kind}" x1="1" y1="13" x2="15" y2="3"/></svg> {words}</span>'
            for kind, words in (
                ("order", "order to an instance, and its answer"),
                ("vote", "question to a Sentinel, and its answer"),
                ("hello", "hello"),
                ("routine", "PING, INFO, replication, clients"),
                ("order lost", "dashed: never arrived"),
            )
        ]
    items.append(
        '<span class="bad">numbers and shades: faults; the red line: the broken rule</span>'
    )
    return f'<p class="legend">{" ".join(items)}</p>'


def _faults(outcome: Outcome) -> Iterator[str]:
    if not outcome.faults:
        return
    yield "<h2>Faults</h2>"
    rows = [
        f'<tr><td class="number">{number}</td><td class="number">{fault.at / 1000:.3f} s</td>'
        f"<td>{escape(fault.kind)}</td><td>{escape(fault.target)}</td>"
        f'<td class="number">{fault.duration / 1000:.3f} s</td><td>{escape(fault.detail)}</td></tr>'
        for number, fault in enumerate(outcome.faults, 1)
    ]
    head = ('<th class="number">#</th>', '<th class="number">at</th>', "<th>what</th>")
    tail = ("<th>whom</th>", '<th class="number">for</th>', "<th></th>")
    yield _table("".join((*head, *tail)), rows)


def _messages(picture: Picture, window: Window) -> Iterator[str]:
    telling = [arrow for arrow in chosen_arrows(picture, window) if arrow.kind in {"order", "vote"}]
    if not telling:
        return
    telling.sort(key=lambda arrow: arrow.message.number)
    rows = []
    for arrow in telling[:MESSAGES_MAX]:
        message = arrow.message
        took = "lost" if message.arrived_at is None else f"{message.arrived_at - message.sent_at}"
        rows.append(
            f'<tr><td class="number">{message.sent_at / 1000:.3f} s</td>'
            f"<td>{escape(message.source)}</td><td>{escape(message.target)}</td>"
            f'<td class="number">{took}</td><td>{escape(arrow.label)}</td></tr>'
        )
    yield f"<details><summary>Orders and questions in detail ({len(rows)})</summary>"
    head = '<th class="number">sent</th><th>from</th><th>to</th><th class="number">ms</th>'
    yield _table(f"{head}<th>what</th>", rows)
    yield "</details>"


def _table(head: str, rows: Sequence[str]) -> str:
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
