"""`everfly up`: an always-on store on this machine, in the foreground, until Ctrl-C.

What was started and where goes to stdout; errors go to stderr, and then nothing is left running.
"""

import asyncio
import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from everfly.core.model import Address
from everfly.engines.find import KINDS, Kind
from everfly.errors import EverflyError, SettingsError
from everfly.local.deployment import Deployment
from everfly.local.home import Home
from everfly.local.members import Member
from everfly.local.reopen import (
    DOWN_AFTER_MS,
    ENDPOINT_PORT,
    FAILOVER_TIMEOUT_MS,
    GROUP,
    PORT,
    REPLICAS,
    SENTINEL_PORT,
    SENTINELS,
    Options,
    engine_for,
    settings_for,
)
from everfly.local.settings import ENDPOINT_MODULE, Settings
from everfly.local.view import View
from everfly.observe.commands import fail, read_password
from everfly.observe.description import default_directory

NO_ENDPOINT: Final = "its data plane, the package everfly-endpoint, is not installed"

PASSWORD_VARIABLE: Final = "EVERFLY_PASSWORD"  # noqa: S105 - the name of a variable


@click.command()
@click.option(
    "--engine",
    type=click.Choice(KINDS),
    default="auto",
    show_default=True,
    help="auto: Dragonfly if there is one, else Valkey, else Redis.",
)
@click.option("--engine-binary", metavar="PATH", help="The program of the engine.")
@click.option("--replicas", type=int, help=f"Beside the primary.  [default: {REPLICAS}]")
@click.option("--sentinels", type=int, help=f"How many watch.  [default: {SENTINELS}]")
@click.option("--port", type=int, help=f"First port of the instances.  [default: {PORT}]")
@click.option(
    "--sentinel-port", type=int, help=f"First port of the Sentinels.  [default: {SENTINEL_PORT}]"
)
@click.option(
    "--endpoint-port",
    type=int,
    help=f"Where clients connect.  [default: {ENDPOINT_PORT}, or a free one with --port]",
)
@click.option(
    "--endpoint/--no-endpoint",
    "has_endpoint",
    default=None,
    help="Give clients one address that follows the primary.  [default: if it is installed]",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Where data and state stay.  [default: ~/.local/state/everfly/default]",
)
@click.option("--name", "group", metavar="GROUP", help=f"Of the group.  [default: {GROUP}]")
@click.option(
    "--down-after",
    "down_after_ms",
    type=int,
    metavar="MS",
    help=f"Silence that counts as down.  [default: {DOWN_AFTER_MS}]",
)
@click.option(
    "--failover-timeout",
    "failover_timeout_ms",
    type=int,
    metavar="MS",
    help=f"Half the time between two tries to fail over.  [default: {FAILOVER_TIMEOUT_MS}]",
)
@click.option("--maxmemory", default="", metavar="SIZE", help="Of each instance, such as 256mb.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File with a password for the instances (or set {PASSWORD_VARIABLE}).",
)
@click.option(
    "--sentinel-binary",
    metavar="PATH",
    hidden=True,
    help="A genuine redis-server or valkey-server to use as Sentinels.",
)
@click.option("--plain", is_flag=True, help="Plain lines instead of a live table.")
def up(  # noqa: PLR0913, PLR0917 - options are arguments
    engine: Kind,
    engine_binary: str | None,
    replicas: int | None,
    sentinels: int | None,
    port: int | None,
    sentinel_port: int | None,
    endpoint_port: int | None,
    has_endpoint: bool | None,
    directory: Path | None,
    group: str | None,
    down_after_ms: int | None,
    failover_timeout_ms: int | None,
    maxmemory: str,
    password_file: Path | None,
    sentinel_binary: str | None,
    plain: bool,
) -> None:
    """Run an always-on store on this machine: a primary, replicas and Sentinels.

    Everything listens on 127.0.0.1 alone. Ctrl-C stops it and keeps the data; the next `everfly up`
    continues with the same primary.
    """
    place = (directory or default_directory()).expanduser().absolute()
    try:
        with Home(place) as home:
            earlier = home.description()
            found = engine_for(engine, engine_binary, earlier)
            password = read_password(password_file) or os.environ.get(PASSWORD_VARIABLE, "")
            options = Options(
                replicas=replicas,
                sentinels=sentinels,
                port=port,
                sentinel_port=sentinel_port,
                group=group,
                down_after_ms=down_after_ms,
                failover_timeout_ms=failover_timeout_ms,
                maxmemory=maxmemory,
                password=password or home.password(),
                sentinel_binary=sentinel_binary,
                endpoint_port=endpoint_port,
                has_endpoint=_wants_endpoint(has_endpoint, endpoint_port),
            )
            settings = settings_for(options, found, place, earlier)
            asyncio.run(_up(Deployment(settings, home), plain=plain))
    except EverflyError as error:
        fail(error)


def _is_installed() -> bool:
    # Imported and not only looked for: a checkout has the package before its Rust part is built.
    try:
        import_module(ENDPOINT_MODULE)
    except ImportError:
        return False
    return True


def _wants_endpoint(has_endpoint: bool | None, port: int | None) -> bool:
    """Return whether to start an endpoint. Raises SettingsError when it cannot be had."""
    is_installed = _is_installed()
    is_asked_for = has_endpoint or (has_endpoint is None and port is not None)
    if is_asked_for and not is_installed:
        raise SettingsError(f"{NO_ENDPOINT}; install it, or leave --endpoint out")
    return is_installed and has_endpoint is not False


async def _up(deployment: Deployment, *, plain: bool) -> None:
    console = Console(highlight=False)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            deployment.kill_all()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    stopped = asyncio.create_task(stop.wait(), name="stop was asked for")
    try:
        await _start_and_show(deployment, console, stopped, plain=plain)
    finally:
        try:
            if stop.is_set():
                console.print("stopping, data is kept (again Ctrl-C: kill)", style="dim")
        finally:
            # Also when nobody reads stdout any more.
            await deployment.stop()
            stopped.cancel()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
    console.print("stopped", style="dim")


async def _start_and_show(
    deployment: Deployment, console: Console, stopped: asyncio.Task[bool], *, plain: bool
) -> None:
    """Start and show the deployment; return when `stopped` ends. Raises what ended it otherwise."""
    settings = deployment.settings
    console.print(
        f"starting {settings.engine} in {settings.directory}", style="dim", soft_wrap=True
    )
    starting = asyncio.create_task(deployment.start(), name="start")
    if not await _first(starting, stopped):
        return
    for line in _introduction(deployment):
        console.print(line, soft_wrap=True)
    view = View(deployment, console, is_live=not plain)
    showing = asyncio.create_task(view.run(), name="view")
    supervised = asyncio.create_task(deployment.supervised(), name="supervised")
    try:
        await asyncio.wait([showing, supervised, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (showing, supervised):
            if task.done():
                task.result()
    finally:
        showing.cancel()
        supervised.cancel()
        await asyncio.wait([showing, supervised])


async def _first(task: asyncio.Task[None], stopped: asyncio.Task[bool]) -> bool:
    """Wait for the task and return True, or cancel it and return False when stopped first."""
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
        return False
    task.result()
    return True


def _introduction(deployment: Deployment) -> list[Text]:
    settings, endpoint = deployment.settings, deployment.endpoint
    primary = deployment.at(deployment.supervisor.picture.primary) or deployment.instances[0]
    lines = [Text()]
    if endpoint is not None:
        admin = Address(endpoint.address.host, endpoint.admin_port or 0)
        lines.append(
            Text(f"  {endpoint.name:<12} {endpoint.address}  for clients; admin http://{admin}/")
        )
    elif not _is_installed():
        lines.append(Text(f"  no endpoint: {NO_ENDPOINT}", style="dim"))
    for instance in deployment.instances:
        role = "primary" if instance is primary else "replica"
        lines.append(Text(f"  {instance.name:<12} {instance.address}  {role}"))
    lines.extend(Text(f"  {each.name:<12} {each.address}") for each in deployment.sentinels)
    lines += [Text(), Text("Connect with redis-py:")]
    if endpoint is not None:
        lines += [
            *_endpoint_snippet(settings, endpoint),
            Text("or, if it is to ask the Sentinels:"),
        ]
    return [*lines, *_snippet(settings), Text()]


def _endpoint_snippet(settings: Settings, endpoint: Member) -> list[Text]:
    at = f'"{endpoint.address.host}", {endpoint.address.port}'
    return [
        Text(f"  {line}", style="cyan")
        for line in (
            "import redis",
            f"store = redis.Redis({at}{_secret(settings)})",
            'store.set("greeting", "hello")',
        )
    ]


def _snippet(settings: Settings) -> list[Text]:
    addresses = ", ".join(f'("{each.host}", {each.port})' for each in settings.sentinel_addresses)
    return [
        Text(f"  {line}", style="cyan")
        for line in (
            "from redis.sentinel import Sentinel",
            f"sentinel = Sentinel([{addresses}])",
            f'store = sentinel.master_for("{settings.group}"{_secret(settings)})',
            'store.set("greeting", "hello")',
        )
    ]


def _secret(settings: Settings) -> str:
    if not settings.password:
        return ""
    return f', password=open("{settings.directory}/password").read().strip()'
