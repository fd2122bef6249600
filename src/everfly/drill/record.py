"""What a drill saw, as values: the facts from which `report` draws its conclusions.

All times are milliseconds since the fault; negative ones are before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from everfly.core.model import Address
from everfly.drill.faults import Fault


@dataclass(frozen=True, slots=True)
class Said:
    """One message of one Sentinel. Its text comes from outside and may hold anything."""

    at: float
    sentinel: str
    channel: str
    payload: str


@dataclass(frozen=True, slots=True)
class Span:
    """How long an instance was in one state."""

    instance: str
    state: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the drill did."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What became of one writer's writes, from its notes and from the data at the end."""

    acknowledged: tuple[float, ...]
    """When, in order."""
    moves: tuple[tuple[float, str], ...]
    """When the first write in a row was acknowledged by which instance."""
    lost: tuple[float, ...]
    """When those were acknowledged that are not in the final dataset."""
    doubled: int
    """Of the acknowledged, carried out more than once: sent again, for the answer was lost."""
    failures: int
    """Attempts that ended in an error; each was repeated until it worked."""
    last_failure: str = ""
    counted: int | None = None
    """What the counter in the dataset says."""
    summed: int | None = None
    """What the single keys add up to. Each write is one transaction on both, so they are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What became of the reader's reads since the fault."""

    answered: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run of a drill."""

    fault: Fault
    engine: str
    sentinel_kind: str
    down_after_ms: int
    group: str
    names: Mapping[Address, str]
    instances: tuple[str, ...]
    sentinels: tuple[str, ...]
    victim: str
    """Whom the fault hit."""
    old_primary: str
    new_primary: str | None
    began_at: str
    """Wall clock of the fault, ISO 8601 in UTC."""
    start: float
    end: float
    well_at: float | None
    """When everything was as it must be again; None: not within the limit."""
    trouble: tuple[str, ...]
    """What was not well at the end."""
    marks: tuple[Mark, ...]
    said: tuple[Said, ...]
    spans: tuple[Span, ...]
    writes: Writes
    reads: Reads
    standstill: float
    """Longest time in which the drill itself could not run, in ms."""
    stubborn: Writes | None
    """Of the writer that never leaves the old primary's address."""
