"""Turn the words of a command into its row of the table, or into what is wrong with its name.

Source: `lookupCommand`, `commandCheckExistence`, redis/src/server.c (7.0.15).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from everfly.errors import SettingsError
from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.wire.resp import ErrorReply, to_bytes, to_text

if TYPE_CHECKING:  # A desk has a registry, whose handlers get a desk.
    from everfly.sentinel.commands.desk import Desk

Handler = Callable[["Desk", ClientConnection, list[bytes]], Outcome]
"""Carries out a command, whose words it gets, all of them."""

WORD_BYTES_SHOWN: Final = 128
"""Of an unknown command's name, and of all its arguments together.
Source: `commandCheckExistence` (7.0.15)."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One row: a command, or a subcommand (`client|list`)."""

    name: str
    arity: int
    """Words in all; negative: at least so many."""
    flags: tuple[str, ...]
    """In the words and the order of COMMAND INFO."""
    categories: tuple[str, ...]
    """Of ACL, without the `@`, in their order."""
    handler: Handler | None
    """None: it has subcommands and does nothing itself."""
    since: str
    group: str
    summary: str
    syntax: str = ""
    """Its arguments, in the language of `docs_syntax`."""
    tips: tuple[str, ...] = ()
    deprecated: tuple[str, str] | None = None
    """Since when, and what to use instead."""
    complexity: str = "O(1)"

    @property
    def word(self) -> str:
        """Return the last part of the name."""
        return self.name.rpartition("|")[2]

    def takes(self, words: int) -> bool:
        """Tell whether a command may have so many words."""
        return words == self.arity if self.arity >= 0 else words >= -self.arity


@dataclass(frozen=True, slots=True)
class RowKind:
    """What several rows have in common: flags, ACL categories, group."""

    flags: str
    categories: str
    group: str

    def row(self, name: str, arity: int, handler: Handler | None, *docs: str) -> Spec:
        """Make a row; `docs`: since, summary, and where there are any: syntax, tips."""
        since, summary, *more = docs
        syntax, tips = [*more, "", ""][:2]
        return Spec(
            name=name,
            arity=arity,
            flags=tuple(self.flags.split()),
            categories=tuple(self.categories.split()),
            handler=handler,
            since=since,
            group=self.group,
            summary=summary,
            syntax=syntax,
            tips=tuple(tips.split()),
        )


AT_ALL_TIMES: Final = "noscript loading stale"
ADMIN: Final = "admin noscript loading stale"
"""Flags of most commands."""


class Registry:
    """The whole table, by name."""

    def __init__(self, specs: Iterable[Spec], unlisted: Iterable[tuple[str, Spec]] = ()) -> None:
        """Take the rows; `unlisted`: subcommands of our own by the full name that clients use.

        They are found by name and listed nowhere, for clients compare lists. To ACL rules such a
        one is the command that its row names.
        """
        self.specs: Final = {spec.name: spec for spec in specs}
        self.unlisted: Final = dict(unlisted)
        self.top: Final = [spec for spec in self.specs.values() if "|" not in spec.name]
        self.children: Final[dict[str, list[Spec]]] = {}
        for spec in self.specs.values():
            parent, separator, _ = spec.name.partition("|")
            if separator:
                self.children.setdefault(parent, []).append(spec)
        self._words: Final[dict[bytes, tuple[Spec, dict[bytes, Spec]]]] = {
            to_bytes(spec.name): (
                spec,
                {to_bytes(child.word): child for child in self.children.get(spec.name, ())},
            )
            for spec in self.top
        }
        for name, spec in self.unlisted.items():
            parent, _, word = name.partition("|")
            self._words[to_bytes(parent)][1][to_bytes(word)] = spec

    def renamed(self, pairs: Iterable[tuple[str, str]]) -> "Registry":
        """Return this table with commands called otherwise by clients; an empty name: by none.

        Raises SettingsError for a command that is none, and for a name that is taken.
        Source: `loadServerConfigFromString`, redis/src/config.c (7.0.15).
        """
        copy = Registry(self.specs.values(), self.unlisted.items())
        for old, new in pairs:
            entry = copy._words.pop(to_bytes(old.lower()), None)
            if entry is None:
                raise SettingsError(f"No such command in rename-command: {old!r}")
            name = to_bytes(new.lower())
            if name in copy._words:
                raise SettingsError(f"Target command name already exists: {new!r} (rename-command)")
            if name:
                copy._words[name] = entry
        return copy

    def find(self, command: list[bytes]) -> Spec | ErrorReply:
        """Return the row of a command, or what is wrong with its name."""
        entry = self._words.get(command[0].lower())
        if entry is None:
            return _unknown(command)
        spec, children = entry
        if not children or len(command) == 1:
            return spec
        child = children.get(command[1].lower())
        if child is not None:
            return child
        word = _shown(command[1][:WORD_BYTES_SHOWN])
        parent = _shown(command[0]).upper()
        return ErrorReply(f"ERR unknown subcommand '{word}'. Try {parent} HELP.")

    def by_name(self, name: bytes) -> Spec | None:
        """Return a row by its full name (`sentinel|masters`), in any case."""
        return self.specs.get(to_text(name).lower())


def _unknown(command: list[bytes]) -> ErrorReply:
    arguments = b""
    for argument in command[1:]:
        if len(arguments) >= WORD_BYTES_SHOWN:
            break
        arguments += b"'%b' " % argument[: WORD_BYTES_SHOWN - len(arguments)].partition(b"\0")[0]
    name = _shown(command[0][:WORD_BYTES_SHOWN])
    return ErrorReply(
        f"ERR unknown command '{name}', with args beginning with: {to_text(arguments)}"
    )


def _shown(word: bytes) -> str:
    """Write a word as C's `%s` would: up to the first NUL."""
    return to_text(word.partition(b"\0")[0])
