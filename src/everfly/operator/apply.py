"""Turn the manifests of a data store into objects of the cluster, and remove what is not wanted.

Rules: server-side apply as one field manager; others' fields are taken by force only from the
upstream operator; nothing is written while neither the wish nor the object changed; an object that
belongs to somebody else is never changed or deleted; what cannot be changed is left and told.
"""

import hashlib
import json
import logging
import re
import time
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

THOROUGH_S: Final = 30.0
"""Between two looks at everything where nothing seems to have changed."""
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


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What the API server did not let us write, and when."""

    of: _Done
    problem: str
    at: float

    def is_fresh(self) -> bool:
        """Whether asking again would only be told the same."""
        return time.monotonic() - self.at < THOROUGH_S


@dataclass(frozen=True, slots=True)
class _Settled:
    """What was wanted when everything was as wanted."""

    uid: str
    spec: Spec
    running: int
    around: Around
    at: float


class Applier:
    """Keeps the objects of one data store as they are wanted."""

    def __init__(self, api: Api, inventory: Inventory, events: Events) -> None:
        self._api = api
        self._inventory = inventory
        self._events = events
        self._done: dict[tuple[str, str], _Done] = {}
        self._refused: dict[tuple[str, str], _Refusal] = {}
        self._settled: _Settled | None = None
        self._claims_told: object = None

    async def apply(
        self, store: StoreSight, spec: Spec, running: int, around: Around
    ) -> tuple[str, ...]:
        """Write what is not as wanted. Return what could not be done and what to do about it."""
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        around = self._as_it_runs(store, owned_set, around)
        if self._is_settled(store, spec, running, around):
            return ()
        self._settled = None
        owner = Owner(store.name, store.namespace, store.uid)
        problems = []
        wanted = set()
        for manifest in desired(replace(spec, replicas=running), owner, around):
            kind, name = text(manifest, "kind"), text(manifest, "metadata", "name")
            wanted.add((kind, name))
            if kind == "StatefulSet" and owned_set is not None:
                manifest = self._with_fixed(store, manifest, owned_set)  # noqa: PLW2901 - the same, as it can be
            try:
                problem = await self._apply_one(store, kind, name, manifest)
            except EverflyError as error:
                problem = f"{kind} {name}: {error}"
            if problem:
                problems.append(problem)
        for kind, name in list(self._inventory.owned_by(store)):
            if (kind, name) not in wanted:
                await self._api.delete(BY_KIND[kind], name, store.namespace)
                self._done.pop((kind, name), None)
        if not problems:
            self._settled = _Settled(store.uid, spec, running, around, time.monotonic())
        return tuple(problems)

    def _as_it_runs(self, store: StoreSight, owned_set: SetSight | None, around: Around) -> Around:
        """Return what is around with what runs now, which is kept where nothing else is asked."""
        if owned_set is not None:
            return replace(around, running_image=owned_set.image, running_spread=owned_set.spread)
        pods = list(self._inventory.pods_of(store))
        is_new = not pods and not text(store.status, "primary")
        spread = next((each.spread for each in pods if each.spread), "")
        return replace(around, is_set_absent=True, is_new=is_new, running_spread=spread)

    def _is_settled(self, store: StoreSight, spec: Spec, running: int, around: Around) -> bool:
        """Tell whether the same was wanted a moment ago, and nobody changed what was made then."""
        last = self._settled
        if last is None or time.monotonic() - last.at > THOROUGH_S:
            return False
        if replace(last, at=0.0) != _Settled(store.uid, spec, running, around, 0.0):
            return False
        for (kind, name), done in self._done.items():
            live = self._inventory.owned(kind, (store.namespace, name))
            if live is None or live.mark != done.mark:
                return False
        return True

    async def _apply_one(
        self, store: StoreSight, kind: str, name: str, manifest: JsonObject
    ) -> str:
        live = self._inventory.owned(kind, (store.namespace, name))
        if live is None and await self._is_taken(store, kind, name):
            return f"{kind} {name} is there and not ours; rename it or the resource"
        if live is not None and live.owner_uid not in ("", store.uid):
            return f"{kind} {name} belongs to somebody else; rename it or the resource"
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
        state = _Done(digest, live.mark if live is not None else "")
        if live is not None and self._done.get((kind, name)) == state:
            return ""
        refusal = self._refused.get((kind, name))
        if refusal is not None and refusal.of == state and refusal.is_fresh():
            return refusal.problem
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
                problem = f"{kind} {name}: fields belong to {whose}: {error.message}"
                self._refused[kind, name] = _Refusal(state, problem, time.monotonic())
                return problem
            item = await self._api.apply(BY_KIND[kind], name, store.namespace, manifest, force=True)
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
        claims = objects(spec, "volumeClaimTemplates")
        if self._claims_told != claims and not _claims_fit(claims, owned_set):
            self._claims_told = claims
            self._events.tell(store, WARNING, "ImmutableField", IMMUTABLE_TOLD)
        for key in ("serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"):
            spec.pop(key, None)
            if key in owned_set.fixed:
                spec[key] = owned_set.fixed[key]
        return {**manifest, "spec": spec}


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
