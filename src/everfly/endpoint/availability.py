"""Turn a picture of a group into one answer for load balancers and probes: can it be used, and why.

Pure. Without a bound the question is whether commands are answered; with one, also whether a
failover now would lose no more than that: some replica in sync is that near.
"""

import re
from dataclasses import dataclass
from typing import Final

from everfly.observe.picture import GroupPicture, InstanceView

_BOUND: Final = re.compile(r"([0-9]{1,15})(ms|)")


@dataclass(frozen=True, slots=True)
class Bound:
    """How far the nearest replica may be behind."""

    amount: int
    is_time: bool
    """Milliseconds since it last heard from its primary (in whole seconds, as replicas tell it);
    else bytes, or entries of a Dragonfly's journal."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the data plane says."""

    state: str
    """`open`, or why commands wait."""
    primary: str
    """Whom commands go to; empty: nobody."""
    trouble: str
    """Why there is no primary; empty: there is one."""


@dataclass(frozen=True, slots=True)
class Availability:
    """The answer."""

    is_available: bool
    reason: str
    code: str
    """For programs: `ok`, `no-primary`, `holding`, `no-replica`, `lag`, `unknown`."""


def parse_bound(text: str) -> Bound:
    """Return the bound in `1000` (bytes) or `100ms`. Raises ValueError."""
    found = _BOUND.fullmatch(text)
    if found is None:
        raise ValueError(f"lag must be a number of bytes (4096) or a time (500ms), not {text!r}")
    return Bound(int(found[1]), found[2] == "ms")


def availability(
    traffic: Traffic, picture: GroupPicture | None, bound: Bound | None
) -> Availability:
    """Return whether the group can be used; `picture` is needed where there is a bound."""
    if not traffic.primary or traffic.state == "no-primary":
        return Availability(False, traffic.trouble or "there is no primary now", "no-primary")
    if traffic.state != "open":
        return Availability(False, f"commands are held ({traffic.state})", "holding")
    if bound is None:
        return Availability(True, f"{traffic.primary} answers commands", "ok")
    if picture is None:
        return Availability(False, "the replicas have not been looked at yet", "unknown")
    replicas = [each for each in picture.instances if each.is_in_sync]
    if not replicas:
        return Availability(
            False, "no replica is in sync: a failover would find none", "no-replica"
        )
    known = [(behind(each, bound), each) for each in replicas]
    told = [(amount, each) for amount, each in known if amount is not None]
    if not told:
        return Availability(False, "no replica says how far behind it is", "unknown")
    amount, nearest = min(told, key=lambda pair: pair[0])
    unit = "ms" if bound.is_time else "bytes"
    text = f"the nearest replica {nearest.address} is {amount} {unit} behind"
    if amount > bound.amount:
        return Availability(False, f"{text}; the bound is {bound.amount} {unit}", "lag")
    return Availability(True, text, "ok")


def behind(replica: InstanceView, bound: Bound) -> int | None:
    """Return how far a replica is behind, in the unit of the bound; None: nobody knows."""
    if not bound.is_time:
        return replica.lag
    return None if replica.silent_s is None else replica.silent_s * 1_000
