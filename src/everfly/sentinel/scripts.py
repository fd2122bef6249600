"""Turn warnings and moves of primaries into runs of the scripts that people set for them.

Rules, which are those of Redis: 16 run at a time, the others wait in order; one that ends with
status 1 or by a signal is tried again, later and later, ten times in all; one that runs for too
long is killed; when too many wait, the oldest is dropped. A script is a direct child in the folder
of the configuration, with our environment and no descriptor of ours but the standard ones. It has a
process group of its own, so that what it started ends with it when it is killed.
Source: `sentinelScheduleScriptExecution` and below, redis/src/sentinel.c (7.0.15).
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from everfly.core.effects import ReconfigureClients
from everfly.core.model import Millis
from everfly.core.notices import Event, Level, Notice
from everfly.core.policy import Policy
from everfly.runtime.ports import ScriptView
from everfly.sentinel.settings import Settings

log = logging.getLogger(__name__)

RUNNING_MAX: Final = 16
"""`SENTINEL_SCRIPT_MAX_RUNNING`."""
QUEUE_MAX: Final = 256
"""`SENTINEL_SCRIPT_MAX_QUEUE`."""
TRIES_MAX: Final = 10
"""`SENTINEL_SCRIPT_MAX_RETRY`."""
CANNOT_START: Final = 2
"""Exit status of a script that could not be executed, as in `sentinelRunPendingScripts`."""
CANNOT_FORK: Final = 99
"""Shown as the signal of a script for which there was no process. As above."""


@dataclass(slots=True, eq=False)
class _Job:
    argv: tuple[str, ...]
    tries: int = 0
    due_at: float = 0.0
    """In seconds of the loop's clock: when it may be tried again."""
    started_at: float = 0.0
    pid: int = 0
    """0 while it waits."""
    is_running: bool = False


class Scripts:
    """Scripts of one Sentinel. `tell` takes notices about them."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        tell: Callable[[Notice], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._tell = tell
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._jobs: list[_Job] = []
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False

    @property
    def running(self) -> int:
        """How many run now."""
        return sum(job.is_running for job in self._jobs)

    @property
    def queued(self) -> int:
        """How many run or wait."""
        return len(self._jobs)

    def pending(self) -> tuple[ScriptView, ...]:
        """Return all that run or wait, in the order in which they were asked for."""
        return tuple(self._view(job) for job in self._jobs)

    def on_notice(self, notice: Notice) -> None:
        """Run the group's notification script for a warning about something of the group."""
        event = notice.event
        if event.level is not Level.WARNING or notice.subject is None or notice.group is None:
            return
        script = self._settings.group(notice.group).notification_script
        if script:
            self._add((script, event.wire, notice.payload))

    def reconfigure_clients(self, effect: ReconfigureClients) -> None:
        """Run the group's client-reconfig-script, if it has one."""
        script = self._settings.group(effect.group).client_reconfig_script
        if not script:
            return
        hosts = [
            address.host if self._settings.announce_hostnames else address.ip or address.host
            for address in (effect.old, effect.new)
        ]
        role = "leader" if effect.is_leader else "observer"
        old, new = str(effect.old.port), str(effect.new.port)
        self._add((script, str(effect.group), role, "start", hosts[0], old, hosts[1], new))

    def close(self) -> None:
        """Start no more. Those that run are killed when their tasks are cancelled."""
        self._has_ended = True
        if self._timer is not None:
            self._timer.cancel()

    def _view(self, job: _Job) -> ScriptView:
        now = self._loop.time()
        for_s = now - job.started_at if job.is_running else max(0.0, job.due_at - now)
        return ScriptView(
            argv=job.argv,
            pid=job.pid if job.is_running else None,
            for_ms=Millis(int(for_s * 1000)),
            retries=job.tries,
        )

    def _add(self, argv: tuple[str, ...]) -> None:
        # What travelled as bytes that are no text comes back as such; a zero ends an argument.
        self._jobs.append(_Job(tuple(word.replace("\0", "") for word in argv)))
        if len(self._jobs) > QUEUE_MAX:
            oldest = next((job for job in self._jobs if not job.is_running), None)
            if oldest is not None:
                self._jobs.remove(oldest)
                log.warning("Too many scripts wait: %s is dropped", " ".join(oldest.argv))
        # In the next turn: an effect only starts things, and a fork takes a millisecond.
        self._loop.call_soon(self._start_due)

    def _start_due(self) -> None:
        if self._has_ended:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        free = RUNNING_MAX - self.running
        for job in self._jobs:
            if free <= 0:
                return
            if not job.is_running and job.due_at <= now:
                job.is_running = True
                job.started_at = now
                job.tries += 1
                free -= 1
                self._tasks.create_task(self._run(job), name=f"script {job.argv[0]}")
        waiting = [job.due_at for job in self._jobs if not job.is_running]
        if waiting:
            self._timer = self._loop.call_at(min(waiting), self._start_due)

    async def _run(self, job: _Job) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *job.argv, stdin=asyncio.subprocess.DEVNULL, process_group=0
            )
        except BlockingIOError as error:
            self._could_not_start(job, error, CANNOT_FORK, 0)
            return
        except (OSError, ValueError) as error:
            self._could_not_start(job, error, 0, CANNOT_START)
            return
        job.pid = process.pid
        self._say(Event.SCRIPT_STARTED, str(job.pid))
        try:
            async with asyncio.timeout(self._policy.script_max_runtime / 1000):
                await process.wait()
        except TimeoutError:
            self._say(Event.SCRIPT_TIMEOUT, f"{job.argv[0]} {job.pid}")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)
        status = await process.wait()
        self._ended(job, by_signal=max(0, -status), exit_status=max(0, status))

    def _ended(self, job: _Job, *, by_signal: int, exit_status: int) -> None:
        self._say(Event.SCRIPT_ENDED, f"{job.pid} {exit_status} {by_signal}")
        job.is_running = False
        job.pid = 0
        if (by_signal or exit_status == 1) and job.tries < TRIES_MAX:
            delay_ms = self._policy.script_retry_delay * 2 ** (job.tries - 1)
            job.due_at = self._loop.time() + delay_ms / 1000
        else:
            self._jobs.remove(job)
            if by_signal or exit_status:
                self._say(Event.SCRIPT_ERROR, f"{job.argv[0]} {by_signal} {exit_status}")
        self._start_due()

    def _could_not_start(
        self, job: _Job, error: Exception, by_signal: int, exit_status: int
    ) -> None:
        log.warning("Script %s cannot be started: %s", job.argv[0], error)
        self._jobs.remove(job)
        self._say(Event.SCRIPT_ERROR, f"{job.argv[0]} {by_signal} {exit_status}")
        self._start_due()

    def _say(self, event: Event, detail: str) -> None:
        self._tell(Notice(event, group=None, subject=None, detail=detail))
