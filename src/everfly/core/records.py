"""What this Sentinel knows, as it changes: groups, instances, peers and the links to them.

Only `core` modules touch these. Times are instants of the monotonic clock; an instant that has no
meaning yet is None, and "since" fields are None while the fact does not hold.
"""

from dataclasses import dataclass, field
from enum import Enum

from everfly.core.effects import Purpose
from everfly.core.model import (
    Address,
    Epoch,
    GroupName,
    Hello,
    InstanceReport,
    Instant,
    LinkId,
    Millis,
    Role,
    RunId,
    Token,
)
from everfly.core.policy import GroupSettings


@dataclass(slots=True, eq=False)
class Timed:
    """Something that asks to be looked at again; see `alarms`."""

    due: Instant | None = field(default=None, init=False)
    is_gone: bool = field(default=False, init=False)
    """Forgotten: nobody looks at it again."""


@dataclass(slots=True, eq=False)
class Link:
    """One connection and its attempts."""

    purpose: Purpose
    id: LinkId | None = None
    """The attempt under way or the connection that is up; None between attempts."""
    is_up: bool = False
    attempted_at: Instant | None = None
    attempts: int = 0
    """Since it was last up."""
    refusals: int = 0
    """Resets and refused connections in a row."""
    up_since: Instant = Instant(0)
    local_host: str = ""
    pending: int = 0
    """Commands sent and not answered."""
    ping_sent_at: Instant | None = None
    owes_since: Instant | None = None
    """Since when it owes an answer: the first unanswered PING, or the loss of the connection."""
    ok_pong_at: Instant = Instant(0)
    """Last valid PONG; at first the creation."""
    pong_at: Instant = Instant(0)
    """Last answer to PING of any kind."""
    heard_at: Instant = Instant(0)
    """Last sign of life on a channel."""

    @property
    def open_id(self) -> LinkId:
        """The id of a link that is known to be open."""
        assert self.id is not None
        return self.id

    def is_answering(self, now: Instant, within: Millis) -> bool:
        """Whether it is up and owes no PONG for longer than `within`."""
        return self.is_up and (self.owes_since is None or now - self.owes_since <= within)


class Reconf(Enum):
    """How far a replica is in following the new primary, in Sentinel's words."""

    NONE = ""
    SENT = "reconf_sent"
    IN_PROGRESS = "reconf_inprog"
    DONE = "reconf_done"


NO_REPORT = InstanceReport()


@dataclass(slots=True, eq=False)
class Instance(Timed):
    """A primary or a replica of one group."""

    group: "Group"
    address: Address
    role: Role
    """What it should be."""
    created_at: Instant
    commands: Link = field(default_factory=lambda: Link(Purpose.COMMANDS))
    channel: Link = field(default_factory=lambda: Link(Purpose.CHANNEL))
    run_id: str = ""
    report: InstanceReport = NO_REPORT
    info_at: Instant | None = None
    """Last INFO; None: none since we watch it in this role."""
    info_asked_at: Instant | None = None
    info_is_wanted: bool = True
    """Ask for INFO as soon as possible."""
    info_is_pending: bool = False
    info_is_refused: bool = False
    """The last INFO was: an instance that loads its dataset has much to tell when it is done."""
    role_reported: Role = Role.PRIMARY
    role_reported_at: Instant = Instant(0)
    followed_at: Instant = Instant(0)
    """When it last changed whom it says it follows."""
    unlinked_at: Instant | None = None
    """Since when it says that it is not connected with its primary; None: it is, or is one."""
    hello_sent_at: Instant | None = None
    s_down_since: Instant | None = None
    was_s_down_at: Instant | None = None
    """When the last subjective down began, also when it is over."""
    rebooted_at: Instant | None = None
    former: InstanceReport | None = None
    """What a primary said before its last restart."""
    restarted_at: Instant = Instant(0)
    """When that restart was."""
    keys_at_restart: int | None = None
    """How many keys it had in the first INFO after it."""
    is_reborn: bool = False
    """A primary that restarted with less data than its replicas hold: it counts as down."""
    is_stale_primary: bool = False
    """It was the primary of an older config epoch, and has not been seen as a replica since."""
    brought_back_at: Instant | None = None
    """When it was last told, outside of failovers, to follow the primary; None: not in this role
    and under this primary."""
    is_foreign: bool = False
    """It belongs to somebody else's deployment: left alone."""
    order_is_doubtful: bool = False
    """The connection over which it was told to become a primary is gone; INFO will tell."""
    script_kill_is_sent: bool = False
    reconf: Reconf = Reconf.NONE
    reconf_at: Instant = Instant(0)

    def __post_init__(self) -> None:
        self.role_reported = self.role
        for link in (self.commands, self.channel):
            link.ok_pong_at = link.pong_at = link.heard_at = self.created_at
        self.commands.owes_since = self.created_at
        self.role_reported_at = self.followed_at = self.created_at

    @property
    def is_identified(self) -> bool:
        """Whether it is connected and has said over this connection who it is.

        What listens at an address after a loss of the connection may be somebody else's instance,
        which an order would rob of its data.
        """
        at = self.info_at
        return self.commands.is_up and at is not None and at >= self.commands.up_since

    @property
    def is_promoted(self) -> bool:
        """Whether a running failover has chosen it."""
        failover = self.group.failover
        return failover is not None and failover.promoted is self


@dataclass(slots=True, eq=False)
class PeerLink(Timed):
    """The one connection to another Sentinel, shared by all groups that know it."""

    run_id: RunId
    address: Address
    link: Link
    users: list["Peer"] = field(default_factory=list)

    @property
    def down_after(self) -> Millis:
        """The shortest one among the groups that share it."""
        return min(peer.group.settings.down_after for peer in self.users)


@dataclass(slots=True, eq=False)
class Peer(Timed):
    """Another Sentinel, as one group knows it."""

    group: "Group"
    shared: PeerLink
    hello_heard_at: Instant
    hello_sent_at: Instant | None = None
    s_down_since: Instant | None = None
    says_down: bool = False
    answered_at: Instant | None = None
    asked_at: Instant | None = None
    vote: tuple[RunId, Epoch] | None = None
    said: tuple[Hello, Address, Address] | None = None
    """Its last hello that agreed with us, and the addresses then: its own, and the primary's."""

    @property
    def run_id(self) -> RunId:
        """Its name for life."""
        return self.shared.run_id

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self.shared.address


class FailoverState(Enum):
    """Where a failover stands, in Sentinel's words."""

    WAIT_START = "wait_start"
    SELECT = "select_slave"
    SEND_PROMOTION = "send_slaveof_noone"
    WAIT_PROMOTION = "wait_promotion"
    RECONF = "reconf_slaves"
    UPDATE_CONFIG = "update_config"


@dataclass(slots=True, eq=False)
class Failover:
    """One attempt of ours."""

    epoch: Epoch
    started_at: Instant
    """Dice included, as in Sentinel: the election's time limit counts from here."""
    changed_at: Instant
    is_forced: bool
    state: FailoverState = FailoverState.WAIT_START
    promoted: Instance | None = None
    must_hand_over: bool = False
    """It is a switchover: given up where the primary cannot hand over."""
    waiting: Token | None = None
    """Who asked for the switchover and has not heard yet whether it begins."""
    wanted: Instance | None = None
    """The only replica that may be promoted; None: the best is."""
    hand_over_ends_at: Instant | None = None
    """By when an ordered hand-over must have shown; None: none is under way."""
    is_paused: bool = False
    """The old primary holds its clients' writes for this hand-over."""
    level: int | None = None
    """The offset of the paused primary: the replica that has it has everything."""

    @property
    def has_promoted(self) -> bool:
        """Whether a new primary is in effect."""
        return self.state in (FailoverState.RECONF, FailoverState.UPDATE_CONFIG)


@dataclass(slots=True, eq=False)
class Group(Timed):
    """One primary and its replicas, and the peers that watch it."""

    name: GroupName
    settings: GroupSettings
    primary: Instance = field(init=False)
    replicas: dict[Address, Instance] = field(default_factory=dict)
    peers: dict[RunId, Peer] = field(default_factory=dict)
    config_epoch: Epoch = Epoch(0)
    leader: RunId | None = None
    leader_epoch: Epoch = Epoch(0)
    o_down_since: Instant | None = None
    next_attempt_at: Instant | None = None
    """No failover of ours starts before; None: no such limit."""
    splits: int = 0
    """Split votes in a row, each retried promptly."""
    failover: Failover | None = None
    said: tuple[Hello, Address, bool] | None = None
    """Our last hello of this group, the primary's address as it was then, and whether hosts were
    shown by their names."""
    histories: dict[str, None] = field(default_factory=dict)
    """Histories that its primaries have had, oldest first."""

    @property
    def current(self) -> Instance:
        """The primary in effect: during a failover's last part the promoted replica."""
        failover = self.failover
        if failover is not None and failover.has_promoted and failover.promoted is not None:
            return failover.promoted
        return self.primary

    def instances(self) -> list[Instance]:
        """Return the primary, then the replicas."""
        return [self.primary, *self.replicas.values()]
