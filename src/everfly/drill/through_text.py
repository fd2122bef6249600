"""Turn what clients of an endpoint saw into words for a terminal, and into JSON."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from everfly.drill.mixed import Seen
from everfly.drill.through import Through

PIPE_COLUMNS: Final = 160

_COUNTS: Final = (
    ("rounds", "rounds of work"),
    ("writes", "writes acknowledged"),
    ("reads", "reads answered"),
    ("messages", "messages heard"),
    ("lost", "acknowledged writes lost"),
    ("doubled", "writes carried out twice"),
    ("ambiguous", "writes answered by AMBIGUOUS"),
    ("aborted", "transactions under WATCH aborted"),
    ("read_errors", "reads failed"),
)


def show_through(console: Console, through: Through) -> None:
    """Print it."""
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    console.print(render_through(through))


def render_through(through: Through) -> RenderableType:
    """Return what a terminal shows."""
    head = Text(
        f"{through.passing.value}, {len(through.passages)} times, under {through.clients} clients "
        f"of the endpoint; {through.engine}",
        style="bold",
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    for words, times in (
        (
            "ms until commands went to the new primary",
            [each.change_ms for each in through.passages],
        ),
        ("ms that a client waited at most", [each.longest_ms for each in through.passages]),
        (
            "ms that the drill itself stood still at most",
            [each.standstill_ms for each in through.passages],
        ),
    ):
        table.add_row(_spread(times), words)
    for name, words in _COUNTS:
        table.add_row(str(getattr(through.seen, name)), words)
    for name, count in through.seen.errors.items():
        table.add_row(str(count), f"answered by {name}")
    problems = [*through.problems, *(text for each in through.passages for text in each.problems)]
    verdict = [Text(f"✗ {problem}", style="red") for problem in problems]
    if not problems:
        verdict = [Text("● everything was as it must be", style="green")]
    return Group(head, Text(), table, Text(), *verdict)


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "-"
    return f"{min(times):.0f} / {median(times):.0f} / {max(times):.0f}"


def through_to_json(through: Through) -> dict[str, object]:
    """Return it as an object for JSON; times in milliseconds."""
    return {
        "drill": through.passing.value,
        "through": "endpoint",
        "engine": through.engine,
        "clients": through.clients,
        "passed": through.is_passed,
        "problems": list(through.problems),
        "seen": _seen(through.seen),
        "changes": [
            {
                "from": each.old,
                "to": each.new,
                "change_ms": round(each.change_ms, 1),
                "longest_wait_ms": round(each.longest_ms, 1),
                "standstill_ms": round(each.standstill_ms, 1),
                "problems": list(each.problems),
            }
            for each in through.passages
        ],
    }


def _seen(seen: Seen) -> dict[str, object]:
    return {name: getattr(seen, name) for name, _ in _COUNTS} | {"errors": dict(seen.errors)}
