"""The life of one Sentinel's core in a test: a group that answers, and a primary that dies.

`Life` feeds a machine as its shell would, on a clock of its own; nothing is random but its dice.
"""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from everfly.core import inputs
from everfly.core.effects import Connect, Effect, Reconfigure, SendHello, SendInfo, SendPing
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import (
    Address,
    Engine,
    GroupName,
    InstanceReport,
    Instant,
    LinkId,
    Millis,
    Role,
    RunId,
)
from everfly.core.policy import GroupSettings, Policy
from everfly.core.snapshot import DurableState, GroupState
from everfly.runtime.driver import Decider
from everfly.runtime.recorder import Beginning, Plan, RecordedMachine

ME: Final = RunId("5" * 40)
PRIMARY: Final = Address("10.0.0.1", 6379)
REPLICA: Final = Address("10.0.0.2", 6379)
GROUP: Final = GroupName("cache")
SETTINGS: Final = GroupSettings(quorum=1, down_after=Millis(1_000), failover_timeout=Millis(4_000))
STATE: Final = DurableState(ME, groups=(GroupState(GROUP, PRIMARY, SETTINGS),))
SEED: Final = 4711
BEGAN: Final = Instant(1_000_000)
LIMIT: Final = 1 << 24


def recorded(path: Path, *, limit: int = LIMIT, secrets: tuple[str, ...] = ()) -> RecordedMachine:
    """Return a fresh machine that is recorded."""
    policy = Policy()
    beginning = Beginning(STATE, 26379, SEED, policy)
    machine = Machine(STATE, port=26379, dice=random.Random(SEED), policy=policy)
    return RecordedMachine(beginning, machine, Plan(path, limit, lambda: secrets))


@dataclass
class Life:
    """What goes on around a machine."""

    machine: Decider
    dies_at: int
    """When the primary stops to answer, in ms after the beginning."""
    now: Instant = BEGAN
    decided: list[Effect] = field(default_factory=list)
    _coming: list[tuple[int, int, Callable[[], Input]]] = field(default_factory=list)
    _count: int = 0
    _links: dict[LinkId, Address] = field(default_factory=dict)
    _primary: Address = PRIMARY

    def until(self, end_ms: int) -> "Life":
        """Live on to this many ms after the beginning."""
        if not self.decided:
            self.take(self.machine.start(self.now))
        end = BEGAN + end_ms
        while (at := min(self._next(), end)) < end:
            self.now = Instant(max(self.now, at))
            if self._coming and self._coming[0][0] <= self.now:
                self.take(self.machine.step(self.now, heapq.heappop(self._coming)[2]()))
            else:
                self.take(self.machine.step(self.now, inputs.TimerExpired()))
        self.now = Instant(end)
        return self

    def take(self, effects: list[Effect]) -> None:
        """Answer as the group would."""
        self.decided += effects
        for effect in effects:
            for delay, answer in self._answers(effect):
                self._count += 1
                heapq.heappush(self._coming, (self.now + delay, self._count, answer))

    def _next(self) -> int:
        deadline = self.machine.next_deadline()
        times = [at for at, _, _ in self._coming[:1]]
        return min([*times, *([] if deadline is None else [deadline])])

    def _answers(self, effect: Effect) -> Iterator[tuple[int, Callable[[], Input]]]:
        if isinstance(effect, Connect):
            self._links[effect.link] = effect.to
            link = effect.link
            yield 1, lambda: inputs.Connected(link, "10.0.1.1")
        elif isinstance(effect, SendPing | SendInfo | SendHello | Reconfigure):
            if self._links[effect.link] == PRIMARY and self.now - BEGAN >= self.dies_at:
                return
            yield 2, lambda: self._answer(effect)

    def _answer(self, effect: SendPing | SendInfo | SendHello | Reconfigure) -> Input:
        place = self._links[effect.link]
        match effect:
            case SendPing(link=link):
                return inputs.Ponged(link, "PONG")
            case SendInfo(link=link):
                return inputs.InfoReceived(link, self._report(place))
            case SendHello(link=link):
                return inputs.HelloSent(link)
            case Reconfigure(link=link):
                self._primary = place if effect.follow is None else self._primary
                return inputs.Reconfigured(link)

    def _report(self, place: Address) -> InstanceReport:
        history = "h" * 40
        run_id = f"{place.host:>040}".replace(".", "0")
        if place == self._primary:
            others = (REPLICA,) if place == PRIMARY else ()
            return InstanceReport(
                role=Role.PRIMARY,
                engine=Engine.VALKEY,
                run_id=run_id,
                history=history,
                offset=100,
                replicas=others,
            )
        return InstanceReport(
            role=Role.REPLICA,
            engine=Engine.VALKEY,
            run_id=run_id,
            history=history,
            offset=100,
            primary=self._primary,
            primary_link_up=True,
        )
