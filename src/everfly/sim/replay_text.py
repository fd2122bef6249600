"""Turn a replay into a timeline that people read, or into lines of JSON."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from everfly.observe.printable import printable
from everfly.sim.replay import Decision, Replay

CHARS_MAX: Final = 2_000
"""Of one line: an instance may say anything, also in an error."""


def show(out: Console, replay: Replay) -> None:
    """Print what was replayed, each decision with its reasons, and whether it is what happened."""
    head = replay.head
    seconds = (replay.last - head.began) / 1000
    groups = ", ".join(
        f"{group.name} at {group.primary} (quorum {group.settings.quorum}, down-after "
        f"{group.settings.down_after} ms)"
        for group in head.state.groups
    )
    out.print(f"recording  {replay.path}", markup=False, soft_wrap=True)
    began = "goes on, after an earlier part in FILE.1, at" if head.checkpoint else "began"
    out.print(
        f"Sentinel   {head.state.me}, Everfly {head.version}; {began} {head.began_at}",
        soft_wrap=True,
    )
    out.print(f"groups     {groups or 'none at the start'}", markup=False, soft_wrap=True)
    out.print(
        f"length     {seconds:.3f} s, {replay.steps} steps, {len(replay.decisions)} decisions; "
        f"it ends because {replay.end or 'the core raised'}",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("time of day", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("what came in", max_width=44)
    table.add_column("what was decided, and why")
    for decision in replay.decisions:
        for number, line in enumerate(lines_of(decision)):
            if number == 0:
                since = decision.at - head.began
                cause, told = (
                    Text(printable(decision.cause, CHARS_MAX)),
                    Text(printable(line, CHARS_MAX)),
                )
                table.add_row(time_of_day(replay, decision.at), f"{since:,}", cause, told)
            else:
                table.add_row("", "", "", Text(printable(line, CHARS_MAX)))
    out.print(table)
    for line in verdict(replay):
        out.print(printable(line, CHARS_MAX), markup=False, soft_wrap=True)


def lines_of(decision: Decision) -> list[str]:
    """Return what was decided, a line each: notices, orders, reasons with their facts."""
    lines = [*decision.notices, *decision.orders]
    for reason in decision.reasons:
        lines.append(f"because: {reason.decision}")
        lines += [f"  {fact}" for fact in reason.facts]
    return lines


def verdict(replay: Replay) -> Iterator[str]:
    """Say whether the core decides now as it did then."""
    first = replay.first_divergence
    if replay.failure:
        yield f"FAILED    {replay.failure}"
    if first is not None:
        yield (
            f"DIVERGED  line {first.line}, {first.at - replay.head.began} ms, on: {first.cause}: "
            f"decided {first.recorded or 'nothing'} then and {first.now or 'nothing'} now; "
            f"{replay.divergences} of {replay.steps} steps differ. Recorded with Everfly "
            f"{replay.head.version}"
        )
        for effect in first.effects:
            yield f"          now: {effect}"
    elif not replay.failure:
        yield f"the same   all {replay.steps} steps are decided now as they were then"


def time_of_day(replay: Replay, at: int) -> str:
    """Return the time of day (UTC) of an instant of the recording."""
    began = datetime.fromisoformat(replay.head.began_at).astimezone(UTC)
    moment = began + timedelta(milliseconds=at - replay.head.began)
    return moment.strftime("%H:%M:%S.%f")[:-3]


def to_json(replay: Replay) -> Iterator[str]:
    """Return a line for each decision, and a last one for the whole."""
    began = replay.head.began
    for decision in replay.decisions:
        yield json.dumps(
            {
                "line": decision.line,
                "ms": decision.at - began,
                "time": time_of_day(replay, decision.at),
                "cause": decision.cause,
                "notices": decision.notices,
                "orders": decision.orders,
                "reasons": [
                    {"decision": reason.decision, "facts": reason.facts}
                    for reason in decision.reasons
                ],
            }
        )
    first = replay.first_divergence
    yield json.dumps(
        {
            "run_id": replay.head.state.me,
            "version": replay.head.version,
            "began_at": replay.head.began_at,
            "ms": replay.last - began,
            "steps": replay.steps,
            "decisions": len(replay.decisions),
            "end": replay.end,
            "failure": replay.failure,
            "divergences": replay.divergences,
            "first_divergence": None
            if first is None
            else {
                "line": first.line,
                "ms": first.at - began,
                "cause": first.cause,
                "recorded": first.recorded,
                "now": first.now,
                "effects": first.effects,
            },
        }
    )
