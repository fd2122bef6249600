"""Turn a command's words into its row of the table, check it as the row says, and carry it out.

The order of the checks is the order in which clients see their errors: existence, number of
arguments, authentication, subscribe mode, pause.
Source: `processCommand`, redis/src/server.c (7.0.15).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import ErrorReply, to_bytes, to_text

Handler = Callable[[Desk, ClientConnection, list[bytes]], Outcome]
"""Carries out a command, whose words it gets, all of them."""

WORD_BYTES_SHOWN: Final = 128
"""Of an unknown command's name, and of all its arguments together.
Source: `commandCheckExistence` (7.0.15)."""

NO_AUTH: Final = ErrorReply("NOAUTH Authentication required.")


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

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.specs: Final = {spec.name: spec for spec in specs}
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


class SentinelCommands:
    """The commands of a Sentinel's port, for one listener."""

    def __init__(self, registry: Registry, desk: Desk) -> None:
        self._registry = registry
        self._desk = desk

    def joined(self, client: ClientConnection) -> None:
        """Prepare a new client: without a password everybody is who they say."""
        client.authenticate(is_proved=not self._desk.settings.requirepass)

    def left(self, client: ClientConnection) -> None:
        """Forget a client that is gone."""
        self._desk.pubsub.forget(client)

    def execute(self, client: ClientConnection, command: list[bytes]) -> Outcome:
        """Carry out one command, or say why not."""
        spec = self._registry.find(command)
        if isinstance(spec, ErrorReply):
            client.command_name = None
            return spec
        client.command_name = spec.name
        if not spec.takes(len(command)) or spec.handler is None:
            return ErrorReply(f"ERR wrong number of arguments for '{spec.name}' command")
        if not client.is_authenticated and "no_auth" not in spec.flags:
            return NO_AUTH
        if client.protocol == 2 and spec.name not in _IN_SUBSCRIBE_MODE and client.kind == "pubsub":
            return ErrorReply(
                f"ERR Can't execute '{spec.name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / "
                "QUIT / RESET are allowed in this context"
            )
        pause = self._desk.pause
        if pause.is_on and (not pause.is_for_writes_only or spec.name == "publish"):
            return Later(self._execute_after_pause(spec.handler, client, command))
        self._desk.listener.traffic.commands += 1
        return spec.handler(self._desk, client, command)

    async def _execute_after_pause(
        self, handler: Handler, client: ClientConnection, command: list[bytes]
    ) -> Answer:
        await self._desk.pause.wait()
        self._desk.listener.traffic.commands += 1
        outcome = handler(self._desk, client, command)
        return await outcome.work if isinstance(outcome, Later) else outcome


_IN_SUBSCRIBE_MODE: Final = frozenset(
    {"ping", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"}
)


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
