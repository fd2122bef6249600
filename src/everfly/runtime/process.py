"""Turn an argument list into a supervised child process, and its end into one call of its owner.

A child has a session of its own (Ctrl-C at a terminal reaches its parent alone), reads nothing,
writes to one log file that only its owner can read, inherits no descriptor, is told by the kernel
when its parent ends, however that ends, and is always reaped.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from everfly.errors import SettingsError

LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""A log that is larger at a start is moved aside (one generation is kept): logs stay bounded over
restarts, and what led to the last crash stays readable."""

TAIL_BYTES_MAX: Final = 64 * 1024

# Runs in the child before the program, because code between fork and exec of a process with
# threads may deadlock. 1: PR_SET_PDEATHSIG of linux/prctl.h. The parent may already be gone.
_DIE_WITH_PARENT: Final = """
import ctypes, os, sys
death, parent, *command = sys.argv[1:]
ctypes.CDLL(None, use_errno=True).prctl(1, int(death), 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit("the parent is gone")
try:
    os.execv(command[0], command)
except OSError as error:
    sys.exit(f"{command[0]} cannot be run: {error.strerror}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What to run and where its output goes."""

    command: tuple[str, ...]
    """The first is an absolute path."""
    log: Path
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to ours."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when we end without stopping it."""


class Process:
    """A child that was started. Whoever started it must `stop` or `wait` for it."""

    def __init__(self, spec: ProcessSpec, process: asyncio.subprocess.Process) -> None:
        self.spec: Final = spec
        self._process = process
        self._watching: asyncio.Task[int] | None = None

    @classmethod
    async def start(
        cls, spec: ProcessSpec, on_exit: Callable[["Process"], None] | None = None
    ) -> Self:
        """Start it. `on_exit` is called once, in the event loop, after it ended and was reaped.

        Call it in the main thread: when the thread that started a child ends, the kernel believes
        that the parent did. Raises SettingsError when it cannot be started at all; a program that
        ends at once is an exit like any other.
        """
        try:
            log = _open_log(spec.log)
        except OSError as error:
            raise SettingsError(
                f"the log {spec.log} cannot be written: {error.strerror}; check the folder"
            ) from error
        head = (sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT)
        try:
            process = await asyncio.create_subprocess_exec(
                *head,
                str(int(spec.death_signal)),
                str(os.getpid()),
                *spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=spec.directory,
                env=os.environ | dict(spec.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise SettingsError(
                f"{spec.command[0]} cannot be started in {spec.directory}: {error.strerror}"
            ) from error
        finally:
            os.close(log)
        started = cls(spec, process)
        started._watching = asyncio.create_task(
            started._watch(on_exit), name=f"exit of {process.pid}"
        )
        return started

    async def _watch(self, on_exit: Callable[["Process"], None] | None) -> int:
        status = await self._process.wait()
        # It leads a group: what it started itself must not outlive it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if on_exit is not None:
            on_exit(self)
        return status

    @property
    def pid(self) -> int:
        """Its process id, and that of its group and session."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: the signal that ended it), or None while it runs."""
        return self._process.returncode

    @property
    def is_running(self) -> bool:
        """Whether it has not been reaped yet."""
        return self._process.returncode is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it; nothing happens when it has ended."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end, without a limit, and return its exit status."""
        return await asyncio.shield(self._watched)

    @property
    def _watched(self) -> asyncio.Task[int]:
        assert self._watching is not None, "it was not made by `start`"
        return self._watching

    async def stop(self, grace_s: float, *, again_s: float | None = None) -> int:
        """Ask it to end, kill it after `grace_s` seconds, and return its exit status.

        With `again_s` it is asked again every so many seconds: for programs that refuse at times.
        """
        self.send_signal(signal.SIGTERM)
        # A frozen process takes its SIGTERM only when it goes on.
        self.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(grace_s):
                while again_s is not None and self.is_running:
                    await asyncio.wait([self._watched], timeout=again_s)
                    self.send_signal(signal.SIGTERM)
                return await self.wait()
        except TimeoutError:
            self.send_signal(signal.SIGKILL)
            return await self.wait()

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of its log, for a message to a person."""
        return log_tail(self.spec.log, lines)


def log_tail(path: Path, lines: int) -> str:
    """Return the last lines of a log file, or why it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES_MAX))
            text = log.read(TAIL_BYTES_MAX).decode(errors="replace")
    except OSError as error:
        return f"({path}: {error.strerror})"
    return "\n".join(text.splitlines()[-lines:])


def describe_exit(status: int) -> str:
    """Return an exit status in words: `exit status 1`, `killed by SIGKILL`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _open_log(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_name(path.name + ".1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)
