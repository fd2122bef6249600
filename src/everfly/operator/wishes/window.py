"""Turn `spec.everfly.maintenanceWindow` and the time of day into: open, or closed, and until when.

    maintenanceWindow:
      schedule: "0 3 * * 0"        when it opens, in cron's five fields
      timezone: Europe/Paris       default UTC
      duration: 2h                 days, hours and minutes: 1d, 90m, 1h30m
      appliesTo: Primary           or All: restarts of replicas wait too

Pure: the time is given. Rules: a window lasts its whole duration also where clocks are put forward
or back in it; where one opens while another is open, the later end counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from everfly.operator.wishes.fields import Fields

APPLIES_TO: Final = ("Primary", "All")
DURATION_MAX: Final = timedelta(days=7)
"""Whoever wants it open for longer wants no window."""
_DURATION: Final = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?")
_EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""From where on a schedule must come true at least once. A year with a 29th of February."""


@dataclass(frozen=True)
class MaintenanceWindow:
    """When changes are made that nothing urges."""

    schedule: str
    timezone: str
    duration: timedelta
    covers_replicas: bool = False
    """Restarts of replicas wait for it too."""


@dataclass(frozen=True)
class WindowState:
    """How a window is, and when that changes."""

    is_open: bool
    until: datetime


def state_of(window: MaintenanceWindow, now: datetime) -> WindowState:
    """Return how a window is at an aware moment."""
    begins = _begins(window, now - window.duration)
    latest, following = None, next(begins)
    while following <= now:
        latest, following = following, next(begins)
    if latest is not None and now < latest + window.duration:
        return WindowState(is_open=True, until=latest + window.duration)
    return WindowState(is_open=False, until=following)


class WindowClock:
    """Remembers how a window is until that changes."""

    def __init__(self) -> None:
        self._last: tuple[MaintenanceWindow, WindowState] | None = None

    def look(self, window: MaintenanceWindow, now: datetime) -> WindowState:
        """Return how a window is at an aware moment, which is not before the one asked for last."""
        if self._last is None or self._last[0] != window or now >= self._last[1].until:
            self._last = window, state_of(window, now)
        return self._last[1]


def _begins(window: MaintenanceWindow, after: datetime) -> Iterator[datetime]:
    """Yield when the window opens, later than a moment, in UTC."""
    local = after.astimezone(_zone(window.timezone))
    return (each.astimezone(UTC) for each in CronSim(window.schedule, local))


@cache
def _zone(name: str) -> tzinfo:
    # The usual one works also where the system has no files of time zones.
    return UTC if name == "UTC" else ZoneInfo(name)


def read_window(fields: Fields | None) -> MaintenanceWindow | None:
    """Return what the field says; problems are noted in it."""
    if fields is None:
        return None
    schedule, zone = fields.text("schedule"), fields.text("timezone", "UTC")
    duration = _read_duration(fields)
    scope = fields.one_of("appliesTo", APPLIES_TO)
    try:
        _zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        text = f"must be the name of a time zone, such as Europe/Paris, is {zone!r}"
        fields.problems.add(f"{fields.path}.timezone", text)
        return None
    if duration is None or not _is_schedule(schedule):
        if duration is not None:
            text = f"must be five fields of cron that come true one day, is {schedule!r}"
            fields.problems.add(f"{fields.path}.schedule", text)
        return None
    return MaintenanceWindow(schedule, zone, duration, covers_replicas=scope == "All")


def _is_schedule(text: str) -> bool:
    # The library knows a sixth field, for seconds; cron does not.
    if len(text.split()) != 5:
        return False
    try:
        next(CronSim(text, _EPOCH))
    except (CronSimError, StopIteration):
        return False
    return True


def _read_duration(fields: Fields) -> timedelta | None:
    text = fields.text("duration")
    found = _DURATION.fullmatch(text)
    days, hours, minutes = (int(each or 0) for each in found.groups()) if found else (0, 0, 0)
    duration = timedelta(days=days, hours=hours, minutes=minutes)
    if timedelta(0) < duration <= DURATION_MAX:
        return duration
    words = f"must be days, hours and minutes up to 7d, such as 1h30m, is {text!r}"
    fields.problems.add(f"{fields.path}.duration", words)
    return None
