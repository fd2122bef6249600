"""What this Sentinel knows, frozen for those who only ask. Durations are ages at `now`."""

from dataclasses import dataclass

from everfly.core.model import Address, Epoch, GroupName, InstanceReport, Millis, RunId
from everfly.core.policy import GroupSettings


@dataclass(frozen=True, slots=True)
class LinkView:
    """A command link as `SENTINEL MASTERS` and its siblings show it."""

    is_connected: bool
    pending: int
    shared_by: int
    """Groups that use this link: 1 but for peers."""
    last_ping_sent_ago: Millis
    """Since the first unanswered PING; 0 when none is outstanding."""
    last_ok_ping_ago: Millis
    last_ping_reply_ago: Millis


@dataclass(frozen=True, slots=True)
class InstanceView:
    """A primary or a replica."""

    address: Address
    name: str
    run_id: str
    flags: tuple[str, ...]
    """In Sentinel's order and words: s_down, o_down, master, slave, disconnected, ..."""
    link: LinkView
    s_down_for: Millis | None
    o_down_for: Millis | None
    info_ago: Millis | None
    """Since the last INFO; None: never had one."""
    role_reported: str
    role_reported_for: Millis
    report: InstanceReport
    """The last one; all defaults when there was none."""


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another Sentinel, as one group knows it."""

    address: Address
    run_id: RunId
    flags: tuple[str, ...]
    link: LinkView
    s_down_for: Millis | None
    last_hello_ago: Millis
    voted_leader: RunId | None
    voted_leader_epoch: Epoch
    says_down: bool


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group with all that belongs to it."""

    name: GroupName
    primary: InstanceView
    """The primary as watched: during a failover still the old one."""
    current_address: Address
    """Where clients should go: the promoted replica as soon as it is a primary."""
    settings: GroupSettings
    config_epoch: Epoch
    failover_state: str | None
    """In Sentinel's words (`wait_start`, ...); None: no failover."""
    replicas: tuple[InstanceView, ...]
    peers: tuple[PeerView, ...]
    usable_sentinels: int
    """Myself and the peers that are not subjectively down."""
    can_reach_quorum: bool
    can_authorize: bool
    """Usable Sentinels reach the majority of all known ones."""


@dataclass(frozen=True, slots=True)
class GroupState:
    """What of a group must survive a crash."""

    name: GroupName
    primary: Address
    """The current one: during a failover's last part the promoted replica."""
    settings: GroupSettings
    config_epoch: Epoch = Epoch(0)
    leader_epoch: Epoch = Epoch(0)
    replicas: tuple[Address, ...] = ()
    peers: tuple[tuple[Address, RunId], ...] = ()


@dataclass(frozen=True, slots=True)
class DurableState:
    """What of this Sentinel must survive a crash."""

    me: RunId
    current_epoch: Epoch = Epoch(0)
    announce_host: str = ""
    announce_port: int = 0
    """0: the port it listens on, which the shell gives to the machine."""
    shows_hostnames: bool = False
    groups: tuple[GroupState, ...] = ()
