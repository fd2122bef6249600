"""Faults, drawn from the seed before anything happens, so that a run can be told and shrunk.

`mischief` carries them out.
"""

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from everfly.sim.cluster import Deployment


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at an instant, and for how long."""

    at: int
    kind: str
    target: str
    """Names of processes, separated by commas; `primary`: whoever is that then."""
    duration: int
    detail: str = ""

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.at} ms: {self.kind} {self.target}{detail} for {self.duration} ms"


DEATHS: Final = ("kill", "kill-synced", "kill-empty")
"""Of an instance, which comes back with all its data, with what was on disk, with nothing."""
INSTANCE_KINDS: Final = (
    *DEATHS,
    "pause",
    "slow",
    "busy-script",
    "wrong-info",
    "cut-clients",
    "address-reuse",
)
MOVES: Final = "moves"
"""What a death of an instance becomes half of the time where instances have names: it starts again
on another machine, and its name follows a little later."""
SENTINEL_KINDS: Final = ("crash", "pause-sentinel", "clock-leap", "slow-disk", "failing-disk")
OPERATOR_KINDS: Final = (
    "failover-command",
    "switchover-command",
    "reset",
    "set-quorum",
    "monitor-again",
    "crash-on-purpose",
    "engine-failover",
)
NETWORK_KINDS: Final = (
    "isolate",
    "cut-pair",
    "cut-one-way",
    "split",
    "swizzle",
    "slow-links",
    "loss",
    "repeated-commands",
)
ALL_KINDS: Final = (*INSTANCE_KINDS, *SENTINEL_KINDS, *OPERATOR_KINDS, *NETWORK_KINDS)

FIRST_AT: Final = 5_000
"""Sentinels have found each other by then."""


def draw(
    dice: random.Random,
    deployment: "Deployment",
    until: int,
    kinds: tuple[str, ...] = ALL_KINDS,
) -> list[Fault]:
    """Draw the faults of one run."""
    faults = []
    for _ in range(dice.randint(1, 8)):
        kind = dice.choice(kinds)
        at = dice.randrange(FIRST_AT, until)
        duration = dice.choice((dice.randrange(10, 500), dice.randrange(500, 15_000)))
        faults.append(_one(dice, deployment, Fault(at, kind, "", duration)))
    if deployment.shape.has_names:
        moves = deployment.world.dice("moves")
        faults = [
            replace(one, kind=MOVES) if one.kind in DEATHS and moves.random() < 0.5 else one
            for one in faults
        ]
    return sorted(faults, key=lambda fault: fault.at)


def _one(dice: random.Random, deployment: "Deployment", fault: Fault) -> Fault:
    instances = [one.name for one in deployment.instances.values()]
    sentinels = [one.name for one in deployment.sentinels.values()]
    everybody = instances + sentinels
    at, kind, duration = fault.at, fault.kind, fault.duration
    if kind in INSTANCE_KINDS or kind == "engine-failover":
        # Half of the time whoever is the primary then.
        target = dice.choice(["primary", dice.choice(instances)])
        detail = dice.choice(("", "as-replica")) if kind in DEATHS else ""
        return Fault(at, kind, target, duration, detail)
    if kind in SENTINEL_KINDS or kind in OPERATOR_KINDS:
        detail = ""
        if kind == "set-quorum":
            detail = str(dice.randint(1, len(sentinels)))
        elif kind == "clock-leap":
            duration = dice.choice((500, 3_000, 60_000))
        elif kind == "crash-on-purpose":
            detail = dice.choice(("after-election", "after-promotion"))
        return Fault(at, kind, dice.choice(sentinels), duration, detail)
    return _of_the_network(dice, everybody, fault)


def _of_the_network(dice: random.Random, everybody: list[str], fault: Fault) -> Fault:
    at, kind, duration = fault.at, fault.kind, fault.duration
    if kind == "isolate":
        return Fault(at, kind, dice.choice(["primary", *everybody]), duration)
    if kind == "split":
        side = dice.sample(everybody, dice.randint(1, len(everybody) - 1))
        return Fault(at, kind, ",".join(side), duration)
    if kind == "swizzle":
        # Cut off one by one in this order, and let back in another one.
        some = dice.sample(everybody, dice.randint(2, len(everybody)))
        return Fault(at, kind, ",".join(some), duration, ",".join(dice.sample(some, len(some))))
    if kind == "slow-links":
        some = dice.sample(everybody, dice.randint(1, len(everybody)))
        return Fault(at, kind, ",".join(some), duration, str(dice.choice((50, 300, 1_500))))
    if kind in {"loss", "repeated-commands"}:
        return Fault(at, kind, "all", duration, str(dice.choice((0.1, 0.3, 0.6))))
    one, other = dice.sample(everybody, 2)
    return Fault(at, kind, f"{one},{other}", duration)
