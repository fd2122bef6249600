"""Records as a drill would make them, for tests of what is concluded and drawn from them."""

from dataclasses import replace

from everfly.core.model import Address
from everfly.drill.faults import Fault
from everfly.drill.record import Mark, Reads, Record, Said, Span, Writes

SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
INSTANCES = ("instance-1", "instance-2", "instance-3")
OLD = "10.0.0.1 6379"
NEW = "10.0.0.2 6379"
NAMES = {Address(f"10.0.0.{number}", 6379): f"instance-{number}" for number in (1, 2, 3)}


def every(step: float, start: float, end: float) -> tuple[float, ...]:
    """Return times from start to end (without it), in steps."""
    return tuple(start + step * number for number in range(round((end - start) / step)))


def writes(*stretches: tuple[float, float], **changes: object) -> Writes:
    """Return a writer's notes: a write each 10 ms in each stretch, all of them kept."""
    acknowledged = tuple(at for start, end in stretches for at in every(10, start, end))
    moves = tuple((start, f"instance-{number}") for number, (start, _) in enumerate(stretches, 1))
    made = Writes(
        acknowledged=acknowledged,
        moves=moves,
        lost=(),
        doubled=0,
        failures=0,
        counted=len(acknowledged),
        summed=len(acknowledged),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of Writes


def said_by_all(at: float, channel: str, payload: str, apart: float = 10.0) -> tuple[Said, ...]:
    """Return what all Sentinels say one after the other."""
    return tuple(
        Said(at + apart * number, name, channel, payload) for number, name in enumerate(SENTINELS)
    )


FAILOVER = (
    *said_by_all(1000, "+sdown", f"master store {OLD}"),
    Said(1010, "sentinel-2", "+odown", f"master store {OLD} #quorum 2/2"),
    Said(1020, "sentinel-2", "+try-failover", f"master store {OLD}"),
    Said(1040, "sentinel-2", "+elected-leader", f"master store {OLD}"),
    Said(1060, "sentinel-2", "+promoted-slave", f"slave 10.0.0.2:6379 {NEW} @ store {OLD}"),
    *said_by_all(1080, "+switch-master", f"store {OLD} {NEW}"),
)
"""What three Sentinels say when one failover goes well."""


def record(fault: Fault = Fault.KILL_PRIMARY, **changes: object) -> Record:
    """Return a drill that went well: the primary dies at 0, clients write again from 1070 ms."""
    made = Record(
        fault=fault,
        engine="valkey 9.1.0",
        sentinel_kind="everfly 1.0",
        down_after_ms=1000,
        group="store",
        names=NAMES,
        instances=INSTANCES,
        sentinels=SENTINELS,
        victim="instance-1",
        old_primary="instance-1",
        new_primary="instance-2",
        began_at="2026-01-02T03:04:05.678+00:00",
        start=-1000.0,
        end=4000.0,
        well_at=2500.0,
        trouble=(),
        marks=(Mark(0.0, "instance-1 is killed"),),
        said=FAILOVER,
        spans=(
            Span("instance-1", "primary", -1000.0, 0.0),
            Span("instance-1", "down", 0.0, 4000.0),
            Span("instance-2", "replica", -1000.0, 1060.0),
            Span("instance-2", "primary", 1060.0, 4000.0),
        ),
        writes=writes((-1000, 0), (1070, 4000)),
        reads=Reads(answered=100, failed=3),
        standstill=3.0,
        stubborn=None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of Record


UNDISTURBED = writes((-1000, 4000))
"""Of a client that noticed nothing."""
