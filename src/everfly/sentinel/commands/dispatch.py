"""Turn a command's words into its row of the table, check it as the row says, and carry it out.

The order of the checks is the order in which clients see their errors: existence, number of
arguments, authentication, permission, subscribe mode, pause.
Source: `processCommand`, redis/src/server.c (7.0.15).
"""

from typing import Final

from everfly.runtime.client_connection import NO_REPLY, Answer, ClientConnection, Later, Outcome
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.refusals import refuse
from everfly.wire.resp import ErrorReply

NO_AUTH: Final = ErrorReply("NOAUTH Authentication required.")

_IN_SUBSCRIBE_MODE: Final = frozenset(
    {"ping", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"}
)


class SentinelCommands:
    """The commands of a Sentinel's port, for one listener."""

    def __init__(self, desk: Desk) -> None:
        self._registry: Final = desk.registry
        self._desk: Final = desk
        self._users: Final = desk.access.users

    def joined(self, client: ClientConnection) -> None:
        """Prepare a new client: without a password everybody is who they say."""
        client.authenticate(is_proved=not self._users.needs_password)

    def left(self, client: ClientConnection) -> None:
        """Forget a client that is gone."""
        self._desk.pubsub.forget(client)
        self._desk.libraries.pop(client.id, None)

    def execute(self, client: ClientConnection, command: list[bytes]) -> Outcome:
        """Carry out one command, or say why not."""
        spec = self._registry.find(command)
        if isinstance(spec, ErrorReply):
            client.command_name = None
            return spec
        client.command_name = spec.name
        if not spec.takes(len(command)) or spec.handler is None:
            return ErrorReply(f"ERR wrong number of arguments for '{spec.name}' command")
        is_for_strangers = "no_auth" in spec.flags
        if not client.is_authenticated and not is_for_strangers and self._users.needs_password:
            return NO_AUTH
        denial = self._users.check(client.user, spec.name, command, needs_no_auth=is_for_strangers)
        if denial is not None:
            return refuse(self._desk, client, spec.name, command, denial)
        if client.protocol == 2 and spec.name not in _IN_SUBSCRIBE_MODE and client.kind == "pubsub":
            return ErrorReply(
                f"ERR Can't execute '{spec.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / "
                "QUIT / RESET are allowed in this context"
            )
        pause = self._desk.pause
        if pause.is_on and (not pause.is_for_writes_only or spec.name == "publish"):
            return Later(self._execute_after_pause(client, command))
        self._desk.listener.traffic.commands += 1
        outcome = spec.handler(self._desk, client, command)
        client.commands += 1  # Behind the handler: what shows the count does not count itself.
        if client.tracking.caching and not spec.name.startswith("client|"):
            client.tracking.caching = ""  # It is said for the next command alone.
        return outcome

    async def _execute_after_pause(self, client: ClientConnection, command: list[bytes]) -> Answer:
        await self._desk.pause.wait()
        # During the pause the client may have gone, or lost its user or a permission.
        if client.is_closing:
            return NO_REPLY
        outcome = self.execute(client, command)
        return await outcome.work if isinstance(outcome, Later) else outcome
