"""Surround one core with instances and Sentinels that answer as they are told, in virtual time.

A party is whatever the core connects to. It takes one of four attitudes: *absent* leaves every
connection attempt and question open, *well* answers everything at once, *silent* accepts
connections and answers nothing until it is well again, *dead* refuses connections. What a party
says (INFO, PONG, its vote) stands until it is told otherwise. Answers come in the millisecond of
the question, in order, each as a step of its own. Nothing else happens by itself.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha1

from everfly.core.effects import (
    Ask,
    Command,
    Connect,
    Disconnect,
    Effect,
    PauseWrites,
    Purpose,
    Reconfigure,
    ResumeWrites,
    SendHello,
    SendInfo,
    SendPing,
    SendScriptKill,
    TakeOver,
)
from everfly.core.inputs import (
    AskReplied,
    ChannelHeard,
    CommandRefused,
    Connected,
    HelloSent,
    InfoReceived,
    Input,
    LinkLost,
    PauseAnswered,
    Ponged,
    Reconfigured,
    ScriptKilled,
    TakeOverAnswered,
    TimerExpired,
)
from everfly.core.machine import Machine
from everfly.core.model import Address, Epoch, GroupName, InstanceReport, Instant, LinkId, RunId
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState

STEPS_AT_ONE_INSTANT_MAX = 500
"""More steps than this without time going on are a busy loop."""

REFUSALS = ("Connection refused", "Connection reset by peer")
"""Reasons for the end of a link that prove that the process is gone, not the network."""


class Attitude(Enum):
    ABSENT = "absent"
    WELL = "well"
    SILENT = "silent"
    DEAD = "dead"


class FixedDice(random.Random):
    """Dice that always fall as near as possible to one number."""

    falls_at = 0

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        assert stop is None, "the core only asks for numbers below a bound"
        assert step == 1, "the core only asks for numbers below a bound"
        return min(self.falls_at, start - 1)


@dataclass(frozen=True)
class AskAnswer:
    """What a Sentinel answers to is-master-down-by-addr."""

    is_down: bool = False
    leader: RunId | None = None
    leader_epoch: Epoch = Epoch(0)


@dataclass(eq=False)
class Party:
    """Somebody at the other end of links."""

    name: str
    address: Address
    attitude: Attitude = Attitude.ABSENT
    report: InstanceReport = field(default_factory=InstanceReport)
    withholds: type[Command] | None = None
    """The one kind of command that it leaves open."""
    pong: str = "PONG"
    order_error: str | None = None
    """How it refuses an order to change its role; None: it obeys."""
    hand_over_error: str | None = None
    """How it refuses to take over, or to pause; None: it does."""
    info_error: str = ""
    """What it answers to INFO instead of a report."""
    answer: AskAnswer | None = None
    """None: it leaves questions for a vote open."""

    @property
    def run_id(self) -> RunId:
        return run_id_of(self.name)


@dataclass(eq=False)
class Wire:
    """One connection attempt of the core and the commands that wait for an answer on it."""

    id: LinkId
    party: Party
    purpose: Purpose
    is_up: bool = False
    waiting: deque[Command] = field(default_factory=deque)


def run_id_of(name: str) -> RunId:
    """Return the 40 hexadecimal digits that a Sentinel of this name goes by."""
    return RunId(sha1(name.encode(), usedforsecurity=False).hexdigest())


class Surroundings:
    """One machine, its parties, and the clock."""

    def __init__(self, me: str, *, now: int = 0) -> None:
        self.me = me
        self.now = Instant(now)
        self.dice = FixedDice()
        self.policy = Policy()
        self.parties: dict[str, Party] = {}
        self.wires: dict[LinkId, Wire] = {}
        self.link_names: dict[LinkId, str] = {}
        """What each link leads or led to."""
        self.gone: dict[str, LinkId] = {}
        """The last link to a party that is no more, for facts that come late."""
        self.happened: list[tuple[Instant, Effect]] = []
        self._queue: deque[Input] = deque()
        self._machine: Machine | None = None

    @property
    def machine(self) -> Machine:
        assert self._machine is not None, "start it first"
        return self._machine

    def add(self, name: str, address: Address) -> Party:
        """Put a party somewhere."""
        party = self.parties[name] = Party(name, address)
        return party

    def party_at(self, address: Address) -> Party:
        """Return who came to a place last."""
        for party in reversed(self.parties.values()):
            if party.address == address:
                return party
        raise LookupError(f"nobody is at {address}: declare it first")

    # The machine.

    def start(self, state: DurableState) -> None:
        """Start the machine from what was on disk; earlier connections are gone."""
        self.wires.clear()
        self._queue.clear()
        self._machine = Machine(state, port=26379, dice=self.dice, policy=self.policy)
        self._take(self._machine.start(self.now))
        self._drain()

    def give(self, fact: Input) -> None:
        """Let the machine take one step, and everybody answer."""
        self._take(self.machine.step(self.now, fact))
        self._drain()

    def advance(self, to: int) -> None:
        """Let time pass, with a timer that never comes late."""
        if self._machine is None:
            self.now = Instant(to)
            return
        steps, at = 0, self.now
        while (deadline := self.machine.next_deadline()) is not None and deadline <= to:
            self.now = max(self.now, deadline)
            steps = steps + 1 if self.now == at else 0
            at = self.now
            assert steps < STEPS_AT_ONE_INSTANT_MAX, f"a busy loop at {self.now}"
            self.give(TimerExpired())
        self.now = Instant(to)

    def sleep(self, to: int) -> None:
        """Let time pass while this process does not run at all."""
        self.now = Instant(to)

    # The parties.

    def become(self, party: Party, attitude: Attitude, reason: str = "Connection refused") -> None:
        """Change an attitude, with what follows at once for connections and open questions."""
        party.attitude = attitude
        for wire in [wire for wire in self.wires.values() if wire.party is party]:
            if attitude is Attitude.DEAD:
                self.lose(wire, reason)
            elif attitude is Attitude.WELL:
                self._catch_up(wire)
            elif attitude is Attitude.SILENT and not wire.is_up:
                self.connect(wire)
        self._drain()

    def wire(self, party: Party, purpose: Purpose = Purpose.COMMANDS) -> Wire:
        """Return the machine's present link to a party."""
        for wire in self.wires.values():
            if wire.party is party and wire.purpose is purpose:
                return wire
        raise LookupError(f"the machine has no {purpose.value} link to {party.name} now")

    def connect(self, wire: Wire) -> None:
        wire.is_up = True
        self._queue.append(Connected(wire.id, "10.0.0.11"))

    def lose(self, wire: Wire, reason: str) -> None:
        self._forget(wire.id)
        self._queue.append(LinkLost(wire.id, reason, reason in REFUSALS))

    def answer_by_hand(self, wire: Wire, fact: Input) -> None:
        """Give an answer that a story words itself, to the first question that it fits."""
        for command in wire.waiting:
            if type(answer_of(wire, command)) is type(fact):
                wire.waiting.remove(command)
                break
        self.give(fact)

    def settle(self) -> None:
        """Deliver what `connect` and `lose` prepared."""
        self._drain()

    def _catch_up(self, wire: Wire) -> None:
        if not wire.is_up:
            self.connect(wire)
        waiting, wire.waiting = wire.waiting, deque()
        for command in waiting:
            self._answer(wire, command)

    def _forget(self, link: LinkId) -> None:
        wire = self.wires.pop(link)
        self.gone[wire.party.name] = link

    def _drain(self) -> None:
        for _ in range(STEPS_AT_ONE_INSTANT_MAX):
            if not self._queue:
                return
            self._take(self.machine.step(self.now, self._queue.popleft()))
        raise AssertionError(f"questions and answers without end at {self.now}")

    def _take(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.happened.append((self.now, effect))
            match effect:
                case Connect():
                    self._on_connect(effect)
                case Disconnect():
                    self._forget(effect.link)
                case _ if isinstance(effect, Command):
                    wire = self.wires[effect.link]
                    assert wire.is_up, f"{effect} over a link that is not up"
                    assert wire.purpose is Purpose.COMMANDS, f"{effect} over a channel"
                    self._answer(wire, effect)
                case _:
                    pass

    def _on_connect(self, effect: Connect) -> None:
        party = self.party_at(effect.to)
        wire = self.wires[effect.link] = Wire(effect.link, party, effect.purpose)
        is_channel = effect.purpose is Purpose.CHANNEL
        self.link_names[effect.link] = f"{party.name} channel" if is_channel else party.name
        if party.attitude in {Attitude.WELL, Attitude.SILENT}:
            self.connect(wire)
        elif party.attitude is Attitude.DEAD:
            self.lose(wire, "Connection refused")

    def _answer(self, wire: Wire, command: Command) -> None:
        party = wire.party
        is_left_open = (
            party.attitude is not Attitude.WELL
            or (isinstance(command, Ask) and not party.answer)
            or type(command) is party.withholds
        )
        if is_left_open:
            wire.waiting.append(command)
            return
        self._queue.append(answer_of(wire, command))
        if isinstance(command, SendHello):
            # Everybody who listens hears it, the sender too.
            for other in self.wires.values():
                if other.party is party and other.purpose is Purpose.CHANNEL and other.is_up:
                    self._queue.append(ChannelHeard(other.id))


def answer_of(wire: Wire, command: Command) -> Input:
    """Return what a party answers to a command by what it says now."""
    party = wire.party
    answers: dict[type, Callable[[], Input]] = {
        SendPing: lambda: Ponged(wire.id, party.pong),
        SendInfo: lambda: (
            CommandRefused(wire.id, party.info_error)
            if party.info_error
            else InfoReceived(wire.id, party.report)
        ),
        SendHello: lambda: HelloSent(wire.id),
        SendScriptKill: lambda: ScriptKilled(wire.id),
        Reconfigure: lambda: Reconfigured(wire.id, party.order_error),
        TakeOver: lambda: TakeOverAnswered(wire.id, party.hand_over_error),
        PauseWrites: lambda: PauseAnswered(wire.id, True, party.hand_over_error),
        ResumeWrites: lambda: PauseAnswered(wire.id, False),
    }
    if isinstance(command, Ask):
        # Only asked of those who have an answer, or to see what kind of fact would fit.
        return reply_of(wire, command.group, party.answer or AskAnswer(), command.primary)
    return answers[type(command)]()


def reply_of(
    wire: Wire, group: GroupName, answer: AskAnswer, primary: Address | None = None
) -> AskReplied:
    """Return a Sentinel's answer to is-master-down-by-addr."""
    return AskReplied(wire.id, group, answer.is_down, answer.leader, answer.leader_epoch, primary)
