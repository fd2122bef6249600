"""Turn ferries that are wanted into pods of the cluster, and take them away again.

Rules: a pod of the right name that is not its owner's is left alone and told; what is created twice
is created once.
"""

from dataclasses import dataclass
from typing import Final

import httpx2

from everfly.errors import SettingsError
from everfly.operator.apiserver.api import NETWORK_POLICY, POD, Api, Object, Refused
from everfly.operator.apiserver.inventory import Inventory
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.backups.ferry import Ferry, ferry_pod, ferry_policies
from everfly.operator.backups.sight import FerrySight, ferry_sight
from everfly.operator.manifest import JsonObject, text
from everfly.operator.resources import Around
from everfly.operator.resources.owner import Owner
from everfly.operator.wishes.spec import Spec

_CONFLICT: Final = httpx2.codes.CONFLICT


@dataclass(frozen=True, slots=True)
class Dock:
    """Where ferries come and go."""

    api: Api
    around: Around

    async def get(self, namespace: str, name: str, owner_uid: str) -> FerrySight | None:
        """Return the pod of that name, or None. Raise SettingsError when it is somebody else's."""
        item = await self.api.get(POD, name, namespace)
        if item is None:
            return None
        _check_owner(item, owner_uid)
        return ferry_sight(item)

    async def start(self, ferry: Ferry) -> None:
        """Have a ferry. Raise Refused, Unavailable, SettingsError."""
        await self.put(ferry, ferry_pod(ferry))

    async def admit(self, ferry: Ferry, uid: str) -> None:
        """Let a ferry that is there be reached, and reach the group. Raise Refused, Unavailable.

        Apart from its start, so that whoever finds a ferry of an operator that died does it.
        """
        namespace = ferry.store.namespace
        for each in ferry_policies(ferry, uid, self.around.operator_namespace):
            name = text(each, "metadata", "name")
            await self.api.apply(NETWORK_POLICY, name, namespace, each, force=True)

    async def put(self, ferry: Ferry, manifest: JsonObject) -> Object:
        """Create a pod, or return the one that is there. Raise as `start`."""
        namespace = ferry.store.namespace
        try:
            return await self.api.create(POD, namespace, manifest)
        except Refused as error:
            if error.code != _CONFLICT:
                raise
            item = await self.api.get(POD, ferry.name, namespace)
            if item is None:
                raise
        _check_owner(item, text(ferry.owner, "uid"))
        return item

    async def remove(self, namespace: str, name: str, owner_uid: str) -> bool:
        """Have no such pod. Return whether it is gone. Raise Refused, Unavailable."""
        item = await self.api.get(POD, name, namespace)
        if item is None or not _is_owned(item, owner_uid):
            return True
        if "deletionTimestamp" not in item["metadata"]:
            await self.api.delete(POD, name, namespace)
        return False

    def image(self, inventory: Inventory, store: StoreSight, spec: Spec) -> str:
        """Return what the data store runs, or would."""
        owned = inventory.sets.get((store.namespace, store.name))
        return (owned.image if owned is not None else "") or self.around.image(spec)


def owner_of(store: StoreSight) -> Owner:
    """Return a data store as an owner."""
    return Owner(store.name, store.namespace, store.uid)


def _is_owned(item: Object, owner_uid: str) -> bool:
    owners = item["metadata"].get("ownerReferences") or ()
    return any(each.get("uid") == owner_uid for each in owners)


def _check_owner(item: Object, owner_uid: str) -> None:
    if not _is_owned(item, owner_uid):
        name = item["metadata"]["name"]
        raise SettingsError(f"there is a pod {name} that is somebody else's; remove or rename it")
