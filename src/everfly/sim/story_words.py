"""Say one line of a trace in words, with how much it matters.

Rules: the wire's words (master, slave, odown) become ours; what is not in the table is told as it
is, so that nothing new is hidden; None for what is never worth a line of a story.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from everfly.sim.world import Kind, Mark

_RUN_ID: Final = re.compile(r"\b[0-9a-f]{40}\b")
_DURATION: Final = re.compile(r"\b(\d{4,}) ms\b")

_WEIGHTS: Final = {
    Kind.RULE: 100,
    Kind.FAULT: 90,
    Kind.WORLD: 60,
    Kind.DATA: 40,
    Kind.ROLE: 50,
    Kind.CLIENT: 30,
    Kind.LIFE: 25,
    Kind.DECISION: 30,
    Kind.NOTICE: 20,
}
"""How much a line matters, by its kind, where the table below says nothing else."""

_NOTICES: Final[dict[str, tuple[int, str]]] = {
    "+sdown": (45, "finds {subject} down"),
    "-sdown": (22, "finds {subject} well again"),
    "+odown": (55, "a quorum agrees that the primary is down ({detail})"),
    "-odown": (22, "no quorum finds the primary down any more"),
    "+try-failover": (50, "stands for election"),
    "+vote-for-leader": (52, "votes for {detail}"),
    "+elected-leader": (60, "is elected and leads the failover"),
    "-failover-abort-not-elected": (45, "gives up: not elected"),
    "-failover-abort-no-good-slave": (50, "gives up: no replica can be promoted"),
    "-failover-abort-slave-timeout": (50, "gives up: the promotion or hand-over did not happen"),
    "+selected-slave": (55, "chooses {subject}"),
    "+promoted-slave": (58, "sees {subject} as a primary: the promotion is in effect"),
    "+switch-master": (65, "moves the group: {detail}"),
    "+config-update-from": (18, "takes a newer configuration from {subject}"),
    "+slave-reconf-sent": (28, "tells {subject} to follow the new primary"),
    "+slave-reconf-sent-be": (28, "tells {subject} to follow, without waiting"),
    "-slave-reconf-sent-timeout": (30, "waits no longer for {subject} to follow"),
    "+slave-reconf-done": (16, "sees {subject} follow the new primary"),
    "+failover-end-for-timeout": (40, "ends the failover: its time is over"),
    "+failover-end": (38, "ends the failover"),
    "+convert-to-slave": (52, "brings {subject}, a primary too many, back as a replica"),
    "+fix-slave-config": (50, "corrects {subject}, which follows a wrong primary"),
    "+reboot": (42, "sees that {subject} restarted"),
    "+role-change": (20, "sees {subject} in the role it should have"),
    "-role-change": (24, "sees {subject} in a role it should not have"),
    "+tilt": (60, "was stopped itself: it only watches for 30 s (TILT)"),
    "-tilt": (45, "acts again (TILT is over)"),
    "+reset-master": (55, "forgets replicas and peers (RESET)"),
    "+set": (50, "has a setting changed: {detail}"),
    "+new-epoch": (8, "learns of epoch {detail}"),
}
"""Event -> weight and words."""

_SILENT: Final = frozenset(
    {
        "+monitor",
        "+slave",
        "+sentinel",
        "+slave-reconf-inprog",
        "+failover-state-select-slave",
        "+failover-state-send-slaveof-noone",
        "+failover-state-wait-promotion",
        "+failover-state-reconf-slaves",
    }
)
"""Steps on the way, and what comes at each start: other lines tell the same."""

_ENDS: Final = 35
"""Weight of the end of a fault: its beginning says for how long it is."""
_REASON: Final = 12
"""Weight of why something is down: mostly, that it was silent."""
_OF_REPLICAS: Final = 14
"""Weight of replicas and peers found down or well: rarely the point."""


def in_words(mark: Mark, run_ids: Mapping[str, str]) -> tuple[int, str] | None:
    """Return weight and words of a line, or None."""
    weight = _WEIGHTS[mark.kind]
    text = _RUN_ID.sub(lambda found: run_ids.get(found[0], found[0][:8]), mark.what)
    match mark.kind:
        case Kind.NOTICE:
            return _notice(text)
        case Kind.FAULT if text.startswith("end of "):
            return _ENDS, text
        case Kind.DECISION if " is subjectively down; " in text:
            return _REASON, text
        case Kind.FAULT:
            # It says its own instant first, which is that of the line.
            text = text.removeprefix(f"{mark.at} ms: ")
            return weight, _DURATION.sub(lambda found: f"{int(found[1]) / 1000:g} s", text)
        case Kind.ROLE:
            if text == "SLAVEOF NO ONE":
                return weight, "becomes a primary"
            return weight - 15, text.replace("SLAVEOF", "follows")
        case Kind.LIFE if text == "started":
            return 2, text
        case _:
            return weight, text


def names_of_run_ids(trace: Iterable[Mark]) -> dict[str, str]:
    """Read from the trace which Sentinel has which run id."""
    found = {}
    for mark in trace:
        if mark.kind is Kind.NOTICE and mark.what.startswith("+sentinel sentinel "):
            _, _, run_id, _, port, *_ = mark.what.split(" ")
            found[run_id] = f"sentinel:{port}"
    return found


def _notice(text: str) -> tuple[int, str] | None:
    event, _, payload = text.partition(" ")
    if event in _SILENT:
        return None
    if event not in _NOTICES:
        return _WEIGHTS[Kind.NOTICE], text
    weight, words = _NOTICES[event]
    subject, detail, is_primary = _parts(event, payload)
    if event in {"+sdown", "-sdown"} and not is_primary:
        weight = _OF_REPLICAS
    return weight, words.format(subject=subject, detail=detail)


def _parts(event: str, payload: str) -> tuple[str, str, bool]:
    """Return whom a notice is about, what else it says, and whether that is the primary."""
    words = payload.split(" ")
    match event, words:
        case "+switch-master", [_, old_host, old_port, host, port]:
            return "", f"from {old_host}:{old_port} to {host}:{port}", True
        case "+vote-for-leader", [leader, epoch]:
            return "", f"{leader} in epoch {epoch}", True
        case _, ["master", _, host, port, *rest]:
            return f"the primary {host}:{port}", " ".join(rest).lstrip("#@ "), True
        case _, ["slave", _, host, port, *rest]:
            return f"replica {host}:{port}", " ".join(rest), False
        case _, ["sentinel", name, _, port, *rest]:
            shown = name if name.startswith("sentinel:") else f"sentinel:{port}"
            return shown, " ".join(rest), False
        case _:
            return payload, payload, True
