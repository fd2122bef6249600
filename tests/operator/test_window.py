"""When the maintenance window is open, in the time zone of people, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from everfly.operator.wishes.spec import SpecError, read_spec
from everfly.operator.wishes.window import MaintenanceWindow, WindowState, state_of

NIGHTLY = MaintenanceWindow("0 3 * * *", "Europe/Paris", timedelta(hours=2))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "is_open", "until"),
    [
        ("2026-01-10T01:59:59", False, "2026-01-10T02:00:00"),  # winter: Paris is an hour ahead
        ("2026-01-10T02:00:00", True, "2026-01-10T04:00:00"),
        ("2026-01-10T03:59:59.999999", True, "2026-01-10T04:00:00"),
        ("2026-01-10T04:00:00", False, "2026-01-11T02:00:00"),
        ("2026-07-10T01:00:00", True, "2026-07-10T03:00:00"),  # summer: two hours
    ],
)
def test_a_window_opens_and_closes_in_its_own_time_zone(
    now: str, is_open: bool, until: str
) -> None:
    assert state_of(NIGHTLY, utc(now)) == WindowState(is_open, utc(until))


def test_a_window_is_as_long_when_clocks_are_put_forward_in_it() -> None:
    early = MaintenanceWindow("30 1 * * *", "Europe/Paris", timedelta(hours=2))
    opened = utc("2026-03-29T00:30:00")
    assert state_of(early, opened) == WindowState(is_open=True, until=opened + early.duration)


def test_windows_that_overlap_are_one() -> None:
    hourly = MaintenanceWindow("0 * * * *", "UTC", timedelta(minutes=90))
    state = state_of(hourly, utc("2026-01-10T05:10:00"))
    assert state == WindowState(is_open=True, until=utc("2026-01-10T06:30:00"))


def window_of(**fields: object) -> MaintenanceWindow | None:
    told = {"schedule": "0 3 * * 0", "duration": "2h"} | fields
    return read_spec({"everfly": {"maintenanceWindow": told}}).extras.window  # type: ignore[dict-item]  # JSON


def test_a_window_is_read_with_its_defaults() -> None:
    assert window_of() == MaintenanceWindow("0 3 * * 0", "UTC", timedelta(hours=2))
    wide = window_of(duration="1d2h30m", timezone="Asia/Tokyo", appliesTo="All")
    length = timedelta(days=1, hours=2, minutes=30)
    assert wide == MaintenanceWindow("0 3 * * 0", "Asia/Tokyo", length, covers_replicas=True)
    assert read_spec({}).extras.window is None


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("schedule", "0 3 * *"),
        ("schedule", "0 0 3 * * 0"),
        ("schedule", "0 25 * * *"),
        ("schedule", "0 0 30 2 *"),
        ("duration", ""),
        ("duration", "0h"),
        ("duration", "2 hours"),
        ("duration", "8d"),
        ("timezone", "Europe/Nowhere"),
        ("timezone", "../etc/passwd"),
        ("appliesTo", "Nobody"),
    ],
)
def test_what_is_wrong_is_refused_with_the_path_of_the_field(field: str, wrong: str) -> None:
    with pytest.raises(SpecError) as refused:
        window_of(**{field: wrong})
    (problem,) = refused.value.problems
    assert problem.startswith(f"spec.everfly.maintenanceWindow.{field}: ")
    assert repr(wrong) in problem
