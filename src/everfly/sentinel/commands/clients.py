"""The CLIENT commands, but for CLIENT KILL and CLIENT TRACKING, which have their own modules.

Source: `clientCommand`, redis/src/networking.c (7.0.15).
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from everfly.runtime.client_connection import NO_REPLY, ClientConnection, Outcome
from everfly.sentinel.commands.arguments import (
    NOT_AN_INTEGER,
    SYNTAX_ERROR,
    lower,
    to_integer,
    wrong_usage,
)
from everfly.sentinel.commands.client_filter import kind_of, read_filter
from everfly.sentinel.commands.client_line import client_line
from everfly.sentinel.commands.connection import DONE, NAME_BYTES_MAX, is_plain_name, set_name
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import ErrorReply, Verbatim, to_text

PAUSE_MS_MAX: Final = 2**53
"""A pause beyond it would not be a time any more."""


def getname(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT GETNAME."""
    del desk, command
    return client.name or None


def setname(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT SETNAME name."""
    del desk
    return set_name(client, command[2]) or DONE


def id_of(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT ID."""
    del desk, command
    return client.id


def info(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT INFO: the caller's line of CLIENT LIST."""
    del command
    return Verbatim(_lines(desk, [client]))


def list_all(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT LIST [TYPE type | ID id ...]; Valkey takes the filters of CLIENT KILL."""
    clients: Iterable[ClientConnection] = desk.listener.clients.values()
    words = command[2:]
    if desk.settings.compat.is_valkey:
        wanted = read_filter(desk, words, skips_me=False)
        if isinstance(wanted, ErrorReply):
            return wanted
        clients = wanted.chosen(clients, client, asyncio.get_running_loop().time())
    elif len(words) == 2 and lower(words[0]) == "type":
        kind = kind_of(desk, words[1])
        if isinstance(kind, ErrorReply):
            return kind
        clients = [other for other in clients if other.kind == kind]
    elif len(words) > 1 and lower(words[0]) == "id":
        ids = [to_integer(word) for word in words[1:]]
        if None in ids:
            return ErrorReply("ERR Invalid client ID")
        known = desk.listener.clients
        clients = [known[number] for number in ids if number in known]
    elif words:
        return SYNTAX_ERROR
    return Verbatim(_lines(desk, clients))


def reply(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT REPLY ON | OFF | SKIP."""
    del desk
    match lower(command[2]):
        case "on":
            client.is_muted = False
            client.skips = 0
            return DONE
        case "off":
            client.is_muted = True
        case "skip":
            if not client.is_muted:
                client.skips = 2
        case _:
            return SYNTAX_ERROR
    return NO_REPLY


def no_evict(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT NO-EVICT ON | OFF."""
    del desk
    word = lower(command[2])
    if word not in ("on", "off"):
        return SYNTAX_ERROR
    client.is_eviction_free = word == "on"
    return DONE


def pause(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT PAUSE milliseconds [WRITE | ALL]; Valkey overlooks what stands behind a mode."""
    del client
    if len(command) > 4 and not desk.settings.compat.is_valkey:
        return wrong_usage(command[1], "CLIENT")
    mode = lower(command[3]) if len(command) == 4 else "all"
    if mode not in ("write", "all"):
        return ErrorReply("ERR CLIENT PAUSE mode must be WRITE or ALL")
    milliseconds = to_integer(command[2])
    if milliseconds is None or milliseconds > PAUSE_MS_MAX:
        return ErrorReply("ERR timeout is not an integer or out of range")
    if milliseconds < 0:
        return ErrorReply("ERR timeout is negative")
    if milliseconds:
        desk.pause.begin(milliseconds / 1000, for_writes_only=mode == "write")
    return DONE


def unpause(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT UNPAUSE."""
    del client, command
    desk.pause.end()
    return DONE


def unblock(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT UNBLOCK id [TIMEOUT | ERROR]. No command of a Sentinel blocks."""
    del client
    if len(command) > 4 and not desk.settings.compat.is_valkey:
        return wrong_usage(command[1], "CLIENT")
    if len(command) == 4 and lower(command[3]) not in ("timeout", "error"):
        return ErrorReply("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    return NOT_AN_INTEGER if to_integer(command[2]) is None else 0


def setinfo(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT SETINFO LIB-NAME name | CLIENT SETINFO LIB-VER version.

    Source: `clientSetinfoCommand`, redis/src/networking.c (7.2.4).
    """
    option = lower(command[2])
    if option not in ("lib-name", "lib-ver"):
        return ErrorReply(f"ERR Unrecognized option '{to_text(command[2])}'")
    if not is_plain_name(command[3]):
        return ErrorReply(
            f"ERR {to_text(command[2])} cannot contain spaces, newlines or special characters."
        )
    if len(command[3]) > NAME_BYTES_MAX:
        return ErrorReply(f"ERR {option} may have {NAME_BYTES_MAX} bytes")
    desk.libraries.setdefault(client.id, {})[option] = to_text(command[3])
    return DONE


def help_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT HELP."""
    del client, command
    return desk.help.client


def _lines(desk: Desk, clients: Iterable[ClientConnection]) -> bytes:
    now = asyncio.get_running_loop().time()
    return b"".join([client_line(desk, client, now) + b"\n" for client in clients])
