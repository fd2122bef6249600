"""One group in a world: instances, Sentinels, an endpoint, and programs that write and remember."""

from collections.abc import Callable
from dataclasses import dataclass, field

from everfly.core.effects import Effect
from everfly.core.model import Address, Engine, Epoch, GroupName, Millis, RunId
from everfly.core.policy import GroupSettings, Policy
from everfly.core.snapshot import DurableState, GroupState
from everfly.sim.clients import Client, by_address, by_sentinels
from everfly.sim.endpoint_model import SimEndpoint
from everfly.sim.genuine import SimGenuine
from everfly.sim.genuine_records import Memory
from everfly.sim.instance import Character, SimInstance
from everfly.sim.ledger import Ledger
from everfly.sim.network import Network
from everfly.sim.sentinel_host import Habits, SimSentinel
from everfly.sim.watcher import Watcher
from everfly.sim.world import World

GROUP = GroupName("default-primary")

ENDPOINT = Address("10.0.0.3", 6379)

BOOT_MS = 2_000
"""Instances run before Sentinels look at them: a replica that its primary does not name yet is not
known, and stays unknown if that primary dies before the next INFO."""


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
    genuine: int = 0
    """So many of the Sentinels are genuine ones."""
    never_promoted: int = 0
    """So many of the replicas have priority 0."""
    breaks_on_restart: bool = False
    serves_stale: bool = True
    is_contained: bool = False
    backlog_max: int = 1_000
    load_ms: int = 0
    fast_down: bool = False
    speaks_text: bool = False
    """INFO and hellos go through the real formats, parsers and dialects."""
    has_names: bool = False
    """Instances are known by names, whose IP can change."""
    has_clients: bool = True

    @property
    def majority(self) -> int:
        """How many Sentinels are more than half."""
        return self.sentinels // 2 + 1


@dataclass(slots=True, eq=False)
class Deployment:
    """A group, those who watch it, and those who use it."""

    world: World
    shape: Shape
    network: Network = field(init=False)
    ledger: Ledger = field(init=False)
    instances: dict[Address, SimInstance] = field(default_factory=dict, init=False)
    """Those that belong to the group, by where they listen."""
    strangers: list[SimInstance] = field(default_factory=list, init=False)
    """Instances of other deployments."""
    sentinels: dict[Address, Watcher] = field(default_factory=dict, init=False)
    ours: list[SimSentinel] = field(default_factory=list, init=False)
    """Those with the real core."""
    endpoint: SimEndpoint | None = field(default=None, init=False)
    clients: list[Client] = field(default_factory=list, init=False)
    observers: list[Callable[[SimSentinel, Effect], None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        shape = self.shape
        world = self.world
        self.network = Network(
            world, world.dice("network"), latency_ms=shape.latency_ms, loss=shape.loss
        )
        self.ledger = Ledger(world)
        for number in range(1 + shape.replicas):
            address = Address("10.0.0.1", 6379 + number)
            if shape.has_names:
                ip = self.network.names[f"db-{number}"] = f"10.0.1.{number + 1}"
                address = Address(f"db-{number}", 6379 + number, ip)
            is_last = number > shape.replicas - shape.never_promoted
            character = Character(
                engine=shape.engine,
                priority=0 if is_last and number else 100,
                breaks_on_restart=shape.breaks_on_restart and shape.engine is Engine.DRAGONFLY,
                serves_stale=shape.serves_stale or shape.engine is Engine.DRAGONFLY,
                is_contained=shape.is_contained,
                backlog_max=shape.backlog_max,
                load_ms=shape.load_ms,
                speaks_text=shape.speaks_text,
            )
            self.instances[address] = SimInstance(
                world, self.network, address, character, witness=self.ledger
            )
        primary, *replicas = self.instances.values()
        for replica in replicas:
            replica.replication.begin_in_sync(primary)
        self._add_sentinels(primary)

    def _add_sentinels(self, primary: SimInstance) -> None:
        shape, world = self.shape, self.world
        settings = self.group_settings()
        habits = Habits(self._policy, shape.disk_ms, shape.speaks_text)
        for number in range(shape.sentinels):
            address = Address("10.0.0.2", 26379 + number)
            run_id = RunId(f"{world.dice(f'run-id:{number}').getrandbits(160):040x}")
            if number >= shape.sentinels - shape.genuine:
                memory = Memory(Epoch(0), Epoch(0), Epoch(0), primary.address, (), ())
                self.sentinels[address] = SimGenuine(
                    world, self.network, address, run_id, GROUP, settings, memory
                )
                continue
            state = DurableState(
                run_id,
                shows_hostnames=shape.has_names,
                groups=(GroupState(GROUP, primary.address, settings),),
            )
            sentinel = SimSentinel(world, self.network, address, state, self._observe, habits)
            self.sentinels[address] = sentinel
            self.ours.append(sentinel)

    def group_settings(self) -> GroupSettings:
        """Return what people set for the group."""
        shape = self.shape
        return GroupSettings(
            quorum=shape.quorum,
            down_after=Millis(shape.down_after),
            failover_timeout=Millis(shape.failover_timeout),
        )

    def _policy(self) -> Policy:
        return Policy(fast_down=self.shape.fast_down)

    def start(self) -> None:
        """Start the Sentinels, moments apart, as machines boot; then those who use the group."""
        dice = self.world.dice("boot")
        for sentinel in self.sentinels.values():
            self.world.after(BOOT_MS + dice.randrange(500), sentinel.start)
        if self.shape.has_clients:
            self.world.after(BOOT_MS + 500, self._start_clients)

    def _start_clients(self) -> None:
        watchers = list(self.sentinels.values())
        self.endpoint = SimEndpoint(
            self.world, self.network, ENDPOINT, GROUP, watchers, self.ledger
        )
        for name, find in (
            ("client:1", by_sentinels(lambda: watchers, GROUP)),
            ("client:2", by_address(ENDPOINT)),
        ):
            self.clients.append(Client(self.world, self.network, self.ledger, name, find))

    def _observe(self, sentinel: SimSentinel, effect: Effect) -> None:
        for observer in self.observers:
            observer(sentinel, effect)

    def move(self, instance: SimInstance, address: Address) -> None:
        """Let an instance that does not run listen elsewhere."""
        del self.instances[instance.address]
        instance.move(address)
        self.instances[address] = instance

    # What the world looks like from above.

    def processes(self) -> dict[str, SimInstance | Watcher]:
        """Return instances and Sentinels by name."""
        found: dict[str, SimInstance | Watcher] = {}
        found.update((one.name, one) for one in self.instances.values())
        found.update((one.name, one) for one in self.sentinels.values())
        return found

    def primaries(self) -> list[SimInstance]:
        """Instances that run as primaries."""
        return [one for one in self.instances.values() if one.is_running and one.follows is None]

    def is_strange(self, instance: SimInstance) -> bool:
        """Whether an instance belongs to another deployment, and has its data.

        One that a genuine Sentinel made copy ours is, for all purposes, ours.
        """
        if instance not in self.strangers or instance.follows in self.instances:
            return False
        return any(write < 0 for write in instance.log)

    def named_primary(self) -> Address | None:
        """Return the primary that most of the running Sentinels name."""
        named = [
            said.primary
            for sentinel in self.sentinels.values()
            if sentinel.is_running
            and not sentinel.is_paused
            and (said := sentinel.announcement(GROUP)) is not None
        ]
        return max(named, key=named.count) if named else None

    def disagreement(
        self, absent: frozenset[str] = frozenset(), *, may_forget: bool = False
    ) -> str | None:
        """Return what is not as it should be in a healthy group, or None.

        `absent`: names of processes that are gone for good. `may_forget`: somebody told Sentinels
        to forget; a replica that did not follow the primary then is found again by nobody.
        """
        present = [
            one
            for one in self.instances.values()
            if one.name not in absent and not (may_forget and self.is_forgotten(one))
        ]
        primaries = [one for one in present if one.is_running and one.follows is None]
        if len(primaries) != 1:
            return f"primaries: {[one.name for one in primaries]}"
        primary = primaries[0]
        for instance in present:
            if instance is primary:
                continue
            if self._keeps_what_is_lost(instance, primary):
                continue
            if instance.follows != primary.address or not instance.link_up:
                return f"{instance.name} follows {instance.follows}, link up: {instance.link_up}"
        for sentinel in self.sentinels.values():
            if sentinel.name in absent:
                continue
            said = sentinel.announcement(GROUP) if sentinel.is_running else None
            if said is None:
                return f"{sentinel.name} does not run or does not know the group"
            if said.primary != primary.address:
                return f"{sentinel.name} names {said.primary}, primary is {primary.address}"
        return self._strayed_users(primary)

    def _keeps_what_is_lost(self, instance: SimInstance, primary: SimInstance) -> bool:
        """Whether a replica has left its primary, which restarted with less than it has, for good.

        Dragonfly leaves it, where it is told to, so that people can save what it has. Those that
        notice do not make it copy the loss; they promote it, unless they are outvoted by others
        that did not notice, as genuine Sentinels do not.
        """
        noticing = sum(
            sentinel.machine is not None
            and (view := sentinel.machine.group_view(sentinel.now, GROUP)) is not None
            and view.primary.s_down_for is not None
            for sentinel in self.ours
        )
        return (
            instance.character.breaks_on_restart
            and instance.follows == primary.address
            and instance.replication.has_left
            and 0 < noticing < max(self.shape.quorum, self.shape.majority)
            and not set(instance.log).issubset(primary.log)
        )

    def is_forgotten(self, instance: SimInstance) -> bool:
        """Whether too few Sentinels know of an instance to judge it. Never their primary."""
        knowing = sum(
            sentinel.is_running and sentinel.knows(GROUP, instance.address)
            for sentinel in self.sentinels.values()
        )
        return knowing < self.shape.majority and self.named_primary() != instance.address

    def _strayed_users(self, primary: SimInstance) -> str | None:
        if self.endpoint is not None and self.endpoint.primary != primary.address:
            return f"endpoint follows {self.endpoint.primary}, primary is {primary.address}"
        for client in self.clients:
            if self.world.now - client.last_ok_at > 5_000:
                return f"{client.name} has written nothing since {client.last_ok_at} ms"
            is_direct = client.writes_at != ENDPOINT
            if is_direct and client.writes_at != primary.address:
                return f"{client.name} writes at {client.writes_at}, not at {primary.address}"
        return None

    def lost_writes(self) -> list[int]:
        """Acknowledged writes that the one primary does not hold."""
        primaries = self.primaries()
        return self.ledger.lost(set(primaries[0].log) if len(primaries) == 1 else set())
