"""CLIENT KILL: end connections that fit all filters.

Source: `clientKillCommand`, redis/src/networking.c (7.0.15).
"""

from dataclasses import dataclass

from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.sentinel.commands.arguments import SYNTAX_ERROR, lower, to_integer
from everfly.sentinel.commands.clients import TYPES, unknown_type
from everfly.sentinel.commands.connection import DONE
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.refusals import end_clients
from everfly.wire.resp import ErrorReply, to_text

NO_SUCH_CLIENT = ErrorReply("ERR No such client")


@dataclass(slots=True)
class _Filter:
    """None: any."""

    id: int | None = None
    addr: str | None = None
    laddr: str | None = None
    kind: str | None = None
    user: str | None = None
    skips_me: bool = True

    def fits(self, client: ClientConnection) -> bool:
        """Tell whether a client is meant."""
        return (
            self.id in (None, client.id)
            and self.addr in (None, client.addr)
            and self.laddr in (None, client.laddr)
            and self.kind in (None, client.kind)
            and self.user in (None, client.user)
        )


def kill(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT KILL address | CLIENT KILL filter value [filter value ...]."""
    if len(command) == 3:
        # The old form: one client, also the caller, and an error when there is none.
        old_form = _Filter(addr=to_text(command[2]), skips_me=False)
        return DONE if _kill(desk, client, old_form) else NO_SUCH_CLIENT
    wanted = _read_filter(desk, command[2:])
    if isinstance(wanted, ErrorReply):
        return wanted
    return _kill(desk, client, wanted)


def _kill(desk: Desk, caller: ClientConnection, wanted: _Filter) -> int:
    """End all that fit and return how many; the caller gets its answer first."""
    victims = [client for client in desk.listener.clients.values() if wanted.fits(client)]
    if wanted.skips_me and caller in victims:
        victims.remove(caller)
    return end_clients(caller, victims)


def _read_filter(desk: Desk, words: list[bytes]) -> _Filter | ErrorReply:
    if len(words) % 2:
        return SYNTAX_ERROR
    wanted = _Filter()
    for option, value in zip(words[::2], words[1::2], strict=True):
        fault = _read_option(desk, wanted, lower(option), value)
        if fault is not None:
            return fault
    return wanted


def _read_option(desk: Desk, wanted: _Filter, option: str, value: bytes) -> ErrorReply | None:
    match option:
        case "addr":
            wanted.addr = to_text(value)
        case "laddr":
            wanted.laddr = to_text(value)
        case "skipme" if lower(value) in ("yes", "no"):
            wanted.skips_me = lower(value) == "yes"
        case "id" | "type" | "user":
            return _read_who(desk, wanted, option, value)
        case _:
            return SYNTAX_ERROR
    return None


def _read_who(desk: Desk, wanted: _Filter, option: str, value: bytes) -> ErrorReply | None:
    match option:
        case "id":
            number = to_integer(value)
            if number is None or number < 1:
                return ErrorReply("ERR client-id should be greater than 0")
            wanted.id = number
        case "type":
            wanted.kind = TYPES.get(lower(value))
            if wanted.kind is None:
                return unknown_type(value)
        case _:
            wanted.user = to_text(value)
            if desk.access.users.get(wanted.user) is None:
                return ErrorReply(f"ERR No such user '{wanted.user[:128]}'")
    return None
