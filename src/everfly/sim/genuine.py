"""A genuine Redis Sentinel in the quorum, modelled on its source: the process, its links and ticks.

It looks at everything every 52 to 100 ms, by its wall clock, and blocks while it writes its state.
Its decisions are in `genuine_mind`, its known defects with them: it demotes a returned primary
after 8 s, promotes nobody when its replicas were without their primary for longer than ten
down-afters before it noticed, never leaves a failover whose promoted replica is down, and may lead
two failovers at once. Source: redis/src/sentinel.c (7.0.15).
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from everfly.core.effects import Answer, Vote
from everfly.core.model import Address, Epoch, Hello, InstanceReport, Role, RunId, Token
from everfly.core.policy import GroupSettings
from everfly.sim.genuine_mind import Mind
from everfly.sim.genuine_records import (
    INFO_PERIOD,
    MIN_LINK_RECONNECT,
    PENDING_MAX,
    PING_PERIOD,
    PUBLISH_PERIOD,
    Memory,
    Watched,
)
from everfly.sim.instance import SimInstance
from everfly.sim.network import Connection, Deed, Network
from everfly.sim.stopping import Stoppable
from everfly.sim.watcher import Announcement, Watcher
from everfly.sim.world import Kind, World


@dataclass(slots=True, eq=False)
class SimGenuine(Stoppable):
    """One genuine Sentinel."""

    world: World
    network: Network
    address: Address
    run_id: RunId
    group: str
    settings: GroupSettings
    memory: Memory
    name: str = field(init=False)
    is_genuine: bool = field(default=True, init=False)
    is_running: bool = field(default=False, init=False)
    is_paused: bool = field(default=False, init=False)
    connections: dict[Connection, None] = field(default_factory=dict, init=False)
    subscribers: dict[Connection, Callable[[Announcement], None]] = field(
        default_factory=dict, init=False
    )
    dice: random.Random = field(init=False)
    mind: Mind | None = field(default=None, init=False)
    _clock_ahead: int = field(default=0, init=False)
    _life: int = field(default=0, init=False)
    _inbox: deque[Deed] = field(default_factory=deque, init=False)
    _said: Announcement | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.name = f"sentinel:{self.address.port}"
        self.dice = self.world.dice(f"genuine:{self.name}")
        self.network.hosts[self.address] = self

    @property
    def now(self) -> int:
        """What its wall clock says; never 0."""
        return self.world.now + self._clock_ahead + 1

    # Life and death.

    def start(self) -> None:
        """Start from what is on disk."""
        self._life += 1
        self.is_running, self.is_paused = True, False
        self.mind = Mind(self, self.memory)
        self.world.mark(self.name, "started (genuine)", Kind.LIFE)
        self._tick(self._life)

    def crash(self) -> None:
        """SIGKILL."""
        if not self.is_running:
            return
        self.world.mark(self.name, "crashed", Kind.LIFE)
        self.is_running = self.is_paused = False
        self._life += 1
        self.mind = None
        self._inbox.clear()
        self.subscribers.clear()
        for connection in list(self.connections):
            connection.close(self)

    def jump(self, ahead: int) -> None:
        """Have its wall clock leap."""
        self._clock_ahead += ahead

    def _go_on(self) -> None:
        self._life += 1
        self._tick(self._life)

    def _tick(self, life: int) -> None:
        """`sentinelTimer`, and the next one after 1000 / (10 + dice) ms."""
        if life != self._life or self.is_paused or self.mind is None:
            return
        self.mind.look()
        said = self._announcement()
        if self._said is not None and said.primary != self._said.primary:
            for connection, hear in list(self.subscribers.items()):
                connection.send(self, partial(hear, said), "+switch-master")
        self._said = said
        self.world.after(1_000 // (10 + self.dice.randrange(10)), partial(self._tick, life))

    # Links: `sentinelReconnectInstance`, `sentinelSendPeriodicCommands`.

    def keep_in_touch(self, watched: Watched, *, is_peer: bool, info_period: int) -> None:
        """Connect, PING, ask for INFO, say hello, each when it is due."""
        now = self.now
        if not watched.is_connected and now - watched.tried_at >= PING_PERIOD:
            watched.tried_at = now
            # Sent with the attempt: a peer that cannot be reached owes an answer from here on.
            watched.ping_is_sent(now)
            self._connect(watched, is_channel=False)
        is_deaf = watched.channel is None or not watched.channel.is_open
        if not is_peer and is_deaf and watched.tried_at == now:
            self._connect(watched, is_channel=True)
        if not watched.is_connected or watched.pending >= PENDING_MAX:
            return
        if not is_peer and (not watched.info_at or now - watched.info_at > info_period):
            self._ask_info(watched)
        period = min(PING_PERIOD, self.settings.down_after)
        if now - watched.last_pong_at > period and now - watched.last_ping_at > period // 2:
            self._ping(watched)
        if now - watched.published_at > PUBLISH_PERIOD:
            watched.published_at = now
            self._publish(watched)

    def drop_stale(self, watched: Watched) -> None:
        """Close links that have been silent for long: `sentinelCheckSubjectivelyDown`."""
        now, half = self.now, self.settings.down_after // 2
        if (
            watched.command is not None
            and now - watched.command_since > MIN_LINK_RECONNECT
            and watched.act_ping_at
            and now - watched.act_ping_at > half
            and now - watched.last_pong_at > half
        ):
            self.disconnect(watched)
        channel = watched.channel
        if (
            channel is not None
            and now - watched.channel_since > MIN_LINK_RECONNECT
            and now - watched.channel_heard_at > 3 * PUBLISH_PERIOD
        ):
            channel.close(self)
            watched.channel = None

    def disconnect(self, watched: Watched) -> None:
        """Close both links."""
        watched.attempts += 1
        for connection in (watched.command, watched.channel):
            if connection is not None:
                connection.close(self)
        watched.command = watched.channel = None
        watched.pending = 0

    def _connect(self, watched: Watched, *, is_channel: bool) -> None:
        life, attempt = self._life, watched.attempts
        state: list[Connection] = []

        def on_up(connection: Connection) -> None:
            if attempt != watched.attempts or self.mind is None:
                connection.close(self)
                return
            state.append(connection)
            if is_channel:
                watched.channel = connection
                watched.channel_since = watched.channel_heard_at = self.now
                self._subscribe(watched, connection)
            else:
                watched.command = connection
                watched.command_since = self.now
                watched.pending = 0
                self._ping(watched)

        def on_lost(_reason: str, _is_refusal: bool) -> None:
            if life <= self._life and state:
                if watched.command is state[0]:
                    watched.command = None
                    watched.pending = 0
                elif watched.channel is state[0]:
                    watched.channel = None

        self.network.connect(self, watched.address, on_up, on_lost)

    def _subscribe(self, watched: Watched, connection: Connection) -> None:
        instance = connection.target
        if not isinstance(instance, SimInstance):
            return

        def hear(hello: Hello) -> None:
            connection.send(instance, partial(self._heard, watched, hello), hello)

        connection.send(self, partial(instance.subscribe, connection, hear), "SUBSCRIBE")

    def _heard(self, watched: Watched, hello: Hello) -> None:
        watched.channel_heard_at = self.now
        if hello.sender_run_id != self.run_id:
            self.hear(hello)

    def _ping(self, watched: Watched) -> None:
        watched.ping_is_sent(self.now)
        self._ask(watched, "PING", lambda target: target.ping(), self._on_pong)

    def _on_pong(self, watched: Watched, reply: object) -> None:
        watched.hear_pong(self.now, str(reply))

    def _ask_info(self, watched: Watched) -> None:
        self._ask(watched, "INFO", lambda target: target.info(), self._on_info)

    def _on_info(self, watched: Watched, reply: object) -> None:
        if self.mind is not None and isinstance(reply, InstanceReport):
            self.mind.take_info(watched, reply)

    def _publish(self, watched: Watched) -> None:
        if self.mind is None:
            return
        hello = self.mind.hello(self.address)

        def say(target: SimInstance | Watcher) -> None:
            if isinstance(target, SimInstance):
                target.publish(hello)
            else:
                target.hear(hello)

        self._ask(watched, str(hello), say, lambda _watched, _reply: None)

    def _ask(
        self,
        watched: Watched,
        about: str,
        serve: Callable[..., object],
        then: Callable[[Watched, object], None],
    ) -> None:
        """Have something done at the other end, and take its reply."""
        connection = watched.command
        if connection is None:
            return
        watched.pending += 1

        def take(reply: object) -> None:
            watched.pending = max(0, watched.pending - 1)
            then(watched, reply)

        def there() -> None:
            target = connection.target
            connection.send(target, partial(take, serve(target)), f"reply to {about[:40]}")

        connection.send(self, there, about)

    def order(self, watched: Watched, follow: Address | None) -> None:
        """SLAVEOF, in its transaction."""
        connection = watched.command
        if connection is None or not isinstance(connection.target, SimInstance):
            return
        instance = connection.target
        what = "primary" if follow is None else f"replica of {follow}"
        told = f"makes {instance.name} a {what} (genuine)"

        def there() -> None:
            self.world.mark(self.name, told, Kind.DECISION)
            instance.slaveof(follow, lambda _: None, connection)

        connection.send(self, there, told)

    def ask_vote(self, peer: Watched, primary: Address, epoch: Epoch, who: RunId | None) -> None:
        """SENTINEL is-master-down-by-addr."""
        connection = peer.command
        if connection is None:
            return
        peer.pending += 1

        def answer(answer: Answer | None) -> None:
            vote = None if answer is None else answer.result
            connection.send(connection.target, partial(take, vote), f"vote {vote}")

        def take(vote: object) -> None:
            peer.pending = max(0, peer.pending - 1)
            if self.mind is not None and isinstance(vote, Vote):
                self.mind.take_vote(peer, vote)

        target: Watcher = connection.target  # type: ignore[assignment] # a Sentinel
        connection.send(self, partial(target.vote, primary, epoch, who, answer), "is-master-down")

    def tell(self, what: str) -> None:
        """Add one of its events to the trace."""
        self.world.mark(self.name, what, Kind.NOTICE)

    def flush(self, memory: Memory) -> None:
        """Write its state: it blocks meanwhile, so it is there at once."""
        self.memory = memory

    def note_promotion(self, address: Address) -> None:
        """Have it written down that it sees a primary, also where its order never arrived."""
        found = self.network.hosts.get(address)
        if isinstance(found, SimInstance) and found.is_primary and found.witness is not None:
            found.witness.note_promotion(found)

    # What others ask.

    def ping(self) -> str:
        """PING."""
        return "PONG"

    def hear(self, hello: Hello) -> None:
        """PUBLISH of a hello."""
        if self.mind is not None and hello.sender_run_id != self.run_id:
            self.mind.take_hello(hello)

    def vote(
        self,
        primary: Address,
        epoch: Epoch,
        candidate: RunId | None,
        then: Callable[[Answer | None], None],
    ) -> None:
        """SENTINEL is-master-down-by-addr."""
        if self.mind is not None:
            then(Answer(Token(0), self.mind.vote(primary, epoch, candidate)))

    def announcement(self, group: str) -> Announcement | None:
        """SENTINEL MASTER."""
        return self._announcement() if group == self.group and self.mind is not None else None

    def knows(self, group: str, instance: Address) -> bool:
        """SENTINEL MASTER and SENTINEL REPLICAS."""
        mind = self.mind
        is_known = mind is not None and instance in {mind.primary.address, *mind.replicas}
        return group == self.group and is_known

    def _announcement(self) -> Announcement:
        assert self.mind is not None, "asked while it runs"
        return Announcement(self.mind.current.address, self.mind.config_epoch)

    def info_period(self, watched: Watched, *, is_unsettled: bool) -> int:
        """Return how often it asks for INFO."""
        is_lonely = watched.role is Role.REPLICA and not watched.report.primary_link_up
        return 1_000 if is_unsettled or is_lonely else INFO_PERIOD
