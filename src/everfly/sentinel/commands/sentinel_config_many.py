"""SENTINEL CONFIG as Redis has it from 7.2 on, and Valkey: several parameters at once, or none.

Source: `sentinelConfigSetCommand`, `sentinelConfigGetCommand`, redis/src/sentinel.c (7.4.1).
"""

from typing import Final

from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.runtime.log import LEVELS, set_level
from everfly.sentinel.commands.arguments import PATTERN_TOO_LONG, clean_text, lower, to_glob
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.sentinel_config import (
    SETTERS,
    announce_change,
    invalid_value,
    values_of,
)
from everfly.sentinel.settings import Settings
from everfly.wire.resp import ErrorReply, Value, to_bytes, to_text

USAGE: Final = ErrorReply(
    "ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...] / SET <param> <value> [<param> "
    "<value> ...] are supported."
)
PARAMETERS_MAX: Final = 64
"""In one command; there are seven. Each is a pattern that costs time."""
TOO_MANY: Final = ErrorReply(f"ERR a command may have {PARAMETERS_MAX} parameters")


def config_many(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL CONFIG GET pattern [pattern ...] | SET option value [option value ...]."""
    del client
    words = command[3:]
    match lower(command[2]):
        case "get":
            return _get(desk.settings, words)
        case "set" if len(words) >= 2:
            return Later(_set(desk, words))
        case _:
            return USAGE


def _get(settings: Settings, patterns: list[bytes]) -> Outcome:
    if len(patterns) > PARAMETERS_MAX:
        return TOO_MANY
    values = values_of(settings) | {"loglevel": settings.loglevel}
    found: dict[str, Value] = {}
    for pattern in patterns:
        glob = to_glob(pattern, ignore_case=True)
        if glob is None:
            return PATTERN_TOO_LONG
        found |= {
            name: value
            for name, value in values.items()
            if name not in found and glob.matches(to_bytes(name))
        }
    return found


async def _set(desk: Desk, words: list[bytes]) -> Answer:
    """Try all on a copy first: all of them hold afterwards, or none."""
    async with desk.change_lock:
        changes = _read(desk.settings, words)
        if isinstance(changes, ErrorReply):
            return changes
        for option, text in changes.items():
            if option == "loglevel":
                desk.settings.loglevel = text.lower()
                set_level(desk.settings.loglevel)
            else:
                SETTERS[option](desk.settings, text)
        return await announce_change(desk, changes)


def _read(settings: Settings, words: list[bytes]) -> dict[str, str] | ErrorReply:
    trial = settings.copy_of_scalars()
    changes: dict[str, str] = {}
    for at in range(0, len(words), 2):
        option, shown = lower(words[at]), to_text(words[at])
        if option != "loglevel" and option not in SETTERS:
            return ErrorReply(f"ERR Invalid argument '{shown}' to SENTINEL CONFIG SET")
        if option in changes:
            return ErrorReply(f"ERR Duplicate argument '{shown}' to SENTINEL CONFIG SET")
        if at + 1 == len(words):
            return ErrorReply(f"ERR Missing argument '{shown}' value")
        text = clean_text(words[at + 1])
        if text is None or not _fits(trial, option, text):
            return invalid_value(words[at], words[at + 1])
        changes[option] = text
    return changes


def _fits(trial: Settings, option: str, text: str) -> bool:
    return text.lower() in LEVELS if option == "loglevel" else SETTERS[option](trial, text)
