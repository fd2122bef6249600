"""`everfly k8s backup`, `backups`, `restore`: what people ask about backups, as resources.

What is asked for is a resource that `kubectl` shows and makes as well. Data go to stdout, the rest
to stderr.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from everfly.errors import EverflyError, SettingsError
from everfly.operator.apiserver.api import DRAGONFLY, Api, Object
from everfly.operator.backups.names import API_VERSION, BACKUP, BACKUP_KIND, LABEL_STORE
from everfly.operator.backups.progress import Phase, snapshot_of, stamp_of
from everfly.operator.backups.sight import seconds_of
from everfly.operator.backups.timetable import name_of_run
from everfly.operator.manifest import Json, JsonObject, part, text
from everfly.operator.names import GROUP, KIND, VERSION

Work = Callable[[Api, str | None], Awaitable[None]]
WithApi = Callable[[click.Context, Work], None]

LOOK_S: Final = 0.5
WAIT_S: Final = 3600.0


def backup_commands(with_api: WithApi) -> tuple[click.Command, ...]:
    """Return the commands; `with_api` runs the work of one of them."""
    return _backup(with_api), _backups(with_api), _restore(with_api)


def _backup(with_api: WithApi) -> click.Command:
    @click.command("backup", short_help="Make a backup of NAME.")
    @click.argument("name")
    @click.option("--to", "place", required=True, metavar="CLAIM[:FOLDER]|s3://BUCKET/PREFIX")
    @click.option("--secret", default="", help="With AWS_ACCESS_KEY_ID and the like, for s3://.")
    @click.option("--as", "backup", default="", help="Of the backup; default: NAME and the time.")
    @click.option("--delete-files", is_flag=True, help="Its files go with it, if on a volume.")
    @click.option("--wait", "waits", is_flag=True, help="Return when it is over.")
    @click.option("--within", "within_s", default=WAIT_S, show_default=True, help="Seconds.")
    @click.pass_context
    def command(context: click.Context, /, **options: Any) -> None:
        """Make a backup of the data store NAME on a volume claim or in a bucket."""

        async def work(api: Api, namespace: str | None) -> None:
            await _existing(api, options["name"], namespace)
            manifest = _manifest(options, datetime.now(UTC).timestamp())
            item = await api.create(BACKUP, namespace or api.namespace, manifest)
            name = item["metadata"]["name"]
            if options["waits"]:
                item = await _wait_over(api, name, namespace, options["within_s"])
                state = part(item, "status")
                click.echo(f"{name}: {state.get('keys')} keys at {text(state, 'location')}")
            else:
                click.echo(name)

        with_api(context, work)

    return command


def _manifest(options: dict[str, Any], now: float) -> JsonObject:
    place: Json
    if options["place"].startswith("s3://"):
        secret = {"secretName": options["secret"]} if options["secret"] else {}
        place = {"s3": {"uri": options["place"], **secret}}
    else:
        claim, _, folder = options["place"].partition(":")
        place = {"volume": {"claimName": claim} | ({"directory": folder} if folder else {})}
    spec: dict[str, Json] = {"store": options["name"], "to": place}
    if options["delete_files"]:
        spec["deletionPolicy"] = "Delete"
    name = options["backup"] or name_of_run(options["name"], now)
    labels = {LABEL_STORE: options["name"]}
    metadata: JsonObject = {"name": name, "labels": labels}
    return {"apiVersion": API_VERSION, "kind": BACKUP_KIND, "metadata": metadata, "spec": spec}


async def _existing(api: Api, name: str, namespace: str | None) -> Object:
    item = await api.get(DRAGONFLY, name, namespace)
    if item is None:
        place = namespace or api.namespace
        raise SettingsError(f"there is no Dragonfly {name!r} in namespace {place!r}")
    return item


async def _wait_over(api: Api, name: str, namespace: str | None, within_s: float) -> Object:
    try:
        async with asyncio.timeout(within_s):
            while True:
                item = await api.get(BACKUP, name, namespace)
                state = part(item or {}, "status")
                if text(state, "phase") == Phase.COMPLETED.value and item is not None:
                    return item
                if text(state, "phase") == Phase.FAILED.value:
                    raise EverflyError(f"backup {name} failed: {text(state, 'lastError')}")
                if item is None:
                    raise EverflyError(f"backup {name} was deleted")
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise EverflyError(
            f"backup {name} is not over within {within_s:g} s; `everfly k8s backups` shows it"
        ) from None


def _backups(with_api: WithApi) -> click.Command:
    @click.command("backups", short_help="Show backups, newest first.")
    @click.argument("name", required=False)
    @click.option("--json", "as_json", is_flag=True, help="One object a line.")
    @click.pass_context
    def command(context: click.Context, name: str | None, *, as_json: bool) -> None:
        """Show the backups of a namespace, or of the data store NAME, newest first."""

        async def work(api: Api, namespace: str | None) -> None:
            items, _ = await api.list(BACKUP, namespace, None)
            rows = [_row(each) for each in items if name in (None, part(each, "spec").get("store"))]
            rows.sort(key=lambda each: (str(each["began"]), str(each["name"])), reverse=True)
            if as_json:
                for row in rows:
                    click.echo(json.dumps(row))
            else:
                Console().print(_table(rows))

        with_api(context, work)

    return command


def _row(item: Object) -> dict[str, Json]:
    state = part(item, "status")
    began = text(state, "startedAt") or item["metadata"].get("creationTimestamp", "")
    completed = text(state, "completedAt")
    seconds = seconds_of(completed) - seconds_of(began) if completed else None
    return {
        "name": item["metadata"]["name"],
        "store": text(item, "spec", "store"),
        "phase": text(state, "phase") or Phase.PENDING.value,
        "began": began,
        "seconds": seconds,
        "keys": state.get("keys"),
        "memoryBytes": state.get("memoryBytes"),
        "location": text(state, "location"),
        "lastError": text(state, "lastError"),
    }


def _table(rows: list[dict[str, Json]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("NAME", "STORE", "PHASE", "BEGAN", "SECONDS", "KEYS", "WHERE, OR WHY NOT"):
        table.add_column(title, overflow="fold")
    for row in rows:
        seconds, keys = row["seconds"], row["keys"]
        table.add_row(
            str(row["name"]),
            str(row["store"]),
            str(row["phase"]),
            str(row["began"]),
            "-" if seconds is None else f"{seconds:.0f}",
            "-" if keys is None else str(keys),
            str(row["lastError"] or row["location"]),
        )
    return table


def _restore(with_api: WithApi) -> click.Command:
    @click.command("restore", short_help="Make a new data store of a backup.")
    @click.argument("name")
    @click.option("--from", "backup", required=True, help="The backup.")
    @click.option("--like", default="", help="Whose spec to take; default: the backup's store.")
    @click.option("--replicas", type=click.IntRange(1), help="Default: as many as that one.")
    @click.option("--wait", "waits", is_flag=True, help="Return when clients are served.")
    @click.option("--within", "within_s", default=WAIT_S, show_default=True, help="Seconds.")
    @click.pass_context
    def command(context: click.Context, /, **options: Any) -> None:
        """Make the new data store NAME, which begins with the data of a backup."""

        async def work(api: Api, namespace: str | None) -> None:
            name = options["name"]
            manifest = await _store_manifest(api, namespace, options)
            await api.create(DRAGONFLY, namespace or api.namespace, manifest)
            if options["waits"]:
                await _wait_restored(api, name, namespace, options["within_s"])
            click.echo(name)

        with_api(context, work)

    return command


async def _store_manifest(
    api: Api, namespace: str | None, options: dict[str, Any]
) -> dict[str, Json]:
    item = await api.get(BACKUP, options["backup"], namespace)
    if item is None:
        place = namespace or api.namespace
        raise SettingsError(f"there is no backup {options['backup']!r} in namespace {place!r}")
    if snapshot_of(part(item, "status")) is None:
        phase = text(item, "status", "phase") or Phase.PENDING.value
        raise SettingsError(f"backup {options['backup']} is {phase}, not Completed")
    model = options["like"] or text(item, "spec", "store")
    found = await api.get(DRAGONFLY, model, namespace)
    if found is None and (options["like"] or not options["replicas"]):
        raise SettingsError(
            f"there is no Dragonfly {model!r} to take the spec of; give --like, or --replicas for "
            "one with defaults"
        )
    spec = without_shared(part(found or {}, "spec"))
    if options["replicas"]:
        spec["replicas"] = options["replicas"]
    spec["everfly"] = {**part(spec, "everfly"), "restoreFrom": {"backup": options["backup"]}}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": options["name"]},
        "spec": spec,
    }


def without_shared(spec: JsonObject) -> dict[str, Json]:
    """Return the spec of a data store without what two of them cannot have at the same time."""
    made = dict(spec)
    for name, fields in (
        ("serviceSpec", ("name", "nodePort")),
        ("snapshot", ("existingPersistentVolumeClaimName",)),
    ):
        if name in made:
            made[name] = {k: v for k, v in part(spec, name).items() if k not in fields}
    snapshot = part(made, "snapshot")
    if not (snapshot.get("persistentVolumeClaimSpec") or snapshot.get("dir")):
        made.pop("snapshot", None)  # times without a place would be refused
    return made


async def _wait_restored(api: Api, name: str, namespace: str | None, within_s: float) -> None:
    last = "not seen by an operator yet"
    began = stamp_of(datetime.now(UTC).timestamp())
    try:
        async with asyncio.timeout(within_s):
            while True:
                item = await _existing(api, name, namespace)
                state = part(item, "status")
                if text(state, "restore", "phase") == "Completed":
                    return
                conditions = state.get("conditions")
                for each in conditions if isinstance(conditions, list) else ():
                    if isinstance(each, dict) and each.get("type") == "Restored":
                        last = f"{each.get('reason')}: {each.get('message')}"
                        if each.get("reason") in ("HasData", "CannotRead"):
                            raise EverflyError(f"{name} is not restored: {last}")
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise EverflyError(f"{name} is not restored since {began}: {last}") from None
