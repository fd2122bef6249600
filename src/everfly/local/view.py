"""Turn a running deployment into what a person sees: a live table, or plain lines where no
terminal is.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from everfly.core.model import Address
from everfly.local.deployment import Deployment
from everfly.local.supervisor import Notice
from everfly.observe.events import Event, Timeline, merged
from everfly.observe.picture import GroupPicture
from everfly.observe.printable import printable
from everfly.observe.render import local_time, render, verdict

REFRESH_S: Final = 0.5
LINES_SHOWN: Final = 8
"""Of the latest notices and events; the table keeps its height, so that the screen stays calm."""

SWITCH_WORDS: Final = 5
SUBJECT_WORDS: Final = 4

UNSAID_MAX: Final = 1_000
"""Lines that wait for a slow terminal or pipe."""

EVENTS_SHOWN: Final = frozenset(
    {
        "+sdown",
        "-sdown",
        "+odown",
        "-odown",
        "+try-failover",
        "+elected-leader",
        "+selected-slave",
        "+promoted-slave",
        "+switch-master",
        "-failover-abort-not-elected",
        "-failover-abort-no-good-slave",
        "-failover-abort-slave-timeout",
        "+convert-to-slave",
        "+fix-slave-config",
        "+reboot",
        "+tilt",
        "-tilt",
    }
)
"""What people want to see of a failover; `everfly events` shows everything."""


class View:
    """Shows a deployment until it is cancelled."""

    def __init__(self, deployment: Deployment, console: Console, *, is_live: bool) -> None:
        self._deployment = deployment
        self._console = console
        self._is_live = is_live and console.is_terminal
        self._lines: list[Text] = [_notice_line(each) for each in deployment.supervisor.notices]
        self._names = {each.address: each.name for each in deployment.members}
        self._unsaid: list[Text] = []
        self._verdict = ""

    async def run(self) -> None:
        """Show what happens until cancelled."""
        self._deployment.supervisor.on_notice = lambda notice: self._add(_notice_line(notice))
        sentinels = self._deployment.settings.sentinel_addresses
        async with Timeline(sentinels) as timeline:
            following = asyncio.create_task(self._follow(timeline), name="events of the view")
            try:
                await (self._show_live() if self._is_live else self._show_plain())
            finally:
                following.cancel()
                await asyncio.wait([following])
                self._deployment.supervisor.on_notice = None

    async def _follow(self, timeline: AsyncIterator[Event]) -> None:
        async for event in merged(timeline):
            if event.channel in EVENTS_SHOWN:
                self._add(self._event_line(event))

    async def _show_live(self) -> None:
        with Live(self._page(), console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(self._page(), refresh=True)
                await asyncio.sleep(REFRESH_S)

    async def _show_plain(self) -> None:
        while True:
            # Printed here and not where they are made: a closed stdout must end this view, and
            # not the supervisor in the middle of a step.
            lines, self._unsaid = self._unsaid, []
            for line in lines:
                self._console.print(line, soft_wrap=True)
            self._say_changes(self._deployment.supervisor.picture)
            await asyncio.sleep(REFRESH_S)

    def _say_changes(self, picture: GroupPicture) -> None:
        said = verdict(picture).plain.replace("\n", "; ")
        primary = picture.primary
        where = f"{self._names.get(primary, '?')} {primary} is the primary" if primary else ""
        text = f"{said}" + (f"; {where}" if where and picture.is_healthy else "")
        if text != self._verdict:
            self._verdict = text
            self._console.print(Text(f"{local_time(datetime.now(UTC))}  {text}"), soft_wrap=True)

    def _add(self, line: Text) -> None:
        self._lines = [*self._lines[1 - LINES_SHOWN :], line]
        if not self._is_live:
            self._unsaid = [*self._unsaid[1 - UNSAID_MAX :], line]

    def _page(self) -> RenderableType:
        picture = self._deployment.supervisor.picture
        lines = self._lines + [Text()] * (LINES_SHOWN - len(self._lines))
        endpoint = self._deployment.endpoint
        return Group(
            Text() if endpoint is None else Text(f"clients connect to {endpoint.address}"),
            render(picture, self._names, width=self._console.width),
            Text(),
            *(_one_line(line, self._console.width) for line in lines),
            Text("Ctrl-C stops everything and keeps the data", style="dim"),
        )

    def _event_line(self, event: Event) -> Text:
        count = f"{len(event.sources)} of {len(self._deployment.sentinels)} Sentinels"
        text = f"{event.channel} {subject(event, self._names)}"
        return Text.assemble((local_time(event.at), "dim"), "  ", text, (f"  {count}", "dim"))


def subject(event: Event, names: Mapping[Address, str]) -> str:
    """Return whom an event is about, by our names for them, or its payload where it is otherwise.

    Forms: `NAME ip port ip port` of +switch-master, else `<type> <name> <ip> <port>` and perhaps
    ` @ ...` (which group) and ` #...` (a remark).
    """
    words = event.payload.split(" ")
    remark = event.payload.partition(" #")[2]
    if event.channel == "+switch-master" and len(words) == SWITCH_WORDS:
        return f"{_named(words[1:3], names)} → {_named(words[3:5], names)}"
    if words[0] in ("master", "slave", "sentinel") and len(words) >= SUBJECT_WORDS:
        return _named(words[2:4], names) + (f" ({remark})" if remark else "")
    return event.payload


def _named(words: Sequence[str], names: Mapping[Address, str]) -> str:
    host, port = words
    return next(
        (name for at, name in names.items() if (at.host, str(at.port)) == (host, port)),
        f"{host}:{port}",
    )


def _notice_line(notice: Notice) -> Text:
    return Text.assemble((local_time(notice.at), "dim"), "  ", printable(notice.text, 400))


def _one_line(line: Text, width: int) -> Text:
    """Return the line cut to the width of the screen, so that the page keeps its height."""
    shown = line.copy()
    shown.truncate(width, overflow="ellipsis")
    return shown
