"""Run a small always-on deployment here: a primary, replicas, Sentinels, an endpoint, a supervisor.

    async with Deployment.temporary(find_engine("auto")) as deployment:
        primary = await deployment.primary()
        deployment.kill(primary)
        await deployment.until(lambda picture: picture.primary != primary.address, 10, "failover")

For `everfly up`, for drills and for tests. A deployment that is left by its context has no process
left, however it is left; when this process is killed instead, the kernel ends the children.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from everfly.core.model import Address, Engine
from everfly.engines.command import EngineBinary
from everfly.errors import EverflyError, SettingsError, Unavailable
from everfly.local.home import Home
from everfly.local.members import Crew, Member
from everfly.local.ports import PortInUse, check_free
from everfly.local.reopen import random_settings, with_random_endpoint
from everfly.local.sentinel_file import newest
from everfly.local.settings import HOST, Settings
from everfly.local.supervisor import Supervisor
from everfly.observe.description import Description, Part
from everfly.observe.picture import GroupPicture

SYNC_LIMIT_S: Final = 5.0
"""How long the start waits for the replicas before the Sentinels start. Not an error: Sentinels
that start earlier learn of a replica later, at worst after their info period of 10 s."""

STOP_LIMIT_S: Final = 30.0
"""For an orderly end, which saves the dataset; after it a process is killed."""

START_TRIES: Final = 3
"""A random port may be taken by somebody else between the check and the start."""

_LOOK_S: Final = 0.05


class Deployment:
    """A deployment. Use it as `async with`."""

    def __init__(self, settings: Settings, home: Home) -> None:
        """Take what to deploy and its directory, which stays the caller's to close."""
        self.settings: Final = settings
        self._home = home
        self._crew = Crew(settings, home, self._note_exit)
        self._supervising: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._is_described = home.description() is not None
        self.supervisor: Final = Supervisor(self._crew, self._describe)

    @classmethod
    @contextlib.asynccontextmanager
    async def temporary(
        cls,
        engine: EngineBinary,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        has_endpoint: bool = False,
        **changes: object,
    ) -> AsyncIterator[Self]:
        """Run a deployment on free ports in a directory that is removed afterwards.

        Further keywords are fields of `Settings`, such as `down_after_ms`, `failover_timeout_ms`,
        `password`, `sentinel_command`. Raises SettingsError when it cannot start.
        """
        directory = Path(tempfile.mkdtemp(prefix="everfly-"))
        try:
            with Home(directory) as home:
                for tries_left in reversed(range(START_TRIES)):
                    settings = random_settings(engine, directory, replicas, sentinels)
                    if has_endpoint:
                        settings = with_random_endpoint(settings)
                    deployment = cls(replace(settings, **changes), home)  # type: ignore[arg-type]  # the caller's fields
                    try:
                        await deployment.start()
                        break
                    except PortInUse:
                        if not tries_left:
                            raise
                try:
                    yield deployment
                finally:
                    await deployment.stop()
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def instances(self) -> tuple[Member, ...]:
        """The data processes."""
        return self._crew.instances

    @property
    def sentinels(self) -> tuple[Member, ...]:
        """The Sentinels."""
        return self._crew.sentinels

    @property
    def endpoint(self) -> Member | None:
        """Where clients connect; None: there is no endpoint."""
        return self._crew.endpoint

    @property
    def members(self) -> tuple[Member, ...]:
        """All of them."""
        return self._crew.members

    def named(self, name: str) -> Member:
        """Return a member by its name, such as `instance-1` or `sentinel-2`. Raises KeyError."""
        return self._crew.named(name)

    def at(self, address: Address | None) -> Member | None:
        """Return the member that listens there, or None."""
        return next((each for each in self.members if each.address == address), None)

    async def start(self) -> None:
        """Start everything; return when all processes answer (`until_healthy` waits for more).

        An earlier deployment in this directory comes back with its data and the primary that the
        newest of its Sentinels' files names. Raises SettingsError, and nothing is left running.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            if not self._is_described:
                # It never existed: the next try may choose other ports.
                for sentinel in self.sentinels:
                    self._home.forget_sentinel(sentinel.name)
            raise
        self._supervising = asyncio.create_task(self.supervisor.run(), name="supervisor")

    async def _start(self) -> None:
        settings, crew = self.settings, self._crew
        check_free(HOST, self._purposes())
        self._home.write_password(settings.password)
        primary = self._first_primary()
        await crew.start_instance(primary, None)
        await crew.until_answers(primary)
        # Nobody else can be the primary: so says the newest file, or there never was another.
        await crew.end_grace(primary)
        replicas = [each for each in crew.instances if each is not primary]
        for replica in replicas:
            await crew.start_instance(replica, primary.address)
        await asyncio.gather(*map(crew.until_answers, replicas))
        await self._until_in_sync(primary, len(replicas))
        for sentinel in crew.sentinels:
            await crew.start_sentinel(sentinel, primary.address)
        await asyncio.gather(*map(crew.until_answers, crew.sentinels))
        if crew.endpoint is not None:
            await crew.start_endpoint()
            await crew.until_answers(crew.endpoint)
        self._is_described = True
        self._describe()
        await self.supervisor.look()

    def _purposes(self) -> list[tuple[int, str]]:
        settings = self.settings
        return [
            *((port, f"instance-{index + 1}") for index, port in enumerate(settings.ports)),
            *(
                (port, f"the admin port of instance-{index + 1}")
                for index, port in enumerate(settings.admin_ports)
            ),
            *(
                (port, f"Sentinel {index + 1}")
                for index, port in enumerate(settings.sentinel_ports)
            ),
            *zip(
                settings.endpoint_ports,
                ("the endpoint", "the endpoint's admin address"),
                strict=False,
            ),
        ]

    def _first_primary(self) -> Member:
        """Return who is to start as the primary, from what the Sentinels wrote down."""
        crew, home = self._crew, self._home
        address = newest(home.belief(each.name, self.settings.group) for each in crew.sentinels)
        if address is None:
            return crew.instances[0]
        primary = next((each for each in crew.instances if each.address == address), None)
        if primary is None:
            raise SettingsError(
                f"the Sentinels in {home.directory} call {address} the primary, which is no "
                "instance of this deployment; start it with the ports it had, or choose another "
                "directory with --dir"
            )
        others = [each.name for each in crew.instances if home.has_data(each.name)]
        if others and not home.has_data(primary.name):
            raise SettingsError(
                f"{primary}, the primary, has no data in {home.data(primary.name)}, but "
                f"{', '.join(others)} have: they would be emptied. Copy the data of one of them "
                f"there, or choose another directory with --dir"
            )
        return primary

    async def _until_in_sync(self, primary: Member, count: int) -> None:
        """Wait until the primary names all replicas as in sync, for a while."""
        with contextlib.suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(SYNC_LIMIT_S):
                while True:
                    if await self._crew.replicas_in_sync(primary) >= count:
                        return
                    await asyncio.sleep(_LOOK_S)

    async def stop(self) -> None:
        """End everything in order: Sentinels and replicas, then the primary with its data saved.

        Nothing is left running afterwards. Call `kill_all` to make it shorter.
        """
        self._is_stopping = True
        supervising = self._supervising
        if supervising is not None:
            supervising.cancel()
            await asyncio.wait([supervising])
        primary = self.at(self.supervisor.picture.primary) or self.instances[0]
        first = [each for each in self.members if each not in (primary, self.endpoint)]
        try:
            if self.endpoint is not None:
                # Clients are to see the end of their connection, and not a store that goes away.
                await self._stop(self.endpoint)
            await asyncio.gather(*map(self._stop, first))
            await self._stop(primary)
        finally:
            # Also when the waiting itself was cancelled.
            self.kill_all()
            with contextlib.suppress(EverflyError):
                self._describe()
        if supervising is not None and not supervising.cancelled():
            supervising.result()  # it ends by itself only by a bug, which must be seen

    async def supervised(self) -> None:
        """Wait as long as the deployment is supervised. Raises what ended that: a bug."""
        assert self._supervising is not None, "the deployment was not started"
        await asyncio.shield(self._supervising)

    async def _stop(self, member: Member) -> None:
        if member.process is None:
            return
        # Valkey and Redis refuse to end while they write their first append-only file after a full
        # synchronisation. Dragonfly takes a second SIGTERM for impatience.
        is_asked_again = member.is_instance and self.settings.engine.engine is not Engine.DRAGONFLY
        await member.process.stop(STOP_LIMIT_S, again_s=1.0 if is_asked_again else None)

    def kill_all(self) -> None:
        """Kill every process at once, saving nothing. Call `stop` too, to see them gone."""
        self._is_stopping = True
        for member in self.members:
            if member.process is not None:
                member.process.send_signal(signal.SIGKILL)

    async def picture(self) -> GroupPicture:
        """Return the group as it is now."""
        return await self.supervisor.look()

    async def primary(self, within_s: float = 10.0) -> Member:
        """Return the instance that a majority of the Sentinels names. Raises Unavailable."""
        picture = await self.until(
            lambda picture: self.at(picture.primary) is not None, within_s, "a primary"
        )
        member = self.at(picture.primary)
        assert member is not None, "the condition that was just met"
        return member

    async def until(
        self, condition: Callable[[GroupPicture], bool], within_s: float, what: str
    ) -> GroupPicture:
        """Wait until the group satisfies a condition and return that picture.

        Raises Unavailable after `within_s` seconds, with what was awaited and what is wrong.
        """
        deadline = time.monotonic() + within_s
        while True:
            picture = await self.picture()
            if condition(picture):
                return picture
            if time.monotonic() >= deadline:
                state = "; ".join(picture.problems) or "nothing is wrong"
                raise Unavailable(f"not within {within_s:g} s: {what}. Last state: {state}")
            await asyncio.sleep(_LOOK_S)

    async def until_healthy(self, within_s: float = 15.0) -> GroupPicture:
        """Wait until everybody is up, in sync and known to each other. Raises Unavailable."""
        return await self.until(self.is_complete, within_s, "a healthy deployment")

    def is_complete(self, picture: GroupPicture) -> bool:
        """Return whether a picture shows every member, and nothing wrong with any."""
        instances, sentinels = len(self.instances), len(self.sentinels)
        return (
            picture.is_healthy
            and len(picture.instances) == instances
            and len(picture.sentinels) == sentinels
            and all(len(each.peers) == sentinels - 1 for each in picture.sentinels)
            and all(len(each.replicas) == instances - 1 for each in picture.sentinels)
        )

    def kill(self, member: Member, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a member: SIGKILL, SIGTERM, SIGSTOP, SIGCONT. The supervisor reacts."""
        if member.process is not None:
            member.process.send_signal(number)

    def suspend_supervision(self, member: Member) -> None:
        """Leave a member down when it goes down."""
        member.is_supervised = False

    def resume_supervision(self, member: Member) -> None:
        """Bring a member back again, also now."""
        member.is_supervised = True
        self.supervisor.wake()

    async def restart_empty(self, member: Member) -> None:
        """Do to an instance what an outsider without persistence does: restart it at once, empty.

        It is killed, its data removed, and it is started as a primary. Raises SettingsError.
        """
        was_supervised, member.is_supervised = member.is_supervised, False
        try:
            if member.process is not None:
                member.process.send_signal(signal.SIGKILL)
                await member.process.wait()
            self._home.wipe_data(member.name)
            await self._crew.start_instance(member, None)
            await self._crew.until_answers(member)
            self._describe()
        finally:
            member.is_supervised = was_supervised

    def _note_exit(self, member: Member) -> None:
        if not self._is_stopping:
            self.supervisor.note_exit(member)
            self._describe()

    def _describe(self) -> None:
        """Tell other commands what there is, once there is a deployment at all."""
        if not self._is_described:
            return
        settings = self.settings
        is_running = any(each.is_running for each in self.members) or not self._is_stopping
        self._home.write_description(
            Description(
                group=settings.group,
                engine=settings.engine.engine,
                engine_binary=str(settings.engine.path),
                engine_version=settings.engine.version,
                instances=tuple(map(_part, self.instances)),
                sentinels=tuple(map(_part, self.sentinels)),
                endpoint=None if self.endpoint is None else _part(self.endpoint),
                down_after_ms=settings.down_after_ms,
                failover_timeout_ms=settings.failover_timeout_ms,
                supervisor_pid=os.getpid() if is_running else None,
            )
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def _part(member: Member) -> Part:
    return Part(
        name=member.name, address=member.address, pid=member.pid, admin_port=member.admin_port
    )
