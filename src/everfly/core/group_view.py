"""Turn what one authority sees of a group, and what people want of it, into one value to judge.

For homes in which a single authority decides (an operator that holds a lease), beside the machine
in which peers vote. Rules: plain frozen data; instants are readings of the authority's monotonic
clock, so none of them may be written down; what must survive the authority is in `Record`.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from everfly.core.model import Address, Epoch, Instant, Millis, Role


class Service(Enum):
    """Under which role clients are led to an instance."""

    PRIMARY = "primary"
    REPLICA = "replica"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an instance said when it last answered."""

    role: Role
    history: str = ""
    """Of which line of writes its dataset is: a primary's own, a replica's primary's."""
    offset: int | None = None
    """How far a replica has applied that history; None: a primary, or in the middle of a copy."""
    primary: Address | None = None
    """Whom a replica follows."""
    is_link_up: bool = False
    link_silent_for: Millis | None = None
    """Since the last byte from its primary; None where it does not say."""
    is_syncing: bool = False
    """Its dataset is about to be replaced by a whole copy."""
    is_loading: bool = False
    """It reads its dataset from disk."""
    keys: int | None = None
    online_replicas: tuple[str, ...] = ()
    """Hosts of the replicas that a primary feeds."""
    promoted_from: str = ""
    """Of a primary: of which history it was seen as a replica, in this incarnation."""


@dataclass(frozen=True, slots=True)
class Contact:
    """How the authority's own questions fare."""

    answered_at: Instant | None = None
    """When the last answer came; None: never."""
    failing_since: Instant | None = None
    """When the first question was sent that got no answer, of those since the last answer."""
    is_refused: bool = False
    """The last one met a closed port: something answers there, but not the instance."""

    @property
    def is_reachable(self) -> bool:
        """Whether the last question was answered."""
        return self.answered_at is not None and self.failing_since is None


@dataclass(frozen=True, slots=True)
class Rebuild:
    """That an instance is to be given an empty disk."""

    is_forced: bool = False
    """Also where it is the last copy beside the primary."""
    is_begun: bool = False
    """Its disk is given up; what is left to do is to have the platform replace it."""


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of a group, as its platform and its own answers show it."""

    name: str
    ordinal: int
    address: Address | None = None
    """Where the authority talks to it and its replicas follow it; None: it has none yet."""
    zone: str = ""
    incarnation: str = ""
    """Changes whenever the platform starts the process anew."""
    facts: Facts | None = None
    """None: it has not answered since this incarnation began."""
    contact: Contact = Contact()
    link_down_since: Instant | None = None
    """Since when a replica's link is seen down, without a break."""
    service: Service = Service.NONE
    led_by: str = ""
    """The host of the primary that is noted at the instance for others to read."""
    is_ready: bool = True
    """The platform's own probe finds it well."""
    is_terminating: bool = False
    is_host_ready: bool = True
    is_host_leaving: bool = False
    """Nothing new is put on its host: somebody is about to empty it."""
    is_current: bool = True
    """It runs what is wanted, not an older revision."""
    is_fenced: bool = False
    """A person took it out of use."""
    is_process_gone: bool = False
    """The platform says that the process ended and no other took its place."""
    rebuild: "Rebuild | None" = None
    """A person wants it to come back empty and copy."""
    applied_at: Instant | None = None
    """When a replica was last seen to have applied more of its primary's writes than before."""

    @property
    def is_reachable(self) -> bool:
        """Whether its facts are of now."""
        return self.facts is not None and self.contact.is_reachable

    @property
    def said_role(self) -> Role | None:
        """The role of its last answer."""
        return None if self.facts is None else self.facts.role


@dataclass(frozen=True, slots=True)
class Statement:
    """What an observer on another machine says of the primary. Only what it says now is given.

    Whoever cannot reach any other instance of the group either is not asked: its own network may be
    what is broken.
    """

    witness: str
    incarnation: str
    """Of the instance that it speaks of."""
    silent_for: Millis
    """For how long its own questions got no answer."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Whose data the group's data is."""

    history: str
    """The line of writes of the rightful primary."""
    offset: int = 0
    """How far any replica was seen to have applied it."""
    keys: int = 0
    """How many keys the primary was last recorded with."""
    history_before: str = ""
    """The line that it continues: a replica that was not led over yet still names that one."""
    offset_before: int = 0
    """How far any replica was seen to have applied that one. Offsets of two lines do not compare.
    """


@dataclass(frozen=True, slots=True)
class Move:
    """A change of primary under way."""

    to: str
    incarnation: str
    """Of the chosen one, when it was chosen. Another one holds other data."""
    away_from: str
    is_planned: bool
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Record:
    """What outlives the authority: written down before what follows from it is done."""

    primary: str = ""
    """The rightful one. Empty: there was none yet."""
    lineage: Lineage | None = None
    move: Move | None = None
    stale: tuple[str, ...] = ()
    """Replicas that missed writes: their link was down for long while the primary served."""
    epoch: Epoch = Epoch(0)
    """Of the last move. In one epoch one instance at most is promoted."""
    term: int = 0
    """Of the authority that wrote this; one with a lower term must not act."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What people want of a group."""

    replicas: int = 3
    """Instances, the primary among them."""
    running: int = 3
    """Instances that the platform was last asked to run."""
    switch_to: str = ""
    """Who was asked to become the primary; `*`: anyone else; empty: nobody asked."""
    accepts_loss_of: str = ""
    """`always`, or the beginning of the history whose loss a person accepts."""
    preferred_zones: tuple[str, ...] = ()
    """Where the primary had best be, the best first."""
    is_paused: bool = False
    is_hibernated: bool = False
    has_snapshots: bool = False
    """Data come back from disk when an instance returns."""
    may_restart: bool = True
    """Outdated instances may be restarted now."""
    voluntary_from: Instant | None = None
    """Before which the primary does not move for mere order's sake; None: it may at any time."""
    restarts_wait: bool = False
    """Outdated replicas are not restarted before that either."""
    restores: str | None = None
    """The history with which a group that never had a primary begins: only whoever copied it whole
    may become the first one. Empty: it is not known yet. None: it begins with what is there."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """Every number of the decisions, with its unit and its reason."""

    refused_after: Millis = Millis(200)
    """A closed port is nearly proof: two looks at it, and the replicas' word, are enough."""
    silent_after: Millis = Millis(3_000)
    """Silence may be a lost packet or a long command: three probes of a second each."""
    link_silent_after: Millis = Millis(3_000)
    """A primary sends a sign of life every second: after three, a link that reads `up` is none."""
    witness_silent_after: Millis = Millis(2_000)
    """Two questions of a second each that another observer asked in vain, beside our own three."""
    fed_within: Millis = Millis(2_000)
    """A replica that applied writes this recently hears its primary, whoever else does not: it
    tells twice a second while something is wrong, and what was under way comes within the rest."""
    stale_after: Millis = Millis(5_000)
    """A replica that was cut off this long from a living primary has missed writes that matter."""
    lag_max: int = 10_000
    """Entries by which a successor may be behind the best replica ever seen of its history.
    An offset is up to a second old, and a busy store writes about as many in that time."""
    link_patience: Millis = Millis(3_000)
    """A replica reconnects by itself within about a second; after three it is told to."""
    follow_every: Millis = Millis(5_000)
    """Between two orders to one replica: a full copy must get a chance to begin."""
    take_over_s: int = 5
    """Whole seconds. Clients of the old primary are refused for no longer than this."""
    planned_pause: Millis = Millis(30_000)
    """After a hand-over that failed, before the next one that nobody needs at once."""
    isolated_after: Millis = Millis(60_000)
    """A replica that neither we nor its primary reach for a minute will not come back by itself."""
    write_every: Millis = Millis(60_000)
    """Between two times that only the highest offset is written down, however fast it grows."""


DEFAULT_POLICY: Final = GroupPolicy()


@dataclass(frozen=True, slots=True)
class Memory:
    """What only this authority remembers; losing it costs time, never data."""

    followed: tuple[tuple[str, Instant], ...] = ()
    """Whom it told to follow, and when."""
    planned_not_before: Instant = Instant(0)
    refused_take_over: str = ""
    """To whom the last hand-over failed, with the old primary serving on."""
    failed_take_over: str = ""
    """To whom it failed in a way that may still take effect later."""
    written_offset: int = 0
    """The highest offset that is written down, and when that was."""
    written_at: Instant = Instant(0)


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as one authority sees it at one moment."""

    members: tuple[Member, ...]
    record: Record = Record()
    intent: Intent = Intent()
    term: int = 0
    policy: GroupPolicy = DEFAULT_POLICY
    memory: Memory = field(default_factory=Memory)
    statements: tuple[Statement, ...] = ()

    def member(self, name: str) -> Member | None:
        """Return the member of that name, or None."""
        return next((each for each in self.members if each.name == name), None)

    @property
    def primary(self) -> Member | None:
        """The rightful primary, if it is there."""
        return self.member(self.record.primary)

    def others(self, name: str) -> tuple[Member, ...]:
        """Return all members but one."""
        return tuple(each for each in self.members if each.name != name)
