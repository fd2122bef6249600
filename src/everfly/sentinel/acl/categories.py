"""Turn the rows of a command table into what rules speak of: commands, subcommands, categories.

A rule about a command holds for its subcommands too; one about a category holds for each command
in it, and through a command for its subcommands, whatever their own categories are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

CATEGORIES: Final = (
    *("keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap"),
    *("hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous"),
    *("connection", "transaction", "scripting"),
)
"""Source: `ACLCommandCategories` (7.0.15)."""


class CommandNames:
    """Names of commands (`client`) and subcommands (`client|list`), in small letters."""

    def __init__(self, rows: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Take pairs of a name and its categories; a command stands before its subcommands."""
        self._children: Final[dict[str, list[str]]] = {}
        self._categories: Final[dict[str, frozenset[str]]] = {}
        for name, categories in rows:
            self._categories[name] = frozenset(categories)
            parent, separator, _ = name.partition("|")
            if separator:
                self._children[parent].append(name)
            else:
                self._children[name] = []
        self.all: Final = frozenset(self._categories)

    def find(self, word: str) -> str | None:
        """Return the name that a word of a rule, in any case, means, or None."""
        name = word.lower()
        return name if name in self._categories else None

    def top(self) -> Iterable[str]:
        """Return the names of commands, without subcommands."""
        return self._children

    def children(self, name: str) -> list[str]:
        """Return the names of a command's subcommands; none for a subcommand."""
        return self._children.get(name, [])

    def members(self, category: str) -> Iterator[str]:
        """Return the commands and subcommands that are in a category themselves."""
        return (name for name in self.walk() if category in self._categories[name])

    def walk(self) -> Iterator[str]:
        """Return all names, each command before its subcommands."""
        for name, children in self._children.items():
            yield name
            yield from children


@dataclass(frozen=True, slots=True)
class Dialect:
    """What rules mean here, and how they are shown."""

    names: CommandNames
    allows_channels: bool = False
    """New users may listen to all channels (`acl-pubsub-default allchannels`)."""
    keeps_rules: bool = False
    """Rules about commands are shown as they were given, as Redis does from 7.2 on; before, they
    are shown as the shortest ones with the same effect."""
    sanitizes: bool = False
    """New users have the flag `sanitize-payload`, as from Redis 7.2 on."""
    names_who_is_denied: bool = False
    """Refusals name the user, as from Redis 7.2 on."""
    keeps_clients: bool = False
    """ACL LOAD keeps the connections of users that it does not change, as from Redis 7.2 on."""
