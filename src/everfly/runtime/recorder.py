"""Record what a core is fed, so that `everfly sim --replay` can tell later why it decided what.

    Driver ──► RecordedMachine ──► Machine
                     │ lines
                     ▼
                  Recorder ──► thread ──► FILE, and FILE.1 when that is full

Rules:

1. The core decides first; a recording never delays a decision by waiting for a disk. Lines gather
   in memory and a thread writes them. Where the disk cannot keep up, or fails, the recording ends
   with a line in the log and the Sentinel goes on.
2. Lines are handed over when `FLUSH_MS` have passed since the last time, when something was told to
   people, and at the end. They are not flushed to the disk itself: what a killed process had handed
   over survives it, what a power failure leaves is up to the file system. A step that raises, and a
   crash that was asked for, wait up to `DRAIN_S` for their own line.
3. FILE and FILE.1 together stay below the limit: a full file becomes FILE.1 and a new one begins
   with a checkpoint of the core. So does the file of an earlier run, which may hold a crash.
4. A file of anything else is never touched. Files are for their owner alone (0600).
5. Secrets do not enter the core; where an instance repeats one in an error, it is taken out.
"""

import logging
import os
import queue
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from everfly import __version__
from everfly.core.effects import Crash, Effect, Notify
from everfly.core.inputs import (
    CommandRefused,
    Input,
    LinkLost,
    PauseAnswered,
    Ponged,
    Reconfigured,
    TakeOverAnswered,
)
from everfly.core.machine import Machine
from everfly.core.model import Address, Epoch, GroupName, Instant, Millis
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState, GroupView
from everfly.errors import SettingsError
from everfly.runtime.log import NOTICE
from everfly.wire.recording import (
    FAILED,
    End,
    Head,
    Step,
    digest,
    end_line,
    head_line,
    pack,
    step_line,
    without,
)

log = logging.getLogger(__name__)

FLUSH_MS: Final = 100
"""Lines wait for company so long; PINGs come about as often."""

BACKLOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""Handed over and not written yet; above it the disk is too slow to record on."""

DRAIN_S: Final = 1.0
"""How long the end waits for the last lines: a healthy disk takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to record, and how much at most."""

    path: Path
    limit_bytes: int
    secrets: Callable[[], Sequence[str]]
    """Words that must not be written, as of now."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a core is made of, beside its clock."""

    state: DurableState
    port: int
    seed: int
    policy: Policy


class Recorder:
    """Writes lines into a file by a thread, and begins new files when one is full.

    Raises SettingsError when the file cannot be begun. Never afterwards.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._file = _open_new(plan.path)
        self._lines: list[str] = []
        self._size = 0
        self._flushed_at = Instant(0)
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._backlog = 0
        self._has_failed = False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()
        self.is_on = True
        """Whether it still records."""

    @property
    def is_full(self) -> bool:
        """Whether the next file should begin: two of them make the limit."""
        return self._size >= self._plan.limit_bytes // 2

    def add(self, line: str, at: Instant, *, is_urgent: bool) -> None:
        """Take a line; hand all over when it is time."""
        if not self.is_on:
            return
        self._lines.append(line)
        self._size += len(line) + 1
        if is_urgent or at - self._flushed_at >= FLUSH_MS:
            self._flushed_at = at
            self._hand_over()

    def begin_next(self) -> bool:
        """Begin a new file and keep the full one beside it; False: the recording is over."""
        self.drain()
        os.close(self._file)
        try:
            self._file = _open_new(self._plan.path)
        except SettingsError as error:
            self._file = -1
            self._give_up(str(error))
            return False
        self._size = 0
        return self.is_on

    def drain(self) -> None:
        """Wait until all lines so far are written, at most `DRAIN_S`."""
        self._hand_over()
        written = threading.Event()
        self._queue.put(written)
        written.wait(DRAIN_S)

    def close(self, why: str) -> None:
        """Say why it ends, and end. Harmless when it has ended."""
        if self.is_on:
            self._lines.append(end_line(End(why)))
            self._hand_over()
            self.is_on = False
        self._queue.put(None)
        self._thread.join(DRAIN_S)
        if self._file >= 0 and not self._thread.is_alive():
            os.close(self._file)
            self._file = -1

    def _hand_over(self) -> None:
        if not self._lines:
            return
        data = ("\n".join(self._lines) + "\n").encode()
        self._lines.clear()
        with self._lock:
            self._backlog += len(data)
            is_too_much = self._backlog > BACKLOG_BYTES_MAX
        if is_too_much:
            self._give_up(f"the disk is too slow: {self._backlog} bytes wait")
        else:
            self._queue.put(data)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            try:
                rest = memoryview(item)
                while rest and not self._has_failed:
                    rest = rest[os.write(self._file, rest) :]
            except OSError as error:
                self._give_up(error.strerror or str(error))
            with self._lock:
                self._backlog -= len(item)

    def _give_up(self, reason: str) -> None:
        if not self._has_failed:
            self.is_on = False
            self._has_failed = True
            log.warning(
                "Recording into %s has ended, the Sentinel goes on: %s. What is in the file can be "
                "replayed; restart the Sentinel to record again",
                self._plan.path,
                reason,
            )


class RecordedMachine:
    """A core that is fed and asked like any other (`driver.Decider`), and recorded."""

    def __init__(self, beginning: Beginning, machine: Machine, plan: Plan) -> None:
        """Begin the recording. Raises SettingsError when its file cannot be begun."""
        self._beginning = beginning
        self._machine = machine
        self._plan = plan
        self.recorder = Recorder(plan)

    def start(self, now: Instant) -> list[Effect]:
        """Announce and connect."""
        beginning = self._beginning
        head = Head(
            version=__version__,
            began_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            began=now,
            port=beginning.port,
            seed=beginning.seed,
            # As it is now: requests may change it later.
            policy=replace(beginning.policy),
            state=beginning.state,
        )
        self.recorder.add(head_line(head), now, is_urgent=True)
        log.log(
            NOTICE,
            "Recording into %s, with the part before in %s.1, at most %d MB; look at it with: "
            "everfly sim --replay %s",
            self._plan.path,
            self._plan.path.name,
            self._plan.limit_bytes >> 20,
            self._plan.path,
        )
        return self._take(now, None, lambda: self._machine.start(now))

    def step(self, now: Instant, input: Input) -> list[Effect]:
        """Take one fact, return what to do."""
        if not self.recorder.is_on:
            return self._machine.step(now, input)
        effects = self._take(now, input, lambda: self._machine.step(now, input))
        if self.recorder.is_full:
            self._begin_next(now)
        return effects

    def _take(
        self, now: Instant, input: Input | None, decide: Callable[[], list[Effect]]
    ) -> list[Effect]:
        hidden = () if input is None else _secrets_in(input, self._plan.secrets)
        told = input if input is None or not hidden else _cleaned(input, hidden)
        try:
            effects = decide()
        except Exception:
            self.recorder.add(step_line(Step(now, told, FAILED)), now, is_urgent=True)
            self.recorder.drain()
            raise
        is_crash = any(isinstance(effect, Crash) for effect in effects)
        is_told = is_crash or any(isinstance(effect, Notify) for effect in effects)
        line = step_line(Step(now, told, digest(effects, hidden)))
        self.recorder.add(line, now, is_urgent=is_told)
        if is_crash:
            self.recorder.drain()
        return effects

    def _begin_next(self, now: Instant) -> None:
        """Go on in a new file, which begins with the core as it is."""
        head = Head(
            version=__version__,
            began_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            began=now,
            port=self._beginning.port,
            seed=self._beginning.seed,
            policy=replace(self._beginning.policy),
            state=self._machine.durable_state(),
            checkpoint=pack(self._machine),
        )
        self.recorder.add(end_line(End("it was full")), now, is_urgent=True)
        if self.recorder.begin_next():
            self.recorder.add(head_line(head), now, is_urgent=True)

    # What only asks.

    def next_deadline(self) -> Instant | None:
        """Return when to step with `TimerExpired`, or None for never."""
        return self._machine.next_deadline()

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now."""
        return self._machine.durable_state()

    def tilt_for(self, now: Instant) -> Millis | None:
        """How long it only watches already; None: it acts."""
        return self._machine.tilt_for(now)

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, in the order in which they were added."""
        return self._machine.group_names()

    def group_view(self, now: Instant, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group, or None."""
        return self._machine.group_view(now, name)

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go."""
        return self._machine.current_address(name)

    @property
    def current_epoch(self) -> Epoch:
        """The greatest epoch it knows."""
        return self._machine.current_epoch


def _texts_of(input: Input) -> str:
    """Return the words of others in an input: what an instance may have put a secret into."""
    match input:
        case LinkLost(reason=text) | CommandRefused(reason=text) | Ponged(reply=text):
            return text
        case Reconfigured(error=error) | TakeOverAnswered(error=error) | PauseAnswered(error=error):
            return error or ""
        case _:
            return ""


def _secrets_in(input: Input, secrets: Callable[[], Sequence[str]]) -> tuple[str, ...]:
    text = _texts_of(input)
    if not text or text == "PONG":
        return ()
    return tuple(secret for secret in secrets() if secret and secret in text)


def _cleaned(input: Input, secrets: Sequence[str]) -> Input:
    match input:
        case LinkLost() | CommandRefused():
            return replace(input, reason=without(input.reason, secrets))
        case Ponged():
            return replace(input, reply=without(input.reply, secrets))
        case Reconfigured() | TakeOverAnswered() | PauseAnswered():
            return replace(input, error=without(input.error or "", secrets))
        case _:
            return input


def _open_new(path: Path) -> int:
    """Begin a file; one that is there becomes FILE.1. Raises SettingsError."""
    try:
        if path.exists() or path.is_symlink():
            _set_aside(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:
        raise SettingsError(
            f"recording file {path} cannot be begun: {error.strerror or error}; choose another "
            "file with --record"
        ) from error


def _set_aside(path: Path) -> None:
    is_ours = False
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as file:
            is_ours = file.read(len(_MAGIC)) in {_MAGIC, b""}
    if not is_ours:
        raise SettingsError(
            f"recording file {path} exists and is no recording: it is left alone; choose another "
            "file with --record"
        )
    path.replace(path.with_name(f"{path.name}.1"))


_MAGIC: Final = b'{"everfly-recording":'
