"""Run one world: draw its shape and faults from the seed, let things go wrong, heal, judge.

Two phases. Safety: anything may happen, and no rule may be broken. Liveness: all is healed, or a
core of it (a majority of the Sentinels, an instance that may be promoted), the rest staying dead;
then it must come together within a bound, and stay so when its primary dies once more.
"""

import hashlib
import random
import traceback
from dataclasses import dataclass
from pathlib import Path

from everfly.sim import endings, faults
from everfly.sim.checkers import Judge, Violation
from everfly.sim.cluster import Deployment, Shape
from everfly.sim.conduct import Conduct
from everfly.sim.endings import LIVENESS_MS
from everfly.sim.faults import Fault
from everfly.sim.leftovers import Leftovers
from everfly.sim.mischief import Mischief
from everfly.sim.operators_hand import Operator
from everfly.sim.profiles import ANY, SAFETY_MS, SWITCHOVER, Profile
from everfly.sim.world import Mark, Message, StandstillError, World

TILT_MS = 31_000
"""How long a Sentinel that was stopped may still watch without acting."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a world is made of besides its dice, drawn before anything happens."""

    seed: int
    shape: Shape
    faults: tuple[Fault, ...]
    safety_ms: int = SAFETY_MS
    liveness_ms: int = LIVENESS_MS
    absent: tuple[str, ...] = ()
    """Names of processes that die when all others are healed, and stay dead."""
    dies_again: bool = False
    """The primary of the world at rest is killed once more."""


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
    ended_at: int
    """Virtual ms."""
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


def draw_shape(seed: int, profile: Profile = ANY) -> Shape:
    """Draw how large a world is."""
    return profile.draw_shape(World(seed).dice("shape"))


def draw_plan(seed: int, shape: Shape | None = None, profile: Profile = ANY) -> Plan:
    """Draw what the world of a seed is made of; `shape` replaces the one that it would give."""
    shape = shape or draw_shape(seed, profile)
    world = World(seed)
    deployment = Deployment(world, shape)
    drawn = faults.draw(world.dice("faults"), deployment, profile.safety_ms, profile.kinds)
    dice = world.dice("ending")
    absent: tuple[str, ...] = ()
    if dice.random() < profile.partial_heal:
        absent = _draw_absent(dice, deployment)
    return Plan(
        seed,
        shape,
        tuple(drawn),
        profile.safety_ms,
        LIVENESS_MS,
        absent,
        dies_again=not absent and dice.random() < profile.dies_again,
    )


def _draw_absent(dice: random.Random, deployment: Deployment) -> tuple[str, ...]:
    """Draw who stays dead: at most a minority of the Sentinels, and one instance."""
    shape = deployment.shape
    spare = min(shape.sentinels - shape.majority, shape.sentinels - shape.quorum)
    sentinels = [one.name for one in deployment.sentinels.values()]
    absent = dice.sample(sentinels, dice.randint(0, spare))
    instances = list(deployment.instances.values())
    if sum(one.priority > 0 for one in instances) > 1:
        absent.append(dice.choice(["primary", dice.choice(instances).name]))
    return tuple(absent)


def run(
    seed: int,
    *,
    shape: Shape | None = None,
    drawn: tuple[Fault, ...] | None = None,
    profile: Profile = ANY,
) -> Outcome:
    """Run the world of a seed; `shape` and `drawn` replace what the seed would give."""
    if drawn is None:
        return run_plan(draw_plan(seed, shape, profile))
    return run_plan(Plan(seed, shape or draw_shape(seed, profile), drawn))


def run_plan(plan: Plan, *, records_messages: bool = False) -> Outcome:
    """Run one world. Equal plans give equal outcomes, in any process."""
    world = World(plan.seed, records_messages)
    deployment = Deployment(world, plan.shape)
    operator = Operator(deployment)
    mischief = Mischief(deployment, operator)
    judge = Judge(deployment, operator, mischief)
    Leftovers(Conduct(judge))
    for fault in plan.faults:
        mischief.schedule(fault)
    deployment.start()
    try:
        world.run_until(plan.safety_ms)
        if plan.liveness_ms:
            _end(plan, judge)
    except StandstillError as error:
        judge.complain("no busy loop", str(error))
    except Exception as raised:  # noqa: BLE001 - whatever somebody raises is a finding, with its seed
        at = traceback.extract_tb(raised.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        judge.complain("nothing raises", f"{type(raised).__name__} at {where}: {raised}")
    return Outcome(
        plan,
        tuple(judge.violations),
        tuple(world.trace),
        tuple(world.messages),
        len(deployment.ledger.acknowledged),
        len(deployment.lost_writes()),
        sum(sentinel.steps for sentinel in deployment.ours),
        world.now,
        world.fingerprint,
    )


def _end(plan: Plan, judge: Judge) -> None:
    """Heal, wait for agreement, judge what became of it."""
    deployment, world = judge.deployment, judge.deployment.world
    healed_at = world.now
    absent = frozenset(_named(plan, deployment))
    if judge.is_anybody_forgetful():
        # It learns from the primary and from others what there is; from the dead it never would.
        absent = frozenset()
    if judge.operator.has_failed_over_by_engine:
        # The instance that Sentinels take for the primary is a replica then, and they promote
        # replicas only: it must not be the last one that is left.
        absent -= {one.name for one in deployment.instances.values()}
    judge.mischief.heal(absent)
    if not endings.wait_for_agreement(judge, plan.liveness_ms, absent):
        return
    is_planned = bool(plan.faults) and all(fault.kind == SWITCHOVER for fault in plan.faults)
    endings.judge_writes(judge, is_planned=is_planned and not plan.shape.loss and not absent)
    if plan.dies_again:
        # Whoever voted in the last election waits for so long before it stands again.
        world.run_until(max(world.now, healed_at + 2 * plan.shape.failover_timeout + 2_000))
        if any(
            one.machine and one.machine.tilt_for(one.now) is not None for one in deployment.ours
        ):
            world.run_until(world.now + TILT_MS)
        endings.kill_once_more(judge, absent)


def _named(plan: Plan, deployment: Deployment) -> list[str]:
    """Return the names of those who stay dead; `primary` is whoever is that now."""
    named = deployment.named_primary()
    primary = None if named is None else deployment.instances.get(named)
    names = (name if name != "primary" or primary is None else primary.name for name in plan.absent)
    known = deployment.processes()
    return [name for name in names if name in known]


def breaks_a_rule(outcome: Outcome) -> bool:
    """Whether a world showed what must not be."""
    return bool(outcome.violations)
