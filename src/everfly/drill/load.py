"""Write and read as a careful client of a group does, and count afterwards what became of it.

The client asks the Sentinels in turn for the primary, connects, verifies ROLE, and stays there
until an error; then it asks again. Write n is one transaction that increments a key of its own and
a counter; it is repeated until it is acknowledged. So the final dataset tells, for each write,
whether it was lost (no key) or carried out twice (2), and whether the dataset is whole (the counter
is the sum of the keys).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from everfly.core.model import Address
from everfly.drill.stage import Stage
from everfly.errors import EverflyError, RemoteError, SettingsError, Unavailable
from everfly.runtime.client import Client
from everfly.wire.info import PrimaryRole, parse_role
from everfly.wire.resp import ErrorReply, Reply, to_text

ANSWER_S: Final = 0.1
"""How long a connection or an answer may take. A healthy one takes less than a millisecond here; a
frozen primary accepts connections and never answers."""

RETRY_S: Final = 0.005
WRITE_EVERY_S: Final = 0.002
READ_EVERY_S: Final = 0.005
"""Fast enough to time what happens to some milliseconds, slow enough to leave the processors to
those that are measured."""

AUDIT_S: Final = 10.0
AUDIT_BATCH: Final = 500

KEYS: Final = "everfly:drill"


class Connections(Protocol):
    """Where a writer or reader gets its connection."""

    async def connection(self) -> Client:
        """Return a usable connection, the one of before if it is. Raises EverflyError."""

    async def drop(self) -> None:
        """Give the connection up, if there is one."""


class GroupConnections:
    """Connections to whomever the Sentinels call the primary, if it says the same."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sentinels = tuple(stage.layout.sentinels.values())
        self._turn = 0
        self._asked: dict[Address, Client] = {}
        self._client: Client | None = None

    async def connection(self) -> Client:
        """Return a connection whose other end is the primary in its own eyes too."""
        if self._client is not None and self._client.is_usable:
            return self._client
        await self.drop()
        client = await self._stage.dial(await self._primary(), ANSWER_S)
        self._client = client
        role = parse_role(await client.call("ROLE", timeout_s=ANSWER_S))
        if not isinstance(role, PrimaryRole):
            await self.drop()
            raise Unavailable(f"{client.address} is not the primary (yet, or any more)")
        return client

    async def drop(self) -> None:
        """Give the connection to the primary up; those to the Sentinels stay."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.drop()
        asked, self._asked = self._asked, {}
        for client in asked.values():
            await client.close()

    async def _primary(self) -> Address:
        # Another one each time: whichever knows first helps, and none that is dead delays us twice.
        sentinel = self._sentinels[self._turn % len(self._sentinels)]
        self._turn += 1
        client = self._asked.get(sentinel)
        try:
            if client is None or not client.is_usable:
                client = self._asked[sentinel] = await self._stage.dial(sentinel, ANSWER_S)
            reply = await client.call(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._stage.layout.group, timeout_s=ANSWER_S
            )
        except EverflyError:
            if (failed := self._asked.pop(sentinel, None)) is not None:
                await failed.close()
            raise
        match reply:
            case [bytes() as host, bytes() as port] if port.isdigit():
                return Address(to_text(host), int(port))
        raise Unavailable(f"the Sentinel {sentinel} names no primary")


class FixedConnections:
    """Connections to one address, whatever it is: a client that never leaves."""

    def __init__(self, stage: Stage, address: Address) -> None:
        self._stage = stage
        self._address = address
        self._client: Client | None = None

    async def connection(self) -> Client:
        """Return a connection to the address."""
        if self._client is None or not self._client.is_usable:
            await self.drop()
            self._client = await self._stage.dial(self._address, ANSWER_S, beside=True)
        return self._client

    async def drop(self) -> None:
        """Give the connection up."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


@dataclass(slots=True)
class Writer:
    """Writes until stopped, and remembers what was acknowledged."""

    connections: Connections
    prefix: str
    every_s: float = WRITE_EVERY_S
    retry_s: float = RETRY_S
    answer_s: float = ANSWER_S
    acknowledged: list[float] = field(default_factory=list)
    """Monotonic seconds; the index is the number of the write."""
    moves: list[tuple[float, Address]] = field(default_factory=list)
    """When the first write in a row was acknowledged by whom."""
    failures: int = 0
    last_failure: str = ""
    is_stopping: bool = False

    async def run(self) -> None:
        """Write until `is_stopping`, one after the other."""
        while not self.is_stopping:
            try:
                address = await self._write(len(self.acknowledged))
            except EverflyError as error:
                self.failures += 1
                self.last_failure = str(error)
                await self.connections.drop()
                await asyncio.sleep(self.retry_s)
            else:
                now = time.monotonic()
                self.acknowledged.append(now)
                if not self.moves or self.moves[-1][1] != address:
                    self.moves.append((now, address))
                await asyncio.sleep(self.every_s)

    def key(self, number: int) -> str:
        """Return the key of one write."""
        return f"{self.prefix}:{number}"

    @property
    def counter(self) -> str:
        """The key that every write increments."""
        return f"{self.prefix}:count"

    async def _write(self, number: int) -> Address:
        client = await self.connections.connection()
        commands = [["MULTI"], ["INCR", self.key(number)], ["INCR", self.counter], ["EXEC"]]
        last = (await client.transaction(commands, timeout_s=self.answer_s))[-1]
        match last:
            case [int(), int()]:
                return client.address
            case ErrorReply():
                raise Unavailable(f"{client.address} refuses to write: {last.text}")
            case _:
                raise Unavailable(f"{client.address} did not carry out a write")


@dataclass(slots=True)
class Reader:
    """Reads one key until stopped, and counts."""

    connections: Connections
    key: str
    answered: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    is_stopping: bool = False

    async def run(self) -> None:
        """Read until `is_stopping`."""
        while not self.is_stopping:
            try:
                client = await self.connections.connection()
                reply = await client.call("GET", self.key, timeout_s=ANSWER_S)
                if isinstance(reply, ErrorReply):
                    raise Unavailable(f"{client.address} refuses to read: {reply.text}")
            except EverflyError:
                self.failed.append(time.monotonic())
                await self.connections.drop()
                await asyncio.sleep(RETRY_S)
            else:
                self.answered.append(time.monotonic())
                await asyncio.sleep(READ_EVERY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the final dataset says of one writer."""

    lost: tuple[int, ...]
    """Numbers of writes that were acknowledged and are not there."""
    doubled: int
    counted: int
    summed: int


async def audit(client: Client, writer: Writer) -> Audit:
    """Look for every write of a stopped writer. Raises EverflyError."""
    # One more than was acknowledged: the last attempt may have been carried out too.
    tried = range(len(writer.acknowledged) + 1)
    values: list[int] = []
    for start in range(0, len(tried), AUDIT_BATCH):
        part = tried[start : start + AUDIT_BATCH]
        replies = await client.transaction(
            [["GET", writer.key(number)] for number in part], timeout_s=AUDIT_S
        )
        values += [_number(reply) for reply in replies]
    counted = _number(await client.call("GET", writer.counter, timeout_s=AUDIT_S))
    known = values[: len(writer.acknowledged)]
    return Audit(
        lost=tuple(number for number, value in enumerate(known) if value == 0),
        doubled=sum(value > 1 for value in known),
        counted=counted,
        summed=sum(values),
    )


async def remove(client: Client, writers: Sequence[Writer]) -> None:
    """Remove everything that writers wrote. Raises EverflyError."""
    keys = [writer.counter for writer in writers]
    keys += [
        writer.key(number) for writer in writers for number in range(len(writer.acknowledged) + 1)
    ]
    for start in range(0, len(keys), AUDIT_BATCH):
        reply = await client.call("DEL", *keys[start : start + AUDIT_BATCH], timeout_s=AUDIT_S)
        if isinstance(reply, ErrorReply):
            raise SettingsError(
                f"{client.address} does not remove the keys {KEYS}:* of this drill: {reply.text}"
            )


def _number(reply: Reply) -> int:
    match reply:
        case None:
            return 0
        case bytes() if reply.isdigit():
            return int(reply)
        case ErrorReply():
            raise Unavailable(f"the final dataset cannot be read: {reply.text}")
        case _:
            raise RemoteError("the final dataset holds something else where the drill wrote")
