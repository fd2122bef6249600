"""The table of all commands: the one place that knows what a Sentinel's port understands.

Arity, flags, categories and tips are those that COMMAND shows of a Redis Sentinel 7.0.15, because
clients and ACL rules depend on them; their number too (15 commands, 72 with subcommands).
"""

from collections.abc import Iterable
from typing import Final

from everfly.runtime.listener import Commands, Listener
from everfly.sentinel.acl.categories import CommandNames, Dialect
from everfly.sentinel.commands import acl, channels, connection, info, introspection
from everfly.sentinel.commands.desk import Desk, Parts
from everfly.sentinel.commands.dispatch import SentinelCommands
from everfly.sentinel.commands.registry import ADMIN, AT_ALL_TIMES, Registry, RowKind, Spec
from everfly.sentinel.commands.table_client import CLIENT_ROWS
from everfly.sentinel.commands.table_sentinel import EVERFLY_ROWS, SENTINEL_ROWS
from everfly.sentinel.commands.table_variants import (
    RECENT_CLIENT_ROWS,
    RECENT_SENTINEL_ROWS,
    VALKEY_ROWS,
    VALKEY_UNLISTED,
    of_valkey,
)
from everfly.sentinel.compat import Compat


def make_sentinel_commands(parts: Parts, listener: Listener) -> Commands:
    """Return the commands of a Sentinel for one listener.

    Raises SettingsError for a command that cannot be renamed as the settings say.
    """
    table = table_of(parts.settings.compat).renamed(parts.settings.renamed_commands)
    return SentinelCommands(Desk(parts, listener, table))


def table_of(compat: Compat) -> Registry:
    """Return the commands of the program that is spoken like."""
    return _TABLES[compat]


def dialect_of(compat: Compat, *, allows_channels: bool = False) -> Dialect:
    """Return what rules about users mean; `allows_channels`: see `Dialect`."""
    specs = table_of(compat).specs.values()
    rows = sorted(((spec.name, spec.categories) for spec in specs), key=lambda row: "|" in row[0])
    return Dialect(
        CommandNames(rows),
        allows_channels=allows_channels,
        keeps_rules=compat.is_recent,
        sanitizes=compat.is_recent,
        names_who_is_denied=compat.is_recent,
        keeps_clients=compat.is_recent,
    )


_COMMAND: Final = RowKind("loading stale", "slow connection", "server")
_COMMAND_ROWS: Final = (
    _COMMAND.row(
        "command",
        -1,
        introspection.from_table(introspection.all_commands),
        "2.8.13",
        "Describe all commands",
        "",
        "nondeterministic_output_order",
    ),
    _COMMAND.row(
        "command|count",
        2,
        introspection.from_table(introspection.count),
        "2.8.13",
        "Tell how many commands there are",
    ),
    _COMMAND.row(
        "command|docs",
        -2,
        introspection.from_table(introspection.docs),
        "7.0.0",
        "Document commands",
        "command-name?*",
        "nondeterministic_output_order",
    ),
    _COMMAND.row(
        "command|getkeys",
        -4,
        introspection.from_table(introspection.getkeys),
        "2.8.13",
        "Tell which arguments are keys",
    ),
    _COMMAND.row(
        "command|getkeysandflags",
        -4,
        introspection.from_table(introspection.getkeys),
        "7.0.0",
        "Tell which arguments are keys, and how they are used",
    ),
    _COMMAND.row("command|help", 2, introspection.help_, "5.0.0", "Explain the subcommands"),
    _COMMAND.row(
        "command|info",
        -2,
        introspection.from_table(introspection.info),
        "2.8.13",
        "Describe commands",
        "command-name?*",
        "nondeterministic_output_order",
    ),
    _COMMAND.row(
        "command|list",
        -2,
        introspection.from_table(introspection.list_names),
        "7.0.0",
        "List the names of commands",
        "FILTERBY=(filterby MODULE=module-name | ACLCAT=category | PATTERN=pattern:pattern)?",
        "nondeterministic_output_order",
    ),
)

_ACL: Final = RowKind(AT_ALL_TIMES, "slow", "server")
_ACL_ADMIN: Final = RowKind(ADMIN, "admin slow dangerous", "server")
_ACL_ROWS: Final = (
    RowKind("", "slow", "server").row(
        "acl", -2, None, "6.0.0", "Look after users and what they may do"
    ),
    _ACL.row(
        "acl|cat",
        -2,
        acl.cat,
        "6.0.0",
        "List categories, or the commands of one",
        "categoryname?",
    ),
    _ACL_ADMIN.row("acl|deluser", -3, acl.deluser, "6.0.0", "Delete users", "username*"),
    _ACL_ADMIN.row(
        "acl|dryrun",
        -4,
        acl.dryrun,
        "7.0.0",
        "Tell whether a user could run a command",
        "username command arg?*",
    ),
    _ACL.row("acl|genpass", -2, acl.genpass, "6.0.0", "Make a random password", "bits:integer?"),
    _ACL_ADMIN.row("acl|getuser", 3, acl.getuser, "6.0.0", "Show the rules of a user", "username"),
    RowKind("loading stale", "slow", "server").row(
        "acl|help", 2, acl.help_, "6.0.0", "Explain the subcommands"
    ),
    _ACL_ADMIN.row("acl|list", 2, acl.list_, "6.0.0", "List the rules of all users"),
    _ACL_ADMIN.row("acl|load", 2, acl.load, "6.0.0", "Read the ACL file"),
    _ACL_ADMIN.row(
        "acl|log",
        -2,
        acl.log,
        "6.0.0",
        "Show what was denied",
        "(operation count:integer | RESET)?",
    ),
    _ACL_ADMIN.row("acl|save", 2, acl.save, "6.0.0", "Write the ACL file"),
    _ACL_ADMIN.row(
        "acl|setuser", -3, acl.setuser, "6.0.0", "Create or change a user", "username rule?*"
    ),
    _ACL_ADMIN.row("acl|users", 2, acl.users, "6.0.0", "List the names of all users"),
    _ACL.row("acl|whoami", 2, acl.whoami, "6.0.0", "Tell the user of this connection"),
)

_OPENING: Final = RowKind(
    f"{AT_ALL_TIMES} fast no_auth allow_busy", "fast connection", "connection"
)
_PUBSUB: Final = RowKind("pubsub noscript loading stale", "pubsub slow", "pubsub")
_OTHER_ROWS: Final = (
    _OPENING.row("auth", -2, connection.auth, "1.0.0", "Prove who you are", "username? password"),
    _OPENING.row(
        "hello",
        -1,
        connection.hello,
        "6.0.0",
        "Choose the protocol, prove who you are",
        "{arguments protover:integer AUTH={username_password username password}? "
        "SETNAME=clientname?}?",
    ),
    RowKind("fast", "fast connection", "connection").row(
        "ping",
        -1,
        connection.ping,
        "1.0.0",
        "Tell that it lives",
        "message?",
        "request_policy:all_shards response_policy:all_succeeded",
    ),
    RowKind("loading stale", "slow dangerous", "server").row(
        "info",
        -1,
        info.info,
        "1.0.0",
        "Describe this process",
        "section?*",
        "nondeterministic_output request_policy:all_shards response_policy:special",
    ),
    RowKind(f"{AT_ALL_TIMES} fast", "admin fast dangerous", "server").row(
        "role", 1, connection.role, "2.8.12", "Tell what this is, and what it watches"
    ),
    RowKind(f"{ADMIN} no_multi allow_busy", "admin slow dangerous", "server").row(
        "shutdown",
        -1,
        connection.shutdown,
        "1.0.0",
        "End this process",
        "(nosave_save NOSAVE | SAVE)? NOW? FORCE? ABORT?",
    ),
    _PUBSUB.row("subscribe", -2, channels.subscribe, "2.0.0", "Listen to channels", "channel*"),
    _PUBSUB.row(
        "unsubscribe", -1, channels.unsubscribe, "2.0.0", "Listen to channels no more", "channel?*"
    ),
    _PUBSUB.row(
        "psubscribe",
        -2,
        channels.psubscribe,
        "2.0.0",
        "Listen to channels by pattern",
        "{pattern pattern:pattern}*",
    ),
    _PUBSUB.row(
        "punsubscribe",
        -1,
        channels.punsubscribe,
        "2.0.0",
        "Listen to channels by pattern no more",
        "pattern:pattern?*",
    ),
    RowKind("pubsub loading stale fast", "pubsub fast", "pubsub").row(
        "publish", 3, channels.publish, "2.0.0", "Say hello to this Sentinel", "channel message"
    ),
)

_SHARED_ROWS: Final = (*_OTHER_ROWS, *_COMMAND_ROWS, *_ACL_ROWS)
TABLE: Final = Registry((*_SHARED_ROWS, *SENTINEL_ROWS, *CLIENT_ROWS), EVERFLY_ROWS)
"""That of Redis 7.0."""


def _recent(*extra: Spec, unlisted: Iterable[tuple[str, Spec]] = ()) -> Registry:
    """Return the table with what later versions have; of rows of the same name the last counts."""
    rows = (*_SHARED_ROWS, *SENTINEL_ROWS, *CLIENT_ROWS, *RECENT_CLIENT_ROWS, *extra)
    return Registry({row.name: row for row in rows}.values(), (*EVERFLY_ROWS, *unlisted))


_TABLES: Final = {
    Compat.REDIS_7_0: TABLE,
    Compat.REDIS_7_4: _recent(*RECENT_SENTINEL_ROWS),
    Compat.VALKEY_8: _recent(
        *map(of_valkey, (*_ACL_ROWS, *CLIENT_ROWS, *RECENT_CLIENT_ROWS)),
        *RECENT_SENTINEL_ROWS,
        *VALKEY_ROWS,
        unlisted=VALKEY_UNLISTED,
    ),
}
