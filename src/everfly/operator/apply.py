"""Turn the manifests of a data store into objects of the cluster, and remove what is not wanted.

Rules: server-side apply as one field manager; others' fields are taken by force only from the
upstream operator; nothing is written while neither the wish nor the object changed; an object that
belongs to somebody else is never changed or deleted; what cannot be changed is left and told.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator import names
from everfly.operator.api import BY_KIND, Api, Refused
from everfly.operator.events import NORMAL, WARNING, Events
from everfly.operator.inventory import Inventory
from everfly.operator.manifest import Json, JsonObject, objects, part, text
from everfly.operator.resources import Around, desired
from everfly.operator.resources.owner import Owner
from everfly.operator.sight import SetSight, StoreSight, owned_sight
from everfly.operator.spec import Spec

log = logging.getLogger(__name__)

IMMUTABLE_TOLD: Final = (
    "VolumeClaimTemplates change ignored: delete and recreate the Dragonfly instance to apply PVC "
    "configuration changes"
)
"""As the upstream operator says it, but only when they were changed."""
_MANAGER: Final = re.compile(r'conflicts? with "([^"]*)"')


@dataclass(frozen=True, slots=True)
class _Done:
    digest: str
    mark: str


class Applier:
    """Keeps the objects of one data store as they are wanted."""

    def __init__(self, api: Api, inventory: Inventory, events: Events) -> None:
        self._api = api
        self._inventory = inventory
        self._events = events
        self._done: dict[tuple[str, str], _Done] = {}
        self.writes = 0

    async def apply(
        self, store: StoreSight, spec: Spec, running: int, around: Around
    ) -> tuple[str, ...]:
        """Write what is not as wanted. Return what could not be done and what to do about it."""
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        around = replace(around, running_image=owned_set.image if owned_set is not None else "")
        owner = Owner(store.name, store.namespace, store.uid)
        problems = []
        wanted = set()
        for manifest in desired(replace(spec, replicas=running), owner, around):
            kind, name = text(manifest, "kind"), text(manifest, "metadata", "name")
            wanted.add((kind, name))
            if kind == "StatefulSet" and owned_set is not None:
                manifest = self._with_fixed(store, manifest, owned_set)  # noqa: PLW2901 - the same, as it can be
            if kind == "Service":
                manifest = _with_protocols(manifest)  # noqa: PLW2901 - the same, said in full
            try:
                problem = await self._apply_one(store, kind, name, manifest)
            except EverflyError as error:
                problem = f"{kind} {name}: {error}"
            if problem:
                problems.append(problem)
        for kind, name in list(self._inventory.owned_by(store)):
            if (kind, name) not in wanted:
                await self._api.delete(BY_KIND[kind], name, store.namespace)
                self.writes += 1
        return tuple(problems)

    async def _apply_one(
        self, store: StoreSight, kind: str, name: str, manifest: JsonObject
    ) -> str:
        live = self._inventory.owned(kind, (store.namespace, name))
        if live is None and await self._is_taken(store, kind, name):
            return f"{kind} {name} is there and not ours; rename it or the resource"
        if live is not None and live.owner_uid not in ("", store.uid):
            return f"{kind} {name} belongs to somebody else; rename it or the resource"
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        done = self._done.get((kind, name))
        if live is not None and done == _Done(digest, live.mark):
            return ""
        try:
            item = await self._api.apply(
                BY_KIND[kind], name, store.namespace, manifest, force=False
            )
        except Refused as error:
            if error.code != httpx2.codes.CONFLICT:
                raise
            managers = set(_MANAGER.findall(error.message))
            if not managers or not managers <= names.UPSTREAM_FIELD_MANAGERS:
                whose = ", ".join(sorted(managers))
                return f"{kind} {name}: fields belong to {whose}: {error.message}"
            item = await self._api.apply(BY_KIND[kind], name, store.namespace, manifest, force=True)
        self.writes += 1
        self._inventory.put(kind, item)
        if live is None and kind == "StatefulSet":
            self._events.tell(store, NORMAL, "Resources", "Created resources")
        now = self._inventory.owned(kind, (store.namespace, name))
        self._done[kind, name] = _Done(digest, now.mark if now is not None else "")
        return ""

    async def _is_taken(self, store: StoreSight, kind: str, name: str) -> bool:
        """Tell whether an object without our labels has the name: none of the upstream operator."""
        item = await self._api.get(BY_KIND[kind], name, store.namespace)
        if item is None:
            return False
        labels = part(item, "metadata", "labels")
        return owned_sight(item).owner_uid != store.uid and labels.get(names.LABEL_NAME) is None

    def _with_fixed(
        self, store: StoreSight, manifest: JsonObject, owned_set: SetSight
    ) -> JsonObject:
        """Return the manifest with what cannot be changed as it is."""
        spec = dict(part(manifest, "spec"))
        if not _claims_fit(objects(spec, "volumeClaimTemplates"), owned_set):
            self._events.tell(store, WARNING, "ImmutableField", IMMUTABLE_TOLD)
        for key in ("serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"):
            spec.pop(key, None)
            if key in owned_set.fixed:
                spec[key] = owned_set.fixed[key]
        return {**manifest, "spec": spec}


def _with_protocols(manifest: JsonObject) -> JsonObject:
    """Return a Service whose ports name their protocol.

    It is part of the key of that list, and API servers before 1.21 refuse to apply a key that is
    only a default (answer 500).
    """
    spec = part(manifest, "spec")
    ports = [{"protocol": "TCP", **each} for each in objects(spec, "ports")]
    return {**manifest, "spec": {**spec, "ports": ports}}


def _claims_fit(wanted: list[JsonObject], owned_set: SetSight) -> bool:
    """Tell whether the claim templates that exist are the wanted ones, with defaults filled in."""
    existing = {
        text(each, "metadata", "name"): each
        for each in objects(owned_set.fixed, "volumeClaimTemplates")
    }
    if len(existing) != len(wanted):
        return False
    return all(
        (found := existing.get(text(each, "metadata", "name"))) is not None
        and _is_within(part(each, "spec"), part(found, "spec"))
        for each in wanted
    )


def _is_within(wanted: Json, found: Json) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _is_within(value, found.get(key)) for key, value in wanted.items()
        )
    return wanted == found
