#!/usr/bin/env python3
"""Stand in for a Dragonfly 1.40 in tests: its flags, replies and replication as seen from outside.

Needs Python alone, so that it can be given as an engine's binary. What clients and Sentinels see
follows recorded replies of the real program: INFO without run_id and primary offset, ROLE, the
MULTI of a Sentinel, the errors of CLIENT KILL TYPE and CONFIG REWRITE, the refusal to follow a dead
address or a replica, a replica that leaves a primary which restarted, REPLTAKEOVER that ends the
old primary. How two doubles replicate with each other is their own affair.
"""

import asyncio
import contextlib
import os
import re
import secrets
import signal
import ssl
import sys
import time
from pathlib import Path

import double_metrics
from double_commands import VERSION, Commands
from double_wire import BULK_MAX, Connection, Error, Status, commands, encode

RETRY_S = 0.2
CONNECT_S = 2.0


class Exit(Exception):  # noqa: N818 - an order, not an error
    pass


class Dragonfly(Commands):
    def __init__(self, flags: dict[str, str]) -> None:
        self.flags = flags
        self.port = int(flags.get("port", "6379"))
        super().__init__(
            {
                "requirepass": flags.get("requirepass", ""),
                "masterauth": flags.get("masterauth", ""),
                "replica_priority": flags.get("replica_priority", "100"),
                "dir": flags.get("dir", "."),
                "dbfilename": flags.get("dbfilename", ""),
                "maxmemory": flags.get("maxmemory", "0"),
            }
        )
        self.replid = secrets.token_hex(20)
        self.started = time.monotonic()
        self.accepted = 0
        self.link: asyncio.Task[None] | None = None
        self.primary_replid = ""
        self.last_io = time.monotonic()
        self.ended = asyncio.Event()
        self.servers: dict[int, asyncio.Server] = {}
        self.is_patient = False
        """As the real one, which says for ever that it hears a frozen primary."""
        self.changed = asyncio.Condition()

    @property
    def file(self) -> Path | None:
        name = self.config["dbfilename"]
        return Path(self.config["dir"], f"{name}-summary.dfs") if name else None

    def save(self) -> None:
        if self.file is not None:
            temporary = self.file.with_suffix(".tmp")
            temporary.write_bytes(self.dataset.snapshot())
            temporary.replace(self.file)

    def load(self) -> None:
        if self.file is not None and self.file.exists():
            self.dataset.restore(self.file.read_bytes())

    @property
    def replicas(self) -> list[Connection]:
        return [each for each in self.connections.values() if each.state]

    async def follow(self, host: str, port: int) -> None:
        """Follow another one, or refuse as Dragonfly does when it is not there or a replica."""
        try:
            stream = await self.handshake(host, port)
        except (OSError, EOFError, TimeoutError, ValueError):
            raise Error("ERR replication cancelled") from None
        await self.unfollow()
        self.primary, self.primary_replid = (host, port), stream[2]
        self.link = asyncio.create_task(self.replicate(stream))

    async def unfollow(self) -> None:
        if self.link is not None:
            self.link.cancel()
            await asyncio.wait([self.link])
        self.link = self.primary = None
        self.link_state = "connecting"

    async def handshake(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port, limit=BULK_MAX)
            try:
                replid = await self.introduce(reader, writer)
            except BaseException:
                writer.transport.abort()
                raise
        return reader, writer, replid

    async def introduce(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if self.config["masterauth"]:
            writer.write(encode(["AUTH", self.config["masterauth"]]))
            await reader.readuntil(b"\n")
        writer.write(encode(["REPLCONF", "listening-port", str(self.port)]))
        await reader.readuntil(b"\n")
        if announced := self.flags.get("replica_announce_ip"):
            writer.write(encode(["REPLCONF", "ip-address", announced]))
            await reader.readuntil(b"\n")
        writer.write(encode(["DOUBLESYNC"]))
        answer = (await reader.readuntil(b"\n")).decode().strip()
        if not answer.startswith("+"):
            raise ValueError(answer)
        return answer[1:]

    async def keep_following(self) -> None:
        """Connect to the primary of the command line, which need not be there yet."""
        assert self.primary is not None
        while True:
            with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
                stream = await self.handshake(*self.primary)
                is_new = self.primary_replid not in ("", stream[2])
                if is_new and self.flags.get("break_replication_on_master_restart") == "true":
                    stream[1].transport.abort()
                    return  # it keeps its data, and its link stays down
                self.primary_replid = stream[2]
                await self.read_stream(stream)
            self.link_state = "connecting"
            await asyncio.sleep(RETRY_S)

    async def replicate(
        self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter, str]
    ) -> None:
        with contextlib.suppress(OSError, EOFError):
            await self.read_stream(stream)
        self.link_state = "connecting"
        await asyncio.sleep(RETRY_S)
        await self.keep_following()

    async def read_stream(
        self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter, str]
    ) -> None:
        reader, writer, _ = stream
        try:
            self.link_state = "full_sync"
            async for name, *args in commands(reader):
                self.last_io = time.monotonic()
                if name == b"SNAPSHOT":
                    self.lsn = int(args[0])
                    self.dataset.restore(args[1])
                    self.link_state = "online"
                elif name != b"PING":
                    self.lsn += 1
                    self.dataset.apply(name.decode(), args)
                writer.write(encode(["DOUBLEACK", str(self.lsn)]))
        finally:
            writer.transport.abort()

    def feed_replicas(self, command: list[bytes]) -> None:
        for replica in self.replicas:
            replica.writer.write(encode(command))

    async def ping_replicas(self) -> None:
        while True:
            self.feed_replicas([b"PING"])
            await asyncio.sleep(0.5)

    async def caught_up(self, count: int, timeout_s: float, port: int | None = None) -> int:
        def acked() -> int:
            return sum(
                each.acked >= self.lsn and port in (None, each.replica_port)
                for each in self.replicas
            )

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.changed:
                await self.changed.wait_for(lambda: acked() >= count)
        return acked()

    def http_answer(self, path: str) -> bytes:
        return double_metrics.answer(self, path)

    def do_role(self, _: Connection) -> object:
        if self.primary is not None:
            return ["slave", self.primary[0], str(self.primary[1]), self.link_state]
        hosts = [[each.replica_host, str(each.replica_port), each.state] for each in self.replicas]
        return ["master", hosts]

    def do_info(self, _: Connection, *__: bytes) -> object:
        sections: dict[str, dict[str, object]] = {
            "Server": {
                "redis_version": "7.4.0",
                "dragonfly_version": f"df-{VERSION}",
                "redis_mode": "standalone",
                "process_id": os.getpid(),
                "thread_count": self.flags.get("proactor_threads", "1"),
                "tcp_port": self.port,
                "uptime_in_seconds": int(time.monotonic() - self.started),
            },
            "Clients": {"connected_clients": len(self.connections)},
            "Memory": {
                "used_memory": 1_000_000 + 100 * len(self.dataset.data),
                "maxmemory": self.config["maxmemory"],
            },
            "Replication": self.replication(),
            "Keyspace": {"db0": f"keys={len(self.dataset.data)},expires=0,avg_ttl=-1"},
        }
        return "\r\n".join(
            f"# {title}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in fields.items())
            for title, fields in sections.items()
        )

    def replication(self) -> dict[str, object]:
        if self.primary is None:
            fields: dict[str, object] = {"role": "master", "connected_slaves": len(self.replicas)}
            for index, each in enumerate(self.replicas):
                lag = max(0, self.lsn - each.acked) if each.state == "online" else 0
                fields[f"slave{index}"] = (
                    f"ip={each.replica_host},port={each.replica_port},state={each.state},lag={lag}"
                )
            return fields | {"master_replid": self.replid}
        is_up = self.link_state in ("online", "full_sync")
        silent_s = int(time.monotonic() - self.last_io)
        fields = {
            "role": "slave",
            "master_host": self.primary[0],
            "master_port": self.primary[1],
            "master_link_status": "up" if is_up else "down",
            "master_last_io_seconds_ago": 0 if is_up and self.is_patient else silent_s,
            "master_sync_in_progress": int(self.link_state == "full_sync"),
            "master_replid": self.primary_replid,
        }
        if self.link_state != "full_sync" and self.primary_replid:
            fields["slave_repl_offset"] = self.lsn
        return fields | {
            "slave_priority": self.config["replica_priority"],
            "slave_read_only": 1,
            "psync_attempts": 0,
            "psync_successes": 0,
        }

    def do_replconf(self, connection: Connection, option: bytes, value: bytes) -> object:
        if option.lower() == b"listening-port":
            connection.replica_port = int(value)
        if option.lower() == b"ip-address":
            connection.replica_ip = value.decode()
        return Status("OK")

    def do_doublesync(self, connection: Connection) -> object:
        if self.primary is not None:
            raise Error("ERR Replicating a replica is unsupported")
        connection.send(Status(self.replid))
        connection.state = "full_sync"
        connection.writer.write(encode([b"SNAPSHOT", str(self.lsn), self.dataset.snapshot()]))
        return NotImplemented

    async def do_doubleack(self, connection: Connection, lsn: bytes) -> object:
        async with self.changed:
            connection.acked, connection.state = int(lsn), "online"
            self.changed.notify_all()
        return NotImplemented

    async def do_replicaof(self, _: Connection, host: bytes, port: bytes) -> object:
        if (host.upper(), port.upper()) == (b"NO", b"ONE"):
            await self.unfollow()
        elif host.upper() == b"NO":
            raise Error("ERR syntax error")
        elif not re.fullmatch(rb"[0-9]{1,5}", port) or int(port) > 65_535:
            raise Error("ERR port is out of range")
        else:
            await self.follow(host.decode(), int(port))
        return Status("OK")

    do_slaveof = do_replicaof

    async def do_wait(self, _: Connection, count: bytes, timeout_ms: bytes) -> object:
        return await self.caught_up(int(count), int(timeout_ms) / 1000)

    async def do_repltakeover(self, _: Connection, seconds: bytes, *__: bytes) -> object:
        if self.primary is None:
            return Status("OK")
        if self.link_state != "online":
            raise Error("ERR Full sync not done")
        host, port = self.primary
        try:
            async with asyncio.timeout(int(seconds) + 10):
                reader, writer = await asyncio.open_connection(host, port)
                if self.config["masterauth"]:
                    writer.write(encode(["AUTH", self.config["masterauth"]]))
                    await reader.readuntil(b"\n")
                writer.write(encode(["DOUBLETAKEOVER", seconds, str(self.port)]))
                answer = (await reader.readuntil(b"\n")).decode().strip()
                writer.transport.abort()
        except (OSError, EOFError, TimeoutError) as error:
            raise Error(f"ERR Couldn't execute takeover: {error}") from None
        if answer != "+OK":
            raise Error(f"ERR Couldn't execute takeover: {answer[1:]}")
        await self.unfollow()
        return Status("OK")

    async def do_doubletakeover(
        self, connection: Connection, seconds: bytes, port: bytes
    ) -> object:
        self.is_refusing = True
        if not await self.caught_up(1, int(seconds), int(port)):
            self.is_refusing = False
            raise Error("ERR Takeover failed!")
        connection.send(Status("OK"))
        raise Exit

    def do_shutdown(self, connection: Connection, *options: bytes) -> object:
        if b"NOSAVE" in [each.upper() for each in options]:
            self.config["dbfilename"] = ""
        connection.send(Status("OK"))
        raise Exit

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = Connection(writer, self.accepted, self.admits_anybody())
        self.connections[connection.number] = connection
        try:
            async for command in commands(reader):
                if command[0].upper() == b"QUIT":
                    connection.send(Status("OK"))
                    break
                reply = await self.answer(connection, command)
                if reply is not NotImplemented:
                    connection.send(reply)
                if writer.transport.get_write_buffer_size() > BULK_MAX:
                    break
        except Exit:
            await asyncio.sleep(0)
            self.ended.set()
        finally:
            del self.connections[connection.number]
            writer.close()

    def tls_for(self, _port: int) -> ssl.SSLContext | None:
        return None

    def admits_anybody(self) -> bool:
        return not self.config["requirepass"]

    async def listen(self, port: int) -> None:
        bind = self.flags.get("bind", "127.0.0.1")
        self.servers[port] = await asyncio.start_server(
            self.serve, bind, port, limit=BULK_MAX, ssl=self.tls_for(port)
        )

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ended.set)
        self.load()
        bind = self.flags.get("bind", "127.0.0.1")
        for port in filter(None, [self.port, int(self.flags.get("admin_port", "0"))]):
            await self.listen(port)
        if self.flags.get("replicaof"):
            host, _, port = self.flags["replicaof"].rpartition(":")
            self.primary = host, int(port)
            self.link = asyncio.create_task(self.keep_following())
        pinging = asyncio.create_task(self.ping_replicas())
        print(f"listening on {bind}:{self.port}", file=sys.stderr, flush=True)  # noqa: T201 - its log
        await self.ended.wait()
        self.save()
        pinging.cancel()
        for server in self.servers.values():
            server.close()
        # The rest (connections, the link) ends with the process.
        os._exit(0)


def read_flags(arguments: list[str]) -> dict[str, str]:
    flags: dict[str, str] = {}
    for argument in arguments:
        name, _, value = argument.strip().lstrip("-").partition("=")
        if name == "flagfile":
            lines = Path(value).read_text(encoding="utf-8").splitlines()
            flags |= read_flags([line for line in lines if line.strip()])
        else:
            flags[name] = value
    return flags


if __name__ == "__main__":
    if "--version" in sys.argv:
        print(f"dragonfly {VERSION}-double\nbuild time: 2026-01-01 00:00:00")  # noqa: T201 - its answer
    else:

        async def main() -> None:
            await Dragonfly(read_flags(sys.argv[1:])).run()

        asyncio.run(main())
