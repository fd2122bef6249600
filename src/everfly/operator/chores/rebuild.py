"""Give an instance whose disk is bad an empty one: it comes back empty and copies.

Asked for by `everfly.dev/rebuild` on the resource. One at a time: the note `everfly.dev/rebuilding`
is written, the claims of the pod are deleted (they end with the pod), the pod is deleted by the
plan like any that is to restart, and the order is taken away once the new one is in order. Who may
be rebuilt is decided in `core/rebuild.py`. An order that can never be carried out is taken away,
with an event that says why.
"""

import re
import time
from typing import Final

from everfly.core.rebuild import Readiness, judge_rebuild
from everfly.core.upkeep import is_stable
from everfly.operator import names
from everfly.operator.apiserver.api import CLAIM, DRAGONFLY, POD, Patch
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.apiserver.sight import PodSight, StoreSight
from everfly.operator.chores.chore import Condition, Report, Work, has_condition
from everfly.operator.deeds import Tools
from everfly.operator.manifest import objects, text
from everfly.operator.observe import ordinal_of
from everfly.operator.volumes.claims import ClaimSight
from everfly.operator.volumes.rebuilds import Begun, RebuildOrder, begun_of, orders_of, orders_text

STUCK_S: Final = 5.0
"""After which a new pod that has no disk, or still the old one, is deleted once more. Controllers
before Kubernetes 1.27 may make a pod while its old claim is ending, and make no claim later."""
REBUILDING: Final = "Rebuilding"


class Rebuilds:
    """Rebuilds instances of one data store."""

    def __init__(self, tools: Tools) -> None:
        self._api = tools.api
        self._inventory = tools.inventory
        self._events = tools.events
        self._outcome: Report | None = None
        """Of the last order, until there is another."""
        self._stuck: tuple[str, float] = ("", 0.0)
        """Which new pod is without its disk, and since when."""

    async def tend(self, work: Work) -> Report:
        """Begin, go on with or end what people asked for."""
        annotations = work.scene.store.annotations
        begun, orders = begun_of(annotations), orders_of(annotations)
        if begun is not None:
            return await self._go_on(work, begun, orders)
        if orders:
            return await self._begin(work, orders)
        if self._outcome is not None:
            return self._outcome
        if not has_condition(work.scene.store, REBUILDING):
            return Report()
        return _report("NotAsked", "", is_true=False)

    async def _begin(self, work: Work, orders: tuple[RebuildOrder, ...]) -> Report:
        store, order = work.scene.store, orders[0]
        if reason := _why_unknown(work, order.name):
            return await self._refuse(store, orders, reason)
        found = judge_rebuild(work.scene.view, order.name, is_forced=order.is_forced)
        if found.readiness is Readiness.NEVER:
            return await self._refuse(store, orders, _advised(store, order, found.reason))
        pod = work.scene.pods.get(order.name)
        if found.readiness is Readiness.LATER or pod is None or not self._inventory.sees_claims:
            why = found.reason or "volume claims are not seen"
            return _report("Waiting", f"{order.name} is to be rebuilt; it waits: {why}")
        claims = self._claims(store, pod.name)
        begun = Begun(pod.name, pod.uid, tuple(each.uid for each in claims))
        await self._annotate(store, {names.REBUILDING: begun.text()})
        self._events.tell(store, NORMAL, "Rebuild", f"{pod.name} gives up its disk and copies anew")
        await self._drop_claims(store, begun, claims)
        return _report("UnderWay", f"{pod.name} is rebuilt")

    async def _go_on(self, work: Work, begun: Begun, orders: tuple[RebuildOrder, ...]) -> Report:
        store, view = work.scene.store, work.scene.view
        claims = self._claims(store, begun.name)
        await self._drop_claims(store, begun, claims)
        pod, member = work.scene.pods.get(begun.name), view.member(begun.name)
        if ordinal_of(begun.name) >= max(view.intent.replicas, view.intent.running):
            return await self._end(store, begun, orders, "is not wanted any more")
        if pod is None or member is None or pod.uid == begun.pod_uid or pod.is_terminating:
            return _report("UnderWay", f"{begun.name} is rebuilt")
        if self._lacks_disk(store, pod, begun, claims):
            if member.name != view.record.primary:
                await self._replace_stuck(store, pod)
        elif is_stable(view, member):
            return await self._end(store, begun, orders, "was rebuilt")
        return _report("UnderWay", f"{begun.name} is rebuilt")

    def _claims(self, store: StoreSight, pod: str) -> list[ClaimSight]:
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        templates = objects(owned_set.fixed, "volumeClaimTemplates") if owned_set else []
        wanted = {f"{text(each, 'metadata', 'name')}-{pod}" for each in templates}
        return [claim for name, claim in self._inventory.claims_of(store) if name in wanted]

    async def _drop_claims(self, store: StoreSight, begun: Begun, claims: list[ClaimSight]) -> None:
        for each in claims:
            if each.uid in begun.claim_uids and not each.is_terminating:
                await self._api.delete_very(CLAIM, (store.namespace, each.name), each.uid)

    def _lacks_disk(
        self, store: StoreSight, pod: PodSight, begun: Begun, claims: list[ClaimSight]
    ) -> bool:
        """Tell whether a new pod has been without its new disk for long."""
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        count = len(objects(owned_set.fixed, "volumeClaimTemplates")) if owned_set else 0
        fresh = [
            each for each in claims if not each.is_terminating and each.uid not in begun.claim_uids
        ]
        if len(fresh) >= count:
            self._stuck = ("", 0.0)
            return False
        if self._stuck[0] != pod.uid:
            self._stuck = (pod.uid, time.monotonic())
        return True

    async def _replace_stuck(self, store: StoreSight, pod: PodSight) -> None:
        if time.monotonic() - self._stuck[1] >= STUCK_S:
            self._stuck = ("", 0.0)
            await self._api.delete_very(POD, (store.namespace, pod.name), pod.uid)

    async def _refuse(
        self, store: StoreSight, orders: tuple[RebuildOrder, ...], reason: str
    ) -> Report:
        await self._annotate(store, {names.REBUILD: orders_text(orders[1:])})
        self._events.tell(store, WARNING, "RebuildRefused", reason)
        self._outcome = _report("Refused", reason, is_true=False)
        return self._outcome

    async def _end(
        self, store: StoreSight, begun: Begun, orders: tuple[RebuildOrder, ...], how: str
    ) -> Report:
        rest = tuple(each for each in orders if each.name != begun.name)
        await self._annotate(store, {names.REBUILD: orders_text(rest), names.REBUILDING: None})
        self._events.tell(store, NORMAL, "Rebuild", f"{begun.name} {how}")
        self._outcome = _report("Done", f"{begun.name} {how}", is_true=False)
        return self._outcome

    async def _annotate(self, store: StoreSight, annotations: dict[str, str | None]) -> None:
        change = {"metadata": {"uid": store.uid, "annotations": annotations}}
        item = await self._api.patch(DRAGONFLY, store.name, store.namespace, change, Patch.MERGE)
        self._inventory.stores.put(item)


def _why_unknown(work: Work, name: str) -> str:
    """Return why there can be no instance of that name, or an empty text."""
    prefix, _, number = name.rpartition("-")
    store, intent = work.scene.store, work.scene.view.intent
    is_number = re.fullmatch(r"0|[1-9]\d{0,8}", number) is not None
    if prefix == store.name and is_number and int(number) < max(intent.replicas, intent.running):
        return ""
    return f"there is no instance {name}; the pods are called {store.name}-0 and so on"


def _advised(store: StoreSight, order: RebuildOrder, reason: str) -> str:
    if "is the primary" in reason:
        return f"{reason}: everfly k8s switchover {store.name}"
    return f"{reason}; to do it all the same: {names.REBUILD}={order.name}:force"


def _report(reason: str, message: str, *, is_true: bool = True) -> Report:
    return Report(conditions=(Condition(REBUILDING, is_true, reason, message),))
