"""One group in a world: instances, Sentinels, a client that writes and remembers."""

from collections.abc import Callable
from dataclasses import dataclass, field

from everfly.core.effects import Effect
from everfly.core.model import Address, Engine, GroupName, Millis, RunId
from everfly.core.policy import GroupSettings, Policy
from everfly.core.snapshot import DurableState, GroupState
from everfly.sim.instance import SimInstance
from everfly.sim.network import Network
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.world import World

GROUP = GroupName("default-primary")


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a world is and how its group is set."""

    sentinels: int = 3
    replicas: int = 2
    quorum: int = 2
    down_after: int = 1_000
    failover_timeout: int = 2_000
    engine: Engine = Engine.VALKEY
    loss: float = 0.0
    latency_ms: tuple[int, int] = (0, 2)
    disk_ms: tuple[int, int] = (1, 5)


@dataclass(slots=True, eq=False)
class Deployment:
    """A group, those who watch it, and one who uses it."""

    world: World
    shape: Shape
    network: Network = field(init=False)
    instances: dict[Address, SimInstance] = field(default_factory=dict, init=False)
    sentinels: dict[Address, SimSentinel] = field(default_factory=dict, init=False)
    observers: list[Callable[[SimSentinel, Effect], None]] = field(default_factory=list, init=False)
    acknowledged: dict[int, int] = field(default_factory=dict, init=False)
    """Write id -> when it was acknowledged."""

    def __post_init__(self) -> None:
        shape = self.shape
        world = self.world
        self.network = Network(
            world, world.dice("network"), latency_ms=shape.latency_ms, loss=shape.loss
        )
        for number in range(1 + shape.replicas):
            address = Address("10.0.0.1", 6379 + number)
            self.instances[address] = SimInstance(
                world, self.network, address, self.instances, engine=shape.engine
            )
        primary, *replicas = self.instances.values()
        for replica in replicas:
            replica.begin_following(primary)
        settings = GroupSettings(
            quorum=shape.quorum,
            down_after=Millis(shape.down_after),
            failover_timeout=Millis(shape.failover_timeout),
        )
        for number in range(shape.sentinels):
            address = Address("10.0.0.2", 26379 + number)
            run_id = RunId(f"{world.dice(f'run-id:{number}').getrandbits(160):040x}")
            state = DurableState(run_id, groups=(GroupState(GROUP, primary.address, settings),))
            self.sentinels[address] = SimSentinel(
                world,
                self.network,
                address,
                state,
                self.instances,
                self.sentinels,
                self._observe,
                Policy,
                shape.disk_ms,
            )

    def start(self) -> None:
        """Start the Sentinels, moments apart, as machines boot."""
        dice = self.world.dice("boot")
        for sentinel in self.sentinels.values():
            self.world.after(dice.randrange(500), sentinel.start)

    def _observe(self, sentinel: SimSentinel, effect: Effect) -> None:
        for observer in self.observers:
            observer(sentinel, effect)

    def write_every(self, period: int) -> None:
        """Have a client write through whatever address the Sentinels answer."""
        dice = self.world.dice("client")
        ids = iter(range(1, 1 << 62))

        def write() -> None:
            self.world.after(period, write)
            sentinel = dice.choice(list(self.sentinels.values()))
            if sentinel.machine is None or sentinel.is_paused:
                return
            address = sentinel.machine.current_address(GROUP)
            instance = None if address is None else self.instances.get(address)
            if instance is None or not instance.is_running or instance.is_paused:
                return
            write_id = next(ids)
            if instance.write(write_id):
                self.acknowledged[write_id] = self.world.now

        self.world.after(period, write)

    # What the world looks like from above.

    def primaries(self) -> list[SimInstance]:
        """Instances that run as primaries."""
        return [one for one in self.instances.values() if one.is_running and one.follows is None]

    def disagreement(self) -> str | None:
        """Return what is not as it should be in a healthy group, or None."""
        primaries = self.primaries()
        if len(primaries) != 1:
            return f"primaries: {[one.name for one in primaries]}"
        primary = primaries[0]
        for instance in self.instances.values():
            if instance is primary:
                continue
            if instance.follows != primary.address or not instance.link_up:
                return f"{instance.name} follows {instance.follows}, link up: {instance.link_up}"
        for sentinel in self.sentinels.values():
            if sentinel.machine is None:
                return f"{sentinel.name} does not run"
            answer = sentinel.machine.current_address(GROUP)
            if answer != primary.address:
                return f"{sentinel.name} answers {answer}, primary is {primary.address}"
        return None

    def lost_writes(self) -> list[int]:
        """Acknowledged writes that the one primary does not hold."""
        primaries = self.primaries()
        held = set(primaries[0].log) if len(primaries) == 1 else set()
        return [write_id for write_id in self.acknowledged if write_id not in held]
