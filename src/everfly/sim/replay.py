"""Turn a recording of `everfly sentinel --record` into decisions of the real core, with reasons.

Rules: the core is fed exactly what it was fed then, at the same instants and with the same dice;
what it decides now is compared, step by step, with the digest of what it decided then; a file that
a crash cut short is read as far as it goes; a file that is anything else is a SettingsError that
names the line. Nothing in a recording is trusted (`wire.recording`), and lines have a limit.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from everfly.core.effects import Connect, Effect, Explain, Notify
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import Instant, LinkId
from everfly.core.notices import Level
from everfly.errors import SettingsError
from everfly.sim.replay_words import cause_of, order_of
from everfly.wire.recording import (
    CHECKPOINT_BYTES_MAX,
    FAILED,
    End,
    Head,
    Step,
    digest,
    parse_head,
    parse_line,
    unpack,
)

LINE_BYTES_MAX: Final = 1_048_576
"""Of a step: an INFO with a thousand replicas is a tenth of it."""
HEAD_BYTES_MAX: Final = CHECKPOINT_BYTES_MAX
PROGRESS_EVERY: Final = 20_000
"""Lines between two reports of progress: a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was decided."""

    decision: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """One step in which the core told, ordered or explained something."""

    line: int
    """Of the recording."""
    at: Instant
    """On the clock of the recording, in ms."""
    cause: str
    """The fact that led to it."""
    notices: tuple[str, ...]
    """As a Sentinel's clients hear them: event and payload."""
    orders: tuple[str, ...]
    """What others were told or asked, in words."""
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Divergence:
    """A step in which the core decides otherwise than it did when it was recorded."""

    line: int
    at: Instant
    cause: str
    recorded: str
    """Digest of then; empty: nothing was decided."""
    now: str
    """Digest of now; empty: nothing is decided."""
    effects: tuple[str, ...]
    """What is decided now."""


@dataclass(slots=True)
class Replay:
    """What came of a recording."""

    path: Path
    head: Head
    decisions: list[Decision] = field(default_factory=list)
    steps: int = 0
    first_divergence: Divergence | None = None
    divergences: int = 0
    failure: str = ""
    """Not empty: the core raised, now or then; in words."""
    end: str = ""
    """How the recording ends, in words."""
    last: Instant = Instant(0)
    """When it ends."""

    @property
    def is_faithful(self) -> bool:
        """Whether the core decides now as it did then."""
        return self.first_divergence is None and not self.failure


def replay(path: Path, on_progress: Callable[[int], None] = lambda _: None) -> Replay:
    """Feed a recording to the core. `on_progress` is told the bytes read now and then.

    Raises SettingsError when the file cannot be read or is no recording.
    """
    try:
        with path.open("rb") as file:
            return _Player(path, file, on_progress).play()
    except OSError as error:
        raise SettingsError(f"recording {path} cannot be read: {error.strerror}") from error


class _Player:
    """Reads lines, feeds the core, compares."""

    def __init__(self, path: Path, file: BinaryIO, on_progress: Callable[[int], None]) -> None:
        self._path = path
        self._file = file
        self._on_progress = on_progress
        self._links: dict[LinkId, str] = {}

    def play(self) -> Replay:
        """Go from the first line to the last."""
        head = self._head()
        result = Replay(self._path, head, last=head.began)
        machine = self._machine_of(head)
        for number, item in self._lines(result):
            if isinstance(item, End):
                result.end = item.why
                break
            result.steps += 1
            result.last = item.at
            if not self._step(result, machine, number, item):
                break
        return result

    def _head(self) -> Head:
        line = self._file.readline(HEAD_BYTES_MAX)
        try:
            return parse_head(line.decode())
        except ValueError as error:
            raise SettingsError(f"recording {self._path}, line 1: {error}") from error

    def _machine_of(self, head: Head) -> Machine:
        if head.checkpoint:
            try:
                return unpack(head.checkpoint)
            except ValueError as error:
                raise SettingsError(
                    f"recording {self._path}, line 1: {error}; it was written by Everfly "
                    f"{head.version}: replay it with that version"
                ) from error
        dice = random.Random(head.seed)  # noqa: S311 - the same dice again
        return Machine(head.state, port=head.port, dice=dice, policy=head.policy)

    def _lines(self, result: Replay) -> Iterator[tuple[int, Step | End]]:
        number = 1
        while line := self._file.readline(LINE_BYTES_MAX):
            number += 1
            try:
                yield number, parse_line(line.decode())
            except ValueError as error:
                if self._file.read(1):
                    text = f"recording {self._path}, line {number}: {error}"
                    raise SettingsError(text) from error
                # The last line of a killed process.
                result.end = f"it was cut in line {number}, after {len(line)} bytes of that line"
                return
            if number % PROGRESS_EVERY == 0:
                self._on_progress(self._file.tell())
        result.end = "the process was killed"

    def _step(self, result: Replay, machine: Machine, number: int, step: Step) -> bool:
        """Feed one step; return whether to go on."""
        cause = cause_of(step.input, self._links)
        try:
            effects = _decide(machine, step.at, step.input)
        except Exception as error:  # noqa: BLE001 - a bug of the core is what is looked for here
            then = "as it did then" if step.digest == FAILED else "which it did not then"
            result.failure = f"line {number}: the core raised {error!r} on {cause}, {then}"
            return False
        if step.digest == FAILED:
            result.failure = f"line {number}: the core raised then on {cause}, and does not now"
            return False
        for effect in effects:
            if isinstance(effect, Connect):
                self._links[effect.link] = str(effect.to)
        found = digest(effects)
        if found != step.digest:
            result.divergences += 1
            if result.first_divergence is None:
                told = tuple(map(str, effects))
                result.first_divergence = Divergence(
                    number, step.at, cause, step.digest, found, told
                )
        decision = self._decision(number, step.at, cause, effects)
        if decision is not None:
            result.decisions.append(decision)
        return True

    def _decision(
        self, line: int, at: Instant, cause: str, effects: list[Effect]
    ) -> Decision | None:
        notices = []
        orders = []
        reasons = []
        for effect in effects:
            match effect:
                case Notify(notice=notice):
                    if notice.event.level is not Level.DEBUG:
                        notices.append(f"{notice.event.wire} {notice.payload}".rstrip())
                case Explain():
                    reasons.append(Reason(effect.decision, effect.facts))
                case _:
                    order = order_of(effect, self._links)
                    if order:
                        orders.append(order)
        if not (notices or orders or reasons):
            return None
        return Decision(line, at, cause, tuple(notices), tuple(orders), tuple(reasons))


def _decide(machine: Machine, at: Instant, fact: Input | None) -> list[Effect]:
    return machine.start(at) if fact is None else machine.step(at, fact)
