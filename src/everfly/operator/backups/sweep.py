"""Remove the files of a backup that goes, where it says so, before it is gone.

Rules: the backup stays, by a finalizer, until its files are gone or can be nobody's any more; what
is in a bucket stays there, because no engine removes from one.
"""

import logging
from dataclasses import dataclass
from typing import Final

import httpx2

from everfly.operator.apiserver.api import Patch, Refused
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.backups.desk import Desk, owner_reference
from everfly.operator.backups.dock import owner_of
from everfly.operator.backups.ferry import Ferry, sweeper_pod
from everfly.operator.backups.names import BACKUP, FINALIZER, prefix_of, short_name
from everfly.operator.backups.place import Volume
from everfly.operator.backups.progress import Progress
from everfly.operator.backups.sight import BackupSight, FerrySight
from everfly.operator.backups.spec import BackupSpec
from everfly.operator.manifest import Json
from everfly.operator.resources.owner import DEFAULT_IMAGE, Owner
from everfly.operator.wishes.spec import Spec, SpecError, read_spec

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
AFTER_FAILURE_S: Final = 30.0
"""Before a pod that could not remove them tries again."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The end of one backup."""

    desk: Desk
    backup: BackupSight
    spec: BackupSpec | None
    """None: it is wrong, so that it never wrote a file."""

    @property
    def _removes(self) -> bool:
        spec = self.spec
        return spec is not None and spec.deletes_files and isinstance(spec.place, Volume)

    async def settle_finalizer(self) -> bool:
        """Have the finalizer exactly where files are to go. Return whether it was changed."""
        if self.backup.has_finalizer is self._removes:
            return False
        await self._set_finalizer(is_set=self._removes)
        return True

    async def release(self) -> None:
        """Let it go, if it is going."""
        if self.backup.is_terminating and self.backup.has_finalizer:
            await self._set_finalizer(is_set=False)

    async def turn(self, store: StoreSight | None, progress: Progress) -> float | None:
        """Look once at a backup that is going. Return the seconds until the next look, or None."""
        backup, dock = self.backup, self.desk.dock
        if not backup.has_finalizer:
            return None
        if not self._removes or not progress.attempt:
            await self.release()
            return None
        if progress.ferry and not await dock.remove(backup.namespace, progress.ferry, backup.uid):
            return LOOK_S
        name = short_name(backup.name, "sweep")
        pod = await dock.get(backup.namespace, name, backup.uid)
        if pod is None:
            return await self._begin(name, store)
        return await self._look_after(pod, store)

    async def _begin(self, name: str, store: StoreSight | None) -> float | None:
        assert self.spec is not None
        wanted = _spec_of(store)
        namespace = self.backup.namespace
        image = self.spec.image or DEFAULT_IMAGE
        if store is not None and not self.spec.image:
            image = self.desk.dock.image(self.desk.tools.inventory, store, wanted)
        owner = owner_of(store) if store is not None else Owner(self.spec.store, namespace, "")
        ferry = Ferry(name, owner_reference(self.backup), owner, wanted, image, self.spec.place)
        prefix = prefix_of(self.backup.name, self.backup.uid)
        try:
            await self.desk.dock.put(ferry, sweeper_pod(ferry, prefix))
        except Refused as error:
            if error.code != httpx2.codes.FORBIDDEN or "terminating" not in error.message:
                raise
            # With its namespace the volume goes too.
            await self.release()
            return None
        return LOOK_S

    async def _look_after(self, pod: FerrySight, store: StoreSight | None) -> float | None:
        backup = self.backup
        if pod.exit_code == 0:
            if store is not None:
                message = f"backup {backup.name} was deleted, and its files with it"
                self.desk.tools.events.tell(store, NORMAL, "BackupDeleted", message)
            await self.release()
            return None
        if "persistentvolumeclaim" in pod.trouble and "not found" in pod.trouble:
            log.warning("backup %s/%s: its volume is gone", backup.namespace, backup.name)
            await self.release()
            return None
        if pod.exit_code is None:
            return LOOK_S
        if store is not None:
            message = f"the files of backup {backup.name} could not be removed: {pod.trouble}"
            self.desk.tools.events.tell(store, WARNING, "BackupFilesLeft", message)
        await self.desk.dock.remove(backup.namespace, pod.name, backup.uid)
        return AFTER_FAILURE_S

    async def _set_finalizer(self, *, is_set: bool) -> None:
        backup, api = self.backup, self.desk.tools.api
        item = await api.get(BACKUP, backup.name, backup.namespace)
        if item is None or item["metadata"]["uid"] != backup.uid:
            return
        others = [each for each in item["metadata"].get("finalizers") or () if each != FINALIZER]
        change: Json = {
            "metadata": {
                "resourceVersion": item["metadata"]["resourceVersion"],
                "finalizers": [*others, FINALIZER] if is_set else others,
            }
        }
        item = await api.patch(BACKUP, backup.name, backup.namespace, change, Patch.MERGE)
        self.desk.backups.put(item)


def _spec_of(store: StoreSight | None) -> Spec:
    try:
        return read_spec(store.spec if store is not None else {})
    except SpecError:
        return read_spec({})
