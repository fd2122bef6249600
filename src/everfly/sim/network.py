"""Connections between processes: latency, order, cuts, resets. TCP as a decider sees it.

A lost packet is a delay of all that follows it on its connection (it is sent again), a cut link is
silence until it heals, a dead process answers with a reset, a paused one accepts and says nothing.
Within a connection order is kept; between two connections it is not. What was sent before an end is
still read after it: a command of a connection that is no more can reach a process that was stopped
meanwhile.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Protocol

from everfly.core.model import Address
from everfly.sim.world import Message, World

RESEND_MS: Final = 200
"""First retransmission of a lost or blocked packet; doubles up to `RESEND_MS_MAX`. Linux begins at
200 ms and has no such upper bound; ours keeps the time that a healed world needs bounded."""
RESEND_MS_MAX: Final = 1_600
CONNECT_LIMIT_MS: Final = 1_500
"""How long a connection attempt waits for silence to end: `CONNECT_LIMIT_S` of `runtime.link`."""
REPEAT_AFTER_MS: Final = 400
"""A command that is executed twice is so within this."""

Deed = Callable[[], None]
Pair = tuple[str, str]


class Process(Protocol):
    """Something with a name that can be connected to."""

    name: str
    is_running: bool
    connections: "dict[Connection, None]"

    def deliver(self, what: Deed) -> None:
        """Take something off the wire: at once, or when the process is resumed."""
        ...


@dataclass(slots=True, eq=False)
class Cut:
    """Directed pairs between which packets get lost, until it ends."""

    network: "Network"
    pairs: frozenset[Pair]
    is_active: bool = True

    def end(self) -> None:
        """Let packets through again, unless another cut holds them."""
        if not self.is_active:
            return
        self.is_active = False
        cuts = self.network.cuts
        for pair in self.pairs:
            cuts[pair] -= 1
            if not cuts[pair]:
                del cuts[pair]
        del self.network.active[self]


@dataclass(slots=True, eq=False)
class Network:
    """Who listens where, who reaches whom, and how fast."""

    world: World
    dice: random.Random
    latency_ms: tuple[int, int] = (0, 2)
    loss: float = 0.0
    repeats: float = 0.0
    """How likely it is that a command is executed twice, as by a middle man that tries again."""
    hosts: dict[Address, Process] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """What a name server answers: the IP of a host."""
    cuts: Counter[Pair] = field(default_factory=Counter)
    """Directed, from and to, with how many cuts hold it."""
    active: dict[Cut, None] = field(default_factory=dict)
    slow: dict[str, int] = field(default_factory=dict)
    """Processes whose packets take up to so many ms longer."""

    def resolve(self, address: Address) -> Address:
        """Return an address with the IP that its name leads to now."""
        ip = self.names.get(address.host) if self.names else None
        return address if ip is None or ip == address.ip else replace(address, ip=ip)

    def cut(self, pairs: Iterable[Pair]) -> Cut:
        """Stop packets from one process to another, for each pair."""
        cut = Cut(self, frozenset(pairs))
        self.active[cut] = None
        self.cuts.update(cut.pairs)
        return cut

    def heal(self) -> None:
        """Let everybody reach everybody again, at the usual pace."""
        for cut in list(self.active):
            cut.end()
        self.slow.clear()
        self.loss = self.repeats = 0.0

    def is_cut(self, source: str, target: str) -> bool:
        """Whether packets from one process to another get lost."""
        return (source, target) in self.cuts

    def reaches(self, one: str, other: str) -> bool:
        """Whether two processes can talk, both ways."""
        return not (self.cuts and (self.is_cut(one, other) or self.is_cut(other, one)))

    def delay(self, source: str, target: str) -> int:
        """Return how long one packet takes, retransmissions of lost ones included."""
        low, high = self.latency_ms
        roll = self.dice.random
        delay = low + int(roll() * (high - low + 1))
        if self.slow:
            extra = self.slow.get(source, 0) + self.slow.get(target, 0)
            delay += int(roll() * extra)
        if self.loss:
            resend = RESEND_MS
            while roll() < self.loss:
                delay += resend
                resend = min(2 * resend, RESEND_MS_MAX)
        return delay

    def is_repeated(self) -> bool:
        """Whether a command is executed twice."""
        return self.repeats > 0.0 and self.dice.random() < self.repeats

    def connect(
        self,
        source: Process,
        to: Address,
        on_up: "Callable[[Connection], None]",
        on_lost: Callable[[str, bool], None],
    ) -> None:
        """Try to connect; exactly one of the callbacks is delivered to `source`, `on_lost` also
        later when the connection ends by itself.
        """
        world = self.world
        to = self.resolve(to)
        target = self.hosts.get(to)
        if target is None:
            world.after(1, lambda: source.deliver(lambda: on_lost("No route to host", False)))
            return
        takes = CONNECT_LIMIT_MS + 1
        if self.reaches(source.name, target.name):
            takes = self.delay(source.name, target.name) + self.delay(target.name, source.name)
        if takes > CONNECT_LIMIT_MS:
            world.after(
                CONNECT_LIMIT_MS, lambda: source.deliver(lambda: on_lost("timed out", False))
            )
            return

        def arrive() -> None:
            if not target.is_running or self.hosts.get(to) is not target:
                source.deliver(lambda: on_lost("Connection refused", True))
                return
            connection = Connection(self, source, target, on_lost)
            source.connections[connection] = None
            target.connections[connection] = None
            source.deliver(lambda: on_up(connection))

        world.after(takes, arrive)


@dataclass(slots=True, eq=False)
class _Lane:
    """One direction of a connection."""

    receiver: Process
    route: Pair
    last_arrival: int = 0
    blocked: deque[Deed] = field(default_factory=deque)
    resend: int = RESEND_MS


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, made by `source` to `target`."""

    network: Network
    source: Process
    target: Process
    on_lost: Callable[[str, bool], None]
    on_target_lost: Deed | None = None
    """What the accepting side does when the other end closes."""
    _gone: set[str] = field(default_factory=set)
    """Names of the ends that read no more."""
    _to_target: _Lane = field(init=False)
    _to_source: _Lane = field(init=False)

    def __post_init__(self) -> None:
        source, target = self.source, self.target
        self._to_target = _Lane(target, (source.name, target.name))
        self._to_source = _Lane(source, (target.name, source.name))

    @property
    def is_open(self) -> bool:
        """Whether both ends are there."""
        return not self._gone

    def send(self, sender: Process, what: Deed, about: object = "") -> None:
        """Have `what` happen at the other end, in order, if that lives so long."""
        lane = self._to_target if sender is self.source else self._to_source
        if self._gone and sender.name in self._gone:
            return
        self._send(lane, what, about)

    def _send(self, lane: _Lane, what: Deed, about: object) -> None:
        network = self.network
        world = network.world
        if world.records_messages:
            message = world.note_message(lane.route[0], lane.route[1], about)
            if message is not None:
                what = partial(_arrive_and_note, world, message, what)
        delay = network.delay(*lane.route)
        at = lane.last_arrival = max(world.now + delay, lane.last_arrival)
        world.at(at, partial(self._arrive, lane, what))

    def _arrive(self, lane: _Lane, what: Deed) -> None:
        network = self.network
        if lane.blocked or (network.cuts and lane.route in network.cuts):
            if not lane.blocked:
                network.world.after(lane.resend, partial(self._retry, lane))
            lane.blocked.append(what)
            return
        receiver = lane.receiver
        if not self._gone or receiver.name not in self._gone:
            receiver.deliver(what)

    def _retry(self, lane: _Lane) -> None:
        network = self.network
        if lane.route in network.cuts:
            lane.resend = min(2 * lane.resend, RESEND_MS_MAX)
            network.world.after(lane.resend, partial(self._retry, lane))
            return
        lane.resend = RESEND_MS
        blocked, lane.blocked = lane.blocked, deque()
        for what in blocked:
            if lane.receiver.name not in self._gone:
                lane.receiver.deliver(what)

    def close(self, by: Process) -> None:
        """End it: the other side learns of it after what was sent before, if it can be reached."""
        if by.name in self._gone:
            return
        self._gone.add(by.name)
        by.connections.pop(self, None)
        lane = self._to_target if by is self.source else self._to_source
        self._send(lane, partial(self._hear_end, lane.receiver), "closes the connection")

    def _hear_end(self, who: Process) -> None:
        if who.name in self._gone:
            return
        self._gone.add(who.name)
        who.connections.pop(self, None)
        if who is self.source:
            self.on_lost("Connection reset by peer", True)
        elif self.on_target_lost is not None:
            self.on_target_lost()


def _arrive_and_note(world: World, message: Message, what: Deed) -> None:
    message.arrived_at = world.now
    what()
