"""Turn `spec` of a backup and of a schedule into frozen values.

As with a data store, what is wrong is refused as a whole, with the path of every wrong field.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

from everfly.operator.backups.place import Bucket, Place, read_place
from everfly.operator.manifest import JsonObject
from everfly.operator.wishes.fields import Fields, Problems
from everfly.operator.wishes.spec import SpecError

ATTEMPT_S: Final = 3600
"""What one attempt may take unless the resource says otherwise."""
BACKOFF_LIMIT: Final = 3
RETRIES_MAX: Final = 100
KEEP_MAX: Final = 10_000

_AGE: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_AGE_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_POLICIES: Final = ("Retain", "Delete")


@dataclass(frozen=True)
class BackupSpec:
    """What one backup is asked to be."""

    store: str
    place: Place
    verifies: bool = True
    """Read it back before it is called good."""
    deletes_files: bool = False
    backoff_limit: int = BACKOFF_LIMIT
    attempt_s: int = ATTEMPT_S
    resources: JsonObject | None = None
    """None: those of the data store."""
    image: str = ""
    """Empty: what the data store runs."""


@dataclass(frozen=True)
class ScheduleSpec:
    """When backups are made, and how long they are kept."""

    backup: BackupSpec
    cron: str
    is_suspended: bool = False
    starting_deadline_s: int = 0
    """0: however late."""
    keep: int = 0
    """Good ones; 0: all."""
    max_age_s: int = 0
    """0: for ever."""


def read_backup(value: JsonObject) -> BackupSpec:
    """Return what the `spec` of a backup says. Raise SpecError, which names every wrong field."""
    problems = Problems()
    fields = Fields(value, "spec", problems)
    spec = _backup(fields, _store(fields), deletes_files=False)
    if problems.found:
        raise SpecError(tuple(problems.found))
    return spec


def read_schedule(value: JsonObject) -> ScheduleSpec:
    """Return what the `spec` of a schedule says. Raise SpecError."""
    problems = Problems()
    fields = Fields(value, "spec", problems)
    cron = fields.text("schedule")
    try:
        CronSim(cron, datetime.now(UTC))
    except CronSimError as error:
        problems.add("spec.schedule", f"is no cron expression ({error}): {cron!r}")
    retention = fields.part("retention")
    template = Fields(fields.object("template") or {}, "spec.template", problems)
    spec = ScheduleSpec(
        # A volume on which nothing is ever removed fills.
        backup=_backup(template, _store(fields), deletes_files=True),
        cron=cron,
        is_suspended=fields.flag("suspend"),
        starting_deadline_s=fields.integer("startingDeadlineSeconds"),
        keep=retention.integer("keep", most=KEEP_MAX) if retention else 0,
        max_age_s=_age(retention, "maxAge") if retention else 0,
    )
    if problems.found:
        raise SpecError(tuple(problems.found))
    return spec


def _store(fields: Fields) -> str:
    store = fields.text("store")
    if not store:
        fields.problems.add(f"{fields.path}.store", "is required: the name of a Dragonfly")
    return store


def _backup(fields: Fields, store: str, *, deletes_files: bool) -> BackupSpec:
    to = fields.part("to")
    if to is None:
        fields.problems.add(f"{fields.path}.to", "is required: one of volume and s3")
        to = Fields({"volume": {"claimName": "none"}}, f"{fields.path}.to", fields.problems)
    place = read_place(to)
    is_bucket = isinstance(place, Bucket)
    policy = fields.text("deletionPolicy") or _POLICIES[deletes_files and not is_bucket]
    if policy not in _POLICIES:
        words = " or ".join(_POLICIES)
        fields.problems.add(f"{fields.path}.deletionPolicy", f"must be {words}, is {policy!r}")
    elif policy == "Delete" and is_bucket:
        problem = "must be Retain: no engine removes from a bucket; give it a rule of its own"
        fields.problems.add(f"{fields.path}.deletionPolicy", problem)
    return BackupSpec(
        store=store,
        place=place,
        verifies=fields.flag("verify", default=True),
        deletes_files=policy == "Delete",
        backoff_limit=fields.integer("backoffLimit", BACKOFF_LIMIT, most=RETRIES_MAX),
        attempt_s=fields.integer("timeoutSeconds", ATTEMPT_S, least=1),
        resources=fields.object("resources"),
        image=fields.text("image"),
    )


def _age(fields: Fields, name: str) -> int:
    word = fields.text(name)
    if not word:
        return 0
    found = _AGE.fullmatch(word)
    if found is None:
        fields.problems.add(f"{fields.path}.{name}", f"must be such as 12h, 30d, 8w; is {word!r}")
        return 0
    return int(found[1]) * _AGE_UNITS[found[2]]
