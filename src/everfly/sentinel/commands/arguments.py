"""Turn words of a command into values, by the rules of Redis, or into its error texts."""

import re
from typing import Final

from everfly.runtime.glob import PATTERN_BYTES_MAX, Glob
from everfly.wire.resp import ErrorReply, to_text

SYNTAX_ERROR: Final = ErrorReply("ERR syntax error")
SAVE_FAILED: Final = ErrorReply("ERR Failed to save config file. Check server logs.")
NOT_AN_INTEGER: Final = ErrorReply("ERR value is not an integer or out of range")
PATTERN_TOO_LONG: Final = ErrorReply(
    f"ERR the pattern is longer than {PATTERN_BYTES_MAX} bytes, which no name here is"
)

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def to_integer(word: bytes) -> int | None:
    """Return a number of 64 bits, or None: no plus, no leading zero, no space.

    Source: `string2ll`, redis/src/util.c (7.0.15).
    """
    if _INTEGER.fullmatch(word) is None:
        return None
    number = int(word)
    return number if -(2**63) <= number < 2**63 else None


def lower(word: bytes) -> str:
    """Return a word that is the same in any case, such as the name of an option."""
    return to_text(word).lower()


def to_glob(pattern: bytes, *, ignore_case: bool = False) -> Glob | None:
    """Return a pattern to match names with, or None: it is too long."""
    if len(pattern) > PATTERN_BYTES_MAX:
        return None
    return Glob(pattern, ignore_case=ignore_case)


def clean_text(word: bytes) -> str | None:
    """Return a word that may go into the configuration file and to a terminal, or None.

    It must be UTF-8 without control characters: a line end would add lines to the file.
    """
    if _CONTROL.search(word):
        return None
    try:
        return word.decode()
    except UnicodeDecodeError:
        return None


def wrong_usage(word: bytes, command: str) -> ErrorReply:
    """Return the answer to a subcommand that has too many arguments where arity cannot tell.

    Source: `addReplySubcommandSyntaxError`, redis/src/networking.c (7.0.15).
    """
    return ErrorReply(
        "ERR unknown subcommand or wrong number of arguments for "
        f"'{to_text(word)[:128]}'. Try {command} HELP."
    )
