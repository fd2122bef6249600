"""`everfly status` and `everfly events`: look at a group through its Sentinels.

Exit status of `status`: 0 all is well, 1 something is wrong (stdout says what), 2 nobody could be
asked. Data goes to stdout, everything else to stderr.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.live import Live

from everfly.core.model import Address
from everfly.errors import EverflyError, SettingsError, Unavailable
from everfly.observe.description import default_directory, read_credentials, running_deployment
from everfly.observe.events import Event, Timeline, merged
from everfly.observe.observer import Observer
from everfly.observe.picture import GroupPicture
from everfly.observe.render import event_line, event_to_json, render, to_json
from everfly.runtime.client import Credentials

HEALTHY: Final = 0
SICK: Final = 1
UNREACHABLE: Final = 2

SENTINEL_PORT: Final = 26_379
WATCH_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask about what."""

    sentinels: tuple[Address, ...]
    group: str | None
    credentials: Credentials
    names: dict[Address, str]


def parse_address(text: str, default_port: int = SENTINEL_PORT) -> Address:
    """Return the address in `host`, `host:port` or `[ipv6]:port`. Raises SettingsError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or (port and not (port.isascii() and port.isdigit() and len(port) <= 5)):
        raise SettingsError(f"{text!r} is no address; give HOST:PORT, such as 127.0.0.1:26379")
    number = int(port) if port else default_port
    if not 0 < number < 65_536:
        raise SettingsError(f"{text!r}: ports are 1 to 65535")
    return Address(host, number)


def target(
    sentinels: tuple[str, ...], name: str | None, directory: Path, password_file: Path | None
) -> Target:
    """Return whom the options mean: the named Sentinels, else the deployment in the directory.

    Raises SettingsError and, when no deployment runs there, Unavailable.
    """
    if sentinels:
        credentials = Credentials(read_password(password_file))
        addresses = tuple(parse_address(each) for each in sentinels)
        return Target(sentinels=addresses, group=name, credentials=credentials, names={})
    description = running_deployment(directory)
    parts = (*description.instances, *description.sentinels)
    return Target(
        sentinels=tuple(each.address for each in description.sentinels),
        group=name or description.group,
        credentials=read_credentials(directory),
        names={each.address: each.name for each in parts},
    )


def read_password(path: Path | None) -> str:
    """Return the first line of a file, or empty without one. Raises SettingsError."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, ValueError) as error:
        raise SettingsError(f"the password file {path} cannot be read: {error}") from error


def fail(error: EverflyError, status: int = SICK) -> None:
    """Tell stderr about an error and end with a status."""
    click.echo(f"error: {error}", err=True)
    raise SystemExit(status)


def run(main: Coroutine[object, object, int]) -> None:
    """Run a command until it ends with a status; Ctrl-C ends it quietly."""
    try:
        raise SystemExit(asyncio.run(main))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # The reader (`head`, a pager) has seen enough. Nothing more can be flushed there.
        sys.stdout = sys.stderr
        raise SystemExit(141) from None


_sentinels = click.option(
    "--sentinel",
    "sentinels",
    multiple=True,
    metavar="HOST:PORT",
    help="A Sentinel to ask (repeatable; it names the others). Default: those of `everfly up`.",
)
_name = click.option("--name", metavar="GROUP", help="The group; needed if there are several.")
_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the deployment.  [default: ~/.local/state/everfly/default]",
)
_password_file = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the password of the instances, if --sentinel is given.",
)
_json = click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")


@click.command()
@_sentinels
@_name
@_directory
@_password_file
@_json
@click.option("--watch", "is_watching", is_flag=True, help="Show it live until Ctrl-C.")
def status(  # noqa: PLR0913, PLR0917 - options are arguments
    sentinels: tuple[str, ...],
    name: str | None,
    directory: Path | None,
    password_file: Path | None,
    is_json: bool,
    is_watching: bool,
) -> None:
    """Show a group: who is primary, who follows, what each Sentinel says.

    The exit status is 0 when all is well, 1 when something is wrong, 2 when nobody can be asked.
    """
    try:
        whom = target(sentinels, name, directory or default_directory(), password_file)
    except Unavailable as error:
        fail(error, UNREACHABLE)
    except EverflyError as error:
        fail(error)
    else:
        run(_watch(whom, is_json) if is_watching else _status(whom, is_json))


async def _status(whom: Target, is_json: bool) -> int:
    async with _observer(whom) as observer:
        picture = await observer.picture()
    _show(picture, whom, is_json)
    return _verdict(picture)


async def _watch(whom: Target, is_json: bool) -> int:
    console = Console(highlight=False)
    async with _observer(whom) as observer:
        with contextlib.ExitStack() as stack:
            live: Live | None = None
            if console.is_terminal and not is_json:
                live = stack.enter_context(Live(console=console, auto_refresh=False, screen=True))
            while True:
                picture = await observer.picture()
                if live is None:
                    _show(picture, whom, is_json)
                else:
                    live.update(render(picture, whom.names, width=console.width), refresh=True)
                await asyncio.sleep(WATCH_EVERY_S)


def _observer(whom: Target) -> Observer:
    return Observer(whom.sentinels, whom.group, credentials=whom.credentials)


def _verdict(picture: GroupPicture) -> int:
    if not picture.is_reachable:
        return UNREACHABLE
    return HEALTHY if picture.is_healthy else SICK


def _show(picture: GroupPicture, whom: Target, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(to_json(picture)))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    console.print(render(picture, whom.names, width=console.width))


@click.command()
@_sentinels
@_name
@_directory
@_json
@click.option("--raw", "is_raw", is_flag=True, help="One line for each Sentinel that says it.")
@click.option("--follow", is_flag=True, default=True, hidden=True)
def events(  # noqa: PLR0913, PLR0917 - options are arguments
    sentinels: tuple[str, ...],
    name: str | None,
    directory: Path | None,
    is_json: bool,
    is_raw: bool,
    follow: bool,
) -> None:
    """Show what the Sentinels publish, on one timeline, until Ctrl-C.

    The same event from several Sentinels is one line with a mark for each that said it; --raw shows
    every message. Without --name all groups are shown. Sentinels that go away are followed again
    when they come back.
    """
    del follow  # it always follows: Sentinels keep no events to look back at
    try:
        whom = target(sentinels, name, directory or default_directory(), None)
    except Unavailable as error:
        fail(error, UNREACHABLE)
    except EverflyError as error:
        fail(error)
    else:
        run(_events(whom, name, is_json=is_json, is_raw=is_raw))


async def _events(whom: Target, name: str | None, *, is_json: bool, is_raw: bool) -> int:
    console = Console(highlight=False, soft_wrap=True)
    async with Timeline(whom.sentinels) as timeline:
        async for event in timeline if is_raw else merged(timeline):
            if name is None or event.concerns(name):
                _print_event(event, whom, console, is_json=is_json)
    return HEALTHY


def _print_event(event: Event, whom: Target, console: Console, *, is_json: bool) -> None:
    if is_json:
        click.echo(json.dumps(event_to_json(event)))
        sys.stdout.flush()
    else:
        console.print(event_line(event, whom.sentinels))
