"""Turn what a ferry is to do into commands at its admin port, and its INFO into facts.

Rules: as with the orders to instances, each has a connection of its own and a limit, and what it
rests upon is asked on the same connection right before it.
"""

import re
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address, Role
from everfly.errors import RemoteError, Unavailable
from everfly.operator.backups.decide import FerryFacts, is_whole
from everfly.operator.names import CLIENT_NAME
from everfly.runtime.client import Client
from everfly.wire.info import parse_info
from everfly.wire.resp import ErrorReply, Reply

CONNECT_S: Final = 1.0
QUICK_S: Final = 2.0
"""Limit of a command that does no work."""
FOLLOW_S: Final = 60.0
"""Limit of an order to follow: it is answered only once the other side was met."""
SAVE_S: Final = 10.0
"""Limit of the order to write. Newer engines answer at once; older ones when they have written, and
then the ferry itself is asked how that went."""

_DATABASE: Final = re.compile(r"db[0-9]+")
_PAIR: Final = re.compile(r"(keys|expires)=([0-9]+)")


@dataclass(frozen=True, slots=True)
class Words:
    """What is said to one ferry."""

    address: Address

    async def _connected(self) -> Client:
        return await Client.connect(self.address, timeout_s=CONNECT_S, name=CLIENT_NAME)

    async def look(self) -> FerryFacts:
        """Ask how it is. Raise Unavailable, RemoteError."""
        async with await self._connected() as client:
            return await _facts(client)

    async def follow(self, primary: Address) -> None:
        """Have it copy from a primary. Raise Unavailable, RemoteError."""
        async with await self._connected() as client:
            host = primary.ip or primary.host
            _check(await client.call("REPLICAOF", host, primary.port, timeout_s=FOLLOW_S), client)

    async def detach(self, history: str) -> None:
        """Have it keep what it has, if that is whole and of that history.

        Raise Unavailable when it is not, RemoteError.
        """
        async with await self._connected() as client:
            facts = await _facts(client)
            if facts.role is Role.PRIMARY:
                return
            if facts.history != history or not is_whole(facts):
                raise Unavailable(f"{self.address} no longer holds a whole copy of {history}")
            _check(await client.call("REPLICAOF", "NO", "ONE", timeout_s=QUICK_S), client)

    async def save(self, basename: str) -> None:
        """Have it write a snapshot; how that fares it says itself. Raise Unavailable, RemoteError.

        Source: `ServerFamily::BgSave`, dragonfly/src/server/server_family.cc (1.40).
        """
        async with await self._connected() as client:
            _check(await client.call("BGSAVE", "DF", basename, timeout_s=SAVE_S), client)

    async def load(self, path: str, limit_s: float) -> FerryFacts:
        """Have it drop what it has and read a snapshot, to the end. Return how it is then.

        Never while it reads one already: that one would go on in an emptied dataset, and the answer
        would be OK. Raise RemoteError with its words when the snapshot cannot be read, Unavailable.
        Source: `DflyCmd::Load`, dragonfly/src/server/dflycmd.cc (1.40).
        """
        async with await self._connected() as client:
            before = await _facts(client)
            if before.is_busy or before.is_saving:
                raise Unavailable(f"{self.address} is busy with a snapshot")
            _check(await client.call("DFLY", "LOAD", path, timeout_s=limit_s), client)
            return await _facts(client)


def _check(reply: Reply, client: Client) -> None:
    if isinstance(reply, ErrorReply):
        raise RemoteError(f"{client.address} answers {reply.text}")


async def _facts(client: Client) -> FerryFacts:
    reply = await client.call("INFO", timeout_s=QUICK_S)
    _check(reply, client)
    if not isinstance(reply, bytes):
        raise RemoteError(f"{client.address} answers INFO with {type(reply).__name__}")
    return facts_of(parse_info(reply))


def facts_of(fields: dict[str, str]) -> FerryFacts:
    """Return what INFO of a ferry says."""
    is_replica = fields.get("role") == "slave"
    host, port = fields.get("master_host", ""), _number(fields, "master_port")
    is_syncing = fields.get("master_sync_in_progress") == "1"
    keys = volatile = 0
    for name, value in fields.items():
        if _DATABASE.fullmatch(name):
            counts = {key: int(number) for key, number in _PAIR.findall(value)}
            keys += counts.get("keys", 0)
            volatile += counts.get("expires", 0)
    return FerryFacts(
        role=Role.REPLICA if is_replica else Role.PRIMARY,
        primary=Address(host, port) if is_replica and host else None,
        history=fields.get("master_replid", ""),
        offset=_number(fields, "slave_repl_offset") if "slave_repl_offset" in fields else None,
        is_link_up=fields.get("master_link_status") == "up",
        is_busy=is_syncing or fields.get("loading", "0") != "0",
        is_saving="1" in (fields.get("saving"), fields.get("rdb_bgsave_in_progress")),
        saved_file=fields.get("last_saved_file", ""),
        save_error=fields.get("last_error", "") if _number(fields, "last_failed_save") else "",
        keys=keys,
        volatile_keys=volatile,
        memory_bytes=_number(fields, "used_memory"),
        engine=fields.get("dragonfly_version", ""),
    )


def _number(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "")
    return int(value) if value.isdigit() else 0
