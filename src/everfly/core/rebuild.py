"""Turn the wish that an instance give up its disk and copy anew into: now, later or never.

Rules: never the primary; only while the primary serves; never the last copy beside it, unless a
person insists; an instance that is no copy anyhow may go at once. One that waits is asked about
again; one that is refused is not.
"""

from dataclasses import dataclass
from enum import Enum

from everfly.core.group_view import GroupView, Member
from everfly.core.upkeep import is_stable


class Readiness(Enum):
    """Whether an instance may be rebuilt."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an instance may be rebuilt, and why not."""

    readiness: Readiness
    reason: str = ""


def judge_rebuild(view: GroupView, name: str, *, is_forced: bool) -> Judgement:
    """Tell whether an instance may give up its disk now."""
    member, primary = view.member(name), view.primary
    if name == view.record.primary:
        return Judgement(Readiness.NEVER, f"{name} is the primary; let it hand over first")
    if primary is None or view.record.move is not None or not is_stable(view, primary):
        return Judgement(Readiness.LATER, "the primary does not serve, or is about to change")
    for each in view.members:
        if each.is_terminating:
            return Judgement(Readiness.LATER, f"{each.name} is being stopped")
    if member is None or len(view.members) < view.intent.running:
        return Judgement(Readiness.LATER, "an instance is not back yet")
    if is_forced or not is_stable(view, member):
        return Judgement(Readiness.NOW)
    return _judge_copy(view, member, primary)


def _judge_copy(view: GroupView, member: Member, primary: Member) -> Judgement:
    """Judge an instance that is a copy of the primary: another one must be left."""
    others = [each for each in view.others(member.name) if each.name != primary.name]
    if not others:
        text = f"{member.name} is the last copy beside the primary"
        return Judgement(Readiness.NEVER, text)
    if not any(is_stable(view, each) for each in others):
        text = f"{member.name} is the only copy in order beside the primary"
        return Judgement(Readiness.LATER, text)
    return Judgement(Readiness.NOW)
