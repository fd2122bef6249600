"""What `scale` keeps of instances and Sentinels: as little as thousands of them allow."""

from collections import deque
from dataclasses import dataclass, field

from everfly.core.effects import Effect
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import Address, Engine, InstanceReport, LinkId, Role


@dataclass(frozen=True, slots=True)
class ScaleShape:
    """How large, and at what price."""

    groups: int
    replicas: int = 2
    sentinels: int = 5
    quorum: int = 3
    down_after: int = 10_000
    failover_timeout: int = 60_000
    step_us: float = 0.0
    """What one step of a Sentinel costs; 0: nothing."""
    disk_ms: int = 5
    disk_us_a_group: float = 0.0
    """A state file grows with the groups."""


@dataclass(slots=True, eq=False)
class Lean:
    """An instance: where it is, whether it lives, whom it follows."""

    address: Address
    zone: int
    group: int
    follows: "Lean | None" = None
    is_alive: bool = True
    promoted_at: int | None = None
    subscribers: "dict[tuple[int, LinkId], None]" = field(default_factory=dict)

    def report(self, replicas: tuple[Address, ...]) -> InstanceReport:
        """Say what INFO says."""
        follows = self.follows
        if follows is None:
            return InstanceReport(
                Role.PRIMARY,
                Engine.VALKEY,
                f"run-{self.address}",
                f"h{self.group}",
                offset=1_000,
                replicas=replicas,
            )
        return InstanceReport(
            Role.REPLICA,
            Engine.VALKEY,
            f"run-{self.address}",
            f"h{self.group}",
            offset=1_000,
            primary=follows.address,
            primary_link_up=follows.is_alive,
        )


@dataclass(slots=True, eq=False)
class Keeper:
    """A Sentinel: a real core, its links, and how busy it is."""

    number: int
    address: Address
    zone: int
    machine: Machine
    is_alive: bool = True
    links: "dict[LinkId, Lean | Keeper]" = field(default_factory=dict)
    inbox: deque[Input] = field(default_factory=deque)
    busy_until_us: float = 0.0
    is_pumping: bool = False
    timer: int | None = None
    steps: int = 0
    tilts: int = 0
    held: deque[tuple[int, Effect]] = field(default_factory=deque)
    urgent: int = 0
    durable: int = 0
    is_writing: bool = False
    writes: int = 0
    inbox_max: int = 0
    """The most facts that waited when a timer came."""
