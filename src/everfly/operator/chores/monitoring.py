"""Keep PodMonitor and PrometheusRule of a data store as wanted, where there are such kinds.

Rules: nothing is asked while nothing changed, but for a look every five minutes at what somebody
may have changed; a cluster without these kinds, or without our rights on them, is told in the
condition `Monitored` and tried again every half minute; an object of that name that is somebody
else's is left alone. The condition also remembers, for the next operator, whether there may be
objects to take away.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx2

from everfly.operator.apiserver.api import POD_MONITOR, PROMETHEUS_RULE, Api, Refused, Resource
from everfly.operator.apiserver.sight import StoreSight, owned_sight
from everfly.operator.chores.chore import Condition, Report, Work
from everfly.operator.deeds import Tools
from everfly.operator.manifest import JsonObject, objects, text
from everfly.operator.resources.monitoring import monitoring_objects
from everfly.operator.resources.owner import Owner
from everfly.operator.wishes.spec import Spec

CONDITION: Final = "Monitored"
NOT_ASKED: Final = "NotAskedFor"
THOROUGH_S: Final = 300.0
RETRY_S: Final = 30.0
NO_DEFINITION: Final = (
    "this cluster has no {kind}: install the definitions of the Prometheus operator, or take it "
    "out of spec.everfly.monitoring"
)
NO_RIGHTS: Final = (
    "the operator may not write {kind}: give it the rights that its newest manifest has (value "
    "`monitoring.rights` of the chart)"
)
NOT_OURS: Final = "{kind} {name} is there and not ours; rename it or the resource"
NOBODY_LET_IN: Final = (
    "the NetworkPolicy lets nobody read metrics: name Prometheus in "
    "spec.everfly.networkPolicy.metricsFrom"
)

_KINDS: Final[dict[str, Resource]] = {"PodMonitor": POD_MONITOR, "PrometheusRule": PROMETHEUS_RULE}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one kind: a reason that is no text is a success."""

    reason: str = ""
    message: str = ""


class Monitoring:
    """Remembers what it wrote."""

    def __init__(self, tools: Tools, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tools = tools
        self._clock = clock
        self._digest = ""
        self._due_at = 0.0
        self._there: set[str] | None = None
        """Kinds of which there may be an object of ours; None: whatever the status says."""
        self._report = Report()

    async def tend(self, work: Work) -> Report:
        """Write what is due. Raise Unavailable."""
        store, spec = work.scene.store, work.spec
        owner = Owner(store.name, store.namespace, store.uid)
        wanted = {text(each, "kind"): each for each in monitoring_objects(spec, owner)}
        digest = json.dumps([list(wanted.values()), _lets_nobody_in(spec)], sort_keys=True)
        if digest == self._digest and self._clock() < self._due_at:
            return self._report
        if self._there is None:
            self._there = set(_KINDS) if _reason_before(store) not in ("", NOT_ASKED) else set()
        outcomes = [await self._settle(owner, kind, wanted.get(kind)) for kind in _KINDS]
        found = next((each for each in outcomes if each.reason), _Outcome())
        if not found.reason and wanted and _lets_nobody_in(spec):
            found = _Outcome("NobodyLetIn", NOBODY_LET_IN)
        self._digest = digest
        # Where nothing is wanted nothing is looked after.
        pause = RETRY_S if found.reason else THOROUGH_S if wanted else float("inf")
        self._due_at = self._clock() + pause
        self._report = _report(found, store, is_wanted=bool(wanted))
        return self._report

    async def _settle(self, owner: Owner, kind: str, wanted: JsonObject | None) -> _Outcome:
        there = self._there if self._there is not None else set()
        try:
            if wanted is not None:
                there.add(kind)
                return await self._apply(owner, kind, wanted)
            if kind in there:
                await _remove(self._tools.api, owner, kind)
                there.discard(kind)
        except Refused as error:
            if error.code == httpx2.codes.FORBIDDEN:
                return _refusal("NoRights", NO_RIGHTS, kind)
            if error.code == httpx2.codes.NOT_FOUND:
                return _refusal("NoDefinition", NO_DEFINITION, kind)
            return _Outcome("Refused", f"{kind} {owner.name}: {error.message}")
        return _Outcome()

    async def _apply(self, owner: Owner, kind: str, wanted: JsonObject) -> _Outcome:
        api, resource = self._tools.api, _KINDS[kind]
        live = await api.get(resource, owner.name, owner.namespace)
        if live is not None and owned_sight(live).owner_uid != owner.uid:
            message = NOT_OURS.format(kind=kind, name=owner.name)
            return _Outcome("NotOurs", message)
        await api.apply(resource, owner.name, owner.namespace, wanted, force=False)
        return _Outcome()


def _refusal(reason: str, message: str, kind: str) -> _Outcome:
    return _Outcome(reason, message.format(kind=kind))


async def _remove(api: Api, owner: Owner, kind: str) -> None:
    live = await api.get(_KINDS[kind], owner.name, owner.namespace)
    if live is not None and owned_sight(live).owner_uid == owner.uid:
        await api.delete(_KINDS[kind], owner.name, owner.namespace)


def _lets_nobody_in(spec: Spec) -> bool:
    is_scraped = spec.extras.monitoring.pod_monitor is not None
    return is_scraped and spec.has_network_policy and not spec.extras.metrics_from


def _report(found: _Outcome, store: StoreSight, *, is_wanted: bool) -> Report:
    if is_wanted:
        reason = found.reason or "Written"
        return Report(conditions=(Condition(CONDITION, not found.reason, reason, found.message),))
    if _reason_before(store):
        reason = found.reason or NOT_ASKED
        return Report(conditions=(Condition(CONDITION, False, reason, found.message),))
    return Report()


def _reason_before(store: StoreSight) -> str:
    conditions = {text(each, "type"): each for each in objects(store.status, "conditions")}
    return text(conditions.get(CONDITION, {}), "reason")
