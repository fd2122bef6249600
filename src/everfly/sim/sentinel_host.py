"""A Sentinel process around the real core: links, a disk that takes time, crashes and restarts.

It does what `runtime.driver`, `runtime.executor` and `runtime.link` do, over simulated connections.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from everfly.core import inputs
from everfly.core.effects import (
    Answer,
    Ask,
    Command,
    Connect,
    Crash,
    Disconnect,
    Effect,
    Notify,
    PauseWrites,
    Persist,
    Purpose,
    Reconfigure,
    ResumeWrites,
    SendHello,
    SendInfo,
    SendPing,
    SendScriptKill,
    TakeOver,
    Vote,
)
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import Address, Hello, Instant, LinkId, RunId, Token
from everfly.core.notices import Level
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState
from everfly.sim.instance import SimInstance
from everfly.sim.network import Connection, Network
from everfly.sim.world import Kind, World


@dataclass(slots=True, eq=False)
class SimSentinel:
    """One Sentinel: its durable state, and the machine while it runs."""

    world: World
    network: Network
    address: Address
    disk: DurableState
    instances: dict[Address, SimInstance]
    sentinels: "dict[Address, SimSentinel]"
    observe: "Callable[[SimSentinel, Effect], None]"
    make_policy: Callable[[], Policy] = Policy
    disk_ms: tuple[int, int] = (1, 5)
    name: str = field(init=False)
    is_running: bool = field(default=False, init=False)
    is_paused: bool = field(default=False, init=False)
    connections: dict[Connection, None] = field(default_factory=dict, init=False)
    machine: Machine | None = field(default=None, init=False)
    steps: int = field(default=0, init=False)
    dice: random.Random = field(init=False)
    _links: dict[LinkId, Connection | None] = field(default_factory=dict, init=False)
    _inbox: deque[Callable[[], None]] = field(default_factory=deque, init=False)
    _life: int = field(default=0, init=False)
    _unwritten: int = field(default=0, init=False)
    _written: int = field(default=0, init=False)
    _held: deque[tuple[int, Effect]] = field(default_factory=deque, init=False)
    _timer: int | None = field(default=None, init=False)
    _askers: dict[Token, Callable[[Vote], None]] = field(default_factory=dict, init=False)
    _tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.name = f"sentinel:{self.address.port}"
        self.dice = self.world.dice(self.name)

    @property
    def run_id(self) -> RunId:
        """Its name for life."""
        return self.disk.me

    # Life and death.

    def start(self) -> None:
        """Start from what is on disk."""
        self._life += 1
        self.is_running = True
        self.is_paused = False
        self._unwritten = self._written = 0
        self.machine = Machine(
            self.disk,
            port=self.address.port,
            dice=random.Random(self.dice.random()),  # noqa: S311 - reproducible on purpose
            policy=self.make_policy(),
        )
        self.world.mark(self.name, "started", Kind.LIFE)
        self._carry_out(self.machine.start(Instant(self.world.now)))
        self._arm()

    def crash(self) -> None:
        """SIGKILL: what is not on disk is gone."""
        if not self.is_running:
            return
        self.world.mark(self.name, "crashed", Kind.LIFE)
        self.is_running = self.is_paused = False
        self._life += 1
        self.machine = None
        self._inbox.clear()
        self._held.clear()
        self._links.clear()
        self._askers.clear()
        self._timer = None
        for connection in list(self.connections):
            connection.close(self)

    def pause(self) -> None:
        """SIGSTOP, or a virtual machine that is not scheduled."""
        if self.is_running and not self.is_paused:
            self.world.mark(self.name, "paused", Kind.LIFE)
            self.is_paused = True

    def resume(self) -> None:
        """SIGCONT: first what arrived meanwhile, then the timer, as the driver does it."""
        if not self.is_paused:
            return
        self.world.mark(self.name, "resumed", Kind.LIFE)
        self.is_paused = False
        while self._inbox and not self.is_paused:
            self._inbox.popleft()()
        self._timer = None
        self._arm()

    def deliver(self, what: Callable[[], None]) -> None:
        """Take something off the wire."""
        if not self.is_running:
            return
        if self.is_paused:
            self._inbox.append(what)
        else:
            what()

    # The driver.

    def request(self, make: Callable[[Token], Input]) -> None:
        """Enter a request of an operator, whose answer nobody waits for."""
        self._tokens += 1
        self.step(make(Token(self._tokens)))

    def step(self, fact: Input) -> None:
        """Feed one input to the core."""
        if self.machine is None:
            return
        self.steps += 1
        self._carry_out(self.machine.step(Instant(self.world.now), fact))
        self._arm()

    def _arm(self) -> None:
        if self.machine is None:
            return
        at = self.machine.next_deadline()
        if at is None or (self._timer is not None and self._timer <= at):
            return
        self._timer = at
        life = self._life
        self.world.at(at, lambda: self._on_timer(life, at))

    def _on_timer(self, life: int, at: int) -> None:
        if life != self._life or self._timer != at or self.is_paused:
            return
        self._timer = None
        self.step(inputs.TimerExpired())

    # The executor.

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                self._persist()
            elif effect.after_durable and self._unwritten > self._written:
                self._held.append((self._unwritten, effect))
            else:
                self._do(effect)

    def _persist(self) -> None:
        assert self.machine is not None
        self._unwritten += 1
        ticket, life, state = self._unwritten, self._life, self.machine.durable_state()

        def written() -> None:
            if life != self._life or ticket <= self._written:
                # A later write, which holds more, was faster.
                return
            self.disk = state
            self._written = ticket
            while self._held and self._held[0][0] <= self._written and life == self._life:
                self._do(self._held.popleft()[1])

        delay = self.dice.randint(*self.disk_ms)
        self.world.after(delay, lambda: self._when_awake(life, written))

    def _when_awake(self, life: int, what: Callable[[], None]) -> None:
        if life != self._life:
            return
        if self.is_paused:
            self._inbox.append(what)
        else:
            what()

    def _do(self, effect: Effect) -> None:
        self.observe(self, effect)
        match effect:
            case Connect():
                self._connect(effect)
            case Disconnect():
                connection = self._links.pop(effect.link, None)
                if connection is not None:
                    connection.close(self)
            case Notify():
                notice = effect.notice
                if notice.event.level is not Level.DEBUG:
                    self.world.mark(self.name, f"{notice.event.wire} {notice.payload}", Kind.NOTICE)
            case Answer(token=token, result=Vote() as result) if token in self._askers:
                self._askers.pop(token)(result)
            case Crash():
                self.crash()
            case (
                SendPing()
                | SendInfo()
                | SendHello()
                | SendScriptKill()
                | Ask()
                | Reconfigure()
                | TakeOver()
                | PauseWrites()
                | ResumeWrites()
            ):
                self._send(effect)
            case _:
                pass

    # Links.

    def _connect(self, effect: Connect) -> None:
        target = self.instances.get(effect.to) or self.sentinels.get(effect.to)
        link, life = effect.link, self._life

        def on_lost(reason: str, is_refusal: bool) -> None:
            if life == self._life and self._links.pop(link, self) is not self:
                self.step(inputs.LinkLost(link, reason, is_refusal))

        def on_up(connection: Connection) -> None:
            if life != self._life or link not in self._links:
                connection.close(self)
                return
            self._links[link] = connection
            if effect.purpose is Purpose.CHANNEL:
                self._subscribe(link, connection)
            self.step(inputs.Connected(link, self.address.host))

        self._links[link] = None
        if target is None:
            self.world.after(1, lambda: on_lost("No route to host", False))
            return
        self.network.connect(self, target, on_up, on_lost)

    def _subscribe(self, link: LinkId, connection: Connection) -> None:
        instance = self.instances[connection.target.address]  # type: ignore[attr-defined] # an instance

        def hear(hello: object) -> None:
            assert isinstance(hello, Hello)
            mine = hello.sender_run_id == self.run_id
            fact = inputs.ChannelHeard(link) if mine else inputs.HelloHeard(link, hello)
            connection.send(instance, lambda: self.step(fact), hello)

        connection.send(self, lambda: instance.subscribers.__setitem__(connection, hear))

    def _send(self, effect: Command) -> None:
        connection = self._links.get(effect.link)
        if connection is None:
            return
        target = connection.target
        if isinstance(target, SimSentinel):
            connection.send(self, lambda: target.serve(effect, self, connection), effect)
        else:
            assert isinstance(target, SimInstance)
            connection.send(self, lambda: self._serve_instance(effect, target, connection), effect)

    def _serve_instance(  # noqa: C901 - a case for each command
        self, effect: Effect, instance: SimInstance, connection: Connection
    ) -> None:
        """Do what an instance does with a command of ours, and send its reply."""
        match effect:
            case SendPing(link):
                reply: Input = inputs.Ponged(link, "PONG")
            case SendInfo(link):
                reply = inputs.InfoReceived(link, instance.report())
            case SendHello(link, hello):
                for subscriber, hear in list(instance.subscribers.items()):
                    if subscriber.is_open:
                        hear(hello)
                    else:
                        del instance.subscribers[subscriber]
                reply = inputs.HelloSent(link)
            case Reconfigure():
                self.world.mark(
                    self.name, f"reconfigures {instance.name} epoch {effect.epoch}", Kind.DECISION
                )
                instance.slaveof(effect.follow)
                reply = inputs.Reconfigured(effect.link)
            case TakeOver():
                reply = self._take_over(effect, instance)
            case PauseWrites(link, limit):
                instance.pause_writes(limit)
                reply = inputs.PauseAnswered(link, is_paused=True)
            case ResumeWrites(link):
                instance.pause_writes(0)
                reply = inputs.PauseAnswered(link, is_paused=False)
            case SendScriptKill(link):
                reply = inputs.ScriptKilled(link)
            case _:
                raise AssertionError(effect)
        connection.send(instance, lambda: self.step(reply), reply)

    def _take_over(self, effect: TakeOver, replica: SimInstance) -> Input:
        """Carry out REPLTAKEOVER."""
        primary = None if replica.follows is None else self.instances.get(replica.follows)
        if primary is not None and primary.hand_over_to(replica):
            return inputs.TakeOverAnswered(effect.link)
        return inputs.TakeOverAnswered(effect.link, "Couldn't execute takeover")

    def serve(self, effect: Effect, asker: "SimSentinel", connection: Connection) -> None:
        """Do what a Sentinel does with a command of another one, and send the reply."""
        match effect:
            case SendPing(link):
                connection.send(self, lambda: asker.step(inputs.Ponged(link, "PONG")))
            case SendHello(link, hello):
                self.step(inputs.HelloHeard(None, hello))
                connection.send(self, lambda: asker.step(inputs.HelloSent(link)))
            case Ask(link, group, primary, epoch, candidate):
                self._tokens += 1
                token = Token(self._tokens)
                self._askers[token] = lambda vote: connection.send(
                    self,
                    lambda: asker.step(
                        inputs.AskReplied(link, group, vote.is_down, vote.leader, vote.leader_epoch)
                    ),
                )
                self.step(inputs.VoteRequested(token, primary, epoch, candidate))
            case _:
                raise AssertionError(effect)
