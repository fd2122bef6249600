"""The COMMAND commands: what this port understands, for clients that ask before they speak.

Source: `commandCommand` and its siblings, redis/src/server.c (7.0.15).
"""

from collections.abc import Callable, Iterable
from typing import Final

from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.sentinel.commands.arguments import PATTERN_TOO_LONG, SYNTAX_ERROR, lower, to_glob
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.docs_syntax import arguments_of
from everfly.sentinel.commands.registry import Handler, Registry, Spec
from everfly.wire.resp import ErrorReply, SimpleString, Unordered, Value, to_bytes

NO_KEYS: Final = ErrorReply("ERR The command has no key arguments")
INVALID_COMMAND: Final = ErrorReply("ERR Invalid command specified")

Ask = Callable[[Registry, list[bytes]], Outcome]
"""Answers from the table alone."""


def from_table(ask: Ask) -> Handler:
    """Make a handler of a question about the table."""

    def handle(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
        del client
        return ask(desk.registry, command)

    return handle


def all_commands(registry: Registry, command: list[bytes]) -> Outcome:
    """COMMAND."""
    del command
    return [_row(registry, spec) for spec in registry.top]


def count(registry: Registry, command: list[bytes]) -> Outcome:
    """COMMAND COUNT: without subcommands."""
    del command
    return len(registry.top)


def info(registry: Registry, command: list[bytes]) -> Outcome:
    """COMMAND INFO [name ...]; null for a name that does not exist."""
    if len(command) == 2:
        return all_commands(registry, command)
    specs = [registry.by_name(name) for name in command[2:]]
    return [None if spec is None else _row(registry, spec) for spec in specs]


def docs(registry: Registry, command: list[bytes]) -> Outcome:
    """COMMAND DOCS [name ...]; names that do not exist are left out."""
    found: Iterable[Spec | None] = registry.top
    if len(command) > 2:
        found = [registry.by_name(name) for name in command[2:]]
    answer: dict[str, Value] = {
        spec.name: _doc(registry, spec) for spec in found if spec is not None
    }
    return answer


def list_names(registry: Registry, command: list[bytes]) -> Outcome:
    """COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]."""
    names = list(registry.specs)
    if len(command) == 2:
        return _listed(names)
    if len(command) != 5 or lower(command[2]) != "filterby":
        return SYNTAX_ERROR
    match lower(command[3]):
        case "module":
            return []
        case "aclcat":
            category = lower(command[4])
            return _listed(name for name in names if category in registry.specs[name].categories)
        case "pattern":
            glob = to_glob(command[4], ignore_case=True)
            if glob is None:
                return PATTERN_TOO_LONG
            return _listed(name for name in names if glob.matches(to_bytes(name)))
        case _:
            return SYNTAX_ERROR


def getkeys(registry: Registry, command: list[bytes]) -> Outcome:
    """COMMAND GETKEYS and GETKEYSANDFLAGS: no command of a Sentinel has keys."""
    found = registry.find(command[2:])
    return INVALID_COMMAND if isinstance(found, ErrorReply) else NO_KEYS


def help_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """COMMAND HELP."""
    del client, command
    return desk.help.command


def _listed(names: Iterable[str]) -> list[Value]:
    return list(names)


def _row(registry: Registry, spec: Spec) -> Value:
    return [
        spec.name,
        spec.arity,
        Unordered([SimpleString(flag) for flag in spec.flags]),
        *(0, 0, 0),  # First key, last key, step.
        Unordered([SimpleString(f"@{category}") for category in spec.categories]),
        Unordered(list(spec.tips)),
        Unordered([]),  # Key specifications.
        _rows(registry, registry.children.get(spec.name, [])),
    ]


def _rows(registry: Registry, specs: list[Spec]) -> Value:
    rows = [_row(registry, spec) for spec in specs]
    return rows or Unordered([])


def _doc(registry: Registry, spec: Spec) -> dict[str, Value]:
    doc: dict[str, Value] = {
        "summary": spec.summary,
        "since": spec.since,
        "group": spec.group,
        "complexity": spec.complexity,
    }
    if spec.deprecated is not None:
        since, instead = spec.deprecated
        doc["doc_flags"] = Unordered([SimpleString("deprecated")])
        doc["deprecated_since"] = since
        doc["replaced_by"] = instead
    if spec.syntax:
        doc["arguments"] = arguments_of(spec.syntax)
    children = registry.children.get(spec.name)
    if children:
        doc["subcommands"] = {child.name: _doc(registry, child) for child in children}
    return doc
