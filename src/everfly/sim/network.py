"""Connections between processes: latency, order, cuts, resets. TCP as a decider sees it.

A lost packet is a delay (it is sent again), a cut link is silence until it heals, a dead process
answers with a reset, a paused one accepts and says nothing.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from everfly.sim.world import Message, World

RESEND_MS = 200
"""First retransmission of a lost or blocked packet; doubles up to `RESEND_MS_MAX`."""
RESEND_MS_MAX = 1_600
CONNECT_LIMIT_MS = 1_000
"""How long a connection attempt waits for silence to end."""


class Host(Protocol):
    """A process that can be connected to."""

    name: str
    is_running: bool
    connections: "dict[Connection, None]"

    def deliver(self, what: Callable[[], None]) -> None:
        """Take something off the wire: at once, or when the process is resumed."""
        ...


@dataclass(slots=True, eq=False)
class Network:
    """Who reaches whom, and how fast."""

    world: World
    dice: random.Random
    latency_ms: tuple[int, int] = (0, 2)
    loss: float = 0.0
    cuts: set[tuple[str, str]] = field(default_factory=set)
    """Directed: from, to."""

    def cut(self, one: str, other: str, *, both_ways: bool = True) -> None:
        """Stop packets from one process to another."""
        self.cuts.add((one, other))
        if both_ways:
            self.cuts.add((other, one))

    def heal(self) -> None:
        """Let everybody reach everybody again."""
        self.cuts.clear()

    def is_cut(self, source: str, target: str) -> bool:
        """Whether packets from one process to another get lost."""
        return (source, target) in self.cuts

    def delay(self) -> int:
        """Return how long one packet takes, retransmissions of lost ones included."""
        delay = self.dice.randint(*self.latency_ms)
        resend = RESEND_MS
        while self.loss and self.dice.random() < self.loss:
            delay += resend
            resend = min(2 * resend, RESEND_MS_MAX)
        return delay

    def connect(
        self,
        source: Host,
        target: Host,
        on_up: "Callable[[Connection], None]",
        on_lost: Callable[[str, bool], None],
    ) -> None:
        """Try to connect; exactly one of the callbacks is delivered to `source`, `on_lost` also
        later when the connection ends.
        """
        if self.is_cut(source.name, target.name) or self.is_cut(target.name, source.name):
            self.world.after(
                CONNECT_LIMIT_MS, lambda: source.deliver(lambda: on_lost("timed out", False))
            )
            return
        connection = Connection(self, source, target, on_lost)

        def arrive() -> None:
            if not target.is_running:
                source.deliver(lambda: on_lost("Connection refused", True))
                return
            source.connections[connection] = None
            target.connections[connection] = None
            source.deliver(lambda: on_up(connection))

        self.world.after(2 * self.delay(), arrive)


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, made by `source` to `target`."""

    network: Network
    source: Host
    target: Host
    on_lost: Callable[[str, bool], None]
    is_open: bool = True
    _last_arrival: dict[str, int] = field(default_factory=dict)

    def send(self, sender: Host, what: Callable[[], None], about: object = "") -> None:
        """Have `what` happen at the other end, in order, if the connection lives so long."""
        receiver = self.target if sender is self.source else self.source
        world = self.network.world
        message = world.note_message(sender.name, receiver.name, about)
        if message is not None:
            what = _noting_arrival(world, message, what)
        at = max(world.now + self.network.delay(), self._last_arrival.get(receiver.name, 0))
        self._last_arrival[receiver.name] = at
        world.at(at, lambda: self._arrive(sender, receiver, what, RESEND_MS))

    def _arrive(self, sender: Host, receiver: Host, what: Callable[[], None], resend: int) -> None:
        if not self.is_open:
            return
        if self.network.is_cut(sender.name, receiver.name):
            later = min(2 * resend, RESEND_MS_MAX)
            world = self.network.world
            at = max(world.now + resend, self._last_arrival[receiver.name])
            self._last_arrival[receiver.name] = at
            world.at(at, lambda: self._arrive(sender, receiver, what, later))
            return
        receiver.deliver(lambda: what() if self.is_open else None)

    def close(self, by: Host) -> None:
        """End it: the other side learns of it if it can be reached."""
        if not self.is_open:
            return
        self.is_open = False
        self.source.connections.pop(self, None)
        self.target.connections.pop(self, None)
        if by is self.target:
            source = self.source
            world = self.network.world
            on_lost = self.on_lost
            if self.network.is_cut(by.name, source.name):
                # The reset is lost; the next packet sent will find out, as TCP does.
                world.after(
                    RESEND_MS_MAX, lambda: source.deliver(lambda: on_lost("timed out", False))
                )
            else:
                world.after(
                    self.network.delay(),
                    lambda: source.deliver(lambda: on_lost("Connection reset by peer", True)),
                )


def _noting_arrival(world: World, message: Message, what: Callable[[], None]) -> Callable[[], None]:
    def arrive() -> None:
        message.arrived_at = world.now
        what()

    return arrive
