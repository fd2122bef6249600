"""What the model of a genuine Sentinel keeps of others: one record for instances and peers.

Source: `sentinelRedisInstance`, `instanceLink`, redis/src/sentinel.c (7.0.15). Times are of its
wall clock, in ms; 0 stands for "never", as there.
"""

from dataclasses import dataclass, field
from typing import Final

from everfly.core.model import Address, Epoch, InstanceReport, Role, RunId
from everfly.core.records import Reconf
from everfly.sim.network import Connection

PING_PERIOD: Final = 1_000
INFO_PERIOD: Final = 10_000
PUBLISH_PERIOD: Final = 2_000
ASK_PERIOD: Final = 1_000
TILT_TRIGGER: Final = 2_000
TILT_PERIOD: Final = 30_000
MIN_LINK_RECONNECT: Final = 15_000
ELECTION_TIMEOUT: Final = 10_000
RECONF_TIMEOUT: Final = 10_000
PENDING_MAX: Final = 100
DESYNC: Final = 1_000


@dataclass(slots=True, eq=False)
class Watched:
    """An instance or another Sentinel."""

    address: Address
    created_at: int
    run_id: str = ""
    command: Connection | None = None
    channel: Connection | None = None
    attempts: int = 0
    """Connection attempts so far; an answer of an older one is ignored."""
    tried_at: int = -PING_PERIOD
    command_since: int = 0
    channel_since: int = 0
    channel_heard_at: int = 0
    act_ping_at: int = 0
    """Since when a PING is unanswered; 0: none is."""
    last_ping_at: int = 0
    last_avail_at: int = 0
    last_pong_at: int = 0
    pending: int = 0
    info_at: int = 0
    published_at: int = 0
    s_down_since: int = 0
    report: InstanceReport = field(default_factory=InstanceReport)
    role: Role = Role.REPLICA
    role_reported: Role = Role.REPLICA
    role_reported_at: int = 0
    followed_at: int = 0
    reconf: Reconf = Reconf.NONE
    reconf_at: int = 0
    was_down_at: int = 0
    # Of peers.
    says_down: bool = False
    answered_at: int = 0
    asked_at: int = 0
    leader: RunId | None = None
    leader_epoch: Epoch = Epoch(0)

    def __post_init__(self) -> None:
        now = self.created_at
        self.role_reported = self.role
        self.act_ping_at = self.last_avail_at = self.last_pong_at = now
        self.role_reported_at = self.followed_at = now

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent."""
        return self.command is not None and self.command.is_open

    def ping_is_sent(self, now: int) -> None:
        """Note a PING."""
        self.last_ping_at = now
        if not self.act_ping_at:
            self.act_ping_at = now

    def hear_pong(self, now: int, reply: str) -> None:
        """Note an answer to PING."""
        self.last_pong_at = now
        if reply.startswith(("PONG", "LOADING", "MASTERDOWN")):
            self.last_avail_at = now
            self.act_ping_at = 0

    def silent_for(self, now: int) -> int:
        """Return for how long it has owed an answer."""
        if self.act_ping_at:
            return now - self.act_ping_at
        return 0 if self.is_connected else now - self.last_avail_at


@dataclass(slots=True)
class Attempt:
    """A failover of its own."""

    epoch: Epoch
    started_at: int
    changed_at: int
    state: str = "wait_start"
    is_forced: bool = False
    promoted: Watched | None = None


@dataclass(slots=True)
class Memory:
    """What it has on disk. It writes before it goes on, so nothing is ever half-way."""

    current_epoch: Epoch
    config_epoch: Epoch
    leader_epoch: Epoch
    primary: Address
    replicas: tuple[Address, ...]
    peers: tuple[tuple[Address, RunId], ...]
