"""Turn what the API server holds about one data store into a picture for people. Pure.

    cache  default  Ready
    ├── primary  cache-1  zone-b  host-2  up 3 h, 1 restart
    │   ├── replica  cache-0  zone-a  ...
    │   └── replica  cache-2  zone-c  ...
    ├── Service cache 10.0.0.7:6379 -> cache-1
    ├── conditions: what is not as it should be, with its reason
    ├── disks, disruption budget, what was asked for by annotations
    └── last events

Rules: what is in order takes a word, what is not takes a line; what the caller may not read is
named as such and leaves the rest; the JSON form has the same parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from everfly.operator import names
from everfly.operator.manifest import Json, JsonObject, objects, part, text

EVENTS_SHOWN: Final = 8
_GOOD: Final = frozenset(
    {
        "Available",
        "Ready",
        "ReplicationHealthy",
        "Valid",
        "Monitored",
        "Restored",
        "SecretRotation",
    }
)
"""Conditions that are as they should be when they are true. All others: when they are false."""
_MOOT: Final = frozenset({"NotAskedFor", "NotWanted"})
"""Reasons of conditions about what nobody wants any more."""
_PHASES: Final = {
    "Ready": "bold green",
    "RollingUpdate": "bold yellow",
    "Configuring": "bold red",
}
_ORDERS: Final = {
    names.PAUSED: "paused: nothing is changed, nobody fails over",
    names.HIBERNATED: "hibernated: no instance runs",
    names.FENCED: "fenced",
    names.SWITCH_TO: "a switchover is asked for, to",
    names.ACCEPTED_LOSS: "loss accepted of history",
    names.REBUILD: "to be rebuilt",
    names.REBUILD: "to be rebuilt",
}


@dataclass(frozen=True, slots=True)
class Material:
    """What is known; objects as the API server gives them."""

    store: JsonObject
    pods: Sequence[JsonObject] = ()
    services: Sequence[JsonObject] = ()
    budgets: Sequence[JsonObject] = ()
    claims: Sequence[JsonObject] = ()
    events: Sequence[JsonObject] = ()
    unreadable: Sequence[str] = field(default=())
    """Kinds that the caller may not read."""


def picture_of(material: Material, now: datetime) -> RenderableType:
    """Return the picture of one data store."""
    tree = Tree(_title(material))
    _add_instances(tree, material, now)
    for line in _services(material):
        tree.add(line)
    _add_conditions(tree, material)
    for line in (*_asked(material), *_around(material)):
        tree.add(line)
    parts: list[RenderableType] = [tree]
    if material.events:
        parts += [Text(), _events(material, now)]
    if material.unreadable:
        what = ", ".join(material.unreadable)
        parts.append(Text(f"not shown, because you may not read them: {what}", style="dim"))
    return Group(*parts)


def facts_of(material: Material) -> dict[str, Json]:
    """Return the same as JSON."""
    status = part(material.store, "status")
    by_name = {_name(each): each for each in material.pods}
    return {
        "namespace": text(material.store, "metadata", "namespace"),
        "name": _name(material.store),
        "phase": text(status, "phase"),
        "primary": text(status, "primary"),
        "epoch": part(status, "record").get("epoch"),
        "history": text(status, "lineage", "history"),
        "replicas": {
            "wanted": part(material.store, "spec").get("replicas", 0),
            "running": status.get("replicas", 0),
            "ready": status.get("readyReplicas", 0),
            "updated": status.get("updatedReplicas", 0),
        },
        "pods": [
            {
                **each,
                "host": text(by_name.get(text(each, "name"), {}), "spec", "nodeName"),
                "ip": text(by_name.get(text(each, "name"), {}), "status", "podIP"),
                "restarts": _restarts(by_name.get(text(each, "name"), {})),
            }
            for each in objects(status, "pods")
        ],
        "conditions": list(objects(status, "conditions")),
        "events": [
            {"reason": text(each, "reason"), "message": text(each, "message"), "at": _when(each)}
            for each in _newest(material)
        ],
    }


def table_of(stores: Sequence[JsonObject]) -> Table:
    """Return a row for each data store."""
    table = Table(box=None, pad_edge=False)
    for title in ("NAMESPACE", "NAME", "PHASE", "PRIMARY", "READY", "TROUBLE"):
        table.add_column(title, no_wrap=title != "TROUBLE")
    for item in stores:
        status = part(item, "status")
        table.add_row(
            text(item, "metadata", "namespace"),
            _name(item),
            _phase(status),
            text(status, "primary") or "-",
            f"{status.get('readyReplicas', 0)}/{part(item, 'spec').get('replicas', 0)}",
            _trouble(status),
        )
    return table


def _name(item: JsonObject) -> str:
    return text(item, "metadata", "name")


def _phase(status: JsonObject) -> Text:
    phase = text(status, "phase")
    return Text(phase or "not seen by an operator yet", style=_PHASES.get(phase, "bold"))


def _trouble(status: JsonObject) -> Text:
    wrong = [each for each in objects(status, "conditions") if not _is_well(each)]
    return Text(
        ", ".join(dict.fromkeys(text(each, "reason") for each in wrong)),
        style="red" if wrong else "",
    )


def _is_well(condition: JsonObject) -> bool:
    wanted = "True" if text(condition, "type") in _GOOD else "False"
    return text(condition, "status") == wanted or text(condition, "reason") in _MOOT


def _title(material: Material) -> Text:
    status = part(material.store, "status")
    title = Text(_name(material.store), style="bold")
    title.append(f"  {text(material.store, 'metadata', 'namespace')}  ", style="dim")
    title.append(_phase(status))
    epoch, history = part(status, "record").get("epoch"), text(status, "lineage", "history")
    if history:
        title.append(f"  epoch {epoch}, history {history[:12]}", style="dim")
    wanted, running = part(material.store, "spec").get("replicas", 0), status.get("replicas", 0)
    if wanted != running:
        title.append(f"  {running} of {wanted} instances", style="yellow")
    return title


def _add_instances(tree: Tree, material: Material, now: datetime) -> None:
    by_name = {_name(each): each for each in material.pods}
    rows = objects(material.store, "status", "pods")
    primary = next((each for each in rows if text(each, "role") == names.ROLE_PRIMARY), None)
    branch = tree
    if primary is None:
        branch = tree.add(Text("no primary in service", style="bold red"))
    else:
        pod = by_name.get(text(primary, "name"), {})
        branch = tree.add(_instance("primary", primary, pod, now))
    for each in rows:
        if each is primary:
            continue
        is_replica = text(each, "role") == names.ROLE_REPLICA
        pod = by_name.get(text(each, "name"), {})
        line = _instance("replica" if is_replica else "out of service", each, pod, now)
        (branch if is_replica else tree).add(line)


def _instance(role: str, row: JsonObject, pod: JsonObject, now: datetime) -> Text:
    is_well = row.get("healthy") is True and row.get("ready") is True
    color = "green" if is_well else "red"
    line = Text.assemble((f"{role}  ", color), (text(row, "name"), "bold"))
    for word in (text(row, "zone"), text(pod, "spec", "nodeName"), text(pod, "status", "podIP")):
        if word:
            line.append(f"  {word}", style="dim")
    marks = []
    if row.get("ready") is not True:
        marks.append("not ready")
    if row.get("healthy") is not True:
        marks.append("does not do its part")
    if row.get("fenced") is True:
        marks.append("fenced")
    if text(pod, "metadata", "deletionTimestamp"):
        marks.append("is being deleted")
    if marks:
        line.append(f"  {', '.join(marks)}", style="red")
    if pod:
        line.append(f"  up {_span(text(pod, 'status', 'startTime'), now)}", style="dim")
        if restarts := _restarts(pod):
            line.append(f", {restarts} restart{'s' if restarts > 1 else ''}", style="yellow")
    return line


def _restarts(pod: JsonObject) -> int:
    for each in objects(pod, "status", "containerStatuses"):
        found = each.get("restartCount")
        if each.get("name") == names.CONTAINER and isinstance(found, int):
            return found
    return 0


def _services(material: Material) -> list[Text]:
    lines = []
    for each in sorted(material.services, key=_name):
        selector = part(each, "spec", "selector")
        role = text(selector, names.LABEL_ROLE)
        kind = {names.ROLE_PRIMARY: "the primary", names.ROLE_REPLICA: "replicas"}
        place = text(each, "spec", "clusterIP")
        ports = [str(port["port"]) for port in objects(each, "spec", "ports") if "port" in port]
        lines.append(
            Text.assemble(
                "Service ", (_name(each), "bold"),
                (f"  {place}:{','.join(ports)} -> {kind.get(role, 'all instances')}", "dim"),
            )
        )  # fmt: skip
    return lines


def _add_conditions(tree: Tree, material: Material) -> None:
    conditions = objects(material.store, "status", "conditions")
    if not conditions:
        return
    wrong = [each for each in conditions if not _is_well(each)]
    if not wrong:
        tree.add(Text("conditions: all in order", style="green"))
        return
    branch = tree.add(Text("conditions", style="yellow"))
    for each in wrong:
        line = Text.assemble(
            (f"{text(each, 'type')} is {text(each, 'status').lower()}", "red"),
            f"  {text(each, 'reason')}",
        )
        if message := text(each, "message"):
            line.append(f": {message}")
        branch.add(line)


def _asked(material: Material) -> list[Text]:
    annotations = part(material.store, "metadata", "annotations")
    lines = []
    for key, words in _ORDERS.items():
        value = annotations.get(key)
        if isinstance(value, str) and value:
            shown = "" if value == "true" else f" {value}"
            lines.append(Text(f"{words}{shown}", style="yellow"))
    return lines


def _around(material: Material) -> list[Text]:
    lines = []
    for each in material.budgets:
        allowed = part(each, "status").get("disruptionsAllowed", 0)
        style = "dim" if allowed else "yellow"
        lines.append(Text(f"may be disrupted now: {allowed} pods", style=style))
    for each in sorted(material.claims, key=_name):
        wanted = text(each, "spec", "resources", "requests", "storage")
        size = text(each, "status", "capacity", "storage")
        line = Text(f"disk {_name(each)}  {size or 'not bound'}", style="dim")
        if size and wanted != size:
            line.append(f"  {wanted} wanted", style="yellow")
        lines.append(line)
    return lines


def _newest(material: Material) -> list[JsonObject]:
    return sorted(material.events, key=_when)[-EVENTS_SHOWN:]


def _when(event: JsonObject) -> str:
    return text(event, "lastTimestamp") or text(event, "eventTime")


def _events(material: Material, now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in _newest(material):
        style = "yellow" if text(each, "type") == "Warning" else ""
        table.add_row(
            Text(f"{_span(_when(each), now)} ago", style="dim"),
            Text(text(each, "reason"), style=style),
            text(each, "message"),
        )
    return table


def _span(moment: str, now: datetime) -> str:
    """Return how long ago a moment (RFC 3339) was, in one unit."""
    try:
        since = datetime.fromisoformat(moment)
    except ValueError:
        return "?"
    seconds = max(0, int((now - since.astimezone(UTC)).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def labels_of(name: str) -> dict[str, str]:
    """Return the labels by which all objects of a data store are found."""
    return {names.LABEL_APP: name, names.LABEL_NAME: names.APP_NAME}
