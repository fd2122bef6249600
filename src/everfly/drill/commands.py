"""`everfly drill`: break a living deployment on purpose and show what its clients saw.

Exit status: 0 everything was as it must be, 1 something was lost or did not come back (stdout says
what), 2 the drill could not be done (stderr says why). Results go to stdout, progress to stderr.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from everfly import __version__
from everfly.drill.crowd import CLIENTS, Load
from everfly.drill.faults import NATURES, Fault
from everfly.drill.page import page
from everfly.drill.report import Report, conclude
from everfly.drill.run import carry_out
from everfly.drill.split_stage import SplitStage
from everfly.drill.stage import OwnStage, RunningStage, Stage
from everfly.drill.text import show
from everfly.drill.through import Passing, Through, pass_through
from everfly.drill.through_text import show_through, through_to_json
from everfly.drill.to_json import to_json
from everfly.endpoint.plane import MISSING, is_installed
from everfly.engines.command import EngineBinary
from everfly.engines.find import KINDS, Kind, find_engine
from everfly.errors import EverflyError, SettingsError, Unavailable
from everfly.local.deployment import Deployment
from everfly.local.settings import FILE
from everfly.observe.commands import fail
from everfly.observe.description import default_directory

PASSED: Final = 0
FAILED: Final = 1
IMPOSSIBLE: Final = 2
INTERRUPTED: Final = 130

DOWN_AFTER_MS: Final = 1_000
RUNS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for."""

    fault: Fault
    directory: Path | None
    is_fresh: bool
    engine: Kind
    engine_binary: str | None
    down_after_ms: int | None
    sentinel_binary: str | None
    has_endpoint: bool = False


_FAULTS: Final = "\n".join(
    (
        "\b",
        "Faults:",
        *(f"  {fault.value:<17} {NATURES[fault].summary}" for fault in Fault),
        f"  {Passing.SWITCHOVER.value:<17} moves the primary's role behind the endpoint",
    )
)
"""For the help; \\b keeps click from filling the lines."""


_WORDS: Final = [*(fault.value for fault in Fault), Passing.SWITCHOVER.value]


@click.command(epilog=_FAULTS)
@click.argument("fault", type=click.Choice(_WORDS), metavar="FAULT")
@click.option(
    "--endpoint",
    "is_through",
    is_flag=True,
    help="Through the endpoint: under many clients of mixed work (switchover is always so).",
)
@click.option(
    "--clients",
    type=click.IntRange(10, 10_000),
    default=CLIENTS,
    show_default=True,
    help="Of the endpoint.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Break the running deployment in this directory.  [default: ~/.local/state/everfly/default"
    " if one runs there]",
)
@click.option(
    "--fresh", "is_fresh", is_flag=True, help="Start a deployment to break, and stop it afterwards."
)
@click.option("--engine", type=click.Choice(KINDS), default="auto", help="Of a fresh deployment.")
@click.option("--engine-binary", metavar="PATH", help="The program of the engine.")
@click.option(
    "--down-after",
    "down_after_ms",
    type=click.IntRange(1, 3_600_000),
    metavar="MS",
    help=f"Of a fresh deployment: silence that counts as down.  [default: {DOWN_AFTER_MS}]",
)
@click.option("--runs", type=click.IntRange(1, RUNS_MAX), default=1, help="How often.")
@click.option(
    "--report",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with a picture of what happened (HTML).",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--sentinel-binary",
    metavar="PATH",
    hidden=True,
    help="A genuine redis-server or valkey-server to use as Sentinels.",
)
def drill(  # noqa: PLR0913, PLR0917 - options are arguments
    fault: str,
    is_through: bool,
    clients: int,
    directory: Path | None,
    is_fresh: bool,
    engine: Kind,
    engine_binary: str | None,
    down_after_ms: int | None,
    runs: int,
    file: Path | None,
    is_json: bool,
    sentinel_binary: str | None,
) -> None:
    """Break a deployment on purpose, measure what clients see, and prove that it comes back.

    Clients write and read all the time; then the FAULT happens; then everything must be well again,
    with exactly as many failovers as there should be and no acknowledged write lost. The exit
    status is 0 when it was so, 1 when it was not, 2 when the drill could not be done.
    """
    passing = _passing(fault, is_through=is_through)
    wish = Wish(
        fault=Fault.FAILOVER if fault == Passing.SWITCHOVER.value else Fault(fault),
        has_endpoint=passing is not None,
        directory=directory,
        is_fresh=is_fresh,
        engine=engine,
        engine_binary=engine_binary,
        down_after_ms=down_after_ms,
        sentinel_binary=sentinel_binary,
    )
    if passing is not None and file is not None:
        fail(SettingsError("--report shows no drill through the endpoint; use --json"), IMPOSSIBLE)
    try:
        if passing is not None:
            through = asyncio.run(_through(wish, passing, runs, clients))
            _show_through(through, is_json=is_json)
            sys.exit(PASSED if through.is_passed else FAILED)
        reports = asyncio.run(_drill(wish, runs))
    except EverflyError as error:
        fail(error, IMPOSSIBLE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("interrupted; everything that the drill started is gone", err=True)
        raise SystemExit(INTERRUPTED) from None
    if is_json:
        click.echo(json.dumps(to_json(reports), indent=2))
    else:
        show(Console(highlight=False), reports)
    if file is not None:
        _write(file, page(reports))
    sys.exit(PASSED if all(report.is_passed for report in reports) else FAILED)


def _passing(fault: str, *, is_through: bool) -> Passing | None:
    """Return what to do through the endpoint; None: nothing, it is a drill of the other kind."""
    if not is_through and fault != Passing.SWITCHOVER.value:
        return None
    words = [each.value for each in Passing]
    if fault not in words:
        fail(SettingsError(f"--endpoint is for {', '.join(words)}, not {fault}"), IMPOSSIBLE)
    return Passing(fault)


def _clean_up_on_signals() -> None:
    """Have signals that would end the program end its task: Ctrl-C does anyway."""
    task = asyncio.current_task()
    assert task is not None, "it runs as a task"
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, task.cancel)


async def _through(wish: Wish, passing: Passing, times: int, clients: int) -> Through:
    _clean_up_on_signals()
    started = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - started:7.2f} s  {text}", err=True)

    async with _stage(wish, _directory(wish)) as stage:
        return await pass_through(stage, passing, times, say, Load(clients))


def _show_through(through: Through, *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(through_to_json(through), indent=2))
    else:
        show_through(Console(highlight=False), through)


async def _drill(wish: Wish, runs: int) -> list[Report]:
    _clean_up_on_signals()
    started = time.monotonic()
    directory = _directory(wish)
    reports = []
    for number in range(1, runs + 1):
        prefix = f"run {number} of {runs}: " if runs > 1 else ""

        def say(text: str, prefix: str = prefix) -> None:
            click.echo(f"{time.monotonic() - started:7.2f} s  {prefix}{text}", err=True)

        async with _stage(wish, directory) as stage:
            if number > 1 and stage.is_kept:
                await _until_free(stage)
            report = conclude(await carry_out(stage, wish.fault, _sentinel_kind(wish), say))
        reports.append(report)
        for problem in report.problems:
            say(f"not as it must be: {problem}")
    return reports


def _directory(wish: Wish) -> Path | None:
    """Return where the deployment to break runs; None: a fresh one is to be started."""
    if wish.directory is not None and wish.is_fresh:
        raise SettingsError("--dir and --fresh contradict each other; give one of them")
    needs_own = NATURES[wish.fault].needs_own_deployment
    is_about_fresh = (
        wish.engine != "auto"
        or wish.engine_binary is not None
        or wish.down_after_ms is not None
        or wish.sentinel_binary is not None
    )
    if wish.directory is not None:
        if needs_own:
            raise SettingsError(
                f"{wish.fault.value} would harm a deployment that somebody uses; "
                "leave --dir out, and the drill starts one of its own"
            )
        if is_about_fresh:
            raise SettingsError(
                "--engine, --engine-binary and --down-after are for a deployment that the drill "
                "starts itself; leave them or --dir out"
            )
        return wish.directory.expanduser().absolute()
    if wish.is_fresh or needs_own or is_about_fresh:
        return None
    directory = default_directory()
    return directory if _runs_in(directory) else None


def _runs_in(directory: Path) -> bool:
    try:
        RunningStage(directory)
    except Unavailable:
        return False
    return True


@contextlib.asynccontextmanager
async def _stage(wish: Wish, directory: Path | None) -> AsyncIterator[Stage]:
    if directory is not None:
        running = RunningStage(directory)
        try:
            yield running
        finally:
            await running.close()
        return
    engine = find_engine(wish.engine, wish.engine_binary)
    down_after_ms = wish.down_after_ms or DOWN_AFTER_MS
    sentinel = _sentinel_command(wish)
    if wish.fault is Fault.PARTITION:
        async with SplitStage.temporary(engine, sentinel, down_after_ms) as split:
            yield split
        return
    if wish.has_endpoint and not is_installed():
        raise SettingsError(MISSING)
    async with Deployment.temporary(
        engine,
        has_endpoint=wish.has_endpoint,
        down_after_ms=down_after_ms,
        sentinel_command=sentinel,
    ) as deployment:
        yield OwnStage(deployment)


def _sentinel_command(wish: Wish) -> tuple[str, ...]:
    if wish.sentinel_binary is None:
        return (sys.executable, "-m", "everfly", "sentinel", FILE)
    return (str(_genuine(wish.sentinel_binary).path), FILE, "--sentinel")


def _sentinel_kind(wish: Wish) -> str:
    if wish.sentinel_binary is None:
        return f"everfly {__version__}"
    return str(_genuine(wish.sentinel_binary))


def _genuine(path: str) -> EngineBinary:
    return find_engine("auto", path)


async def _until_free(stage: Stage) -> None:
    """Wait until Sentinels may fail over again: 2 x failover-timeout after the last attempt."""
    await asyncio.sleep(2 * stage.layout.failover_timeout_ms / 1000)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"the report {file} cannot be written: {error.strerror}; choose another place"
        fail(SettingsError(problem), IMPOSSIBLE)
