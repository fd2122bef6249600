"""Turn a picture of a group into a table for people or JSON for programs, and events into lines.

Nothing is told by colour alone: every state is also a word and a mark. Foreign text is given to the
renderer as plain text, so markup in it stays text.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from everfly.core.model import Address, Engine, Role
from everfly.observe.events import BACK, LOST, Event
from everfly.observe.picture import GroupPicture, InstanceView, SentinelView
from everfly.observe.printable import printable

GOOD: Final = "●"
BAD: Final = "✗"
BUSY: Final = "◌"
"""Marks beside the words, for eyes that glance."""

_STYLES: Final = {GOOD: "green", BAD: "red", BUSY: "yellow"}
_EVENT_STYLES: Final = {
    "+sdown": "yellow",
    "+odown": "red",
    "+switch-master": "bold green",
    "-sdown": "green",
    "-odown": "green",
    LOST: "red",
    BACK: "dim",
}

_FLAGS_SHOWN: Final = ("s_down", "o_down", "disconnected")
SILENT_S: Final = 3
"""A replica that has not heard from its primary for so long is told about: primaries speak every
second here, and every ten by default."""

Names = Mapping[Address, str]
"""What to call the processes at these addresses."""


NARROW: Final = 104
"""Columns of a screen below which the less important columns of a table are left out."""


def render(picture: GroupPicture, names: Names | None = None, *, width: int) -> RenderableType:
    """Return a view of the group: instances, Sentinels, and what is wrong in sentences.

    `width` is that of the screen, in characters.
    """
    parts: list[RenderableType] = []
    if picture.instances:
        parts.append(instance_table(picture, names or {}, is_narrow=width < NARROW))
    if picture.is_reachable:
        parts += [Text(), sentinel_table(picture, names or {}, is_narrow=width < NARROW)]
    parts += [Text(), verdict(picture)]
    return Group(*parts)


def verdict(picture: GroupPicture) -> Text:
    """Return one line that all is well, or one line for each problem."""
    if not picture.problems:
        return _marked(GOOD, "healthy")
    lines = [_marked(BAD, printable(problem, 400)) for problem in picture.problems]
    return Text("\n").join(lines)


def instance_table(picture: GroupPicture, names: Names, *, is_narrow: bool) -> Table:
    """Return what each instance says of itself, and what the Sentinels say of it."""
    titles = ["instance", "address", "role", "link", "offset", "behind", "Sentinels"]
    table = _table(*titles, *([] if is_narrow else ["version"]))
    table.columns[4].justify = table.columns[5].justify = "right"
    for view in picture.instances:
        mark, state = _link(view, picture)
        role = {Role.PRIMARY: "primary", Role.REPLICA: "replica", None: "?"}[view.report.role]
        style = "bold" if view.address == picture.primary else ""
        version = f"{view.report.engine.value} {view.version}" if view.is_reachable else "-"
        table.add_row(
            Text(names.get(view.address, ""), style=style),
            Text(str(view.address)),
            Text(role if view.is_reachable else "-", style=style),
            _marked(mark, state),
            Text(_number(view.report.offset)),
            Text(_behind(view)),
            Text(_flags(view, picture)),
            *([] if is_narrow else [Text(version)]),
        )
    return table


def sentinel_table(picture: GroupPicture, names: Names, *, is_narrow: bool) -> Table:
    """Return what each Sentinel says of the group."""
    titles = ["Sentinel", "address", "says primary is", "epoch", "quorum", "failover"]
    table = _table(*titles, *([] if is_narrow else ["knows"]))
    table.columns[3].justify = "right"
    for view in picture.sentinels:
        cells = _says(view, names)
        table.add_row(
            Text(names.get(view.address, "")),
            Text(str(view.address)),
            *(cells[: len(titles) - 2] if is_narrow else cells),
        )
    return table


def _says(view: SentinelView, names: Names) -> list[Text]:
    if not view.is_reachable:
        return [_marked(BAD, view.error)]
    if view.primary is None:
        return [_marked(BAD, "does not watch this group")]
    down = [word for word in ("s_down", "o_down") if word in view.primary.flags]
    said = view.client_address
    who = "nobody" if said is None else names.get(said, str(said))
    return [
        _marked(BAD if down else GOOD, who + (f" ({', '.join(down)})" if down else "")),
        Text(str(view.config_epoch)),
        Text("none" if view.quorum_trouble else f"{view.quorum} of {len(view.peers) + 1}"),
        Text(view.failover_state.replace("_", " ") or "-"),
        Text(f"{_count(len(view.replicas), 'replica')}, {_count(len(view.peers), 'peer')}"),
    ]


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(Text(column), no_wrap=True, overflow="ellipsis")
    return table


def _marked(mark: str, text: str) -> Text:
    return Text.assemble((mark, _STYLES[mark]), " ", text)


def _link(view: InstanceView, picture: GroupPicture) -> tuple[str, str]:
    if not view.is_reachable:
        return BAD, "unreachable"
    if view.report.role is Role.PRIMARY:
        count = len(view.report.replicas)
        if "promoted" in view.flags and view.address != picture.primary:
            return BUSY, "being promoted"
        is_right = view.address == picture.primary
        return (GOOD, _count(count, "replica")) if is_right else (BAD, "a second primary")
    if view.report.is_syncing:
        return BUSY, "copying"
    if not view.report.primary_link_up:
        return BAD, "down"
    return GOOD, "up"


def _behind(view: InstanceView) -> str:
    if not view.is_reachable or view.report.role is not Role.REPLICA or view.lag is None:
        return "-"
    unit = "entries" if view.report.engine is Engine.DRAGONFLY else "B"
    is_silent = view.silent_s is not None and view.silent_s >= SILENT_S
    seconds = f", {view.silent_s} s" if is_silent else ""
    return f"{_number(view.lag)} {unit}{seconds}"


def _flags(view: InstanceView, picture: GroupPicture) -> str:
    said = [word for word in _FLAGS_SHOWN if word in view.flags]
    if not said:
        return "fine"
    text = ", ".join(said)
    if view.down_in_eyes_of:
        text += f" ({view.down_in_eyes_of} of {len(picture.sentinels)})"
    return text


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def event_line(event: Event, sentinels: Sequence[Address]) -> Text:
    """Return one line: local time, a mark for each Sentinel that said it, what it said."""
    marks = Text()
    for sentinel in sentinels:
        is_said = sentinel in event.sources
        marks.append("●" if is_said else "·", style="" if is_said else "dim")
    time = f"{local_time(event.at)}.{event.at.microsecond // 1000:03d}"
    style = _EVENT_STYLES.get(event.channel, "")
    source = f"  {event.sources[0]}" if event.is_ours or len(event.sources) == 1 else ""
    return Text.assemble(
        (time, "dim"), "  ", marks, "  ", (f"{event.channel:<24}", style), " ", event.payload,
        (source, "dim"),
    )  # fmt: skip


def local_time(at: datetime) -> str:
    """Return hours, minutes and seconds as the wall clock of this machine shows them."""
    return f"{at.astimezone():%H:%M:%S}"


def event_to_json(event: Event) -> dict[str, object]:
    """Return an event as plain values; the time in ISO 8601, UTC."""
    return {
        "at": event.at.isoformat(timespec="milliseconds"),
        "sentinels": [str(source) for source in event.sources],
        "event": event.channel,
        "payload": event.payload,
    }


def to_json(picture: GroupPicture) -> dict[str, object]:
    """Return the picture as plain values, for `json.dumps`; the keys are an interface."""
    return {
        "group": picture.group,
        "healthy": picture.is_healthy,
        "reachable": picture.is_reachable,
        "problems": list(picture.problems),
        "primary": _name(picture.primary),
        "instances": [_instance_to_json(each) for each in picture.instances],
        "sentinels": [_sentinel_to_json(each) for each in picture.sentinels],
    }


def _name(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _instance_to_json(view: InstanceView) -> dict[str, object]:
    report = view.report
    return {
        "address": str(view.address),
        "reachable": view.is_reachable,
        "error": view.error or None,
        "role": {Role.PRIMARY: "primary", Role.REPLICA: "replica", None: None}[report.role],
        "engine": report.engine.value,
        "version": view.version or None,
        "follows": _name(report.primary),
        "link_up": report.primary_link_up,
        "syncing": report.is_syncing,
        "offset": report.offset,
        "lag": view.lag,
        "silent_s": view.silent_s,
        "flags": sorted(view.flags),
    }


def _sentinel_to_json(view: SentinelView) -> dict[str, object]:
    return {
        "address": str(view.address),
        "reachable": view.is_reachable,
        "error": view.error or None,
        "run_id": view.run_id or None,
        "primary": _name(view.client_address),
        "primary_flags": sorted(view.primary.flags) if view.primary is not None else [],
        "config_epoch": view.config_epoch,
        "failover_state": view.failover_state or None,
        "replicas": len(view.replicas),
        "peers": len(view.peers),
        "quorum": view.quorum,
        "quorum_usable": view.is_reachable and not view.quorum_trouble,
    }
