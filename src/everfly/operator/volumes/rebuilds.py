"""Turn the annotations about rebuilding into who is to be rebuilt and who is under way, and back.

    everfly.dev/rebuild: cache-1,cache-2:force     what people ask for, in order
    everfly.dev/rebuilding: cache-1 POD CLAIM...   our note: whose disk is given up, by uids

The note is written before a disk is given up, so that the next operator knows which pod and which
claims were meant. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from everfly.operator import names

_FORCE = ":force"


@dataclass(frozen=True, slots=True)
class RebuildOrder:
    """A person asks for an instance to be rebuilt."""

    name: str
    is_forced: bool

    def text(self) -> str:
        """Return the order as it is written."""
        return self.name + (_FORCE if self.is_forced else "")


@dataclass(frozen=True, slots=True)
class Begun:
    """An instance whose disk is being given up."""

    name: str
    pod_uid: str
    claim_uids: tuple[str, ...]

    def text(self) -> str:
        """Return the note as it is written."""
        return " ".join((self.name, self.pod_uid, *self.claim_uids))


def orders_of(annotations: Mapping[str, str]) -> tuple[RebuildOrder, ...]:
    """Return what people ask for."""
    words = [each.strip() for each in annotations.get(names.REBUILD, "").split(",")]
    return tuple(
        RebuildOrder(each.removesuffix(_FORCE), each.endswith(_FORCE)) for each in words if each
    )


def orders_text(orders: tuple[RebuildOrder, ...]) -> str | None:
    """Return orders as they are written; None: nothing is left of them."""
    return ",".join(each.text() for each in orders) or None


def begun_of(annotations: Mapping[str, str]) -> Begun | None:
    """Return who is under way. A note that somebody broke is none."""
    words = annotations.get(names.REBUILDING, "").split()
    return Begun(words[0], words[1], tuple(words[2:])) if len(words) >= 2 else None
