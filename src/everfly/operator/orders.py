"""Turn orders into commands at the admin port of one instance.

Rules: each order has a connection of its own and a limit, so that one that hangs delays nobody and
never looks like an instance that does; what an order rests upon is asked again on the same
connection right before it; passwords are not needed there (`--admin_nopass`).
"""

import re
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address
from everfly.errors import EverflyError, RemoteError, Unavailable
from everfly.operator.names import CLIENT_NAME, DATA_PORT
from everfly.runtime.client import Client
from everfly.wire.info import parse_info
from everfly.wire.resp import ErrorReply, Reply

CONNECT_S: Final = 1.0
QUICK_S: Final = 2.0
"""Limit of a command that does no work."""
FOLLOW_S: Final = 60.0
"""Limit of an order to follow: it is answered only once the other side was met."""
HOLD_MS: Final = 10_000
"""How long a fenced instance holds writes: until its clients are cut and it is told to follow."""
TAKE_OVER_MARGIN_S: Final = 11.0
"""Over the seconds of a take-over: its own connection waits ten longer, plus one for us.
Source: `Replica::TakeOver`, dragonfly/src/server/replica.cc (1.40)."""
CLIENTS_BYTES_MAX: Final = 32 * 1024 * 1024

_FIELD = re.compile(r"\b(addr|laddr|name)=(\S*)")


class TakeOverRefused(EverflyError):  # noqa: N818 - it names an answer
    """The old primary serves on; nothing happens later either."""


class TakeOverUnclear(EverflyError):  # noqa: N818 - it names an answer
    """Nobody knows whether the old primary has handed over, or will."""


@dataclass(frozen=True, slots=True)
class Orders:
    """Orders to one instance."""

    address: Address

    async def _connected(self) -> Client:
        return await Client.connect(self.address, timeout_s=CONNECT_S, name=CLIENT_NAME)

    async def promote(self, history: str) -> bool:
        """Make it a primary, if it is a replica of that history (empty: of any).

        Return False when it was one already. Raise Unavailable, RemoteError.
        """
        async with await self._connected() as client:
            fields = await _replication(client)
            if fields.get("role") == "master":
                return False
            found = fields.get("master_replid", "")
            if history and found != history:
                raise Unavailable(
                    f"{self.address} is not promoted: its history is {found}, not {history}"
                )
            _check(await client.call("REPLICAOF", "NO", "ONE", timeout_s=QUICK_S), self.address)
            fields = await _replication(client)
            if fields.get("role") != "master":
                raise RemoteError(f"{self.address} accepted its promotion and is no primary")
            return True

    async def follow(self, primary: Address, *, cuts_clients: bool) -> None:
        """Make it a replica. Raise Unavailable, RemoteError."""
        async with await self._connected() as client:
            reply = await client.call(
                "REPLICAOF", primary.ip or primary.host, primary.port, timeout_s=FOLLOW_S
            )
            _check(reply, self.address)
            if cuts_clients:
                await _cut_clients(client)
                await client.call("CLIENT", "UNPAUSE", timeout_s=QUICK_S)

    async def take_over(self, seconds: int) -> None:
        """Let it take over from its primary, which serves nobody from then on.

        Raise TakeOverRefused, TakeOverUnclear; Unavailable when it could not even be asked.
        """
        async with await self._connected() as client:
            try:
                reply = await client.call(
                    "REPLTAKEOVER", seconds, timeout_s=seconds + TAKE_OVER_MARGIN_S
                )
            except EverflyError as error:
                raise TakeOverUnclear(f"{self.address} gave no answer: {error}") from error
        if isinstance(reply, ErrorReply):
            is_clean = any(word in reply.text for word in ("Takeover failed", "Full sync not done"))
            kind = TakeOverRefused if is_clean else TakeOverUnclear
            raise kind(f"{self.address} answers {reply.text}")

    async def fence(self) -> None:
        """Hold its writes and cut its clients. Raise Unavailable, RemoteError."""
        async with await self._connected() as client:
            await client.call("CLIENT", "PAUSE", HOLD_MS, "WRITE", timeout_s=QUICK_S)
            await _cut_clients(client)

    async def set_snapshot_cron(self, cron: str) -> None:
        """Have snapshots taken at these times; empty: never. Raise Unavailable, RemoteError."""
        async with await self._connected() as client:
            reply = await client.call("CONFIG", "SET", "snapshot_cron", cron, timeout_s=QUICK_S)
            _check(reply, self.address)


async def _replication(client: Client) -> dict[str, str]:
    reply = await client.call("INFO", "REPLICATION", timeout_s=QUICK_S)
    _check(reply, client.address)
    return parse_info(reply) if isinstance(reply, bytes) else {}


def _check(reply: Reply, address: Address) -> None:
    if isinstance(reply, ErrorReply):
        raise RemoteError(f"{address} answers {reply.text}")


async def _cut_clients(client: Client) -> None:
    """Cut whoever is connected to the data port; replication and we use another one."""
    reply = await client.call("CLIENT", "LIST", timeout_s=QUICK_S)
    if not isinstance(reply, bytes) or len(reply) > CLIENTS_BYTES_MAX:
        return
    for line in reply.decode(errors="replace").splitlines():
        fields = dict(_FIELD.findall(line))
        if _is_user(fields):
            await client.call("CLIENT", "KILL", "ADDR", fields["addr"], timeout_s=QUICK_S)


def _is_user(fields: dict[str, str]) -> bool:
    # Source of the names: `disconnectClients`, dragonfly-operator (v1.6.1).
    name = fields.get("name", "")
    if (
        not fields.get("addr")
        or name.startswith("repl_")
        or name in (CLIENT_NAME, "dragonfly-operator")
    ):
        return False
    local = fields.get("laddr", "")
    return not local or local.endswith(f":{DATA_PORT}")
