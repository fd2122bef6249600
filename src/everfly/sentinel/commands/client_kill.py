"""CLIENT KILL: end connections that fit all filters.

Source: `clientKillCommand`, redis/src/networking.c (7.0.15).
"""

import asyncio

from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.sentinel.commands.client_filter import ClientFilter, read_filter
from everfly.sentinel.commands.connection import DONE
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.refusals import end_clients
from everfly.wire.resp import ErrorReply, to_text

NO_SUCH_CLIENT = ErrorReply("ERR No such client")


def kill(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT KILL address | CLIENT KILL filter value [filter value ...]."""
    if len(command) == 3:
        # The old form: one client, also the caller, and an error when there is none.
        old_form = ClientFilter(addr=to_text(command[2]))
        return DONE if _kill(desk, client, old_form) else NO_SUCH_CLIENT
    wanted = read_filter(desk, command[2:], skips_me=True)
    if isinstance(wanted, ErrorReply):
        return wanted
    return _kill(desk, client, wanted)


def _kill(desk: Desk, caller: ClientConnection, wanted: ClientFilter) -> int:
    """End all that fit and return how many; the caller gets its answer first."""
    now = asyncio.get_running_loop().time()
    return end_clients(caller, wanted.chosen(desk.listener.clients.values(), caller, now))
