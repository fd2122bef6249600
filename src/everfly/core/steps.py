"""The closed vocabulary of what an authority can do to a group, one small deed each.

Rules: a step leaves nothing to decide; carrying it out twice is the same as once; after any of them
the authority may die, and the next one decides anew from what it sees.
"""

from dataclasses import dataclass

from everfly.core.group_view import Record, Service
from everfly.core.model import Address


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """Write down what outlives the authority. Nothing after it may happen unless it is written."""

    record: Record


@dataclass(frozen=True, slots=True)
class TakeOutOfService:
    """Lead no clients to an instance any more."""

    name: str


@dataclass(frozen=True, slots=True)
class BringIntoService:
    """Lead clients of that role to an instance."""

    name: str
    service: Service
    primary: Address
    """Whom it follows; its own address for the primary."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Hold an instance's writes and cut its clients; its process lives on."""

    name: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Let a replica take over from its living primary without losing a write."""

    name: str
    away_from: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Make a replica a primary. Not if it is one already of a history that is not `history`."""

    name: str
    history: str
    """Of which history it must be when that is asked; empty: any."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Make an instance a replica of the primary."""

    name: str
    primary: str
    address: Address
    cuts_clients: bool
    """It was a primary: whoever is connected to it must learn to go elsewhere."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Have the platform replace an instance."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClearRequest:
    """Take back what a person asked for once: it is under way, done, or refused."""

    reason: str
    is_refused: bool


Step = (
    WriteRecord
    | TakeOutOfService
    | BringIntoService
    | Fence
    | TakeOver
    | Promote
    | Follow
    | Delete
    | ClearRequest
)
