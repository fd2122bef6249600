"""A second operator as a witness: what it says, and how long its word counts."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.core.group_view import Contact, Facts, GroupView, Member, Record, Statement
from everfly.core.model import Address, Instant, Millis, Role
from everfly.errors import Unavailable
from everfly.operator.apiserver.api import Refused
from everfly.operator.apiserver.lease import NoLease
from everfly.operator.names import ANNOTATION_SILENT, WITNESS_NAME
from everfly.operator.witness import (
    FRESH_MS,
    SAID_MAX,
    TEXT_MAX,
    Hearing,
    Witness,
    Word,
    decode,
    encode,
    silence_of,
    silences,
    word_of,
)

NOW = Instant(100_000)
SEEN = Contact(answered_at=NOW)
P = "uid/0"
SILENT = ((P, Millis(2_500)),)
LIMIT_S = 10.0


def lost(span: int) -> Contact:
    return Contact(failing_since=Instant(NOW - span))


def group(primary: Contact, *others: Contact, incarnation: str = P) -> GroupView:
    facts = Facts(Role.PRIMARY, "h")
    members = [Member("p-0", 0, incarnation=incarnation, facts=facts, contact=primary)]
    members += [
        Member(f"p-{number}", number, facts=Facts(Role.REPLICA, "h"), contact=each)
        for number, each in enumerate(others, start=1)
    ]
    return GroupView(tuple(members), Record("p-0"))


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (group(lost(2_500), SEEN), (P, 2_500)),
        (group(lost(2_500), lost(100), SEEN), (P, 2_500)),
        (group(SEEN, SEEN), None),
        (group(lost(2_500), lost(100)), None),
        (group(lost(2_500)), None),
        (replace(group(lost(2_500), SEEN), record=Record()), None),
    ],
    ids=["silent", "one other", "answers", "nobody reached", "alone", "no primary"],
)
def test_only_who_reaches_somebody_says_that_a_primary_is_silent(view: Any, said: object) -> None:
    assert silence_of(view, NOW) == said


@pytest.mark.parametrize(("ago", "said"), [(1_999, None), (2_000, (P, 2_500))])
def test_of_a_primary_whose_writes_a_replica_applies_nothing_is_said(ago: int, said: Any) -> None:
    view = group(lost(2_500), SEEN)
    primary, other = view.members
    place = Address("10.0.0.1", 9999)
    facts = Facts(Role.REPLICA, "h", primary=place)
    fed = replace(other, facts=facts, applied_at=Instant(NOW - ago))
    view = replace(view, members=(replace(primary, address=place), fed))
    assert silence_of(view, NOW) == said


def test_those_that_fell_silent_last_come_first_and_there_is_a_limit() -> None:
    views = [
        group(lost(1_000 + number), SEEN, incarnation=f"u{number}/0")
        for number in range(SAID_MAX + 5)
    ]
    found = silences(views, NOW)
    assert len(found) == SAID_MAX
    assert found[0] == ("u0/0", 1_000)
    assert len(encode(word(1, said=found))) < TEXT_MAX


def test_a_moment_without_an_answer_is_not_worth_a_word() -> None:
    assert silences([group(lost(999), SEEN)], NOW) == ()


def word(number: int, speech: str = "s", host: str = "node-b", said: Any = SILENT) -> Word:
    return Word(speech, number, "operator-2", host, said)


def test_a_word_is_read_as_it_was_said() -> None:
    assert decode(encode(word(7))) == word(7)
    assert word_of({"metadata": {"annotations": {ANNOTATION_SILENT: encode(word(7))}}}) == word(7)
    assert word_of(None) is word_of({"metadata": {}}) is None


@given(st.one_of(st.text(), st.binary().map(repr), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["speech", "number", "witness", "host", "silent", "silentMs",
                         "incarnation"]), inner),
).map(json.dumps)))  # fmt: skip
def test_nonsense_is_no_word_and_does_no_harm(value: str) -> None:
    found = decode(value)
    assert found is None or (found.speech and isinstance(found.number, int))


def test_too_much_is_no_word() -> None:
    assert decode(encode(replace(word(1), witness="x" * TEXT_MAX))) is None


def heard(*looks: tuple[int, int], host: str = "node-a", speech: str = "s") -> Hearing:
    """Return what was heard by who saw these numbers at these times."""
    hearing = Hearing(host)
    for at, number in looks:
        hearing.note(word(number, speech), Instant(at))
    return hearing


SAID = (Statement("operator-2", P, Millis(2_500)),)


@pytest.mark.parametrize(
    ("looks", "now", "counts"),
    [
        ([(0, 1)], 100, False),
        ([(0, 1), (400, 2)], 500, False),
        ([(0, 1), (400, 2), (800, 3)], 900, True),
        ([(0, 1), (400, 3)], 500, True),
        ([(0, 1), (400, 2), (800, 3)], FRESH_MS, True),
        ([(0, 1), (400, 2), (800, 3)], FRESH_MS + 1, False),
        ([(0, 1), (400, 2), (800, 3), (1_200, 3)], FRESH_MS + 1, False),
        ([(0, 1), (400, 2), (800, 3), (1_200, 4)], FRESH_MS + 400, True),
        ([(0, 5)], 10, False),
    ],
)
def test_a_word_counts_while_its_age_is_proved_to_be_small(
    looks: list[tuple[int, int]], now: int, counts: bool
) -> None:
    assert heard(*looks).statements(Instant(now)) == (SAID if counts else ())


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 900)), min_size=1, max_size=30),
    st.lists(st.integers(0, 5_000), max_size=30),
)
def test_whatever_is_late_no_word_that_counts_is_older_than_it_may_be(
    words: list[tuple[int, int]], asked: list[int]
) -> None:
    """A word is thought of, then written after a delay; the next one is thought of after that."""
    thought, written, clock = [], [], 0
    for pause, delay in words:
        thought.append(clock + pause)
        written.append(clock + pause + delay)
        clock = written[-1]
    hearing = Hearing("node-a")
    for at in sorted(asked):
        number = sum(each <= at for each in written)
        if number:
            hearing.note(word(number), Instant(at))
            for later in (0, 500, 2_500):
                if hearing.statements(Instant(at + later)):
                    assert at + later - thought[number - 1] <= FRESH_MS


@pytest.mark.parametrize(("mine", "theirs"), [("node-b", "node-b"), ("", "node-b"), ("a", "")])
def test_whoever_is_on_the_same_machine_or_on_an_unknown_one_is_no_witness(
    mine: str, theirs: str
) -> None:
    hearing = Hearing(mine)
    for number in range(1, 5):
        hearing.note(word(number, host=theirs), Instant(number * 100))
    assert hearing.statements(Instant(500)) == ()


def test_a_speaker_that_begins_anew_is_believed_anew() -> None:
    hearing = heard((0, 1), (400, 2), (800, 3))
    hearing.note(word(9, "other"), Instant(1_200))
    # The old word counts on until it is too old, the new one not before its age is known.
    assert hearing.statements(Instant(1_200)) == SAID
    assert hearing.statements(Instant(FRESH_MS + 1)) == ()


def test_two_speakers_that_take_turns_are_both_heard() -> None:
    hearing = Hearing("node-a")
    for number in range(1, 4):
        hearing.note(word(number, "one"), Instant(number * 400))
        hearing.note(word(number, "two"), Instant(number * 400 + 200))
    assert hearing.statements(Instant(1_500)) == SAID * 2


def test_many_speakers_cost_bounded_memory() -> None:
    hearing = Hearing("node-a")
    for number in range(1_000):
        hearing.note(word(1, f"speech-{number}"), Instant(number))
    assert len(hearing._heard) <= 8


# The shell, beside an API server that is a dictionary


class Store:
    """The one object that both sides use."""

    def __init__(self) -> None:
        self.item: Any = None
        self.writes = 0
        self.reads = 0
        self.refusal: Exception | None = None

    async def apply(self, *_: Any, **__: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.item = _[3]
        self.writes += 1

    async def get(self, *_: Any) -> Any:
        self.reads += 1
        return self.item


@dataclass
class Keeping:
    view: GroupView | None
    wakings: int = 0

    def wake(self) -> None:
        self.wakings += 1


class Waiting(NoLease):
    holds = False  # type: ignore[misc]  # what the other one is


def witness(store: Store, keeping: Keeping, host: str, *, acts: bool) -> Witness:
    keepers: Iterable[Any] = [(("n", "cache"), keeping)]
    lease = NoLease() if acts else Waiting()
    return Witness(store, "n", (f"operator-{host}", host), lease, lambda: keepers)  # type: ignore[arg-type]  # two of its methods


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - on what other tasks do to plain values
            await asyncio.sleep(0.02)


def silent_now() -> GroupView:
    """A primary that gave no answer for longer than any test takes to run."""
    from everfly.operator.probe import now_ms  # noqa: PLC0415 - the clock of the machine, here alone

    return replace(group(Contact(failing_since=Instant(now_ms() - 5_000)), SEEN))


async def test_one_that_waits_is_heard_by_the_one_that_acts() -> None:
    store = Store()
    speaking, acting = Keeping(silent_now()), Keeping(silent_now())
    one, two = witness(store, speaking, "a", acts=False), witness(store, acting, "b", acts=True)
    tasks = [asyncio.create_task(each.run()) for each in (one, two)]
    try:
        await until(two.statements)
    finally:
        for each in tasks:
            each.cancel()
    (said,) = two.statements()
    assert (said.witness, said.incarnation) == ("operator-a", P)
    assert said.silent_for >= 5_000
    assert acting.wakings > 0
    assert one.statements() == ()
    assert store.item["metadata"]["name"] == WITNESS_NAME


@pytest.mark.parametrize("acts", [False, True])
@pytest.mark.parametrize(
    "view",
    [
        group(SEEN, SEEN),
        group(Contact(), SEEN),
        # Nobody could take the place of one alone, and of a group that sleeps nothing is there.
        group(lost(9_000)),
        GroupView((), Record("p-0")),
        None,
    ],
    ids=["well", "begins", "alone", "sleeps", "not seen yet"],
)
async def test_where_nobody_could_help_nothing_is_asked(acts: bool, view: Any) -> None:
    store, keeping = Store(), Keeping(view)
    looks = 0

    def keepers() -> Iterable[Any]:
        nonlocal looks
        looks += 1
        return [(("n", "cache"), keeping)]

    one = Witness(store, "n", ("o", "a"), NoLease() if acts else Waiting(), keepers)  # type: ignore[arg-type]  # two of its methods
    task = asyncio.create_task(one.run())
    await until(lambda: looks >= 3)
    task.cancel()
    assert (store.reads, store.writes) == (0, 0)


async def test_after_a_write_of_unknown_fate_it_counts_anew() -> None:
    store, keeping = Store(), Keeping(silent_now())
    one = witness(store, keeping, "a", acts=False)
    task = asyncio.create_task(one.run())
    await until(lambda: store.writes >= 2)
    first = word_of(store.item)
    store.refusal = Unavailable("no answer")
    await until(lambda: one._trouble)
    store.refusal = None
    await until(lambda: store.writes >= 3 and not one._trouble)
    task.cancel()
    second = word_of(store.item)
    assert first is not None
    assert second is not None
    assert second.speech != first.speech


async def test_rights_that_are_missing_are_told_once_and_stop_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, keeping = Store(), Keeping(silent_now())
    store.refusal = Refused(403, "Forbidden", "leases are not yours")
    one = witness(store, keeping, "a", acts=False)
    task = asyncio.create_task(one.run())
    await until(lambda: "leases are not yours" in caplog.text)
    assert not task.done()
    task.cancel()


async def test_an_operator_that_does_not_know_its_machine_stays_out_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    def keepers() -> Iterable[Any]:
        raise AssertionError("it looked")

    store = Store()
    one = Witness(store, "n", ("o", ""), Waiting(), keepers)  # type: ignore[arg-type]  # two of its methods
    task = asyncio.create_task(one.run())
    await until(lambda: "NODE_NAME" in caplog.text)
    assert not task.done()
    task.cancel()
    assert (store.reads, store.writes) == (0, 0)
