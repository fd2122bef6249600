"""Turn a picture of a group into what speaks for and against a switch-over now.

Pure. Each check says what was found, so that a dry run tells a person as much as a refusal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from everfly.core.model import Address
from everfly.observe.picture import GroupPicture, InstanceView


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known beside the picture."""

    primary: Address | None
    """Whom commands go to."""
    is_settled: bool
    """Nobody sees a change of primary under way, and commands are not held."""
    trouble: str
    """Why not, if not."""
    changed_ms_ago: int | None
    """Since the primary changed last; None: not since we look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a switch-over must keep to."""

    lag: int
    """How far the candidate may be behind, in bytes or journal entries."""
    pause_ms: int
    """Since the last change of primary."""


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition."""

    name: str
    is_met: bool
    text: str


def candidate_of(picture: GroupPicture, to: Address | None) -> InstanceView | None:
    """Return whom a switch-over would promote: the one asked for, else the nearest in sync.

    The choice is the Sentinel's in the end, by priority first; this one is a forecast.
    """
    if to is not None:
        return picture.instance(to)
    replicas = [each for each in picture.instances if each.is_in_sync and each.report.priority > 0]
    return min(
        replicas,
        key=lambda each: (each.report.priority, each.lag or 0, str(each.address)),
        default=None,
    )


def preconditions(
    picture: GroupPicture, situation: Situation, to: Address | None, bounds: Bounds
) -> tuple[Check, ...]:
    """Return all checks, in the order in which a person would ask."""
    return (
        _primary(picture, situation),
        _quiet(situation),
        _candidate(picture, situation, to, bounds),
        _copies(picture),
        _quorum(picture),
        _pause(situation, bounds),
    )


def unmet(checks: Sequence[Check]) -> str:
    """Return what speaks against it; empty: nothing."""
    return "; ".join(check.text for check in checks if not check.is_met)


def _primary(picture: GroupPicture, situation: Situation) -> Check:
    primary = situation.primary
    if primary is None:
        return Check("primary", False, situation.trouble or "there is no primary now")
    view = picture.instance(primary)
    if view is None or not view.is_reachable:
        why = view.error if view is not None else "no Sentinel names it"
        return Check("primary", False, f"the primary {primary} does not answer: {why}")
    if picture.primary != primary:
        said = picture.primary or "nobody"
        return Check("primary", False, f"the Sentinels name {said}, and commands go to {primary}")
    return Check("primary", True, f"{primary} is the primary and answers")


def _quiet(situation: Situation) -> Check:
    if not situation.is_settled:
        return Check("settled", False, situation.trouble or "a change is under way already")
    return Check("settled", True, "no change of primary is under way")


def _candidate(
    picture: GroupPicture, situation: Situation, to: Address | None, bounds: Bounds
) -> Check:
    found = candidate_of(picture, to)
    if found is None:
        missing = (
            f"{to} is no instance of this group"
            if to is not None
            else "no replica is in sync: there is nobody to hand over to"
        )
        return Check("candidate", False, missing)
    name, report, lag = found.address, found.report, found.lag
    obstacles = (
        (name == situation.primary, f"{name} is the primary already"),
        (not found.is_reachable, f"{name} does not answer: {found.error}"),
        (not found.is_in_sync, f"{name} is not in sync with its primary"),
        (report.primary != situation.primary, f"{name} follows {report.primary}"),
        (report.priority == 0, f"{name} has priority 0: it is never to be promoted"),
        (lag is None, f"nobody knows how far behind {name} is"),
        (
            (lag or 0) > bounds.lag,
            f"{name} is {lag} behind; the bound is {bounds.lag} (switchover_lag_bytes)",
        ),
    )
    for is_there, text in obstacles:
        if is_there:
            return Check("candidate", False, text)
    version = f", version {found.version}" if found.version else ""
    return Check("candidate", True, f"{name} is in sync, {lag} behind{version}")


def _copies(picture: GroupPicture) -> Check:
    copying = [each.address for each in picture.instances if each.report.is_syncing]
    if copying:
        names = ", ".join(map(str, copying))
        return Check("copies", False, f"{names} copies the whole dataset: wait until that is done")
    return Check("copies", True, "no replica copies the whole dataset")


def _quorum(picture: GroupPicture) -> Check:
    able = [each for each in picture.sentinels if each.is_reachable and not each.quorum_trouble]
    total = len(picture.sentinels)
    if len(able) * 2 <= total:
        why = "; ".join(_troubles(picture)) or "no reason is given"
        return Check("quorum", False, f"{len(able)} of {total} Sentinels see a quorum: {why}")
    return Check("quorum", True, f"{len(able)} of {total} Sentinels see a quorum")


def _troubles(picture: GroupPicture) -> Iterator[str]:
    for each in picture.sentinels:
        if each.error or each.quorum_trouble:
            yield f"{each.address}: {each.error or each.quorum_trouble}"


def _pause(situation: Situation, bounds: Bounds) -> Check:
    since = situation.changed_ms_ago
    if since is not None and since < bounds.pause_ms:
        text = (
            f"the primary changed {since} ms ago; {bounds.pause_ms} ms must have passed "
            "(switchover_pause_ms)"
        )
        return Check("pause", False, text)
    text = "the primary has not changed lately" if since is None else f"it changed {since} ms ago"
    return Check("pause", True, text)
