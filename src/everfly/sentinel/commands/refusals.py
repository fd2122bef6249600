"""Turn a refusal into its text and an entry of ACL LOG, and lost permissions into ended clients.

Source: `ACLCheckAllPerm`, `addACLLogEntry`, `ACLFreeUserAndKillClients`, redis/src/acl.c (7.0.15);
`getAclErrorMessage` (7.2.4).
"""

import asyncio
import time
from collections.abc import Iterable

from everfly.runtime.client_connection import ClientConnection
from everfly.sentinel.acl.log import Refusal
from everfly.sentinel.acl.selectors import Denial, Reason
from everfly.sentinel.commands.client_line import client_line
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import ErrorReply, to_text


def refuse(
    desk: Desk, client: ClientConnection, name: str, words: list[bytes], denial: Denial
) -> ErrorReply:
    """Remember that a client may not run the command `name`, and return its answer."""
    is_channel = denial.reason is Reason.CHANNEL
    note(desk, client, denial.reason, to_text(words[denial.position]) if is_channel else name)
    if desk.access.users.dialect.names_who_is_denied:
        if is_channel:
            return ErrorReply("NOPERM No permissions to access a channel")
        return ErrorReply(
            f"NOPERM User {client.user} has no permissions to run the '{name}' command"
        )
    if is_channel:
        return ErrorReply(
            "NOPERM this user has no permissions to access one of the channels used as arguments"
        )
    return ErrorReply(f"NOPERM this user has no permissions to run the '{name}' command")


def refuse_login(desk: Desk, client: ClientConnection, word: bytes, user: bytes) -> None:
    """Remember that somebody did not prove to be `user`, by the command `word`."""
    note(desk, client, Reason.AUTH, to_text(word), to_text(user))


def note(
    desk: Desk, client: ClientConnection, reason: Reason, object_: str, user: str | None = None
) -> None:
    """Put a refusal into ACL LOG; `user`: who it was to be, if not who the client is."""
    desk.access.log.add(
        Refusal(reason, object_, client.user if user is None else user),
        client_line(desk, client, asyncio.get_running_loop().time()),
        time.time_ns() // 1_000_000,
    )


def end_clients(caller: ClientConnection, victims: Iterable[ClientConnection]) -> int:
    """End connections and return how many; the caller gets its answer first.

    None of them gets another command carried out.
    """
    count = 0
    for victim in list(victims):
        count += 1
        if victim is caller:
            victim.close_after_replies()
        else:
            victim.abort()
    return count
