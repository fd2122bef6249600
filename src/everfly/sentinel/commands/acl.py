"""ACL commands: who there is, what they may do, and what was refused.

A change holds at once; it is on disk with the next ACL SAVE, or the next write of the configuration
when users stand there. Source: `aclCommand`, redis/src/acl.c (7.0.15).
"""

import logging
import secrets
import time
from typing import Final

from everfly.errors import SettingsError, Unavailable
from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.runtime.threads import in_thread
from everfly.sentinel.acl.categories import CATEGORIES
from everfly.sentinel.acl.control import pubsub_victims
from everfly.sentinel.acl.file import read_users, write_users
from everfly.sentinel.acl.log import Entry
from everfly.sentinel.acl.rules import User, shown
from everfly.sentinel.acl.selectors import Denial, Reason, RuleError, Selector
from everfly.sentinel.acl.users import DEFAULT_USER, is_valid_name
from everfly.sentinel.commands.arguments import NOT_AN_INTEGER, lower, to_integer, wrong_usage
from everfly.sentinel.commands.connection import DONE
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.refusals import end_clients
from everfly.wire.resp import ErrorReply, Unordered, Value, to_text

log_ = logging.getLogger(__name__)

GENPASS_BITS_MAX: Final = 4096
ENTRIES_SHOWN: Final = 10
"""How many entries ACL LOG shows when nobody says."""

NO_FILE: Final = ErrorReply(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    "configuration file set) in order to store users in the Redis configuration."
)
NO_FILE_OF_VALKEY: Final = ErrorReply(
    "ERR This instance is not configured to use an ACL file. You may want to specify users via the "
    "ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a configuration file "
    "set) in order to store users in the configuration."
)
NOT_SAVED: Final = ErrorReply(
    "ERR There was an error trying to save the ACLs. Please check the server logs for more "
    "information"
)


def whoami(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL WHOAMI."""
    del desk, command
    return client.user


def users(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL USERS."""
    del client, command
    return [user.name for user in desk.access.users.all()]


def list_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL LIST."""
    del client, command
    return [f"user {user.name} {user.described()}" for user in desk.access.users.all()]


def getuser(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL GETUSER name."""
    del client
    user = desk.access.users.get(to_text(command[2]))
    if user is None:
        return None
    own, *others = user.selectors
    answer: dict[str, Value] = {
        "flags": Unordered(user.flags()),
        "passwords": list(user.passwords),
        **_selector_map(own),
        "selectors": [_selector_map(selector) for selector in others],
    }
    return answer


def cat(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL CAT [category]."""
    del client
    if len(command) > 3:
        return wrong_usage(command[1], "ACL")
    if len(command) == 2:
        return CATEGORIES
    category = lower(command[2])
    if category not in CATEGORIES:
        return ErrorReply(f"ERR Unknown category '{to_text(command[2])}'")
    return list(desk.access.users.dialect.names.members(category))


def setuser(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL SETUSER name [rule ...]: all rules or none; ends subscriptions that they forbid."""
    name = to_text(command[2])
    if not is_valid_name(name):
        return ErrorReply("ERR Usernames can't contain spaces or null characters")
    known = desk.access.users
    old = known.get(name)
    try:
        new = known.staged(name, [to_text(word) for word in command[3:]])
    except RuleError as error:
        return ErrorReply(f"ERR {error}")
    known.put(new)
    desk.guard()
    if old is not None:
        end_clients(client, _forbidden(desk, old, new))
    return DONE


def deluser(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL DELUSER name ...: removes users and ends their connections."""
    names = [to_text(word) for word in command[2:]]
    if DEFAULT_USER in names:
        return ErrorReply(f"ERR The '{DEFAULT_USER}' user cannot be removed")
    removed = {name for name in names if desk.access.users.remove(name)}
    end_clients(
        client, [other for other in desk.listener.clients.values() if other.user in removed]
    )
    return len(removed)


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


def dryrun(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL DRYRUN user command [argument ...]: tell whether the user could run it."""
    del client
    name, words = to_text(command[2]), command[3:]
    if desk.access.users.get(name) is None:
        return ErrorReply(f"ERR User '{shown(name)}' not found")
    found = desk.registry.find(words)
    if isinstance(found, ErrorReply):
        return ErrorReply(f"ERR Command '{shown(to_text(words[0]))}' not found")
    if not found.takes(len(words)):
        return ErrorReply(f"ERR wrong number of arguments for '{found.name}' command")
    denial = desk.access.users.check(
        name, found.name, words, needs_no_auth="no_auth" in found.flags
    )
    return DONE if denial is None else _dry_refusal(desk, name, found.name, words, denial)


def load(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL LOAD: take the users of the file instead of those there are."""
    del command
    return _no_file(desk) if desk.access.file is None else Later(_load(desk, client))


def save(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL SAVE: write all users into the file."""
    del client, command
    return _no_file(desk) if desk.access.file is None else Later(_save(desk))


def log(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL LOG [count | RESET]: what was refused, the newest first."""
    del client
    if len(command) > 3:
        return wrong_usage(command[1], "ACL")
    wanted: int | None = ENTRIES_SHOWN
    if len(command) == 3:
        if lower(command[2]) == "reset":
            desk.access.log.clear()
            return DONE
        wanted = to_integer(command[2])
    if wanted is None:
        return NOT_AN_INTEGER
    now_ms = time.time_ns() // 1_000_000
    return [_entry_map(desk, entry, now_ms) for entry in desk.access.log.entries[: max(0, wanted)]]


def help_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """ACL HELP."""
    del client, command
    return desk.help.acl


async def _load(desk: Desk, client: ClientConnection) -> Answer:
    access = desk.access
    file, dialect = access.file, access.users.dialect
    assert file is not None
    async with desk.change_lock:
        try:
            found = await in_thread("read ACL file", lambda: read_users(file, dialect))
        except SettingsError as error:
            return ErrorReply(f"ERR {error}")
        before = {user.name: user for user in access.users.all()}
        access.users.replace(found)
        desk.guard()
    gone: list[ClientConnection] = []
    for name, old in before.items():
        new = access.users.get(name)
        if new is not None and (dialect.keeps_clients or name == DEFAULT_USER):
            if dialect.keeps_clients:
                gone += _forbidden(desk, old, new)
        else:
            gone += [other for other in desk.listener.clients.values() if other.user == name]
    end_clients(client, gone)
    return DONE


async def _save(desk: Desk) -> Answer:
    file = desk.access.file
    assert file is not None
    async with desk.change_lock:
        snapshot = [user.copy() for user in desk.access.users.all()]
        try:
            await in_thread("write ACL file", lambda: write_users(file, snapshot))
        except Unavailable as error:
            log_.warning("Cannot write the ACL file %s: %s. It is as it was.", file, error)
            return NOT_SAVED
    return DONE


def _forbidden(desk: Desk, old: User, new: User) -> list[ClientConnection]:
    """Return the connections that listen to what their user may not listen to any more."""
    revoked = pubsub_victims(old, new)
    if revoked is None:
        return []
    return [
        other
        for other in desk.listener.clients.values()
        if other.user == new.name and revoked.concerns(list(other.channels), list(other.patterns))
    ]


def _no_file(desk: Desk) -> ErrorReply:
    return NO_FILE_OF_VALKEY if desk.settings.compat.is_valkey else NO_FILE


def _dry_refusal(desk: Desk, user: str, name: str, words: list[bytes], denial: Denial) -> Value:
    is_named = desk.access.users.dialect.names_who_is_denied
    who = f"User {user}" if is_named else "This user"
    if denial.reason is Reason.CHANNEL:
        channel = to_text(words[denial.position])
        channel = channel if is_named else shown(channel)
        return f"{who} has no permissions to access the '{channel}' channel"
    return f"{who} has no permissions to run the '{name}' command"


def _selector_map(selector: Selector) -> dict[str, Value]:
    return {
        "commands": selector.described_commands(),
        "keys": selector.described_keys(),
        "channels": selector.described_channels(),
    }


def _entry_map(desk: Desk, entry: Entry, now_ms: int) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "count": entry.count,
        "reason": entry.refusal.reason.word,
        "context": "toplevel",
        "object": entry.refusal.object,
        "username": entry.refusal.username,
        "age-seconds": (now_ms - entry.updated_ms) / 1000,
        "client-info": entry.client,
    }
    if desk.settings.compat.is_recent:
        fields |= {
            "entry-id": entry.id,
            "timestamp-created": entry.created_ms,
            "timestamp-last-updated": entry.updated_ms,
        }
    return fields
