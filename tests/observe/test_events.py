import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from everfly.core.model import Address
from everfly.observe.events import SAME_WITHIN_S, Event, Merger, merged, now

ONE, TWO, THREE = (Address("10.0.0.9", 26379 + number) for number in range(3))
START = datetime(2026, 1, 1, tzinfo=UTC)
SDOWN = "master g 10.0.0.1 6379"


def said(
    source: Address, after_s: float = 0.0, channel: str = "+sdown", payload: str = SDOWN
) -> Event:
    at = START + timedelta(seconds=after_s)
    return Event(at=at, sources=(source,), channel=channel, payload=payload)


def lines(*events: Event) -> list[tuple[str, int]]:
    merger = Merger()
    for event in events:
        merger.add(event)
    due = merger.take_due(START + timedelta(hours=1), 0.5)
    return [(each.payload, len(each.sources)) for each in due]


def test_the_same_event_of_three_sentinels_is_one_line_with_three_marks() -> None:
    assert lines(said(ONE), said(TWO, 0.1), said(THREE, 0.2)) == [(SDOWN, 3)]


def test_what_each_sentinel_counted_does_not_make_it_another_event() -> None:
    first, second = SDOWN + " #quorum 2/2", SDOWN + " #quorum 3/2"
    assert lines(said(ONE, payload=first), said(TWO, payload=second)) == [(first, 2)]


def test_one_sentinel_that_repeats_itself_says_something_new() -> None:
    assert lines(said(ONE), said(ONE, 0.1)) == [(SDOWN, 1), (SDOWN, 1)]


def test_other_words_are_another_event() -> None:
    other = SDOWN.replace("6379", "6380")
    assert lines(said(ONE), said(TWO, payload=other)) == [(SDOWN, 1), (other, 1)]


def test_what_comes_after_the_window_is_another_event() -> None:
    assert len(lines(said(ONE), said(TWO, SAME_WITHIN_S + 0.1))) == 2


def test_a_latecomer_makes_no_second_line() -> None:
    merger = Merger()
    merger.add(said(ONE))
    assert len(merger.take_due(START + timedelta(seconds=0.5), 0.5)) == 1
    merger.add(said(TWO, 1.1))
    assert merger.take_due(START + timedelta(seconds=9), 0.5) == []


def test_an_event_waits_for_its_companions_and_no_longer() -> None:
    merger = Merger()
    assert merger.seconds_until_due(START, 0.5) is None
    merger.add(said(ONE))
    assert merger.seconds_until_due(START + timedelta(seconds=0.2), 0.5) == pytest.approx(0.3)
    assert merger.take_due(START + timedelta(seconds=0.4), 0.5) == []
    assert len(merger.take_due(START + timedelta(seconds=0.5), 0.5)) == 1


async def test_the_end_of_the_stream_flushes_what_waits() -> None:
    async def stream() -> AsyncIterator[Event]:
        for source in (ONE, TWO):
            yield Event(at=now(), sources=(source,), channel="+sdown", payload=SDOWN)
            await asyncio.sleep(0)

    got = [event async for event in merged(stream(), hold_s=60)]
    assert [event.sources for event in got] == [(ONE, TWO)]


@pytest.mark.parametrize(
    ("channel", "payload", "concerns"),
    [
        ("+sdown", "master g 10.0.0.1 6379", True),
        ("+sdown", "master other 10.0.0.1 6379", False),
        ("+slave", "slave 10.0.0.2:6379 10.0.0.2 6379 @ g 10.0.0.1 6379", True),
        ("+slave", "slave 10.0.0.2:6379 10.0.0.2 6379 @ other 10.0.0.1 6379", False),
        ("+switch-master", "g 10.0.0.1 6379 10.0.0.2 6379", True),
        ("+switch-master", "other 10.0.0.1 6379 10.0.0.2 6379", False),
        ("+tilt", "#tilt mode entered", True),
        ("+sdown", "", False),
    ],
)
def test_an_event_concerns_its_group(channel: str, payload: str, concerns: bool) -> None:
    assert said(ONE, channel=channel, payload=payload).concerns("g") is concerns
