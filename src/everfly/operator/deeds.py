"""Turn the steps of a decision into requests and orders, in order, while we hold the lease.

Rules: the right to act is asked for before each step; a step that fails ends the list, and the next
look decides anew, but for fencing, which is the best effort it can be; orders to follow run beside
the list, because one can take as long as another instance likes.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from everfly.core.group_view import GroupView, Member, Memory, Record, Service, Statement
from everfly.core.steps import (
    BringIntoService,
    ClearRequest,
    Delete,
    Fence,
    Follow,
    Promote,
    Step,
    TakeOutOfService,
    TakeOver,
    WriteRecord,
)
from everfly.errors import EverflyError, Unavailable
from everfly.operator import names
from everfly.operator.apiserver.api import DRAGONFLY, DRAGONFLY_STATUS, POD, POD_STATUS, Api, Patch
from everfly.operator.apiserver.events import NORMAL, WARNING, Events
from everfly.operator.apiserver.inventory import Inventory
from everfly.operator.apiserver.sight import PodSight, StoreSight
from everfly.operator.apiserver.terms import LeaseLike
from everfly.operator.holding import has_endpoint, until_held
from everfly.operator.manifest import Json, part
from everfly.operator.orders import Orders, TakeOverRefused, TakeOverUnclear
from everfly.operator.record import record_fields, record_of

log = logging.getLogger(__name__)

FENCE_S: Final = 2.0
"""What fencing an instance that may be half dead may cost while clients wait for another one."""

_ROLES: Final = {
    Service.PRIMARY: names.ROLE_PRIMARY,
    Service.REPLICA: names.ROLE_REPLICA,
    Service.NONE: "",
}
OLD_DEFINITION: Final = (
    "the definition of Dragonfly in this cluster drops what Everfly writes into the status; "
    "a failover is not finished by another operator until the definition of Everfly is applied"
)


@dataclass(frozen=True, slots=True)
class Tools:
    """What steps are carried out with."""

    api: Api
    inventory: Inventory
    events: Events
    lease: LeaseLike
    statements: Callable[[], tuple[Statement, ...]] = tuple
    """What other observers say now of primaries that they do not reach."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What steps are about."""

    store: StoreSight
    view: GroupView
    pods: dict[str, PodSight]
    reasons: tuple[str, ...]


class Deeds:
    """Carries out the steps for one data store."""

    def __init__(
        self,
        tools: Tools,
        spawn: Callable[[str, Follow, Orders], None],
        note: Callable[[str], None],
    ) -> None:
        self._tools = tools
        self._spawn = spawn
        self._note = note

    async def carry_out(self, scene: Scene, steps: tuple[Step, ...], memory: Memory) -> Memory:
        """Carry out steps. Raise EverflyError of the first that fails."""
        for step in steps:
            if not self._tools.lease.holds:
                raise Unavailable("the lease is lost; another operator goes on")
            memory = await self._one(scene, step, memory)
            self._note(type(step).__name__)
        return memory

    async def _one(self, scene: Scene, step: Step, memory: Memory) -> Memory:
        match step:
            case WriteRecord(record):
                await self._write(scene, record)
            case TakeOutOfService(name):
                await self._label(scene, name, "", "")
            case BringIntoService(name, service, primary):
                await self._label(scene, name, _ROLES[service], primary.host)
                self._tell_service(scene, name, service)
            case Fence(name):
                await self._fence(scene, name)
            case TakeOver(name, away_from, seconds):
                return await self._take_over(scene, name, away_from, seconds, memory)
            case Promote(name, history):
                await self._promote(scene, name, history)
            case Follow(name=name):
                self._spawn(name, step, self._orders(scene, name))
            case Delete(name, reason):
                await self._delete(scene, name, reason)
            case ClearRequest(reason, is_refused):
                await self._clear(scene, reason, is_refused=is_refused)
        return memory

    async def _write(self, scene: Scene, record: Record) -> None:
        # Of the newest version: other fields of ours may have been written since the look.
        store = self._tools.inventory.stores.get((scene.store.namespace, scene.store.name))
        if store is None or record_of(store.status) != scene.view.record:
            raise Unavailable("the resource changed since it was looked at")
        change = {
            "metadata": {"resourceVersion": store.version},
            "status": record_fields(record),
        }
        item = await self._tools.api.patch(
            DRAGONFLY_STATUS, store.name, store.namespace, change, Patch.MERGE
        )
        self._tools.inventory.stores.put(item)
        if record_of(part(item, "status")) != record:
            self._tools.events.tell(scene.store, WARNING, "OldDefinition", OLD_DEFINITION)
        if record.move is not None and record.move != scene.view.record.move:
            why = "; ".join(scene.reasons)
            kind = NORMAL if record.move.is_planned else WARNING
            away = record.move.away_from or "nobody"
            self._tools.events.tell(
                scene.store, kind, "PrimaryChange", f"from {away} to {record.move.to}: {why}"
            )
        elif record.primary and not scene.view.record.primary:
            self._tools.events.tell(
                scene.store, NORMAL, "Replication", "Initial replication configured"
            )

    async def _label(self, scene: Scene, name: str, role: str, led_by: str) -> None:
        pod = self._pod(scene, name)
        is_replica_of_ipv4 = role == names.ROLE_REPLICA and ":" not in led_by
        change = {
            "metadata": {
                "uid": pod.uid,
                "labels": {
                    names.LABEL_ROLE: role or None,
                    names.LABEL_LED_BY: led_by if is_replica_of_ipv4 else None,
                    # Whoever has no role serves nobody; a chore adds it where it is wanted.
                    **({} if role else {names.LABEL_SERVES: None}),
                },
                "annotations": {names.ANNOTATION_LED_BY: led_by or None},
            }
        }
        item = await self._tools.api.patch(POD, name, scene.store.namespace, change, Patch.MERGE)
        self._tools.inventory.pods.put(item)
        if pod.has_gate and pod.gate is not bool(role):
            await self.set_gate(scene.store, pod, is_open=bool(role))

    async def set_gate(self, store: StoreSight, pod: PodSight, *, is_open: bool) -> None:
        """Set the readiness gate of replication. Raise Refused, Unavailable."""
        condition: Json = {
            "type": names.GATE,
            "status": "True" if is_open else "False",
            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        change = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        item = await self._tools.api.patch(
            POD_STATUS, pod.name, store.namespace, change, Patch.STRATEGIC
        )
        self._tools.inventory.pods.put(item)

    def _tell_service(self, scene: Scene, name: str, service: Service) -> None:
        before = scene.view.member(name)
        if before is not None and before.service is service:
            return
        message = f"Updated master instance: {name}"
        if service is Service.REPLICA:
            message = f"Configured a new replica: {name}"
        self._tools.events.tell(scene.store, NORMAL, "Replication", message)

    async def _fence(self, scene: Scene, name: str) -> None:
        try:
            async with asyncio.timeout(FENCE_S):
                await self._orders(scene, name).fence()
        except (EverflyError, TimeoutError) as error:
            log.warning(
                "%s/%s: fencing %s: %s", scene.store.namespace, scene.store.name, name, error
            )

    async def _promote(self, scene: Scene, name: str, history: str) -> None:
        if await self._orders(scene, name).promote(history):
            message = f"{name} was promoted to replace the primary"
            self._tools.events.tell(scene.store, WARNING, "Failover", message)

    async def _take_over(
        self, scene: Scene, name: str, away_from: str, seconds: int, memory: Memory
    ) -> Memory:
        if has_endpoint(scene.store):
            await until_held(self._tools.api, scene.store)
        try:
            await self._orders(scene, name).take_over(seconds)
        except (TakeOverRefused, TakeOverUnclear) as error:
            self._tools.events.tell(
                scene.store, WARNING, "HandOverFailed", f"from {away_from} to {name}: {error}"
            )
            is_clean = isinstance(error, TakeOverRefused)
            failed = (
                replace(memory, refused_take_over=name)
                if is_clean
                else replace(memory, failed_take_over=name)
            )
            raise HandOverError(str(error), failed) from error
        self._tools.events.tell(
            scene.store, NORMAL, "HandOver", f"{away_from} handed over to {name}"
        )
        return memory

    async def _delete(self, scene: Scene, name: str, reason: str) -> None:
        self._tools.events.tell(
            scene.store, NORMAL, "Rollout", f"Deleting replica {name}: {reason}"
        )
        await self._tools.api.delete(POD, name, scene.store.namespace)

    async def _clear(self, scene: Scene, reason: str, *, is_refused: bool) -> None:
        store = scene.store
        change = {"metadata": {"annotations": {names.SWITCH_TO: None}}}
        item = await self._tools.api.patch(
            DRAGONFLY, store.name, store.namespace, change, Patch.MERGE
        )
        self._tools.inventory.stores.put(item)
        if is_refused:
            self._tools.events.tell(store, WARNING, "SwitchoverRefused", reason)

    def _member(self, scene: Scene, name: str) -> Member:
        member = scene.view.member(name)
        if member is None or member.address is None:
            raise Unavailable(f"{name} has no address")
        return member

    def _orders(self, scene: Scene, name: str) -> Orders:
        member = self._member(scene, name)
        assert member.address is not None
        return Orders(member.address)

    def _pod(self, scene: Scene, name: str) -> PodSight:
        pod = scene.pods.get(name)
        if pod is None:
            raise Unavailable(f"{name} is gone")
        return pod


class HandOverError(EverflyError):
    """A hand-over failed; `memory` says how, for the next decision."""

    def __init__(self, message: str, memory: Memory) -> None:
        super().__init__(message)
        self.memory = memory
