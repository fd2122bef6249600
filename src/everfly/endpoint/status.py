"""Turn what an endpoint knows into JSON for people and programs."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from everfly import __version__
from everfly.endpoint.follow import Follower, SentinelState
from everfly.endpoint.members import Members
from everfly.endpoint.metrics import Metrics
from everfly.endpoint.plane import Plane
from everfly.endpoint.switchover import Progress, Switchovers

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What there is to show."""

    group: str
    is_pushed: bool
    plane: Plane
    follower: Follower
    members: Members | None
    """None: there are no Sentinels to ask."""
    switchovers: Switchovers
    metrics: Metrics
    is_ending: Callable[[], bool]


def status(parts: Parts) -> Json:
    """Return all that is known of an endpoint."""
    follower = parts.follower
    accepted, believed = follower.accepted, follower.believed
    changed_at = follower.changed_at
    last = parts.switchovers.last
    return {
        "version": __version__,
        "pid": os.getpid(),
        "group": parts.group,
        "mode": "pushed" if parts.is_pushed else "sentinels",
        "is_ending": parts.is_ending(),
        "listeners": [{"configured": told, "address": at} for told, at in parts.plane.addresses()],
        "primary": str(accepted.primary) if accepted else None,
        "epoch": accepted.epoch if accepted else None,
        "believed": str(believed.primary) if believed else None,
        "trouble": follower.trouble,
        "is_change_announced": follower.is_announced,
        "switches": follower.switches,
        "changed_s_ago": None if changed_at is None else round(time.monotonic() - changed_at, 3),
        "sentinels": [_sentinel(each) for each in follower.sentinels],
        "switchover": None if last is None else progress_to_json(last),
        "traffic": dict(parts.plane.stats()),
    }


def _sentinel(state: SentinelState) -> Json:
    claim = state.claim
    return {
        "address": str(state.address),
        "error": state.error,
        "is_listening": state.is_listening,
        "primary": str(claim.primary) if claim else None,
        "epoch": claim.epoch if claim else None,
        "sees_a_change": bool(claim and claim.is_changing),
    }


def progress_to_json(progress: Progress) -> Json:
    """Return one switch-over as far as it is."""
    return {
        "number": progress.number,
        "state": progress.state.value,
        "reason": progress.reason,
        "from": str(progress.old) if progress.old else None,
        "to": str(progress.new) if progress.new else None,
        "asked_for": str(progress.wish.to) if progress.wish.to else None,
        "checks": [
            {"name": each.name, "is_met": each.is_met, "text": each.text}
            for each in progress.checks
        ],
        "steps": [{"at_ms": each.at_ms, "text": each.text} for each in progress.steps],
        "held_ms": progress.held_ms,
        "seen": dict(progress.seen),
    }
