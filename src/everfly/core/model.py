"""The words of the core: time, addresses, reports. Immutable values, of which all else is built.

Glossary: an *instance* is one data process; a *group* is one primary and its replicas; a *peer* is
another Sentinel. `master`/`slave` exist only on the wire.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NewType

Millis = NewType("Millis", int)
"""A duration in milliseconds."""

Instant = NewType("Instant", int)
"""A reading of a monotonic clock, in milliseconds. Only differences mean anything."""

Epoch = NewType("Epoch", int)
"""The number that fences: the higher one wins."""

RunId = NewType("RunId", str)
"""40 hexadecimal digits that name one Sentinel (for life) or one instance (until it restarts)."""

GroupName = NewType("GroupName", str)
"""What Sentinel calls a master name."""

LinkId = NewType("LinkId", int)
"""One connection attempt. A reconnection has a new id, so a late fact of an old one is harmless."""

Token = NewType("Token", int)
"""Names a request of a client, so that the shell finds whom to answer."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: the host as it was given, its port, and the IP behind a name.

    Two addresses are equal when they lead to the same place: by IP where it is known.
    """

    host: str
    port: int
    ip: str = ""
    """Empty for a literal IP address, and for a name that nobody has resolved yet."""

    def __eq__(self, other: object) -> bool:
        """Compare by place: IP (or the host as given, when unresolved) and port."""
        if not isinstance(other, Address):
            return NotImplemented
        return self.port == other.port and (self.ip or self.host) == (other.ip or other.host)

    def __hash__(self) -> int:
        return hash((self.ip or self.host, self.port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Role(Enum):
    """What an instance says it is."""

    PRIMARY = "master"
    REPLICA = "slave"


class Engine(Enum):
    """The program behind an instance; its dialect is in `everfly.engines`."""

    DRAGONFLY = "dragonfly"
    VALKEY = "valkey"
    REDIS = "redis"
    UNKNOWN = "unknown"


class HandOver(Enum):
    """How a living primary can hand its role to a replica without losing an acknowledged write."""

    NONE = "none"
    BY_PAUSE = "pause"
    """Writes are paused at the primary, the replica catches up and is promoted: CLIENT PAUSE WRITE
    of Valkey and Redis 6.2. Their own FAILOVER does the same and looks ten times a second."""
    BY_TAKEOVER = "takeover"
    """The replica is told to take over, and the primary's process ends: REPLTAKEOVER of
    Dragonfly."""


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """What an instance says of itself in INFO, in one dialect for all engines.

    A field that the engine does not report has its default; `None` means "it does not say".
    """

    role: Role | None = None
    """None when INFO carried no role: such a report changes no belief about the role."""
    engine: Engine = Engine.UNKNOWN
    run_id: str = ""
    """Changes when the process restarts. Dragonfly has none of its own: see `engines.dragonfly`."""
    history: str = ""
    """Replication id: which history of writes this dataset belongs to (`master_replid`)."""
    history_before: str = ""
    """The history it continued from (`master_replid2`), or empty."""
    offset: int | None = None
    """Of a primary: how far its history goes (`master_repl_offset`); of a replica: how far it has
    applied (`slave_repl_offset`). Unit of the engine: bytes, or journal entries."""
    replicas: tuple[Address, ...] = ()
    """Replicas that a primary names."""
    primary: Address | None = None
    """Whom a replica follows; None when it says no host."""
    primary_link_up: bool = False
    primary_link_down_for: Millis | None = None
    """How long a replica has been without its primary; None: connected, or it does not say."""
    is_syncing: bool = False
    """A full sync is running: its dataset is about to be replaced."""
    priority: int = 100
    """Lower is preferred for promotion; 0 is never promoted."""
    is_announced: bool = True
    hands_over: HandOver = HandOver.NONE
    uptime_s: int | None = None
    """Seconds since the process started. Smaller than before: it restarted, also where `run_id`
    stayed the same (a Dragonfly in a container; see `engines.dragonfly.run_id`)."""
    keys: int | None = None
    """How many keys it holds, in all its databases; None: it does not say, or holds none."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a Sentinel says of itself and of one group, every two seconds."""

    sender: Address
    sender_run_id: RunId
    current_epoch: Epoch
    group: GroupName
    primary: Address
    config_epoch: Epoch
