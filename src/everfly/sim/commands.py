"""`everfly sim`: run worlds, tell the story of one, shrink a failing one, replay a recording.

Rules: data goes to stdout, progress and advice to stderr; exit status 0: nothing was broken, 3: a
rule was broken (or a replay differs), 2: what was asked for cannot be done.
"""

import sys
from pathlib import Path

import click

from everfly.compiled import overlay
from everfly.errors import SettingsError
from everfly.sim.seeds import Seeds, head_commit, parse_commit, parse_duration, parse_range

DEFAULT_S = 10.0
"""How long worlds run when nobody says which or how long."""


@click.command()
@click.option("--seed", type=click.IntRange(0), help="Run one world and tell its story.")
@click.option("--seeds", "span", metavar="A..B", help="Run these worlds (B is not included).")
@click.option("--for", "limit", metavar="DURATION", help="Run worlds for so long: 90s, 5m, 1h.")
@click.option(
    "--commit",
    metavar="[HASH]",
    is_flag=False,
    flag_value="HEAD",
    help="Begin with the seed that a commit gives (default: the one checked out here).",
)
@click.option(
    "--minimise",
    "shrink",
    type=click.IntRange(0),
    metavar="SEED",
    help="Shrink a failing world to what is needed to fail, and tell its story.",
)
@click.option(
    "--replay",
    "recording",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show each decision of a recording (`everfly sentinel --record`) with its reasons.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write the world as a page: of --seed, --minimise, or the first that failed.",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each world or decision.")
@click.option("--trace", "is_full", is_flag=True, help="The whole trace instead of a story.")
@click.option(
    "--profile",
    metavar="NAME",
    default="any",
    help="Kind of worlds: any, lossy, or another one of `sim/profiles.py`. Default: any.",
)
@click.option("--jobs", type=click.IntRange(1, 256), default=1, help="Processes to run worlds in.")
def sim(  # noqa: PLR0913 - options are arguments
    *,
    seed: int | None,
    span: str | None,
    limit: str | None,
    commit: str | None,
    shrink: int | None,
    recording: Path | None,
    html: Path | None,
    as_json: bool,
    is_full: bool,
    profile: str,
    jobs: int,
) -> None:
    """Run the deciding core in simulated worlds, each reproducible from its seed.

    Exit status 3 when a world broke a rule, or when a replay differs from its recording.
    """
    asked = {
        "--seed": seed is not None,
        "--minimise": shrink is not None,
        "--replay": recording is not None,
        "--seeds, --for or --commit": any(one is not None for one in (span, limit, commit)),
    }
    if sum(asked.values()) > 1:
        names = " and ".join(name for name, is_asked in asked.items() if is_asked)
        raise click.UsageError(f"{names} exclude each other; choose one")
    if seed is None and shrink is None and recording is None:
        # What one world shows in detail is shown by plain Python; many are run by the fastest.
        overlay.use()
    # Not at the top: `--help` must not pay for the core and the tables.
    from everfly.sim import showing  # noqa: PLC0415

    wish = showing.Wish(html, as_json, is_full, jobs, profile)
    try:
        if recording is not None:
            status = showing.replayed(recording, as_json=as_json)
        elif seed is not None:
            status = showing.told(seed, wish)
        elif shrink is not None:
            status = showing.shrunk(shrink, wish)
        else:
            status = showing.many(_which(span, limit, commit), wish)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    sys.exit(status)


def _which(span: str | None, limit: str | None, commit: str | None) -> Seeds:
    if span is not None and commit is not None:
        raise SettingsError("--seeds and --commit both say where to begin; choose one")
    first, end = parse_range(span) if span is not None else (0, None)
    if commit is not None:
        first = parse_commit(head_commit() if commit == "HEAD" else commit)
    limit_s = parse_duration(limit) if limit is not None else None
    if end is None and limit_s is None:
        limit_s = DEFAULT_S
    return Seeds(first, end, limit_s)
