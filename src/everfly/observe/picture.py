"""Turn what Sentinels and instances say of one group into one picture, and that into problems.

Pure: frozen values and functions of them. `observer` collects what they say. A problem is a
sentence that says what is wrong, with whom, and how bad.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from everfly.core.model import Address, InstanceReport, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownInstance:
    """An instance in the eyes of one Sentinel."""

    address: Address
    flags: frozenset[str] = frozenset()
    """Sentinel's words: `s_down`, `o_down`, `disconnected`, `promoted`, ..."""
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelView:
    """One Sentinel and what it believes of the group."""

    address: Address
    error: str = ""
    """Why it could not be asked; empty: the rest is what it said."""
    run_id: str = ""
    primary: KnownInstance | None = None
    """The primary that it monitors; None: it does not know this group."""
    client_address: Address | None = None
    """What it answers to clients: already the promoted one late in a failover."""
    config_epoch: int = 0
    failover_state: str = ""
    """Sentinel's word while a failover runs, else empty."""
    replicas: tuple[KnownInstance, ...] = ()
    peers: tuple[Address, ...] = ()
    quorum: int = 0
    quorum_trouble: str = ""
    """Its own words when a failover could not be authorised now; empty: it could."""

    @property
    def is_reachable(self) -> bool:
        """Whether it answered."""
        return not self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView:
    """One instance: what it says itself, what the Sentinels say of it."""

    address: Address
    error: str = ""
    """Why it could not be asked; empty: the rest is what it said."""
    report: InstanceReport = field(default_factory=InstanceReport)
    version: str = ""
    zone: str = ""
    """Where it says that it runs (`availability-zone`); empty: it does not say."""
    lag: int | None = None
    """How far it is behind the primary, in bytes (Dragonfly: journal entries). None: unknown."""
    silent_s: int | None = None
    """Seconds since a replica last heard from its primary, as it says itself."""
    flags: frozenset[str] = frozenset()
    """All flags that any Sentinel gives it."""
    down_in_eyes_of: int = 0
    """How many Sentinels call it `s_down`."""

    @property
    def is_reachable(self) -> bool:
        """Whether it answered."""
        return not self.error

    @property
    def is_in_sync(self) -> bool:
        """Whether it is a replica that follows its primary at this moment."""
        return (
            self.is_reachable
            and self.report.role is Role.REPLICA
            and self.report.primary_link_up
            and not self.report.is_syncing
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPicture:
    """A group as its Sentinels and instances describe it at one moment."""

    group: str
    sentinels: tuple[SentinelView, ...] = ()
    instances: tuple[InstanceView, ...] = ()
    error: str = ""
    """Why there is no picture at all (no such group, several groups); empty: there is."""

    @property
    def primary(self) -> Address | None:
        """Whom a majority of all Sentinels answers to clients, or None."""
        return majority([each.client_address for each in self.sentinels])

    @property
    def is_reachable(self) -> bool:
        """Whether any Sentinel answered."""
        return not self.error and any(each.is_reachable for each in self.sentinels)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, worst first; empty when all is well."""
        return tuple(_problems(self))

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def instance(self, address: Address | None) -> InstanceView | None:
        """Return the view of one instance, or None."""
        return next((each for each in self.instances if each.address == address), None)


def majority(votes: list[Address | None]) -> Address | None:
    """Return the address that more than half of all votes name. None is a vote for nobody."""
    counts = Counter(vote for vote in votes if vote is not None)
    best, count = counts.most_common(1)[0] if counts else (None, 0)
    return best if count * 2 > len(votes) else None


def _problems(picture: GroupPicture) -> Iterator[str]:
    if picture.error:
        yield picture.error
        return
    if not picture.is_reachable:
        names = ", ".join(f"{each.address} ({each.error})" for each in picture.sentinels)
        yield f"no Sentinel answers: {names}"
        return
    yield from _primary_problems(picture)
    for instance in picture.instances:
        if instance.address != picture.primary:
            yield from _replica_problems(instance, picture)
    if picture.primary is not None and not any(each.is_in_sync for each in picture.instances):
        yield "no replica is in sync: there is nobody to fail over to"
    for sentinel in picture.sentinels:
        yield from _sentinel_problems(sentinel, picture)


def _primary_problems(picture: GroupPicture) -> Iterator[str]:
    if picture.primary is None:
        said = ", ".join(
            f"{each.address}: {each.client_address or 'nobody'}" for each in picture.sentinels
        )
        yield f"no majority of the Sentinels agrees on the primary ({said})"
        return
    view = picture.instance(picture.primary)
    if view is None or not view.is_reachable:
        why = view.error if view is not None else "it was not asked"
        yield f"the primary {picture.primary} does not answer: {why}"
    elif view.report.role is not Role.PRIMARY:
        yield f"the primary {picture.primary} says that it is a replica"
    watched = [each.primary for each in picture.sentinels if each.primary is not None]
    down = sum("s_down" in each.flags for each in watched if each.address == picture.primary)
    if down:
        is_agreed = any("o_down" in each.flags for each in watched)
        agreed = ", enough to fail over" if is_agreed else ""
        yield f"{down} of {len(picture.sentinels)} Sentinels call the primary down{agreed}"
    states = {each.failover_state for each in picture.sentinels} - {""}
    if states:
        yield f"a failover is running ({', '.join(sorted(states))})"


def _replica_problems(instance: InstanceView, picture: GroupPicture) -> Iterator[str]:
    report = instance.report
    if not instance.is_reachable:
        yield f"the replica {instance.address} does not answer: {instance.error}"
    elif report.role is Role.PRIMARY:
        if "promoted" in instance.flags:
            return  # it is meant to be, in a failover that is running
        yield f"{instance.address} says that it is a primary too"
    elif picture.primary is not None and report.primary != picture.primary:
        yield f"the replica {instance.address} follows {report.primary or 'nobody'}"
    elif report.is_syncing:
        yield f"the replica {instance.address} is copying the whole dataset"
    elif not report.primary_link_up:
        yield f"the replica {instance.address} has no link to its primary"
    elif instance.down_in_eyes_of:
        count = f"{instance.down_in_eyes_of} of {len(picture.sentinels)}"
        yield f"{count} Sentinels call the replica {instance.address} down"


def _sentinel_problems(sentinel: SentinelView, picture: GroupPicture) -> Iterator[str]:
    if not sentinel.is_reachable:
        yield f"the Sentinel {sentinel.address} does not answer: {sentinel.error}"
    elif sentinel.primary is None:
        yield f"the Sentinel {sentinel.address} does not watch this group"
    elif picture.primary is not None and sentinel.client_address != picture.primary:
        yield f"the Sentinel {sentinel.address} still answers {sentinel.client_address}"
    elif sentinel.quorum_trouble:
        yield f"the Sentinel {sentinel.address} sees no quorum: {sentinel.quorum_trouble}"
