"""`everfly k8s status`: show data stores, one in full or all of a namespace. Data go to stdout."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import click
import httpx2
from rich.console import Console, RenderableType
from rich.live import Live

from everfly.errors import SettingsError
from everfly.operator.apiserver.api import (
    BUDGET,
    CLAIM,
    DRAGONFLY,
    EVENT,
    POD,
    SERVICE,
    Api,
    Object,
    Refused,
    Resource,
)
from everfly.operator.commands.picture import Material, facts_of, labels_of, picture_of, table_of

LOOK_S: Final = 1.0
"""Between two looks of `--watch`."""
EVERYWHERE: Final = "*"

_READ: Final[dict[str, Resource]] = {
    "pods": POD,
    "services": SERVICE,
    "poddisruptionbudgets": BUDGET,
    "persistentvolumeclaims": CLAIM,
}


async def one(api: Api, name: str, namespace: str | None) -> Material:
    """Return what is known of one data store. Raise SettingsError, Refused, Unavailable."""
    store = await api.get(DRAGONFLY, name, namespace)
    if store is None:
        place = namespace or api.namespace
        raise SettingsError(f"there is no Dragonfly {name!r} in namespace {place!r}")
    place = store["metadata"]["namespace"]
    unreadable: list[str] = []
    found = {
        word: await _list(api, word, (kind, place, labels_of(name)), unreadable)
        for word, kind in _READ.items()
    }
    events = [
        each
        for each in await _list(api, "events", (EVENT, place, None), unreadable)
        if each.get("involvedObject", {}).get("uid") == store["metadata"]["uid"]
    ]
    return Material(
        store=store,
        pods=found["pods"],
        services=found["services"],
        budgets=found["poddisruptionbudgets"],
        claims=found["persistentvolumeclaims"],
        events=events,
        unreadable=tuple(unreadable),
    )


async def _list(
    api: Api,
    word: str,
    what: tuple[Resource, str, dict[str, str] | None],
    unreadable: list[str],
) -> list[Object]:
    try:
        found, _ = await api.list(*what)
    except Refused as error:
        if error.code not in (httpx2.codes.FORBIDDEN, httpx2.codes.NOT_FOUND):
            raise
        unreadable.append(word)
        return []
    return found


async def _pictures(
    api: Api, name: str | None, namespace: str | None
) -> AsyncIterator[RenderableType]:
    while True:
        if name is not None:
            yield picture_of(await one(api, name, namespace), datetime.now(UTC))
        else:
            stores, _ = await api.list(DRAGONFLY, namespace, None)
            yield table_of(stores)
        await asyncio.sleep(LOOK_S)


async def show(api: Api, name: str | None, namespace: str | None, *, is_watched: bool) -> None:
    """Print the picture, once or again and again. Raise SettingsError, Refused, Unavailable."""
    console = Console(soft_wrap=True)
    pictures = _pictures(api, name, namespace)
    first = await anext(pictures)
    if not is_watched:
        console.print(first)
        return
    with Live(first, console=console, auto_refresh=False) as live:
        async for each in pictures:
            live.update(each, refresh=True)


async def tell(api: Api, name: str | None, namespace: str | None) -> None:
    """Print all of it as JSON: an object, or a list of them."""
    if name is not None:
        click.echo(json.dumps(facts_of(await one(api, name, namespace)), indent=2))
        return
    stores, _ = await api.list(DRAGONFLY, namespace, None)
    click.echo(json.dumps([facts_of(Material(store=each)) for each in stores], indent=2))


Work = Callable[[Api, str | None], Awaitable[None]]


def status_command(with_api: Callable[[click.Context, Work], None]) -> click.Command:
    """Return the command; `with_api` carries work out with the API server of a context."""

    @click.command()
    @click.argument("name", required=False)
    @click.option("--all-namespaces", "-A", "is_everywhere", is_flag=True, help="Of all of them.")
    @click.option("--watch", "-w", "is_watched", is_flag=True, help="Until Ctrl-C, each second.")
    @click.option("--json", "is_json", is_flag=True, help="For scripts.")
    @click.pass_context
    def status(
        context: click.Context, name: str | None, *, is_everywhere: bool, is_watched: bool,
        is_json: bool,
    ) -> None:  # fmt: skip
        """Show data stores: all of a namespace, or NAME with its instances and what is wrong."""

        async def work(api: Api, namespace: str | None) -> None:
            place = EVERYWHERE if is_everywhere else namespace
            if name is not None and is_everywhere:
                raise SettingsError("give a NAME with --namespace, or --all-namespaces alone")
            if is_json:
                await tell(api, name, place)
            else:
                await show(api, name, place, is_watched=is_watched)

        with_api(context, work)

    return status
