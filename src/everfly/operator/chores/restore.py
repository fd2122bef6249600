"""Bring the data with which a data store is to begin: read by a ferry, copied by its first primary.

Rules: only a data store that never had a primary, and whose instances are empty, gets any; nobody
becomes its primary before (the plan sees to that), so nobody is led to an empty one; what the ferry
read is written down before anybody copies it, and the ferry stays until there is a primary; a
snapshot that cannot be read leaves the data store out of service, with the engine's words.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address
from everfly.errors import EverflyError, RemoteError
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.backups.decide import FerryFacts
from everfly.operator.backups.dock import Dock, owner_of
from everfly.operator.backups.ferry import Ferry
from everfly.operator.backups.names import BACKUP, short_name
from everfly.operator.backups.place import RestoreWish, Snapshot, path_of, told
from everfly.operator.backups.progress import snapshot_of, stamp_of
from everfly.operator.backups.restored import (
    COMPLETED,
    COPYING,
    FIELD,
    LOADING,
    Restored,
    is_copying,
    is_promoting,
    restored_field,
    restored_of,
    who_copies,
    who_holds_data,
)
from everfly.operator.backups.sight import FerrySight
from everfly.operator.backups.words import Words
from everfly.operator.chores.chore import Condition, Report, Work
from everfly.operator.deeds import Tools
from everfly.operator.manifest import part
from everfly.operator.orders import Orders
from everfly.operator.resources import Around

log = logging.getLogger(__name__)

LOAD_S: Final = 6 * 3600.0
"""What reading a snapshot may take."""
AGAIN_S: Final = 60.0
"""Before a snapshot that could not be read is read again."""
CONDITION: Final = "Restored"


@dataclass
class _Reading:
    """A snapshot that is being read, or was."""

    incarnation: str
    location: str
    task: asyncio.Task[FerryFacts]
    began: float


class Restore:
    """Restores one data store, once."""

    def __init__(self, tools: Tools, around: Around) -> None:
        self._tools = tools
        self._dock = Dock(tools.api, around)
        self._reading: _Reading | None = None
        self._refused = ""
        self._ended_at = ""
        self._admitted = ""

    async def tend(self, work: Work) -> Report:
        """Do what is due."""
        store, wish = work.scene.store, work.spec.extras.restore
        restored = restored_of(store.status)
        if restored is not None and restored.phase == COMPLETED:
            return _report(is_true=True, reason=COMPLETED, message=_done(restored))
        if wish is None:
            return Report() if restored is None else await self._give_up(store, restored)
        if work.scene.view.record.primary:
            return await self._conclude(store, restored)
        if is_promoting(work.scene.view):
            return _waits(COPYING, "the first primary is being promoted")
        return await self._bring(work, wish, restored)

    async def _give_up(self, store: StoreSight, restored: Restored) -> Report:
        """Nobody wants it any more."""
        self._forget()
        await self._dock.remove(store.namespace, restored.ferry, store.uid)
        condition = Condition(CONDITION, is_true=False, reason="NotWanted")
        return Report(conditions=(condition,), fields={FIELD: None})

    async def _conclude(self, store: StoreSight, restored: Restored | None) -> Report:
        """There is a primary: with these data, or with others that are not to be replaced."""
        self._forget()
        if restored is None or restored.phase != COPYING:
            if restored is not None:
                await self._dock.remove(store.namespace, restored.ferry, store.uid)
            return _waits("HasData", "the data store has data of its own, which are kept")
        if not await self._dock.remove(store.namespace, restored.ferry, store.uid):
            return _waits(COPYING, "its ferry ends")
        if not self._ended_at:
            self._ended_at = stamp_of(time.time()) or ""
            self._tools.events.tell(store, NORMAL, CONDITION, _done(restored))
        done = restored.at_end(self._ended_at)
        return _report(is_true=True, reason=COMPLETED, message=_done(done), restored=done)

    def _forget(self) -> None:
        if self._reading is not None:
            self._reading.task.cancel()
            self._reading = None

    async def _bring(self, work: Work, wish: RestoreWish, restored: Restored | None) -> Report:
        store = work.scene.store
        snapshot = await self._source(store, wish)
        if isinstance(snapshot, str):
            return _waits("NoSuchBackup", snapshot)
        name, location = short_name(store.name, "restore"), told(snapshot)
        if full := who_holds_data(work.scene.view, restored):
            return _waits("HasData", f"{full} holds data already, which are kept")
        begun = Restored(LOADING, location, name)
        if restored is not None and restored.location != location:
            # Its ferry has the place of the former one.
            self._forget()
            is_gone = await self._dock.remove(store.namespace, name, store.uid)
            return _waits(LOADING, "another snapshot is wanted", begun if is_gone else None)
        ferry = await self._dock.get(store.namespace, name, store.uid)
        if ferry is None:
            # It is known before it is there, so that it is taken away also when nobody wants it.
            if restored is not None and restored.ferry == name:
                await self._dock.start(self._ferry(work, name, snapshot))
            return _waits(LOADING, "its ferry starts", begun)
        if ferry.uid != self._admitted:
            await self._dock.admit(self._ferry(work, name, snapshot), ferry.uid)
            self._admitted = ferry.uid
        if ferry.exit_code is not None:
            await self._dock.remove(store.namespace, name, store.uid)
            return _waits("FerryEnded", ferry.trouble or f"with status {ferry.exit_code}", begun)
        facts = await self._ask(ferry)
        if facts is None or ferry.address is None:
            return _waits(LOADING, ferry.trouble or "its ferry starts", restored or begun)
        is_read = (
            restored is not None
            and restored.phase == COPYING
            and (restored.incarnation, restored.history) == (ferry.incarnation, facts.history)
            and restored.location == location
        )
        if restored is not None and is_read:
            return await self._lead(work, ferry.address, restored)
        return await self._read(ferry, facts, snapshot, begun, store)

    async def _source(self, store: StoreSight, wish: RestoreWish) -> Snapshot | str:
        """Return the snapshot, or why there is none."""
        if wish.snapshot is not None:
            return wish.snapshot
        item = await self._tools.api.get(BACKUP, wish.backup, store.namespace)
        if item is None:
            return f"there is no DragonflyBackup {wish.backup} in the namespace"
        return snapshot_of(part(item, "status")) or f"backup {wish.backup} is not completed"

    def _ferry(self, work: Work, name: str, snapshot: Snapshot) -> Ferry:
        store, spec = work.scene.store, work.spec
        owner = {**owner_of(store).reference(), "controller": False, "blockOwnerDeletion": False}
        image = self._dock.image(self._tools.inventory, store, spec)
        return Ferry(name, owner, owner_of(store), spec, image, snapshot.place)

    async def _ask(self, ferry: FerrySight) -> FerryFacts | None:
        if ferry.address is None:
            return None
        try:
            return await Words(ferry.address).look()
        except EverflyError as error:
            log.debug("ferry %s: %s", ferry.name, error)
            return None

    async def _read(
        self,
        ferry: FerrySight,
        facts: FerryFacts,
        snapshot: Snapshot,
        begun: Restored,
        store: StoreSight,
    ) -> Report:
        """Have the ferry read the snapshot, and say how that fares."""
        assert ferry.address is not None
        reading, mark = self._reading, (ferry.incarnation, begun.location)
        if reading is None or (reading.incarnation, reading.location) != mark:
            self._forget()
            if facts.is_busy:  # another operator told it to, and may not have seen how it ended
                return _waits(LOADING, "the snapshot is being read", begun)
            work = Words(ferry.address).load(path_of(snapshot), LOAD_S)
            task = asyncio.create_task(work, name=f"reading {begun.location}")
            task.add_done_callback(_note_end)
            self._reading = _Reading(*mark, task, time.monotonic())
            return _waits(LOADING, "the snapshot is being read", begun)
        if not reading.task.done():
            return _waits(LOADING, "the snapshot is being read", begun)
        error = reading.task.exception()
        if error is None:
            found = reading.task.result()
            read = Restored(
                COPYING, begun.location, ferry.name, ferry.incarnation, found.history, found.keys
            )
            return _waits(COPYING, f"{found.keys} keys are being copied", read)
        if not isinstance(error, RemoteError):
            log.warning("%s/%s: reading a snapshot: %s", store.namespace, store.name, error)
        if time.monotonic() - reading.began > AGAIN_S:
            self._reading = None
        reason = f"{begun.location} cannot be read: {error}"
        if reason != self._refused:
            self._refused = reason
            self._tools.events.tell(store, WARNING, "RestoreFailed", reason)
        return _waits("CannotRead", reason, begun)

    async def _lead(self, work: Work, ferry: Address, restored: Restored) -> Report:
        """Have the first instance copy from the ferry; once it has, the plan promotes it."""
        message = f"{restored.keys} keys are being copied"
        first = who_copies(work.scene.view)
        if first is None or first.facts is None or first.address is None:
            return _waits(COPYING, f"{message} once the instances are ready", restored)
        if not is_copying(first, ferry):
            await Orders(first.address).follow(ferry, cuts_clients=False)
        return _waits(COPYING, f"{message} by {first.name}", restored)


def _note_end(task: asyncio.Task[FerryFacts]) -> None:
    """Look at how a task ended, also where its data store is gone and nobody else does."""
    if not task.cancelled() and task.exception() is not None:
        log.debug("%s: %s", task.get_name(), task.exception())


def _done(restored: Restored) -> str:
    return f"{restored.keys} keys of {restored.location}"


def _waits(reason: str, message: str, restored: Restored | None = None) -> Report:
    return _report(is_true=False, reason=reason, message=message, restored=restored)


def _report(
    *, is_true: bool, reason: str, message: str, restored: Restored | None = None
) -> Report:
    condition = Condition(CONDITION, is_true=is_true, reason=reason, message=message)
    fields = {} if restored is None else {FIELD: restored_field(restored)}
    return Report(conditions=(condition,), fields=fields)
