"""`everfly k8s rebuild`: ask for a replica to come back with an empty disk and copy anew."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import click
import httpx2

from everfly.errors import SettingsError
from everfly.operator import names
from everfly.operator.apiserver.api import DRAGONFLY, Api, Object, Patch, Refused
from everfly.operator.chores.rebuild import REBUILDING
from everfly.operator.manifest import objects, text
from everfly.operator.volumes.rebuilds import RebuildOrder, begun_of, orders_of, orders_text

LOOK_S: Final = 0.2
REASON_S: Final = 5.0
"""For the reason of a refusal to reach the status."""

TRIES: Final = 10
"""To write while others write too."""

WithApi = Callable[[click.Context, Callable[[Api, str | None], Awaitable[None]]], None]


def rebuild_command(with_api: WithApi) -> click.Command:
    """Return the command; `with_api` runs work with a connection to the API server."""

    @click.command()
    @click.argument("name")
    @click.argument("pod")
    @click.option("--force", "is_forced", is_flag=True, help="Also the last copy of the primary.")
    @click.option("--wait", "wait_s", default=600.0, show_default=True, help="Seconds; 0: no wait.")
    @click.pass_context
    def rebuild(
        context: click.Context, name: str, pod: str, *, is_forced: bool, wait_s: float
    ) -> None:
        """Give POD of NAME an empty disk; it copies from the primary. Never the primary itself."""

        async def work(api: Api, namespace: str | None) -> None:
            await _ask(api, (name, namespace), RebuildOrder(pod, is_forced))
            if wait_s > 0:
                await _wait_rebuilt(api, (name, namespace), pod, wait_s)
                click.echo(f"{pod} was rebuilt")

        with_api(context, work)

    return rebuild


Place = tuple[str, str | None]
"""Name and namespace."""


async def _ask(api: Api, place: Place, order: RebuildOrder) -> None:
    """Add an order to those that are there. Raise Refused, Unavailable."""
    for tries_left in reversed(range(TRIES)):
        try:
            await _write(api, place, order)
        except Refused as error:
            if error.code != httpx2.codes.CONFLICT or not tries_left:
                raise
        else:
            return


async def _write(api: Api, place: Place, order: RebuildOrder) -> None:
    item = await _store(api, place)
    others = tuple(each for each in orders_of(_annotations(item)) if each.name != order.name)
    change: dict[str, Any] = {
        # Nobody's order may get lost by ours.
        "metadata": {
            "resourceVersion": item["metadata"]["resourceVersion"],
            "annotations": {names.REBUILD: orders_text((*others, order))},
        }
    }
    await api.patch(DRAGONFLY, place[0], place[1], change, Patch.MERGE)


async def _wait_rebuilt(api: Api, place: Place, pod: str, wait_s: float) -> None:
    """Return when a pod was rebuilt. Raise SettingsError: refused, or not within that time."""
    has_begun = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while True:
                annotations = _annotations(await _store(api, place))
                begun = begun_of(annotations)
                has_begun = has_begun or (begun is not None and begun.name == pod)
                if pod not in [each.name for each in orders_of(annotations)]:
                    break
                await asyncio.sleep(LOOK_S)
            if has_begun:
                return
            raise SettingsError(f"refused: {await _why_refused(api, place)}")
    name = place[0]
    raise SettingsError(f"not within {wait_s:g} s; `everfly k8s status {name}` shows how it stands")


async def _why_refused(api: Api, place: Place) -> str:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REASON_S):
            while True:
                item = await _store(api, place)
                for each in objects(item, "status", "conditions"):
                    if text(each, "type") == REBUILDING and text(each, "reason") == "Refused":
                        return text(each, "message")
                await asyncio.sleep(LOOK_S)
    return "the events of the resource say why"


async def _store(api: Api, place: Place) -> Object:
    item = await api.get(DRAGONFLY, *place)
    if item is None:
        where = place[1] or api.namespace
        raise SettingsError(f"there is no Dragonfly {place[0]!r} in namespace {where!r}")
    return item


def _annotations(item: Object) -> dict[str, str]:
    return dict(item["metadata"].get("annotations") or {})
