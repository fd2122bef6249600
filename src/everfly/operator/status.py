"""Turn a view and what was decided about it into the status of a resource. Pure.

Phases are the upstream operator's: ResourcesCreated, Configuring, Ready, RollingUpdate; but Ready
is left when the primary does not serve. Rules: nothing in a status changes while nothing happens
(no offsets, no ages), so that a data store in peace costs no writes; what is not of us is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from everfly.core.diagnosis import Finding, Kind
from everfly.core.group_view import GroupView, Member, Service
from everfly.core.plan import Decision
from everfly.core.upkeep import is_stable
from everfly.operator import names
from everfly.operator.chores.chore import Report
from everfly.operator.manifest import Json, JsonObject, objects, text

RESOURCES_CREATED: Final = "ResourcesCreated"
CONFIGURING: Final = "Configuring"
READY: Final = "Ready"
ROLLING: Final = "RollingUpdate"

_QUIET: Final = frozenset({Kind.HEALTHY, Kind.PRIMARY_SILENT})
"""Findings that are no trouble, or not yet."""
_MESSAGE_LETTERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Situation:
    """What the status is made from."""

    view: GroupView
    decision: Decision
    generation: int
    selector: str
    problems: tuple[str, ...] = ()
    """What is wrong with the spec."""
    chores: Report = Report()
    """What the chores have to say."""
    window_opens: str = ""
    """When the maintenance window opens, in RFC 3339; empty: it is open, or there is none."""


def phase_of(view: GroupView) -> str:
    """Return the phase of a data store."""
    primary = view.primary
    if not view.record.primary and view.record.move is None:
        return RESOURCES_CREATED if view.intent.restores is None else CONFIGURING
    if view.record.move is None and is_rolling(view):
        return ROLLING
    if view.record.move is not None or primary is None or not _serves(view, primary):
        return CONFIGURING
    return READY


def is_rolling(view: GroupView) -> bool:
    """Tell whether instances are restarted one after the other."""
    return any(not each.is_current for each in view.members) and view.intent.may_restart


def _serves(view: GroupView, primary: Member) -> bool:
    return (
        primary.service is Service.PRIMARY
        and not primary.is_terminating
        and is_stable(view, primary)
    )


def status_fields(situation: Situation, before: JsonObject, now: str) -> dict[str, Json]:
    """Return the fields of the status that are ours; `now` is RFC 3339, for what changed."""
    view = situation.view
    ready = [each for each in view.members if each.is_ready and not each.is_terminating]
    return {
        "phase": phase_of(view),
        "isRollingUpdate": is_rolling(view),
        "observedGeneration": situation.generation,
        "replicas": len(view.members),
        "readyReplicas": len(ready),
        "updatedReplicas": sum(each.is_current for each in view.members),
        "selector": situation.selector,
        "pods": [_pod(view, each) for each in view.members],
        "conditions": _conditions(situation, before, now),
        **situation.chores.fields,
    }


def _pod(view: GroupView, member: Member) -> dict[str, Json]:
    role = {
        Service.PRIMARY: names.ROLE_PRIMARY,
        Service.REPLICA: names.ROLE_REPLICA,
        Service.NONE: "",
    }[member.service]
    return {
        "name": member.name,
        "role": role,
        "ready": member.is_ready and not member.is_terminating,
        "healthy": is_stable(view, member),
        "zone": member.zone,
        "fenced": member.is_fenced,
    }


def _conditions(situation: Situation, before: JsonObject, now: str) -> list[Json]:
    known = {text(each, "type"): each for each in objects(before, "conditions")}
    made = list(_wanted_conditions(situation))
    ours = {each[0] for each in made}
    kept: list[Json] = [each for kind, each in known.items() if kind not in ours]
    for kind, is_true, reason, message in made:
        state = "True" if is_true else "False"
        old = known.get(kind, {})
        since = text(old, "lastTransitionTime") if text(old, "status") == state else now
        kept.append(
            {
                "type": kind,
                "status": state,
                "reason": reason,
                "message": message[:_MESSAGE_LETTERS],
                "lastTransitionTime": since or now,
                "observedGeneration": situation.generation,
            }
        )
    return kept


def _wanted_conditions(situation: Situation) -> Iterable[tuple[str, bool, str, str]]:
    view, decision = situation.view, situation.decision
    phase = phase_of(view)
    primary = view.primary
    is_available = primary is not None and _serves(view, primary)
    troubles = [each for each in decision.findings if each.kind not in _QUIET]
    main = troubles[0].kind.value if troubles else Kind.HEALTHY.value
    told = "; ".join(map(_told, troubles))
    yield "Available", is_available, "PrimaryServes" if is_available else main, told
    yield "Ready", phase == READY, phase, told
    replicas = view.others(view.record.primary)
    is_replicated = is_available and all(is_stable(view, each) for each in replicas)
    is_replicated = is_replicated and len(view.members) >= view.intent.replicas
    yield "ReplicationHealthy", is_replicated, main, told
    is_moving = phase in (RESOURCES_CREATED, CONFIGURING, ROLLING)
    if decision.waiting:
        yield "Progressing", True, "MaintenanceWindow", _why_waiting(situation)
    else:
        yield "Progressing", is_moving, phase, _why_progressing(view)
    yield "Degraded", bool(troubles), main, told
    risk = [each for each in troubles if each.kind is Kind.DATA_LOSS_RISK]
    yield "DataLossRisk", bool(risk), "MayBeLost" if risk else "None", _risk_told(view, risk)
    yield "Paused", view.intent.is_paused, "AskedFor" if view.intent.is_paused else "No", ""
    problems = "; ".join((*situation.problems, *situation.chores.problems))
    yield "Valid", not problems, "Wrong" if problems else "Accepted", problems
    for each in situation.chores.conditions:
        yield each.kind, each.is_true, each.reason, each.message


def _told(finding: Finding) -> str:
    return f"{finding.kind.value} {finding.subject}".strip()


def _why_progressing(view: GroupView) -> str:
    move = view.record.move
    return "" if move is None else f"{move.to} becomes the primary"


def _why_waiting(situation: Situation) -> str:
    what = "; ".join(situation.decision.waiting)
    return f"{what}; waits for the maintenance window, which opens at {situation.window_opens}"


def _risk_told(view: GroupView, risk: list[Finding]) -> str:
    lineage = view.record.lineage
    if not risk or lineage is None:
        return ""
    reasons = "; ".join(risk[0].reasons)
    return (
        f"{reasons}. To go on with what is there, annotate the resource: "
        f"{names.ACCEPTED_LOSS}={lineage.history[:12]}"
    )


def differs(wanted: dict[str, Json], before: JsonObject) -> bool:
    """Tell whether a status must be written: whether a field of ours is not as wanted."""
    return any(_plain(before.get(key)) != _plain(value) for key, value in wanted.items())


def _plain(value: Json) -> Json:
    """Return a value without what the API server leaves out: None."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
