"""Turn the lines of HELP of Redis 7.0 into those of the program that this Sentinel speaks like.

Source: redis/src/sentinel.c, networking.c, acl.c, server.c (7.4.1); the same of valkey (8.0.1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from everfly.sentinel.commands.help_texts import ACL_HELP, CLIENT_HELP, COMMAND_HELP, SENTINEL_HELP
from everfly.sentinel.compat import Compat
from everfly.wire.resp import SimpleString, to_text

Lines = Sequence[SimpleString]

_RECENT: Final = {
    "    Prints this help.": "    Print this help.",
    "CONFIG SET <param> <value>": "CONFIG SET param value [param value ...]",
    "CONFIG GET <param>": "CONFIG GET <param> [param param param ...]",
}
_SETINFO: Final = (
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
)
_VALKEY: Final = {
    "FAILOVER <master-name>": "FAILOVER <primary-name> [COORDINATED]",
    "    Show a list of replicas for this master and their state.": (
        "    Show a list of replicas for this primary and their states."
    ),
    "SETUSER <username> <attribute> [<attribute> ...]": "SETUSER <username> <rule> [<rule> ...]",
    "    Create or modify a user with the specified attributes.": (
        "    Create or modify a user with the specified rules."
    ),
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)": "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB)",
}
_WORDS_OF_VALKEY: Final = (
    *(("MASTERS", "PRIMARIES"), ("MASTER", "PRIMARY"), ("masters", "primaries")),
    *(("master", "primary"), (" Redis", "")),
)
"""COORDINATED comes from Valkey 9, where it is offered too."""


@dataclass(frozen=True, slots=True)
class Help:
    """The lines of each command's HELP."""

    sentinel: Lines
    client: Lines
    acl: Lines
    command: Lines


def help_of(compat: Compat) -> Help:
    """Return the lines of a program."""
    return _HELP[compat]


def _recent(lines: Lines) -> Lines:
    return _replaced(lines, _RECENT)


def _with_setinfo(lines: Lines) -> Lines:
    at = lines.index(SimpleString("UNBLOCK <clientid> [TIMEOUT|ERROR]"))
    return (*lines[:at], *map(SimpleString, _SETINFO), *lines[at:])


def _of_valkey(lines: Lines) -> Lines:
    changed = []
    for line in map(to_text, _replaced(lines, _VALKEY)):
        words = line
        for old, new in _WORDS_OF_VALKEY:
            words = words.replace(old, new)
        changed.append(SimpleString(words))
    return changed


def _replaced(lines: Lines, changes: Mapping[str, str]) -> Lines:
    return [SimpleString(changes.get(to_text(line), to_text(line))) for line in lines]


_REDIS_7_0: Final = Help(SENTINEL_HELP, CLIENT_HELP, ACL_HELP, COMMAND_HELP)
_REDIS_7_4: Final = Help(
    _recent(SENTINEL_HELP),
    _recent(_with_setinfo(CLIENT_HELP)),
    _recent(ACL_HELP),
    _recent(COMMAND_HELP),
)
_HELP: Final = {
    Compat.REDIS_7_0: _REDIS_7_0,
    Compat.REDIS_7_4: _REDIS_7_4,
    Compat.VALKEY_8: Help(
        _of_valkey(_REDIS_7_4.sentinel),
        _of_valkey(_REDIS_7_4.client),
        _of_valkey(_REDIS_7_4.acl),
        _of_valkey(_REDIS_7_4.command),
    ),
}
