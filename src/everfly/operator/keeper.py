"""Turn one Dragonfly resource into a data store that stays as it is wanted: look, decide, act.

One loop for each resource, woken by whatever changes (objects, answers of instances), by the time a
decision named, and by a tick. Rules: a look that fails is repeated soon and harms no other data
store; probes run also where another operator holds the lease, so that whoever takes over knows at
once; only the holder acts.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from everfly.core.diagnosis import Kind
from everfly.core.group_view import GroupView, Memory, Service
from everfly.core.model import Address, Instant
from everfly.core.plan import Decision, decide
from everfly.core.steps import Follow, WriteRecord
from everfly.errors import EverflyError, Unavailable
from everfly.operator import names
from everfly.operator.apiserver.api import DRAGONFLY_STATUS, Patch
from everfly.operator.apiserver.caches import Key
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.apiserver.sight import PodSight, SetSight, StoreSight
from everfly.operator.apply import Applier
from everfly.operator.chores import all_chores
from everfly.operator.chores.chore import Work
from everfly.operator.chores.runner import Chores
from everfly.operator.deeds import Deeds, HandOverError, Scene, Tools
from everfly.operator.manifest import Json
from everfly.operator.observe import Observation, is_ours, view_of
from everfly.operator.orders import Orders
from everfly.operator.probe import Probe, now_ms
from everfly.operator.resources import Around
from everfly.operator.status import ROLLING, Situation, differs, phase_of, status_fields
from everfly.operator.wishes.spec import Spec, SpecError, read_spec
from everfly.operator.wishes.window import WindowClock

log = logging.getLogger(__name__)

PEACE_S: Final = 2.0
"""Between looks while nothing changes: whatever does, wakes the keeper by itself."""
TROUBLE_S: Final = 0.5
AFTER_FAILURE_S: Final = 0.25
"""Before the next look after a step failed."""
AFTER_REFUSAL_S: Final = 0.05
"""Before the next look after a hand-over was refused: clients are waiting."""
REFRESH_S: Final = 0.1
"""For all instances to tell how they are now; one that hangs must not hold up the others."""
_ASKED_ABOUT: Final = frozenset({Kind.PRIMARY_SILENT, Kind.PRIMARY_UNREACHABLE})
"""Findings in which the word of replicas decides: they are asked at once, not in their turn."""
SPELLS_MAX: Final = 64
"""Of how many failovers the lengths are kept for metrics until they are read."""


@dataclass
class Tally:
    """What happened to one data store since this operator started."""

    steps: dict[str, int] = field(default_factory=dict)
    failed_looks: int = 0
    spells_s: list[float] = field(default_factory=list)
    """How long it was without a primary, each time."""

    def note(self, step: str) -> None:
        """Count a step."""
        self.steps[step] = self.steps.get(step, 0) + 1


@dataclass
class _Watched:
    probe: Probe
    task: asyncio.Task[None]


class Keeper:
    """Keeps one data store. `run` it until the resource is gone or it is cancelled."""

    def __init__(self, key: Key, tools: Tools, around: Around) -> None:
        self._key = key
        self._tools = tools
        self._lease = tools.lease
        self._around = around
        self.tally = Tally()
        self.view: GroupView | None = None
        self.decision: Decision | None = None
        self._deeds = Deeds(tools, self._spawn_follow, self.tally.note)
        self._applier = Applier(tools.api, tools.inventory, tools.events)
        self._memory = Memory()
        self._chores = Chores(tools, all_chores(tools, around), self.wake)
        self._owners: dict[str, set[str]] = {}
        """Of each instance: whose it was, by uids; the empty one is nobody's."""
        self._owners_of = ""
        self._window = WindowClock()
        self._window_opens: datetime | None = None
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self._watched: dict[str, _Watched] = {}
        self._following: dict[str, tuple[Address, asyncio.Task[None]]] = {}
        self._lost_at: float | None = None
        self._phase = ""
        self._spec: Spec | None = None
        self._spec_of: object = None
        self._problems: tuple[str, ...] = ()

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the data store until it is gone."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                chores = tasks.create_task(self._chores.run(), name=f"chores of {self._key}")
                while await self._look():
                    pass
                for task in (chores, *self._children()):
                    task.cancel()
        finally:
            self._tasks = None

    def _children(self) -> list[asyncio.Task[None]]:
        probes = [each.task for each in self._watched.values()]
        return [*probes, *(task for _, task in self._following.values())]

    async def _look(self) -> bool:
        """Look once, then wait for the next reason to. Return False when there is nothing left."""
        self._wake.clear()
        store = self._tools.inventory.stores.get(self._key)
        if store is None or store.is_terminating:
            return False
        pause = PEACE_S
        try:
            pause = await self._turn(store)
        except HandOverError as error:
            self._memory = error.memory
            await self._refresh()
            pause = AFTER_REFUSAL_S
        except EverflyError as error:
            self.tally.failed_looks += 1
            log.warning("%s/%s: %s", *self._key, error)
            pause = AFTER_FAILURE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
        return True

    async def _turn(self, store: StoreSight) -> float:
        spec = self._read(store)
        seen = self._observe(store, spec)
        view = view_of(seen, self._lease.term, self._memory)
        now = now_ms()
        if self._lease.holds and view.record.term > view.term:
            self._lease.rise_above(view.record.term)
            return AFTER_FAILURE_S
        decision = decide(view, now)
        if self._lease.holds and _begins_failover(decision):
            # How far the replicas are is up to a second old, and which of them is the furthest
            # decides what is lost.
            await self._refresh()
            seen = self._observe(store, spec)
            view, now = view_of(seen, self._lease.term, self._memory), now_ms()
            decision = decide(view, now)
        self.view, self.decision = view, decision
        is_troubled = any(each.kind is not Kind.HEALTHY for each in decision.findings)
        is_asked = any(each.kind in _ASKED_ABOUT for each in decision.findings)
        for each in self._watched.values():
            each.probe.is_troubled = is_troubled
            if is_asked:
                each.probe.poke()
        self._note_spell(view)
        if not self._lease.holds:
            return PEACE_S
        self._memory = decision.memory
        pods = {pod.name: pod for pod in seen.pods}
        scene = Scene(store, view, pods, decision.reasons)
        self._memory = await self._deeds.carry_out(scene, decision.steps, decision.memory)
        if decision.steps:
            # What was just done must be seen before it is decided anew.
            await self._refresh()
            self._wake.set()
        problems = self._problems
        if not view.intent.is_paused:
            problems += await self._applier.apply(store, spec, decision.running, self._around)
        if spec is not None:
            if spec.has_readiness_gate and not view.intent.is_paused:
                await self._settle_gates(scene)
            self._chores.post(Work(scene, spec, decision))
        await self._write_status(store, view, decision, problems)
        return self._pause(decision, is_troubled, now)

    async def _refresh(self) -> None:
        probes = [each.probe.refresh() for each in self._watched.values()]
        if not probes:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_S):
                await asyncio.gather(*probes)

    def _pause(self, decision: Decision, is_troubled: bool, now: Instant) -> float:
        pause = TROUBLE_S if is_troubled else PEACE_S
        if decision.wake_at is not None:
            pause = min(pause, max(decision.wake_at - now, 1) / 1000)
        return pause

    def _read(self, store: StoreSight) -> Spec | None:
        """Return the spec, or None where it is wrong; it is read again only when it changes."""
        if self._spec_of is None or self._spec_of != store.spec:
            self._spec_of = store.spec
            try:
                self._spec, self._problems = self._around.completed(read_spec(store.spec)), ()
            except SpecError as error:
                self._spec, self._problems = None, error.problems
                if self._lease.holds:
                    self._tools.events.tell(store, WARNING, "InvalidSpec", str(error))
        return self._spec

    def _observe(self, store: StoreSight, spec: Spec | None) -> Observation:
        inventory = self._tools.inventory
        owned_set = inventory.sets.get(self._key)
        if owned_set is not None and owned_set.owner_uid not in ("", store.uid):
            owned_set = None
        pods = self._instances(store, owned_set)
        self._watch(pods)
        readings = {uid: each.probe.reading for uid, each in self._watched.items()}
        return Observation(
            store,
            spec,
            owned_set,
            pods,
            readings,
            inventory.host,
            inventory.sees_hosts,
            self._tools.statements(),
            self._voluntary_from(spec),
            live=self._chores.report().settled if spec and spec.extras.live_settings else None,
        )

    def _instances(self, store: StoreSight, owned_set: SetSight | None) -> tuple[PodSight, ...]:
        """Return the pods that are instances, also while they have lost their StatefulSet.

        One that somebody deleted without its pods leaves them to nobody until it is there again and
        has adopted them, one by one. None of them is gone meanwhile.
        """
        if self._owners_of != store.uid:
            self._owners_of, self._owners = store.uid, {}
        known = self._owners
        pods = tuple(
            pod
            for pod in self._tools.inventory.pods_of(store)
            if is_ours(pod, store, owned_set) or pod.owner_uid in known.get(pod.uid, ())
        )
        self._owners = {pod.uid: {"", pod.owner_uid, *known.get(pod.uid, ())} for pod in pods}
        return pods

    def _voluntary_from(self, spec: Spec | None) -> Instant | None:
        """Return when the maintenance window opens, or None where nothing has to wait."""
        self._window_opens = None
        window = spec.extras.window if spec is not None else None
        if window is None:
            return None
        wall, now = datetime.now(UTC), now_ms()
        state = self._window.look(window, wall)
        if state.is_open:
            return None
        self._window_opens = state.until
        return Instant(now + max((state.until - wall) // timedelta(milliseconds=1), 0) + 1)

    def _watch(self, pods: tuple[PodSight, ...]) -> None:
        """Have a probe for each pod that has an address, and for no other."""
        assert self._tasks is not None
        wanted = {pod.uid: Address(pod.ip, names.ADMIN_PORT) for pod in pods if pod.ip}
        for uid, each in list(self._watched.items()):
            if wanted.get(uid) != each.probe.address:
                each.task.cancel()
                del self._watched[uid]
        for uid, address in wanted.items():
            if uid not in self._watched:
                probe = Probe(address, self.wake)
                name = f"probe of {address}"
                self._watched[uid] = _Watched(
                    probe, self._tasks.create_task(probe.run(), name=name)
                )

    def _spawn_follow(self, name: str, step: Follow, orders: Orders) -> None:
        assert self._tasks is not None
        running = self._following.get(name)
        if running is not None and not running[1].done():
            if running[0] == step.address:
                return
            running[1].cancel()  # it waits for a primary that is none any more
        task = self._tasks.create_task(self._follow(name, step, orders))
        self._following[name] = step.address, task

    async def _follow(self, name: str, step: Follow, orders: Orders) -> None:
        try:
            await orders.follow(step.address, cuts_clients=step.cuts_clients)
        except EverflyError as error:
            log.warning(
                "%s/%s: %s does not follow %s yet: %s", *self._key, name, step.primary, error
            )
        for each in self._watched.values():
            if each.probe.address == orders.address:
                each.probe.poke()

    async def _settle_gates(self, scene: Scene) -> None:
        decision = self.decision
        is_waiting = decision is not None and any(
            each.kind in (Kind.DATA_LOSS_RISK, Kind.NO_SUCCESSOR, Kind.AWAITING_DATA)
            for each in decision.findings
        )
        for member in scene.view.members:
            pod = scene.pods.get(member.name)
            if pod is None or not pod.has_gate or pod.gate is True:
                continue
            # The platform starts the next instance only when this one is ready, and the choice of
            # a primary waits for all of them.
            if is_waiting and member.is_reachable and member.service is Service.NONE:
                await self._deeds.set_gate(scene.store, pod, is_open=True)

    async def _write_status(
        self, store: StoreSight, view: GroupView, decision: Decision, problems: tuple[str, ...]
    ) -> None:
        current = self._tools.inventory.stores.get(self._key)
        if current is None or current.uid != store.uid:
            return
        selector = f"{names.LABEL_APP}={store.name},{names.LABEL_NAME}={names.APP_NAME}"
        situation = Situation(
            view, decision, store.generation, selector, problems, self._chores.report()
        )
        situation = replace(situation, window_opens=_stamp(self._window_opens))
        stamp = _stamp(datetime.now(UTC))
        fields = status_fields(situation, current.status, stamp)
        self._tell_phase(store, phase_of(view))
        if not differs(fields, current.status):
            return
        if not self._lease.holds:
            raise Unavailable("the lease is lost; another operator goes on")
        change: dict[str, Json] = {
            "metadata": {"resourceVersion": current.version},
            "status": fields,
        }
        item = await self._tools.api.patch(
            DRAGONFLY_STATUS, store.name, store.namespace, change, Patch.MERGE
        )
        self._tools.inventory.stores.put(item)

    def _tell_phase(self, store: StoreSight, phase: str) -> None:
        before, self._phase = self._phase, phase
        if before == phase:
            return
        tell = self._tools.events.tell
        if phase == ROLLING:
            tell(store, NORMAL, "Resources", "Performing a rollout")
            tell(store, NORMAL, "Rollout", "Starting a rollout")
        elif before == ROLLING:
            tell(store, NORMAL, "Rollout", "Completed")

    def _note_spell(self, view: GroupView) -> None:
        """Measure how long there is no primary in service."""
        primary = view.primary
        is_served = (
            primary is not None
            and view.record.move is None
            and primary.is_reachable
            and primary.service is Service.PRIMARY
        )
        now = time.monotonic()
        if not is_served:
            self._lost_at = self._lost_at or now
        elif self._lost_at is not None:
            if view.record.epoch and len(self.tally.spells_s) < SPELLS_MAX:
                self.tally.spells_s.append(now - self._lost_at)
            self._lost_at = None


def _stamp(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _begins_failover(decision: Decision) -> bool:
    first = decision.steps[0] if decision.steps else None
    return (
        isinstance(first, WriteRecord)
        and first.record.move is not None
        and not first.record.move.is_planned
    )
