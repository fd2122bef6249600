"""Where Sentinels say that they are, and where they find others: behind NAT, over IPv6."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from kinds import HOST, OURS, Engine, Kind, engine_binary, missing
from processes import Child, Connection, free_port, until
from servers import Deployment, Sentinel

pytestmark = [pytest.mark.compat, pytest.mark.slow]

V6 = "::1"


@contextlib.contextmanager
def forwarder(host: str, port: int, to_port: int) -> Iterator[None]:
    """Carry connections to `host:port` on to a port of 127.0.0.1, as NAT does."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, to_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(carry, host, port)
        ready.set()
        await stop.wait()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_a_genuine_peer_votes_for_us_where_we_announce_ourselves() -> None:
    """Our own port is not where others are told; only the forwarder leads there."""
    if reason := missing(Kind.REDIS):
        pytest.skip(reason)
    announced = free_port()
    with Deployment(kinds=(Kind.REDIS,), replicas=1) as deployment:
        [genuine] = deployment.sentinels
        ours = Sentinel(OURS, deployment.folder / "announcing")
        primary = deployment.primary()
        lines = deployment.shape.lines(primary.port)
        lines += ["sentinel announce-ip 127.0.0.3", f"sentinel announce-port {announced}"]
        try:
            with forwarder("127.0.0.3", announced, ours.port):
                ours.start(lines)
                until(lambda: len(ours.replicas(deployment.name)) == 1, 15)
                until(lambda: len(genuine.peers(deployment.name)) == 1, 15)
                until(lambda: genuine.peers(deployment.name)[0]["flags"] == "sentinel", 15)
                [seen] = genuine.peers(deployment.name)
                assert (seen["ip"], seen["port"]) == ("127.0.0.3", str(announced))
                assert seen["runid"] == ours.run_id()
                until(lambda: len(ours.peers(deployment.name)) == 1, 15)
                primary.signal(signal.SIGKILL)
                primary.kill()
                deployment.sentinels.append(ours)
                deployment.new_primary(primary, 30.0)
        finally:
            ours.kill()


@dataclass
class V6Sentinel(Sentinel):
    """A Sentinel that listens on ::1 alone."""

    def ask(self, *args: str | bytes | int) -> object:
        with Connection(self.port, host=V6) as client:
            return client.call(*args)


@dataclass
class V6Redis:
    """A Redis that listens on ::1 alone."""

    folder: Path
    port: int = field(default_factory=free_port)
    child: Child | None = None

    def start(self, follow: int | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        conf = self.folder / "redis.conf"
        lines = [f"port {self.port}", f"bind {V6}", f"dir {self.folder}", 'save ""',
                 "repl-diskless-sync-delay 0"]  # fmt: skip
        lines += [f"replicaof {V6} {follow}"] if follow else []
        conf.write_text("\n".join(lines) + "\n")
        self.child = Child([engine_binary(Engine.REDIS), str(conf)], self.folder / "log")
        until(lambda: self.ask("PING") == b"PONG", 10)

    def ask(self, *args: str) -> object:
        with Connection(self.port, host=V6) as client:
            return client.call(*args)

    def role(self) -> object:
        reply = self.ask("ROLE")
        return reply[0] if isinstance(reply, list) else None

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()


def has_v6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind((V6, 0))
        except OSError:
            return False
        return True


@pytest.mark.skipif(not has_v6(), reason="this machine has no ::1")
def test_a_mixed_quorum_fails_over_where_all_addresses_are_ipv6(tmp_path: Path) -> None:
    if reason := missing(Kind.REDIS):
        pytest.skip(reason)
    primary, replica = V6Redis(tmp_path / "primary"), V6Redis(tmp_path / "replica")
    sentinels = [
        V6Sentinel(kind, tmp_path / f"sentinel-{number}")
        for number, kind in enumerate((OURS, Kind.REDIS, OURS))
    ]
    try:
        primary.start()
        replica.start(follow=primary.port)
        for sentinel in sentinels:
            sentinel.start([
                f"bind {V6}", f"sentinel monitor m {V6} {primary.port} 2",
                "sentinel down-after-milliseconds m 1000", "sentinel failover-timeout m 4000",
            ])  # fmt: skip

        def knows_all(sentinel: Sentinel) -> bool:
            """It knows the replica and both others."""
            known = [*sentinel.replicas("m"), *sentinel.peers("m")]
            return [each["ip"] for each in known] == [V6] * 3

        for sentinel in sentinels:
            until(partial(knows_all, sentinel), 20, show=sentinel.log_tail)
        assert sentinels[0].replicas("m")[0]["name"] == f"[{V6}]:{replica.port}"
        primary.kill()
        for sentinel in sentinels:
            until(lambda at=sentinel: at.primary_port("m") == replica.port, 30)  # type: ignore[misc]
        assert replica.role() == b"master"
        address = sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m")
        assert address == [V6.encode(), str(replica.port).encode()]
    finally:
        for each in (*sentinels, primary, replica):
            each.kill()
