"""Shrink a failing world to the least that still breaks the same rule.

In this order, as each makes the next cheaper: the time after the violation, the faults (delta
debugging: halves first, then ever smaller parts, until no single fault can go), Sentinels and
replicas, what else makes the world special (the network, the disk, the engine), the durations of
faults (last, as short ones leave nothing to spare); and all of it once more, until nothing can go.

Rules: a smaller world counts when it breaks the same rule, not just any; the same seed always gives
the same result, unless time runs out, and then the best so far; the world that is given back was
run, so its story is true.

Source of the second step: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Final

from everfly.sim.cluster import Deployment, Shape
from everfly.sim.faults import Fault
from everfly.sim.run import Outcome, Plan, run_plan
from everfly.sim.world import World

KEPT: Final = frozenset({"sentinels", "replicas", "quorum", "down_after", "failover_timeout"})
"""Parts of a shape that say what was set up, not what it went through."""

TAIL_MS: Final = 100
"""Kept after the violation: what it did to the Sentinels shows at once."""

LIMIT_S: Final = 120.0
"""Default limit: a few hundred worlds, of which a world of eight faults needs half."""

END_RULES: Final = frozenset(
    {"converges", "fails over in time", "acknowledged writes survive", "a switchover loses nothing"}
)
"""Rules about how a world ends: a shorter one would break them for no other reason."""

DURATIONS_MS: Final = (1, 10, 100, 500, 1_000, 2_000, 5_000)
"""Tried for each fault, from the shortest on: round numbers are easier to talk about."""


@dataclass(slots=True)
class Progress:
    """What was done so far; who wants to show it reads it in `on_try`."""

    tries: int = 0
    step: str = ""
    faults: int = 0


@dataclass(slots=True)
class _Search:
    """The best world so far, and how to judge another one."""

    best: Outcome
    rule: str
    """The one that must stay broken; empty: whichever."""
    fails: Callable[[Outcome], bool]
    deadline: float
    on_try: Callable[[Progress], None]
    progress: Progress = field(default_factory=Progress)
    _seen: set[Plan] = field(default_factory=set)

    def is_smaller_enough(self, plan: Plan) -> bool:
        """Run a smaller world; keep it and return True when it fails in the same way."""
        if plan in self._seen or time.monotonic() > self.deadline:
            return False
        self._seen.add(plan)
        self.progress.tries += 1
        self.progress.faults = len(self.best.faults)
        self.on_try(self.progress)
        outcome = run_plan(plan)
        if not self.fails(outcome):
            return False
        self.best = outcome
        return True


def breaks(rule: str) -> Callable[[Outcome], bool]:
    """Return what tells whether a world breaks this rule."""
    return lambda outcome: any(one.rule == rule for one in outcome.violations)


def minimise(
    outcome: Outcome,
    fails: Callable[[Outcome], bool] | None = None,
    *,
    limit_s: float = LIMIT_S,
    on_try: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Return the smallest world found that fails as this one does, or this one if it does not.

    `fails` tells what counts as failing; None: that the first rule that was broken here is broken.
    """
    rule = ""
    if fails is None:
        if not outcome.violations:
            return outcome
        rule = outcome.violations[0].rule
        fails = breaks(rule)
    search = _Search(outcome, rule, fails, time.monotonic() + limit_s, on_try)
    before = None
    while before != search.best.plan:
        before = search.best.plan
        for name, step in (
            ("the time after the violation", _cut_tail),
            ("faults", _fewer_faults),
            ("Sentinels and replicas", _fewer_processes),
            ("what else is special", _calmer),
            ("durations of faults", _shorter_faults),
        ):
            search.progress.step = name
            step(search)
    return search.best


def _cut_tail(search: _Search) -> None:
    """End the world where the rule is broken, or heal it as soon as the last fault allows."""
    plan = search.best.plan
    broken = [one for one in search.best.violations if search.rule in {one.rule, ""}]
    if broken and broken[0].rule not in END_RULES:
        at = broken[0].at + TAIL_MS
        if at < plan.safety_ms:
            search.is_smaller_enough(replace(plan, safety_ms=at, liveness_ms=0))
        elif at < plan.safety_ms + plan.liveness_ms:
            search.is_smaller_enough(replace(plan, liveness_ms=at - plan.safety_ms))
        return
    last = max((fault.at + fault.duration for fault in plan.faults), default=0)
    if last + TAIL_MS < plan.safety_ms:
        search.is_smaller_enough(replace(plan, safety_ms=last + TAIL_MS))


def _fewer_faults(search: _Search) -> None:
    """Take away all faults that are not needed."""
    parts = 2
    while (faults := search.best.faults) and parts <= len(faults):
        size = -(-len(faults) // parts)
        chunks = [faults[at : at + size] for at in range(0, len(faults), size)]
        if any(_with_faults(search, _without(faults, chunk)) for chunk in chunks):
            parts = max(2, parts - 1)
        elif size == 1:
            break
        else:
            parts = min(len(faults), 2 * parts)
    if len(search.best.faults) == 1:
        _with_faults(search, ())


def _without(faults: tuple[Fault, ...], chunk: tuple[Fault, ...]) -> tuple[Fault, ...]:
    # By identity: two faults of a world may be equal.
    gone = {id(fault) for fault in chunk}
    return tuple(fault for fault in faults if id(fault) not in gone)


def _with_faults(search: _Search, faults: tuple[Fault, ...]) -> bool:
    return search.is_smaller_enough(replace(search.best.plan, faults=faults))


def _shorter_faults(search: _Search) -> None:
    for number in range(len(search.best.faults)):
        fault = search.best.faults[number]
        for duration in (one for one in DURATIONS_MS if one < fault.duration):
            faults = list(search.best.faults)
            faults[number] = replace(fault, duration=duration)
            if _with_faults(search, tuple(faults)):
                break


def _fewer_processes(search: _Search) -> None:
    for shape in _smaller_shapes(search.best.shape):
        plan = search.best.plan
        names = _names(plan.seed, shape)
        if all(_is_possible(fault, names, plan) for fault in plan.faults):
            search.is_smaller_enough(replace(plan, shape=shape))


def _smaller_shapes(shape: Shape) -> Iterator[Shape]:
    """Return shapes with fewer processes, the smallest first."""
    # A lone Sentinel asks nobody, so rules about votes have nothing to judge.
    for sentinels in range(2, shape.sentinels + 1):
        for replicas in range(1, shape.replicas + 1):
            if (sentinels, replicas) != (shape.sentinels, shape.replicas):
                yield replace(
                    shape,
                    sentinels=sentinels,
                    replicas=replicas,
                    quorum=min(shape.quorum, sentinels),
                    never_promoted=min(shape.never_promoted, replicas - 1),
                )


def _names(seed: int, shape: Shape) -> set[str]:
    deployment = Deployment(World(seed), shape)
    instances = {one.name for one in deployment.instances.values()}
    return instances | {one.name for one in deployment.sentinels.values()}


def _is_possible(fault: Fault, names: set[str], plan: Plan) -> bool:
    """Whether a fault does not name a process that a smaller world lacks."""
    gone = _names(plan.seed, plan.shape) - names
    words = set(fault.target.split(",")) | set(fault.detail.split(","))
    return not words & gone


def _calmer(search: _Search) -> None:
    """Take away what makes the world special, one thing at a time."""
    for ending in ({"dies_again": False}, {"absent": ()}):
        search.is_smaller_enough(replace(search.best.plan, **ending))
    calm = Shape()
    for one in fields(Shape):
        shape = search.best.shape
        value = getattr(calm, one.name)
        if one.name not in KEPT and getattr(shape, one.name) != value:
            plan = search.best.plan
            search.is_smaller_enough(replace(plan, shape=replace(shape, **{one.name: value})))
