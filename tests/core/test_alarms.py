"""Alarms wake everybody by the earliest instant that was asked for, once, in order."""

from hypothesis import given
from hypothesis import strategies as st

from everfly.core.alarms import Alarms
from everfly.core.model import Instant
from everfly.core.records import Timed

WISHES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=40)


def pop_all(alarms: Alarms, now: int) -> list[Timed]:
    popped = []
    while (who := alarms.pop_due(Instant(now))) is not None:
        popped.append(who)
    return popped


@given(WISHES, st.sets(st.integers(0, 5)), st.integers(0, 60))
def test_who_is_due_is_woken_once_and_the_rest_is_kept(
    wishes: list[tuple[int, int]], gone: set[int], now: int
) -> None:
    alarms = Alarms()
    timed = [Timed() for _ in range(6)]
    earliest: dict[int, int] = {}
    for who, at in wishes:
        alarms.wake(timed[who], Instant(at))
        earliest[who] = min(at, earliest.get(who, at))
    for who in gone:
        timed[who].is_gone = True
        earliest.pop(who, None)

    due = [who for who, at in earliest.items() if at <= now]
    popped = [timed.index(who) for who in pop_all(alarms, now)]
    assert sorted(popped) == sorted(due)
    assert [earliest[who] for who in popped] == sorted(earliest[who] for who in due)
    rest = [at for at in earliest.values() if at > now]
    assert alarms.earliest() == min(rest, default=None)


@given(WISHES)
def test_who_was_woken_can_ask_again(wishes: list[tuple[int, int]]) -> None:
    alarms = Alarms()
    timed = [Timed() for _ in range(6)]
    for who, at in wishes:
        alarms.wake(timed[who], Instant(at))
    pop_all(alarms, 50)
    assert alarms.earliest() is None
    alarms.wake(timed[0], Instant(70))
    alarms.wake(timed[0], Instant(60))
    assert alarms.earliest() == 60
    assert pop_all(alarms, 100) == [timed[0]]
