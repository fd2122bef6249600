"""Rows of the CLIENT commands."""

from typing import Final

from everfly.sentinel.commands import client_kill, client_tracking, clients
from everfly.sentinel.commands.registry import ADMIN, AT_ALL_TIMES, RowKind

_CLIENT: Final = RowKind(AT_ALL_TIMES, "slow connection", "connection")
_CLIENT_ADMIN: Final = RowKind(ADMIN, "admin slow dangerous connection", "connection")
CLIENT_ROWS: Final = (
    RowKind("", "slow", "connection").row("client", -2, None, "2.4.0", "Look after connections"),
    _CLIENT.row(
        "client|caching",
        3,
        client_tracking.caching,
        "6.0.0",
        "Track the keys of the next command, or do not",
        "(mode YES | NO)",
    ),
    _CLIENT.row("client|getname", 2, clients.getname, "2.6.9", "Tell the name of this connection"),
    _CLIENT.row(
        "client|getredir",
        2,
        client_tracking.getredir,
        "6.0.0",
        "Tell who gets invalidation messages instead",
    ),
    RowKind("loading stale", "slow connection", "connection").row(
        "client|help", 2, clients.help_, "5.0.0", "Explain the subcommands"
    ),
    _CLIENT.row("client|id", 2, clients.id_of, "5.0.0", "Tell the id of this connection"),
    _CLIENT.row(
        "client|info",
        2,
        clients.info,
        "6.2.0",
        "Describe this connection",
        "",
        "nondeterministic_output",
    ),
    _CLIENT_ADMIN.row(
        "client|kill",
        -3,
        client_kill.kill,
        "2.4.0",
        "End connections",
        "(filter ip:port | (new-format ID=client-id:integer? | "
        "TYPE=(kind NORMAL | MASTER | SLAVE | REPLICA | PUBSUB)? | USER=username? | "
        "ADDR=ip:port? | LADDR=ip:port? | SKIPME=yes/no?)*)",
    ),
    _CLIENT_ADMIN.row(
        "client|list",
        -2,
        clients.list_all,
        "2.4.0",
        "Describe all connections",
        "TYPE=(kind NORMAL | MASTER | REPLICA | PUBSUB)? ID={id client-id:integer*}?",
        "nondeterministic_output",
    ),
    _CLIENT_ADMIN.row(
        "client|no-evict",
        3,
        clients.no_evict,
        "7.0.0",
        "Protect this connection from eviction",
        "(enabled ON | OFF)",
    ),
    _CLIENT_ADMIN.row(
        "client|pause",
        -3,
        clients.pause,
        "2.9.50",
        "Let commands wait for a while",
        "timeout:integer (mode WRITE | ALL)?",
    ),
    _CLIENT.row(
        "client|reply",
        3,
        clients.reply,
        "3.2.0",
        "Answer this connection, or do not",
        "(on_off_skip ON | OFF | SKIP)",
    ),
    _CLIENT.row(
        "client|setname", 3, clients.setname, "2.6.9", "Name this connection", "connection-name"
    ),
    _CLIENT.row(
        "client|tracking",
        -3,
        client_tracking.tracking,
        "6.0.0",
        "Track keys that this connection reads",
        "(status ON | OFF) REDIRECT=client-id:integer? PREFIX=prefix?* "
        "BCAST? OPTIN? OPTOUT? NOLOOP?",
    ),
    _CLIENT.row(
        "client|trackinginfo", 2, client_tracking.trackinginfo, "6.2.0", "Tell how keys are tracked"
    ),
    _CLIENT_ADMIN.row(
        "client|unblock",
        -3,
        clients.unblock,
        "5.0.0",
        "Let a connection wait no more",
        "client-id:integer (timeout_error TIMEOUT | ERROR)?",
    ),
    _CLIENT_ADMIN.row("client|unpause", 2, clients.unpause, "6.2.0", "Let commands go on"),
)
