"""`everfly sim`: run worlds, count what went wrong, tell the story of one."""

import json
import sys
import time

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from everfly.errors import SettingsError
from everfly.sim.run import Outcome, minimise, run
from everfly.sim.seeds import Seeds, parse_commit, parse_duration, parse_range


@click.command()
@click.option("--seed", type=int, help="Run one world and tell its story.")
@click.option("--seeds", "span", metavar="A..B", help="Run these worlds.")
@click.option("--for", "limit", metavar="DURATION", help="Run worlds for so long: 90s, 5m, 1h.")
@click.option("--commit", metavar="HASH", help="Take the first seed from a commit hash.")
@click.option("--minimise", "shrink", type=int, metavar="SEED", help="Shrink a failing world.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each world.")
def sim(  # noqa: PLR0913 - options are arguments
    *,
    seed: int | None,
    span: str | None,
    limit: str | None,
    commit: str | None,
    shrink: int | None,
    as_json: bool,
) -> None:
    """Run the deciding core in simulated worlds, each reproducible from its seed.

    Exit status 1 when a world broke a rule.
    """
    if seed is not None or shrink is not None:
        outcome = run(shrink if shrink is not None else seed or 0)
        if shrink is not None:
            outcome = minimise(outcome)
        tell(outcome)
        sys.exit(1 if outcome.violations else 0)
    try:
        worlds = _which(span, limit, commit)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    sys.exit(_run_many(worlds, as_json=as_json))


def _which(span: str | None, limit: str | None, commit: str | None) -> Seeds:
    first, end = parse_range(span) if span is not None else (0, None)
    if commit is not None:
        first = parse_commit(commit)
    limit_s = parse_duration(limit) if limit is not None else None
    if end is None and limit_s is None:
        limit_s = 10.0
    return Seeds(first, end, limit_s)


def tell(outcome: Outcome) -> None:
    """Print one world as a story."""
    out = Console(highlight=False, soft_wrap=True)
    out.print(f"seed {outcome.seed}: {outcome.shape}", markup=False)
    for fault in outcome.faults:
        out.print(f"  fault {fault}", markup=False)
    for mark in outcome.trace:
        out.print(f"{mark.at:>7} ms  {mark.who:<16} {mark.what}", markup=False)
    for violation in outcome.violations:
        out.print(f"BROKEN  {violation}", markup=False)
    out.print(
        f"{outcome.acknowledged} writes acknowledged, {outcome.lost} of them lost; "
        f"trace {outcome.trace_hash}",
        markup=False,
    )


def _run_many(worlds: Seeds, *, as_json: bool) -> int:
    """Run worlds with progress; return the exit status."""
    started = time.monotonic()
    count = 0
    broken: list[Outcome] = []
    slowest = (0.0, worlds.first)
    errors = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        task = progress.add_task("worlds")
        for seed in worlds:
            began = time.monotonic()
            outcome = run(seed)
            count += 1
            slowest = max(slowest, (time.monotonic() - began, seed))
            if outcome.violations:
                broken.append(outcome)
                errors.print(f"seed {seed}: {outcome.violations[0]}", markup=False)
            if as_json:
                click.echo(json.dumps(_as_dict(outcome)))
            progress.update(task, description=f"{count} worlds, {len(broken)} broken")
            if worlds.limit_s is not None and time.monotonic() - started > worlds.limit_s:
                break
    elapsed = time.monotonic() - started
    if not as_json:
        click.echo(
            f"{count} worlds from seed {worlds.first}, {len(broken)} broken; "
            f"{count / elapsed:.1f} worlds/s; slowest: seed {slowest[1]}, {slowest[0]:.2f} s"
        )
    for outcome in broken:
        click.echo(f"tell it with: everfly sim --minimise {outcome.seed}", err=True)
    return 1 if broken else 0


def _as_dict(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.seed,
        "violations": [str(one) for one in outcome.violations],
        "faults": [str(fault) for fault in outcome.faults],
        "acknowledged": outcome.acknowledged,
        "lost": outcome.lost,
        "steps": outcome.steps,
        "trace": outcome.trace_hash,
    }
