"""Change settings of running instances in place of restarting them, where `liveSettings` says so.

    args of the pod, args of the template  ->  CONFIG SET, replicas first  ->  a verdict for each

Rules: the template has the wanted arguments from the first moment, so that whatever restarts has
them; an instance counts as current when its pod differs from the newest revision by live settings
alone and it says that it has them; what a setting was before is noted on the pod first; the first
instance that refuses a value ends the trial, and there is an ordinary rollout. Whatever cannot be
judged within a minute is restarted as well.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from everfly.core.group_view import Member
from everfly.core.model import Address
from everfly.errors import EverflyError, RemoteError
from everfly.operator import names
from everfly.operator.apiserver.api import CONTROLLER_REVISION, POD, Patch
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.apiserver.sight import PodSight, SetSight
from everfly.operator.chores.chore import Report, Work
from everfly.operator.chores.settings_flags import is_same, plan_of
from everfly.operator.deeds import Tools
from everfly.operator.manifest import Json, JsonObject, objects, part
from everfly.operator.orders import CONNECT_S, QUICK_S
from everfly.runtime.client import Client
from everfly.wire.resp import ErrorReply, to_text

log = logging.getLogger(__name__)

PATIENCE_S: Final = 60.0
"""After which a process that could not be judged is restarted instead."""
TEMPLATES_MAX: Final = 50
CRON: Final = "snapshot_cron"


class SettingRefused(EverflyError):  # noqa: N818 - it names an answer
    """An instance does not take a value."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What a verdict was about: while it is the same, so is the verdict."""

    revision: str
    wanted_revision: str
    args: tuple[str, ...]
    wanted: tuple[str, ...]
    skipped: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One process, and what it is to be judged by."""

    member: Member
    pod: PodSight
    case: _Case


class LiveSettings:
    """Remembers verdicts by the incarnation of an instance. `clock` counts seconds."""

    def __init__(self, tools: Tools, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tools = tools
        self._clock = clock
        self._verdicts: dict[str, tuple[_Case, bool]] = {}
        self._since: dict[str, tuple[_Case, float]] = {}
        self._templates: dict[str, JsonObject | None] = {}
        self._refused = ""
        self._applied: dict[str, list[str]] = {}

    async def tend(self, work: Work) -> Report:
        """Judge each process that is not judged, after changing what can be changed."""
        store = work.scene.store
        owned = self._tools.inventory.sets.get((store.namespace, store.name))
        if not work.spec.extras.live_settings or owned is None:
            self._verdicts.clear()
            self._since.clear()
            return Report()
        is_known = owned.observed_generation >= owned.generation and owned.update_revision
        primary = work.scene.view.record.primary
        # A value that is refused is refused by a replica, and one that does harm does it there.
        for member in sorted(work.scene.view.members, key=lambda each: each.name == primary):
            pod = work.scene.pods.get(member.name)
            if is_known and pod is not None and not member.is_terminating:
                trial = _Trial(member, pod, _case_of(work, pod, owned))
                await self._see_to(work, trial)
        living = {each.incarnation for each in work.scene.view.members}
        self._verdicts = {k: v for k, v in self._verdicts.items() if k in living}
        uids = {pod.uid for pod in work.scene.pods.values()}
        self._since = {k: v for k, v in self._since.items() if k in uids}
        self._tell_applied(work)
        return Report(settled={name: verdict for name, (_, verdict) in self._verdicts.items()})

    async def _see_to(self, work: Work, trial: _Trial) -> None:
        key, case = trial.member.incarnation, trial.case
        known = self._verdicts.get(key)
        if known is not None and known[0] == case:
            return
        self._verdicts.pop(key, None)
        # By the pod: with the arguments of its start a container may end over and over.
        began = self._since.get(trial.pod.uid)
        if began is None or began[0] != case:
            began = self._since[trial.pod.uid] = case, self._clock()
        verdict: bool | None = None
        try:
            verdict = await self._judged(work, trial)
        except SettingRefused as error:
            self._refused = case.wanted_revision
            message = f"{trial.member.name}: {error}; instances restart one after the other instead"
            self._tools.events.tell(work.scene.store, WARNING, "SettingRefused", message)
            verdict = False
        except EverflyError as error:
            store = work.scene.store
            log.warning("%s/%s: settings: %s", store.namespace, store.name, error)
        if verdict is None and self._clock() - began[1] > PATIENCE_S:
            verdict = False
        if verdict is not None:
            self._verdicts[key] = case, verdict
            self._since.pop(trial.pod.uid, None)

    async def _judged(self, work: Work, trial: _Trial) -> bool | None:
        """Return whether a process counts as current; None: that is not known yet."""
        case, member, pod = trial.case, trial.member, trial.pod
        noted = noted_on(pod)
        plan = plan_of(case.args, case.wanted, noted, case.skipped)
        is_newest = case.revision == case.wanted_revision
        if is_newest and not plan.changes and not plan.needs_restart:
            return True
        if plan.needs_restart or (not is_newest and self._refused == case.wanted_revision):
            return False
        if not is_newest and not await self._differ_by_args(work, case):
            return False
        if not plan.changes:
            return True
        is_loading = member.facts is None or member.facts.is_loading
        if not member.is_reachable or member.address is None or is_loading:
            return None
        await self._bring_about(work, trial, plan.changes)
        return True

    async def _differ_by_args(self, work: Work, case: _Case) -> bool:
        """Tell whether two revisions of the template differ by arguments of our container alone."""
        place = work.scene.store.namespace
        one = await self._template(case.revision, place)
        other = await self._template(case.wanted_revision, place)
        return one is not None and other is not None and one == other

    async def _template(self, revision: str, namespace: str) -> JsonObject | None:
        """Return the template of a revision without those arguments. It never changes."""
        if revision not in self._templates:
            if len(self._templates) >= TEMPLATES_MAX:
                self._templates.clear()
            kind = CONTROLLER_REVISION
            item = await self._tools.api.get(kind, revision, namespace) if revision else None
            template = part(item or {}, "data", "spec", "template")
            self._templates[revision] = _without_args(template) if template else None
        return self._templates[revision]

    async def _bring_about(
        self, work: Work, trial: _Trial, changes: tuple[tuple[str, str], ...]
    ) -> None:
        """Set what is not so yet. Raise SettingRefused, Unavailable, RemoteError."""
        address = trial.member.address
        assert address is not None
        async with await Client.connect(
            address, timeout_s=CONNECT_S, name=names.CLIENT_NAME
        ) as client:
            found = {name: await _get(client, address, name) for name, _ in changes}
            wrong = [(name, value) for name, value in changes if not is_same(
                name, value, found[name])]  # fmt: skip
            await self._note(work, trial.pod, {name: found[name] for name, _ in wrong})
            for name, value in wrong:
                reply = await client.call("CONFIG", "SET", name, value, timeout_s=QUICK_S)
                if isinstance(reply, ErrorReply):
                    raise SettingRefused(f"{name}={value}: {reply.text}")
                shown = await _get(client, address, name)
                if not is_same(name, value, shown):
                    raise SettingRefused(f"{name}={value} was accepted, and it shows {shown}")
            if wrong:
                told = ", ".join(f"{name}={value}" for name, value in wrong)
                self._applied.setdefault(told, []).append(trial.member.name)

    async def _note(self, work: Work, pod: PodSight, found: Mapping[str, str]) -> None:
        """Write on the pod what settings were, before they are changed: the first word counts."""
        noted = noted_on(pod)
        if not found.keys() - noted.keys():
            return
        text = json.dumps({**found, **noted}, sort_keys=True)
        change = {"metadata": {"uid": pod.uid, "annotations": {names.ANNOTATION_LIVE: text}}}
        item = await self._tools.api.patch(
            POD, pod.name, work.scene.store.namespace, change, Patch.MERGE
        )
        self._tools.inventory.pods.put(item)

    def _tell_applied(self, work: Work) -> None:
        for what, who in self._applied.items():
            message = f"{what}: in use by {', '.join(who)}, without a restart"
            self._tools.events.tell(work.scene.store, NORMAL, "SettingsApplied", message)
        self._applied.clear()


def _case_of(work: Work, pod: PodSight, owned: SetSight) -> _Case:
    snapshot = work.spec.snapshot
    is_elsewhere = snapshot is not None and snapshot.on_primary_only and bool(snapshot.cron)
    skipped = frozenset({CRON} if is_elsewhere else ())
    return _Case(pod.revision, owned.update_revision, pod.args, owned.args, skipped)


def noted_on(pod: PodSight) -> dict[str, str]:
    """Return what settings of a pod were before they were changed; what is no such note is none."""
    try:
        found = json.loads(pod.live_note) if pod.live_note else {}
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _without_args(template: JsonObject) -> JsonObject:
    containers: list[Json] = [
        {key: value for key, value in each.items() if key != "args"}
        if each.get("name") == names.CONTAINER
        else each
        for each in objects(template, "spec", "containers")
    ]
    return {**template, "spec": {**part(template, "spec"), "containers": containers}}


async def _get(client: Client, address: Address, name: str) -> str:
    reply = await client.call("CONFIG", "GET", name, timeout_s=QUICK_S)
    if isinstance(reply, ErrorReply):
        raise RemoteError(f"{address} answers {reply.text}")
    match reply:
        case [bytes(), bytes() as value]:
            return to_text(value)
        case []:
            raise SettingRefused(f"{name} cannot be changed in this version")
    raise RemoteError(f"{address} gives no value of {name}")
