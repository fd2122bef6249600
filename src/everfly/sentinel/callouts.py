"""Turn a notice and its reason into the body of a webhook: an object with all facts, or a text."""

import json
from datetime import datetime
from enum import Enum
from typing import Final

from everfly.core.model import RunId
from everfly.core.notices import Event, Notice
from everfly.sentinel.pictures import Json, text
from everfly.sentinel.why import RUN_ID_SHOWN, Why

FACTS_SHOWN: Final = 12
"""In a chat, where a long message is not read."""


class Severity(Enum):
    """How urgent something is to people."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


_CRITICAL: Final = frozenset(
    {
        Event.O_DOWN,
        Event.ABORT_NO_GOOD_REPLICA,
        Event.ABORT_REPLICA_TIMEOUT,
        Event.ABORT_NOT_ELECTED,
    }
)
"""Writes are refused, and will be until somebody or something acts."""
_WARNING: Final = frozenset(
    {
        Event.S_DOWN,
        Event.SWITCH,
        Event.TRY_FAILOVER,
        Event.TILT,
        Event.END_FOR_TIMEOUT,
        Event.RECONF_SENT_TIMEOUT,
        Event.SCRIPT_ERROR,
        Event.SCRIPT_TIMEOUT,
        Event.CONVERT_TO_REPLICA,
        Event.FIX_REPLICA,
    }
)
"""Something was lost or moved."""


def severity_of(event: Event) -> Severity:
    """Return how urgent an event is."""
    if event in _CRITICAL:
        return Severity.CRITICAL
    return Severity.WARNING if event in _WARNING else Severity.INFO


def json_body(me: RunId, notice: Notice, at: datetime, why: Why | None) -> bytes:
    """Return an object with all facts."""
    reason: Json = None
    if why is not None:
        reason = {"decision": text(why.decision), "facts": [text(fact) for fact in why.facts]}
    told: dict[str, Json] = {
        "event": notice.event.wire,
        "payload": text(notice.payload),
        "group": None if notice.group is None else text(notice.group),
        "severity": severity_of(notice.event).value,
        "time": at.isoformat(timespec="milliseconds"),
        "sentinel_id": str(me),
        "why": reason,
    }
    return json.dumps(told).encode()


def slack_body(me: RunId, notice: Notice, at: datetime, why: Why | None) -> bytes:
    """Return a message for a chat."""
    severity = severity_of(notice.event).value.upper()
    group = "" if notice.group is None else f" *{_plain(notice.group)}*"
    lines = [f"[{severity}]{group} `{notice.event.wire}` {_plain(notice.payload)}"]
    if why is not None:
        lines += [f"- {_plain(fact)}" for fact in why.facts[:FACTS_SHOWN]]
        if len(why.facts) > FACTS_SHOWN:
            lines.append(f"- and {len(why.facts) - FACTS_SHOWN} more")
    moment = at.isoformat(sep=" ", timespec="milliseconds")
    lines.append(f"_{moment}, Sentinel {me[:RUN_ID_SHOWN]}_")
    return json.dumps({"text": "\n".join(lines)}).encode()


def _plain(value: str) -> str:
    """Return a text that a chat shows as it is: no links, no mentions.

    Source: "Escaping text", api.slack.com/reference/surfaces/formatting.
    """
    return text(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
