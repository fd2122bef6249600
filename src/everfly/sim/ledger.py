"""Who wrote what where, and was told that it is done: the truth that durability is judged by.

The documented window: replication is asynchronous, so a write can be lost when it was acknowledged
by a primary and had not reached the replica that a Sentinel then promoted; that is, when it was
written in the last moments of the old primary, or at the old primary after its successor was
promoted. Otherwise only with the data itself: a process that starts with less than it had. A write
that is gone for any other reason breaks the rule.
"""

from dataclasses import dataclass, field

from everfly.core.model import Epoch
from everfly.sim.instance import SimInstance
from everfly.sim.world import World


@dataclass(frozen=True, slots=True)
class Promotion:
    """A replica became a primary."""

    at: int
    instance: str
    held: frozenset[int]
    """Writes that it had then."""


@dataclass(frozen=True, slots=True)
class Order:
    """A Sentinel told an instance to become a primary."""

    at: int
    instance: str
    epoch: Epoch


@dataclass(slots=True)
class Entry:
    """One write."""

    client: str
    taken_by: str = ""
    """The instance that executed it; empty: none did, as far as the client's connection tells."""
    taken_at: int = 0
    acknowledged_at: int | None = None


@dataclass(slots=True, eq=False)
class Ledger:
    """All writes of a world."""

    world: World
    entries: dict[int, Entry] = field(default_factory=dict)
    promotions: list[Promotion] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    wiped: dict[int, str] = field(default_factory=dict)
    """Writes that a process which restarted with less had before, and what restarted."""
    _last: int = 0

    def attempt(self, client: str) -> int:
        """Return the id of a new write."""
        self._last += 1
        self.entries[self._last] = Entry(client)
        return self._last

    def take(self, write_id: int, instance: SimInstance) -> None:
        """Note that an instance executed a write."""
        entry = self.entries[write_id]
        entry.taken_by, entry.taken_at = instance.name, self.world.now

    def acknowledge(self, write_id: int) -> None:
        """Note that the client knows."""
        self.entries[write_id].acknowledged_at = self.world.now

    def note_promotion(self, instance: SimInstance) -> None:
        """Note what a replica holds at the moment of its promotion."""
        held = frozenset(instance.log)
        self.promotions.append(Promotion(self.world.now, instance.name, held))

    def note_order(self, instance: str, epoch: Epoch) -> None:
        """Note that an instance is told to become a primary."""
        self.orders.append(Order(self.world.now, instance, epoch))

    def note_loss(self, instance: SimInstance, gone: list[int]) -> None:
        """Note what a primary that restarted has no more."""
        for write_id in gone:
            self.wiped.setdefault(write_id, instance.name)

    @property
    def acknowledged(self) -> list[int]:
        """Ids of the writes that their clients believe to be done."""
        return [one for one, entry in self.entries.items() if entry.acknowledged_at is not None]

    def lost(self, held: set[int]) -> list[int]:
        """Return the acknowledged writes that are not among these."""
        return [write_id for write_id in self.acknowledged if write_id not in held]

    def excuse(self, write_id: int) -> str | None:
        """Say why a write may be lost, or None when it may not."""
        entry = self.entries[write_id]
        before = [one for one in self.promotions if one.at <= entry.taken_at]
        if before and before[-1].instance != entry.taken_by:
            return f"written at {entry.taken_by} beside {before[-1].instance}"
        rival = self._rival(entry)
        if rival is not None:
            return f"written at {entry.taken_by} beside {rival}, promoted in the same epoch"
        for promotion in self.promotions:
            if promotion.at >= entry.taken_at and write_id not in promotion.held:
                return f"had not reached {promotion.instance}, promoted at {promotion.at} ms"
        if write_id in self.wiped:
            return f"{self.wiped[write_id]} restarted without it"
        return None

    def _rival(self, entry: Entry) -> str | None:
        """Return who had been promoted in the same epoch as the one that took a write, or None.

        A failover that somebody commands needs no votes, so a majority may elect another leader in
        its epoch. One of the two configurations gives way, and not always that of the earlier one.
        """
        orders = [one for one in self.orders if one.at <= entry.taken_at]
        own = [one.epoch for one in orders if one.instance == entry.taken_by]
        others = (one for one in orders if own and one.epoch == own[-1])
        return next((one.instance for one in others if one.instance != entry.taken_by), None)
