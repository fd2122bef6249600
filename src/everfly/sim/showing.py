"""Carry out `everfly sim`: run, shrink or replay, and show what came of it.

Each function returns the exit status: 0 nothing was broken, 1 something was.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from everfly.compiled import overlay
from everfly.errors import SettingsError
from everfly.sim import minimise as shrinking
from everfly.sim.many import Result, results, summary
from everfly.sim.page import page
from everfly.sim.profiles import ANY, profile_of
from everfly.sim.replay import replay
from everfly.sim.replay_text import show, to_json
from everfly.sim.run import Outcome, draw_plan, run_plan
from everfly.sim.seeds import Seeds
from everfly.sim.story import full_trace, story

BROKEN: Final = 3
"""Exit status where a rule was broken, which is no failure of the program."""
BROKEN_SHOWN: Final = 20
"""Failing worlds that get a line each; a broken rule fails hundreds."""

FILE_WIDTH: Final = 160
"""Of a table that goes into a file or a pipe, where nothing says how wide it may be."""

SHRINK_S: Final = 60.0
"""How long the first failing world of many is shrunk: enough for nearly all."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to show, and how."""

    html: Path | None = None
    """Where to write a page; None: nowhere."""
    as_json: bool = False
    is_full: bool = False
    """The whole trace instead of a story."""
    jobs: int = 1
    profile: str = ANY.name
    """Kind of world; see `profiles`."""


def replayed(path: Path, *, as_json: bool) -> int:
    """Replay a recording and show its decisions. Raises SettingsError."""
    errors = Console(stderr=True)
    size = path.stat().st_size if path.exists() else 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        task = progress.add_task("replaying", total=size)
        found = replay(path, lambda read: progress.update(task, completed=read))
    if as_json:
        for line in to_json(found):
            click.echo(line)
    else:
        out = Console(highlight=False)
        if not out.is_terminal:
            out.width = FILE_WIDTH
        show(out, found)
    return 0 if found.is_faithful else 1


def told(seed: int, wish: Wish) -> int:
    """Run one world and tell its story."""
    plan = draw_plan(seed, profile=profile_of(wish.profile))
    outcome = run_plan(plan, records_messages=wish.html is not None)
    _show_world(outcome, wish)
    if outcome.violations and not wish.as_json:
        click.echo(f"shrink it with: everfly sim --minimise {seed}", err=True)
    return BROKEN if outcome.violations else 0


def shrunk(seed: int, wish: Wish) -> int:
    """Shrink a failing world and tell its story."""
    outcome = run_plan(draw_plan(seed, profile=profile_of(wish.profile)))
    if not outcome.violations:
        click.echo(f"seed {seed} breaks no rule: there is nothing to shrink", err=True)
        _show_world(outcome, wish)
        return 0
    _show_world(_shrink(outcome, shrinking.LIMIT_S, wish), wish)
    return BROKEN


def many(worlds: Seeds, wish: Wish) -> int:
    """Run worlds with progress, and tell the story of the first that failed."""
    began = time.monotonic()
    tally = _Tally(worlds)
    errors = Console(stderr=True)
    span = f"{worlds.first}..{'' if worlds.end is None else worlds.end}"
    how = "" if overlay.used() is None else ", compiled"
    errors.print(f"seeds {span}, {wish.jobs} at a time{how}", markup=False, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        total = None if worlds.end is None else worlds.end - worlds.first
        task = progress.add_task("worlds", total=total)
        for result in results(worlds, wish.jobs, wish.profile):
            tally.add(result)
            if result.violations and len(tally.broken) <= BROKEN_SHOWN:
                progress.console.print(
                    f"seed {result.seed}: {result.violations[0]}", markup=False, highlight=False
                )
            if wish.as_json:
                click.echo(json.dumps(asdict(result)))
            progress.update(task, advance=1, description=tally.brief(time.monotonic() - began))
    elapsed = time.monotonic() - began
    if not wish.as_json:
        click.echo(tally.sum_up(elapsed))
    if not tally.broken:
        return 0
    _tell_broken(tally, errors)
    first = run_plan(draw_plan(tally.broken[0].seed, profile=profile_of(wish.profile)))
    if not wish.as_json or wish.html is not None:
        _show_world(_shrink(first, SHRINK_S, wish), Wish(wish.html, is_full=wish.is_full))
    return BROKEN


@dataclass(slots=True)
class _Tally:
    """What came of many worlds."""

    worlds: Seeds
    count: int = 0
    steps: int = 0
    last: int = -1
    broken: list[Result] = field(default_factory=list)
    slowest: Result | None = None

    def add(self, result: Result) -> None:
        self.count += 1
        self.steps += result.steps
        self.last = result.seed
        if result.violations:
            self.broken.append(result)
        if self.slowest is None or result.seconds > self.slowest.seconds:
            self.slowest = result

    def brief(self, elapsed: float) -> str:
        rate = self.count / max(elapsed, 0.001)
        return f"{self.count} worlds, {len(self.broken)} broken, {rate:.1f} worlds/s"

    def sum_up(self, elapsed: float) -> str:
        slowest = ""
        if self.slowest is not None:
            slowest = f"; slowest: seed {self.slowest.seed}, {self.slowest.seconds:.2f} s"
        return (
            f"{self.count} worlds, seeds {self.worlds.first}..{self.last}, {len(self.broken)} "
            f"broken; {self.count / elapsed:.1f} worlds/s, {self.steps / elapsed:,.0f} steps/s"
            f"{slowest}"
        )


def _tell_broken(tally: _Tally, errors: Console) -> None:
    rules: dict[str, list[int]] = {}
    for result in tally.broken:
        for rule in result.rules:
            rules.setdefault(rule, []).append(result.seed)
    for rule, seeds in rules.items():
        shown = ", ".join(map(str, seeds[:BROKEN_SHOWN]))
        more = "" if len(seeds) <= BROKEN_SHOWN else f" and {len(seeds) - BROKEN_SHOWN} more"
        text = f"rule `{rule}` is broken by {len(seeds)} worlds: seeds {shown}{more}"
        errors.print(text, markup=False, highlight=False)
    seed = tally.broken[0].seed
    errors.print(f"look at the first with: everfly sim --minimise {seed} --html world.html")


def _shrink(outcome: Outcome, limit_s: float, wish: Wish) -> Outcome:
    """Shrink with progress; with messages, where a page is wanted."""
    errors = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        task = progress.add_task(f"shrinking seed {outcome.seed}")

        def on_try(now: shrinking.Progress) -> None:
            text = f"shrinking seed {outcome.seed}: {now.tries} worlds, {now.faults} faults left"
            progress.update(task, description=f"{text}; now {now.step}")

        small = shrinking.minimise(outcome, limit_s=limit_s, on_try=on_try)
    return run_plan(small.plan, records_messages=True) if wish.html is not None else small


def _show_world(outcome: Outcome, wish: Wish) -> None:
    if wish.as_json:
        click.echo(json.dumps(asdict(summary(outcome, 0.0))))
    else:
        for line in full_trace(outcome) if wish.is_full else story(outcome):
            click.echo(line)
    if wish.html is not None:
        try:
            wish.html.write_text(page(outcome), encoding="utf-8")
        except OSError as error:
            text = f"page {wish.html} cannot be written: {error.strerror}"
            raise SettingsError(text) from error
        click.echo(f"the page is in {wish.html}", err=True)
