"""`everfly operator`: run the operator. `everfly k8s ...`: what people ask of it, by annotations.

What an order does is written into the resource, so that it also works with kubectl, and whoever is
the operator then carries it out. Data go to stdout, the rest to stderr.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import click

from everfly.core.successor import ANYBODY
from everfly.errors import EverflyError, SettingsError
from everfly.operator import names
from everfly.operator.apiserver.api import DRAGONFLY, Api, Object, Patch
from everfly.operator.app import kubeconfig_of, run_until_told
from everfly.operator.commands.backup import backup_commands
from everfly.operator.commands.rebuild import rebuild_command
from everfly.operator.commands.status import status_command
from everfly.operator.manifest import Json, part, text
from everfly.operator.settings import Settings, namespaces_of, own_namespace_of, read_bind
from everfly.runtime import log

_SWITCH: Final[dict[str, Any]] = {
    "is_flag": False,
    "flag_value": "true",
    "default": "false",
    "type": click.BOOL,
}
"""A flag as Go reads it: `--flag` or `--flag=false`."""
_LOG_LEVELS: Final = {"debug": "debug", "info": "verbose", "error": "warning", "panic": "warning"}


def _fail(error: EverflyError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(1)


@click.command(context_settings={"token_normalize_func": lambda name: name})
@click.option("--metrics-bind-address", default=":8080", show_default=True, help="0: nowhere.")
@click.option("--health-probe-bind-address", default=":8081", show_default=True, help="0: nowhere.")
@click.option("--dragonfly-image", default="", help="For resources that name no image.")
@click.option("--leader-elect", **_SWITCH, help="Several operators take turns.")
@click.option("--watch-current-namespace", **_SWITCH, help="Only that of the current context.")
@click.option("--kubeconfig", default="", help="Default: KUBECONFIG, or that of the pod.")
@click.option("--zap-log-level", "level", default="info", help="debug, info or error.")
@click.option("--zap-encoder", "encoder", default="console", type=click.Choice(["console", "json"]))
@click.option("--version", "shows_version", is_flag=True, help="Show where it was built from.")
@click.option("--zap-devel", **_SWITCH, hidden=True)
@click.option("--zap-stacktrace-level", default="", hidden=True)
@click.option("--zap-time-encoding", default="", hidden=True)
def operator(**options: Any) -> None:
    """Keep all Dragonfly resources of a Kubernetes cluster always on.

    Takes the flags of the upstream operator, and from the environment WATCH_NAMESPACE (names with
    commas between them; empty: all) and POD_NAMESPACE.
    """
    if options["shows_version"]:
        click.echo("source")
        return
    log.set_up(
        "",
        _LOG_LEVELS.get(options["level"], "verbose"),
        "json" if options["encoder"] == "json" else "redis",
    )
    # A line for each request would drown what is worth reading.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        settings = Settings(
            metrics=read_bind(options["metrics_bind_address"], "--metrics-bind-address"),
            health=read_bind(options["health_probe_bind_address"], "--health-probe-bind-address"),
            image=options["dragonfly_image"],
            elects_leader=options["leader_elect"],
            watches_current=options["watch_current_namespace"],
            kubeconfig=options["kubeconfig"],
            namespaces=namespaces_of(os.environ),
            own_namespace=own_namespace_of(os.environ),
            own_pod=os.environ.get("POD_NAME", ""),
            own_host=os.environ.get("NODE_NAME", ""),
            endpoint_image=os.environ.get("ENDPOINT_IMAGE", ""),
            sentinels=os.environ.get("SENTINEL_FRONT", ""),
            metrics_namespace=os.environ.get("METRICS_NAMESPACE", ""),
        )
        asyncio.run(run_until_told(settings))
    except EverflyError as error:
        _fail(error)


@click.group()
@click.option("--kubeconfig", default="", help="Default: KUBECONFIG, or that of the pod.")
@click.option("--namespace", "-n", default=None, help="Default: that of the current context.")
@click.pass_context
def k8s(context: click.Context, kubeconfig: str, namespace: str | None) -> None:
    """Look at data stores of a Kubernetes cluster, and ask things of their operator."""
    context.obj = (kubeconfig, namespace)


def _with_api(context: click.Context, work: Callable[[Api, str | None], Awaitable[None]]) -> None:
    kubeconfig, namespace = context.obj

    async def run() -> None:
        api = Api(kubeconfig_of(Settings(kubeconfig=kubeconfig)))
        try:
            await work(api, namespace)
        finally:
            await api.close()

    try:
        asyncio.run(run())
    except EverflyError as error:
        _fail(error)


async def _store(api: Api, name: str, namespace: str | None) -> Object:
    item = await api.get(DRAGONFLY, name, namespace)
    if item is None:
        place = namespace or api.namespace
        raise SettingsError(f"there is no Dragonfly {name!r} in namespace {place!r}")
    return item


def _annotate(context: click.Context, name: str, annotation: str, value: str | None) -> None:
    async def work(api: Api, namespace: str | None) -> None:
        await _store(api, name, namespace)
        change = {"metadata": {"annotations": {annotation: value}}}
        await api.patch(DRAGONFLY, name, namespace, change, Patch.MERGE)

    _with_api(context, work)


k8s.add_command(status_command(_with_api))
for _each in backup_commands(_with_api):
    k8s.add_command(_each)
k8s.add_command(rebuild_command(_with_api))


@k8s.command()
@click.argument("name")
@click.argument("pod", required=False, default=ANYBODY)
@click.option("--wait", "wait_s", default=30.0, show_default=True, help="Seconds; 0: do not wait.")
@click.pass_context
def switchover(context: click.Context, name: str, pod: str, wait_s: float) -> None:
    """Move the primary of NAME to POD, or to whichever replica is best, without losing a write."""

    async def work(api: Api, namespace: str | None) -> None:
        before = text(part(await _store(api, name, namespace), "status"), "primary")
        change = {"metadata": {"annotations": {names.SWITCH_TO: pod}}}
        await api.patch(DRAGONFLY, name, namespace, change, Patch.MERGE)
        if wait_s > 0:
            now = await _wait_switched(api, name, namespace, wait_s)
            if now == before and pod != before:
                raise SettingsError(
                    f"{before} is still the primary: the operator refused; its events say why"
                )
            click.echo(f"{now} is the primary")

    _with_api(context, work)


async def _wait_switched(api: Api, name: str, namespace: str | None, wait_s: float) -> str:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while True:
                item = await _store(api, name, namespace)
                asked = (item["metadata"].get("annotations") or {}).get(names.SWITCH_TO)
                is_moving = part(item, "status", "record").get("move") is not None
                if asked is None and not is_moving:
                    return text(part(item, "status"), "primary")
                await asyncio.sleep(0.1)
    raise SettingsError(f"not within {wait_s:g} s; `everfly k8s status {name}` shows how it stands")


def _setter(name: str, annotation: str, value: str | None, words: str) -> click.Command:
    @click.command(name=name, help=words)
    @click.argument("name")
    @click.pass_context
    def command(context: click.Context, name: str) -> None:
        _annotate(context, name, annotation, value)

    return command


k8s.add_command(
    _setter("pause", names.PAUSED, "true", "Change nothing on NAME until `resume`: no failover.")
)
k8s.add_command(_setter("resume", names.PAUSED, None, "Look after NAME again."))
k8s.add_command(
    _setter("hibernate", names.HIBERNATED, "true", "Stop all instances of NAME; disks stay.")
)
k8s.add_command(_setter("wake", names.HIBERNATED, None, "Start the instances of NAME again."))


@k8s.command()
@click.argument("name")
@click.argument("pods", nargs=-1, required=True)
@click.pass_context
def fence(context: click.Context, name: str, pods: tuple[str, ...]) -> None:
    """Take PODS of NAME out of use: no clients, never the primary. Replaces what was fenced."""
    _annotate(context, name, names.FENCED, ",".join(pods))


@k8s.command()
@click.argument("name")
@click.pass_context
def unfence(context: click.Context, name: str) -> None:
    """Use all pods of NAME again."""
    _annotate(context, name, names.FENCED, None)


@k8s.command("accept-loss")
@click.argument("name")
@click.option("--always", is_flag=True, help="Also of later histories: only for a mere cache.")
@click.pass_context
def accept_loss(context: click.Context, name: str, *, always: bool) -> None:
    """Go on with what is there of NAME, although an instance that is missing may hold more."""

    async def work(api: Api, namespace: str | None) -> None:
        item = await _store(api, name, namespace)
        history = text(part(item, "status", "lineage"), "history")
        value: Json = "always" if always else history
        if not value:
            raise SettingsError(f"{name} has no data that could be lost")
        change = {"metadata": {"annotations": {names.ACCEPTED_LOSS: value}}}
        await api.patch(DRAGONFLY, name, namespace, change, Patch.MERGE)

    _with_api(context, work)
