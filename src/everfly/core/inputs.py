"""Facts and requests that enter the core. A closed union: mypy fails where a new one is forgotten.

A fact names the link it came over (`LinkId` of one connection attempt). Facts of a link that the
core has given up are ignored, so the shell need not race to silence it.

Each command that goes over a link (`effects.Command`) is answered by exactly one `Reply`, which is
`CommandRefused` for an error where no other fits; or the link ends in `LinkLost`.
"""

from dataclasses import dataclass

from everfly.core.model import (
    Address,
    Epoch,
    GroupName,
    Hello,
    InstanceReport,
    LinkId,
    RunId,
    Token,
)
from everfly.core.policy import GroupSettings


@dataclass(frozen=True, slots=True)
class TimerExpired:
    """The instant that `next_deadline` named has come. Early or needless ones are harmless."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A link is up: TCP (and TLS) done, AUTH and CLIENT SETNAME on their way, and for a channel
    link SUBSCRIBE too. Commands may follow.
    """

    link: LinkId
    local_host: str
    """Our own address on this connection: what a hello announces by default."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """A link could not be made, or ended. The shell has released it."""

    link: LinkId
    reason: str
    is_refusal: bool = False
    """The host answered that nobody listens there, or reset the connection: the process is gone,
    not the network."""


@dataclass(frozen=True, slots=True)
class Ponged:
    """The reply to a PING: `PONG`, or an error's text without the dash."""

    link: LinkId
    reply: str


@dataclass(frozen=True, slots=True)
class InfoReceived:
    """An instance's INFO, translated by its engine's dialect."""

    link: LinkId
    report: InstanceReport


@dataclass(frozen=True, slots=True)
class HelloSent:
    """The reply to a PUBLISH of ours; an error reply counts too."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class AskReplied:
    """A peer's answer to `Ask`."""

    link: LinkId
    group: GroupName
    is_down: bool
    leader: RunId | None
    leader_epoch: Epoch
    primary: Address | None = None
    """Whom we asked about; None: whoever is the primary now."""


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """An instance executed `Reconfigure`, or refused it with `error`."""

    link: LinkId
    error: str | None = None


@dataclass(frozen=True, slots=True)
class TakeOverAnswered:
    """A replica has taken over (INFO will show it), or refused with `error`."""

    link: LinkId
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PauseAnswered:
    """A primary paused its writes (or resumed them), or refused with `error`."""

    link: LinkId
    is_paused: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptKilled:
    """The reply to SCRIPT KILL, whatever it says."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """An error reply, or one of a shape that the command cannot have."""

    link: LinkId
    reason: str


@dataclass(frozen=True, slots=True)
class ChannelHeard:
    """Something arrived on a channel link: our own hello, a subscribe confirmation. It lives."""

    link: LinkId


@dataclass(frozen=True, slots=True)
class HelloHeard:
    """A peer's hello: over a channel link, or published to us directly (`link` None)."""

    link: LinkId | None
    hello: Hello


@dataclass(frozen=True, slots=True)
class VoteRequested:
    """`SENTINEL is-master-down-by-addr`. Answered with `Vote`."""

    token: Token
    primary: Address
    epoch: Epoch
    candidate: RunId | None
    """None: the peer only asks whether the primary is down (`*`)."""


@dataclass(frozen=True, slots=True)
class MonitorRequested:
    """Watch a new group. Answered with `Accepted`, or `Refused` for a duplicate name."""

    token: Token
    group: GroupName
    primary: Address
    settings: GroupSettings


@dataclass(frozen=True, slots=True)
class RemoveRequested:
    """Forget a group. Answered with `Accepted`, or `Refused(NO_SUCH_GROUP)`."""

    token: Token
    group: GroupName


@dataclass(frozen=True, slots=True)
class ResetRequested:
    """Forget replicas, peers and any failover of these groups. Answered with `Counted`."""

    token: Token
    groups: tuple[GroupName, ...]


@dataclass(frozen=True, slots=True)
class FailoverRequested:
    """Fail over now without asking peers. Answered with `Accepted` or `Refused`."""

    token: Token
    group: GroupName
    is_switchover: bool = False
    """Only without loss: given up, rather than done beside a primary that did not hand over."""
    to: Address | None = None
    """The replica to promote; None: the best."""


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """`SENTINEL SET`, already validated. Answered with `Accepted` once durable, or
    `Refused(NO_SUCH_GROUP)`.
    """

    token: Token
    group: GroupName
    settings: GroupSettings
    changes: tuple[tuple[str, str], ...]
    """Each option and its value as `+set` shows them (secrets already masked)."""
    drops_links: bool = False
    """Credentials changed: connect anew to the primary and its replicas."""


@dataclass(frozen=True, slots=True)
class AnnouncementChanged:
    """`SENTINEL CONFIG SET`, already validated. Answered with `Accepted` once durable."""

    token: Token
    announce_host: str
    """Empty: the local address of each connection."""
    announce_port: int
    shows_hostnames: bool
    drops_peer_links: bool = False
    """Credentials for peers changed: connect anew to all of them."""


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """`SENTINEL DEBUG`, already validated: fields of `Policy` and their new values. Answered with
    `Accepted`.
    """

    token: Token
    changes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FailureSimulationRequested:
    """`SENTINEL SIMULATE-FAILURE`. Answered with `Accepted`."""

    token: Token
    crash_after_election: bool
    crash_after_promotion: bool


@dataclass(frozen=True, slots=True)
class FlushRequested:
    """Write the state file. Answered with `Accepted` once durable."""

    token: Token


Reply = (
    Ponged
    | InfoReceived
    | HelloSent
    | AskReplied
    | Reconfigured
    | TakeOverAnswered
    | PauseAnswered
    | ScriptKilled
    | CommandRefused
)
"""What answers a command."""

LinkFact = Connected | LinkLost | ChannelHeard | Reply
"""What happens to one link."""

Request = (
    MonitorRequested
    | RemoveRequested
    | ResetRequested
    | FailoverRequested
    | SettingsChanged
    | AnnouncementChanged
    | PolicyChanged
    | FailureSimulationRequested
    | FlushRequested
)
"""What people and clients want."""


@dataclass(frozen=True, slots=True)
class HostResolved:
    """A name leads to another IP than its addresses say: its machine moved, or it could not be
    resolved before.
    """

    host: str
    ip: str


Input = TimerExpired | LinkFact | HelloHeard | HostResolved | VoteRequested | Request
