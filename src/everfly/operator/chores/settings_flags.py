"""Turn the arguments of a running pod and those that are wanted into settings to change live. Pure.

Only flags that Dragonfly registers as changeable are here, and none that holds a secret, names a
file of a mount, or decides who follows whom. Rules: a flag that was dropped goes back to what the
process had before we changed it, where that was noted; otherwise it needs a restart, as does a flag
that is not here.

Source: `Service::Init`, dragonfly/src/server/main_service.cc, and `ServerFamily::Init`,
dragonfly/src/server/server_family.cc (1.40): the calls of `RegisterMutable` and `RegisterSetter`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """How values of a setting are compared: an instance shows them in its own words."""

    SIZE = "size"
    NUMBER = "number"
    TRUTH = "truth"
    TEXT = "text"


LIVE: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(("maxmemory",), Kind.SIZE),
    **dict.fromkeys(
        (
            "acllog_max_len",
            "lua_mem_gc_threshold",
            "max_eviction_per_heartbeat",
            "max_segment_to_consider",
            "maxclients",
            "migration_finalization_timeout_ms",
            "pipeline_queue_limit",
            "pipeline_squash",
            "replication_timeout",
            "rss_oom_deny_ratio",
            "scheduler_background_budget",
            "scheduler_background_sleep_prob",
            "scheduler_background_warrant",
            "send_timeout",
            "serialization_max_chunk_size",
            "slot_migration_throttle_us",
            "slowlog_log_slower_than",
            "slowlog_max_len",
            "table_growth_margin",
            "tcp_keepalive",
            "timeout",
        ),
        Kind.NUMBER,
    ),
    **dict.fromkeys(
        (
            "background_snapshotting",
            "enable_heartbeat_eviction",
            "enable_heartbeat_rss_eviction",
            "managed_service_info",
            "replica_partial_sync",
        ),
        Kind.TRUTH,
    ),
    **dict.fromkeys(("dbfilename", "notify_keyspace_events", "snapshot_cron"), Kind.TEXT),
}
"""Settings that take effect while an instance runs."""

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_TRUTHS: Final = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_UNTRUTHS: Final = {"false": False, "f": False, "no": False, "n": False, "0": False}


@dataclass(frozen=True, slots=True)
class LivePlan:
    """What is to be changed in a process."""

    changes: tuple[tuple[str, str], ...]
    """Flag and value, each that must be so."""
    needs_restart: tuple[str, ...]
    """Flags that cannot be changed live."""


def flags_of(args: Sequence[str]) -> dict[str, str]:
    """Return the flags of a command line; of a flag that is given twice the last one counts.

    A word that is no flag and belongs to none is a flag of its own name, so that a change of it is
    seen.
    """
    found: dict[str, str] = {}
    last = ""
    for word in args:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            name = name.replace("-", "_")
            found[name] = value if equals else "true"
            last = "" if equals else name
        elif last:
            found[last], last = word, ""
        else:
            found[f" {word}"] = ""
    return found


def plan_of(
    running: Sequence[str], wanted: Sequence[str], noted: Mapping[str, str], skipped: frozenset[str]
) -> LivePlan:
    """Compare the arguments of a process with the wanted ones.

    `noted` says what flags were before they were changed live; `skipped` are seen to elsewhere.
    """
    was, becomes = flags_of(running), flags_of(wanted)
    differing = {name for name in was.keys() | becomes.keys() if was.get(name) != becomes.get(name)}
    changes = []
    needs_restart = []
    for name in sorted((differing | noted.keys()) - skipped):
        value = becomes.get(name, noted.get(name) if name not in was else None)
        if name not in LIVE or value is None or _is_automatic(name, value):
            needs_restart.append(name.strip())
        else:
            changes.append((name, value))
    return LivePlan(tuple(changes), tuple(needs_restart))


def _is_automatic(name: str, value: str) -> bool:
    # At its start 0 means "as much as there is", later it means none at all.
    return LIVE[name] is Kind.SIZE and size_of(value) in (None, 0)


def size_of(value: str) -> int | None:
    """Return a number of bytes; None: it is none."""
    found = _SIZE.fullmatch(value.strip())
    return None if found is None else int(float(found[1]) * (1 << _POWERS[found[2].lower()]))


def is_same(name: str, one: str, other: str) -> bool:
    """Tell whether two values of a setting mean the same."""
    if one == other:
        return True
    match LIVE[name]:
        case Kind.SIZE:
            first, second = size_of(one), size_of(other)
            # Older versions show sizes with two digits behind the point.
            return first is not None and second is not None and abs(first - second) * 100 <= first
        case Kind.NUMBER:
            try:
                return float(one) == float(other)
            except ValueError:
                return False
        case Kind.TRUTH:
            words = _TRUTHS | _UNTRUTHS
            truth = words.get(one.lower())
            return truth is not None and truth is words.get(other.lower())
        case Kind.TEXT:
            return False
