"""Follow what every Sentinel says and what every instance is, each from beside it.

Beside it, so that a partition cuts off none of this. Times are monotonic seconds of arrival here,
since Sentinels send none.
"""

import asyncio
import time
from types import TracebackType
from typing import Final, Self

from everfly.core.model import Address
from everfly.drill.record import Said
from everfly.drill.stage import Stage
from everfly.errors import EverflyError
from everfly.observe.printable import printable
from everfly.runtime.client import Client
from everfly.wire.info import PrimaryRole, ReplicaRole, parse_role
from everfly.wire.resp import ErrorReply

LOOK_EVERY_S: Final = 0.025
ANSWER_S: Final = 0.2
"""An instance that says nothing for so long is shown as silent."""

FOLLOW_AGAIN_S: Final = 0.1
SAID_MAX: Final = 20_000
"""Messages of one run; a failover makes about 40 from each Sentinel."""

COPYING: Final = frozenset({"sync", "full_sync", "wait_bgsave"})
IN_SYNC: Final = frozenset({"connected", "online", "stable_sync"})
"""States of a replica in ROLE that mean that it follows: Redis and Valkey; Dragonfly."""


class Watch:
    """Remembers everything from entering to leaving. Use it as `async with`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: dict[Address, Client] = {}
        self.said: list[Said] = []
        """In order of arrival; `at` is in monotonic seconds."""
        self.changes: dict[str, list[tuple[float, str]]] = {}
        """Instance -> when it came to be in which state."""
        self.standstill_s = 0.0
        """The longest time for which this process could not run: the machine was busy with others,
        and what happened meanwhile is dated too late."""
        self.following: set[str] = set()
        """Sentinels that are listened to at this moment."""

    async def __aenter__(self) -> Self:
        layout = self._stage.layout
        self.changes = {name: [] for name in layout.instances}
        self._tasks = [
            asyncio.create_task(self._follow(name, at), name=f"notices of {name}")
            for name, at in layout.sentinels.items()
        ] + [
            asyncio.create_task(self._look(name, at), name=f"role of {name}")
            for name, at in layout.instances.items()
        ]
        self._tasks.append(asyncio.create_task(self._notice_standstill(), name="standstill"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for client in self._clients.values():
            await client.close()
        for task in self._tasks:
            if not task.cancelled() and error is None:
                task.result()  # they end by themselves only by a bug, which must be seen

    async def _notice_standstill(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)
            late_s = time.monotonic() - before - LOOK_EVERY_S
            self.standstill_s = max(self.standstill_s, late_s)

    async def _follow(self, name: str, address: Address) -> None:
        while True:
            try:
                client = await self._stage.dial(address, ANSWER_S, beside=True)
                async with client:
                    messages = await client.subscribe(patterns=["*"])
                    self.following.add(name)
                    async for message in messages:
                        if len(self.said) < SAID_MAX:
                            channel = printable(message.channel)
                            payload = printable(message.payload)
                            self.said.append(Said(time.monotonic(), name, channel, payload))
            except EverflyError:
                self.following.discard(name)
            await asyncio.sleep(FOLLOW_AGAIN_S)

    async def _look(self, name: str, address: Address) -> None:
        while True:
            asked_at = time.monotonic()
            state = await self._state(address)
            known = self.changes[name]
            if not known or known[-1][1] != state:
                known.append((asked_at, state))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _state(self, address: Address) -> str:
        client = self._clients.get(address)
        if client is not None:
            try:
                return await _state(client)
            except EverflyError as error:
                await self._clients.pop(address).close()
                if _is_silence(error):
                    return "silent"
                # One that changes its role drops its clients, which alone is no end: ask again.
        try:
            client = await self._stage.dial(address, ANSWER_S, beside=True)
            self._clients[address] = client
            return await _state(client)
        except EverflyError as error:
            return "silent" if _is_silence(error) else "down"


def _is_silence(error: EverflyError) -> bool:
    return isinstance(error.__cause__, TimeoutError)


async def _state(client: Client) -> str:
    reply = await client.call("ROLE", timeout_s=ANSWER_S)
    match parse_role(reply):
        case PrimaryRole():
            return "primary"
        case ReplicaRole(state=state):
            if state in IN_SYNC:
                return "replica"
            return "copying" if state in COPYING else "unlinked"
        case _:
            is_loading = isinstance(reply, ErrorReply) and reply.code == "LOADING"
            return "copying" if is_loading else "down"
