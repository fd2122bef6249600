"""Turn the syntax of a command, written in one line, into the argument tree of COMMAND DOCS.

    username                a value: its name, and `:integer` or another type than string
    ID=client-id:integer    a value behind a token
    NOW                     a token alone
    (mode YES | NO)         one of these; the first word is its name
    {pair option value}     all of these, in this order
    TYPE=(kind A | B)       a choice or a sequence behind a token
    x?  x*  x?*             optional, repeated, both

Source of the shape: `addReplyCommandArgList`, redis/src/server.c (7.0.15).
"""

import re
from dataclasses import dataclass
from typing import Final

from everfly.wire.resp import SimpleString, Unordered, Value

_TOKEN: Final = re.compile(r"[^\s=(){}|?*]+=[({]|[({|]|[)}][?*]*|[^\s(){}|?*]+[?*]*")

_TYPES: Final = frozenset({"integer", "pattern"})
"""Others than string; a colon before any other word belongs to the name (`ip:port`)."""


@dataclass(slots=True)
class _Reader:
    tokens: list[str]
    at: int = 0

    def next(self) -> str:
        """Take one token."""
        self.at += 1
        return self.tokens[self.at - 1]

    def read_all(self) -> list[Value]:
        """Read arguments until the end of the line or of what was opened."""
        arguments: list[Value] = []
        while self.at < len(self.tokens) and self.tokens[self.at][0] not in ")}":
            if self.tokens[self.at] == "|":
                self.at += 1
                continue
            arguments.append(self.read_one())
        return arguments

    def read_one(self) -> dict[str, Value]:
        """Read one argument with all that belongs to it."""
        token = self.next()
        if token[-1] not in "({":
            return _simple(token)
        name = self.next()
        inner = self.read_all()
        flags = self.next()[1:]
        kind = "oneof" if token[-1] == "(" else "block"
        return _argument(name, kind, token[:-2], flags) | {"arguments": inner}


def arguments_of(syntax: str) -> list[Value]:
    """Return the arguments that a line of syntax describes."""
    return _Reader(_TOKEN.findall(syntax)).read_all()


def _simple(token: str) -> dict[str, Value]:
    word = token.rstrip("?*")
    flags = token[len(word) :]
    before, separator, after = word.partition("=")
    if not separator and word.isupper():
        return _argument(word.lower(), "pure-token", word, flags)
    name = after if separator else word
    kind = name.rpartition(":")[2]
    if kind in _TYPES:
        name = name.removesuffix(f":{kind}")
    return _argument(name, kind if kind in _TYPES else "string", before if separator else "", flags)


def _argument(name: str, kind: str, token: str, marks: str) -> dict[str, Value]:
    argument: dict[str, Value] = {"name": name, "type": kind}
    if token:
        argument["token"] = token
    flags: list[Value] = []
    if "?" in marks:
        flags.append(SimpleString("optional"))
    if "*" in marks:
        flags.append(SimpleString("multiple"))
    if flags:
        argument["flags"] = Unordered(flags)
    return argument
