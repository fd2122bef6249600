"""The links of a simulated Sentinel: commands of the core over connections, replies as inputs.

It does what `runtime.link` does: each command is answered by one reply, or its link is lost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from everfly.core import inputs
from everfly.core.effects import (
    Answer,
    Ask,
    Command,
    Connect,
    PauseWrites,
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
from everfly.core.model import Hello, InstanceReport, LinkId
from everfly.sim.instance import SimInstance
from everfly.sim.network import REPEAT_AFTER_MS, Connection, Network
from everfly.sim.takeover import take_over
from everfly.sim.world import Kind
from everfly.wire.hello import format_hello, parse_hello

if TYPE_CHECKING:
    from everfly.sim.sentinel_host import SimSentinel
    from everfly.sim.watcher import Watcher


@dataclass(slots=True, eq=False)
class Links:
    """All links of one Sentinel."""

    me: "SimSentinel"
    pending_max: int = 0
    """The most commands that ever awaited an answer on one link."""
    _open: dict[LinkId, Connection | None] = field(default_factory=dict)
    _pending: dict[LinkId, int] = field(default_factory=dict)
    _holding: set[LinkId] = field(default_factory=set)
    """Links over which an instance has told that it holds its clients' writes."""

    def clear(self) -> None:
        """Forget all: the process has ended."""
        self._open.clear()
        self._pending.clear()
        self._holding.clear()

    def connect(self, effect: Connect) -> None:
        """Open a link."""
        me = self.me
        link, life = effect.link, me.life

        def on_lost(reason: str, is_refusal: bool) -> None:
            if life == me.life and link in self._open:
                del self._open[link]
                self._pending.pop(link, None)
                me.step(inputs.LinkLost(link, reason, is_refusal))

        def on_up(connection: Connection) -> None:
            if life != me.life or link not in self._open:
                connection.close(me)
                return
            self._open[link] = connection
            if effect.purpose is Purpose.CHANNEL:
                self._subscribe(link, connection)
            me.step(inputs.Connected(link, me.address.host))

        self._open[link] = None
        resolved = me.network.resolve(effect.to)
        if (resolved.ip or resolved.host) != (effect.to.ip or effect.to.host):
            moved = inputs.HostResolved(resolved.host, resolved.ip)
            me.world.after(0, partial(me.deliver, partial(me.step, moved)))
        me.network.connect(me, effect.to, on_up, on_lost)

    def close(self, link: LinkId) -> None:
        """Close a link."""
        connection = self._open.pop(link, None)
        self._pending.pop(link, None)
        if connection is not None:
            connection.close(self.me)

    def is_holding(self, link: LinkId) -> bool:
        """Whether it is known here that the instance at the end of a link holds writes."""
        return link in self._holding and self._open.get(link) is not None

    def far_end(self, link: LinkId) -> SimInstance | None:
        """Return the instance that reads what is sent over a link; None: none does.

        It is the one that the connection was opened to, whoever has its address now.
        """
        connection = self._open.get(link)
        target = None if connection is None else connection.target
        return target if isinstance(target, SimInstance) else None

    def send(self, effect: Command) -> None:
        """Send a command, if its link is still there."""
        connection = self._open.get(effect.link)
        if connection is None:
            return
        me = self.me
        link = effect.link
        pending = self._pending[link] = self._pending.get(link, 0) + 1
        self.pending_max = max(self.pending_max, pending)
        target = connection.target
        serve: Callable[[], None]
        if isinstance(target, SimInstance):
            serve = partial(self._serve_instance, effect, target, connection)
        else:
            peer: Watcher = target  # type: ignore[assignment] # links lead to these two only
            serve = partial(self._serve_peer, effect, peer, connection)
        connection.send(me, serve, effect)
        if me.network.is_repeated():
            again = partial(self._serve_again, effect, connection)
            me.world.after(int(me.network.dice.random() * REPEAT_AFTER_MS), again)

    def _serve_again(self, effect: Command, connection: Connection) -> None:
        """Have a command executed a second time; its reply leads nowhere."""
        target = connection.target
        if not isinstance(target, SimInstance):
            return
        if isinstance(effect, Reconfigure):
            again = partial(target.slaveof, effect.follow, lambda _: None)
            connection.send(self.me, again, f"again {effect}")
        elif isinstance(effect, SendHello):
            connection.send(self.me, partial(target.publish, effect.hello), f"again {effect}")

    def _subscribe(self, link: LinkId, connection: Connection) -> None:
        me = self.me
        instance = connection.target
        assert isinstance(instance, SimInstance), "channels are of instances"

        def hear(hello: Hello) -> None:
            if me.habits.speaks_text:
                hello = parse_hello(format_hello(hello))
            hello = resolved_hello(me.network, hello)
            mine = hello.sender_run_id == me.run_id
            fact = inputs.ChannelHeard(link) if mine else inputs.HelloHeard(link, hello)
            connection.send(instance, partial(me.step, fact), hello)

        connection.send(me, partial(instance.subscribe, connection, hear), "SUBSCRIBE")

    def _reply(self, connection: Connection, fact: Input, link: LinkId) -> None:
        connection.send(connection.target, partial(self._take, fact, link), fact)

    def _take(self, fact: Input, link: LinkId) -> None:
        pending = self._pending.get(link)
        if pending:
            self._pending[link] = pending - 1
        self.me.step(fact)

    def _take_pause(self, fact: inputs.PauseAnswered) -> None:
        if fact.error is None:
            (self._holding.add if fact.is_paused else self._holding.discard)(fact.link)
        self._take(fact, fact.link)

    def _serve_instance(  # noqa: C901 - a case for each command
        self, effect: Command, instance: SimInstance, connection: Connection
    ) -> None:
        """Do what an instance does with a command of ours, and send its reply."""
        link = effect.link
        match effect:
            case SendPing():
                self._reply(connection, inputs.Ponged(link, instance.ping()), link)
            case SendInfo():
                told = instance.info()
                if isinstance(told, str):
                    self._reply(connection, inputs.CommandRefused(link, told), link)
                else:
                    told = resolved_report(self.me.network, told)
                    self._reply(connection, inputs.InfoReceived(link, told), link)
            case SendHello():
                instance.publish(effect.hello)
                self._reply(connection, inputs.HelloSent(link), link)
            case Reconfigure():
                self._reconfigure(effect, instance, connection)
            case TakeOver():
                order = f"has {instance.name} take over, epoch {effect.epoch}"
                self.me.world.mark(self.me.name, order, Kind.DECISION)
                take_over(
                    instance,
                    effect.limit,
                    lambda error: self._reply(
                        connection, inputs.TakeOverAnswered(link, error), link
                    ),
                )
            case PauseWrites():
                error = instance.pause_writes(effect.limit)
                paused = inputs.PauseAnswered(link, is_paused=True, error=error)
                connection.send(instance, partial(self._take_pause, paused), paused)
            case ResumeWrites():
                error = instance.pause_writes(0)
                resumed = inputs.PauseAnswered(link, is_paused=False, error=error)
                connection.send(instance, partial(self._take_pause, resumed), resumed)
            case SendScriptKill():
                instance.busy_until = 0
                self._reply(connection, inputs.ScriptKilled(link), link)
            case Ask():
                raise AssertionError(effect)
            case _:
                assert_never(effect)

    def _reconfigure(
        self, effect: Reconfigure, instance: SimInstance, connection: Connection
    ) -> None:
        me, link = self.me, effect.link
        what = "primary" if effect.follow is None else f"replica of {effect.follow}"
        told = f"makes {instance.name} a {what}, epoch {effect.epoch}"
        me.world.mark(me.name, told, Kind.DECISION)
        instance.applied_epoch = max(instance.applied_epoch, effect.epoch)
        instance.slaveof(
            effect.follow,
            lambda error: self._reply(connection, inputs.Reconfigured(link, error), link),
            connection,
        )

    def _serve_peer(self, effect: Command, peer: "Watcher", connection: Connection) -> None:
        """Do what a Sentinel does with a command of another one, and send the reply."""
        link = effect.link
        match effect:
            case SendPing():
                self._reply(connection, inputs.Ponged(link, peer.ping()), link)
            case SendHello():
                peer.hear(effect.hello)
                self._reply(connection, inputs.HelloSent(link), link)
            case Ask():
                answer = partial(self._answer_ask, effect, connection)
                peer.vote(effect.primary, effect.epoch, effect.candidate, answer)
            case _:
                raise AssertionError(effect)

    def _answer_ask(self, effect: Ask, connection: Connection, answer: Answer | None) -> None:
        link = effect.link
        if answer is None or not isinstance(answer.result, Vote):
            self._reply(connection, inputs.CommandRefused(link, "ERR not saved"), link)
            return
        vote = answer.result
        told = (vote.is_down, vote.leader, vote.leader_epoch)
        fact = inputs.AskReplied(link, effect.group, *told, primary=effect.primary)
        self._reply(connection, fact, link)


def resolved_hello(network: Network, hello: Hello) -> Hello:
    """Add the IP of what a hello names, as `runtime.hostnames` does."""
    if not network.names:
        return hello
    return replace(
        hello, sender=network.resolve(hello.sender), primary=network.resolve(hello.primary)
    )


def resolved_report(network: Network, report: InstanceReport) -> InstanceReport:
    """Add the IP of whom a report names, as `runtime.hostnames` does."""
    if not network.names:
        return report
    primary = None if report.primary is None else network.resolve(report.primary)
    return replace(report, primary=primary, replicas=tuple(map(network.resolve, report.replicas)))
