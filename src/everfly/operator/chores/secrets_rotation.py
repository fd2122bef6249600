"""Let instances use what the Secrets of a data store hold now: nothing restarts, nobody is cut off.

    poll (15 s)  ->  value, its keyed digest  ->  each instance, replicas first: a step until done

Rules: Secrets are read by name, only those that the spec names, and values are not kept; a Secret
that is missing or refused changes nothing and is told; what an instance has is asked of each of its
processes once, and again when the Secret or the process is another one. Pods are given a note with
the version of the Secret, which makes their platform renew mounted files at once. Without the right
to read Secrets all else works, and the condition says so.
"""

import functools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import httpx2

from everfly.core.group_view import Member
from everfly.errors import EverflyError, SettingsError
from everfly.operator import names
from everfly.operator.apiserver.api import POD, SECRET, Patch, Refused
from everfly.operator.apiserver.events import NORMAL, WARNING
from everfly.operator.chores.chore import Condition, Report, Work
from everfly.operator.chores.secrets_steps import (
    RELOADS_S,
    Goal,
    Moment,
    Seat,
    settle_certificate,
    settle_client_ca,
    settle_password,
    settle_users,
)
from everfly.operator.deeds import Tools
from everfly.operator.manifest import JsonObject
from everfly.operator.secrets.acl import users_of_file
from everfly.operator.secrets.tls import check_authorities, check_pair, leaf_of
from everfly.operator.secrets.wanted import (
    Use,
    Value,
    Wanted,
    check_password,
    value_of,
    version_of,
    wanted_of,
)

log = logging.getLogger(__name__)

POLL_S: Final = 15.0
"""Between two looks at a Secret: each is a GET, and rotations are rare."""
PENDING_S: Final = 2.0
"""Between looks while instances are not yet as they should be."""
DENIED_S: Final = 300.0
"""Before asking again where the API server does not let us read Secrets."""
ROUND_S: Final = 12.0
"""What one round may take before the others of the data store's chores are due."""
FRESH_S: Final = RELOADS_S[-1] + 30.0
"""For how long after a change a process may have started with the old files."""
CONDITION: Final = "SecretRotation"

_STEPS: Final[dict[Use, Callable[[Member, Goal, Moment, Seat], Awaitable[bool]]]] = {
    Use.USERS: settle_users,
    Use.PASSWORD: settle_password,
    Use.CERTIFICATE: settle_certificate,
    Use.CLIENT_CA: settle_client_ca,
}
_MOUNTED: Final = frozenset({Use.USERS, Use.CERTIFICATE, Use.CLIENT_CA})


@functools.cache
def _say_denied() -> None:
    """Say it once for all data stores."""
    log.warning(
        "Secrets may not be read: changed passwords, users and certificates take effect when pods "
        "restart; give the operator the role `secrets` of its chart to have them taken up at once"
    )


@dataclass
class _Progress:
    """How far a data store is with one wanted secret."""

    mark: str
    seen_at: float
    changed_at: float | None = None
    """None: it is still as it was found."""
    is_announced: bool = True
    """Whether people were told that it is in use."""
    renewed: list[str] = field(default_factory=list)
    """The instances that were brought to it since people were last told."""
    seats: dict[str, Seat] = field(default_factory=dict)
    """By the incarnation of an instance."""
    done: set[str] = field(default_factory=set)
    """Incarnations that have it."""


class SecretRotation:
    """Remembers keyed digests, never values. `clock` counts seconds."""

    def __init__(self, tools: Tools, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tools = tools
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._progress: dict[Wanted, _Progress] = {}
        self._refused: dict[Wanted, str] = {}
        self._told: set[tuple[Wanted, str]] = set()
        self._look_at = 0.0
        self._is_pending = True
        self._seen: object = None
        """What was wanted and of which versions the Secrets were at the last look."""
        self._report = Report()

    async def tend(self, work: Work) -> Report:
        """Look at the Secrets when it is time, and at instances that are not known to have them."""
        wanted = wanted_of(work.spec)
        now = self._clock()
        if not self._progress.keys() <= set(wanted):
            self._progress = {k: v for k, v in self._progress.items() if k in wanted}
            self._seen = None
        if not wanted:
            self._report = Report()
        elif now >= self._look_at or self._has_new_process(work):
            # Before anything is asked: what fails is repeated soon.
            self._look_at = now + PENDING_S
            await self._round(work, wanted, now)
        return self._report

    def _has_new_process(self, work: Work) -> bool:
        return any(
            member.incarnation not in each.done and member.incarnation not in each.seats
            for wanted, each in self._progress.items()
            for member in work.scene.view.members
            if _is_for(wanted, member)
        )

    async def _round(self, work: Work, wanted: tuple[Wanted, ...], now: float) -> None:
        try:
            found = await self._read(work, wanted)
        except Refused as error:
            if error.code not in (httpx2.codes.FORBIDDEN, httpx2.codes.UNAUTHORIZED):
                raise
            _say_denied()
            self._look_at = now + DENIED_S
            self._progress.clear()
            self._seen = None
            self._report = _report_of(
                is_true=False, reason="NotAllowed", message="Secrets are not read"
            )
            return
        versions = {name: version_of(secret) for name, secret in found.items()}
        is_known = self._seen == (wanted, versions) and not self._is_pending
        if is_known and not self._has_new_process(work):
            self._look_at = now + POLL_S
            return
        # Until it is concluded: what fails half-way is done again.
        self._seen, self._is_pending = (wanted, versions), True
        self._refused.clear()
        values = self._values(wanted, found)
        goal = self._goal(work, values)
        for each, value in values.items():
            if each not in self._refused:
                self._note(each, value.mark(self._key), now)
        await self._tell_pods(work, versions)
        await self._settle(work, goal, now)
        self._conclude(work, now)

    async def _read(self, work: Work, wanted: tuple[Wanted, ...]) -> dict[str, JsonObject]:
        namespace = work.scene.store.namespace
        found: dict[str, JsonObject] = {}
        for name in dict.fromkeys(each.secret for each in wanted):
            secret = await self._tools.api.get(SECRET, name, namespace)
            if secret is not None:
                found[name] = secret
        return found

    def _values(
        self, wanted: tuple[Wanted, ...], found: dict[str, JsonObject]
    ) -> dict[Wanted, Value]:
        values = {}
        for each in wanted:
            try:
                value = value_of(each, found.get(each.secret))
            except SettingsError as error:
                self._refused[each] = str(error)
            else:
                if value is not None:
                    values[each] = value
        return values

    def _goal(self, work: Work, values: dict[Wanted, Value]) -> Goal:
        """Return what instances should have. What cannot work is refused, and told once."""
        password = users = None
        certificate = b""
        for each, value in values.items():
            try:
                match each.use:
                    case Use.PASSWORD:
                        password = check_password(each, value)
                    case Use.USERS:
                        users = users_of_file(value.parts[0])
                    case Use.CERTIFICATE:
                        check_pair(*value.parts)
                        certificate = leaf_of(value.parts[0])
                    case Use.CLIENT_CA:
                        check_authorities(value.parts[0])
            except SettingsError as error:
                self._refused[each] = str(error)
                told = (each, value.mark(self._key))
                if told not in self._told:
                    self._told.add(told)
                    message = f"{each}: {error}; instances keep what they have"
                    self._tools.events.tell(work.scene.store, WARNING, "SecretRefused", message)
        self._told = {told for told in self._told if told[0] in values}
        return Goal(password, users, work.spec.acl is not None, certificate)

    def _note(self, wanted: Wanted, mark: str, now: float) -> None:
        known = self._progress.get(wanted)
        if known is None:
            self._progress[wanted] = _Progress(mark, now)
        elif known.mark != mark:
            self._progress[wanted] = _Progress(mark, now, changed_at=now, is_announced=False)

    async def _tell_pods(self, work: Work, versions: dict[str, str]) -> None:
        """Note on pods which Secrets changed: their platform looks at mounted files at once."""
        changed = {
            each.secret: versions.get(each.secret, "")
            for each, progress in self._progress.items()
            if each.use in _MOUNTED and not progress.is_announced
        }
        for pod in work.scene.pods.values() if changed else ():
            noted = _seen(pod.secrets_seen)
            if pod.is_terminating or noted | changed == noted:
                continue
            note = " ".join(f"{name}/{at}" for name, at in sorted((noted | changed).items()))
            change = {"metadata": {"uid": pod.uid, "annotations": {names.ANNOTATION_SECRETS: note}}}
            item = await self._tools.api.patch(
                POD, pod.name, work.scene.store.namespace, change, Patch.MERGE
            )
            self._tools.inventory.pods.put(item)

    async def _settle(self, work: Work, goal: Goal, now: float) -> None:
        # A secret that does not do what it should is noticed on a replica.
        primary = work.scene.view.record.primary
        members = sorted(work.scene.view.members, key=lambda each: each.name == primary)
        for member in members:
            for wanted, progress in self._progress.items():
                if self._clock() - now > ROUND_S:
                    return
                is_open = wanted not in self._refused and _is_for(wanted, member)
                if is_open and member.incarnation not in progress.done:
                    await self._settle_one(work, (wanted, member), goal)

    async def _settle_one(self, work: Work, what: tuple[Wanted, Member], goal: Goal) -> None:
        wanted, member = what
        progress = self._progress[wanted]
        now = self._clock()
        seat = progress.seats.setdefault(member.incarnation, Seat(now))
        pod = work.scene.pods.get(member.name)
        has_changed = progress.changed_at is not None
        if wanted.use is Use.USERS:
            # A note says that a rotation was begun by whoever was here before us.
            has_changed = has_changed or (
                pod is not None and wanted.secret in _seen(pod.secrets_seen)
            )
        elif wanted.use is Use.CLIENT_CA and progress.changed_at is not None:
            has_changed = seat.begun_at - progress.changed_at < FRESH_S
        is_first = seat.begun_at - progress.seen_at < POLL_S and progress.changed_at is None
        before, seat.note = seat.note, ""
        try:
            is_done = await _STEPS[wanted.use](
                member, goal, Moment(now, has_changed, is_first), seat
            )
        except EverflyError as error:
            seat.note = f"{member.name}: {error}"
            if seat.note != before:
                store = work.scene.store
                log.warning("%s/%s: %s: %s", store.namespace, store.name, wanted, seat.note)
            return
        if not is_done:
            seat.note = seat.note or before
            return
        progress.done.add(member.incarnation)
        if seat.has_acted:
            progress.renewed.append(member.name)

    def _conclude(self, work: Work, now: float) -> None:
        """Tell what was finished, and say when to look again."""
        members = work.scene.view.members
        living = {each.incarnation for each in members}
        pending = []
        for wanted, progress in self._progress.items():
            progress.done &= living
            progress.seats = {k: v for k, v in progress.seats.items() if k in living}
            left = [each.name for each in members if each.incarnation not in progress.done]
            if wanted in self._refused:
                continue
            if left:
                pending.append(f"{wanted}: not yet {', '.join(left)}")
            elif members and (progress.renewed or not progress.is_announced):
                who = ", ".join(sorted(set(progress.renewed))) or "all instances"
                self._tools.events.tell(
                    work.scene.store, NORMAL, "SecretRotated", f"{wanted}: in use by {who}"
                )
                progress.is_announced = True
                progress.renewed.clear()
        notes = [
            seat.note
            for progress in self._progress.values()
            for seat in progress.seats.values()
            if seat.note
        ]
        refused = [f"{wanted}: {why}" for wanted, why in self._refused.items()]
        self._is_pending = bool(pending)
        self._look_at = now + (PENDING_S if pending else POLL_S)
        told = "; ".join((*refused, *pending, *notes))
        reason = "Refused" if refused else "Pending" if pending else "Noted" if notes else "Current"
        self._report = _report_of(is_true=reason == "Current", reason=reason, message=told)


def _is_for(wanted: Wanted, member: Member) -> bool:
    """Tell whether an instance can be asked, and is to have this."""
    if wanted.use in _MOUNTED and not member.is_current:
        return False  # it is to be restarted, and has what a former spec mounts
    is_loading = member.facts is None or member.facts.is_loading
    return member.is_reachable and member.address is not None and not is_loading


def _seen(note: str) -> dict[str, str]:
    """Return Secret -> version, of what is noted on a pod."""
    pairs = (each.partition("/") for each in note.split())
    return {name: version for name, _, version in pairs}


def _report_of(*, is_true: bool, reason: str, message: str) -> Report:
    return Report(conditions=(Condition(CONDITION, is_true, reason, message),))
