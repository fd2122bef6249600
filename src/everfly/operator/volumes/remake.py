"""Turn a StatefulSet whose fixed fields are to change into a new one around the same living pods.

The steps, each of which the next operator can take up: a note in the status (`record.remake`) says
what the new one is made of and which pods are meant; the old one is deleted without its pods; the
new one is made; its controller adopts the pods; the note is taken away.

Rules: no pod restarts: the template is that of the revision that the old one had, kept by
Kubernetes itself, also where others changed it; while the note is there a pod that belongs to
nobody is still an instance; nothing is deleted before the note is read back.
"""

from collections.abc import Mapping
from typing import Final

import httpx2

from everfly.errors import Unavailable
from everfly.operator import names
from everfly.operator.apiserver.api import (
    CONTROLLER_REVISION,
    DRAGONFLY_STATUS,
    STATEFUL_SET,
    Api,
    Object,
    Patch,
    Refused,
)
from everfly.operator.apiserver.events import NORMAL, WARNING, Events
from everfly.operator.apiserver.inventory import Inventory
from everfly.operator.apiserver.sight import SetSight, StoreSight
from everfly.operator.manifest import Json, JsonObject, objects, part, text
from everfly.operator.resources.owner import Owner
from everfly.operator.volumes.remake_note import Remake, remake_fields, remake_of

CARRIED: Final = ("template", "volumeClaimTemplates")
"""What the note does not hold of a spec: the template is in the revision."""
NOT_KEPT: Final = (
    "the definition of Dragonfly in this cluster drops what Everfly writes into the status; "
    "apply the definition of Everfly, then volumes can be changed"
)


class Remaker:
    """Makes the StatefulSet of one data store anew. Call it again until it is done."""

    def __init__(self, api: Api, inventory: Inventory, events: Events) -> None:
        self._api = api
        self._inventory = inventory
        self._events = events

    async def begin(
        self, store: StoreSight, owned_set: SetSight, changes: Mapping[str, Json]
    ) -> str:
        """Write the note; `changes` are the fixed fields of the new one. Return what is wrong."""
        if owned_set.observed_generation < owned_set.generation or not owned_set.update_revision:
            return ""  # its newest template has no revision yet
        live = await self._api.get(STATEFUL_SET, store.name, store.namespace)
        if live is None or live["metadata"]["uid"] != owned_set.uid:
            return ""
        if live["metadata"].get("generation") != owned_set.generation:
            return ""  # somebody has just changed it
        spec = {key: each for key, each in part(live, "spec").items() if key not in CARRIED}
        spec = without_nothing({**spec, **changes})
        pods = {
            pod.name: pod.uid
            for pod in self._inventory.pods_of(store)
            if pod.owner_uid == owned_set.uid
        }
        remake = Remake(
            set_uid=owned_set.uid,
            revision=owned_set.update_revision,
            spec=spec,
            pods=pods,
            owners=objects(live, "metadata", "managedFields"),
            labels=part(live, "metadata", "labels"),
            annotations=part(live, "metadata", "annotations"),
        )
        item = await self._write(store, remake)
        if remake_of(part(item, "status")) != remake:
            return NOT_KEPT
        return ""

    async def go_on(
        self, store: StoreSight, owned_set: SetSight | None, template: JsonObject
    ) -> None:
        """Take the next step of a note that is there. Raise Refused, Unavailable.

        `template` is taken where Kubernetes has not kept the one that runs; empty: none is known.
        """
        remake = remake_of(store.status)
        assert remake is not None
        if owned_set is None:
            await self._make(store, remake, template)
        elif owned_set.uid == remake.set_uid:
            if not owned_set.is_terminating:
                place = store.namespace, store.name
                await self._api.delete_very(STATEFUL_SET, place, remake.set_uid, is_orphaning=True)
        else:
            await self._finish(store, remake, owned_set)

    async def _make(self, store: StoreSight, remake: Remake, template: JsonObject) -> None:
        revision = await self._api.get(CONTROLLER_REVISION, remake.revision, store.namespace)
        found = part(revision or {}, "data", "spec", "template")
        kept = {key: each for key, each in found.items() if key != "$patch"}
        if not kept and not template:
            raise Unavailable(f"revision {remake.revision} is gone, and the spec is wrong")
        metadata: dict[str, Json] = {
            "name": store.name,
            "namespace": store.namespace,
            "labels": remake.labels,
            "annotations": remake.annotations,
            "ownerReferences": [Owner(store.name, store.namespace, store.uid).reference()],
        }
        wanted: dict[str, Json] = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata,
            "spec": {**remake.spec, "template": kept or template},
        }
        try:
            item = await self._api.create(STATEFUL_SET, store.namespace, wanted)
        except Refused as error:
            if error.code == httpx2.codes.CONFLICT:
                return  # it is not gone yet, or we were not told yet that it is there
            raise
        self._inventory.put("StatefulSet", item)
        if not kept:
            message = f"revision {remake.revision} is gone: pods may restart one after the other"
            self._events.tell(store, WARNING, "Volumes", message)

    async def _finish(self, store: StoreSight, remake: Remake, owned_set: SetSight) -> None:
        await self._restore_owners(store, remake)
        waiting = [
            pod.name
            for pod in self._inventory.pods_of(store)
            if remake.pods.get(pod.name) == pod.uid and pod.owner_uid != owned_set.uid
        ]
        if waiting:
            return
        await self._write(store, None)
        message = "StatefulSet made anew with its new volumes, around the same pods"
        self._events.tell(store, NORMAL, "Volumes", message)

    async def _restore_owners(self, store: StoreSight, remake: Remake) -> None:
        """Give the fields back to those who owned them: creating it made all of them ours.

        What is applied later could otherwise not take away what was there from the beginning.
        """
        live = await self._api.get(STATEFUL_SET, store.name, store.namespace)
        if live is None:
            return
        entries = objects(live, "metadata", "managedFields")
        rest = [each for each in entries if not _is_our_creation(each)]
        if len(rest) == len(entries):
            return
        known = [_who(each) for each in rest]
        rest += [each for each in remake.owners if _who(each) not in known]
        change = {
            "metadata": {
                "resourceVersion": live["metadata"]["resourceVersion"],
                "managedFields": rest or [{}],
            }
        }
        item = await self._api.patch(STATEFUL_SET, store.name, store.namespace, change, Patch.MERGE)
        self._inventory.put("StatefulSet", item)

    async def _write(self, store: StoreSight, remake: Remake | None) -> Object:
        current = self._inventory.stores.get((store.namespace, store.name))
        if current is None or current.uid != store.uid:
            raise Unavailable("the resource changed since it was looked at")
        change = {
            "metadata": {"resourceVersion": current.version},
            "status": remake_fields(remake),
        }
        item = await self._api.patch(
            DRAGONFLY_STATUS, store.name, store.namespace, change, Patch.MERGE
        )
        self._inventory.stores.put(item)
        return item


def without_nothing(value: JsonObject) -> dict[str, Json]:
    """Return an object without what is null anywhere in it, which the API server may drop."""
    return {key: _clean(each) for key, each in value.items() if each is not None}


def _clean(value: Json) -> Json:
    if isinstance(value, Mapping):
        return without_nothing(value)
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value]
    return value


def _who(entry: JsonObject) -> tuple[str, ...]:
    return tuple(text(entry, key) for key in ("manager", "operation", "subresource"))


def _is_our_creation(entry: JsonObject) -> bool:
    return (
        text(entry, "manager") == names.FIELD_MANAGER
        and text(entry, "operation") == "Update"
        and not text(entry, "subresource")
    )
