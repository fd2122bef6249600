"""ACL commands for the one user there is, `default`, whom `requirepass` protects.

Source: `aclCommand`, redis/src/acl.c (7.0.15).
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import Final

from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.sentinel.commands.arguments import NOT_AN_INTEGER, lower, to_integer, wrong_usage
from everfly.sentinel.commands.connection import DEFAULT_USER, DONE
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.help_texts import ACL_HELP
from everfly.sentinel.commands.registry import Handler, Registry
from everfly.wire.resp import ErrorReply, Unordered, Value, to_bytes, to_text

CATEGORIES: Final = (
    *("keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap"),
    *("hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous"),
    *("connection", "transaction", "scripting"),
)
"""Source: `ACLCommandCategories` (7.0.15)."""

GENPASS_BITS_MAX: Final = 4096
NO_FILE: Final = ErrorReply(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    "configuration file set) in order to store users in the Redis configuration."
)


def whoami(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL WHOAMI."""
    del desk, command
    return client.user


def users(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL USERS."""
    del desk, client, command
    return [DEFAULT_USER]


def list_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL LIST."""
    del client, command
    password = _password_hash(desk)
    return [f"user {DEFAULT_USER} on {f'#{password}' if password else 'nopass'} ~* &* +@all"]


def getuser(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL GETUSER name."""
    del client
    if command[2] != to_bytes(DEFAULT_USER):
        return None
    password = _password_hash(desk)
    answer: dict[str, Value] = {
        "flags": Unordered(["on"] if password else ["on", "nopass"]),
        "passwords": [password] if password else [],
        "commands": "+@all",
        "keys": "~*",
        "channels": "&*",
        "selectors": [],
    }
    return answer


def cat(registry: Callable[[], Registry]) -> Handler:
    """Make the handler of ACL CAT [category], for a table that is complete once it is asked."""

    def handle(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
        del desk, client
        if len(command) > 3:
            return wrong_usage(command[1], "ACL")
        if len(command) == 2:
            return CATEGORIES
        category = lower(command[2])
        if category not in CATEGORIES:
            return ErrorReply(f"ERR Unknown category '{to_text(command[2])}'")
        specs = registry().specs
        return [name for name, spec in specs.items() if category in spec.categories]

    return handle


def deluser(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL DELUSER name ...: the only user stays."""
    del desk, client
    if to_bytes(DEFAULT_USER) in command[2:]:
        return ErrorReply(f"ERR The '{DEFAULT_USER}' user cannot be removed")
    return 0


def setuser(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL SETUSER name [rule ...]: refused, for a rule that is not kept protects nobody."""
    del desk, client
    return ErrorReply(
        f"ERR ACL SETUSER '{to_text(command[2])[:128]}' is not possible: this Sentinel has no user "
        f"but '{DEFAULT_USER}', whose password is `requirepass` in the configuration file"
    )


def genpass(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL GENPASS [bits]: random hexadecimal digits, four bits each."""
    del desk, client
    if len(command) > 3:
        return wrong_usage(command[1], "ACL")
    bits = to_integer(command[2]) if len(command) == 3 else 256
    if bits is None:
        return NOT_AN_INTEGER
    if not 0 < bits <= GENPASS_BITS_MAX:
        return ErrorReply(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a "
            f"positive number up to {GENPASS_BITS_MAX}"
        )
    digits = (bits + 3) // 4
    return secrets.token_hex((digits + 1) // 2)[:digits]


def dryrun(registry: Callable[[], Registry]) -> Handler:
    """Make the handler of ACL DRYRUN user command [argument ...]: `default` may do everything."""

    def handle(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
        del desk, client
        if command[2] != to_bytes(DEFAULT_USER):
            return ErrorReply(f"ERR User '{to_text(command[2])}' not found")
        found = registry().find(command[3:])
        if isinstance(found, ErrorReply):
            return ErrorReply(f"ERR Command '{to_text(command[3])}' not found")
        if not found.takes(len(command) - 3):
            return ErrorReply(f"ERR wrong number of arguments for '{found.name}' command")
        return DONE

    return handle


def no_file(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL LOAD and ACL SAVE."""
    del desk, client, command
    return NO_FILE


def log(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL LOG [count | RESET]: nothing is denied to a user who may do everything."""
    del desk, client
    if len(command) > 3:
        return wrong_usage(command[1], "ACL")
    if len(command) == 3:
        if lower(command[2]) == "reset":
            return DONE
        if to_integer(command[2]) is None:
            return NOT_AN_INTEGER
    return []


def help_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL HELP."""
    del desk, client, command
    return ACL_HELP


def _password_hash(desk: Desk) -> str:
    """Return the password as ACL rules write it, or nothing when there is none."""
    password = desk.settings.requirepass
    return hashlib.sha256(to_bytes(password)).hexdigest() if password else ""
