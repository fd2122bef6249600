# ruff: noqa: ARG002 - a double ignores much of what it is told
"""Doubles at the ports of the shell: a machine that does as it is told, links that remember."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from everfly.core.effects import Ask, Connect, Effect, Reconfigure, Result, TakeOver
from everfly.core.inputs import Input
from everfly.core.model import Address, GroupName, Hello, Instant, LinkId, Millis, RunId, Token
from everfly.core.snapshot import DurableState, GroupView
from everfly.errors import Unavailable

ME = RunId("a" * 40)


@dataclass
class ScriptedMachine:
    """Remembers what it was stepped with; `decide` says what it returns."""

    decide: Callable[[Input], list[Effect]] = lambda _: []
    deadline: Instant | None = None
    first: list[Effect] = field(default_factory=list)
    steps: list[tuple[Instant, Input]] = field(default_factory=list)
    state: DurableState = field(default_factory=lambda: DurableState(ME))

    @property
    def facts(self) -> list[Input]:
        return [fact for _, fact in self.steps]

    def start(self, now: Instant) -> list[Effect]:
        return self.first

    def step(self, now: Instant, input: Input) -> list[Effect]:
        self.steps.append((now, input))
        return self.decide(input)

    def next_deadline(self) -> Instant | None:
        return self.deadline

    def durable_state(self) -> DurableState:
        return self.state

    def tilt_for(self, now: Instant) -> Millis | None:
        return None

    def group_names(self) -> tuple[GroupName, ...]:
        return ()

    def group_view(self, now: Instant, name: GroupName) -> GroupView | None:
        return None

    def current_address(self, name: GroupName) -> Address | None:
        return None


@dataclass
class RecordedEffects:
    """An executor that only remembers."""

    done: list[Effect] = field(default_factory=list)
    turns: int = 0

    def execute(self, effects: list[Effect]) -> None:
        self.done += effects

    def end_turn(self) -> None:
        self.turns += 1


@dataclass
class RecordedLinks:
    """Links that remember what they were told to send."""

    sent: list[tuple[object, ...]] = field(default_factory=list)
    turns: int = 0

    def connect(self, effect: Connect) -> None:
        self.sent.append(("connect", effect.link))

    def disconnect(self, link: LinkId) -> None:
        self.sent.append(("disconnect", link))

    def ping(self, link: LinkId) -> None:
        self.sent.append(("ping", link))

    def ask_info(self, link: LinkId) -> None:
        self.sent.append(("info", link))

    def publish(self, link: LinkId, hello: Hello) -> None:
        self.sent.append(("hello", link))

    def kill_script(self, link: LinkId) -> None:
        self.sent.append(("kill", link))

    def ask(self, effect: Ask) -> None:
        self.sent.append(("ask", effect.link))

    def reconfigure(self, effect: Reconfigure) -> None:
        self.sent.append(("reconfigure", effect.link))

    def take_over(self, effect: TakeOver) -> None:
        self.sent.append(("take over", effect.link))

    def pause_writes(self, link: LinkId, limit: Millis) -> None:
        self.sent.append(("pause", link, limit))

    def resume_writes(self, link: LinkId) -> None:
        self.sent.append(("resume", link))

    def end_turn(self) -> None:
        self.turns += 1


@dataclass
class RecordedRequests:
    """Whoever waits for answers, and the machine's state."""

    state: DurableState = field(default_factory=lambda: DurableState(ME))
    answers: dict[Token, Result | str] = field(default_factory=dict)
    facts: list[Input] = field(default_factory=list)

    def durable_state(self) -> DurableState:
        return self.state

    def submit(self, fact: Input) -> None:
        self.facts.append(fact)

    def resolve(self, token: Token, result: Result) -> None:
        self.answers[token] = result

    def refuse(self, token: Token, reason: str) -> None:
        self.answers[token] = reason


class Disk:
    """A state file whose writes end when the test says so."""

    def __init__(self) -> None:
        self.written: list[DurableState] = []
        self.is_slow = False
        self.failure = ""
        self._turn = asyncio.Event()
        self._begun = asyncio.Event()

    async def write(self, state: DurableState) -> None:
        self._begun.set()
        if self.is_slow:
            self._turn.clear()
            await self._turn.wait()
        if self.failure:
            raise Unavailable(self.failure)
        self.written.append(state)

    async def begun(self) -> None:
        """Wait until a write has begun since the last call."""
        await self._begun.wait()
        self._begun.clear()

    def finish(self) -> None:
        """Let the write in flight end."""
        self._turn.set()


async def turns(count: int = 10) -> None:
    """Let the event loop run what is ready, and what that makes ready."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], within_s: float = 5.0) -> None:
    """Let the event loop and other threads run until the condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {condition.__doc__ or condition}")
        await asyncio.sleep(0.001)
