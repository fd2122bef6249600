"""What people do to a deployment, at bad moments: commands to Sentinels, FAILOVER of the engine.

The rules make allowance for some of it, so it is written down here who was told what: a Sentinel
that was told to fail over asks nobody, one that was told to forget counts by what it knows.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from everfly.core.inputs import (
    FailoverRequested,
    FailureSimulationRequested,
    MonitorRequested,
    RemoveRequested,
    ResetRequested,
    SettingsChanged,
)
from everfly.core.model import Engine, Epoch, RunId, Token
from everfly.sim.cluster import GROUP, Deployment
from everfly.sim.faults import Fault
from everfly.sim.instance import SimInstance
from everfly.sim.network import Deed
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.watcher import Watcher

ENGINE_FAILOVER_MS: Final = 5_000
"""How long the engine's own FAILOVER tries."""
LATE_CRASH_MS: Final = 5_000
"""A disk takes no longer, unless it fails."""
MONITOR_AGAIN_MS: Final = 500
"""Somebody waits for a Sentinel that is down to come back."""


@dataclass(slots=True, eq=False)
class Operator:
    """Somebody with access to everything, and without patience."""

    deployment: Deployment
    forced: set[tuple[RunId, Epoch]] = field(default_factory=set)
    """Failovers that a Sentinel began because it was told to."""
    forgetful: dict[RunId, int] = field(default_factory=dict)
    """Sentinels that were told to forget, and when last."""
    quorums: dict[RunId, int] = field(default_factory=dict)
    has_failed_over_by_engine: bool = False

    def act(self, fault: Fault, sentinel: Watcher) -> Deed | None:
        """Do what a fault says; return what undoes it, or None."""
        if not isinstance(sentinel, SimSentinel):
            return None
        match fault.kind:
            case "failover-command" | "switchover-command":
                is_switchover = fault.kind == "switchover-command"
                self._fail_over(sentinel, is_switchover=is_switchover)
                return None
            case "reset":
                self.forgetful[sentinel.run_id] = self.deployment.world.now
                sentinel.request(lambda token: ResetRequested(token, (GROUP,)))
                return None
            case "set-quorum":
                return self._set_quorum(sentinel, int(fault.detail))
            case "monitor-again":
                return self._monitor_again(sentinel)
            case "crash-on-purpose":
                sentinel.request(partial(self._crash, fault.detail))
                return partial(self._end_crash, sentinel)
            case _:
                raise AssertionError(fault)

    @staticmethod
    def _crash(when: str, token: Token) -> FailureSimulationRequested:
        return FailureSimulationRequested(
            token, when == "after-election", when == "after-promotion"
        )

    def _end_crash(self, sentinel: SimSentinel) -> None:
        if sentinel.is_running:
            # Whoever is stopped reads it when it goes on. It may end all the same: what is decided
            # waits for the disk.
            sentinel.deliver(lambda: sentinel.request(partial(self._crash, "")))
            world = self.deployment.world
            world.after(LATE_CRASH_MS, lambda: sentinel.start() if sentinel.has_exited else None)
        else:
            sentinel.start()

    def _fail_over(self, sentinel: SimSentinel, *, is_switchover: bool) -> None:
        before = sentinel.machine.current_epoch if sentinel.machine else Epoch(0)
        sentinel.request(lambda token: FailoverRequested(token, GROUP, is_switchover=is_switchover))
        after = sentinel.machine.current_epoch if sentinel.machine else Epoch(0)
        if after > before:
            self.forced.add((sentinel.run_id, after))

    def _set_quorum(self, sentinel: SimSentinel, quorum: int) -> Deed:
        settings = replace(self.deployment.group_settings(), quorum=quorum)

        def set_to(value: int) -> None:
            self.quorums[sentinel.run_id] = value
            changed = replace(settings, quorum=value)
            sentinel.request(
                lambda token: SettingsChanged(token, GROUP, changed, (("quorum", str(value)),))
            )

        set_to(quorum)
        # Whoever is stopped reads it when it goes on.
        return lambda: sentinel.deliver(partial(set_to, self.deployment.shape.quorum))

    def _monitor_again(self, sentinel: SimSentinel) -> Deed:
        """REMOVE now, MONITOR later: at the address that the others name."""
        self.forgetful[sentinel.run_id] = self.deployment.world.now
        sentinel.request(lambda token: RemoveRequested(token, GROUP))

        def monitor() -> None:
            if not sentinel.is_running or sentinel.is_paused:
                self.deployment.world.after(MONITOR_AGAIN_MS, monitor)
                return
            if sentinel.announcement(GROUP) is not None:
                return
            named = self.deployment.named_primary()
            at = named or next(iter(self.deployment.instances))
            settings = self.deployment.group_settings()
            self.forgetful[sentinel.run_id] = self.deployment.world.now
            self.quorums.pop(sentinel.run_id, None)
            sentinel.request(lambda token: MonitorRequested(token, GROUP, at, settings))

        return monitor

    def fail_over_by_engine(self, primary: SimInstance) -> None:
        """FAILOVER, at a primary: pause writes, wait for a replica, swap roles. No Sentinel knows.

        Source: `failoverCommand`, redis/src/replication.c (7.0.15).
        """
        followers = [one for one in primary.replication.followers.items() if one[0].is_open]
        if primary.follows is not None or not followers or primary.engine is Engine.DRAGONFLY:
            return
        connection, (replica, _) = followers[0]
        self.has_failed_over_by_engine = True
        life = primary.life
        primary.pause_writes(ENGINE_FAILOVER_MS)

        def swap() -> None:
            is_in_time = life == primary.life and primary.world.now < primary.pause_until
            # Whose replica is lost meanwhile stays what it is.
            if is_in_time and connection.is_open:
                told = partial(replica.slaveof, None, lambda _: None)
                connection.send(primary, told, "PSYNC FAILOVER")
                primary.slaveof(replica.address, lambda _: None)

        primary.replication.ask_for_all(replica, swap)
