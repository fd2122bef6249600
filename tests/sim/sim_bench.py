"""What the tests of the simulator's models stand on: a world with a few instances."""

from dataclasses import dataclass, field

from everfly.core.model import Address
from everfly.sim.instance import Character, SimInstance
from everfly.sim.network import Network
from everfly.sim.world import World


@dataclass
class Bench:
    """A world, its network, and instances by number."""

    character: Character = field(default_factory=Character)
    seed: int = 1
    world: World = field(init=False)
    network: Network = field(init=False)
    answers: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(self.seed)
        self.network = Network(self.world, self.world.dice("network"))

    def instance(self, number: int) -> SimInstance:
        return SimInstance(
            self.world, self.network, Address("10.0.0.1", 6379 + number), self.character
        )

    def group(self, replicas: int = 1) -> list[SimInstance]:
        members = [self.instance(number) for number in range(1 + replicas)]
        for replica in members[1:]:
            replica.replication.begin_in_sync(members[0])
        self.wait(100)
        return members

    def wait(self, ms: int) -> None:
        self.world.run_until(self.world.now + ms)

    def write(self, instance: SimInstance, *ids: int) -> None:
        for write_id in ids:
            instance.write(write_id, self.answers.append)
