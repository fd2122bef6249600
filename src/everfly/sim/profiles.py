"""Kinds of worlds: how their shapes are drawn, what goes wrong in them, and for how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from everfly.core.model import Engine
from everfly.errors import SettingsError
from everfly.sim.cluster import Shape
from everfly.sim.faults import ALL_KINDS, INSTANCE_KINDS, NETWORK_KINDS, SENTINEL_KINDS

SAFETY_MS: Final = 30_000
"""How long anything may happen."""

SWITCHOVER: Final = "switchover-command"
"""Loses nothing, or does nothing. SENTINEL FAILOVER goes on without the primary where that cannot
hand over, and then loses what it writes meanwhile."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of world."""

    name: str
    what: str
    """For people."""
    draw_shape: Callable[[random.Random], Shape]
    kinds: tuple[str, ...]
    """Of faults."""
    safety_ms: int = SAFETY_MS
    partial_heal: float = 0.0
    """How likely it is that only a core is healed: the rest stays dead."""
    dies_again: float = 0.0
    """How likely it is that a world at rest loses its primary once more."""


def _any(dice: random.Random) -> Shape:
    sentinels = dice.choice((3, 3, 3, 5))
    majority = sentinels // 2 + 1
    replicas = dice.choice((1, 2, 2, 2, 3))
    return Shape(
        sentinels=sentinels,
        replicas=replicas,
        quorum=dice.choice((majority, majority, dice.randint(1, sentinels))),
        down_after=dice.choice((500, 1_000, 1_000, 5_000)),
        failover_timeout=dice.choice((2_000, 2_000, 10_000)),
        engine=dice.choice((Engine.VALKEY, Engine.REDIS, Engine.DRAGONFLY)),
        loss=dice.choice((0.0, 0.0, 0.01, 0.1)),
        latency_ms=dice.choice(((0, 2), (1, 10), (0, 80))),
        disk_ms=dice.choice(((1, 5), (5, 40), (20, 400))),
        never_promoted=dice.choice((0, 0, 0, 1)) if replicas > 1 else 0,
        breaks_on_restart=dice.random() < 0.5,
        serves_stale=dice.random() < 0.8,
        is_contained=dice.random() < 0.3,
        backlog_max=dice.choice((1_000, 1_000, 5)),
        load_ms=dice.choice((0, 0, 200, 2_000)),
        fast_down=dice.random() < 0.1,
        speaks_text=dice.random() < 0.25,
        has_names=dice.random() < 0.15,
    )


def _lossy(_: random.Random) -> Shape:
    return Shape(sentinels=5, replicas=2, quorum=3, loss=0.1)


def _planned(dice: random.Random) -> Shape:
    return Shape(
        replicas=dice.choice((1, 2)),
        engine=dice.choice((Engine.VALKEY, Engine.REDIS, Engine.DRAGONFLY)),
        latency_ms=dice.choice(((0, 2), (1, 10), (0, 80))),
        disk_ms=dice.choice(((1, 5), (5, 40), (20, 400))),
        speaks_text=dice.random() < 0.25,
    )


def _mixed(dice: random.Random) -> Shape:
    shape = _any(dice)
    return replace(
        shape,
        genuine=dice.randint(1, shape.sentinels - 1),
        quorum=max(shape.quorum, shape.majority),
        fast_down=False,
        # The model of a genuine Sentinel knows IPs alone, as without resolve-hostnames.
        has_names=False,
    )


ANY: Final = Profile(
    "any", "everything may go wrong", _any, ALL_KINDS, partial_heal=0.3, dies_again=0.4
)
LOSSY: Final = Profile(
    "lossy",
    "5 Sentinels, 1 primary, 2 replicas, a tenth of all packets lost for 60 s",
    _lossy,
    ("kill", "pause", "crash", "pause-sentinel", *NETWORK_KINDS),
    safety_ms=60_000,
)
PLANNED: Final = Profile(
    "planned", "nothing but switchovers: no write may be lost", _planned, (SWITCHOVER,)
)

MIXED: Final = Profile(
    "mixed",
    "genuine Sentinels in the quorum: everything may go wrong but what people do",
    _mixed,
    (*INSTANCE_KINDS, *SENTINEL_KINDS, *NETWORK_KINDS),
)

PROFILES: Final = {profile.name: profile for profile in (ANY, LOSSY, PLANNED, MIXED)}


def profile_of(name: str) -> Profile:
    """Return a profile by name; raise SettingsError for one that does not exist."""
    try:
        return PROFILES[name]
    except KeyError:
        names = ", ".join(PROFILES)
        raise SettingsError(f"{name!r} is no profile; take one of {names}") from None
