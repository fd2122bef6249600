"""Turn settings into a running endpoint, and signals into an orderly end, a reload or a successor.

    SIGTERM, SIGINT   accept no more, let clients finish (grace_ms), end; again: end at once
    SIGHUP            read certificates and settings again
    SIGUSR2           start a successor, which takes the ports over (restart_socket)

Rules: what is wrong is said before anybody can connect, with exit status 1; one task group owns
every task; a fault of ours ends the process with status 1, for a supervisor starts it again and a
control that works by half would leave clients at the wrong primary.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

from everfly import __version__
from everfly.endpoint.belief import Belief
from everfly.endpoint.follow import Follower, FollowSettings
from everfly.endpoint.fresh_files import FreshFiles
from everfly.endpoint.handover import Door, Inheritance, inherit
from everfly.endpoint.keys import SETTINGS
from everfly.endpoint.members import Members
from everfly.endpoint.metrics import Beat, Metrics
from everfly.endpoint.pages import Pages
from everfly.endpoint.plane import Plane, PlaneNotice, make_plane
from everfly.endpoint.preconditions import Bounds
from everfly.endpoint.settings import EndpointSettings
from everfly.endpoint.site import Site
from everfly.endpoint.status import Parts
from everfly.endpoint.switchover import Limits, Progress, Switchovers, Wish
from everfly.errors import EverflyError, SettingsError
from everfly.runtime.log import NOTICE
from everfly.runtime.systemd import tell_supervisor

log = logging.getLogger(__name__)

DOUBTS: Final = frozenset({"primary-lost", "primary-refused", "primary-refusing"})
"""Notices of the data plane after which the primary is looked for again."""

WARNINGS: Final = frozenset(
    {
        "primary-lost",
        "window-over",
        "ambiguous",
        "not-durable",
        "limit",
        "tls",
        "notices-dropped",
        "worker-failed",
    }
)
"""What somebody should see who is paged; all else is the course of things."""

INHERIT_S: Final = 10.0
"""How long a successor waits for a primary before it takes over all the same: the process before it
has none either."""

LOOK_S: Final = 0.1
FILES_LOOK_S: Final = 2.0
"""Between two looks at files that may be replaced: the platform itself takes a minute."""

Reload = Callable[[], EndpointSettings]


class Endpoint:
    """One running endpoint: the data plane, who follows the primary, the admin address."""

    def __init__(self, settings: EndpointSettings, reload: Reload) -> None:
        """Take the settings, and how to read them again. Raises SettingsError."""
        self._settings = settings
        self._read_again = reload
        self._inherited = _inherit(settings)
        try:
            self.plane: Plane = make_plane(_config(settings, self._inherited))
        except BaseException:
            if self._inherited is not None:
                self._inherited.give_back()
            raise
        follow = follow_settings(settings)
        self.follower = Follower(follow, self.plane)
        self._members = Members(follow, self.plane)
        self._switchovers = Switchovers(self.follower, self._members, self.plane, follow)
        self._stopped = asyncio.Event()
        self._beat = Beat()
        self._metrics = Metrics(
            settings.group, self.plane, self.follower, self._switchovers, self._beat
        )
        self._site = Site(self._parts(), self, settings.token)
        self._pages = Pages(self._site, settings)
        path = settings.path("restart_socket")
        self._door = Door(path) if path else None
        self._impatient = asyncio.Event()
        self._successor: socket.socket | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._working: list[asyncio.Task[None]] = []
        self._switching: asyncio.Task[Progress] | None = None

    async def serve(self) -> None:
        """Serve until told to stop. Raises SettingsError for what a person can mend."""
        try:
            self._start_plane()
            await self._pages.start(self._inherited)
            if self._inherited is not None:
                self._inherited.close_rest()
                if self._inherited.belief is not None:
                    self.follower.inherit(self._inherited.belief)
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await self._run()
        finally:
            await self._pages.stop()
            await self._members.close()
            await asyncio.to_thread(self.plane.stop, 0.0)

    # What the admin address and signals tell us.

    def drain(self) -> None:
        """Let clients finish, and end; when told again, end at once."""
        if self._stopped.is_set():
            self._impatient.set()
        self._stopped.set()

    def reload(self) -> str:
        """Read certificates and settings again; return what was taken over, in words.

        Raises SettingsError, and all stays as it was.
        """
        new = self._read_again()
        try:
            self.plane.reload_tls()
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the certificates cannot be used, the old ones stay: {error}"
            ) from error
        old, self._settings = self._settings, new
        changed = [
            each for each in SETTINGS if old.values[each.key.name] != new.values[each.key.name]
        ]
        follow = follow_settings(new)
        self.follower.reload(follow)
        self._switchovers.settings = follow
        self._site.token = new.token
        assert self._tasks is not None, "it serves"
        self._tasks.create_task(self._members.reload(follow), name="reload")
        names = ["certificates and secrets", *(each.key.name for each in changed if each.is_live)]
        late = [each.key.name for each in changed if not each.is_live]
        text = ", ".join(names)
        if late:
            text += f"; only a restart takes over: {', '.join(late)}"
        log.warning("Reloaded: %s", text)
        return text

    def switch_over(self, wish: Wish) -> Progress:
        """Begin a switch-over. Raises Unavailable while another one runs."""
        progress = self._switchovers.begin(wish)
        assert self._tasks is not None, "it serves"
        self._switching = self._tasks.create_task(
            self._switchovers.run(progress, limits_of(self._settings)), name="switch-over"
        )
        return progress

    # How it runs.

    def _start_plane(self) -> None:
        try:
            self.plane.start()
        except (OSError, ValueError) as error:
            if self._inherited is not None:
                self._inherited.give_back()
            raise SettingsError(f"the data plane cannot start: {error}") from error

    async def _run(self) -> None:
        assert self._tasks is not None, "it serves"
        loop = asyncio.get_running_loop()
        loop.add_reader(self.plane.notice_fd(), self._on_notices)
        self._handle_signals(loop)
        self._start_tasks()
        try:
            if self._inherited is not None:
                await self._succeed(self._inherited)
            if self._door is not None:
                self._door.open()
                self._work(self._hand_over(self._door), "door")
            self._say_ready()
            await self._stopped.wait()
            tell_supervisor("STOPPING=1")
            await self._end()
        finally:
            loop.remove_reader(self.plane.notice_fd())
            if self._door is not None:
                self._door.close(is_last=self._successor is None)
            if self._successor is not None:
                self._successor.close()
            for task in self._working:
                task.cancel()
            if self._switching is not None:
                self._switching.cancel()

    def _start_tasks(self) -> None:
        self._work(self.follower.run(), "follower")
        self._work(self._beat.run(), "beat")
        if self._settings.has_replicas_listener and not self._settings.is_pushed:
            self._work(self._members.run(), "members")
        if self._settings.is_on("reloads_on_change"):
            self._work(self._reload_on_change(), "files")

    async def _reload_on_change(self) -> None:
        """Reload when files are replaced; what cannot be used yet is tried with the next change."""
        files = await asyncio.to_thread(FreshFiles, self._settings.secret_files)
        while True:
            await asyncio.sleep(FILES_LOOK_S)
            if await asyncio.to_thread(files.have_changed):
                self._on_hangup()

    def _work(self, work: Coroutine[None, None, None], name: str) -> None:
        assert self._tasks is not None, "it serves"
        self._working.append(self._tasks.create_task(work, name=name))

    async def _succeed(self, inherited: Inheritance) -> None:
        """Have the process before us let go, once commands can be answered here."""
        await self.follower.until(lambda: self.follower.accepted is not None, INHERIT_S)
        await inherited.confirm()
        log.warning("The ports are taken over from the process before")

    async def _hand_over(self, door: Door) -> None:
        self._successor = await door.until_taken(self._hand_out)
        log.warning("A new process has taken the ports over: this one lets its clients finish")
        self.plane.stop_accepting()
        # Questions are for the successor, which listens at the same socket.
        await self._pages.stop()
        self._successor.close()
        self._stopped.set()

    def _hand_out(self) -> tuple[Sequence[tuple[str, int]], Belief | None]:
        return [*self.plane.listener_fds(), *self._pages.sockets], self.follower.accepted

    async def _end(self) -> None:
        """Let clients finish, as long as they may."""
        loop = asyncio.get_running_loop()
        grace_s = self._settings.number("grace_ms") / 1000
        log.warning("Clients may finish for %g s: %d are connected", grace_s, self._connections)
        closes_at = loop.time()
        if self._successor is None:
            self.plane.stop_accepting()
        else:
            # Who goes by itself cannot be closed just as it says something.
            closes_at += grace_s / 2
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._connections and not self._impatient.is_set():
                    if loop.time() >= closes_at:
                        self.plane.close_idle()
                    await asyncio.sleep(LOOK_S)
        if self._connections:
            log.warning("%d clients are closed in the middle of something", self._connections)

    @property
    def _connections(self) -> int:
        return self.plane.connections()

    def _say_ready(self) -> None:
        where = ", ".join(at for _, at in self.plane.addresses())
        log.warning("Everfly endpoint version=%s, pid=%d", __version__, os.getpid())
        log.warning("Ready: clients of group %s connect to %s", self._settings.group, where)
        if place := self._pages.admin_place:
            log.log(NOTICE, "Admin and metrics are on http://%s/", place)
        tell_supervisor(f"READY=1\nMAINPID={os.getpid()}")

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def stop(name: str) -> None:
            log.warning("Received %s", name)
            self.drain()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGUSR2, self._start_successor)

    def _on_hangup(self) -> None:
        tell_supervisor("RELOADING=1")
        try:
            self.reload()
        except SettingsError as error:
            log.warning("Reload refused, all stays as it was: %s", error)
        tell_supervisor("READY=1")

    def _start_successor(self) -> None:
        if self._door is None:
            log.warning("SIGUSR2 is ignored: a successor needs the setting restart_socket")
            return
        command = [sys.executable, "-m", "everfly", *sys.argv[1:]]
        # It outlives us on purpose, and whoever supervises us supervises it.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own words
        log.warning("A successor is started, pid %d", child.pid)

    def _on_notices(self) -> None:
        for notice in self.plane.notices():
            self._on_notice(notice)

    def _on_notice(self, notice: PlaneNotice) -> None:
        kind = notice["kind"]
        self._metrics.notices[kind] += notice["count"]
        level = logging.WARNING if kind in WARNINGS else NOTICE
        times = f" ({notice['count']} times)" if notice["count"] > 1 else ""
        log.log(level, "%s: %s%s", kind, notice["text"], times)
        if kind in DOUBTS:
            self.follower.doubt()

    def _parts(self) -> Parts:
        return Parts(
            group=self._settings.group,
            is_pushed=self._settings.is_pushed,
            plane=self.plane,
            follower=self.follower,
            members=None if self._settings.is_pushed else self._members,
            switchovers=self._switchovers,
            metrics=self._metrics,
            is_ending=self._stopped.is_set,
        )


def follow_settings(settings: EndpointSettings) -> FollowSettings:
    """Return whom to follow."""
    return FollowSettings(
        group=settings.group,
        sentinels=settings.sentinels,
        of_sentinels=settings.of_sentinels,
        of_instances=settings.of_instances,
        holds_on_announcement=settings.is_on("holds_on_announcement"),
        fence_ms=settings.number("fence_ms"),
    )


def limits_of(settings: EndpointSettings) -> Limits:
    """Return how long a switch-over may take, and what must be so before it."""
    bounds = Bounds(
        lag=settings.number("switchover_lag_bytes"), pause_ms=settings.number("switchover_pause_ms")
    )
    return Limits(
        total_ms=settings.number("switchover_limit_ms"),
        drain_ms=settings.number("drain_ms"),
        bounds=bounds,
    )


def _inherit(settings: EndpointSettings) -> Inheritance | None:
    path = settings.path("restart_socket")
    return inherit(path) if path else None


def _config(settings: EndpointSettings, inherited: Inheritance | None) -> dict[str, object]:
    config = settings.plane_config()
    listeners = config["listeners"]
    assert isinstance(listeners, list)
    if inherited is not None:
        for listener in listeners:
            descriptors = inherited.take(listener["address"])
            if descriptors:
                listener["fds"] = descriptors
    return config


def run(settings: EndpointSettings, reload: Reload) -> int:
    """Run an endpoint until it is told to stop; return the exit status of this process."""
    try:
        asyncio.run(_serve(settings, reload))
    except BaseException as caught:
        error = caught
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, KeyboardInterrupt):
            return 0
        if isinstance(error, EverflyError):
            log.warning("%s. Exiting...", error)
            return 1
        log.critical("BUG: nobody expected this", exc_info=error)
        return 1
    log.warning("The endpoint has ended, bye bye...")
    return 0


async def _serve(settings: EndpointSettings, reload: Reload) -> None:
    await Endpoint(settings, reload).serve()
