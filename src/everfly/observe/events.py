"""Merge what several Sentinels publish into one timeline, and what is the same event into one line.

Each Sentinel is followed on a connection of its own, made again whenever it is lost; what happened
meanwhile is lost with it, which the timeline says (`everfly-lost`, `everfly-back`). Times are those
of arrival here, by the wall clock of this machine, since Sentinels send none.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from everfly.core.model import Address
from everfly.errors import EverflyError
from everfly.observe.printable import printable
from everfly.runtime.client import Client, Credentials

LOST: Final = "everfly-lost"
BACK: Final = "everfly-back"
"""Channels of our own: this Sentinel cannot be followed; it is followed (again)."""

QUEUE_MAX: Final = 10_000
"""Events that wait for their reader; a failover of one group makes about 40 from each Sentinel."""

RECONNECT_S: Final = 1.0
CONNECT_LIMIT_S: Final = 2.0

SAME_WITHIN_S: Final = 3.0
"""Window in which the same words of another Sentinel count as the same event. Sentinels notice the
same thing within a second; the leader's `+switch-master` comes another second late."""


def now() -> datetime:
    """Return the time of the wall clock, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that one or several Sentinels said."""

    at: datetime
    """When it first arrived."""
    sources: tuple[Address, ...]
    """Who said it, in order of arrival."""
    channel: str
    payload: str
    is_ours: bool = False
    """Whether it is about following a Sentinel (`LOST`, `BACK`) and not said by it."""

    def concerns(self, group: str) -> bool:
        """Return whether it is about this group, or about no group at all."""
        words = self.payload.split(" ")
        if self.is_ours or self.channel in ("+tilt", "-tilt", "+new-epoch", "+vote-for-leader"):
            return True
        if self.channel == "+switch-master":
            return words[0] == group
        # `<type> <name> <ip> <port>`, and for all but primaries ` @ <group> <ip> <port>`.
        return group in (words[5:6] if words[4:5] == ["@"] else words[1:2])


class Timeline:
    """The events of several Sentinels as they arrive. Use it as `async with Timeline(...) as t`."""

    def __init__(
        self, sentinels: Sequence[Address], *, credentials: Credentials | None = None
    ) -> None:
        self._sentinels = tuple(dict.fromkeys(sentinels))
        self._credentials = credentials
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_MAX)
        self._followers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> AsyncIterator[Event]:
        self._followers = [
            asyncio.create_task(self._follow(each), name=f"events of {each}")
            for each in self._sentinels
        ]
        return self._events()

    async def __aexit__(self, *exc: object) -> None:
        for follower in self._followers:
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)

    async def _events(self) -> AsyncIterator[Event]:
        while True:
            yield await self._queue.get()

    async def _follow(self, sentinel: Address) -> None:
        reason = ""
        while True:
            try:
                client = await Client.connect(
                    sentinel,
                    timeout_s=CONNECT_LIMIT_S,
                    credentials=self._credentials,
                    name="everfly-events",
                )
                async with client:
                    messages = await client.subscribe(patterns=["*"])
                    await self._say(sentinel, BACK, "is followed")
                    reason = ""
                    async for message in messages:
                        await self._queue.put(
                            Event(
                                at=now(),
                                sources=(sentinel,),
                                channel=printable(message.channel),
                                payload=printable(message.payload),
                            )
                        )
            except EverflyError as error:
                said = printable(str(error).removeprefix(f"{sentinel} "))
                if not reason:
                    await self._say(sentinel, LOST, said)
                reason = said
            await asyncio.sleep(RECONNECT_S)

    async def _say(self, sentinel: Address, channel: str, text: str) -> None:
        event = Event(at=now(), sources=(sentinel,), channel=channel, payload=text, is_ours=True)
        await self._queue.put(event)


async def merged(events: AsyncIterator[Event], *, hold_s: float = 0.5) -> AsyncIterator[Event]:
    """Yield events with the same ones of several Sentinels made one, `hold_s` seconds late.

    An event waits that long for its companions; who says the same later (within `SAME_WITHIN_S`)
    makes no new line. The order is that of first arrival.
    """
    merger = Merger()
    source = events.__aiter__()
    pending: asyncio.Future[Event] | None = None
    try:
        while True:
            if pending is None:
                pending = asyncio.ensure_future(anext(source))
            delay = merger.seconds_until_due(now(), hold_s)
            done, _ = await asyncio.wait([pending], timeout=delay)
            if done:
                future, pending = pending, None
                try:
                    merger.add(future.result())
                except StopAsyncIteration:
                    for held in merger.take_due(datetime.max.replace(tzinfo=UTC), hold_s):
                        yield held
                    return
            for due in merger.take_due(now(), hold_s):
                yield due
    finally:
        if pending is not None:
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await pending


class Merger:
    """Pure part of `merged`: which events are the same, and which are due."""

    def __init__(self) -> None:
        self._held: list[Event] = []
        self._recent: list[Event] = []

    def add(self, event: Event) -> None:
        """Take an event in order of arrival."""
        is_same = _is_same(event)
        for index, held in enumerate(self._held):
            if is_same(held):
                self._held[index] = replace(held, sources=held.sources + event.sources)
                return
        # Said before, and by somebody else: it only comes late. The same source repeating itself
        # is a new event.
        for index, shown in enumerate(self._recent):
            if is_same(shown):
                self._recent[index] = replace(shown, sources=shown.sources + event.sources)
                return
        self._held.append(event)

    def seconds_until_due(self, at: datetime, hold_s: float) -> float | None:
        """Return when to call `take_due` next, or None for: not before the next event."""
        if not self._held:
            return None
        return max(0.0, hold_s - (at - self._held[0].at).total_seconds())

    def take_due(self, at: datetime, hold_s: float) -> list[Event]:
        """Return what has waited long enough."""
        due = [each for each in self._held if (at - each.at).total_seconds() >= hold_s]
        self._held = self._held[len(due) :]
        self._recent = [
            each
            for each in self._recent + due
            if (at - each.at).total_seconds() <= hold_s + SAME_WITHIN_S
        ]
        return due


def _is_same(event: Event) -> Callable[[Event], bool]:
    def is_same(other: Event) -> bool:
        return (
            _words(other) == _words(event)
            and not set(other.sources) & set(event.sources)
            and (event.at - other.at).total_seconds() <= SAME_WITHIN_S
        )

    return is_same


def _words(event: Event) -> tuple[str, str, bool]:
    # Behind ` #` stands what differs by Sentinel, such as how many votes it counted.
    return event.channel, event.payload.partition(" #")[0], event.is_ours
