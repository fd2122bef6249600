"""Turn one backup into a snapshot that is good, or into a reason: look, decide, act.

Rules: as for data stores, each has a loop of its own, only the holder of the lease acts, and what
is decided is written down before it is done. A backup that is over is not looked at any more.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from typing import Final

from everfly.core.model import Address
from everfly.errors import EverflyError, RemoteError, Unavailable
from everfly.operator.apiserver.api import Patch
from everfly.operator.apiserver.caches import Key
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.backups import decide
from everfly.operator.backups.decide import FerryFacts, Loading, Seen, StoreFacts
from everfly.operator.backups.desk import Desk, owner_reference
from everfly.operator.backups.dock import owner_of
from everfly.operator.backups.ferry import Ferry
from everfly.operator.backups.names import BACKUP_STATUS, ferry_name
from everfly.operator.backups.place import Snapshot, Volume, path_of
from everfly.operator.backups.progress import Phase, Progress, progress_fields, progress_of
from everfly.operator.backups.sight import BackupSight, FerrySight
from everfly.operator.backups.spec import BackupSpec, read_backup
from everfly.operator.backups.status import told_of, with_conditions
from everfly.operator.backups.sweep import Sweep
from everfly.operator.backups.words import Words
from everfly.operator.manifest import Json
from everfly.operator.names import ADMIN_PORT
from everfly.operator.record import record_of
from everfly.operator.wishes.spec import Spec, SpecError, read_spec

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""Between looks at a backup that is under way."""
WAIT_MAX_S: Final = 5.0
"""Between looks at one that waits."""
AFTER_FAILURE_S: Final = 1.0
FOLLOW_EVERY_S: Final = 5.0
"""Between two orders to follow: a copy must get a chance to begin."""
_BUSY: Final = "can not save"
"""In an answer to an order to write that is under way already."""
_EVENTS: Final = {
    "Started": (NORMAL, "BackupStarted"),
    "AttemptFailed": (WARNING, "BackupAttemptFailed"),
    "Failed": (WARNING, "BackupFailed"),
    "Completed": (NORMAL, "BackupCompleted"),
}


class BackupKeeper:
    """Keeps one backup. `run` it until it is gone, over, or cancelled."""

    def __init__(self, key: Key, desk: Desk) -> None:
        self._key = key
        self._desk = desk
        self._wake = asyncio.Event()
        self._reading: asyncio.Task[FerryFacts] | None = None
        self._refusal = ""
        self._followed: tuple[Address, float] | None = None
        self._admitted = ""
        self._told = ""

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the backup until there is nothing left to do."""
        try:
            while True:
                self._wake.clear()
                backup = self._desk.backups.get(self._key)
                if backup is None:
                    return
                pause = await self._look(backup)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def _look(self, backup: BackupSight) -> float | None:
        """Look once. Return the seconds until the next look; None: until it changes."""
        if not self._desk.tools.lease.holds:
            return WAIT_MAX_S
        try:
            try:
                spec = read_backup(backup.spec)
            except SpecError as error:
                # What is wrong cannot be carried out, and must not keep its resource from going.
                await Sweep(self._desk, backup, None).release()
                await self._refuse(backup, str(error))
                return None
            return await self._turn(backup, spec)
        except EverflyError as error:
            log.warning("backup %s/%s: %s", *self._key, error)
            return AFTER_FAILURE_S

    async def _turn(self, backup: BackupSight, spec: BackupSpec) -> float | None:
        progress = progress_of(backup.status)
        sweep = Sweep(self._desk, backup, spec)
        if backup.is_terminating:
            return await sweep.turn(self._store(spec), progress)
        if await sweep.settle_finalizer():
            return 0.0
        store = self._store(spec)
        seen = await self._see(backup, spec, progress, store)
        await self._admit(backup, seen, store)
        step = decide.next_step(seen)
        return await self._act(backup, seen, step, store)

    async def _admit(self, backup: BackupSight, seen: Seen, store: StoreSight | None) -> None:
        """Let a ferry be reached, once each operator: the one that started it may have died."""
        if seen.ferry is None or store is None or seen.ferry.uid == self._admitted:
            return
        wanted = self._ferry(backup, seen, store, read_spec(store.spec))
        await self._desk.dock.admit(wanted, seen.ferry.uid)
        self._admitted = seen.ferry.uid

    def _store(self, spec: BackupSpec) -> StoreSight | None:
        return self._desk.tools.inventory.stores.get((self._key[0], spec.store))

    async def _see(
        self, backup: BackupSight, spec: BackupSpec, progress: Progress, store: StoreSight | None
    ) -> Seen:
        ferry, facts = None, None
        if progress.ferry and not progress.phase.is_over:
            ferry = await self._desk.dock.get(backup.namespace, progress.ferry, backup.uid)
            facts = await self._ask(ferry)
        return Seen(
            spec=spec,
            progress=progress,
            name=backup.name,
            uid=backup.uid,
            now=time.time(),
            store=self._store_facts(store) if store is not None else None,
            ferry=ferry,
            facts=facts,
            loading=self._loading(),
            refusal=self._refusal,
        )

    async def _ask(self, ferry: FerrySight | None) -> FerryFacts | None:
        if ferry is None or ferry.address is None:
            return None
        try:
            return await Words(ferry.address).look()
        except EverflyError as error:
            log.debug("ferry %s: %s", ferry.name, error)
            return None

    def _store_facts(self, store: StoreSight) -> StoreFacts:
        record = record_of(store.status)
        pod = self._desk.tools.inventory.pods.get((store.namespace, record.primary))
        is_there = pod is not None and pod.ip and not pod.is_terminating and record.move is None
        return StoreFacts(
            primary=record.primary,
            address=Address(pod.ip, ADMIN_PORT) if is_there and pod is not None else None,
            history=record.lineage.history if record.lineage is not None else "",
        )

    def _loading(self) -> Loading:
        task = self._reading
        if task is None:
            return Loading()
        if not task.done():
            return Loading(is_under_way=True)
        error = task.exception()
        if isinstance(error, RemoteError):
            return Loading(error=str(error))
        if error is not None:
            # It gave no answer: whether it is still reading it says itself.
            self._reading = None
            log.warning("backup %s/%s: reading it back: %s", *self._key, error)
            return Loading()
        return Loading(keys=task.result().keys)

    async def _act(
        self, backup: BackupSight, seen: Seen, step: decide.Step, store: StoreSight | None
    ) -> float | None:
        if not self._desk.tools.lease.holds:
            raise Unavailable("the lease is lost; another operator goes on")
        match step:
            case decide.Write(progress, reason):
                await self._write(backup, seen, progress, reason)
                return 0.0
            case decide.StartFerry():
                await self._start(backup, seen, store)
            case decide.Follow(address):
                await self._follow(seen, address)
            case decide.Detach(history):
                await self._words(seen).detach(history)
            case decide.Save():
                await self._save(seen)
            case decide.ReadBack():
                self._read_back(seen)
            case decide.Wait(reason, seconds):
                self._say(reason)
                return min(max(seconds, LOOK_S), WAIT_MAX_S)
            case decide.End():
                return await self._end(backup, seen)
        return LOOK_S

    def _words(self, seen: Seen) -> Words:
        assert seen.ferry is not None
        assert seen.ferry.address is not None
        return Words(seen.ferry.address)

    async def _start(self, backup: BackupSight, seen: Seen, store: StoreSight | None) -> None:
        if store is None:
            raise Unavailable(f"there is no Dragonfly {seen.spec.store} any more")
        before = seen.progress.attempt - 1
        # Two ferries cannot have a volume that only one machine may mount.
        if before and not await self._remove(backup, ferry_name(backup.name, before)):
            return
        self._reading, self._refusal, self._followed = None, "", None
        wanted = read_spec(store.spec)
        await self._desk.dock.start(self._ferry(backup, seen, store, wanted))

    def _ferry(self, backup: BackupSight, seen: Seen, store: StoreSight, wanted: Spec) -> Ferry:
        inventory = self._desk.tools.inventory
        return Ferry(
            name=seen.progress.ferry,
            owner=owner_reference(backup),
            store=owner_of(store),
            spec=wanted,
            image=seen.spec.image or self._desk.dock.image(inventory, store, wanted),
            place=seen.spec.place,
            resources=seen.spec.resources,
        )

    async def _follow(self, seen: Seen, address: Address) -> None:
        now = time.monotonic()
        last = self._followed
        if last is not None and last[0] == address and now - last[1] < FOLLOW_EVERY_S:
            return
        self._followed = address, now
        await self._words(seen).follow(address)

    async def _save(self, seen: Seen) -> None:
        try:
            await self._words(seen).save(seen.progress.basename)
        except RemoteError as error:
            if _BUSY not in str(error):
                self._refusal = str(error)

    def _read_back(self, seen: Seen) -> None:
        path = path_of(Snapshot(seen.spec.place, seen.progress.basename))
        work = self._words(seen).load(path, float(seen.spec.attempt_s))
        self._reading = asyncio.create_task(work, name=f"reading back {self._key}")
        self._reading.add_done_callback(lambda _: self.wake())

    async def _remove(self, backup: BackupSight, name: str) -> bool:
        return await self._desk.dock.remove(backup.namespace, name, backup.uid)

    async def _end(self, backup: BackupSight, seen: Seen) -> float | None:
        """Let the ferry go; that it is gone is written down, so that nobody looks again."""
        progress = seen.progress
        if not progress.ferry:
            return None
        if not await self._remove(backup, progress.ferry):
            return LOOK_S
        await self._write(backup, seen, replace(progress, ferry=""), "")
        return None

    async def _write(
        self, backup: BackupSight, seen: Seen, progress: Progress, reason: str
    ) -> None:
        """Write down how far it is, of the version that was looked at, then tell people."""
        fields = progress_fields(progress, seen.spec.place)
        await self._patch(backup, with_conditions(backup.status, fields, seen.now))
        if reason == "AttemptFailed":
            # It holds as much memory as an instance.
            await self._remove(backup, seen.progress.ferry)
        self._count(seen, progress, reason)
        store = self._store(seen.spec)
        if store is not None and reason in _EVENTS:
            kind, event = _EVENTS[reason]
            message = told_of(backup.name, seen.spec.place, progress)
            self._desk.tools.events.tell(store, kind, event, message)

    def _count(self, seen: Seen, progress: Progress, reason: str) -> None:
        tally = self._desk.tally(self._key[0], seen.spec.store)
        if reason in ("AttemptFailed", "Failed"):
            tally.attempts_failed += 1
        if reason == "Completed":
            tally.seconds.append(progress.completed_at - progress.started_at)

    async def _refuse(self, backup: BackupSight, problem: str) -> None:
        progress = progress_of(backup.status)
        if progress.phase.is_over:
            return
        failed = Progress(Phase.FAILED, progress.attempt, last_error=problem)
        # Where it was to go cannot be read.
        fields = progress_fields(failed, Volume(""))
        await self._patch(backup, with_conditions(backup.status, fields, time.time()))

    async def _patch(self, backup: BackupSight, status: dict[str, Json]) -> None:
        change: Json = {"metadata": {"resourceVersion": backup.version}, "status": status}
        item = await self._desk.tools.api.patch(
            BACKUP_STATUS, backup.name, backup.namespace, change, Patch.MERGE
        )
        self._desk.backups.put(item)

    def _say(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            log.info("backup %s/%s waits: %s", *self._key, reason)
