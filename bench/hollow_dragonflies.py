"""Turn one process into all instances of a cluster whose pods are hollow: answers, and no data.

Each pod of the hollow kubelet (`hollow_pods.py`) has an address and, at the admin port there, an
instance that answers what an operator asks as a Dragonfly 1.40 does, follows when it is told to,
becomes a primary when it is told to, can be killed (its port is closed, its replicas lose their
link) and can be frozen (its port takes connections and never answers).
"""

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

import hiredis

from everfly.operator.names import ADMIN_PORT, DATA_PORT

READ_BYTES: Final = 65_536
OFFSET_PER_S: Final = 100
"""How fast the journals of primaries grow."""
_OK: Final = b"+OK\r\n"


def bulk(text: str) -> bytes:
    """Return a bulk reply."""
    data = text.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


@dataclass(eq=False)
class Dragonfly:
    """One instance."""

    ip: str
    history: str = field(default_factory=lambda: secrets.token_hex(20))
    born: float = field(default_factory=time.monotonic)
    primary_ip: str = ""
    """Empty: it is a primary."""
    copied: str = ""
    """History that it copied from its primary."""
    applied: int = 0
    """Offset of a replica, as far as it came before it lost its primary."""
    keys: int = 0
    is_frozen: bool = False
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)


class Dragonflies:
    """All instances, by address."""

    def __init__(self) -> None:
        self.by_ip: dict[str, Dragonfly] = {}
        self.questions = 0

    async def start(self, ip: str, keys: int = 0) -> None:
        """Begin an instance without history at an address."""
        instance = Dragonfly(ip, keys=keys)
        self.by_ip[ip] = instance

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(instance, reader, writer)

        instance.server = await asyncio.start_server(serve, ip, ADMIN_PORT)

    def kill(self, ip: str) -> None:
        """End an instance at once, as SIGKILL does."""
        instance = self.by_ip.pop(ip, None)
        if instance is None:
            return
        assert instance.server is not None
        instance.server.close()
        for writer in list(instance.writers):
            writer.transport.abort()

    def freeze(self, ip: str, *, is_frozen: bool) -> None:
        """Stop or go on answering."""
        self.by_ip[ip].is_frozen = is_frozen

    async def _serve(
        self, instance: Dragonfly, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        instance.writers.add(writer)
        parser = hiredis.Reader()
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(READ_BYTES):
                    parser.feed(data)
                    while (command := parser.gets()) is not False:
                        if not instance.is_frozen:
                            writer.write(self._answer(instance, command))
        finally:
            instance.writers.discard(writer)
            writer.close()

    def _answer(self, instance: Dragonfly, command: list[bytes]) -> bytes:
        self.questions += 1
        words = [word.decode() for word in command]
        match [words[0].upper(), *words[1:]]:
            case ["INFO", *sections]:
                return bulk(self._info(instance, is_whole=not sections))
            case ["REPLICAOF", "NO", "ONE"]:
                instance.primary_ip = ""
                instance.history = secrets.token_hex(20)
                return _OK
            case ["REPLICAOF", host, _]:
                primary = self.by_ip.get(host)
                if primary is None or primary.primary_ip or primary.is_frozen:
                    return b"-ERR replication cancelled\r\n"
                instance.primary_ip, instance.copied = host, primary.history
                instance.keys = primary.keys
                return _OK
            case ["REPLTAKEOVER", *_]:
                old = instance.primary_ip
                instance.primary_ip, instance.history = "", secrets.token_hex(20)
                self.kill(old)
                return _OK
            case ["CLIENT", "LIST"]:
                return bulk("")
            case ["CLIENT" | "CONFIG", *_]:
                return _OK
            case ["PING"]:
                return b"+PONG\r\n"
            case _:
                return b"-ERR unknown command '%b'\r\n" % command[0]

    def _info(self, instance: Dragonfly, *, is_whole: bool) -> str:
        replication = self._replication(instance)
        if not is_whole:
            return replication
        uptime = int(time.monotonic() - instance.born)
        return (
            "# Server\r\nredis_version:7.4.0\r\ndragonfly_version:df-v1.40.0\r\n"
            f"redis_mode:standalone\r\ntcp_port:{DATA_PORT}\r\nuptime_in_seconds:{uptime}\r\n\r\n"
            f"# Persistence\r\nloading:0\r\n\r\n{replication}\r\n"
            f"# Keyspace\r\ndb0:keys={instance.keys},expires=0,avg_ttl=-1\r\n"
        )

    def _replication(self, instance: Dragonfly) -> str:
        if not instance.primary_ip:
            mine = [each for each in self.by_ip.values() if self._follows(each, instance)]
            rows = "".join(
                f"slave{number}:ip={each.ip},port={DATA_PORT},state=online,lag=0\r\n"
                for number, each in enumerate(mine)
            )
            return (
                f"# Replication\r\nrole:master\r\nconnected_slaves:{len(mine)}\r\n{rows}"
                f"master_replid:{instance.history}\r\n"
            )
        primary = self.by_ip.get(instance.primary_ip)
        is_up = primary is not None and self._follows(instance, primary)
        if is_up and primary is not None:
            instance.applied = int((time.monotonic() - primary.born) * OFFSET_PER_S)
        return (
            f"# Replication\r\nrole:slave\r\nmaster_host:{instance.primary_ip}\r\n"
            f"master_port:{ADMIN_PORT}\r\nmaster_link_status:{'up' if is_up else 'down'}\r\n"
            f"master_last_io_seconds_ago:0\r\nmaster_sync_in_progress:0\r\n"
            f"master_replid:{instance.copied}\r\nslave_priority:100\r\nslave_read_only:1\r\n"
            f"slave_repl_offset:{instance.applied}\r\n"
        )

    def _follows(self, replica: Dragonfly, primary: Dragonfly) -> bool:
        # A primary that restarted has another history: its replicas leave it.
        return replica.primary_ip == primary.ip and replica.copied == primary.history
