"""How an instance follows another: connect, ask to continue, be given a copy or what is missing,
then read entries as they come.

Asynchronous, as of all three engines: a primary answers its clients first and feeds its replicas
then. A replica that loses its primary tries again every second.
Source: `replicationCron`, `syncWithMaster`, `masterTryPartialResync`, redis/src/replication.c
(7.0.15).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from everfly.core.model import Address, Engine
from everfly.sim.dataset import NOTHING, Dataset
from everfly.sim.network import Connection
from everfly.sim.world import Kind

if TYPE_CHECKING:
    from everfly.sim.instance import SimInstance

RECONNECT_MS: Final = 1_000
"""A replica tries again this long after a failed attempt: `replicationCron`, once a second."""
SYNC_DELAY_MS: Final = 5_000
"""A fresh process hands out its dataset after this: `repl-diskless-sync-delay` default, and what
gives Sentinels time when a primary comes back empty."""
FULL_SYNC_MS: Final = 50
TIMEOUT_MS: Final = 60_000
"""A silent replication link is given up: `repl-timeout`."""
PING_MS: Final = 10_000
"""Between two PINGs of a primary to its replicas: `repl-ping-replica-period`."""


@dataclass(slots=True, eq=False)
class Replication:
    """One instance's part: whom it follows, and who follows it."""

    me: "SimInstance"
    follows: Address | None = None
    link_up: bool = False
    down_since: int | None = None
    """When the link to the primary was lost; None: it is up, or never was since it was asked to."""
    is_syncing: bool = False
    has_left: bool = False
    """It has given its primary up, and does not try again by itself."""
    followers: "dict[Connection, tuple[SimInstance, int]]" = field(default_factory=dict)
    """Who follows, and in which of its attempts. In the order in which they came: a set's order
    would differ from process to process."""
    _link: Connection | None = None
    _attempt: int = 0
    """Counts attempts, so that a late event of an old one is ignored."""
    _heard_at: int = 0
    _pinged_at: int = 0
    _primary_life: str = ""
    """The history of the primary's process that this one was fed by."""

    # As a replica.

    def follow(self, primary: Address) -> None:
        """Begin to follow an instance."""
        self.has_left = False
        self._unlink()
        self.drop_followers()
        self.follows = primary
        self.down_since = None
        self._primary_life = ""
        self._connect()

    def stop_following(self) -> None:
        """Be a primary."""
        self._unlink()
        self.drop_followers()
        self.follows = None
        self.down_since = None

    def begin_in_sync(self, primary: "SimInstance") -> None:
        """Be a replica that has all from the beginning of the world."""
        self.follows = primary.address
        self.me.data.copy_from(primary.data, self.me.world.now)
        self._connect()

    def stop(self) -> None:
        """Take it that the process ended, and connections with it."""
        self._attempt += 1
        self._link = None
        self.link_up = self.is_syncing = False
        self.followers.clear()

    def _connect(self) -> None:
        self._attempt += 1
        attempt = self._attempt
        if self.follows is None:
            return
        self.me.network.connect(
            self.me, self.follows, partial(self._on_up, attempt), partial(self._on_lost, attempt)
        )

    def _on_up(self, attempt: int, connection: Connection) -> None:
        if attempt != self._attempt:
            connection.close(self.me)
            return
        if not connection.is_open:
            # A process that is slow may have ended it with its clients' before it looked at it.
            self._on_lost(attempt, "ended before it was used", _is_refusal=False)
            return
        self._link = connection
        primary: SimInstance = connection.target  # type: ignore[assignment] # only instances have it
        me, data = self.me, self.me.data
        self._heard_at = me.world.now
        serve = partial(
            primary.replication.serve, me, connection, (data.history, data.offset), attempt
        )
        connection.send(me, serve, "PSYNC")

    def _on_lost(self, attempt: int, _reason: str, _is_refusal: bool) -> None:
        if attempt != self._attempt:
            return
        self._unlink()
        attempt = self._attempt
        self.me.world.after(RECONNECT_MS, partial(self._try_again, attempt))

    def _try_again(self, attempt: int) -> None:
        if attempt == self._attempt and self.me.is_running:
            self.me.deliver(lambda: self._connect() if attempt == self._attempt else None)

    def _unlink(self) -> None:
        self._attempt += 1
        if self.link_up:
            self.down_since = self.me.world.now
        self.link_up = self.is_syncing = False
        link, self._link = self._link, None
        if link is not None:
            link.close(self.me)

    def refused(self, attempt: int) -> None:
        """Take it that the primary cannot feed us now."""
        self._on_lost(attempt, "refused", _is_refusal=False)

    def wait_for_copy(self, attempt: int) -> None:
        """Take it that a copy is on its way."""
        if attempt == self._attempt:
            self.is_syncing = True

    def take_copy(self, attempt: int, copy: Dataset, life: str) -> None:
        """Be replaced by the primary's dataset."""
        if attempt != self._attempt:
            return
        me = self.me
        if me.character.breaks_on_restart and self._primary_life not in {"", life}:
            # Dragonfly's --break_replication_on_master_restart: it keeps what it has.
            me.world.mark(me.name, "leaves its restarted primary", Kind.DATA)
            self._unlink()
            self.has_left = True
            return
        lost = len(set(me.data.log).difference(copy.log))
        me.data.copy_from(copy, me.world.now)
        told = f"full sync: {len(copy.log)} writes, {lost} of its own gone"
        me.world.mark(me.name, told, Kind.DATA)
        self._be_fed(life)
        self.drop_followers()

    def take_missing(self, attempt: int, history: str, entries: list[int], life: str) -> None:
        """Continue where we were."""
        if attempt != self._attempt:
            return
        data = self.me.data
        if history != data.history:
            data.continue_history(history)
            self.drop_followers()
        for entry in entries:
            data.append(entry, self.me.world.now)
        self._be_fed(life)
        self._feed(entries)

    def _be_fed(self, life: str) -> None:
        self.is_syncing = False
        self.link_up = True
        self.down_since = None
        self._primary_life = life
        self._heard_at = self.me.world.now

    def take(self, attempt: int, entry: int) -> None:
        """Apply an entry as it comes."""
        if attempt != self._attempt:
            return
        now = self.me.world.now
        self._heard_at = now
        self.me.data.append(entry, now)
        self._feed([entry])

    @property
    def link(self) -> Connection | None:
        """The connection to the primary, if it is up."""
        return self._link if self.link_up else None

    @property
    def connections(self) -> set[Connection]:
        """All connections that replication uses, which are no clients."""
        return {*self.followers, *([] if self._link is None else [self._link])}

    # As a primary, or as a replica that feeds others.

    def serve(
        self,
        replica: "SimInstance",
        connection: Connection,
        has: tuple[str, int],
        attempt: int,
    ) -> None:
        """Answer PSYNC: go on, copy, or not now. `has`: history and offset of who asks."""
        me = self.me
        theirs = replica.replication
        is_replica = self.follows is not None
        cannot = is_replica and (not self.link_up or me.engine is Engine.DRAGONFLY)
        if me.is_loading or replica is me or cannot:
            connection.send(me, partial(theirs.refused, attempt), "-NOMASTERLINK")
            return
        connection.on_target_lost = partial(self._lose_follower, connection)
        data = me.data
        if data.can_continue(*has):
            self.followers[connection] = (replica, attempt)
            missing = data.since(has[1])
            take = partial(
                theirs.take_missing,
                attempt,
                data.history,
                missing,
                me.life,
            )
            connection.send(me, take, f"+CONTINUE {data.history}")
            return
        connection.send(me, partial(theirs.wait_for_copy, attempt), "+FULLRESYNC")
        waits = 0 if me.engine is Engine.DRAGONFLY else me.started_at + SYNC_DELAY_MS - me.world.now
        me.world.after(
            max(0, waits) + FULL_SYNC_MS,
            partial(self._hand_out, replica, connection, attempt, me.life),
        )

    def _hand_out(
        self, replica: "SimInstance", connection: Connection, attempt: int, life: str
    ) -> None:
        me = self.me
        if not connection.is_open or me.life != life or not me.is_running:
            return
        if me.is_paused or (self.follows is not None and not self.link_up):
            again = partial(self._hand_out, replica, connection, attempt, life)
            me.world.after(FULL_SYNC_MS, again)
            return
        self.followers[connection] = (replica, attempt)
        take = partial(
            replica.replication.take_copy,
            attempt,
            me.data.snapshot(),
            life,
        )
        connection.send(me, take, f"copy of {len(me.data.log)} writes")

    def _lose_follower(self, connection: Connection) -> None:
        self.followers.pop(connection, None)

    def append(self, entry: int) -> None:
        """Apply an entry of our own, and feed it to who follows."""
        self.me.data.append(entry, self.me.world.now)
        self._feed([entry])

    def _feed(self, entries: list[int]) -> None:
        me = self.me
        for connection, (replica, attempt) in self.followers.items():
            take = replica.replication.take
            for entry in entries:
                connection.send(me, partial(take, attempt, entry), "entry")

    def ask_for_all(self, replica: "SimInstance", then: Callable[[], None]) -> bool:
        """Call `then` when a replica has all; False: it is not one of ours that is in sync."""
        for connection, (follower, _) in self.followers.items():
            if follower is replica and connection.is_open:
                me = self.me
                answer = partial(connection.send, replica, partial(me.deliver, then), "ACK")
                connection.send(me, answer, "GETACK")
                return True
        return False

    def drop_followers(self) -> None:
        """End their connections: they come back, and see whom they follow now."""
        for connection in list(self.followers):
            connection.close(self.me)
        self.followers.clear()

    def tick(self) -> None:
        """Do what is done once a second: keep links alive, give silent ones up."""
        now = self.me.world.now
        if self.follows is None:
            if self.followers and now - self._pinged_at >= PING_MS:
                self._pinged_at = now
                self.append(NOTHING)
        elif self._link is not None and now - self._heard_at > TIMEOUT_MS:
            self._on_lost(self._attempt, "timeout", _is_refusal=False)
