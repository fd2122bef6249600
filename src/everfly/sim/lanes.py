"""Turn the outcome of one world into lanes: who was what when, who told whom what.

Pure. Times are milliseconds of the world. Roles come from the orders that instances carried out;
at the beginning the first instance is the primary, as every world is made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from everfly.sim.faults import Fault
from everfly.sim.run import Outcome
from everfly.sim.story import events_of
from everfly.sim.story_words import names_of_run_ids
from everfly.sim.world import Kind, Mark, Message

_ORDERS: Final = frozenset(
    {
        "Reconfigure",
        "Reconfigured",
        "TakeOver",
        "TakeOverAnswered",
        "PauseWrites",
        "ResumeWrites",
        "PauseAnswered",
        "SendScriptKill",
        "ScriptKilled",
        "again Reconfigure",
        "DFLY TAKEOVER",
        "PSYNC FAILOVER",
    }
)
"""Messages that change what an instance is, and their answers."""
_HELLOS: Final = frozenset({"Hello", "SendHello", "+switch-master"})
_VOTES: Final = frozenset({"Ask", "AskReplied", "VoteRequested", "Vote"})

_STOPS: Final = {"killed": "down", "crashed": "down", "paused": "paused"}
"""Word of a LIFE line -> the state that begins."""
_STARTS: Final = frozenset({"started", "restarted", "resumed"})
"""Words of LIFE lines that end it."""

WINDOW_MAX_MS: Final = 8_000
"""Of the picture in detail: more, and arrows become a wall."""
LEAD_MS: Final = 400
LEAD_MS_MIN: Final = 25
"""Shown before what began the trouble, and after it: a third of it, within these."""
QUIET_MS: Final = 2_000
"""Of a world without trouble: shown around its beginning."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a process was for some time."""

    start: int
    end: int
    state: str
    """`primary`, `replica`, `up`, `paused` or `down`."""


@dataclass(slots=True)
class Lane:
    """One process."""

    name: str
    kind: str
    """`sentinel`, `instance` or what else there is: `client`, `endpoint`."""
    spans: list[Span] = field(default_factory=list)
    notices: list[Mark] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Band:
    """A fault, over the lanes that it touches."""

    number: int
    """As in the list of faults, from 1."""
    start: int
    end: int
    lanes: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """One message."""

    message: Message
    kind: str
    """`vote`, `order`, `hello` or `routine`."""
    label: str

    @property
    def is_order(self) -> bool:
        """Whether it tells an instance what to be, and is no answer."""
        return self.kind == "order" and not self.message.source.startswith("instance:")


@dataclass(frozen=True, slots=True)
class Picture:
    """All that is drawn."""

    lanes: tuple[Lane, ...]
    bands: tuple[Band, ...]
    arrows: tuple[Arrow, ...]
    end: int


def picture_of(outcome: Outcome) -> Picture:
    """Return the lanes of a world."""
    end = outcome.ended_at
    names = _names(outcome)
    lanes = tuple(_lane(name, outcome.trace, end, is_first) for name, is_first in names)
    return Picture(
        lanes,
        tuple(_bands(outcome, [lane.name for lane in lanes])),
        tuple(_arrows(outcome)),
        end,
    )


def window_of(outcome: Outcome) -> tuple[int, int]:
    """Return the part of the time that is worth a closer look: around the broken rule, or around
    the first failover, or the beginning.
    """
    end = outcome.ended_at
    if outcome.violations:
        at = outcome.violations[0].at
        causes = [fault.at for fault in outcome.faults if fault.at <= at]
        cause = max(causes[-1] if causes else at - QUIET_MS, at - WINDOW_MAX_MS)
        # A rule can be broken within milliseconds of its cause, which must not be a single dot.
        lead = min(LEAD_MS, max(LEAD_MS_MIN, (at - cause) // 3))
        return max(0, cause - lead), min(end, at + lead)
    telling = [one for one in events_of(outcome) if one.kind is Kind.NOTICE and one.weight > 40]
    if not telling:
        return 0, min(end, QUIET_MS)
    start = max(0, telling[0].at - LEAD_MS)
    until = start + WINDOW_MAX_MS // 2
    last = max(one.last for one in telling if one.at <= until)
    return start, min(end, last + LEAD_MS)


def _names(outcome: Outcome) -> list[tuple[str, bool]]:
    """Return processes from top to bottom, and which of them begins as the primary."""
    seen: dict[str, None] = {}
    for mark in outcome.trace:
        if mark.kind not in {Kind.FAULT, Kind.RULE, Kind.WORLD}:
            seen.setdefault(mark.who)
    for message in outcome.messages:
        seen.setdefault(message.source)
        seen.setdefault(message.target)
    order = {"client": 0, "endpoint": 1, "sentinel": 2, "genuine": 2, "instance": 3}
    kinds = {name: name.partition(":")[0] for name in seen}
    ranked = sorted(seen, key=lambda name: (order.get(kinds[name], 1), name))
    instances = [name for name in ranked if kinds[name] == "instance"]
    return [(name, name in instances[:1]) for name in ranked]


def _lane(name: str, trace: tuple[Mark, ...], end: int, is_first: bool) -> Lane:
    kind = name.partition(":")[0]
    lane = Lane(name, kind)
    role = "up"
    if kind == "instance":
        role = "primary" if is_first else "replica"
    state, since = role, 0
    for mark in trace:
        if mark.who != name:
            continue
        was = state
        if mark.kind is Kind.LIFE:
            first = mark.what.split(" ")[0]
            if mark.what.endswith((", as a primary", ", as a replica")):
                role = mark.what.rpartition(" ")[2]
            state = _STOPS.get(first, role if first in _STARTS else state)
        elif mark.kind is Kind.ROLE and mark.what.startswith("SLAVEOF"):
            role = "primary" if mark.what == "SLAVEOF NO ONE" else "replica"
            state = role if state not in {"paused", "down"} else state
        elif mark.kind in {Kind.NOTICE, Kind.CLIENT, Kind.DATA}:
            lane.notices.append(mark)
        if state != was:
            lane.spans.append(Span(since, mark.at, was))
            since = mark.at
    lane.spans.append(Span(since, end, state))
    return lane


def _bands(outcome: Outcome, names: list[str]) -> Iterator[Band]:
    lives = [mark for mark in outcome.trace if mark.kind is Kind.LIFE]
    for number, fault in enumerate(outcome.faults, 1):
        touched = [name for name in names if name in _words(fault)]
        if "primary" in _words(fault):
            # Whoever was it then: the trace tells who was struck at that instant.
            touched += [mark.who for mark in lives if mark.at == fault.at]
        yield Band(
            number, fault.at, fault.at + fault.duration, tuple(dict.fromkeys(touched)), str(fault)
        )


def _words(fault: Fault) -> set[str]:
    return set(re.split(r"[ ,]", f"{fault.target},{fault.detail}"))


def _arrows(outcome: Outcome) -> Iterator[Arrow]:
    known = names_of_run_ids(outcome.trace)
    for message in outcome.messages:
        word = message.text.partition("(")[0]
        if word in _ORDERS:
            kind = "order"
        elif word in _VOTES:
            kind = "vote"
        else:
            kind = "hello" if word in _HELLOS else "routine"
        yield Arrow(message, kind, _short(message.text, known))


_FIELD: Final = re.compile(r"\b(epoch|leader|leader_epoch|candidate|is_down|error|limit)=([^,()]+)")
_ADDRESS: Final = re.compile(r"\b(follow)=Address\(host='([^']*)', port=(\d+)")


def _short(text: str, known: dict[str, str]) -> str:
    """Say a message in a few words: its name and the fields that matter."""
    word = text.partition("(")[0]
    if word == "Reconfigure" and "follow=None" in text:
        word = "become a primary"
    elif word == "Reconfigure":
        word = ""
    fields = [f"{name} {host}:{port}" for name, host, port in _ADDRESS.findall(text)]
    for name, value in _FIELD.findall(text):
        plain = value.strip("'")
        if plain != "None":
            fields.append(f"{name} {known.get(plain, plain[:12])}")
    told = ", ".join(fields)
    return f"{word}, {told}" if word and told else word or told
