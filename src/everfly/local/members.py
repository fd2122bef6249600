"""Turn the parts of a deployment into child processes, and remember how their lives went.

A member is an instance, a Sentinel or the endpoint of this deployment; it keeps its name, port and
folder while processes come and go.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from everfly.core.model import Address, Instant
from everfly.engines.command import InstanceSpec
from everfly.engines.dialect import end_grace_commands, start_command
from everfly.errors import SettingsError, Unavailable
from everfly.local.endpoint_file import endpoint_text
from everfly.local.home import ENDPOINT, Home, write_private
from everfly.local.plan import SOON, backoff
from everfly.local.sentinel_file import first_text
from everfly.local.settings import FILE, HOST, Settings
from everfly.runtime.client import Client, Credentials
from everfly.runtime.process import Process, ProcessSpec, describe_exit
from everfly.wire.info import parse_info
from everfly.wire.resp import ErrorReply

START_LIMIT_S: Final = 15.0
"""Until a fresh process answers PING: a healthy one takes 50 ms, a loaded machine seconds."""

_ASK_AGAIN_S: Final = 0.02


def monotonic() -> Instant:
    """Return the time of the monotonic clock."""
    return Instant(time.monotonic_ns() // 1_000_000)


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One instance, Sentinel or endpoint of a deployment."""

    name: str
    address: Address
    is_instance: bool
    index: int
    """Its place among its kind, from 0."""
    admin_port: int | None = None
    process: Process | None = None
    is_supervised: bool = True
    """Whether a supervisor may start it when it is down."""
    has_grace: bool = False
    """Whether its process still waits before it hands out its dataset (`engines.redis`)."""
    started_at: Instant = Instant(0)
    down_since: Instant = Instant(0)
    may_start_at: Instant = Instant(0)
    exits_in_a_row: int = 0

    @property
    def is_running(self) -> bool:
        """Whether it has a process, frozen or not."""
        return self.process is not None and self.process.is_running

    @property
    def pid(self) -> int | None:
        """The process id, or None while it does not run."""
        return self.process.pid if self.process is not None and self.process.is_running else None

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"

    def note_exit(self) -> None:
        """Remember that its process ended now."""
        self.down_since = monotonic()
        is_soon = self.down_since - self.started_at < SOON
        self.exits_in_a_row = self.exits_in_a_row + 1 if is_soon else 0
        self.may_start_at = Instant(self.down_since + backoff(self.exits_in_a_row))


@dataclass(slots=True)
class Crew:
    """All members of one deployment and how to start them."""

    settings: Settings
    home: Home
    on_exit: Callable[[Member], None]
    """Called in the event loop after the process of a member ended and was reaped."""
    instances: tuple[Member, ...] = field(init=False)
    sentinels: tuple[Member, ...] = field(init=False)
    endpoint: Member | None = field(init=False)
    """None: there is none."""

    def __post_init__(self) -> None:
        settings = self.settings
        self.instances = tuple(
            Member(
                name=f"instance-{index + 1}",
                address=Address(HOST, port),
                is_instance=True,
                index=index,
                admin_port=settings.admin_ports[index] if settings.admin_ports else None,
            )
            for index, port in enumerate(settings.ports)
        )
        self.sentinels = tuple(
            Member(
                name=f"sentinel-{index + 1}",
                address=Address(HOST, port),
                is_instance=False,
                index=index,
            )
            for index, port in enumerate(settings.sentinel_ports)
        )

        self.endpoint = None
        if settings.endpoint_ports:
            port, admin_port = settings.endpoint_ports
            self.endpoint = Member(
                name=ENDPOINT,
                address=Address(HOST, port),
                is_instance=False,
                index=0,
                admin_port=admin_port,
            )

    @property
    def members(self) -> tuple[Member, ...]:
        """All, instances first."""
        endpoint = () if self.endpoint is None else (self.endpoint,)
        return self.instances + self.sentinels + endpoint

    def named(self, name: str) -> Member:
        """Return the member of that name. Raises KeyError."""
        for member in self.members:
            if member.name == name:
                return member
        raise KeyError(name)

    async def start_instance(self, member: Member, primary: Address | None) -> None:
        """Start an instance: as a replica of an address, or as a primary with what it has on disk.

        Returns at once; see `until_answers`. Raises SettingsError when it cannot be started at all.
        """
        settings = self.settings
        spec = InstanceSpec(
            port=member.address.port,
            directory=self.home.data(member.name),
            bind=member.address.host,
            replica_of=primary,
            maxmemory=settings.maxmemory,
            admin_port=member.admin_port,
            secrets=self.home.write_secrets(member.name, settings.engine, settings.password),
        )
        member.has_grace = bool(end_grace_commands(settings.engine.engine))
        # Dragonfly saves its dataset when it is asked to end, so it is asked also by the kernel.
        await self._start(member, start_command(settings.engine, spec), signal.SIGTERM)

    async def start_sentinel(self, member: Member, primary: Address) -> None:
        """Start a Sentinel with the file that it left, or with a first one about this primary.

        Returns at once; see `until_answers`. Raises SettingsError when it cannot be started at all.
        """
        path = self.home.sentinel_file(member.name)
        if not path.exists():
            text = first_text(self.settings, member.index, path.parent, primary)
            write_private(path, text)
        command = [str(path) if word == FILE else word for word in self.settings.sentinel_command]
        await self._start(member, command, signal.SIGKILL)

    async def start_endpoint(self) -> None:
        """Start the endpoint, which must be wanted.

        Returns at once; see `until_answers`. Raises SettingsError when it cannot be started at all.
        """
        member = self.endpoint
        assert member is not None, "it is wanted"
        path = self.home.write_endpoint(endpoint_text(self.settings), self.settings.password)
        command = [sys.executable, "-m", "everfly", "endpoint", "--settings", str(path)]
        await self._start(member, command, signal.SIGKILL)

    async def _start(
        self, member: Member, command: list[str], death_signal: signal.Signals
    ) -> None:
        folder = self.home.folder(member.name)
        spec = ProcessSpec(
            command=tuple(command),
            log=folder / "log",
            directory=folder,
            death_signal=death_signal,
        )

        def note_exit(process: Process) -> None:
            if member.process is process:
                member.note_exit()
                self.on_exit(member)

        member.started_at = monotonic()
        member.process = await Process.start(spec, note_exit)

    def credentials(self, member: Member) -> Credentials:
        """Return what a member wants to hear."""
        is_at_instance = member.is_instance or member is self.endpoint
        return Credentials(self.settings.password if is_at_instance else "")

    async def until_answers(self, member: Member, limit_s: float = START_LIMIT_S) -> None:
        """Wait until a member that was started answers (also: that it still loads its data).

        Raises SettingsError with the end of its log when it ended, or did not answer in time.
        """
        assert member.process is not None, f"{member.name} was not started"
        process = member.process
        try:
            async with asyncio.timeout(limit_s):
                while process.is_running:
                    if await self._answers(member):
                        return
                    await asyncio.sleep(_ASK_AGAIN_S)
                status = await process.wait()
        except TimeoutError as error:
            raise SettingsError(
                f"{member} does not answer within {limit_s:g} s of its start; {_log(process)}"
            ) from error
        raise SettingsError(
            f"{member} ended at its start: {describe_exit(status)}; {_log(process)}"
        )

    async def _answers(self, member: Member) -> bool:
        try:
            client = await Client.connect(member.address, credentials=self.credentials(member))
            async with client:
                reply = await client.call("PING")
        except Unavailable:
            return False
        return not isinstance(reply, ErrorReply) or reply.code == "LOADING"

    async def end_grace(self, member: Member) -> None:
        """Let an instance hand out its dataset at once. Raises Unavailable."""
        commands = end_grace_commands(self.settings.engine.engine)
        if commands:
            client = await Client.connect(member.address, credentials=self.credentials(member))
            async with client:
                replies = await client.transaction(commands)
            errors = [reply.text for reply in replies if isinstance(reply, ErrorReply)]
            if errors:
                raise Unavailable(f"{member} refuses: {errors[0]}")
        member.has_grace = False

    async def replicas_in_sync(self, member: Member) -> int:
        """Return how many replicas an instance names as in sync. Raises Unavailable."""
        client = await Client.connect(member.address, credentials=self.credentials(member))
        async with client:
            reply = await client.call("INFO")
        fields = parse_info(reply) if isinstance(reply, bytes) else {}
        return sum(
            name.startswith("slave") and "state=online" in value.split(",")
            for name, value in fields.items()
        )


def _log(process: Process) -> str:
    tail = process.log_tail()
    return f"its log {process.spec.log} " + (f"ends:\n{tail}" if tail else "is empty")
