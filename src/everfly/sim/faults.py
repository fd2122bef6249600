"""Faults, drawn from the seed before anything happens, so that a run can be told and shrunk."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from everfly.core.inputs import FailoverRequested
from everfly.core.model import Address
from everfly.sim.cluster import GROUP, Deployment
from everfly.sim.instance import SimInstance
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.world import Kind


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at an instant, and for how long."""

    at: int
    kind: str
    target: str
    duration: int
    detail: str = ""

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.at} ms: {self.kind} {self.target}{detail} for {self.duration} ms"


INSTANCE_KINDS = ("kill", "kill-empty", "pause")
SENTINEL_KINDS = ("crash", "pause-sentinel", "failover-command")
NETWORK_KINDS = ("isolate", "cut-pair", "cut-one-way", "split")


def draw(dice: random.Random, deployment: Deployment, until: int) -> list[Fault]:
    """Draw the faults of one run."""
    faults = []
    for _ in range(dice.randint(1, 8)):
        kind = dice.choice((*INSTANCE_KINDS, *SENTINEL_KINDS, *NETWORK_KINDS))
        at = dice.randrange(2_000, until)
        duration = dice.choice((dice.randrange(10, 500), dice.randrange(500, 15_000)))
        faults.append(_one(dice, deployment, at, kind, duration))
    return sorted(faults, key=lambda fault: fault.at)


def _one(dice: random.Random, deployment: Deployment, at: int, kind: str, duration: int) -> Fault:
    instances = [one.name for one in deployment.instances.values()]
    sentinels = [one.name for one in deployment.sentinels.values()]
    everybody = instances + sentinels
    if kind in INSTANCE_KINDS:
        # Half of the time whoever is the primary then.
        target = dice.choice(["primary", dice.choice(instances)])
        return Fault(at, kind, target, duration, dice.choice(("", "as-replica")))
    if kind in SENTINEL_KINDS:
        return Fault(at, kind, dice.choice(sentinels), duration)
    if kind == "isolate":
        return Fault(at, kind, dice.choice(["primary", *everybody]), duration)
    if kind == "split":
        side = dice.sample(everybody, dice.randint(1, len(everybody) - 1))
        return Fault(at, kind, ",".join(side), duration)
    one, other = dice.sample(everybody, 2)
    return Fault(at, kind, f"{one},{other}", duration)


def schedule(deployment: Deployment, fault: Fault, forced: Callable[[SimSentinel], None]) -> None:
    """Have a fault happen in its time."""
    deployment.world.at(fault.at, lambda: _strike(deployment, fault, forced))


def _strike(deployment: Deployment, fault: Fault, forced: Callable[[SimSentinel], None]) -> None:
    world = deployment.world
    world.mark("fault", str(fault), Kind.FAULT)
    if fault.kind in INSTANCE_KINDS:
        _strike_instance(deployment, fault)
    elif fault.kind in SENTINEL_KINDS:
        _strike_sentinel(deployment, fault, forced)
    else:
        pairs = _pairs(deployment, fault)
        deployment.network.cuts |= pairs
        world.after(fault.duration, lambda: deployment.network.cuts.difference_update(pairs))


def _strike_instance(deployment: Deployment, fault: Fault) -> None:
    world = deployment.world
    instance = _instance(deployment, fault.target)
    if instance is None or not instance.is_running or instance.is_paused:
        return
    if fault.kind == "pause":
        instance.pause()
        world.after(fault.duration, instance.resume)
        return
    instance.kill()
    keeps_data = fault.kind == "kill"

    def restart() -> None:
        if not instance.is_running:
            follows = _follows(deployment, instance) if fault.detail else None
            instance.restart(follows=follows, keeps_data=keeps_data)

    world.after(fault.duration, restart)


def _strike_sentinel(
    deployment: Deployment, fault: Fault, forced: Callable[[SimSentinel], None]
) -> None:
    world = deployment.world
    sentinel = next(one for one in deployment.sentinels.values() if one.name == fault.target)
    if not sentinel.is_running or sentinel.is_paused:
        return
    if fault.kind == "crash":
        sentinel.crash()
        world.after(fault.duration, lambda: None if sentinel.is_running else sentinel.start())
    elif fault.kind == "pause-sentinel":
        sentinel.pause()
        world.after(fault.duration, sentinel.resume)
    else:
        forced(sentinel)
        sentinel.request(lambda token: FailoverRequested(token, GROUP))


def _pairs(deployment: Deployment, fault: Fault) -> set[tuple[str, str]]:
    names = [one.name for one in deployment.instances.values()]
    names += [one.name for one in deployment.sentinels.values()]
    if fault.kind == "cut-one-way":
        one, other = fault.target.split(",")
        return {(one, other)}
    if fault.kind == "cut-pair":
        one, other = fault.target.split(",")
        return {(one, other), (other, one)}
    side = set(fault.target.split(","))
    if "primary" in side:
        instance = _instance(deployment, "primary")
        side = {instance.name} if instance is not None else set()
    others = set(names) - side
    return {(a, b) for a in side for b in others} | {(b, a) for a in side for b in others}


def _instance(deployment: Deployment, name: str) -> SimInstance | None:
    if name == "primary":
        primaries = deployment.primaries()
        return primaries[0] if primaries else None
    return next((one for one in deployment.instances.values() if one.name == name), None)


def _follows(deployment: Deployment, instance: SimInstance) -> Address | None:
    """Whom a careful supervisor has it follow: the primary that a majority of Sentinels name."""
    named: list[Address] = []
    for sentinel in deployment.sentinels.values():
        if sentinel.machine is not None and not sentinel.is_paused:
            address = sentinel.machine.current_address(GROUP)
            if address is not None:
                named.append(address)
    if not named:
        return None
    best = max(named, key=named.count)
    return None if best == instance.address else best
