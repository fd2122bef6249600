"""Turn notices into counts and durations: what happened how often, and which step took how long.

A failover is told by its notices, so its phases are the times between them, on this Sentinel:

    detection      +sdown of the primary  -> +odown            the quorum agrees
    election       +try-failover          -> +elected-leader   a majority votes
    selection      +elected-leader        -> +selected-slave   a replica is chosen
    promotion      +selected-slave        -> +promoted-slave   it says it is a primary
    reconfiguration +promoted-slave       -> +failover-end     the others follow it
    total          +try-failover          -> +switch-master

Rules: counting costs a few dictionary look-ups and never fails; what belongs to a group goes when
the group is watched no more.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from everfly.core.model import GroupName, RunId
from everfly.core.notices import Event, Notice
from everfly.wire.exposition import Histogram

PHASE_LIMITS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
"""From a round trip on one machine to the default failover-timeout."""
PING_LIMITS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
"""From the same rack to a host that swaps."""

PHASES: Final = ("detection", "election", "selection", "promotion", "reconfiguration", "total")
OUTCOMES: Final = (
    "completed",
    "completed_late",
    "not_elected",
    "no_good_replica",
    "replica_timeout",
    "superseded",
)
"""`completed_late`: some replicas did not follow in time. `superseded`: another Sentinel's newer
configuration came first."""

_ABORTS: Final = {
    Event.ABORT_NOT_ELECTED: "not_elected",
    Event.ABORT_NO_GOOD_REPLICA: "no_good_replica",
    Event.ABORT_REPLICA_TIMEOUT: "replica_timeout",
}


@dataclass(slots=True)
class GroupTally:
    """Of one group, since this Sentinel watches it."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    switches: dict[str, int] = field(default_factory=lambda: {"self": 0, "peer": 0})
    """Changes of primary, by who led them."""
    votes: dict[str, int] = field(default_factory=lambda: {"self": 0, "peer": 0})
    """Our votes, by who got them."""
    phases: dict[str, Histogram] = field(
        default_factory=lambda: {phase: Histogram(PHASE_LIMITS_S) for phase in PHASES}
    )
    pings: Histogram = field(default_factory=lambda: Histogram(PING_LIMITS_S))
    down_at: float | None = None
    """Since when the primary is subjectively down."""
    tried_at: float | None = None
    """Since when our own attempt runs."""
    stepped_at: float = 0.0
    """When its last step was done."""
    is_late: bool = False
    has_ended: bool = False


class Tally:
    """All counts that notices and PINGs give. `clock` counts seconds; `me` is our own id."""

    def __init__(self, me: RunId, clock: Callable[[], float]) -> None:
        self._me = str(me)
        self._clock = clock
        self.notices: Final[dict[str, int]] = {event.wire: 0 for event in Event}
        self.groups: Final[dict[GroupName, GroupTally]] = defaultdict(GroupTally)
        self.peer_pings: Final = Histogram(PING_LIMITS_S)

    def on_notice(self, notice: Notice) -> None:
        """Count a notice."""
        self.notices[notice.event.wire] += 1
        if notice.group is None:
            return
        if notice.event is Event.UNMONITOR:
            self.groups.pop(notice.group, None)
            return
        self._count(self.groups[notice.group], notice)

    def on_ping(self, group: GroupName | None, took_s: float) -> None:
        """Count a PING that was answered, by an instance of a group or a peer (None)."""
        pings = self.peer_pings if group is None else self.groups[group].pings
        pings.add(took_s)

    def _count(self, tally: GroupTally, notice: Notice) -> None:
        now = self._clock()
        match notice.event:
            case Event.S_DOWN if notice.subject is not None and notice.subject.kind == "master":
                tally.down_at = now
            case Event.S_UP if notice.subject is not None and notice.subject.kind == "master":
                tally.down_at = None
            case Event.O_DOWN if tally.down_at is not None:
                tally.phases["detection"].add(now - tally.down_at)
            case Event.VOTE:
                tally.votes["self" if notice.detail.startswith(self._me) else "peer"] += 1
            case Event.TRY_FAILOVER:
                tally.tried_at = tally.stepped_at = now
                tally.is_late = tally.has_ended = False
            case Event.SWITCH:
                self._on_switch(tally, now)
            case _:
                self._on_step(tally, notice.event, now)

    def _on_step(self, tally: GroupTally, event: Event, now: float) -> None:
        if tally.tried_at is None:
            return
        match event:
            case Event.ELECTED:
                self._step(tally, "election", now)
            case Event.SELECTED:
                self._step(tally, "selection", now)
            case Event.PROMOTED:
                self._step(tally, "promotion", now)
            case Event.END_FOR_TIMEOUT:
                tally.is_late = True
            case Event.END:
                self._step(tally, "reconfiguration", now)
                tally.has_ended = True
                tally.outcomes["completed_late" if tally.is_late else "completed"] += 1
            case _ if event in _ABORTS:
                tally.outcomes[_ABORTS[event]] += 1
                tally.tried_at = None
            case _:
                pass

    def _on_switch(self, tally: GroupTally, now: float) -> None:
        tried_at, tally.tried_at, tally.down_at = tally.tried_at, None, None
        if tried_at is not None and tally.has_ended:
            tally.phases["total"].add(now - tried_at)
            tally.switches["self"] += 1
            return
        tally.switches["peer"] += 1
        if tried_at is not None:
            tally.outcomes["superseded"] += 1

    def _step(self, tally: GroupTally, phase: str, now: float) -> None:
        tally.phases[phase].add(now - tally.stepped_at)
        tally.stepped_at = now
