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
from dataclasses import dataclass, replace
from typing import Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator import names
from everfly.operator.apiserver.api import BY_KIND, STATEFUL_SET, Api, Patch, Refused
from everfly.operator.apiserver.events import NORMAL, WARNING, Events
from everfly.operator.apiserver.inventory import Inventory
from everfly.operator.apiserver.sight import SetSight, StoreSight, owned_sight
from everfly.operator.manifest import Json, JsonObject, objects, part, text
from everfly.operator.observe import ordinal_of
from everfly.operator.record import record_of
from everfly.operator.resources import Around, desired
from everfly.operator.resources.owner import Owner
from everfly.operator.volumes.claims import ClaimChange, are_grown, change_of
from everfly.operator.volumes.remake import Remaker
from everfly.operator.volumes.remake_note import remake_of
from everfly.operator.wishes.spec import Spec

log = logging.getLogger(__name__)

THOROUGH_S: Final = 30.0
"""Between two looks at everything where nothing seems to have changed."""
IMMUTABLE_TOLD: Final = (
    "VolumeClaimTemplates change ignored: delete and recreate the Dragonfly instance to apply PVC "
    "configuration changes"
)
"""As the upstream operator says it, but only when they were changed."""
CLAIMS_UNSEEN: Final = (
    "the operator may not see volume claims; give it the rights of its newest manifest"
)
ADD_TOLD: Final = (
    "a volume cannot be added while pods run, because the controller of StatefulSets would then "
    "renew none of them; the StatefulSet is left as it is. Restore a backup into a new data store "
    "that has the volume, or hibernate this one (which loses what is only in memory) and wake it"
)
_YIELDING: Final = names.UPSTREAM_FIELD_MANAGERS | {names.FIELD_MANAGER}
"""Whose fields are taken by force; ours are those that were written without server-side apply."""
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
        self._remaker = Remaker(api, inventory, events)
        self._done: dict[tuple[str, str], _Done] = {}
        self._refused: dict[tuple[str, str], _Refusal] = {}
        self._settled: _Settled | None = None
        self._claims_told: object = None

    async def apply(
        self, store: StoreSight, spec: Spec | None, running: int, around: Around
    ) -> tuple[str, ...]:
        """Write what is not as wanted. Return what could not be done and what to do about it.

        While the spec is wrong (None), only what was begun is ended.
        """
        if spec is None:
            await self._finish(store)
            return ()
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        around = self._as_it_runs(store, owned_set, around)
        if self._is_settled(store, spec, running, around):
            return ()
        self._settled = None
        owner = Owner(store.name, store.namespace, store.uid)
        problems = []
        wanted = set()
        is_under_way = False
        for manifest in desired(replace(spec, replicas=running), owner, around):
            kind, name = text(manifest, "kind"), text(manifest, "metadata", "name")
            wanted.add((kind, name))
            try:
                if kind == "StatefulSet":
                    problem = await self._apply_set(store, manifest)
                    is_under_way = problem is None
                else:
                    problem = await self._apply_one(store, kind, name, manifest)
            except EverflyError as error:
                problem = f"{kind} {name}: {error}"
            if problem:
                problems.append(problem)
        for kind, name in list(self._inventory.owned_by(store)):
            if (kind, name) not in wanted:
                await self._api.delete(BY_KIND[kind], name, store.namespace)
                self._done.pop((kind, name), None)
        if not problems and not is_under_way:
            self._settled = _Settled(store.uid, spec, running, around, time.monotonic())
        return tuple(problems)

    async def _finish(self, store: StoreSight) -> None:
        key = store.namespace, store.name
        newest = self._inventory.stores.get(key) or store
        if remake_of(newest.status) is not None:
            await self._remaker.go_on(newest, self._inventory.sets.get(key), {})

    def _as_it_runs(self, store: StoreSight, owned_set: SetSight | None, around: Around) -> Around:
        """Return what is around with what runs now, which is kept where nothing else is asked."""
        if owned_set is not None:
            return replace(around, running_image=owned_set.image, running_spread=owned_set.spread)
        pods = list(self._inventory.pods_of(store))
        is_new = not pods and not text(store.status, "primary")
        return replace(
            around,
            is_set_absent=True,
            is_new=is_new,
            # Pods outlive a set that somebody deleted alone, and are to be adopted as they are.
            running_image=next((each.image for each in pods if each.image), ""),
            running_spread=next((each.spread for each in pods if each.spread), ""),
        )

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

    async def _apply_set(self, store: StoreSight, manifest: JsonObject) -> str | None:
        """Apply the StatefulSet; None: it is being made anew, look again soon."""
        key = store.namespace, store.name
        newest, owned_set = self._inventory.stores.get(key) or store, self._inventory.sets.get(key)
        if remake_of(newest.status) is not None:
            await self._remaker.go_on(newest, owned_set, part(manifest, "spec", "template"))
            return None
        if owned_set is None:
            return await self._apply_one(store, "StatefulSet", store.name, manifest)
        if owned_set.is_terminating:
            return None
        change = self._change_of(store, manifest, owned_set)
        if change.added and any(self._inventory.pods_of(store)):
            await self._scale(store, manifest, owned_set)
            return f"{', '.join(change.added)}: {ADD_TOLD}"
        fixed = self._fixed_anew(newest, manifest, owned_set, change)
        if fixed and (problem := await self._remaker.begin(newest, owned_set, fixed)):
            return problem
        if fixed or change.added:
            return None
        manifest = _with_fixed(manifest, owned_set)
        problem = await self._apply_one(store, "StatefulSet", store.name, manifest)
        return problem or (None if change.grown else "")

    async def _scale(self, store: StoreSight, manifest: JsonObject, owned_set: SetSight) -> None:
        """Change nothing but the number of pods."""
        replicas = part(manifest, "spec").get("replicas")
        if replicas == owned_set.replicas:
            return
        change = {"spec": {"replicas": replicas}}
        item = await self._api.patch(STATEFUL_SET, store.name, store.namespace, change, Patch.MERGE)
        self._inventory.put("StatefulSet", item)

    def _change_of(
        self, store: StoreSight, manifest: JsonObject, owned_set: SetSight
    ) -> ClaimChange:
        wanted = objects(manifest, "spec", "volumeClaimTemplates")
        change = change_of(wanted, objects(owned_set.fixed, "volumeClaimTemplates"))
        if change.grown and self._inventory.lacks_claims:
            change.refused += [f"{each}: {CLAIMS_UNSEEN}" for each in change.grown]
            change.grown.clear()
        if change.refused and self._claims_told != wanted:
            self._claims_told = wanted
            reasons = "; ".join(change.refused)
            message = f"{IMMUTABLE_TOLD}: {reasons}"
            self._events.tell(store, WARNING, "ImmutableField", message)
        return change

    def _fixed_anew(
        self, store: StoreSight, manifest: JsonObject, owned_set: SetSight, change: ClaimChange
    ) -> dict[str, Json]:
        """Return the fixed fields that are to change now; empty: none, or not now."""
        if owned_set.owner_uid != store.uid or record_of(store.status).move is not None:
            return {}
        fixed: dict[str, Json] = {}
        numbers = frozenset(ordinal_of(pod.name) for pod in self._inventory.pods_of(store))
        claims = [each for _, each in self._inventory.claims_of(store)]
        is_known = self._inventory.sees_claims or not change.grown
        if change.is_any and is_known and are_grown(change, claims, store.name, numbers):
            fixed["volumeClaimTemplates"] = change.templates
        order = text(manifest, "spec", "podManagementPolicy")
        if order and order != owned_set.fixed.get("podManagementPolicy"):
            fixed["podManagementPolicy"] = order
        return fixed

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
            if not managers or not managers <= _YIELDING:
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


def _with_fixed(manifest: JsonObject, owned_set: SetSight) -> JsonObject:
    """Return the manifest with what cannot be changed as it is."""
    spec = dict(part(manifest, "spec"))
    for key in ("serviceName", "selector", "podManagementPolicy", "volumeClaimTemplates"):
        spec.pop(key, None)
        if key in owned_set.fixed:
            spec[key] = owned_set.fixed[key]
    return {**manifest, "spec": spec}
