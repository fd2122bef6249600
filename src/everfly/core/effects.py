"""Intentions that leave the core, in the order in which they were decided.

An effect with `after_durable` shows or uses state that must survive a crash: it starts only when
every `Persist` decided before it (in this step or an earlier one) is on disk. All others start at
once, so a slow disk delays a vote but never a PING. Nothing is awaited: what comes of an effect
comes back as an input.
"""

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from everfly.core.model import Address, Epoch, GroupName, Hello, LinkId, Millis, RunId, Token
from everfly.core.notices import Notice


class Purpose(Enum):
    """What a link is for."""

    COMMANDS = "cmd"
    CHANNEL = "pubsub"


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a link; answer with `Connected` or `LinkLost`, within a limit of the shell's choice."""

    after_durable: ClassVar[bool] = False
    link: LinkId
    to: Address
    purpose: Purpose
    group: GroupName | None
    """Whose credentials and renamed commands hold; None: the other end is a peer."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close a link. No `LinkLost` is expected."""

    after_durable: ClassVar[bool] = False
    link: LinkId


@dataclass(frozen=True, slots=True)
class SendPing:
    """PING; answered by `Ponged`."""

    after_durable: ClassVar[bool] = False
    link: LinkId


@dataclass(frozen=True, slots=True)
class SendInfo:
    """INFO; answered by `InfoReceived`."""

    after_durable: ClassVar[bool] = False
    link: LinkId


@dataclass(frozen=True, slots=True)
class SendHello:
    """PUBLISH a hello on `__sentinel__:hello`; answered by `HelloSent`."""

    after_durable: ClassVar[bool] = True
    link: LinkId
    hello: Hello


@dataclass(frozen=True, slots=True)
class SendScriptKill:
    """SCRIPT KILL, to a primary whose script makes it look dead; answered by `ScriptKilled`."""

    after_durable: ClassVar[bool] = False
    link: LinkId


@dataclass(frozen=True, slots=True)
class Ask:
    """SENTINEL is-master-down-by-addr, to a peer; answered by `AskReplied`."""

    after_durable: ClassVar[bool] = True
    link: LinkId
    group: GroupName
    primary: Address
    epoch: Epoch
    candidate: RunId | None
    """Myself, to ask for a vote; None to ask only whether the primary is down."""


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """Change an instance's role (SLAVEOF in a transaction that also saves its configuration and
    cuts its clients); answered by `Reconfigured`.

    Fenced: the executor drops it when a newer epoch of this group is already in effect.
    """

    after_durable: ClassVar[bool] = True
    link: LinkId
    group: GroupName
    instance: Address
    follow: Address | None
    """Whom to follow; None: become a primary."""
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Have a replica take its living primary's role over; answered by `TakeOverAnswered`.

    Fenced like `Reconfigure`.
    """

    after_durable: ClassVar[bool] = True
    link: LinkId
    group: GroupName
    replica: Address
    epoch: Epoch
    limit: Millis
    """The engine gives up, and everything stays as it is, when it takes longer."""


@dataclass(frozen=True, slots=True)
class PauseWrites:
    """Have a primary hold its clients' writes, at most for `limit`; answered by `PauseAnswered`."""

    after_durable: ClassVar[bool] = True
    link: LinkId
    limit: Millis


@dataclass(frozen=True, slots=True)
class ResumeWrites:
    """Let a primary's clients write again; answered by `PauseAnswered`.

    It follows the order to become a replica, and must not overtake it.
    """

    after_durable: ClassVar[bool] = True
    link: LinkId


@dataclass(frozen=True, slots=True)
class Persist:
    """Write `machine.durable_state()` to disk, so that all state until now survives a crash."""

    after_durable: ClassVar[bool] = False
    is_urgent: bool
    """False: nothing waits for it; writes may be gathered for a moment."""


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell people: pub/sub, log, scripts, webhooks."""

    after_durable: ClassVar[bool] = False
    notice: Notice


@dataclass(frozen=True, slots=True)
class Explain:
    """Why something was decided, fact by fact, for those who ask later."""

    after_durable: ClassVar[bool] = False
    group: GroupName
    decision: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReconfigureClients:
    """Run the group's client-reconfig-script, if it has one."""

    after_durable: ClassVar[bool] = True
    group: GroupName
    is_leader: bool
    old: Address
    new: Address


@dataclass(frozen=True, slots=True)
class Crash:
    """End the process at once with status 99: a simulated failure that somebody asked for."""

    after_durable: ClassVar[bool] = True


class Refusal(Enum):
    """Why a request was not carried out."""

    NO_SUCH_GROUP = "no such group"
    DUPLICATE_GROUP = "duplicate group"
    FAILOVER_IN_PROGRESS = "failover in progress"
    NO_GOOD_REPLICA = "no good replica"
    NO_HAND_OVER = "no hand-over"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Done, and durable."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not done."""

    why: Refusal
    reason: str = ""
    """What stands in the way, for people."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many groups a request concerned."""

    count: int


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer to `VoteRequested`."""

    is_down: bool
    leader: RunId | None
    leader_epoch: Epoch


Result = Accepted | Refused | Counted | Vote


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the client that made a request."""

    after_durable: ClassVar[bool] = True
    token: Token
    result: Result


Command = (
    SendPing
    | SendInfo
    | SendHello
    | SendScriptKill
    | Ask
    | Reconfigure
    | TakeOver
    | PauseWrites
    | ResumeWrites
)
"""What goes over a command link that is up, and is answered by one `inputs.Reply`."""

Effect = (
    Connect
    | Disconnect
    | Command
    | Persist
    | Notify
    | Explain
    | ReconfigureClients
    | Crash
    | Answer
)
