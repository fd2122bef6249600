"""Turn the trace of one world into a story of at most thirty lines for an engineer on call.

Rules: what several processes say of one thing within a second is one line; run ids and addresses
become names; of too many lines those that matter least go, and those that are farthest from where
the rule was broken; the faults, the violations and the order of things always stay; nothing is
invented: each line is one of the trace, in words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from everfly.sim.cluster import Shape
from everfly.sim.run import Outcome
from everfly.sim.story_words import in_words, names_of_run_ids
from everfly.sim.world import Kind

LINES_MAX: Final = 30

MERGED_MS: Final = 1_000
"""What several say within this is one line: processes notice the same thing so far apart."""

CLOSE_MS: Final = 5_000
"""What happened so shortly before the violation is likely to be its cause."""
CLOSE_BONUS: Final = 20
AFTER_MS: Final = 100
"""What comes later than this after the first violation is hardly its cause."""
AFTER_PENALTY: Final = 45

ALWAYS: Final = 100
"""Weight of what is never left out while there is room for anything."""


@dataclass(slots=True)
class Event:
    """One line of the story."""

    at: int
    who: list[str]
    text: str
    weight: int
    kind: Kind
    order: int = 0
    last: int = field(default=0)
    """When the last of them said so."""

    def line(self) -> str:
        """Return it as it is shown."""
        head = f"{self.at / 1000:>9.3f} s  "
        match self.kind:
            case Kind.FAULT:
                return f"{head}FAULT  {self.text}"
            case Kind.RULE:
                return f"{head}BROKEN RULE  {self.text}"
            case Kind.WORLD:
                return f"{head}-- {self.text}"
            case _:
                return f"{head}{names(self.who)}  {self.text}"


def story(outcome: Outcome, lines_max: int = LINES_MAX) -> list[str]:
    """Return at most `lines_max` lines (at least 10)."""
    head = [about(outcome), *_verdict(outcome)]
    events = list(events_of(outcome))
    kept = _most_important(events, outcome, lines_max - len(head) - 1)
    lines = [*head, *(event.line() for event in kept)]
    left_out = len(events) - len(kept)
    more = f"; {left_out} lesser lines are left out" if left_out else ""
    lines.append(
        f"{outcome.acknowledged} writes acknowledged, {outcome.lost} of them lost; "
        f"trace {outcome.trace_hash}, {len(outcome.trace)} lines{more}"
    )
    return lines


def chosen_events(outcome: Outcome, events_max: int = LINES_MAX - 3) -> list[Event]:
    """Return the events that are worth telling, in order."""
    return _most_important(list(events_of(outcome)), outcome, events_max)


def about(outcome: Outcome) -> str:
    """Return one line on what the world is made of."""
    plan = outcome.plan
    count = len(plan.faults)
    faults = "no fault" if count == 0 else f"{count} fault{'s' if count > 1 else ''}"
    length = outcome.ended_at / 1000
    return f"seed {plan.seed}: {describe(plan.shape)}; {faults} in {length:g} s"


def describe(shape: Shape) -> str:
    """Return a shape in words."""
    replicas = "1 replica" if shape.replicas == 1 else f"{shape.replicas} replicas"
    sentinels = "1 Sentinel" if shape.sentinels == 1 else f"{shape.sentinels} Sentinels"
    loss = f", {shape.loss:.0%} loss" if shape.loss else ""
    return (
        f"{sentinels} (quorum {shape.quorum}), a primary and {replicas} of {shape.engine.value}, "
        f"down-after {shape.down_after / 1000:g} s, failover-timeout "
        f"{shape.failover_timeout / 1000:g} s{loss}"
    )


def full_trace(outcome: Outcome) -> Iterator[str]:
    """Return every line of the trace as it is, between what was drawn and what came of it."""
    yield about(outcome)
    for fault in outcome.faults:
        yield f"  fault {fault}"
    for mark in outcome.trace:
        yield f"{mark.at:>7} ms  {mark.who:<16} {mark.what}"
    yield from _verdict(outcome)
    yield (
        f"{outcome.acknowledged} writes acknowledged, {outcome.lost} of them lost; "
        f"trace {outcome.trace_hash}"
    )


def events_of(outcome: Outcome) -> Iterator[Event]:
    """Return all that happened, in words, in order; what several say at about one time once."""
    known = names_of_run_ids(outcome.trace)
    open_events: dict[tuple[Kind, str], Event] = {}
    found: list[Event] = []
    for mark in outcome.trace:
        told = in_words(mark, known)
        if told is None:
            continue
        weight, text = told
        key = (mark.kind, text)
        event = open_events.get(key)
        if event is not None and mark.at - event.last <= MERGED_MS:
            if mark.who not in event.who:
                event.who.append(mark.who)
            event.last = mark.at
            continue
        event = Event(mark.at, [mark.who], text, weight, mark.kind, len(found), mark.at)
        open_events[key] = event
        found.append(event)
    yield from found


def names(who: Sequence[str]) -> str:
    """Return processes in short: `sentinel:26379, 26380`."""
    kinds: dict[str, list[str]] = {}
    for name in who:
        kind, colon, number = name.partition(":")
        kinds.setdefault(kind, []).append(number if colon else "")
    return ", ".join(
        f"{kind}:{', '.join(sorted(numbers))}" if all(numbers) else kind
        for kind, numbers in kinds.items()
    )


def _verdict(outcome: Outcome) -> list[str]:
    if not outcome.violations:
        return ["no rule is broken"]
    rules = list(dict.fromkeys(one.rule for one in outcome.violations))
    first = outcome.violations[0]
    times = "" if len(outcome.violations) == 1 else f", {len(outcome.violations)} times in all"
    others = "" if len(rules) == 1 else f"; also: {', '.join(rules[1:])}"
    return [f"BROKEN at {first.at / 1000:.3f} s{times}: {first.rule}{others}"]


def _most_important(events: list[Event], outcome: Outcome, room: int) -> list[Event]:
    at = outcome.violations[0].at if outcome.violations else None
    first_rule = next((event for event in events if event.kind is Kind.RULE), None)

    def weight(event: Event) -> tuple[int, int]:
        value = event.weight
        if event is first_rule:
            value = 2 * ALWAYS
        elif at is not None and event.kind is not Kind.FAULT:
            if at - CLOSE_MS <= event.at <= at + AFTER_MS:
                value += CLOSE_BONUS
            elif event.at > at + AFTER_MS:
                value -= AFTER_PENALTY
        # Among equals the later ones go: a story is easier to follow from its beginning.
        return (value, -event.order)

    chosen = sorted(events, key=weight, reverse=True)[: max(room, 1)]
    return sorted(chosen, key=lambda event: event.order)
