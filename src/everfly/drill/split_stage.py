"""Run a deployment whose network can be cut in two: each part in a network namespace of its own.

`instance-1`, the first primary, and `sentinel-1` are on the far side; all others and the clients
are near. While the stage stands, the main thread is in the namespace of the clients, so whatever
connects sees what a client sees; `dial(..., beside=True)` connects from within a part's own
namespace instead. There is no supervisor: what ends stays down.
"""

import asyncio
import contextlib
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Self

from everfly.core.model import Address, Engine
from everfly.drill.network import Network
from everfly.drill.stage import Layout, Stage
from everfly.engines.command import EngineBinary, InstanceSpec
from everfly.engines.dialect import end_grace_commands, start_command
from everfly.errors import SettingsError, Unavailable
from everfly.local.home import write_private
from everfly.local.settings import FILE
from everfly.observe.observer import Observer
from everfly.observe.picture import GroupPicture
from everfly.runtime.client import Client, Credentials
from everfly.runtime.process import Process, ProcessSpec, describe_exit

GROUP: Final = "default-primary"
PORT: Final = 6_379
ADMIN_PORT: Final = 7_379
SENTINEL_PORT: Final = 26_379
"""Usual ones: nobody else is in these namespaces."""

INSTANCES: Final = ("instance-1", "instance-2", "instance-3")
SENTINELS: Final = ("sentinel-1", "sentinel-2", "sentinel-3")
FAR: Final = ("instance-1", "sentinel-1")
QUORUM: Final = 2
CLIENT: Final = "client"
FAILOVER_TIMEOUT_MS: Final = 2_000

START_LIMIT_S: Final = 15.0
ANSWER_S: Final = 2.0
_ASK_AGAIN_S: Final = 0.02


class SplitStage(Stage):
    """The deployment. Made by `temporary`."""

    is_kept = False

    def __init__(
        self, network: Network, directory: Path, engine: EngineBinary, down_after_ms: int
    ) -> None:
        self._network = network
        self._directory = directory
        self._engine = engine
        self._processes: dict[str, Process] = {}
        self._layout = Layout(
            group=GROUP,
            instances={each: Address(network.address(each), PORT) for each in INSTANCES},
            sentinels={each: Address(network.address(each), SENTINEL_PORT) for each in SENTINELS},
            credentials=Credentials(),
            engine=str(engine),
            down_after_ms=down_after_ms,
            failover_timeout_ms=FAILOVER_TIMEOUT_MS,
        )
        self._observer = Observer(tuple(self._layout.sentinels.values()), GROUP)

    @classmethod
    @contextlib.asynccontextmanager
    async def temporary(
        cls, engine: EngineBinary, sentinel_command: Sequence[str], down_after_ms: int
    ) -> AsyncIterator[Self]:
        """Make the network and start everything; remove all of it afterwards.

        Raises SettingsError when this machine or this user cannot, or a part does not start.
        """
        near = [CLIENT, *(each for each in (*INSTANCES, *SENTINELS) if each not in FAR)]
        directory = Path(tempfile.mkdtemp(prefix="everfly-"))
        try:
            # Everything that connects in this process shall stand where the clients stand.
            with Network(near, FAR) as network, network.entered(CLIENT):
                stage = cls(network, directory, engine, down_after_ms)
                try:
                    await stage._start(sentinel_command)
                    yield stage
                finally:
                    await stage._stop()
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    @property
    def layout(self) -> Layout:
        """Who is there."""
        return self._layout

    async def picture(self) -> GroupPicture:
        """Return the group as the clients' side sees it."""
        return await self._observer.picture()

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part."""
        process = self._processes[name]
        if not process.is_running:
            raise Unavailable(f"{name} does not run")
        process.send_signal(number)

    def cut(self) -> tuple[str, ...]:
        """Cut the far side off; return who is on it, the primary first."""
        self._network.cut()
        return FAR

    def heal(self) -> None:
        """Put the cable back."""
        self._network.heal()

    async def dial(self, address: Address, timeout_s: float, *, beside: bool = False) -> Client:
        """Connect from where the clients are, or from within the namespace of the part."""
        if not beside:
            return await super().dial(address, timeout_s)
        with self._network.entered(self._layout.names[address]):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(timeout_s):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(connection, (address.host, address.port))
                reader, writer = await asyncio.open_connection(sock=connection)
        except TimeoutError as error:
            connection.close()
            raise Unavailable(f"{address} accepts no connection within {timeout_s:g} s") from error
        except OSError as error:
            connection.close()
            raise Unavailable(f"{address} cannot be reached: {error.strerror}") from error
        except BaseException:
            connection.close()
            raise
        return Client(reader, writer, address)

    async def _start(self, sentinel_command: Sequence[str]) -> None:
        primary, *replicas = INSTANCES
        await self._start_instance(primary, None)
        await self._until_answers(primary)
        for replica in replicas:
            await self._start_instance(replica, self._layout.instances[primary])
        for replica in replicas:
            await self._until_answers(replica)
        for address in self._layout.instances.values():
            # None of them is restarted here, so none has to prove that it is the right primary.
            async with await self.dial(address, ANSWER_S, beside=True) as link:
                await link.transaction(end_grace_commands(self._engine.engine))
        for sentinel in SENTINELS:
            await self._start_sentinel(sentinel, sentinel_command)
        for sentinel in SENTINELS:
            await self._until_answers(sentinel)

    async def _start_instance(self, name: str, primary: Address | None) -> None:
        address = self._layout.instances[name]
        is_dragonfly = self._engine.engine is Engine.DRAGONFLY
        data = self._directory / name / "data"
        data.mkdir(parents=True)
        spec = InstanceSpec(
            port=address.port,
            directory=data,
            bind=address.host,
            replica_of=primary,
            admin_port=ADMIN_PORT if is_dragonfly else None,
            # Nobody but the drill is in this network, so it does without a password.
            extra=() if is_dragonfly else ("--protected-mode", "no"),
        )
        await self._run(name, start_command(self._engine, spec))

    async def _start_sentinel(self, name: str, command: Sequence[str]) -> None:
        folder = self._directory / name
        folder.mkdir()
        primary = self._layout.instances[INSTANCES[0]]
        file = folder / "sentinel.conf"
        lines = [
            f"port {SENTINEL_PORT}",
            f"bind {self._layout.sentinels[name].host}",
            "protected-mode no",
            f"dir {folder}",
            f"sentinel monitor {GROUP} {primary.host} {primary.port} {QUORUM}",
            f"sentinel down-after-milliseconds {GROUP} {self._layout.down_after_ms}",
            f"sentinel failover-timeout {GROUP} {FAILOVER_TIMEOUT_MS}",
            f"sentinel parallel-syncs {GROUP} 1",
        ]
        write_private(file, "\n".join(lines) + "\n")
        await self._run(name, [str(file) if word == FILE else word for word in command])

    async def _run(self, name: str, command: Sequence[str]) -> None:
        folder = self._directory / name
        self._processes[name] = await Process.start(
            ProcessSpec(
                command=tuple(self._network.inside(name, command)),
                log=folder / "log",
                directory=folder,
            )
        )

    async def _until_answers(self, name: str) -> None:
        process = self._processes[name]
        address = self._layout.instances.get(name) or self._layout.sentinels[name]
        deadline = time.monotonic() + START_LIMIT_S
        while process.is_running and time.monotonic() < deadline:
            with contextlib.suppress(Unavailable):
                async with await self.dial(address, ANSWER_S, beside=True) as client:
                    await client.call("PING")
                    return
            await asyncio.sleep(_ASK_AGAIN_S)
        status = process.exit_status
        how = "does not answer" if status is None else f"ended: {describe_exit(status)}"
        raise SettingsError(f"{name} {how}; its log ends:\n{process.log_tail()}")

    async def _stop(self) -> None:
        await self._observer.close()
        for process in self._processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self._processes.values():
            await process.wait()
