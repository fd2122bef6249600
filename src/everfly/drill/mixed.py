"""Clients of every kind of work, each of which can tell what was lost, doubled, or refused.

A client repeats one round: it asks through one connection that it never gives up, and knows what
the answer must be. Whatever differs is counted by kind, and its expectation goes on from what is.
What a client saw is all that counts here; nobody looks at the endpoint's own figures.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from everfly.errors import EverflyError
from everfly.runtime.client import Client
from everfly.wire.resp import ErrorReply, Reply, to_text

ANSWER_S: Final = 30.0
"""Longer than any hold: a client that gives up would hide how long it had to wait."""

PIPELINE: Final = 5
BIG_BYTES: Final = 256 * 1024
BLOCK_S: Final = 1
RECONNECT_S: Final = 0.05

INCREMENT: Final = "return redis.call('INCR', KEYS[1])"

Connect = Callable[[], Awaitable[Client]]
"""Makes a connection. Raises EverflyError."""


@dataclass(slots=True)
class Seen:
    """What one client, or all of them, saw."""

    rounds: int = 0
    writes: int = 0
    """Acknowledged."""
    reads: int = 0
    lost: int = 0
    """Acknowledged writes that are not there."""
    doubled: int = 0
    """Writes that were carried out more often than they were sent."""
    ambiguous: int = 0
    """Writes that were answered by AMBIGUOUS."""
    aborted: int = 0
    """Transactions under WATCH that were told that something changed."""
    errors: Counter[str] = field(default_factory=Counter)
    """Error replies by their first word, and broken connections; AMBIGUOUS stands above."""
    read_errors: int = 0
    """Of those, of commands that only read."""
    longest_s: float = 0.0
    """From a command to its reply; commands that block are not measured."""
    messages: int = 0
    """Of a channel."""

    def add(self, other: "Seen") -> None:
        """Count another one's too."""
        for name in ("rounds", "writes", "reads", "lost", "doubled", "ambiguous", "aborted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.read_errors += other.read_errors
        self.messages += other.messages
        self.errors += other.errors
        self.longest_s = max(self.longest_s, other.longest_s)


class Unexpected(Exception):  # noqa: N818 - it names what happened
    """A reply was an error; the round ends."""


class Mixed(ABC):
    """One client."""

    def __init__(self, connect: Connect, key: str, every_s: float) -> None:
        self._connect = connect
        self.key: Final = key
        self._every_s = every_s
        self._client: Client | None = None
        self.seen: Final = Seen()
        self.is_stopping = False

    async def run(self) -> None:
        """Go round until `is_stopping`."""
        try:
            while not self.is_stopping:
                try:
                    await self.round(await self._connected())
                    self.seen.rounds += 1
                except Unexpected:
                    pass
                except EverflyError:
                    self.seen.errors["connection"] += 1
                    await self._drop()
                    await asyncio.sleep(RECONNECT_S)
                await asyncio.sleep(self._every_s)
        finally:
            await self._drop()

    @abstractmethod
    async def round(self, client: Client) -> None:
        """Do one round of work. Raises Unexpected, EverflyError."""

    async def ask(
        self, client: Client, *commands: Sequence[str], is_read: bool = False
    ) -> list[Reply]:
        """Send commands in one piece; return their replies. Raises Unexpected."""
        began = time.monotonic()
        replies = await client.transaction(commands, timeout_s=ANSWER_S)
        self.seen.longest_s = max(self.seen.longest_s, time.monotonic() - began)
        bad = [reply for reply in replies if isinstance(reply, ErrorReply)]
        for reply in bad:
            self._note(reply, is_read=is_read)
        if bad:
            raise Unexpected(bad[0].text)
        return replies

    def _note(self, reply: ErrorReply, *, is_read: bool) -> None:
        if reply.code == "AMBIGUOUS" and not is_read:
            self.seen.ambiguous += 1
            return
        self.seen.errors[reply.code] += 1
        self.seen.read_errors += is_read

    async def _connected(self) -> Client:
        if self._client is None or not self._client.is_usable:
            await self._drop()
            self._client = await self._connect()
        return self._client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


class Counting(Mixed):
    """Increments one key, by some means, and knows what must come out."""

    def __init__(self, connect: Connect, key: str, every_s: float) -> None:
        super().__init__(connect, key, every_s)
        self.value = 0
        """What is there, as far as this client knows."""
        self._open = 0
        """Increments whose outcome nobody knows."""

    async def round(self, client: Client) -> None:
        """Increment, and compare."""
        count = self.increments
        before = self.seen.ambiguous
        try:
            found = await self.increment(client)
        except (Unexpected, EverflyError):
            # Some of a pipeline may have been carried out; the ambiguous ones, perhaps.
            self._open += max(self.seen.ambiguous - before, count)
            raise
        self.seen.writes += count
        self.judge(found, count)

    @property
    def increments(self) -> int:
        """How many one round makes."""
        return 1

    @abstractmethod
    async def increment(self, client: Client) -> int:
        """Increment; return the new value."""

    def judge(self, found: int, count: int) -> None:
        """Compare what was found after `count` more increments with what must be there."""
        least = self.value + count
        if found < least:
            self.seen.lost += least - found
        elif found > least + self._open:
            self.seen.doubled += found - least - self._open
        self.value, self._open = found, 0


class Pipeline(Counting):
    """Sends increments in one piece."""

    @property
    def increments(self) -> int:
        """How many one round makes."""
        return PIPELINE

    async def increment(self, client: Client) -> int:
        """Increment; return the last value."""
        replies = await self.ask(client, *([["INCR", self.key]] * PIPELINE))
        numbers = [reply for reply in replies if isinstance(reply, int)]
        return numbers[-1]


class Transaction(Counting):
    """Increments two keys in one transaction, which must never differ."""

    async def increment(self, client: Client) -> int:
        """Increment; return the new value."""
        twin = f"{self.key}:twin"
        replies = await self.ask(client, ["MULTI"], ["INCR", self.key], ["INCR", twin], ["EXEC"])
        match replies[-1]:
            case [int(one), int(other)]:
                if one != other:
                    self.seen.errors["torn"] += 1
                return one
            case _:
                self.seen.errors["EXEC"] += 1
                raise Unexpected("EXEC did not carry out a transaction without WATCH")


class Script(Counting):
    """Increments by a script."""

    async def increment(self, client: Client) -> int:
        """Increment; return the new value."""
        (reply,) = await self.ask(client, ["EVAL", INCREMENT, "1", self.key])
        assert isinstance(reply, int), reply
        return reply


class Watching(Counting):
    """Increments under WATCH, and tries again when it is told that something changed."""

    async def increment(self, client: Client) -> int:
        """Increment; return the new value."""
        while True:
            _, now = await self.ask(client, ["WATCH", self.key], ["GET", self.key])
            value = int(now) + 1 if isinstance(now, bytes) else 1
            replies = await self.ask(client, ["MULTI"], ["SET", self.key, str(value)], ["EXEC"])
            if replies[-1] is not None:
                return value
            self.seen.aborted += 1


class Storing(Mixed):
    """Writes a value and reads it back."""

    def __init__(self, connect: Connect, key: str, every_s: float, size: int = 0) -> None:
        super().__init__(connect, key, every_s)
        self._size = size
        self._number = 0

    async def round(self, client: Client) -> None:
        """Write, and read."""
        self._number += 1
        value = f"{self._number}:".ljust(self._size, "x")
        await self.ask(client, ["SET", self.key, value])
        self.seen.writes += 1
        (found,) = await self.ask(client, ["GET", self.key], is_read=True)
        self.seen.reads += 1
        if found != value.encode():
            self.seen.lost += 1


class Reading(Mixed):
    """Reads alone: whatever happens, it must be answered."""

    async def round(self, client: Client) -> None:
        """Read."""
        await self.ask(client, ["GET", self.key], ["EXISTS", self.key], is_read=True)
        self.seen.reads += 2


class Producing(Mixed):
    """Pushes numbers into a list, of which `Consuming` takes each once."""

    def __init__(self, connect: Connect, key: str, every_s: float) -> None:
        super().__init__(connect, key, every_s)
        self.last = 0
        self.unknown: set[int] = set()
        """Numbers of which nobody knows whether they were pushed."""

    async def round(self, client: Client) -> None:
        """Push."""
        self.last += 1
        try:
            await self.ask(client, ["RPUSH", self.key, str(self.last)])
        except (Unexpected, EverflyError):
            self.unknown.add(self.last)
            raise
        self.seen.writes += 1


class Consuming(Mixed):
    """Waits at a list, and notes what it gets."""

    def __init__(self, connect: Connect, key: str, every_s: float) -> None:
        super().__init__(connect, key, every_s)
        self.taken: list[int] = []
        self.missing: list[int] = []
        """Numbers that were pushed and came nowhere."""

    async def round(self, client: Client) -> None:
        """Take one, or nothing for a second."""
        reply = await client.call("BLPOP", self.key, BLOCK_S, timeout_s=ANSWER_S)
        match reply:
            case [_, bytes() as number]:
                self.taken.append(int(number))
                self.seen.writes += 1
            case None:
                pass
            case ErrorReply():
                self._note(reply, is_read=False)

    def compare(self, producer: Producing, left: Sequence[int]) -> None:
        """Count what was pushed and neither taken nor `left`, and what was taken twice."""
        counts = Counter([*self.taken, *left])
        self.seen.doubled += sum(count - 1 for count in counts.values())
        pushed = set(range(1, producer.last + 1)) - producer.unknown
        self.missing = sorted(pushed - counts.keys())
        # A number that was taken by a BLPOP whose reply was lost is ambiguous, not lost.
        self.seen.lost += max(0, len(self.missing) - self.seen.ambiguous)


class Publishing(Mixed):
    """Publishes, for `Listening`."""

    async def round(self, client: Client) -> None:
        """Publish."""
        await self.ask(client, ["PUBLISH", self.key, "x"])


class Listening(Mixed):
    """Subscribes once, and must hear again after each change without doing anything."""

    def __init__(self, connect: Connect, key: str, every_s: float) -> None:
        super().__init__(connect, key, every_s)
        self.heard_at = 0.0

    async def round(self, client: Client) -> None:
        """Listen until the connection ends, which it must not."""
        messages = await client.subscribe([self.key], timeout_s=ANSWER_S)
        async for message in messages:
            assert to_text(message.payload.encode()) == "x", message
            self.heard_at = time.monotonic()
            self.seen.messages += 1
