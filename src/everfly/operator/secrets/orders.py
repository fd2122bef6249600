"""Turn what instances should have from Secrets into commands at the admin port of one instance.

Rules: a connection and a limit for each order; what an instance answers is never quoted where it
could repeat a secret; passwords are not needed there (`--admin_nopass`).

Dragonfly's `CONFIG SET requirepass` adds a password and leaves the old one valid, so that the old
one is taken away by `ACL SETUSER`; connections that stand stay. `ACL LOAD` takes a whole file or
nothing, cuts the connections of all users but `default`, and leaves `default` without a password
where the file does not name it.
Source: `AclFamily`, dragonfly/src/server/acl/acl_family.cc, and measured (1.40).
"""

import asyncio
from dataclasses import dataclass

from everfly.core.model import Address
from everfly.errors import RemoteError
from everfly.operator.names import CLIENT_NAME
from everfly.operator.orders import CONNECT_S, QUICK_S
from everfly.operator.secrets.acl import DEFAULT, Users, users_of_list
from everfly.runtime.client import Client
from everfly.wire.resp import ErrorReply, Reply, to_text


@dataclass(frozen=True, slots=True)
class SecretOrders:
    """Orders to one instance."""

    address: Address

    async def _connected(self) -> Client:
        return await Client.connect(self.address, timeout_s=CONNECT_S, name=CLIENT_NAME)

    async def users(self) -> Users:
        """Return the users that it knows. Raise Unavailable, RemoteError."""
        async with await self._connected() as client:
            return await self._listed(client)

    async def _listed(self, client: Client) -> Users:
        reply = await client.call("ACL", "LIST", timeout_s=QUICK_S)
        if not isinstance(reply, list):
            raise RemoteError(f"{self.address} does not list its users")
        return users_of_list(to_text(each) for each in reply if isinstance(each, bytes | str))

    async def set_password(self, password: bytes) -> None:
        """Let in whom this password proves, and nobody with an older one of the user `default`.

        Raise Unavailable, RemoteError.
        """
        async with await self._connected() as client:
            await self._change_password(client, password)

    async def _change_password(self, client: Client, password: bytes) -> None:
        # First the new one is valid, then the old one is not: nobody is shut out in between. Before
        # 1.21 an instance knows one password and no `resetpass`.
        self._check(
            await client.call("CONFIG", "SET", "requirepass", password, timeout_s=QUICK_S),
            "its new password",
        )
        user = (await self._listed(client)).get(DEFAULT)
        if user is not None and user.lets_in_by(password):
            return
        words = ("ACL", "SETUSER", DEFAULT, "resetpass", b">" + password)
        self._check(
            await client.call(*words, timeout_s=QUICK_S),
            "to forget its old password: the old one is valid until it restarts",
        )

    async def load_users(self, password: bytes | None) -> None:
        """Let it read its file of users; with a password, give it to `default` in the same breath.

        Raise Unavailable, RemoteError: it keeps the users it had.
        """
        async with await self._connected() as client:
            orders = [client.call("ACL", "LOAD", timeout_s=QUICK_S)]
            if password is not None:
                # Sent behind it without waiting: between the two anybody could come in.
                words = ("ACL", "SETUSER", DEFAULT, "resetpass", b">" + password)
                orders.append(client.call(*words, timeout_s=QUICK_S))
            loaded, *later = await asyncio.gather(*orders)
            self._check(loaded, "its file of users; its own log says which rule")
            for each in later:
                self._check(each, "its password after its users were read")

    async def reload_certificates(self) -> None:
        """Let it read certificate, key and authorities again. Raise Unavailable, RemoteError.

        Connections that stand stay; where a file is damaged it goes on with the old ones.
        Source: `ServerFamily::Init`, dragonfly/src/server/server_family.cc (1.40).
        """
        async with await self._connected() as client:
            reply = await client.call("CONFIG", "SET", "tls", "true", timeout_s=QUICK_S)
            self._check(reply, "its certificate files")

    def _check(self, reply: Reply, what: str) -> None:
        if isinstance(reply, ErrorReply):
            raise RemoteError(f"{self.address} refuses {what}")
