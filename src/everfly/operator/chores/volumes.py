"""Let disks grow: each claim is asked for the size that its template is to have, then waited for.

The StatefulSet is made anew with its new template once the disks of all pods have their size
(`operator/apply.py`). Rules: a claim is never asked for less; a class whose disks cannot grow is
told, not tried; what the API server refuses is asked again after a while, not at every look.
"""

import logging
import time
from typing import Final

from everfly.core.group_view import GroupView
from everfly.operator.apiserver.api import CLAIM, STORAGE_CLASS, Patch, Refused
from everfly.operator.apiserver.events import NORMAL
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.chores.chore import Condition, Report, Work
from everfly.operator.deeds import Tools
from everfly.operator.manifest import JsonObject, objects, part, text
from everfly.operator.observe import ordinal_of
from everfly.operator.resources.owner import Owner
from everfly.operator.resources.storage import storage
from everfly.operator.volumes.claims import ClaimSight, change_of, number_of, storage_of

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""Before what was refused is tried again: somebody may have changed the class."""
GROWING: Final = "VolumesGrowing"


class Volumes:
    """Lets the disks of one data store grow."""

    def __init__(self, tools: Tools) -> None:
        self._api = tools.api
        self._inventory = tools.inventory
        self._events = tools.events
        self._refused: dict[tuple[str, int], tuple[str, float]] = {}
        """By claim and size: why, and when that was said."""

    async def tend(self, work: Work) -> Report:
        """Ask for what is too small, and say what is waited for."""
        store = work.scene.store
        templates = self._templates(work)
        if not templates or not self._inventory.sees_claims:
            return Report()
        problems, waiting = [], []
        claims = sorted(self._inventory.claims_of(store))
        for template in templates:
            kind, size = text(template, "metadata", "name"), storage_of(part(template, "spec"))
            for name, claim in claims:
                number = number_of(name, kind, store.name)
                if number is None or claim.is_terminating:
                    continue
                if claim.asked < size and (why := await self._grow(store, claim, template)):
                    problems.append(f"PersistentVolumeClaim {name}: {why}")
                if claim.given < size and _has_pod(work.scene.view, number):
                    waiting.append(_told(claim, size))
        self._forget()
        is_waiting = bool(waiting)
        reason = "Waiting" if is_waiting else "AsWanted"
        condition = Condition(GROWING, is_waiting, reason, "; ".join(waiting))
        return Report(tuple(problems), (condition,))

    def _templates(self, work: Work) -> list[JsonObject]:
        """Return the claim templates as they are to be, as far as that is possible."""
        store = work.scene.store
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        if owned_set is None or owned_set.owner_uid != store.uid:
            return []
        wanted = storage(work.spec, Owner(store.name, store.namespace, store.uid)).claims
        return change_of(wanted, objects(owned_set.fixed, "volumeClaimTemplates")).templates

    async def _grow(self, store: StoreSight, claim: ClaimSight, template: JsonObject) -> str:
        """Ask for a greater disk. Return why that is not possible, or an empty text."""
        spec = part(template, "spec")
        key = claim.uid, storage_of(spec)
        known = self._refused.get(key)
        if known is not None and time.monotonic() - known[1] < AGAIN_S:
            return known[0]
        reason = await self._why_fixed(claim) or await self._ask(store, claim, spec)
        if reason:
            self._refused[key] = reason, time.monotonic()
        return reason

    async def _why_fixed(self, claim: ClaimSight) -> str:
        if not claim.storage_class:
            return "it has no storage class, and such disks cannot grow"
        try:
            found = await self._api.get(STORAGE_CLASS, claim.storage_class)
        except Refused as error:
            # Without the right to read it the answer to the wish itself says as much.
            log.info("storage class %s: %s", claim.storage_class, error)
            return ""
        if found is None or found.get("allowVolumeExpansion") is True:
            return ""
        return (
            f"its storage class {claim.storage_class!r} does not let disks grow; "
            "set allowVolumeExpansion there if the driver can, or take back the greater size"
        )

    async def _ask(self, store: StoreSight, claim: ClaimSight, spec: JsonObject) -> str:
        amount = part(spec, "resources", "requests")["storage"]
        change = {"spec": {"resources": {"requests": {"storage": amount}}}}
        try:
            item = await self._api.patch(CLAIM, claim.name, store.namespace, change, Patch.MERGE)
        except Refused as error:
            return error.message
        self._inventory.claims.put(item)
        self._events.tell(store, NORMAL, "Volumes", f"{claim.name} is to grow to {amount}")
        return ""

    def _forget(self) -> None:
        now = time.monotonic()
        self._refused = {k: v for k, v in self._refused.items() if now - v[1] < AGAIN_S}


def _has_pod(view: GroupView, number: int) -> bool:
    return any(ordinal_of(each.name) == number for each in view.members)


def _told(claim: ClaimSight, size: int) -> str:
    words = "; ".join(claim.troubles)
    told = f"{claim.name} has {claim.given} of {size} bytes"
    return f"{told} ({words})" if words else told
