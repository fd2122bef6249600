"""Decide what a supervisor does next: processes and the Sentinels' belief in, ordered steps out.

Pure. The rules:

1. The Sentinels decide who is the primary; a supervisor only brings processes back. What "the
   Sentinels say" is what more than half of all of them say.
2. A dead instance comes back as a replica of that primary, never as an empty primary.
3. A dead instance that *is* that primary waits: the Sentinels fail over, and rule 2 follows. Only
   when nobody else could take over, and it has its data on disk (or never had anyone to copy it),
   it comes back as the primary that it was. The same when they had `patience_ms` and did not.
4. A dead Sentinel comes back with its own file, and a dead endpoint at once.
5. What dies again and again comes back later and later.
6. A fresh process hands out its dataset at once only when the Sentinels know this very process as
   the primary (`engines.redis` says why), and no other instance holds more of another history: a
   Sentinel may have taken a primary that restarted empty for the one it knew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address, Instant, Millis

BACKOFF_FIRST: Final = Millis(500)
BACKOFF_MAX: Final = Millis(30_000)
"""Between the second exit and the next start: doubled with each exit soon after a start."""

SOON: Final = Millis(10_000)
"""A process that ends sooner than this after its start has crashed in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceFact:
    """One instance as the supervisor sees it."""

    name: str
    address: Address
    is_running: bool
    is_supervised: bool = True
    may_start_at: Instant = Instant(0)
    down_since: Instant = Instant(0)
    """Meaningful while it does not run."""
    can_take_over: bool = False
    """It runs, answers, is a replica, and is not in the middle of copying a dataset."""
    has_data: bool = False
    """Its directory holds a dataset."""
    run_id: str = ""
    has_grace: bool = False
    """It still waits before it hands out its dataset."""
    histories: frozenset[str] = frozenset()
    """The histories that its dataset belongs to; empty: it did not say."""
    offset: int = 0
    """How far in them it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelFact:
    """One Sentinel as the supervisor sees it."""

    name: str
    is_running: bool
    is_supervised: bool = True
    may_start_at: Instant = Instant(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that a decision rests on."""

    now: Instant
    instances: tuple[InstanceFact, ...]
    sentinels: tuple[SentinelFact, ...]
    primary: Address | None = None
    """Whom a majority of all Sentinels calls the primary; None: no majority."""
    primary_run_id: str = ""
    """The process that a majority of them means by that, or empty."""
    endpoint: SentinelFact | None = None
    """The same of the endpoint, where there is one."""


@dataclass(frozen=True, slots=True)
class StartReplica:
    """Start an instance that copies and follows another."""

    name: str
    primary: Address


@dataclass(frozen=True, slots=True)
class StartPrimary:
    """Start an instance with the data on its disk."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class StartSentinel:
    """Start a Sentinel with the file it left."""

    name: str


@dataclass(frozen=True, slots=True)
class StartEndpoint:
    """Start the endpoint."""

    name: str


@dataclass(frozen=True, slots=True)
class EndGrace:
    """Tell an instance that it may hand out its dataset at once."""

    name: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing about an instance yet; the text says what is awaited."""

    name: str
    why: str


Step = StartReplica | StartPrimary | StartSentinel | StartEndpoint | EndGrace | Wait


def backoff(exits_in_a_row: int) -> Millis:
    """Return how long to wait before the next start after so many early exits.

    Nothing after the first: one crash says little.
    """
    if exits_in_a_row <= 1:
        return Millis(0)
    return Millis(min(BACKOFF_MAX, BACKOFF_FIRST << min(exits_in_a_row - 2, 16)))


def patience(down_after_ms: int, failover_timeout_ms: int) -> Millis:
    """Return how long a dead primary waits for a failover before it comes back as the primary.

    Sentinels notice after down-after and try again every 2 x failover-timeout: time for two tries.
    """
    return Millis(down_after_ms + 4 * failover_timeout_ms)


def next_steps(seen: Observation, patience_ms: Millis) -> list[Step]:
    """Return what to do now, in order. Empty: all is as it should be."""
    return [
        *_sentinel_steps(seen),
        *_endpoint_steps(seen),
        *_instance_steps(seen, patience_ms),
        *_grace_steps(seen),
    ]


def _sentinel_steps(seen: Observation) -> Iterator[Step]:
    for sentinel in seen.sentinels:
        is_due = sentinel.is_supervised and seen.now >= sentinel.may_start_at
        if not sentinel.is_running and is_due:
            yield StartSentinel(sentinel.name)


def _endpoint_steps(seen: Observation) -> Iterator[Step]:
    endpoint = seen.endpoint
    if endpoint is None or endpoint.is_running or not endpoint.is_supervised:
        return
    if seen.now >= endpoint.may_start_at:
        yield StartEndpoint(endpoint.name)


def _instance_steps(seen: Observation, patience_ms: Millis) -> Iterator[Step]:
    dead = [each for each in seen.instances if not each.is_running and each.is_supervised]
    # A primary first, so that its replicas find it.
    for instance in sorted(dead, key=lambda each: each.address != seen.primary):
        if seen.now < instance.may_start_at:
            wait_s = -((seen.now - instance.may_start_at) // 1000)  # rounded up
            yield Wait(instance.name, f"crashes in a row: next start in {wait_s} s")
        elif seen.primary is None:
            yield Wait(instance.name, "no majority of the Sentinels names a primary")
        elif instance.address == seen.primary:
            yield _primary_step(instance, seen, patience_ms)
        else:
            yield StartReplica(instance.name, seen.primary)


def _primary_step(primary: InstanceFact, seen: Observation, patience_ms: Millis) -> Step:
    others = [each for each in seen.instances if each.name != primary.name]
    if not others:
        return StartPrimary(primary.name, "it is the only instance")
    if not primary.has_data:
        # In that of others there may be some: an empty primary would make them empty too.
        if any(each.is_running or each.has_data for each in others):
            return Wait(primary.name, "it has no data on disk: the Sentinels must promote another")
        return StartPrimary(primary.name, "nobody has any data")
    if not any(each.can_take_over for each in others):
        # One that runs may answer again in a moment, so it gets the time for a first try.
        is_hopeless = not any(each.is_running for each in others)
        if is_hopeless or seen.now - primary.down_since >= patience_ms // 2:
            return StartPrimary(primary.name, "no replica could take over")
    if seen.now - primary.down_since >= patience_ms:
        return StartPrimary(primary.name, "the Sentinels did not fail over")
    return Wait(primary.name, "the Sentinels fail over first")


def _grace_steps(seen: Observation) -> Iterator[Step]:
    for instance in seen.instances:
        is_meant = instance.address == seen.primary and instance.run_id == seen.primary_run_id
        if not (instance.is_running and instance.has_grace and instance.run_id and is_meant):
            continue
        if not any(_holds_more(other, instance) for other in seen.instances):
            yield EndGrace(instance.name)


def _holds_more(other: InstanceFact, primary: InstanceFact) -> bool:
    """Whether copying the primary could take something from the other one."""
    is_other_history = bool(other.histories) and not other.histories & primary.histories
    return other.is_running and is_other_history and other.offset > primary.offset
