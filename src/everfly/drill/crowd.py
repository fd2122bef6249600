"""Run many clients of mixed work at a steady load through one address, and count at the end.

The load is steady: each client waits between two rounds, so that what is measured is the endpoint
and not how fast this process can run.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

from everfly.core.model import Address
from everfly.drill.load import KEYS
from everfly.drill.mixed import (
    BIG_BYTES,
    Connect,
    Consuming,
    Counting,
    Listening,
    Mixed,
    Pipeline,
    Producing,
    Publishing,
    Reading,
    Script,
    Seen,
    Storing,
    Transaction,
    Watching,
)
from everfly.errors import Unavailable
from everfly.runtime.client import Client, Credentials

CLIENTS: Final = 200
EVERY_S: Final = 0.1
"""Between two rounds of one client: 200 of them make some 3,000 commands a second."""
EVERY_BIG_S: Final = 1.0
BEGIN_S: Final = 30.0
STOP_S: Final = 40.0
ANSWER_S: Final = 10.0
LOOK_S: Final = 0.02
BEAT_S: Final = 0.005

PAIRS: Final[tuple[tuple[type[Mixed], type[Mixed]], ...]] = (
    (Producing, Consuming),
    (Publishing, Listening),
)
ALONE: Final[tuple[type[Mixed], ...]] = (
    Pipeline,
    Transaction,
    Watching,
    Script,
    Storing,
    Reading,
)
_BATCH: Final = 10
"""Of clients: six kinds of work alone, a producer and a consumer, a publisher and a listener."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many clients, and of what kinds of work."""

    clients: int = CLIENTS
    kinds: frozenset[type[Mixed]] = frozenset({*ALONE, *PAIRS[0], *PAIRS[1]})


_Kind = TypeVar("_Kind", bound=Mixed)


class Crowd:
    """Many clients. Use it as `async with`, and `stop` before `audit`."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials,
        load: Load | None = None,
        *,
        begin_s: float = BEGIN_S,
    ) -> None:
        """Take where to connect; `begin_s` is how long all may take to do a first round."""
        self._address = address
        self._credentials = credentials
        self._begin_s = begin_s
        self._prefix = f"{KEYS}:{secrets.token_hex(4)}"
        self._tasks: list[asyncio.Task[None]] = []
        self._beat: asyncio.Task[None] | None = None
        self.standstill_s = 0.0
        """The longest time for which this process itself could not run: waits may seem longer by
        that, for all clients are in it."""
        self.clients: Final = tuple(_crowd(self._connect, self._prefix, load or Load()))

    async def __aenter__(self) -> Self:
        self._beat = asyncio.create_task(self._notice_standstill(), name="standstill")
        for number, client in enumerate(self.clients):
            self._tasks.append(
                asyncio.create_task(self._run(client, number), name=f"{client.key} of the crowd")
            )
        try:
            await self._until_begun()
        except BaseException:
            await self._cancel()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._cancel()

    async def stop(self) -> None:
        """Let each client finish its round."""
        for client in self.clients:
            client.is_stopping = True
        waiting = [
            task
            for task, client in zip(self._tasks, self.clients, strict=True)
            if not isinstance(client, Listening)
        ]
        await asyncio.wait(waiting, timeout=STOP_S)
        await self._cancel()
        for task in self._tasks:
            if not task.cancelled():
                task.result()  # a bug there must be seen

    async def audit(self, client: Client) -> Seen:
        """Compare what is left in the data with what clients know; return what all saw."""
        for each in self.clients:
            if isinstance(each, Counting):
                reply = await client.call("GET", each.key, timeout_s=ANSWER_S)
                each.judge(int(reply) if isinstance(reply, bytes) else 0, 0)
        pairs = zip(self._of(Producing), self._of(Consuming), strict=True)
        for producer, consumer in pairs:
            reply = await client.call("LRANGE", producer.key, 0, -1, timeout_s=ANSWER_S)
            left = reply if isinstance(reply, list) else []
            consumer.compare(producer, [int(each) for each in left if isinstance(each, bytes)])
        return self.seen()

    def seen(self) -> Seen:
        """Return what all clients saw so far."""
        total = Seen()
        for client in self.clients:
            total.add(client.seen)
        return total

    def forget_waits(self) -> None:
        """Measure the longest wait anew from now on."""
        self.standstill_s = 0.0
        for client in self.clients:
            client.seen.longest_s = 0.0

    async def until_heard(self, since: float, within_s: float) -> bool:
        """Wait until each listener has heard something since then, without subscribing again."""
        deadline = time.monotonic() + within_s
        while not all(each.heard_at >= since for each in self._of(Listening)):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def remove(self, client: Client) -> None:
        """Remove all that was written."""
        keys = [key for each in self.clients for key in (each.key, f"{each.key}:twin")]
        await client.call("DEL", *keys, timeout_s=ANSWER_S)

    def _of(self, kind: type[_Kind]) -> Sequence[_Kind]:
        return [each for each in self.clients if isinstance(each, kind)]

    async def _run(self, client: Mixed, number: int) -> None:
        # Not all at the same moment: that would be a burst ten times a second.
        await asyncio.sleep(number / len(self.clients) * EVERY_S)
        await client.run()

    async def _connect(self) -> Client:
        return await Client.connect(
            self._address,
            timeout_s=ANSWER_S,
            credentials=self._credentials,
            name="everfly-drill",
        )

    async def _until_begun(self) -> None:
        deadline = time.monotonic() + self._begin_s
        while not all(
            each.seen.rounds or each.seen.messages or isinstance(each, Consuming)
            for each in self.clients
        ):
            if time.monotonic() > deadline:
                errors = dict(self.seen().errors)
                raise Unavailable(
                    f"the drill's own clients cannot work through {self._address} before the "
                    f"fault, so nothing was broken: {errors}"
                )
            await asyncio.sleep(LOOK_S)

    async def _notice_standstill(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT_S)
            self.standstill_s = max(self.standstill_s, time.monotonic() - before - BEAT_S)

    async def _cancel(self) -> None:
        beat = [] if self._beat is None else [self._beat]
        for task in (*self._tasks, *beat):
            task.cancel()
        await asyncio.wait([*self._tasks, *beat])


def _crowd(connect: Connect, prefix: str, load: Load) -> list[Mixed]:
    clients: list[Mixed] = []
    batches = max(1, load.clients // _BATCH)
    for number in range(batches):
        key = f"{prefix}:{number}"
        clients += [
            kind(connect, f"{key}:{kind.__name__.lower()}", EVERY_S)
            for kind in ALONE
            if kind in load.kinds
        ]
        for which, pair in enumerate(PAIRS):
            if load.kinds.issuperset(pair):
                clients += [kind(connect, f"{key}:pair{which}", EVERY_S) for kind in pair]
    # Large values from a few: all of them would measure the memory bus.
    clients += [
        Storing(connect, f"{prefix}:big{number}", EVERY_BIG_S, BIG_BYTES)
        for number in range(max(1, batches // 5))
    ]
    return clients


async def audited(
    crowd: Crowd, address: Address, credentials: Credentials, *, is_kept: bool
) -> Seen:
    """Ask the primary itself, past the endpoint, what is left; return what all clients saw.

    Where the deployment is kept, what they wrote is removed. Raises EverflyError.
    """
    client = await Client.connect(address, timeout_s=ANSWER_S, credentials=credentials)
    async with client:
        seen = await crowd.audit(client)
        if is_kept:
            await crowd.remove(client)
        return seen
