"""Look after all backups and schedules of a cluster, beside the data stores.

Rules: a keeper for each backup, one loop for all schedules; where the definitions are not in the
cluster, or may not be read, that is said once and looked for again now and then, and data stores
are kept as ever.
"""

import asyncio
import logging
import time
from typing import Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator.apiserver.api import Refused
from everfly.operator.apiserver.caches import Cache, Key, Selection
from everfly.operator.backups.desk import Desk, Tally
from everfly.operator.backups.dock import Dock
from everfly.operator.backups.keeper import BackupKeeper
from everfly.operator.backups.metrics import LIMITS, metrics_text
from everfly.operator.backups.names import BACKUP, SCHEDULE
from everfly.operator.backups.schedules import Schedules
from everfly.operator.backups.sight import BackupSight, backup_sight
from everfly.operator.deeds import Tools
from everfly.operator.resources import Around
from everfly.wire.exposition import Histogram

log = logging.getLogger(__name__)

ABSENT_S: Final = 60.0
"""Between two looks for definitions that are not there."""
RESTART_S: Final = 1.0
_ABSENT: Final = (httpx2.codes.NOT_FOUND, httpx2.codes.FORBIDDEN)


class Backups:
    """All backups of a cluster. `run` it until cancelled."""

    def __init__(self, tools: Tools, around: Around, namespaces: tuple[str, ...]) -> None:
        self._tools = tools
        self._namespaces = namespaces
        self._tallies: dict[Key, Tally] = {}
        self._times = Histogram(LIMITS)
        self._backups: Cache[BackupSight] = Cache(
            tools.api, Selection(BACKUP, namespaces), backup_sight, self._note
        )
        self._plans: Cache[BackupSight] = Cache(
            tools.api, Selection(SCHEDULE, namespaces), backup_sight, lambda *_: self._wake_plans()
        )
        self._desk = Desk(tools, Dock(tools.api, around), self._backups, self._tallies)
        self._schedules = Schedules(self._desk, self._plans)
        self._keepers: dict[Key, BackupKeeper] = {}
        self._fresh: asyncio.Queue[Key] = asyncio.Queue()

    def metrics(self) -> str:
        """Return what there is to scrape."""
        return metrics_text(self._backups.items(), self._tallies, time.time(), self._times)

    def _wake_plans(self) -> None:
        self._schedules.wake()

    def _note(self, key: Key, _: BackupSight) -> None:
        keeper = self._keepers.get(key)
        if keeper is not None:
            keeper.wake()
        elif self._backups.get(key) is not None:
            self._fresh.put_nowait(key)
        self._schedules.wake()

    async def run(self) -> None:
        """Look after them until cancelled."""
        await self._wait_defined()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._backups.run(), name="watch of backups")
            tasks.create_task(self._plans.run(), name="watch of schedules")
            await self._backups.wait_synced()
            await self._plans.wait_synced()
            await self._tools.inventory.wait_synced()
            tasks.create_task(self._keep_schedules(), name="schedules of backups")
            while True:
                key = await self._fresh.get()
                if key not in self._keepers and self._backups.get(key) is not None:
                    keeper = self._keepers[key] = BackupKeeper(key, self._desk)
                    tasks.create_task(self._keep(key, keeper), name=f"backup {key[0]}/{key[1]}")

    async def _keep(self, key: Key, keeper: BackupKeeper) -> None:
        try:
            await keeper.run()
        except Exception:
            # Whatever it is, other backups and all data stores must not pay for it.
            log.exception("the keeper of backup %s/%s failed; it begins anew", *key)
            await asyncio.sleep(RESTART_S)
        finally:
            self._keepers.pop(key, None)
        if self._backups.get(key) is not None:
            self._fresh.put_nowait(key)

    async def _keep_schedules(self) -> None:
        while True:
            try:
                await self._schedules.run()
            except Exception:
                log.exception("the schedules of backups failed; they begin anew")
                await asyncio.sleep(RESTART_S)

    async def _wait_defined(self) -> None:
        place = self._namespaces[0] if self._namespaces else "*"
        is_told = False
        while True:
            try:
                for kind in (BACKUP, SCHEDULE):
                    await self._tools.api.list(kind, place, None)
            except EverflyError as error:
                is_absent = isinstance(error, Refused) and error.code in _ABSENT
                if not is_told:
                    log.warning("backups cannot be looked after: %s", error)
                    is_told = True
                await asyncio.sleep(ABSENT_S if is_absent else RESTART_S)
            else:
                return
