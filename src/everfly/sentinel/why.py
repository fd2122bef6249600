"""Turn notices and explanations into a timeline that says what was decided, and why, fact by fact.

Rules: entries are numbered as they come, so that whoever follows asks for what is new; a notice
whose reason lies in what others said (agreement, votes) gets these facts from the group as it was
seen at that moment; a busy group can push out its own past alone, until there are too many groups.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from everfly.core.effects import Explain
from everfly.core.model import GroupName
from everfly.core.notices import Event, Level, Notice
from everfly.core.snapshot import GroupView, PeerView

PER_GROUP_MAX: Final = 256
"""Entries of one group: about ten failovers."""
ENTRIES_MAX: Final = 20_000
"""Of all groups together: some megabytes, also where a thousand groups fail over at once."""
RUN_ID_SHOWN: Final = 8
"""Digits of a Sentinel's id that people are shown."""

_WHOLE: Final = GroupName("")
"""Under which name what concerns no single group is kept; no group is called so."""

_OF_A_CHOICE: Final = frozenset(
    {
        Event.SELECTED,
        Event.PROMOTED,
        Event.SWITCH,
        Event.END,
        Event.END_FOR_TIMEOUT,
        Event.ABORT_NO_GOOD_REPLICA,
        Event.ABORT_REPLICA_TIMEOUT,
    }
)
"""Events whose reason is the last choice of a new primary."""

_DOWN: Final = "subjectively down"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline."""

    number: int
    """Grows; the first is 1."""
    at: datetime
    group: GroupName | None
    event: str
    """The event of a notice; empty for an explanation."""
    level: str
    text: str
    """The payload of a notice, or what was decided."""
    facts: tuple[str, ...] = ()

    @property
    def is_decision(self) -> bool:
        """Whether this explains rather than tells."""
        return not self.event


@dataclass(frozen=True, slots=True)
class Why:
    """The reason of an event."""

    decision: str
    facts: tuple[str, ...]


class Timeline:
    """The past, as far as it is kept. `look` gives a group as it is seen now."""

    def __init__(
        self,
        look: Callable[[GroupName], GroupView | None],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._look = look
        self._clock = clock
        self._entries: dict[int, Entry] = {}
        self._by_group: dict[GroupName, deque[int]] = {}
        self._last_number = 0
        self._last_choice: dict[GroupName, Why] = {}
        self._last_down: dict[GroupName, Why] = {}
        self._last_vote: dict[GroupName, str] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_number(self) -> int:
        """The number of the newest entry; 0: there is none."""
        return self._last_number

    def on_notice(self, notice: Notice) -> None:
        """Note what people are told. What is for the debug log alone is not kept."""
        event = notice.event
        if event.level is Level.DEBUG:
            return
        if event is Event.TRY_FAILOVER and notice.group is not None:
            self._last_choice.pop(notice.group, None)
        if event is Event.VOTE and notice.group is not None:
            self._last_vote[notice.group] = notice.detail
        facts = self._facts_of(notice)
        self._add(notice.group, event.wire, event.level.value, notice.payload, facts)

    def on_explanation(self, explained: Explain) -> None:
        """Note why something was decided."""
        why = Why(explained.decision, explained.facts)
        kept = self._last_down if explained.decision.endswith(_DOWN) else self._last_choice
        kept[explained.group] = why
        self._add(explained.group, "", Level.NOTICE.value, explained.decision, explained.facts)

    def entries(
        self, group: GroupName | None = None, *, after: int = 0, limit: int = PER_GROUP_MAX
    ) -> list[Entry]:
        """Return the newest entries, oldest first, with numbers above `after`.

        Of one group, or of all and of this Sentinel as a whole.
        """
        newest: Iterator[Entry]
        if group is None:
            newest = reversed(self._entries.values())
        else:
            numbers = self._by_group.get(group, ())
            newest = (self._entries[number] for number in reversed(numbers))
        found = [entry for entry in islice(newest, limit) if entry.number > after]
        found.reverse()
        return found

    def why(self, notice: Notice) -> Why | None:
        """Return the reason of something that was just told, or None. Ask after the turn."""
        if notice.group is None:
            return None
        facts = self._facts_of(notice)
        if facts:
            return Why(f"{notice.event.wire} {notice.payload}", facts)
        if notice.event in _OF_A_CHOICE:
            return self._last_choice.get(notice.group)
        if notice.event is Event.S_DOWN and notice.subject is not None:
            why = self._last_down.get(notice.group)
            port = f":{notice.subject.port} "
            return why if why is not None and port in why.decision else None
        return None

    def forget(self, group: GroupName) -> None:
        """Drop what belongs to a group that is watched no more; its entries go with time."""
        self._last_choice.pop(group, None)
        self._last_down.pop(group, None)
        self._last_vote.pop(group, None)

    def _add(
        self, group: GroupName | None, event: str, level: str, text: str, facts: tuple[str, ...]
    ) -> None:
        self._last_number += 1
        number = self._last_number
        self._entries[number] = Entry(number, self._clock(), group, event, level, text, facts)
        numbers = self._by_group.setdefault(group or _WHOLE, deque())
        numbers.append(number)
        if len(numbers) > PER_GROUP_MAX:
            del self._entries[numbers.popleft()]
        if len(self._entries) > ENTRIES_MAX:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._entries.pop(next(iter(self._entries)))
        name = oldest.group or _WHOLE
        numbers = self._by_group[name]
        # Numbers grow, so what is the oldest of all is the oldest of its group.
        numbers.popleft()
        if not numbers:
            del self._by_group[name]

    def _facts_of(self, notice: Notice) -> tuple[str, ...]:
        if notice.group is None:
            return ()
        if notice.event is Event.O_DOWN:
            view = self._look(notice.group)
            return () if view is None else opinions(view)
        if notice.event in {Event.ELECTED, Event.ABORT_NOT_ELECTED}:
            view = self._look(notice.group)
            return () if view is None else votes(view, self._last_vote.get(notice.group, ""))
        return ()


class Reasoned:
    """Passes each notice on with its reason, once the turn that decided it is over."""

    def __init__(
        self, timeline: Timeline, then: Callable[[Notice, datetime, Why | None], None]
    ) -> None:
        self._timeline = timeline
        self._then = then
        self._loop = asyncio.get_running_loop()

    def on_notice(self, notice: Notice) -> None:
        """Take a notice; its explanation may follow it within the same turn."""
        self._loop.call_soon(self._pass_on, notice, datetime.now(UTC))

    def _pass_on(self, notice: Notice, at: datetime) -> None:
        self._then(notice, at, self._timeline.why(notice))


def opinions(view: GroupView) -> tuple[str, ...]:
    """Return who finds the primary of a group down."""
    down_for = view.primary.s_down_for
    mine = "up" if down_for is None else f"down, for {down_for} ms"
    lines = [f"this Sentinel: {mine}"]
    lines += [f"{_peer(peer)}: {'down' if peer.says_down else 'not down'}" for peer in view.peers]
    return (f"quorum {view.settings.quorum}", *lines)


def votes(view: GroupView, own_vote: str) -> tuple[str, ...]:
    """Return for whom each Sentinel of a group has voted last, as far as it has told.

    `own_vote` is what was told of our own: an id and an epoch; empty: none.
    """
    majority = (len(view.peers) + 1) // 2 + 1
    needed = max(majority, view.settings.quorum)
    leader, _, epoch = own_vote.partition(" ")
    own = f"voted for {leader[:RUN_ID_SHOWN]} in epoch {epoch}" if leader else "has not voted"
    lines = [f"this Sentinel {own}"]
    for peer in view.peers:
        if peer.voted_leader is None:
            lines.append(f"{_peer(peer)}: no vote heard")
        else:
            leader = peer.voted_leader[:RUN_ID_SHOWN]
            lines.append(f"{_peer(peer)} voted for {leader} in epoch {peer.voted_leader_epoch}")
    return (f"{needed} of {len(view.peers) + 1} votes needed", *lines)


def _peer(peer: PeerView) -> str:
    return f"Sentinel {peer.run_id[:RUN_ID_SHOWN]} at {peer.address}"
