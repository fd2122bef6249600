"""Let disks go that no pod uses any more, where people ask for that; all stay by default.

With the resource: a claim then belongs to the resource, and the cluster's garbage collector takes
it away together with it. Kubernetes' own policy of the StatefulSet is not used: with it disks would
go when somebody deletes the StatefulSet by hand, which is made again here at once, or when a data
store is put to sleep.

With its pod: a claim of a pod that a smaller group no longer has is deleted once the smaller group
is in order. Rules: never while a pod of that name is there, never of a group that sleeps or is not
in order, and never a disk that may hold more than the primary: on each claim is noted of which
history its data were when its pod was last in order, and only where the primary went on from that
very history does the disk go. A wake begins another history.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from everfly.core.group_view import GroupView
from everfly.core.upkeep import is_stable
from everfly.operator.apiserver.api import CLAIM, Patch
from everfly.operator.apiserver.events import NORMAL
from everfly.operator.apiserver.sight import SetSight, StoreSight
from everfly.operator.chores.chore import Condition, Report, Work, has_condition
from everfly.operator.deeds import Tools
from everfly.operator.manifest import Json, objects, text
from everfly.operator.observe import ordinal_of
from everfly.operator.resources.owner import Owner
from everfly.operator.volumes.claims import HISTORY, ClaimSight, number_of

LEFT: Final = "UnusedVolumes"


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A claim, and the number of its pod."""

    claim: ClaimSight
    number: int


class UnusedVolumes:
    """Lets the disks of one data store go."""

    def __init__(self, tools: Tools) -> None:
        self._api = tools.api
        self._inventory = tools.inventory
        self._events = tools.events

    async def tend(self, work: Work) -> Report:
        """Note whose data disks hold, and let those go that are not needed."""
        store, keep = work.scene.store, work.spec.extras.retention
        owned_set = self._inventory.sets.get((store.namespace, store.name))
        if owned_set is None or not self._inventory.sees_claims:
            return Report()
        claims = list(self._claims(store, owned_set))
        for each in claims:
            if keep.goes_with_resource != (store.uid in each.claim.owners):
                await self._bind(store, each.claim, is_owned=keep.goes_with_resource)
        if not keep.goes_with_pod:
            is_told = has_condition(store, LEFT)
            return Report(conditions=(_nothing_left(),) if is_told else ())
        view = work.scene.view
        await self._note(store, view, claims)
        left = []
        if is_smaller_and_well(view, owned_set):
            for each in claims:
                if each.number >= view.intent.replicas and not self._has_pod(store, each.number):
                    left += await self._give_up(store, view, each.claim)
        told = Condition(LEFT, is_true=True, reason="MayHoldMore", message="; ".join(left))
        return Report(conditions=(told if left else _nothing_left(),))

    def _claims(self, store: StoreSight, owned_set: SetSight) -> Iterator[_Numbered]:
        kinds = [
            text(each, "metadata", "name")
            for each in objects(owned_set.fixed, "volumeClaimTemplates")
        ]
        for name, claim in self._inventory.claims_of(store):
            for kind in kinds:
                number = number_of(name, kind, store.name)
                if number is not None and not claim.is_terminating:
                    yield _Numbered(claim, number)

    def _has_pod(self, store: StoreSight, number: int) -> bool:
        name = f"{store.name}-{number}"
        return self._inventory.pods.get((store.namespace, name)) is not None

    async def _bind(self, store: StoreSight, claim: ClaimSight, *, is_owned: bool) -> None:
        """Let a claim go with the resource, or not any more."""
        reference = Owner(store.name, store.namespace, store.uid).reference()
        owner: dict[str, Json] = {
            key: reference[key] for key in ("apiVersion", "kind", "name", "uid")
        }
        if not is_owned:
            owner = {"$patch": "delete", "uid": store.uid}
        await self._patch(store, claim, {"uid": claim.uid, "ownerReferences": [owner]})

    async def _note(self, store: StoreSight, view: GroupView, claims: list[_Numbered]) -> None:
        """Note on the disks of all pods in order whose data they hold."""
        lineage = view.record.lineage
        if lineage is None or view.record.move is not None:
            return
        steady = {ordinal_of(each.name) for each in view.members if is_stable(view, each)}
        for each in claims:
            if each.number in steady and each.claim.history != lineage.history:
                note: dict[str, Json] = {HISTORY: lineage.history}
                await self._patch(store, each.claim, {"uid": each.claim.uid, "annotations": note})

    async def _patch(self, store: StoreSight, claim: ClaimSight, metadata: dict[str, Json]) -> None:
        change = {"metadata": metadata}
        item = await self._api.patch(CLAIM, claim.name, store.namespace, change, Patch.STRATEGIC)
        self._inventory.claims.put(item)

    async def _give_up(self, store: StoreSight, view: GroupView, claim: ClaimSight) -> list[str]:
        """Delete a claim, or say why it stays."""
        if claim.history not in histories_held(view):
            return [f"{claim.name} stays: it may hold data that the group has not"]
        await self._api.delete_very(CLAIM, (store.namespace, claim.name), claim.uid)
        self._events.tell(
            store, NORMAL, "Volumes", f"{claim.name} deleted: the group has no such pod any more"
        )
        return []


def _nothing_left() -> Condition:
    return Condition(LEFT, is_true=False, reason="None")


def is_smaller_and_well(view: GroupView, owned_set: SetSight) -> bool:
    """Tell whether a group is as small as it is wanted, awake, and all in order."""
    intent = view.intent
    return (
        not intent.is_hibernated
        and 0 < intent.replicas == intent.running == len(view.members)
        and owned_set.observed_generation >= owned_set.generation
        and owned_set.current_replicas <= intent.replicas
        and view.record.move is None
        and all(is_stable(view, each) for each in view.members)
    )


def histories_held(view: GroupView) -> set[str]:
    """Return the histories whose data the primary is known to hold."""
    lineage, primary = view.record.lineage, view.primary
    known = {lineage.history if lineage is not None else ""}
    if primary is not None and primary.facts is not None:
        known.add(primary.facts.promoted_from)
    return known - {""}
