"""A data instance, modelled as closely as failover needs: what it answers to Sentinels, operators
and clients, how it changes roles, dies, comes back with its data or without, hangs and is slow.

`replication` moves its data, `info_text` words its INFO.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from everfly.core.model import Address, Engine, Hello, InstanceReport
from everfly.sim import info_text
from everfly.sim.dataset import Dataset, Witness
from everfly.sim.network import Connection, Deed, Network
from everfly.sim.replication import Replication
from everfly.sim.stopping import Stoppable
from everfly.sim.world import Kind, World

SUPERVISOR_MS: Final = 1_000
"""A process that ended by itself is started again after this."""
TICK_MS: Final = 1_000
FSYNC_MS: Final = 1_000
"""What a crash of the machine takes: the append-only file is flushed once a second."""

LOADING: Final = "LOADING Redis is loading the dataset in memory"
BUSY: Final = "BUSY Redis is busy running a script. You can only call SCRIPT KILL"
MASTERDOWN: Final = "MASTERDOWN Link with MASTER is down"
READONLY: Final = "READONLY You can't write against a read only replica."


@dataclass(frozen=True, slots=True)
class Character:
    """What an instance is like, all its lives."""

    engine: Engine = Engine.VALKEY
    priority: int = 100
    breaks_on_restart: bool = False
    """Dragonfly's flag: a replica leaves a primary that restarted, and keeps its data."""
    serves_stale: bool = True
    """`replica-serve-stale-data`: without it, a replica answers PING with MASTERDOWN."""
    is_contained: bool = False
    """It runs in a container: its process id is 1 in every life."""
    backlog_max: int = 1_000
    load_ms: int = 0
    """How long a new process loads its data."""
    speaks_text: bool = False
    """INFO goes through the real parser and dialect; otherwise as the facts that these would
    give, which is several times cheaper."""


@dataclass(slots=True, eq=False)
class SimInstance(Stoppable):
    """One process with an address; it may die and come back."""

    world: World
    network: Network
    address: Address
    character: Character = field(default_factory=Character)
    label: str = "instance"
    """What it is called, together with its port."""
    witness: Witness | None = None
    name: str = field(init=False)
    dice: random.Random = field(init=False)
    is_running: bool = field(default=True, init=False)
    is_paused: bool = field(default=False, init=False)
    connections: dict[Connection, None] = field(default_factory=dict, init=False)
    data: Dataset = field(init=False)
    replication: Replication = field(init=False)
    subscribers: dict[Connection, Callable[[Hello], None]] = field(default_factory=dict, init=False)
    started_at: int = field(default=0, init=False)
    lives: int = field(default=0, init=False)
    life: str = field(default="", init=False)
    """Names this process among all: what an instance's run id is made of."""
    slow_ms: int = field(default=0, init=False)
    """How long each command takes."""
    busy_until: int = field(default=0, init=False)
    lies_until: int = field(default=0, init=False)
    """INFO comes out cut off or garbled until then."""
    is_taken_over: bool = field(default=False, init=False)
    """Its role is being handed over: it refuses everything but PING."""
    is_awaited: bool = field(default=False, init=False)
    """It ended by itself, and its supervisor is about to start it again."""
    applied_epoch: int = field(default=0, init=False)
    pause_until: int = field(default=0, init=False)
    """Writes are held until then."""
    _loading_until: int = field(default=0, init=False)
    _held: list[Deed] = field(default_factory=list, init=False)
    _inbox: deque[Deed] = field(default_factory=deque, init=False)
    _free_at: int = field(default=0, init=False)
    _was_primary: bool = field(default=True, init=False)
    """When it last ended."""

    def __post_init__(self) -> None:
        self.name = f"{self.label}:{self.address.port}"
        self.dice = self.world.dice(self.name)
        self.replication = Replication(self)
        self.lives = 1
        self.life = f"{self.address.port}.1"
        self.data = Dataset(self._history(), self.character.backlog_max, self._is_valkey)
        self.network.hosts[self.address] = self
        self.world.after(TICK_MS, self._tick)

    @property
    def engine(self) -> Engine:
        """The program that it is modelled on."""
        return self.character.engine

    @property
    def priority(self) -> int:
        """For promotion; 0: never."""
        return self.character.priority

    @property
    def follows(self) -> Address | None:
        """Whom it follows; None: it is a primary."""
        follows = self.replication.follows
        return None if follows is None else self.network.resolve(follows)

    @property
    def is_primary(self) -> bool:
        """Whether it follows nobody."""
        return self.replication.follows is None

    @property
    def link_up(self) -> bool:
        """Whether its primary feeds it."""
        return self.replication.link_up

    @property
    def log(self) -> list[int]:
        """Ids of the writes that it holds, in order."""
        return self.data.log

    @property
    def is_loading(self) -> bool:
        """Whether a new process still reads its data."""
        return self.world.now < self._loading_until

    @property
    def is_behind(self) -> bool:
        """Whether commands wait because it is, or was, slow."""
        return self.slow_ms > 0 or self._free_at > self.world.now

    @property
    def _is_valkey(self) -> bool:
        return self.engine is not Engine.DRAGONFLY

    def _history(self) -> str:
        self_made = self.world.dice(f"history:{self.life}:{self.world.now}")
        return f"{self_made.getrandbits(160):040x}"

    # Life and death.

    def kill(self) -> None:
        """SIGKILL: everything in memory is gone, peers read resets."""
        if not self.is_running:
            return
        self.world.mark(self.name, "killed", Kind.LIFE)
        self._end()

    def _end(self) -> None:
        self.is_running = self.is_paused = self.is_taken_over = False
        self._was_primary = self.follows is None
        self._inbox.clear()
        self._held.clear()
        self._free_at = 0
        self.replication.stop()
        self.subscribers.clear()
        for connection in list(self.connections):
            connection.close(self)

    def restart(self, *, follows: Address | None, keeps: str = "all") -> None:
        """Start again, as a primary or as a replica; `keeps`: `all`, `synced` (what was on disk
        when a machine lost power) or `nothing`.
        """
        if self.is_running:
            self.kill()
        now = self.world.now
        held = list(self.data.log)
        before = len(held)
        keep = {"all": before, "synced": self.data.written_before(now - now % FSYNC_MS)}
        self.is_running = True
        self.lives += 1
        self.life = f"{self.address.port}.{self.lives}"
        self.started_at = now
        self._loading_until = now + self.character.load_ms
        self.pause_until = self.busy_until = 0
        self.data.restart(self._history(), keep=keep.get(keeps, 0))
        if self.witness is not None and self._was_primary:
            self.witness.note_loss(self, held[len(self.data.log) :])
        role = "primary" if follows is None else "replica"
        told = f"restarted with {len(self.data.log)} of {before} writes, as a {role}"
        self.world.mark(self.name, told, Kind.LIFE)
        self.replication.stop_following()
        if follows is not None:
            self.replication.follow(follows)

    def move(self, address: Address) -> None:
        """Listen elsewhere from now on. Only while it does not run."""
        assert not self.is_running, "a process does not move"
        if self.network.hosts.get(self.address) is self:
            del self.network.hosts[self.address]
        self.address = address
        self.network.hosts[address] = self

    def deliver(self, what: Deed) -> None:
        """Take something off the wire."""
        if not self.is_running:
            return
        if self.is_paused:
            self._inbox.append(what)
        elif self.slow_ms or self._free_at > self.world.now:
            self._free_at = max(self._free_at, self.world.now) + self.slow_ms
            life = self.life
            self.world.at(self._free_at, partial(self._deliver_late, life, what))
        else:
            what()

    def _deliver_late(self, life: str, what: Deed) -> None:
        if life != self.life or not self.is_running:
            return
        if self.is_paused:
            self._inbox.append(what)
        else:
            what()

    def _tick(self) -> None:
        self.world.after(TICK_MS, self._tick)
        if self.is_running and not self.is_paused:
            self.replication.tick()
            self._let_held_go()

    # What Sentinels ask.

    def ping(self) -> str:
        """PING."""
        now = self.world.now
        if now < self._loading_until:
            return LOADING
        if now < self.busy_until:
            return BUSY
        stale = self.follows is not None and not self.link_up and not self.character.serves_stale
        return MASTERDOWN if stale else "PONG"

    def info(self) -> InstanceReport | str:
        """INFO: what a Sentinel makes of it, or an error's text."""
        refused = self._why_refused()
        if refused is not None and (refused != LOADING or not self._is_valkey):
            return refused
        if self.world.now < self.lies_until:
            return info_text.garbled(self, self.dice)
        return (
            info_text.read(info_text.word(self))
            if self.character.speaks_text
            else (info_text.facts(self))
        )

    def publish(self, hello: Hello) -> None:
        """PUBLISH on the hello channel."""
        for connection, hear in list(self.subscribers.items()):
            if connection.is_open:
                hear(hello)
            else:
                del self.subscribers[connection]

    def subscribe(self, connection: Connection, hear: Callable[[Hello], None]) -> None:
        """SUBSCRIBE to the hello channel."""
        self.subscribers[connection] = hear

    def slaveof(
        self,
        follows: Address | None,
        answer: Callable[[str | None], None],
        caller: Connection | None = None,
    ) -> None:
        """SLAVEOF in its transaction; answers None or an error. The callers' rivals are cut off."""
        refused = self._why_refused()
        if follows is None and self.witness is not None and (refused is None or self.is_primary):
            # Also where it is one already, even if it is still loading and refuses: INFO says that
            # it is a primary, and whoever orders this makes its data count.
            self.witness.note_promotion(self)
        if refused is not None:
            answer(refused)
        elif follows is not None and not self._is_valkey:
            self._slaveof_after_connecting(follows, answer)
        else:
            self.change_role(follows)
            if self._is_valkey and caller is not None:
                self._kill_clients(caller)
            answer(None)

    def _slaveof_after_connecting(
        self, follows: Address, answer: Callable[[str | None], None]
    ) -> None:
        """Dragonfly connects first: with nobody there, or a replica, it stays what it is. Told to
        follow whom it follows already, it begins anew.
        """

        def on_up(connection: Connection) -> None:
            primary = connection.target
            connection.close(self)
            if not self.is_running:
                return
            if isinstance(primary, SimInstance) and primary.follows is not None:
                answer("ERR replication cancelled")
                return
            if follows == self.follows:
                self.replication.follow(follows)
            self.change_role(follows)
            answer(None)

        def on_lost(reason: str, _is_refusal: bool) -> None:
            answer(f"ERR could not connect to master: {reason}")

        self.network.connect(self, follows, on_up, on_lost)

    def change_role(self, follows: Address | None) -> None:
        """Become a replica, or a primary (None); nothing if it is that already."""
        if follows == self.follows:
            return
        order = "SLAVEOF NO ONE" if follows is None else f"SLAVEOF {follows}"
        self.world.mark(self.name, order, Kind.ROLE)
        if follows is not None:
            self.replication.follow(follows)
            self._let_held_go()
            return
        if self.witness is not None:
            self.witness.note_promotion(self)
        self.replication.stop_following()
        self.data.begin_history(self._history())

    def _kill_clients(self, caller: Connection) -> None:
        """CLIENT KILL TYPE normal and pubsub: all but the caller and replication."""
        spared = {caller, *self.replication.connections}
        for connection in list(self.connections):
            if connection not in spared:
                self.subscribers.pop(connection, None)
                connection.close(self)

    def pause_writes(self, limit: int) -> str | None:
        """CLIENT PAUSE WRITE; 0 ends it."""
        refused = self._why_refused()
        if refused is None:
            self.pause_until = self.world.now + limit if limit else 0
            if not limit:
                self._let_held_go()
            else:
                self.world.after(limit, self._let_held_go)
        return refused

    def exit(self) -> None:
        """End by itself. Its supervisor starts it again as what it was, and Sentinels demote it."""
        self._end()
        self.is_awaited = True
        self.world.after(SUPERVISOR_MS, self._restart_by_supervisor)

    def _restart_by_supervisor(self) -> None:
        is_awaited, self.is_awaited = self.is_awaited, False
        if is_awaited and not self.is_running:
            self.restart(follows=None)

    # What clients ask.

    def write(self, write_id: int, answer: Callable[[str | None], None]) -> None:
        """SET; answers None when it is done, or an error's text."""
        refused = self._why_refused()
        if refused is None and self.follows is not None:
            refused = READONLY
        if refused is not None:
            answer(refused)
        elif self.world.now < self.pause_until:
            self._held.append(partial(self.write, write_id, answer))
        else:
            self.replication.append(write_id)
            answer(None)

    def _let_held_go(self) -> None:
        is_over = self.world.now >= self.pause_until or self.follows is not None
        if self._held and is_over and self.is_running and not self.is_paused:
            held, self._held = self._held, []
            for write in held:
                write()

    def _why_refused(self) -> str | None:
        now = self.world.now
        if self.is_taken_over or now < self._loading_until:
            return LOADING
        return BUSY if now < self.busy_until else None
