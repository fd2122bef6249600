"""When a schedule is due, what was missed, what it is called, and which backups may go."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.operator.backups.names import NAME_LETTERS_MAX, basename_of, ferry_name
from everfly.operator.backups.progress import Phase
from everfly.operator.backups.timetable import FAILED_KEPT, Kept, due, name_of_run, superfluous

HOUR = 3600.0
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
DONE, FAILED, RUNNING = Phase.COMPLETED, Phase.FAILED, Phase.SAVING


def test_nothing_is_due_between_two_runs() -> None:
    found = due("0 * * * *", NOON, NOON + 1800)
    assert (found.run, found.missed, found.next_run) == (None, 0, NOON + HOUR)


def test_a_run_is_due_from_its_time_on_and_once() -> None:
    found = due("0 * * * *", NOON, NOON + HOUR)
    assert (found.run, found.missed) == (NOON + HOUR, 0)
    assert due("0 * * * *", NOON + HOUR, NOON + HOUR).run is None


def test_of_missed_runs_only_the_last_is_due() -> None:
    found = due("0 * * * *", NOON, NOON + 5.5 * HOUR)
    assert (found.run, found.missed) == (NOON + 5 * HOUR, 4)
    assert found.next_run == NOON + 6 * HOUR


def test_a_pause_of_years_is_counted_up_to_a_bound() -> None:
    found = due("* * * * *", NOON, NOON + 3 * 365 * 24 * HOUR)
    assert found.run is not None
    assert found.missed == 1000
    assert found.next_run > NOON + 3 * 365 * 24 * HOUR


def test_times_are_utc() -> None:
    found = due("30 2 * * *", NOON, NOON + 24 * HOUR)
    assert found.run == datetime(2026, 11, 25, 2, 30, tzinfo=UTC).timestamp()


def test_the_name_of_a_run_follows_from_its_time() -> None:
    assert name_of_run("nightly", NOON) == "nightly-20261124-120000"


@given(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", fullmatch=True))
def test_names_fit_wherever_they_are_used(name: str) -> None:
    for made in (name_of_run(name, NOON), ferry_name(name, 12)):
        assert len(made) <= NAME_LETTERS_MAX
        assert "." not in made
    base = basename_of(name, "0123456789abcdef", 3)
    assert "." not in base
    assert "summary" not in base


def test_two_names_that_are_cut_stay_two() -> None:
    assert ferry_name("a" * 80 + "x", 1) != ferry_name("a" * 80 + "y", 1)
    assert ferry_name("a.b", 1) != ferry_name("a-b", 1)


def kept(*rows: tuple[str, Phase, float]) -> list[Kept]:
    return [Kept(name, phase, NOON - hours * HOUR) for name, phase, hours in rows]


def test_as_many_good_ones_are_kept_as_asked() -> None:
    rows = kept(("a", DONE, 4), ("b", DONE, 3), ("c", FAILED, 2), ("d", DONE, 1), ("e", RUNNING, 0))
    assert superfluous(rows, keep=2, max_age_s=0, now=NOON) == ["a"]
    assert superfluous(rows, keep=0, max_age_s=0, now=NOON) == []


def test_old_ones_go_but_for_the_last_good_one() -> None:
    rows = kept(("a", DONE, 90), ("b", DONE, 80), ("c", FAILED, 1))
    assert superfluous(rows, keep=0, max_age_s=3600, now=NOON) == ["a"]
    assert superfluous(rows[1:], keep=0, max_age_s=3600, now=NOON) == []


def test_what_is_under_way_never_goes() -> None:
    rows = kept(*((f"r{i}", RUNNING, float(i)) for i in range(9)))
    assert superfluous(rows, keep=1, max_age_s=1, now=NOON) == []


def test_some_that_failed_are_kept_for_people_to_read() -> None:
    rows = kept(*((f"f{i}", FAILED, float(i)) for i in range(6)))
    assert superfluous(rows, keep=5, max_age_s=0, now=NOON) == ["f3", "f4", "f5"]
    assert FAILED_KEPT == 3


@pytest.mark.parametrize("keep", [1, 2, 7])
@given(data=st.data())
def test_the_newest_good_ones_are_never_among_those_that_go(keep: int, data: st.DataObject) -> None:
    phases = st.sampled_from([DONE, FAILED, RUNNING])
    rows = kept(
        *((f"b{i}", phase, float(i)) for i, phase in enumerate(data.draw(st.lists(phases))))
    )
    gone = superfluous(rows, keep=keep, max_age_s=0, now=NOON)
    good = [each.name for each in rows if each.phase is DONE]
    assert not set(good[:keep]) & set(gone)
    assert set(good[keep:]) <= set(gone)
