"""Turn watches of all kinds of objects into one place to look: whose pods are whose.

Everything that is not the resource itself is watched by the labels that the upstream operator and
we put on it; machines are watched where we may see them.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator import names
from everfly.operator.apiserver import api as kinds
from everfly.operator.apiserver.api import Api, Object, Refused
from everfly.operator.apiserver.caches import Cache, Key, Selection
from everfly.operator.apiserver.sight import (
    HostSight,
    OwnedSight,
    PodSight,
    SetSight,
    StoreSight,
    host_sight,
    owned_sight,
    pod_sight,
    set_sight,
    store_sight,
)
from everfly.operator.volumes.claims import ClaimSight, claim_sight

log = logging.getLogger(__name__)

OUR_LABELS: Final = {names.LABEL_NAME: names.APP_NAME}
PLAIN_KINDS: Final = ("Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy")
LATER_KINDS: Final = ("Deployment",)
"""Of what stands in front of some data stores. An operator that was not given the right to see
them yet must keep the others all the same, so nothing waits for these."""


class Inventory:
    """The newest copies of all that counts. `run` it until it is cancelled."""

    def __init__(
        self, api: Api, namespaces: tuple[str, ...], on_change: Callable[[Key], None]
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._on_change = on_change
        self._pods_of: dict[Key, set[Key]] = defaultdict(set)
        self._on_host: dict[str, set[Key]] = defaultdict(set)
        self.sees_hosts = False
        self.lacks_claims = False
        """Volume claims may not be seen at all."""

        def cache(kind: kinds.Resource, shrink: Any, note: Any, *, labelled: bool = True) -> Any:
            labels = OUR_LABELS if labelled else None
            return Cache(api, Selection(kind, namespaces, labels), shrink, note)

        self.stores: Cache[StoreSight] = cache(
            kinds.DRAGONFLY, store_sight, lambda key, _: on_change(key), labelled=False
        )
        self.pods: Cache[PodSight] = cache(kinds.POD, pod_sight, self._note_pod)
        self.sets: Cache[SetSight] = cache(
            kinds.STATEFUL_SET, set_sight, lambda key, _: on_change(key)
        )
        self.claims: Cache[ClaimSight] = cache(kinds.CLAIM, claim_sight, self._note_claim)
        self.hosts: Cache[HostSight] = Cache(
            api, Selection(kinds.NODE, (), is_global=True), host_sight, self._note_host
        )
        self.plain: dict[str, Cache[OwnedSight]] = {
            kind: cache(kinds.BY_KIND[kind], owned_sight, self._note_plain)
            for kind in (*PLAIN_KINDS, *LATER_KINDS)
        }

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for each in (*self._needed(), *(self.plain[kind] for kind in LATER_KINDS)):
                tasks.create_task(each.run())
            tasks.create_task(self._run_hosts())
            tasks.create_task(self._run_claims())

    async def _run_hosts(self) -> None:
        told = "zones and drains are not seen; a lost machine is known by its pods"
        if await self._may_see(kinds.NODE, (), f"machines may not be listed: {told}"):
            self.sees_hosts = True
            await self.hosts.run()

    async def _run_claims(self) -> None:
        told = "disks neither grow nor are given up"
        if await self._may_see(kinds.CLAIM, self._namespaces, f"no volume claims: {told}"):
            await self.claims.run()
        self.lacks_claims = True

    @property
    def sees_claims(self) -> bool:
        """Whether all volume claims were seen once."""
        return self.claims.is_synced

    def _needed(self) -> tuple[Cache[Any], ...]:
        plain = (self.plain[kind] for kind in PLAIN_KINDS)
        return (self.stores, self.pods, self.sets, *plain)

    async def _may_see(
        self, kind: kinds.Resource, namespaces: tuple[str, ...], without: str
    ) -> bool:
        """Ask until it is clear whether objects of a kind may be listed; tell what it costs."""
        while True:
            try:
                for place in namespaces or (None,):
                    await self._api.list(kind, place, None if kind is kinds.NODE else OUR_LABELS)
            except Refused as error:
                if error.code == httpx2.codes.FORBIDDEN:
                    log.warning("%s", without)
                    return False
                log.warning("listing %s: %s", kind.__name__, error)
            except EverflyError as error:
                log.warning("listing %s: %s", kind.__name__, error)
            else:
                return True
            await asyncio.sleep(1.0)

    async def wait_synced(self) -> None:
        """Return when all kinds that decisions rest upon were seen once."""
        for each in self._needed():
            await each.wait_synced()

    def claims_of(self, store: StoreSight) -> Iterator[tuple[str, ClaimSight]]:
        """Yield the volume claims that wear the label of a data store, by name."""
        for (namespace, name), claim in self.claims.items():
            if namespace == store.namespace and claim.app == store.name:
                yield name, claim

    def pods_of(self, store: StoreSight) -> Iterator[PodSight]:
        """Yield the pods that wear the label of a data store; whether they are its is not said."""
        for key in sorted(self._pods_of[store.namespace, store.name]):
            pod = self.pods.get(key)
            if pod is not None:
                yield pod

    def host(self, name: str) -> HostSight | None:
        """Return a machine, or None."""
        return self.hosts.get(("", name))

    def owned(self, kind: str, key: Key) -> OwnedSight | None:
        """Return whether and how an object that a data store may own is there."""
        if kind == "StatefulSet":
            found = self.sets.get(key)
            return None if found is None else OwnedSight(found.uid, found.owner_uid, found.mark)
        return self.plain[kind].get(key)

    def owned_by(self, store: StoreSight) -> Iterator[tuple[str, str]]:
        """Yield kind and name of all plain objects that belong to a data store."""
        for kind, each in self.plain.items():
            for (namespace, name), sight in each.items():
                if namespace == store.namespace and sight.owner_uid == store.uid:
                    yield kind, name

    def put(self, kind: str, item: Object) -> None:
        """Take in an object of ours as an answer to our own request showed it."""
        if kind == "StatefulSet":
            self.sets.put(item)
        else:
            self.plain[kind].put(item)

    def _note_pod(self, key: Key, pod: PodSight) -> None:
        store = (key[0], pod.app)
        if self.pods.get(key) is None:
            self._pods_of[store].discard(key)
        else:
            self._pods_of[store].add(key)
            self._on_host[pod.host].add(store)
        self._on_change(store)

    def _note_claim(self, key: Key, claim: ClaimSight) -> None:
        self._on_change((key[0], claim.app))

    def _note_host(self, key: Key, _: HostSight) -> None:
        for store in list(self._on_host.get(key[1], ())):
            self._on_change(store)

    def _note_plain(self, key: Key, sight: OwnedSight) -> None:
        for store, found in self.stores.items():
            if store[0] == key[0] and found.uid == sight.owner_uid:
                self._on_change(store)
