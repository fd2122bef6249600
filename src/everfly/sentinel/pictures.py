"""Turn frozen views and the timeline into JSON for people's own programs and for the page.

Rules: words of the glossary, units last; Sentinel's own flags beside them; no secret can get in,
because views have none.
"""

from everfly.core.model import Address, Millis
from everfly.core.snapshot import GroupView, InstanceView, LinkView, PeerView
from everfly.sentinel.metrics import is_good_replica, lag_of
from everfly.sentinel.why import Entry

Json = str | int | float | bool | list["Json"] | dict[str, "Json"] | None


def summary(view: GroupView) -> dict[str, Json]:
    """Return a line about a group."""
    return {
        "name": text(view.name),
        "state": state(view),
        "primary": _address(view.current_address),
        "replicas": len(view.replicas),
        "good_replicas": sum(is_good_replica(replica) for replica in view.replicas),
        "sentinels": len(view.peers) + 1,
        "usable_sentinels": view.usable_sentinels,
    }


def state(view: GroupView) -> str:
    """Return how a group is, in one word; the worst that holds."""
    if view.failover_state is not None:
        return "failover"
    if view.primary.o_down_for is not None:
        return "down"
    if view.primary.s_down_for is not None:
        return "suspected"
    if not (view.can_reach_quorum and view.can_authorize):
        return "no_quorum"
    if not view.primary.link.is_connected:
        return "connecting"
    is_whole = all(is_good_replica(replica) for replica in view.replicas)
    return "ok" if is_whole and view.replicas else "degraded"


def picture(view: GroupView) -> dict[str, Json]:
    """Return a group with all that belongs to it."""
    settings = view.settings
    return {
        **summary(view),
        "primary": _instance(view.primary, None),
        "current_address": _address(view.current_address),
        "config_epoch": view.config_epoch,
        "failover_state": view.failover_state,
        "can_reach_quorum": view.can_reach_quorum,
        "can_authorize": view.can_authorize,
        "settings": {
            "quorum": settings.quorum,
            "down_after_ms": settings.down_after,
            "failover_timeout_ms": settings.failover_timeout,
            "parallel_syncs": settings.parallel_syncs,
        },
        "replicas": [
            _instance(replica, lag_of(view.primary, replica)) for replica in view.replicas
        ],
        "peers": [_peer(peer) for peer in view.peers],
    }


def line(entry: Entry) -> dict[str, Json]:
    """Return an entry of the timeline."""
    return {
        "number": entry.number,
        "time": entry.at.isoformat(timespec="milliseconds"),
        "group": None if entry.group is None else text(entry.group),
        "kind": "decision" if entry.is_decision else "notice",
        "event": entry.event or None,
        "level": entry.level,
        "text": text(entry.text),
        "facts": [text(fact) for fact in entry.facts],
    }


def text(value: str) -> str:
    """Return a text that any encoder takes: bytes that were no text are shown as such."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _address(address: Address) -> str:
    return text(str(address))


def _instance(view: InstanceView, lag: int | None) -> dict[str, Json]:
    report = view.report
    return {
        "address": _address(view.address),
        "ip": view.address.ip or None,
        "run_id": text(view.run_id),
        "flags": list(view.flags),
        "engine": report.engine.value,
        "role_reported": view.role_reported,
        "is_subjectively_down": view.s_down_for is not None,
        "subjectively_down_for_ms": view.s_down_for,
        "objectively_down_for_ms": view.o_down_for,
        "link": _link(view.link),
        "info_ago_ms": view.info_ago,
        "offset": report.offset,
        "lag": lag,
        "follows": None if report.primary is None else _address(report.primary),
        "is_linked_to_primary": report.primary_link_up,
        "without_primary_for_ms": report.primary_link_down_for,
        "is_syncing": report.is_syncing,
        "priority": report.priority,
        "history": text(report.history),
    }


def _peer(view: PeerView) -> dict[str, Json]:
    down_for: Millis | None = view.s_down_for
    return {
        "address": _address(view.address),
        "sentinel_id": text(view.run_id),
        "flags": list(view.flags),
        "is_subjectively_down": down_for is not None,
        "subjectively_down_for_ms": down_for,
        "link": _link(view.link),
        "last_hello_ago_ms": view.last_hello_ago,
        "says_primary_is_down": view.says_down,
        "voted_for": None if view.voted_leader is None else text(view.voted_leader),
        "voted_in_epoch": view.voted_leader_epoch,
    }


def _link(view: LinkView) -> dict[str, Json]:
    return {
        "is_connected": view.is_connected,
        "pending": view.pending,
        "last_ok_ping_ago_ms": view.last_ok_ping_ago,
        "last_ping_reply_ago_ms": view.last_ping_reply_ago,
    }
