"""A managed endpoint, modelled on what it promises: it follows the primary that Sentinels name,
holds writes while there is none, and releases them in order to the next one.

Whom it follows: the claim of the highest config epoch; first when a majority has answered; a lower
epoch never, unless nobody says the higher one any more and a majority agrees on another (people
removed the group and monitored it again); two claims of one epoch go by majority. A write that was
refused without being executed is held; one whose connection ended is not sent again.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from everfly.core.model import Address, GroupName
from everfly.sim.instance import SimInstance
from everfly.sim.ledger import Ledger
from everfly.sim.network import Connection, Deed, Network
from everfly.sim.watcher import Announcement, Watcher
from everfly.sim.world import Kind, World

POLL_MS: Final = 1_000
ANEW_AFTER_MS: Final = 3 * POLL_MS
HOLD_MS: Final = 10_000
"""How long a write is held."""
HELD_MAX: Final = 1_000
RECONNECT_MS: Final = 100
NO_PRIMARY: Final = "LOADING everfly: no primary, try again"
PROVES_NOTHING_HAPPENED: Final = ("READONLY", "LOADING", "BUSY", "MASTERDOWN")


@dataclass(slots=True)
class _Held:
    write_id: int
    answer: Callable[[str | None], None]
    until: int


@dataclass(slots=True, eq=False)
class SimEndpoint:
    """One endpoint process."""

    world: World
    network: Network
    address: Address
    group: GroupName
    watchers: list[Watcher]
    ledger: Ledger
    name: str = "endpoint:1"
    is_running: bool = True
    is_paused: bool = False
    connections: dict[Connection, None] = field(default_factory=dict)
    belief: Announcement | None = None
    held_max: int = 0
    """The most that was ever held."""
    _claims: dict[str, Announcement] = field(default_factory=dict)
    _others_since: int | None = None
    _upstream: Connection | None = None
    _is_connecting: bool = False
    _attempt: int = 0
    _held: deque[_Held] = field(default_factory=deque)
    _under_way: dict[int, _Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.hosts[self.address] = self
        for watcher in self.watchers:
            self._watch(watcher)

    @property
    def primary(self) -> Address | None:
        """Where writes go."""
        return None if self.belief is None else self.belief.primary

    def deliver(self, what: Deed) -> None:
        """Take something off the wire."""
        what()

    # Following.

    def _watch(self, watcher: Watcher) -> None:
        def on_up(connection: Connection) -> None:
            hear = partial(self._hear, watcher.name)
            watching = partial(watcher.subscribers.__setitem__, connection, hear)
            connection.send(self, watching, "SUBSCRIBE +switch-master")
            self._poll(watcher, connection)

        def on_lost(_reason: str, _is_refusal: bool) -> None:
            self.world.after(POLL_MS, lambda: self._watch(watcher))

        self.network.connect(self, watcher.address, on_up, on_lost)

    def _poll(self, watcher: Watcher, connection: Connection) -> None:
        if not connection.is_open:
            return

        def serve() -> None:
            said = watcher.announcement(self.group)
            connection.send(watcher, partial(self._hear, watcher.name, said), "claim")

        connection.send(self, serve, "SENTINEL MASTER")
        self.world.after(POLL_MS, partial(self._poll, watcher, connection))

    def _hear(self, watcher: str, said: Announcement | None) -> None:
        if said is None:
            self._claims.pop(watcher, None)
            return
        self._claims[watcher] = said
        believed = self.belief
        majority = len(self.watchers) // 2 + 1
        if believed is None:
            if len(self._claims) >= majority:
                self._believe(max(self._claims.values(), key=lambda one: one.config_epoch))
            return
        latest = max(self._claims.values(), key=lambda one: one.config_epoch)
        agreed, count = Counter(self._claims.values()).most_common(1)[0]
        if latest.config_epoch >= believed.config_epoch:
            self._others_since = None
            if latest.config_epoch > believed.config_epoch:
                self._believe(latest)
            elif count >= majority and agreed.config_epoch == believed.config_epoch:
                self._believe(agreed)
            return
        if count < majority:
            self._others_since = None
        elif self._others_since is None:
            self._others_since = self.world.now
        elif self.world.now - self._others_since >= ANEW_AFTER_MS:
            self._believe(agreed)

    def _believe(self, said: Announcement) -> None:
        if said == self.belief:
            return
        is_elsewhere = self.belief is None or said.primary != self.belief.primary
        self.belief = said
        if is_elsewhere:
            told = f"follows {said.primary}, epoch {said.config_epoch}"
            self.world.mark(self.name, told, Kind.CLIENT)
            self._leave()
            self._connect()

    def _leave(self) -> None:
        self._attempt += 1
        self._is_connecting = False
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close(self)
        under_way, self._under_way = self._under_way, {}
        for one in under_way.values():
            one.answer("ERR connection to the primary lost")

    def _connect(self) -> None:
        if self.belief is None or self._is_connecting or self._upstream is not None:
            return
        self._is_connecting = True
        self._attempt += 1
        attempt = self._attempt

        def on_up(connection: Connection) -> None:
            if attempt != self._attempt:
                connection.close(self)
                return
            self._is_connecting = False
            self._upstream = connection
            self._release()

        def on_lost(_reason: str, _is_refusal: bool) -> None:
            if attempt == self._attempt:
                self._leave()
                self.world.after(RECONNECT_MS, self._connect)

        self.network.connect(self, self.belief.primary, on_up, on_lost)

    # Writing.

    def write(self, write_id: int, answer: Callable[[str | None], None]) -> None:
        """Pass a write on, or hold it."""
        one = _Held(write_id, answer, self.world.now + HOLD_MS)
        if self._upstream is None or self._held:
            self._hold(one)
        else:
            self._forward(one, self._upstream)

    def _hold(self, one: _Held) -> None:
        if len(self._held) >= HELD_MAX:
            one.answer(NO_PRIMARY)
            return
        self._held.append(one)
        self.held_max = max(self.held_max, len(self._held))
        self.world.at(one.until, partial(self._expire, one))

    def _expire(self, one: _Held) -> None:
        if one in self._held:
            self._held.remove(one)
            one.answer(NO_PRIMARY)

    def _release(self) -> None:
        while self._held and self._upstream is not None:
            self._forward(self._held.popleft(), self._upstream)

    def _forward(self, one: _Held, upstream: Connection) -> None:
        instance = upstream.target
        assert isinstance(instance, SimInstance), "only instances are primaries"
        self._under_way[one.write_id] = one

        def answer(error: str | None) -> None:
            if error is None:
                self.ledger.take(one.write_id, instance)
            upstream.send(instance, partial(self._heard, one, error), error or "OK")

        upstream.send(self, partial(instance.write, one.write_id, answer), f"SET {one.write_id}")

    def _heard(self, one: _Held, error: str | None) -> None:
        if self._under_way.pop(one.write_id, None) is None:
            return
        if error is None or not error.startswith(PROVES_NOTHING_HAPPENED):
            one.answer(error)
            return
        # Not executed: held until there is a primary that takes it, looked for in a moment.
        self._leave()
        self._hold(one)
        self.world.after(RECONNECT_MS, self._connect)
