"""Turn the lines of HELP of Redis 7.0 into those of the program that this Sentinel speaks like.

Source: redis/src/sentinel.c, networking.c, acl.c, server.c (7.4.1); the same of valkey (8.1.8).
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
    "    Show a list of replicas for this master and their state.": (
        "    Show a list of replicas for this primary and their states."
    ),
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)": "    * TYPE (NORMAL|PRIMARY|REPLICA|PUBSUB)",
    "    * ID <client-id>": "    * ID <client-id> [<client-id>...]",
    "      Kill connections by client id.": "      Kill connections by client ids.",
}
_WORDS_OF_VALKEY: Final = (
    *(("MASTERS", "PRIMARIES"), ("MASTER", "PRIMARY"), ("masters", "primaries")),
    *(("master", "primary"), (" Redis", "")),
)
_ID_AND_AGE: Final = (
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
)
_NO_TOUCH: Final = (
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
)
"""Told of, also where a Sentinel does not have it."""
_BEFORE_OF_VALKEY: Final = {
    "GETREDIR": (
        "CAPA <option> [options...]",
        "    The client claims its some capability options. Options are:",
        "    * REDIRECT",
        (
            "      The client can handle redirection during primary and replica failover in "
            "standalone mode."
        ),
    ),
    "UNPAUSE": (
        "    * USER <username>",
        "      Return clients authenticated by <username>.",
        "    * ADDR <ip:port>",
        "      Return clients connected from the specified address.",
        "    * LADDR <ip:port>",
        "      Return clients connected to the specified local address.",
        "    * ID <client-id> [<client-id>...]",
        "      Return clients with the specified IDs.",
        "    * SKIPME (YES|NO)",
        "      Exclude the current client from the list (default: no).",
        "    * MAXAGE <maxage>",
        "      List connections older than the specified age.",
    ),
    "HELP": (
        "IMPORT-SOURCE (ON|OFF)",
        "    Mark this connection as an import source if import-mode is enabled.",
        "    Sync tools can set their connections into 'import-source' state to visit",
        "    expired keys.",
    ),
}


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


def _with(lines: Lines, before: Mapping[str, Sequence[str]]) -> Lines:
    """Put lines before others."""
    result = list(lines)
    for line, more in before.items():
        place = result.index(SimpleString(line))
        result[place:place] = map(SimpleString, more)
    return result


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
    _recent(
        _with(
            CLIENT_HELP,
            {
                "LIST [options ...]": _ID_AND_AGE,
                "UNBLOCK <clientid> [TIMEOUT|ERROR]": _SETINFO,
                "HELP": _NO_TOUCH,
            },
        )
    ),
    _recent(ACL_HELP),
    _recent(COMMAND_HELP),
)
_HELP: Final = {
    Compat.REDIS_7_0: _REDIS_7_0,
    Compat.REDIS_7_4: _REDIS_7_4,
    Compat.VALKEY_8: Help(
        _of_valkey(_REDIS_7_4.sentinel),
        _of_valkey(_with(_REDIS_7_4.client, _BEFORE_OF_VALKEY)),
        _of_valkey(_REDIS_7_4.acl),
        _of_valkey(_REDIS_7_4.command),
    ),
}
