"""Commands about the connection and the process: PING, AUTH, HELLO, ROLE, SHUTDOWN.

Source: redis/src/server.c, networking.c, acl.c, db.c, sentinel.c (7.0.15).
"""

import re
from typing import Final

from everfly.runtime.client_connection import NO_REPLY, ClientConnection, Outcome
from everfly.sentinel.acl.users import DEFAULT_USER
from everfly.sentinel.commands.arguments import SYNTAX_ERROR, lower, to_integer
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.refusals import refuse_login
from everfly.wire.resp import ErrorReply, SimpleString, Value, to_bytes, to_text

PONG: Final = SimpleString("PONG")
DONE: Final = SimpleString("OK")
WRONG_PASSWORD: Final = ErrorReply("WRONGPASS invalid username-password pair or user is disabled.")
BAD_NAME: Final = ErrorReply(
    "ERR Client names cannot contain spaces, newlines or special characters."
)
NAME_BYTES_MAX: Final = 4_096
"""Of a client. Redis has no limit; every CLIENT LIST would carry it."""
NAME_TOO_LONG: Final = ErrorReply(f"ERR the name of a client may have {NAME_BYTES_MAX} bytes")
NOT_PROVED: Final = ErrorReply(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH "
    "<user> <pass> option can be used to authenticate the client and select the RESP protocol "
    "version at the same time"
)

_NAME = re.compile(rb"[!-~]*")


def ping(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """PING [message]."""
    del desk
    if len(command) > 2:
        return ErrorReply("ERR wrong number of arguments for 'ping' command")
    if client.protocol == 2 and client.kind == "pubsub":
        return [b"pong", command[1] if len(command) == 2 else b""]
    return command[1] if len(command) == 2 else PONG


def auth(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """AUTH [username] password."""
    if len(command) > 3:
        return SYNTAX_ERROR
    if len(command) == 2 and desk.access.users.default.is_open:
        return ErrorReply(
            "ERR AUTH <password> called without any password configured for the default user. Are "
            "you sure your configuration is correct?"
        )
    user = command[1] if len(command) == 3 else to_bytes(DEFAULT_USER)
    return prove(desk, client, [command[0], user, command[-1]]) or DONE


def prove(desk: Desk, client: ClientConnection, proof: list[bytes]) -> ErrorReply | None:
    """Believe a client that knows a user's password, or return what it is told.

    `proof`: the command's name as it was sent, the user, the password.
    """
    word, user, password = proof
    name = to_text(user)
    if not desk.access.users.knows(name, password):
        refuse_login(desk, client, word, user)
        return WRONG_PASSWORD
    client.user = name
    client.authenticate(is_proved=True)
    return None


def hello(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """HELLO [protocol [AUTH username password] [SETNAME name]]."""
    protocol = client.protocol
    if len(command) > 1:
        match to_integer(command[1]):
            case None:
                return ErrorReply("ERR Protocol version is not an integer or out of range")
            case 2:
                protocol = 2
            case 3:
                protocol = 3
            case _:
                return ErrorReply("NOPROTO unsupported protocol version")
    fault = _apply_hello_options(desk, client, command)
    if fault is not None:
        return fault
    if not client.is_authenticated:
        return NOT_PROVED
    client.protocol = protocol
    answer: dict[str, Value] = {
        "server": desk.settings.compat.server,
        "version": desk.settings.compat.version,
        "proto": protocol,
        "id": client.id,
        "mode": "sentinel",
        "modules": [],
    }
    return answer


def _apply_hello_options(
    desk: Desk, client: ClientConnection, command: list[bytes]
) -> ErrorReply | None:
    words, at = command[2:], 0
    while at < len(words):
        option = lower(words[at])
        if option == "auth" and at + 2 < len(words):
            fault = prove(desk, client, [command[0], *words[at + 1 : at + 3]])
            if fault is not None:
                return fault
            at += 3
        elif option == "setname" and at + 1 < len(words):
            fault = set_name(client, words[at + 1])
            if fault is not None:
                return fault
            at += 2
        else:
            shown = words[at][:128].decode(errors="surrogateescape")
            return ErrorReply(f"ERR Syntax error in HELLO option '{shown}'")
    return None


def set_name(client: ClientConnection, name: bytes) -> ErrorReply | None:
    """Give a client a name, or take it away (empty); return what is wrong with it, if anything.

    Source: `clientSetNameOrReply`, redis/src/networking.c (7.0.15).
    """
    if not is_plain_name(name):
        return BAD_NAME
    if len(name) > NAME_BYTES_MAX:
        return NAME_TOO_LONG
    client.name = name
    return None


def is_plain_name(name: bytes) -> bool:
    """Tell whether a word has no spaces, newlines or special characters."""
    return _NAME.fullmatch(name) is not None


def role(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ROLE: what this is, and which groups it watches."""
    del client, command
    return ["sentinel", list(desk.brain.group_names())]


def shutdown(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]. There is no data, so all mean the same."""
    words = [lower(word) for word in command[1:]]
    is_known = all(word in ("nosave", "save", "now", "force", "abort") for word in words)
    if not is_known or {"save", "nosave"} <= set(words) or ("abort" in words and len(words) > 1):
        return SYNTAX_ERROR
    if words == ["abort"]:
        return ErrorReply("ERR No shutdown in progress.")
    client.close_after_replies()
    desk.shut_down()
    return NO_REPLY
