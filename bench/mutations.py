"""Find out, for each deliberate mistake in the core, which simulated world catches it.

    python bench/mutations.py                 # all, two at a time; exit status 1 if one survives
    python bench/mutations.py --only vote-twice --seeds 0..500
    python bench/mutations.py --write         # also writes docs/explanation/mutations.md
    python bench/mutations.py --only vote-twice --tell   # and how it was caught, in a small world

Rules: every mutant runs worlds from the first seed on, in a process of its own, until one breaks a
rule; the catch counts only if the same world breaks none with the core as it is; a mutant that all
worlds let pass has survived: a fault, a model or a checker is missing.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mutants import CORE, Mutant, MutantError, changed_source, install, read_mutants

SEEDS: Final = 2_000
PAGE: Final = CORE.parent.parent.parent / "docs" / "explanation" / "mutations.md"
FILE_WIDTH: Final = 160
SHRINK_S: Final = 600.0
WORLD_S: Final = 120.0
"""A world takes a fraction of a second; one that takes this long turns in circles."""


@dataclass(frozen=True)
class Catch:
    """The world that caught a mutant."""

    seed: int
    rule: str
    what: str


@dataclass(frozen=True)
class Finding:
    """What came of one mutant."""

    mutant: Mutant
    worlds: int
    """Needed for the catch, or run in vain."""
    seconds: float
    catch: Catch | None


@click.command()
@click.option("--seeds", default=f"0..{SEEDS}", show_default=True, help="Worlds a mutant may need.")
@click.option("--jobs", default=2, show_default=True, help="Mutants at a time.")
@click.option("--only", multiple=True, help="Only mutants of these names.")
@click.option("--write", is_flag=True, help="Also write the page that documents them.")
@click.option("--tell", is_flag=True, help="Also shrink each catch and tell its story.")
@click.option("--shrink", type=int, hidden=True, help="With --one: shrink the world of this seed.")
@click.option("--one", hidden=True, help="Run worlds with this mutant, in this very process.")
@click.option("--list", "is_list", is_flag=True, help="Only name them.")
def main(  # noqa: PLR0913 - options are arguments
    *,
    seeds: str,
    jobs: int,
    only: tuple[str, ...],
    write: bool,
    tell: bool,
    shrink: int | None,
    one: str | None,
    is_list: bool,
) -> None:
    """Show which simulated world catches each deliberate mistake in the core."""
    try:
        mutants = _chosen(only if one is None else (one,))
        check(mutants)
    except MutantError as error:
        raise click.ClickException(str(error)) from None
    first, _, end = seeds.partition("..")
    if not (first.isdecimal() and end.isdecimal()):
        raise click.UsageError(f"{seeds!r} is no range of seeds; write it as 0..2000")
    span = range(int(first), int(end))
    if one is not None and shrink is not None:
        tell_shrunk(mutants[0], shrink)
    elif one is not None:
        run_worlds(mutants[0], span)
    elif is_list:
        for mutant in mutants:
            click.echo(f"{mutant.name}: {mutant.breaks}")
    else:
        findings = search(mutants, span, jobs)
        if write and not only:
            PAGE.parent.mkdir(parents=True, exist_ok=True)
            PAGE.write_text(to_markdown(findings, span))
        sys.exit(_report(findings, span, tell=tell))


def _report(findings: list[Finding], span: range, *, tell: bool) -> int:
    """Print what came of all; return the exit status."""
    out = Console()
    if not out.is_terminal:
        out.width = FILE_WIDTH
    if tell:
        for one in findings:
            if one.catch is not None:
                click.echo(f"--- {one.mutant.name}: {one.mutant.breaks}")
                subprocess.run(
                    _line(one.mutant, "--shrink", str(one.catch.seed)), check=True, timeout=SHRINK_S
                )
    out.print(to_table(findings, span))
    survivors = [one.mutant.name for one in findings if one.catch is None]
    if survivors:
        click.echo(f"{len(survivors)} survived: {', '.join(survivors)}", err=True)
        click.echo("a fault, a model or a checker is missing in everfly.sim", err=True)
    return 1 if survivors else 0


def _line(mutant: Mutant, *arguments: str) -> list[str]:
    return [sys.executable, __file__, "--one", mutant.name, *arguments]


def _chosen(only: tuple[str, ...]) -> tuple[Mutant, ...]:
    mutants = read_mutants()
    unknown = set(only) - {mutant.name for mutant in mutants}
    if unknown:
        raise MutantError(f"there is no mutant {min(unknown)!r}: see --list")
    return tuple(mutant for mutant in mutants if not only or mutant.name in only)


def check(mutants: tuple[Mutant, ...]) -> None:
    """Raise MutantError for all that do not fit the core as it is."""
    faults = []
    for mutant in mutants:
        for change in mutant.changes:
            path = CORE / f"{change.module}.py"
            try:
                text = changed_source(mutant, change.module, path.read_text())
                compile(text, str(path), "exec", dont_inherit=True)
            except (MutantError, SyntaxError) as error:
                faults.append(str(error))
    if faults:
        raise MutantError("\n".join(faults))


def run_worlds(mutant: Mutant, span: range) -> None:
    """Run worlds with a mutated core; print a line of JSON for each, and stop at a broken rule."""
    install(mutant)
    # Only now: what is imported from here on has the mutated core.
    from everfly.sim.run import run  # noqa: PLC0415

    for seed in span:
        try:
            broken = run(seed).violations
            told = [(one.rule, str(one)) for one in broken[:1]]
        except Exception as error:  # noqa: BLE001 - a core that raises is caught, whatever it is
            told = [("the core raises nothing", f"{type(error).__name__}: {error}")]
        click.echo(json.dumps({"seed": seed, "broken": told}))
        if told:
            return


def tell_shrunk(mutant: Mutant, seed: int) -> None:
    """Print the story of the smallest world in which a mutated core breaks the same rule."""
    install(mutant)
    from everfly.sim.minimise import minimise  # noqa: PLC0415 - with the mutated core
    from everfly.sim.run import run  # noqa: PLC0415
    from everfly.sim.story import story  # noqa: PLC0415

    try:
        lines = story(minimise(run(seed)))
    except Exception as error:  # noqa: BLE001 - as above
        lines = [f"seed {seed}: the core raises {type(error).__name__}: {error}"]
    for line in lines:
        click.echo(line)


def search(mutants: tuple[Mutant, ...], span: range, jobs: int) -> list[Finding]:
    """Run all mutants, `jobs` at a time; return the findings in their order."""
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        whole = progress.add_task("mutants", total=len(mutants))

        def judge(mutant: Mutant) -> Finding:
            task = progress.add_task(mutant.name, total=len(span))
            finding = _judge(mutant, span, lambda: progress.update(task, advance=1))
            progress.remove_task(task)
            progress.update(whole, advance=1)
            outcome = "SURVIVED" if finding.catch is None else f"caught: {finding.catch.what}"
            progress.console.print(
                f"{mutant.name}, {finding.worlds} worlds: {outcome}", markup=False, highlight=False
            )
            return finding

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(judge, mutants))


def _judge(mutant: Mutant, span: range, on_world: Callable[[], None]) -> Finding:
    began = time.monotonic()
    worlds = 0
    first = span.start
    while first < span.stop:
        for seed, catch in _worlds_of(mutant, range(first, span.stop)):
            worlds += 1
            first = seed + 1
            on_world()
            if catch is not None and _is_sound(seed):
                return Finding(mutant, worlds, time.monotonic() - began, catch)
    return Finding(mutant, worlds, time.monotonic() - began, None)


def _worlds_of(mutant: Mutant, span: range) -> Iterator[tuple[int, Catch | None]]:
    """Run worlds in a process of its own; return what came of each."""
    line = _line(mutant, "--seeds", f"{span.start}..{span.stop}")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        watch = _Watch(child)
        try:
            for text in child.stdout:
                watch.is_alive()
                told = json.loads(text)
                catch = Catch(told["seed"], *told["broken"][0]) if told["broken"] else None
                yield told["seed"], catch
        finally:
            watch.end()
            child.kill()
    if watch.is_stuck:
        yield span.start, Catch(span.start, "every world ends", f"no world within {WORLD_S:g} s")


class _Watch:
    """Kills a process that has told nothing for too long."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child
        self._timer = threading.Timer(WORLD_S, self._expire)
        self._timer.start()
        self.is_stuck = False

    def is_alive(self) -> None:
        """Begin to wait anew."""
        self._timer.cancel()
        self._timer = threading.Timer(WORLD_S, self._expire)
        self._timer.start()

    def end(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _expire(self) -> None:
        self.is_stuck = True
        self._child.kill()


_LOCK: Final = threading.Lock()


def _is_sound(seed: int) -> bool:
    """Whether the world of a seed breaks no rule with the core as it is."""
    from everfly.sim.run import run  # noqa: PLC0415 - not in a process with a mutated core

    with _LOCK:
        return not run(seed).violations


def to_table(findings: list[Finding], span: range) -> Table:
    """Return what people read."""
    table = Table("mutant", "what it breaks", "caught by seed", "worlds", "s", "rule that it broke")
    for one in findings:
        caught = ("SURVIVED", "") if one.catch is None else (str(one.catch.seed), one.catch.rule)
        table.add_row(
            one.mutant.name,
            one.mutant.breaks,
            caught[0],
            f"{one.worlds}",
            f"{one.seconds:.1f}",
            caught[1],
        )
    table.caption = f"worlds from seed {span.start} on, at most {len(span)} for each mutant"
    return table


def to_markdown(findings: list[Finding], span: range) -> str:
    """Return the page."""
    caught = [one for one in findings if one.catch is not None]
    lines = [_HEAD.format(count=len(findings), caught=len(caught), worlds=len(span))]
    for one in findings:
        catch = one.catch
        seed, rule = ("survived", "") if catch is None else (str(catch.seed), catch.rule)
        lines.append(
            f"| `{one.mutant.name}` | {one.mutant.breaks} | {seed} | {one.worlds} | {rule} |"
        )
    return "\n".join(lines) + "\n"


_HEAD: Final = """\
# Would the simulator notice?

A simulator that finds nothing proves something only if it would have found something. So we break
the core on purpose, one promise at a time, and let it loose in the same worlds: {caught} of
{count} deliberate mistakes are caught within {worlds} worlds.

Each mistake is a few lines of a diff in `bench/mutants.txt`, put into the source as it is imported,
in a process of its own. Worlds are run from seed 0 on until one breaks a rule, and the catch counts
only if the same world breaks none with the core as it is. `make mutations` does it all again, fails
if a mistake survives, and writes this page. Where a mistake does not fit the source any more, it
fails too, and names the place.

To see how one is caught, run for example

```
.venv/bin/python bench/mutations.py --only vote-twice
```

| mistake | what it breaks | caught by seed | worlds needed | rule that it broke |
| --- | --- | --- | --- | --- |"""


if __name__ == "__main__":
    main()
