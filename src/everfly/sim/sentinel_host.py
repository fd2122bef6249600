"""A Sentinel process around the real core: a clock, a disk, links, crashes and restarts.

It does what `runtime.driver` and `runtime.executor` do, over simulated connections (`links`) and a
simulated disk (`disk`).
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from everfly.core import inputs
from everfly.core.effects import (
    Answer,
    Ask,
    Connect,
    Crash,
    Disconnect,
    Effect,
    Explain,
    Notify,
    PauseWrites,
    Persist,
    Reconfigure,
    ResumeWrites,
    SendHello,
    SendInfo,
    SendPing,
    SendScriptKill,
    TakeOver,
)
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import Address, Epoch, GroupName, Hello, Instant, RunId, Token
from everfly.core.notices import Event, Level
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState
from everfly.sim import links
from everfly.sim.disk import Disk, Outlets
from everfly.sim.network import Connection, Deed, Network
from everfly.sim.stopping import Stoppable
from everfly.sim.watcher import Announcement
from everfly.sim.world import Kind, World

_SENT: Final = (
    SendPing,
    SendInfo,
    SendHello,
    SendScriptKill,
    Ask,
    Reconfigure,
    TakeOver,
    PauseWrites,
    ResumeWrites,
)


@dataclass(frozen=True, slots=True)
class Habits:
    """What all Sentinels of a world are like."""

    make_policy: Callable[[], Policy] = Policy
    disk_ms: tuple[int, int] = (1, 5)
    speaks_text: bool = False
    """Hellos go through the real format and parser."""


@dataclass(slots=True, eq=False)
class SimSentinel(Stoppable):
    """One Sentinel: its disk, and the machine while it runs."""

    world: World
    network: Network
    address: Address
    first_state: DurableState
    observe: "Callable[[SimSentinel, Effect], None]"
    habits: Habits = field(default_factory=Habits)
    name: str = field(init=False)
    is_genuine: bool = field(default=False, init=False)
    is_running: bool = field(default=False, init=False)
    is_paused: bool = field(default=False, init=False)
    connections: dict[Connection, None] = field(default_factory=dict, init=False)
    machine: Machine | None = field(default=None, init=False)
    disk: Disk = field(init=False)
    links: "links.Links" = field(init=False)
    steps: int = field(default=0, init=False)
    """Of the core, in all lives."""
    effects: int = field(default=0, init=False)
    life: int = field(default=0, init=False)
    has_exited: bool = field(default=False, init=False)
    """It ended by itself, as SIMULATE-FAILURE has it do."""
    clock_ahead: int = field(default=0, init=False)
    """How far this process's monotonic clock has jumped, as after a suspended machine."""
    subscribers: "dict[Connection, Callable[[Announcement], None]]" = field(
        default_factory=dict, init=False
    )
    """Who hears +switch-master."""
    _dice: random.Random = field(init=False)
    _inbox: deque[Deed] = field(default_factory=deque, init=False)
    _timer: int | None = field(default=None, init=False)
    _askers: dict[Token, Callable[[Answer | None], None]] = field(default_factory=dict, init=False)
    _tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.name = f"sentinel:{self.address.port}"
        self._dice = self.world.dice(self.name)
        self.network.hosts[self.address] = self
        self.links = links.Links(self)
        self.disk = Disk(
            self.world,
            self.world.dice(f"disk:{self.name}"),
            self.first_state,
            self.habits.disk_ms,
        )

    @property
    def run_id(self) -> RunId:
        """Its name for life."""
        return self.first_state.me

    @property
    def now(self) -> Instant:
        """What its clock says."""
        return Instant(self.world.now + self.clock_ahead)

    # Life and death.

    def start(self) -> None:
        """Start from what is on disk."""
        self.life += 1
        self.is_running = True
        self.is_paused = self.has_exited = False
        self.disk.open(
            Outlets(self._durable_state, self._do, self._refuse, self._when_awake(self.life))
        )
        machine = self.machine = Machine(
            self.disk.content,
            port=self.address.port,
            dice=random.Random(self._dice.random()),  # noqa: S311 - reproducible on purpose
            policy=self.habits.make_policy(),
        )
        self.world.mark(self.name, "started", Kind.LIFE)
        self._carry_out(machine.start(self.now))
        self._arm()

    def crash(self) -> None:
        """SIGKILL: what is not on disk is gone."""
        self.has_exited = False
        if not self.is_running:
            return
        self.world.mark(self.name, "crashed", Kind.LIFE)
        self.is_running = self.is_paused = False
        self.life += 1
        self.machine = None
        self._inbox.clear()
        self.disk.crash()
        self.links.clear()
        self._askers.clear()
        self.subscribers.clear()
        self._timer = None
        for connection in list(self.connections):
            connection.close(self)

    def jump(self, ahead: int) -> None:
        """Have its clock leap: all that it waits for is due."""
        if self.is_running:
            self.world.mark(self.name, f"clock leaps {ahead} ms ahead", Kind.LIFE)
            self.clock_ahead += ahead
            self._timer = None
            self._arm()

    def _go_on(self) -> None:
        # First what arrived meanwhile, then the timer, as the driver does it.
        self._timer = None
        self._arm()

    def _when_awake(self, life: int) -> Callable[[Deed], None]:
        def run(what: Deed) -> None:
            if life == self.life:
                self.deliver(what)

        return run

    # The driver.

    def request(
        self, make: Callable[[Token], Input], then: Callable[[Answer | None], None] | None = None
    ) -> None:
        """Enter a request; `then` hears its answer, or None when the disk refused it."""
        self._tokens += 1
        token = Token(self._tokens)
        if then is not None:
            self._askers[token] = then
        self.step(make(token))

    def step(self, fact: Input) -> None:
        """Feed one input to the core."""
        machine = self.machine
        if machine is None:
            return
        self.steps += 1
        effects = machine.step(Instant(self.world.now + self.clock_ahead), fact)
        if effects:
            self._carry_out(effects)
        self._arm()

    def _arm(self) -> None:
        if self.machine is None:
            return
        deadline = self.machine.next_deadline()
        if deadline is None:
            return
        at = deadline - self.clock_ahead
        if self._timer is not None and self._timer <= at:
            return
        self._timer = at
        life = self.life
        self.world.at(at, lambda: self._on_timer(life, at))

    def _on_timer(self, life: int, at: int) -> None:
        if life != self.life or self._timer != at or self.is_paused:
            return
        self._timer = None
        machine = self.machine
        if machine is not None:
            deadline = machine.next_deadline()
            # Deadlines mostly move away. A timer that is too early just looks again.
            if deadline is not None and deadline <= self.world.now + self.clock_ahead:
                self.step(inputs.TimerExpired())
            else:
                self._arm()

    # The executor.

    def _carry_out(self, effects: list[Effect]) -> None:
        self.effects += len(effects)
        disk = self.disk
        for effect in effects:
            if isinstance(effect, Persist):
                disk.persist(is_urgent=effect.is_urgent)
            elif not (effect.after_durable and disk.holds(effect)):
                self._do(effect)
        disk.end_turn()

    def _durable_state(self) -> DurableState:
        assert self.machine is not None, "only a running process writes"
        return self.machine.durable_state()

    def _do(self, effect: Effect) -> None:
        kind = type(effect)
        if kind is SendPing or kind is SendInfo:
            # Most of all effects, and no rule is about them.
            self.links.send(effect)  # type: ignore[arg-type] # mypy does not narrow by identity
            return
        if isinstance(effect, _SENT):
            if isinstance(effect, Reconfigure | TakeOver) and self._is_fenced(effect):
                return
            self.observe(self, effect)
            self.links.send(effect)
            return
        self.observe(self, effect)
        match effect:
            case Connect():
                self.links.connect(effect)
            case Disconnect():
                self.links.close(effect.link)
            case Notify():
                self._notify(effect)
            case Explain():
                told = "; ".join((effect.decision, *effect.facts))
                self.world.mark(self.name, told, Kind.DECISION)
            case Answer() if effect.token in self._askers:
                self._askers.pop(effect.token)(effect)
            case Crash():
                self.crash()
                self.has_exited = True
            case _:
                pass

    def _is_fenced(self, effect: Reconfigure | TakeOver) -> bool:
        newest = self.disk.epochs.get(effect.group, Epoch(0))
        if effect.epoch >= newest:
            return False
        reason = f"fenced: epoch {effect.epoch} is older than {newest}"
        fact = inputs.Reconfigured if isinstance(effect, Reconfigure) else inputs.TakeOverAnswered
        self.world.mark(self.name, f"an order of its own is {reason}", Kind.DECISION)
        # As the executor submits it: a later input, not part of this step.
        link, life = effect.link, self.life
        self.world.after(0, lambda: self._when_awake(life)(lambda: self.step(fact(link, reason))))
        return True

    def _notify(self, effect: Notify) -> None:
        notice = effect.notice
        if notice.event.level is not Level.DEBUG:
            self.world.mark(self.name, f"{notice.event.wire} {notice.payload}", Kind.NOTICE)
        if notice.event is Event.SWITCH:
            said = None if notice.group is None else self.announcement(notice.group)
            for connection, hear in list(self.subscribers.items()):
                if said is not None:
                    connection.send(self, partial(hear, said), "+switch-master")

    def _refuse(self, effect: Effect) -> None:
        """Answer what is dropped as if it had been sent and refused."""
        life = self.life
        match effect:
            case Answer():
                asker = self._askers.pop(effect.token, None)
                if asker is not None:
                    asker(None)
            case SendHello(link=link):
                fact: Input = inputs.HelloSent(link)
                self.world.after(0, lambda: self._when_awake(life)(lambda: self.step(fact)))
            case Ask(link=link):
                fact = inputs.CommandRefused(link, "waited too long for disk")
                self.world.after(0, lambda: self._when_awake(life)(lambda: self.step(fact)))
            case _:
                raise AssertionError(effect)

    # What others ask.

    def ping(self) -> str:
        """PING."""
        return "PONG"

    def hear(self, hello: Hello) -> None:
        """PUBLISH of a peer's hello to us directly."""
        self.step(inputs.HelloHeard(None, links.resolved_hello(self.network, hello)))

    def vote(
        self,
        primary: Address,
        epoch: Epoch,
        candidate: RunId | None,
        then: Callable[[Answer | None], None],
    ) -> None:
        """SENTINEL is-master-down-by-addr; `then` hears a `Vote`, or None when refused."""
        self.request(lambda token: inputs.VoteRequested(token, primary, epoch, candidate), then)

    def announcement(self, group: GroupName) -> Announcement | None:
        """SENTINEL MASTER: the primary in effect and its config epoch; None: no such group."""
        machine = self.machine
        if machine is None:
            return None
        view = machine.group_view(self.now, group)
        return None if view is None else Announcement(view.current_address, view.config_epoch)

    def knows(self, group: GroupName, instance: Address) -> bool:
        """SENTINEL MASTER and SENTINEL REPLICAS."""
        view = self.machine.group_view(self.now, group) if self.machine is not None else None
        return view is not None and any(
            one.address == instance for one in (view.primary, *view.replicas)
        )
