"""Run one world: draw its shape and faults from the seed, let things go wrong, heal, judge."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from everfly.core.model import Engine
from everfly.sim import faults
from everfly.sim.checkers import Judge, Violation
from everfly.sim.cluster import Deployment, Shape
from everfly.sim.faults import Fault
from everfly.sim.world import Mark, Message, World

SAFETY_MS = 30_000
"""How long anything may happen."""
LIVENESS_MS = 90_000
"""How long a healed world may take to come together: TILT (30 s), the time between two attempts
(2 x failover-timeout), a demotion (8 s) and a full sync (5 s), with a margin."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a world is made of besides its dice, drawn before anything happens."""

    seed: int
    shape: Shape
    faults: tuple[Fault, ...]
    safety_ms: int = SAFETY_MS
    liveness_ms: int = LIVENESS_MS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one world."""

    plan: Plan
    violations: tuple[Violation, ...]
    trace: tuple[Mark, ...]
    messages: tuple[Message, ...]
    """Empty unless they were asked for."""
    acknowledged: int
    lost: int
    steps: int
    """Steps of the core, of all Sentinels together."""
    fingerprint: int

    @property
    def seed(self) -> int:
        """What the world was drawn from."""
        return self.plan.seed

    @property
    def shape(self) -> Shape:
        """How large it was."""
        return self.plan.shape

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What went wrong in it."""
        return self.plan.faults

    @property
    def trace_hash(self) -> str:
        """A fingerprint of all that happened: equal plans give equal ones."""
        digest = hashlib.sha256(f"{self.fingerprint} {self.steps}\n".encode())
        for mark in self.trace:
            digest.update(f"{mark.at} {mark.who} {mark.what}\n".encode())
        return digest.hexdigest()[:16]


def draw_shape(seed: int) -> Shape:
    """Draw how large a world is."""
    dice = World(seed).dice("shape")
    sentinels = dice.choice((3, 3, 3, 5))
    majority = sentinels // 2 + 1
    return Shape(
        sentinels=sentinels,
        replicas=dice.choice((1, 2, 2, 2, 3)),
        quorum=dice.choice((majority, majority, dice.randint(1, sentinels))),
        down_after=dice.choice((500, 1_000, 1_000, 5_000)),
        failover_timeout=dice.choice((2_000, 2_000, 10_000)),
        engine=dice.choice((Engine.VALKEY, Engine.REDIS, Engine.DRAGONFLY)),
        loss=dice.choice((0.0, 0.0, 0.01, 0.1)),
        latency_ms=dice.choice(((0, 2), (1, 10), (0, 80))),
        disk_ms=dice.choice(((1, 5), (5, 40), (20, 400))),
    )


def draw_plan(seed: int, shape: Shape | None = None) -> Plan:
    """Draw what the world of a seed is made of; `shape` replaces the one that it would give."""
    shape = shape or draw_shape(seed)
    world = World(seed)
    drawn = faults.draw(world.dice("faults"), Deployment(world, shape), SAFETY_MS)
    return Plan(seed, shape, tuple(drawn))


def run(
    seed: int, *, shape: Shape | None = None, drawn: tuple[Fault, ...] | None = None
) -> Outcome:
    """Run the world of a seed; `shape` and `drawn` replace what the seed would give."""
    plan = draw_plan(seed, shape) if drawn is None else Plan(seed, shape or draw_shape(seed), drawn)
    return run_plan(plan)


def run_plan(plan: Plan, *, records_messages: bool = False) -> Outcome:
    """Run one world. Equal plans give equal outcomes, in any process."""
    world = World(plan.seed, records_messages)
    deployment = Deployment(world, plan.shape)
    judge = Judge(deployment)
    for fault in plan.faults:
        faults.schedule(deployment, fault, lambda sentinel: judge.forced.add(sentinel.run_id))
    deployment.start()
    deployment.write_every(200)
    world.run_until(plan.safety_ms)
    _heal(deployment)
    world.run_until(plan.safety_ms + plan.liveness_ms)
    judge.judge_end()
    judge.judge_pace(world.now)
    return Outcome(
        plan,
        tuple(judge.violations),
        tuple(world.trace),
        tuple(world.messages),
        len(deployment.acknowledged),
        len(deployment.lost_writes()),
        sum(sentinel.steps for sentinel in deployment.sentinels.values()),
        world.fingerprint,
    )


def breaks_a_rule(outcome: Outcome) -> bool:
    """Whether a world showed what must not be."""
    return bool(outcome.violations)


def minimise(outcome: Outcome, fails: Callable[[Outcome], bool] = breaks_a_rule) -> Outcome:
    """Shrink a failing world to the fewest faults that still fail."""
    best = outcome
    for fault in outcome.faults:
        fewer = tuple(one for one in best.faults if one is not fault)
        again = run(outcome.seed, shape=outcome.shape, drawn=fewer)
        if fails(again):
            best = again
    return best


def _heal(deployment: Deployment) -> None:
    deployment.world.mark("world", "healed")
    deployment.network.heal()
    deployment.network.loss = 0.0
    for instance in deployment.instances.values():
        instance.resume()
        if not instance.is_running:
            instance.restart(follows=None, keeps_data=True)
    for sentinel in deployment.sentinels.values():
        sentinel.resume()
        if not sentinel.is_running:
            sentinel.start()
