"""Carry faults out, each at its instant, and end each when its time is over or all is healed.

A fault that cannot happen (its target is dead already) does not. What people do (`operators_hand`)
and what the network does is the same whatever the target's make.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from everfly.core.model import Address
from everfly.sim import faults
from everfly.sim.cluster import Deployment
from everfly.sim.faults import DEATHS, INSTANCE_KINDS, MOVES, NETWORK_KINDS, OPERATOR_KINDS, Fault
from everfly.sim.instance import Character, SimInstance
from everfly.sim.network import Cut, Deed
from everfly.sim.operators_hand import Operator
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.watcher import Watcher
from everfly.sim.world import Kind

STRANGERS_COMPANY: Final = Address("10.9.9.9", 6379)
NAME_SERVER_MS: Final = 3_000
"""How much later than a machine its name may move."""
OLD_AFTER_MS: Final = 4_000
"""The address of a primary is an old one this long after it can be called down, if it has a
successor by then. Who takes a primary's address over before is taken for it by everybody, clients
first."""


@dataclass(slots=True, eq=False)
class Mischief:
    """All that goes wrong in one world."""

    deployment: Deployment
    operator: Operator
    disturbed_at: int = 0
    """When a fault last began or ended, other than one that hit the primary alone."""
    lossy_until: int = 0
    """When a fault last ended by which packets were lost."""
    _ends: dict[int, Deed] = field(default_factory=dict)
    _count: int = 0

    def schedule(self, fault: Fault) -> None:
        """Have a fault happen in its time."""
        self.deployment.world.at(fault.at, partial(self._strike, fault))

    def heal(self, absent: frozenset[str]) -> None:
        """End all faults. Processes of these names die, and stay dead."""
        deployment = self.deployment
        deployment.world.mark("world", f"healed, without {sorted(absent)}" if absent else "healed")
        for end in list(self._ends.values()):
            end()
        deployment.network.heal()
        for instance in deployment.instances.values():
            instance.resume()
            if instance.name in absent:
                instance.kill()
                # Nor does its supervisor start it again, if it had ended by itself.
                instance.is_awaited = False
            elif not (instance.is_running or instance.is_awaited):
                instance.restart(follows=None)
        for sentinel in deployment.sentinels.values():
            sentinel.resume()
            if sentinel.name in absent:
                sentinel.crash()
            elif not sentinel.is_running:
                sentinel.start()

    def _strike(self, fault: Fault) -> None:
        world = self.deployment.world
        world.mark("fault", str(fault), Kind.FAULT)
        end = self._begin(fault)
        is_of_primary = self._is_of_primary(fault)
        if not is_of_primary:
            self.disturbed_at = world.now
        if end is None:
            return
        self._count += 1
        number = self._count

        def end_once() -> None:
            if self._ends.pop(number, None) is not None:
                if not is_of_primary:
                    self.disturbed_at = world.now
                world.mark("fault", f"end of {fault.kind} {fault.target}", Kind.FAULT)
                end()

        self._ends[number] = end_once
        world.after(fault.duration, end_once)

    @staticmethod
    def _is_of_primary(fault: Fault) -> bool:
        return fault.target == "primary" and fault.kind in {"kill", "pause", "isolate"}

    def _begin(self, fault: Fault) -> Deed | None:
        """Do it; return what ends it, or None if nothing does."""
        if fault.kind in {*INSTANCE_KINDS, MOVES, "engine-failover"}:
            instance = self._instance(fault.target)
            if instance is None or not instance.is_running or instance.is_paused:
                return None
            if fault.kind == "engine-failover":
                self.operator.fail_over_by_engine(instance)
                return None
            return self._strike_instance(fault, instance)
        if fault.kind in NETWORK_KINDS:
            return self._strike_network(fault)
        sentinel = self._sentinel(fault.target)
        if not sentinel.is_running or sentinel.is_paused:
            return None
        if fault.kind in OPERATOR_KINDS:
            return self.operator.act(fault, sentinel)
        return self._strike_sentinel(fault, sentinel)

    # Instances.

    def _strike_instance(self, fault: Fault, instance: SimInstance) -> Deed | None:
        until = self.deployment.world.now + fault.duration
        match fault.kind:
            case "pause":
                instance.pause()
                return instance.resume
            case "slow":
                instance.slow_ms = 100
                return partial(setattr, instance, "slow_ms", 0)
            case "busy-script":
                instance.busy_until = until
                return partial(setattr, instance, "busy_until", 0)
            case "wrong-info":
                instance.lies_until = until
                return partial(setattr, instance, "lies_until", 0)
            case "cut-clients":
                # A process does not cut itself off its primary; those who follow it are cut off.
                own = instance.replication.connections - {*instance.replication.followers}
                for connection in list(instance.connections):
                    if connection not in own:
                        connection.close(instance)
                return None
            case faults.MOVES:
                return self._move(instance)
            case "address-reuse":
                return self._replace_by_stranger(instance)
            case _:
                assert fault.kind in DEATHS, fault.kind
                return self._kill(fault, instance)

    def _kill(self, fault: Fault, instance: SimInstance) -> Deed:
        instance.kill()
        keeps = {"kill": "all", "kill-synced": "synced", "kill-empty": "nothing"}[fault.kind]

        def restart() -> None:
            if not instance.is_running:
                follows = self._follows(instance) if fault.detail else None
                instance.restart(follows=follows, keeps=keeps)

        return restart

    def _follows(self, instance: SimInstance) -> Address | None:
        """Whom a careful supervisor has it follow: the primary that most Sentinels name."""
        named = self.deployment.named_primary()
        mine = (instance.address.host, instance.address.port)
        return None if named is None or (named.host, named.port) == mine else named

    def _move(self, instance: SimInstance) -> Deed:
        """Start it anew on another machine: its name leads there, a little later.

        Without names it is a restart: who knows nothing but an old IP finds nobody.
        """
        network, world = self.deployment.network, self.deployment.world
        instance.kill()
        old = instance.address

        def arrive() -> None:
            if instance.is_running:
                return
            if old.host in network.names:
                follows = self._follows(instance)
                new = replace(old, ip=f"10.0.2.{world.now % 250}")
                self.deployment.move(instance, new)
                instance.restart(follows=follows)
                name_server = partial(network.names.__setitem__, new.host, new.ip)
                late = int(world.dice(f"name-server:{world.now}").random() * NAME_SERVER_MS)
                world.after(late, name_server)
                # Until then nobody finds it.
                self.disturbed_at = world.now + late
            else:
                instance.restart(follows=self._follows(instance))

        return arrive

    def _replace_by_stranger(self, instance: SimInstance) -> Deed:
        """Another deployment's instance appears where this one was, once it is an old address."""
        deployment = self.deployment
        world, network, shape = deployment.world, deployment.network, deployment.shape
        was_primary = deployment.named_primary() == instance.address
        instance.kill()
        is_over = False
        strangers: list[SimInstance] = []

        def arrive() -> None:
            is_old = deployment.named_primary() != instance.address
            if is_old and not is_over and not instance.is_running:
                strangers.append(self._add_stranger(instance))

        def leave() -> None:
            nonlocal is_over
            is_over = True
            for stranger in strangers:
                stranger.kill()
                deployment.ledger.note_loss(stranger, stranger.log)
            network.hosts[instance.address] = instance
            if not instance.is_running:
                instance.restart(follows=self._follows(instance))

        wait = OLD_AFTER_MS + (shape.down_after if was_primary else 0)
        world.after(wait, arrive)
        return leave

    def _add_stranger(self, instance: SimInstance) -> SimInstance:
        """Put a replica of another deployment at an address.

        A primary without company cannot be told from one of ours that restarted empty.
        """
        deployment = self.deployment
        world, network = deployment.world, deployment.network
        character = Character(engine=instance.engine, speaks_text=instance.character.speaks_text)
        company = network.hosts.get(STRANGERS_COMPANY)
        if not isinstance(company, SimInstance):
            company = SimInstance(world, network, STRANGERS_COMPANY, character, "company")
            for write_id in range(-50, 0):
                company.replication.append(write_id)
            deployment.strangers.append(company)
        # Genuine Sentinels may promote it, and with that lose all that it never had.
        stranger = SimInstance(
            world, network, instance.address, character, "stranger", deployment.ledger
        )
        stranger.started_at = world.now
        stranger.replication.begin_in_sync(company)
        deployment.strangers.append(stranger)
        return stranger

    # Sentinels.

    def _strike_sentinel(self, fault: Fault, sentinel: Watcher) -> Deed | None:
        until = self.deployment.world.now + fault.duration
        match fault.kind:
            case "crash":
                sentinel.crash()
                return lambda: None if sentinel.is_running else sentinel.start()
            case "pause-sentinel":
                sentinel.pause()
                return sentinel.resume
            case "clock-leap":
                sentinel.jump(fault.duration)
                return None
            case _:
                if not isinstance(sentinel, SimSentinel):
                    return None
                if fault.kind == "slow-disk":
                    sentinel.disk.slow_until, sentinel.disk.slow_ms = until, 3_000
                    return partial(setattr, sentinel.disk, "slow_until", 0)
                assert fault.kind == "failing-disk", fault.kind
                sentinel.disk.fails_until = until
                return partial(setattr, sentinel.disk, "fails_until", 0)

    # The network.

    def _strike_network(self, fault: Fault) -> Deed:
        network = self.deployment.network
        match fault.kind:
            case "swizzle":
                return self._swizzle(fault)
            case "slow-links":
                names = fault.target.split(",")
                network.slow.update(dict.fromkeys(names, int(fault.detail)))
                return partial(self._hurry, names)
            case "loss":
                before, network.loss = network.loss, float(fault.detail)
                return partial(self._restore_loss, before)
            case "repeated-commands":
                network.repeats = float(fault.detail)
                return partial(setattr, network, "repeats", 0.0)
            case _:
                return network.cut(self._pairs(fault)).end

    def _restore_loss(self, before: float) -> None:
        self.deployment.network.loss = before
        self.lossy_until = self.deployment.world.now

    def _hurry(self, names: list[str]) -> None:
        for name in names:
            self.deployment.network.slow.pop(name, None)

    def _pairs(self, fault: Fault) -> set[tuple[str, str]]:
        if fault.kind in {"cut-one-way", "cut-pair"}:
            one, other = fault.target.split(",")
            return {(one, other)} | ({(other, one)} if fault.kind == "cut-pair" else set())
        side = set(fault.target.split(","))
        if "primary" in side:
            instance = self._instance("primary")
            side = {instance.name} if instance is not None else set()
        return self._around(side)

    def _around(self, side: set[str]) -> set[tuple[str, str]]:
        deployment = self.deployment
        users = [client.name for client in deployment.clients]
        # Clients live with the Sentinels, not with the instances: they are cut off from a side
        # as everybody else is.
        others = set(deployment.processes()) - side | set(users) | {"endpoint:1"}
        return {(a, b) for a in side for b in others} | {(b, a) for a in side for b in others}

    def _swizzle(self, fault: Fault) -> Deed:
        """Cut processes off one after the other, and let them back in another order."""
        world, network = self.deployment.world, self.deployment.network
        there, back = fault.target.split(","), fault.detail.split(",")
        step = max(1, fault.duration // (len(there) + len(back)))
        cuts: dict[str, Cut] = {}
        is_over = False

        def cut(name: str) -> None:
            if not is_over:
                cuts[name] = network.cut(self._around({name}))
                self.disturbed_at = world.now

        def mend(name: str) -> None:
            if name in cuts:
                cuts.pop(name).end()
                self.disturbed_at = world.now

        def end() -> None:
            nonlocal is_over
            is_over = True
            for name in list(cuts):
                mend(name)

        for number, name in enumerate(there):
            world.after(number * step, partial(cut, name))
        for number, name in enumerate(back):
            world.after((len(there) + number) * step, partial(mend, name))
        return end

    # Targets.

    def _instance(self, name: str) -> SimInstance | None:
        if name == "primary":
            named = self.deployment.named_primary()
            primaries = self.deployment.primaries()
            first = primaries[0] if primaries else None
            return self.deployment.instances.get(named, first) if named is not None else first
        found = self.deployment.processes().get(name)
        return found if isinstance(found, SimInstance) else None

    def _sentinel(self, name: str) -> Watcher:
        return next(one for one in self.deployment.sentinels.values() if one.name == name)
