"""Programs that write: one finds the primary by asking Sentinels, one uses an endpoint.

Each has one write under way at a time and remembers in the ledger what was acknowledged. A write
without an answer is left alone: whether it happened is not known, so it is not sent again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from everfly.core.model import Address, GroupName
from everfly.sim.instance import READONLY, SimInstance
from everfly.sim.ledger import Ledger
from everfly.sim.network import Connection, Deed, Network
from everfly.sim.watcher import Announcement, Watcher
from everfly.sim.world import Kind, World

PERIOD_MS: Final = 200
"""Between two writes."""
PATIENCE_MS: Final = 1_000
"""How long a client waits for an answer."""
TOLD_GAP_MS: Final = 500
"""A gap between acknowledged writes that is worth a line in the trace."""


class Door(Protocol):
    """What a client writes to: an instance, or an endpoint."""

    def write(self, write_id: int, answer: Callable[[str | None], None]) -> None:
        """Execute a write; answers None when done, or an error's text."""
        ...


@dataclass(slots=True, eq=False)
class Client:
    """A program with one connection; `find` says where to connect, or nothing if nobody knows."""

    world: World
    network: Network
    ledger: Ledger
    name: str
    find: "Callable[[Client, Callable[[Address | None], None]], None]"
    is_running: bool = True
    connections: dict[Connection, None] = field(default_factory=dict)
    writes_at: Address | None = None
    """Where its last acknowledged write went."""
    last_ok_at: int = 0
    dice: random.Random = field(init=False)
    _connection: Connection | None = None
    _attempt: int = 0
    _is_busy: bool = False

    def __post_init__(self) -> None:
        self.dice = self.world.dice(self.name)
        self.world.after(int(self.dice.random() * PERIOD_MS), self._work)

    def deliver(self, what: Deed) -> None:
        """Take something off the wire."""
        what()

    def _work(self) -> None:
        self.world.after(PERIOD_MS, self._work)
        if self._is_busy:
            return
        self._is_busy = True
        self._attempt += 1
        attempt = self._attempt
        self.world.after(PATIENCE_MS, partial(self._give_up, attempt))
        if self._connection is not None:
            self._write(attempt, self._connection)
        else:
            self.find(self, partial(self._found, attempt))

    def _found(self, attempt: int, address: Address | None) -> None:
        if attempt != self._attempt:
            return
        if address is None:
            self._done(attempt)
            return
        self.network.connect(
            self, address, partial(self._on_up, attempt), partial(self._on_lost, attempt)
        )

    def _on_up(self, attempt: int, connection: Connection) -> None:
        if attempt != self._attempt:
            connection.close(self)
            return
        self._connection = connection
        connection.on_lost = partial(self._on_end, connection)
        self._write(attempt, connection)

    def _on_lost(self, attempt: int, _reason: str, _is_refusal: bool) -> None:
        self._done(attempt)

    def _on_end(self, connection: Connection, _reason: str, _is_refusal: bool) -> None:
        if connection is self._connection:
            self._connection = None
            self._done(self._attempt)

    def _write(self, attempt: int, connection: Connection) -> None:
        door: Door = connection.target  # type: ignore[assignment] # instances and endpoints
        write_id = self.ledger.attempt(self.name)
        target = connection.target

        def answer(error: str | None) -> None:
            if error is None and isinstance(target, SimInstance):
                self.ledger.take(write_id, target)
            heard = partial(self._heard, attempt, connection, write_id, error)
            connection.send(target, heard, error or "OK")

        connection.send(self, partial(door.write, write_id, answer), f"SET {write_id}")

    def _heard(
        self, attempt: int, connection: Connection, write_id: int, error: str | None
    ) -> None:
        if attempt != self._attempt:
            return
        if error is None:
            now = self.world.now
            gap = now - self.last_ok_at
            self.ledger.acknowledge(write_id)
            entry = self.ledger.entries[write_id]
            if gap > TOLD_GAP_MS:
                told = f"writes at {entry.taken_by}, after {gap} ms without"
                self.world.mark(self.name, told, Kind.CLIENT)
            self.last_ok_at = now
            self.writes_at = connection.target.address  # type: ignore[attr-defined] # all have one
        elif error == READONLY:
            self._drop()
        self._done(attempt)

    def _give_up(self, attempt: int) -> None:
        if attempt == self._attempt and self._is_busy:
            self._drop()
            self._done(attempt)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(self)

    def _done(self, attempt: int) -> None:
        if attempt == self._attempt:
            self._is_busy = False
            self._attempt += 1


def by_sentinels(
    watchers: "Callable[[], list[Watcher]]", group: GroupName
) -> Callable[[Client, Callable[[Address | None], None]], None]:
    """Return how a client finds the primary: it asks one Sentinel after the other."""

    def find(client: Client, then: Callable[[Address | None], None]) -> None:
        known = watchers()
        watcher = known[int(client.dice.random() * len(known))]

        def on_up(connection: Connection) -> None:
            def serve() -> None:
                said = watcher.announcement(group)
                connection.send(watcher, partial(hear, said), "address")

            def hear(said: Announcement | None) -> None:
                connection.close(client)
                then(None if said is None else said.primary)

            connection.send(client, serve, "GET-MASTER-ADDR-BY-NAME")

        def on_lost(_reason: str, _is_refusal: bool) -> None:
            then(None)

        client.network.connect(client, watcher.address, on_up, on_lost)

    return find


def by_address(
    address: Address,
) -> Callable[[Client, Callable[[Address | None], None]], None]:
    """Return how a client of an endpoint finds it: it is always there."""
    return lambda _, then: then(address)
