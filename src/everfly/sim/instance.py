"""A data instance, modelled as closely as failover needs: roles, asynchronous replication with
offsets and histories, full syncs that replace the dataset, restarts with and without data, pauses.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from everfly.core.model import Address, Engine, HandOver, InstanceReport, Millis, Role
from everfly.sim.network import Connection, Network
from everfly.sim.world import Kind, World

RECONNECT_MS = 1_000
"""A replica tries again this long after a failed attempt: `replicationCron`, once a second."""
SYNC_DELAY_MS = 5_000
"""A fresh process hands out its dataset after this: `repl-diskless-sync-delay` default, and what
gives Sentinels time when a primary comes back empty."""
FULL_SYNC_MS = 50
SUPERVISOR_MS = 1_000
"""A process that ended by itself is started again after this."""


@dataclass(slots=True, eq=False)
class SimInstance:
    """One process with an address; it may die and come back."""

    world: World
    network: Network
    address: Address
    directory: "dict[Address, SimInstance]"
    engine: Engine = Engine.VALKEY
    priority: int = 100
    name: str = field(init=False)
    is_running: bool = field(default=True, init=False)
    is_paused: bool = field(default=False, init=False)
    connections: dict[Connection, None] = field(default_factory=dict, init=False)
    run_id: str = field(default="", init=False)
    history: str = field(default="", init=False)
    history_before: str = field(default="", init=False)
    log: list[int] = field(default_factory=list, init=False)
    """Ids of the writes applied: the dataset."""
    follows: Address | None = field(default=None, init=False)
    link_up: bool = field(default=False, init=False)
    link_down_at: int = field(default=0, init=False)
    is_syncing: bool = field(default=False, init=False)
    followers: "dict[SimInstance, None]" = field(default_factory=dict, init=False)
    """In the order in which they came: a set's order would differ from process to process."""
    subscribers: "dict[Connection, Callable[[object], None]]" = field(
        default_factory=dict, init=False
    )
    started_at: int = field(default=0, init=False)
    _inbox: deque[Callable[[], None]] = field(default_factory=deque, init=False)
    _paused_until: int = field(default=0, init=False)
    _lives: int = field(default=0, init=False)
    _link: int = field(default=0, init=False)
    """Counts replication links, so that a late event of an old one is ignored."""

    def __post_init__(self) -> None:
        self.name = f"instance:{self.address.port}"
        self._begin()

    # Life and death.

    def _begin(self) -> None:
        self._lives += 1
        self.run_id = f"{self.address.port:08d}{self._lives:032d}"
        self.history = f"h{self.address.port}.{self._lives}"
        self.history_before = ""
        self.started_at = self.world.now
        self.is_syncing = self.link_up = False
        self.link_down_at = self.world.now

    def kill(self) -> None:
        """SIGKILL: everything in memory is gone, peers read resets."""
        if not self.is_running:
            return
        self.world.mark(self.name, "killed", Kind.LIFE)
        self.is_running = self.is_paused = False
        self._inbox.clear()
        for connection in list(self.connections):
            connection.close(self)
        self.subscribers.clear()
        self._drop_followers()
        self._unlink()

    def restart(self, *, follows: Address | None, keeps_data: bool) -> None:
        """Start again, as a primary or as a replica, with the dataset or without."""
        if self.is_running:
            self.kill()
        self.world.mark(self.name, f"restarted {'with data' if keeps_data else 'empty'}", Kind.LIFE)
        self.is_running = True
        if not keeps_data:
            self.log = []
        self._begin()
        self.follows = follows
        if follows is not None:
            self._try_to_follow(self._link)

    def pause(self) -> None:
        """SIGSTOP."""
        if self.is_running and not self.is_paused:
            self.world.mark(self.name, "paused", Kind.LIFE)
            self.is_paused = True

    def resume(self) -> None:
        """SIGCONT: what arrived meanwhile is handled now, in order."""
        if not self.is_paused:
            return
        self.world.mark(self.name, "resumed", Kind.LIFE)
        self.is_paused = False
        while self._inbox and not self.is_paused:
            self._inbox.popleft()()

    def deliver(self, what: Callable[[], None]) -> None:
        """Take something off the wire."""
        if not self.is_running:
            return
        if self.is_paused:
            self._inbox.append(what)
        else:
            what()

    # Roles.

    def report(self) -> InstanceReport:
        """Say what INFO says."""
        is_valkey = self.engine is not Engine.DRAGONFLY
        offset = len(self.log)
        if self.follows is None:
            replicas = tuple(follower.address for follower in self.followers)
            return InstanceReport(
                role=Role.PRIMARY,
                engine=self.engine,
                hands_over=self._hands_over,
                run_id=self.run_id,
                history=self.history,
                history_before=self.history_before,
                offset=offset if is_valkey else None,
                replicas=replicas,
                priority=self.priority,
            )
        down_for = None if self.link_up else Millis(self.world.now - self.link_down_at)
        return InstanceReport(
            role=Role.REPLICA,
            engine=self.engine,
            hands_over=self._hands_over,
            run_id=self.run_id,
            history=self.history,
            offset=offset,
            primary=self.follows,
            primary_link_up=self.link_up,
            primary_link_down_for=down_for if is_valkey else None,
            is_syncing=self.is_syncing,
            priority=self.priority,
        )

    @property
    def _hands_over(self) -> HandOver:
        is_dragonfly = self.engine is Engine.DRAGONFLY
        return HandOver.BY_TAKEOVER if is_dragonfly else HandOver.BY_PAUSE

    def slaveof(self, follows: Address | None) -> None:
        """REPLICAOF."""
        if follows == self.follows:
            return
        order = "SLAVEOF NO ONE" if follows is None else f"SLAVEOF {follows}"
        self.world.mark(self.name, order, Kind.ROLE)
        was_replica = self.follows is not None
        self._unlink()
        self._drop_followers()
        self.follows = follows
        if follows is None:
            if was_replica:
                self.history_before = self.history
                self.history = f"{self.history}+{self.address.port}.{self.world.now}"
            return
        self._try_to_follow(self._link)

    def begin_following(self, primary: "SimInstance") -> None:
        """Be a replica in sync from the beginning of the world."""
        self.follows = primary.address
        self._attach(primary)

    def hand_over_to(self, replica: "SimInstance") -> bool:
        """Give the role to a replica in sync and end, as REPLTAKEOVER does; False: it cannot."""
        is_ready = (
            self.follows is None
            and replica in self.followers
            and replica.is_running
            and not replica.is_paused
            and not self.is_paused
            and not self.network.is_cut(self.name, replica.name)
            and not self.network.is_cut(replica.name, self.name)
        )
        if not is_ready:
            return False
        self.world.mark(self.name, f"hands over to {replica.name}", Kind.ROLE)
        replica.log = list(self.log)
        replica.slaveof(None)
        self.kill()
        # Its supervisor starts it again as what it was, and Sentinels must demote it.
        self.world.after(SUPERVISOR_MS, lambda: self.restart(follows=None, keeps_data=True))
        return True

    def pause_writes(self, limit: int) -> None:
        """CLIENT PAUSE WRITE; 0 ends it."""
        self._paused_until = self.world.now + limit

    def write(self, write_id: int) -> bool:
        """SET; False: refused, as a replica refuses."""
        if self.follows is not None or self.world.now < self._paused_until:
            # A paused write is held by a real instance; its client gets no answer either way.
            return False
        self.log.append(write_id)
        for follower in self.followers:
            self._feed(follower)
        return True

    # Replication.

    def _feed(self, follower: "SimInstance") -> None:
        if not follower.link_up:
            return
        link, upto, history = follower._link, len(self.log), self.history  # noqa: SLF001

        def arrive() -> None:
            if self.network.is_cut(self.name, follower.name):
                self.world.after(200, lambda: follower.deliver(arrive))
                return
            same = follower._link == link and follower.link_up  # noqa: SLF001
            if same and self.history == history and len(follower.log) < upto <= len(self.log):
                follower.log.extend(self.log[len(follower.log) : upto])

        self.world.after(self.network.delay(), lambda: follower.deliver(arrive))

    def _unlink(self) -> None:
        self._link += 1
        if self.link_up:
            self.link_down_at = self.world.now
        self.link_up = self.is_syncing = False
        for other in self.directory.values():
            other.followers.pop(self, None)

    def _drop_followers(self) -> None:
        for follower in list(self.followers):
            follower._lose_primary()  # noqa: SLF001 - one model
        self.followers.clear()

    def _lose_primary(self) -> None:
        self._unlink()
        link = self._link
        self.world.after(1, lambda: self._try_to_follow(link))

    def _try_to_follow(self, link: int) -> None:
        if link != self._link or not self.is_running or self.follows is None:
            return
        if self.is_paused:
            self._inbox.append(lambda: self._try_to_follow(link))
            return
        primary = self.directory.get(self.follows)
        reachable = (
            primary is not None
            and primary.is_running
            and not primary.is_paused
            and not self.network.is_cut(self.name, primary.name)
            and not self.network.is_cut(primary.name, self.name)
            and (primary.follows is None or primary.link_up)
            and primary is not self
        )
        if primary is None or not reachable:
            self.world.after(RECONNECT_MS, lambda: self._try_to_follow(link))
            return
        continues = self.history in {primary.history, primary.history_before} and (
            self.log == primary.log[: len(self.log)]
        )
        if continues:
            self._attach(primary)
            return
        # A full sync: the dataset is replaced once the primary hands it out.
        self.is_syncing = True
        waits = max(0, primary.started_at + SYNC_DELAY_MS - self.world.now)
        life = primary._lives  # noqa: SLF001 - one model
        self.world.after(waits + FULL_SYNC_MS, lambda: self._finish_full_sync(link, primary, life))

    def _finish_full_sync(self, link: int, primary: "SimInstance", life: int) -> None:
        if link != self._link or not self.is_running:
            return
        self.is_syncing = False
        if not primary.is_running or primary._lives != life or primary.is_paused:  # noqa: SLF001
            self._try_to_follow(link)
            return
        told = f"full sync from {primary.address}: {len(primary.log)} writes"
        self.world.mark(self.name, told, Kind.DATA)
        self._attach(primary)

    def _attach(self, primary: "SimInstance") -> None:
        self.log = list(primary.log)
        self.history = primary.history
        self.history_before = ""
        self.link_up = True
        primary.followers[self] = None
