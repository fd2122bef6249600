"""Turn a schedule, the clock and what there is into what is due and what may go. Pure.

Rules: times are UTC; one run is due at a time, the latest that was not made yet; what was missed is
counted and told, never made up for in a burst; the last good backup is never removed for its age.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim

from everfly.operator.backups.names import short_name
from everfly.operator.backups.progress import Phase

MISSED_MAX: Final = 1_000
"""Runs that are counted one by one after a long pause."""
FAILED_KEPT: Final = 3
"""Backups that failed and are kept for people to read."""
_SUFFIX: Final = "%Y%m%d-%H%M%S"


@dataclass(frozen=True, slots=True)
class Due:
    """What a schedule asks for now. Times are seconds since 1970."""

    run: float | None
    """The latest run that was not made yet; None: none is due."""
    missed: int
    """Runs before that one which were not made."""
    next_run: float


def due(cron: str, since: float, now: float) -> Due:
    """Return what is due after `since`, up to `now`."""
    times = (each.timestamp() for each in CronSim(cron, datetime.fromtimestamp(since, UTC)))
    passed: list[float] = []
    for each in itertools.islice(times, MISSED_MAX + 1):
        if each > now:
            return Due(passed[-1] if passed else None, max(0, len(passed) - 1), each)
        passed.append(each)
    # So many were missed that the next one is sought from now on.
    upcoming = next(iter(CronSim(cron, datetime.fromtimestamp(now, UTC))), None)
    return Due(passed[-1], len(passed) - 1, upcoming.timestamp() if upcoming else now + MISSED_MAX)


def name_of_run(schedule: str, run: float) -> str:
    """Return the name of the backup of a run: the same whoever makes it."""
    return short_name(schedule, datetime.fromtimestamp(run, UTC).strftime(_SUFFIX))


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup that a schedule made."""

    name: str
    phase: Phase
    at: float
    """When it was completed, or created where it was not."""


def superfluous(kept: Sequence[Kept], keep: int, max_age_s: int, now: float) -> list[str]:
    """Return the names of those that may go; `keep` 0: any number, `max_age_s` 0: any age."""
    newest_first = sorted(kept, key=lambda each: (each.at, each.name), reverse=True)
    good = [each for each in newest_first if each.phase is Phase.COMPLETED]
    failed = [each for each in newest_first if each.phase is Phase.FAILED]
    gone = [
        each.name
        for index, each in enumerate(good)
        if index and ((keep and index >= keep) or (max_age_s and now - each.at > max_age_s))
    ]
    if keep or max_age_s:
        gone += [each.name for each in failed[FAILED_KEPT:]]
    return gone
