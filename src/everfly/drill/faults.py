"""Name the faults of a drill and say what must follow from each.

A fault of the primary is answered by exactly one failover, any other by none. No write that was
acknowledged to a client of the Sentinels is lost, except to a primary that restarted empty and
still was the right one in the eyes of the Sentinels (`may_lose_until_agreed`).
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Fault(Enum):
    """What a drill breaks, by its name on the command line."""

    KILL_PRIMARY = "kill-primary"
    FREEZE_PRIMARY = "freeze-primary"
    SHUTDOWN_PRIMARY = "shutdown-primary"
    RESTART_PRIMARY = "restart-primary"
    KILL_REPLICA = "kill-replica"
    KILL_SENTINEL = "kill-sentinel"
    PARTITION = "partition"
    FAILOVER = "failover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """What is known of a fault before it happens."""

    summary: str
    """What is done, to complete "the drill ..."."""
    failovers: int
    """How many must follow."""
    has_stale_primary: bool = False
    """Whether the old primary goes on, or comes back as one: a stubborn writer watches it."""
    may_lose_until_agreed: str = ""
    """Why writes may be lost that were acknowledged between the fault and the agreement of a
    majority of the Sentinels; empty: none may be, at no time."""
    needs_own_deployment: bool = False
    """Whether it can only be done to a deployment that the drill started itself."""


NATURES: Final = {
    Fault.KILL_PRIMARY: Nature(summary="kills the primary (SIGKILL)", failovers=1),
    Fault.FREEZE_PRIMARY: Nature(
        summary="freezes the primary (SIGSTOP), wakes it after the failover",
        failovers=1,
        has_stale_primary=True,
    ),
    Fault.SHUTDOWN_PRIMARY: Nature(summary="shuts the primary down (SHUTDOWN)", failovers=1),
    Fault.RESTART_PRIMARY: Nature(
        summary="restarts the primary at once and empty, as a naive supervisor",
        failovers=1,
        has_stale_primary=True,
        may_lose_until_agreed="the empty primary took them before the Sentinels moved the group",
        needs_own_deployment=True,
    ),
    Fault.KILL_REPLICA: Nature(summary="kills a replica (SIGKILL)", failovers=0),
    Fault.KILL_SENTINEL: Nature(summary="kills a Sentinel (SIGKILL)", failovers=0),
    Fault.PARTITION: Nature(
        summary="cuts the primary and one Sentinel off for a while",
        failovers=1,
        has_stale_primary=True,
        needs_own_deployment=True,
    ),
    Fault.FAILOVER: Nature(
        summary="asks a Sentinel for a failover (SENTINEL FAILOVER)",
        failovers=1,
        has_stale_primary=True,
    ),
}
