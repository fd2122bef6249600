"""Turn schedules into backups at their times, and remove those that are kept no longer.

Rules: the name of a backup follows from its time, so that a run is made once, whoever makes it; one
backup of a schedule at a time; what is not made is told.
"""

import asyncio
import contextlib
import logging
import time
from typing import Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator.apiserver.api import Patch, Refused
from everfly.operator.apiserver.caches import Cache
from everfly.operator.apiserver.events import WARNING
from everfly.operator.backups.desk import Desk
from everfly.operator.backups.names import (
    API_VERSION,
    BACKUP,
    BACKUP_KIND,
    LABEL_SCHEDULE,
    LABEL_STORE,
    SCHEDULE_STATUS,
)
from everfly.operator.backups.progress import progress_of, stamp_of
from everfly.operator.backups.sight import BackupSight, seconds_of
from everfly.operator.backups.spec import ScheduleSpec, read_schedule
from everfly.operator.backups.timetable import Due, Kept, due, name_of_run, superfluous
from everfly.operator.manifest import Json, JsonObject, part, text
from everfly.operator.wishes.spec import SpecError

log = logging.getLogger(__name__)

LOOK_MAX_S: Final = 10.0
"""Between looks: clocks are set, and a run is told as late only after seconds."""


class Schedules:
    """All schedules. `run` it until cancelled."""

    def __init__(self, desk: Desk, schedules: Cache[BackupSight]) -> None:
        self._desk = desk
        self._schedules = schedules
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            self._wake.clear()
            pause = LOOK_MAX_S
            if self._desk.tools.lease.holds:
                for schedule in self._all():
                    pause = min(pause, await self._look(schedule))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _all(self) -> list[BackupSight]:
        return [each for _, each in self._schedules.items()]

    async def _look(self, schedule: BackupSight) -> float:
        """Look at one. Return the seconds until the next look."""
        if schedule.is_terminating:
            return LOOK_MAX_S
        try:
            spec = read_schedule(schedule.spec)
        except SpecError as error:
            await self._tell_wrong(schedule, str(error))
            return LOOK_MAX_S
        try:
            return await self._turn(schedule, spec)
        except EverflyError as error:
            log.warning("schedule %s/%s: %s", schedule.namespace, schedule.name, error)
            return LOOK_MAX_S

    async def _turn(self, schedule: BackupSight, spec: ScheduleSpec) -> float:
        now = time.time()
        made = [
            each
            for key, each in self._desk.backups.items()
            if key[0] == schedule.namespace and each.schedule == schedule.name
        ]
        await self._remove(schedule, spec, made, now)
        since = seconds_of(text(schedule.status, "lastScheduledAt")) or schedule.created_at
        timing = due(spec.cron, since, now)
        if timing.run is not None:
            await self._run(schedule, spec, made, timing)
            return 0.05
        await self._write(schedule, self._fields(schedule, timing, ""))
        return min(LOOK_MAX_S, max(0.05, timing.next_run - now))

    async def _run(
        self, schedule: BackupSight, spec: ScheduleSpec, made: list[BackupSight], timing: Due
    ) -> None:
        """Make the run that is due, or tell why not; either way it is written down as seen."""
        assert timing.run is not None
        late_s = time.time() - timing.run
        busy = next((each for each in made if not progress_of(each.status).phase.is_over), None)
        name = name_of_run(schedule.name, timing.run)
        trouble = ""
        if spec.is_suspended:
            pass
        elif spec.starting_deadline_s and late_s > spec.starting_deadline_s:
            trouble = f"the run of {stamp_of(timing.run)} was missed: it is {late_s:.0f} s late"
        elif busy is not None and busy.name != name:
            trouble = f"the run of {stamp_of(timing.run)} was skipped: {busy.name} is not over yet"
        else:
            await self._create(schedule, spec, name)
        if timing.missed and not spec.is_suspended:
            trouble = "; ".join(filter(None, (trouble, f"{timing.missed} runs before were missed")))
        if trouble:
            self._tell(schedule, spec, trouble)
        await self._write(schedule, self._fields(schedule, timing, trouble))

    async def _create(self, schedule: BackupSight, spec: ScheduleSpec, name: str) -> None:
        template = dict(part(schedule.spec, "template"))
        template.setdefault("deletionPolicy", "Delete" if spec.backup.deletes_files else "Retain")
        manifest: JsonObject = {
            "apiVersion": API_VERSION,
            "kind": BACKUP_KIND,
            "metadata": {
                "name": name,
                "namespace": schedule.namespace,
                "labels": {LABEL_SCHEDULE: schedule.name, LABEL_STORE: spec.backup.store},
            },
            "spec": {**template, "store": spec.backup.store},
        }
        try:
            item = await self._desk.tools.api.create(BACKUP, schedule.namespace, manifest)
        except Refused as error:
            if error.code != httpx2.codes.CONFLICT:
                raise
        else:
            self._desk.backups.put(item)

    async def _remove(
        self, schedule: BackupSight, spec: ScheduleSpec, made: list[BackupSight], now: float
    ) -> None:
        kept = []
        for each in made:
            progress = progress_of(each.status)
            at = progress.completed_at or each.created_at
            kept.append(Kept(each.name, progress.phase, at))
        going = {each.name for each in made if each.is_terminating}
        for name in superfluous(kept, spec.keep, spec.max_age_s, now):
            if name not in going:
                log.info(
                    "schedule %s/%s: %s is kept no longer", schedule.namespace, schedule.name, name
                )
                await self._desk.tools.api.delete(BACKUP, name, schedule.namespace)

    def _fields(self, schedule: BackupSight, timing: Due, trouble: str) -> dict[str, Json]:
        last = stamp_of(timing.run) if timing.run is not None else None
        told = text(schedule.status, "lastTrouble")
        return {
            "lastScheduledAt": last or text(schedule.status, "lastScheduledAt") or None,
            "nextRunAt": stamp_of(timing.next_run),
            # What was told last stays until a run was made.
            "lastTrouble": (trouble if timing.run is not None else told) or None,
            "problem": None,
        }

    async def _tell_wrong(self, schedule: BackupSight, problem: str) -> None:
        with contextlib.suppress(EverflyError):
            await self._write(schedule, {"problem": problem[:1000], "nextRunAt": None})

    async def _write(self, schedule: BackupSight, fields: dict[str, Json]) -> None:
        if all(schedule.status.get(key) == value for key, value in fields.items()):
            return
        change: Json = {"metadata": {"resourceVersion": schedule.version}, "status": fields}
        item = await self._desk.tools.api.patch(
            SCHEDULE_STATUS, schedule.name, schedule.namespace, change, Patch.MERGE
        )
        self._schedules.put(item)

    def _tell(self, schedule: BackupSight, spec: ScheduleSpec, trouble: str) -> None:
        log.warning("schedule %s/%s: %s", schedule.namespace, schedule.name, trouble)
        store = self._desk.tools.inventory.stores.get((schedule.namespace, spec.backup.store))
        if store is not None:
            message = f"schedule {schedule.name}: {trouble}"
            self._desk.tools.events.tell(store, WARNING, "BackupMissed", message)
