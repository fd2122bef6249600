"""Thousands of groups under a few real cores: what they send, what it costs, and how long a lost
zone takes.

Instances and the network are as simple as can be (one delay for all messages, a role, whom it
follows), so that ten thousand groups fit; `world` and its like are for what can go wrong. A
Sentinel may have a price for each step: then it is busy, what comes meanwhile waits, and when it
cannot keep up that shows as it would in a process: late answers, late timers, TILT.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from everfly.core import inputs
from everfly.core.effects import (
    Answer,
    Ask,
    Connect,
    Disconnect,
    Effect,
    Notify,
    Persist,
    Purpose,
    Reconfigure,
    SendHello,
    SendInfo,
    SendPing,
    Vote,
)
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import Address, GroupName, Instant, LinkId, Millis, RunId, Token
from everfly.core.notices import Event
from everfly.core.policy import GroupSettings, Policy
from everfly.core.snapshot import DurableState, GroupState
from everfly.sim.scale_records import Keeper, Lean, ScaleShape

ZONES: Final = 3
ROUND_TRIP_MS: Final = 2


class Fleet:
    """All groups, all Sentinels, and time."""

    def __init__(self, shape: ScaleShape, clock_ns: Callable[[], int] | None = None) -> None:
        """Build it at rest. `clock_ns`: measures what steps cost in reality; None: not measured."""
        self.shape = shape
        self.now = 0
        self.sent: Counter[str] = Counter()
        self.step_ns = 0
        self._clock_ns = clock_ns
        self._flight: deque[tuple[int, Callable[[], None]]] = deque()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._askers: dict[Token, tuple[Keeper, Ask]] = {}
        self._tokens = 0
        self.instances: dict[Address, Lean] = {}
        self.members: list[list[Lean]] = []
        for number in range(shape.groups):
            self._add_group(number)
        self.keepers = [self._keeper(number) for number in range(shape.sentinels)]
        self._by_address = {keeper.address: keeper for keeper in self.keepers}

    def _add_group(self, number: int) -> None:
        zones = [(number + member) % ZONES for member in range(1 + self.shape.replicas)]
        members = [
            Lean(Address(f"10.{member}.{number // 250}.{number % 250}", 6379), zone, number)
            for member, zone in enumerate(zones)
        ]
        for replica in members[1:]:
            replica.follows = members[0]
        self.members.append(members)
        self.instances.update((one.address, one) for one in members)

    def _keeper(self, number: int) -> Keeper:
        shape = self.shape
        settings = GroupSettings(
            shape.quorum, Millis(shape.down_after), Millis(shape.failover_timeout)
        )
        names = [
            (Address("10.9.0.1", 26_379 + one), RunId(f"{one:040x}"))
            for one in range(shape.sentinels)
        ]
        groups = tuple(
            GroupState(
                _name(index),
                members[0].address,
                settings,
                replicas=tuple(one.address for one in members[1:]),
                peers=tuple(pair for pair in names if pair[1] != names[number][1]),
            )
            for index, members in enumerate(self.members)
        )
        machine = Machine(
            DurableState(names[number][1], groups=groups),
            port=names[number][0].port,
            dice=random.Random(number),  # noqa: S311 - reproducible on purpose
            policy=Policy(),
        )
        return Keeper(number, names[number][0], number % ZONES, machine)

    # Time.

    def start(self) -> None:
        """Start all Sentinels, a little apart."""
        for keeper in self.keepers:
            self._at(keeper.number * 100, partial(self._boot, keeper))

    def run_until(self, end: int) -> None:
        """Let everything happen that is due up to an instant, in ms."""
        flight, heap = self._flight, self._heap
        while True:
            in_flight = flight[0][0] if flight else end + 1
            at = heap[0][0] if heap else end + 1
            if min(in_flight, at) > end:
                break
            if in_flight <= at:
                self.now, what = flight.popleft()
            else:
                self.now, _, what = heapq.heappop(heap)
            what()
        self.now = end

    def _at(self, when: int, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.now), self._count, what))

    def _fly(self, what: Callable[[], None]) -> None:
        """Have something arrive; all take equally long, so they come in the order of sending."""
        self._flight.append((self.now + ROUND_TRIP_MS, what))

    # A Sentinel.

    def _boot(self, keeper: Keeper) -> None:
        self._carry_out(keeper, keeper.machine.start(Instant(self.now)))
        self._arm(keeper)

    def _hear(self, keeper: Keeper, fact: Input) -> None:
        if not keeper.is_alive:
            return
        if self.shape.step_us:
            keeper.inbox.append(fact)
            self._pump(keeper)
        else:
            self._step(keeper, fact)

    def _pump(self, keeper: Keeper) -> None:
        """Do what there is time for."""
        if keeper.is_pumping:
            return
        now_us = self.now * 1_000.0
        while keeper.inbox and keeper.busy_until_us < now_us + 1_000 and keeper.is_alive:
            keeper.busy_until_us = max(keeper.busy_until_us, now_us) + self.shape.step_us
            self._step(keeper, keeper.inbox.popleft())
        if keeper.inbox and keeper.is_alive:
            keeper.is_pumping = True
            self._at(int(keeper.busy_until_us // 1_000), lambda: self._pump_again(keeper))

    def _pump_again(self, keeper: Keeper) -> None:
        keeper.is_pumping = False
        self._pump(keeper)

    def _step(self, keeper: Keeper, fact: Input) -> None:
        keeper.steps += 1
        clock = self._clock_ns
        began = clock() if clock is not None else 0
        effects = keeper.machine.step(Instant(self.now), fact)
        if clock is not None:
            self.step_ns += clock() - began
        if effects:
            self._carry_out(keeper, effects)
        self._arm(keeper)

    def _arm(self, keeper: Keeper) -> None:
        at = keeper.machine.next_deadline()
        if at is None or (keeper.timer is not None and keeper.timer <= at):
            return
        keeper.timer = at
        self._at(at, lambda: self._on_timer(keeper, at))

    def _on_timer(self, keeper: Keeper, at: int) -> None:
        if keeper.timer != at or not keeper.is_alive:
            return
        keeper.timer = None
        deadline = keeper.machine.next_deadline()
        if deadline is not None and deadline <= self.now:
            keeper.inbox_max = max(keeper.inbox_max, len(keeper.inbox))
            self._hear(keeper, inputs.TimerExpired())
        else:
            self._arm(keeper)

    def _carry_out(self, keeper: Keeper, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                if effect.is_urgent:
                    keeper.urgent += 1
            elif effect.after_durable and keeper.urgent > keeper.durable:
                keeper.held.append((keeper.urgent, effect))
            else:
                self._do(keeper, effect)
        if keeper.urgent > keeper.durable and not keeper.is_writing:
            self._write(keeper)

    def _write(self, keeper: Keeper) -> None:
        keeper.is_writing = True
        covered = keeper.urgent
        delay = self.shape.disk_ms + int(self.shape.disk_us_a_group * self.shape.groups / 1_000)

        def written() -> None:
            keeper.is_writing = False
            keeper.durable = covered
            keeper.writes += 1
            while keeper.held and keeper.held[0][0] <= covered:
                self._do(keeper, keeper.held.popleft()[1])
            if keeper.urgent > keeper.durable:
                self._write(keeper)

        self._at(self.now + delay, written)

    def _do(self, keeper: Keeper, effect: Effect) -> None:  # noqa: C901 - a case for each effect
        self.sent[type(effect).__name__] += 1
        match effect:
            case SendPing(link=link):
                if self._is_there(keeper, link):
                    self._fly(lambda: self._answer(keeper, link, inputs.Ponged(link, "PONG")))
            case SendInfo(link=link):
                self._fly(lambda: self._info(keeper, link))
            case SendHello():
                self._fly(lambda: self._publish(keeper, effect))
            case Ask():
                self._fly(lambda: self._ask(keeper, effect))
            case Reconfigure():
                self._fly(lambda: self._reconfigure(keeper, effect))
            case Connect():
                self._connect(keeper, effect)
            case Disconnect(link=link):
                target = keeper.links.pop(link, None)
                if isinstance(target, Lean):
                    target.subscribers.pop((keeper.number, link), None)
            case Answer(result=Vote() as vote, token=token):
                self._give_vote(token, vote)
            case Notify() if effect.notice.event is Event.TILT:
                keeper.tilts += 1
            case _:
                pass

    def _is_there(self, keeper: Keeper, link: LinkId) -> bool:
        target = keeper.links.get(link)
        return target is not None and target.is_alive

    def _answer(self, keeper: Keeper, link: LinkId, fact: Input) -> None:
        if self._is_there(keeper, link):
            self._hear(keeper, fact)

    # What is done with its commands. The dead say nothing: a zone without power resets nothing.

    def _connect(self, keeper: Keeper, effect: Connect) -> None:
        target = self.instances.get(effect.to) or self._by_address.get(effect.to)
        assert target is not None, "nobody else is known"
        link = effect.link

        def up() -> None:
            if not target.is_alive:
                lost = inputs.LinkLost(link, "timed out")
                self._at(self.now + 1_500, lambda: self._hear(keeper, lost))
                return
            keeper.links[link] = target
            if effect.purpose is Purpose.CHANNEL and isinstance(target, Lean):
                target.subscribers[keeper.number, link] = None
            self._hear(keeper, inputs.Connected(link, keeper.address.host))

        self._fly(up)

    def _info(self, keeper: Keeper, link: LinkId) -> None:
        target = keeper.links.get(link)
        if isinstance(target, Lean) and target.is_alive:
            members = self.members[target.group]
            replicas = tuple(one.address for one in members if one.follows is target)
            self._hear(keeper, inputs.InfoReceived(link, target.report(replicas)))

    def _publish(self, keeper: Keeper, effect: SendHello) -> None:
        target = keeper.links.get(effect.link)
        if target is None or not target.is_alive:
            return
        if isinstance(target, Lean):
            for number, link in target.subscribers:
                hello = effect.hello
                mine = number == keeper.number
                fact = inputs.ChannelHeard(link) if mine else inputs.HelloHeard(link, hello)
                self._hear(self.keepers[number], fact)
        else:
            self._hear(target, inputs.HelloHeard(None, effect.hello))
        self._hear(keeper, inputs.HelloSent(effect.link))

    def _ask(self, keeper: Keeper, effect: Ask) -> None:
        target = keeper.links.get(effect.link)
        if not isinstance(target, Keeper) or not target.is_alive:
            return
        self._tokens += 1
        token = Token(self._tokens)
        self._askers[token] = (keeper, effect)
        self._hear(
            target,
            inputs.VoteRequested(token, effect.primary, effect.epoch, effect.candidate),
        )

    def _give_vote(self, token: Token, vote: Vote) -> None:
        keeper, ask = self._askers.pop(token)
        fact = inputs.AskReplied(ask.link, ask.group, vote.is_down, vote.leader, vote.leader_epoch)
        self._fly(lambda: self._answer(keeper, ask.link, fact))

    def _reconfigure(self, keeper: Keeper, effect: Reconfigure) -> None:
        target = keeper.links.get(effect.link)
        if not isinstance(target, Lean) or not target.is_alive:
            return
        if effect.follow is None:
            if target.follows is not None:
                target.promoted_at = self.now
            target.follows = None
        else:
            target.follows = self.instances[effect.follow]
        self._hear(keeper, inputs.Reconfigured(effect.link))

    # Seen from above.

    def lose_zone(self, zone: int) -> list[int]:
        """Let everything in a zone die; return the groups that lost their primary."""
        orphans = []
        for index, members in enumerate(self.members):
            for one in members:
                if one.zone == zone:
                    one.is_alive = False
                    if one.follows is None:
                        orphans.append(index)
        for keeper in self.keepers:
            if keeper.zone == zone:
                keeper.is_alive = False
        return orphans

    def promoted_at(self, group: int) -> int | None:
        """Return when a group got a living primary again; None: it has none."""
        living = [one for one in self.members[group] if one.is_alive and one.follows is None]
        return living[0].promoted_at if living else None

    def is_agreed(self, group: int) -> bool:
        """Whether all living Sentinels name the same living primary of a group."""
        named = {keeper.machine.current_address(_name(group)) for keeper in self.living()}
        if len(named) != 1:
            return False
        address = named.pop()
        return address is not None and self.instances[address].is_alive

    def living(self) -> Iterator[Keeper]:
        """Return the Sentinels that are left."""
        return (keeper for keeper in self.keepers if keeper.is_alive)


def _name(index: int) -> GroupName:
    return GroupName(f"group-{index:05d}")
