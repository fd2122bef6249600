"""`everfly switchover`: move the role of the primary on purpose, and show what clients saw of it.

Exit status: 0 done (or could be, for --dry-run), 1 refused or given up: nothing has changed, 2
nobody could be asked. What happened goes to stdout, progress to stderr.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from everfly.endpoint.admin_client import Json, ask
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.members import Members
from everfly.endpoint.null_plane import NullPlane
from everfly.endpoint.preconditions import Bounds
from everfly.endpoint.status import progress_to_json
from everfly.endpoint.switchover import Limits, State, Switchovers, Wish
from everfly.errors import EverflyError, SettingsError, Unavailable
from everfly.observe.commands import fail, parse_address, read_password
from everfly.runtime.client import Credentials

DONE: Final = 0
NOT_DONE: Final = 1
UNREACHABLE: Final = 2

FOLLOW_S: Final = 5.0
"""Until the Sentinels have said who is the primary, and that one that it is."""

LIMITS: Final = Limits(total_ms=5_000, drain_ms=2_000, bounds=Bounds(lag=1_048_576, pause_ms=0))
"""Without an endpoint, whose settings would say."""

_OVER: Final = frozenset({"done", "refused", "aborted", "dry-run"})
_WORDS: Final = {
    "held_total": "commands that waited",
    "replayed": "sent again unharmed",
    "refused_hidden": "refusals hidden",
    "ambiguous": "writes of unknown outcome",
    "answered_loading": "answered by LOADING",
    "blocking_cut": "blocking commands cut and resumed",
}


@click.command()
@click.option("--admin", metavar="URL", help="The endpoint's admin address, http://HOST:PORT.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the endpoint's admin token.",
)
@click.option(
    "--sentinels",
    metavar="HOST:PORT,...",
    help="Without an endpoint: the Sentinels. Clients then wait at the instances, and reconnect.",
)
@click.option("--name", default="default-primary", show_default=True, help="The group.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the password of the instances, if --sentinels is given.",
)
@click.option("--to", metavar="HOST:PORT", help="The replica to promote.  [default: the best]")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say what speaks against it.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")
def switchover(  # noqa: PLR0913, PLR0917 - options are arguments
    admin: str | None,
    token_file: Path | None,
    sentinels: str | None,
    name: str,
    password_file: Path | None,
    to: str | None,
    is_dry_run: bool,
    is_json: bool,
) -> None:
    """Hand the primary's role to a replica, without an error at any client of the endpoint.

    Nothing is touched unless all is well: a replica in sync, a quorum, no change under way. When a
    step takes too long the old primary goes on.
    """
    say = _Speaker(is_quiet=is_json)
    try:
        wish = Wish(to=parse_address(to, 6_379) if to else None, is_dry_run=is_dry_run)
        if bool(admin) == bool(sentinels):
            raise SettingsError(
                "give either --admin URL of the endpoint, or --sentinels HOST:PORT,..."
            )
        if admin:
            told = _at_endpoint(admin, _token(token_file), wish, say)
        else:
            addresses = tuple(parse_address(each) for each in (sentinels or "").split(",") if each)
            credentials = Credentials(read_password(password_file))
            settings = FollowSettings(name, addresses, Credentials(), credentials)
            told = asyncio.run(_at_sentinels(settings, wish, say))
    except Unavailable as error:
        fail(error, UNREACHABLE)
    except EverflyError as error:
        fail(error)
    else:
        click.echo(json.dumps(told, indent=2) if is_json else _summary(told))
        sys.exit(DONE if told["state"] in ("done", "dry-run") else NOT_DONE)


class _Speaker:
    """Says each step once, on stderr."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._said = 0

    def __call__(self, told: Json) -> None:
        steps = told.get("steps")
        assert isinstance(steps, list)
        for step in steps[self._said :]:
            if not self._is_quiet:
                click.echo(f"{step['at_ms']:6d} ms  {step['text']}", err=True)
        self._said = len(steps)

    @property
    def said(self) -> int:
        """How many steps were said."""
        return self._said


def _token(path: Path | None) -> str:
    return read_password(path).strip()


def _at_endpoint(url: str, token: str, wish: Wish, say: _Speaker) -> Json:
    told: Json = {"to": str(wish.to) if wish.to else None, "dry_run": wish.is_dry_run}
    answer = _progress(url, ask(url, token, "POST", "/switchover", told))
    while True:
        say(answer)
        if answer.get("state") in _OVER:
            return answer
        answer = _progress(url, ask(url, token, "GET", f"/switchover?after={say.said}"))


def _progress(url: str, told: Json) -> Json:
    """Return the answer if it is about a switch-over. Raises SettingsError."""
    if "state" not in told:
        raise SettingsError(f"the endpoint at {url} refuses: {told.get('error', told)}")
    return told


async def _at_sentinels(settings: FollowSettings, wish: Wish, say: Callable[[Json], None]) -> Json:
    plane = NullPlane()
    follower = Follower(settings, plane)
    members = Members(settings, plane)
    switchovers = Switchovers(follower, members, plane, settings)
    following = asyncio.create_task(follower.run(), name="follower")
    try:
        if not await follower.until(lambda: follower.accepted is not None, FOLLOW_S):
            raise Unavailable(f"nobody can be moved: {follower.trouble}")
        progress = switchovers.begin(wish)
        running = asyncio.create_task(switchovers.run(progress, LIMITS), name="switch-over")
        while not running.done():
            changed = asyncio.create_task(switchovers.changed.wait())
            await asyncio.wait([running, changed], return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            say(progress_to_json(progress))
        return progress_to_json(await running)
    finally:
        following.cancel()
        await asyncio.wait([following])
        await members.close()


def _summary(told: Json) -> str:
    lines = []
    checks, seen = told["checks"], told["seen"]
    assert isinstance(checks, list)
    assert isinstance(seen, dict)
    state = told["state"]
    if state in (State.DRY.value, State.REFUSED.value):
        lines += [f"  {'ok ' if each['is_met'] else 'NO '} {each['text']}" for each in checks]
    if state == State.DRY.value:
        lines.append("a switch-over could begin now; nothing was touched")
    elif state == State.REFUSED.value:
        lines.append(f"refused, nothing was touched: {told['reason']}")
    elif state == State.ABORTED.value:
        lines.append(f"given up, the old primary goes on: {told['reason']}")
    else:
        lines.append(f"the primary moved from {told['from']} to {told['to']}")
    if told["held_ms"] is not None and seen:
        lines.append(f"clients waited at most {told['held_ms']} ms")
        lines += [f"  {seen[key]:8d}  {words}" for key, words in _WORDS.items() if key in seen]
    return "\n".join(lines)
