"""Turn the words of CLIENT KILL and CLIENT LIST into a filter of connections: all of it must fit.

What is no option, or lacks its value, is a fault at its place: the first one is told. Valkey takes
several ids, and all filters for CLIENT LIST too.
Source: `clientKillCommand`, redis/src/networking.c (7.0.15, 7.4.1); `parseClientFiltersOrReply`,
valkey/src/networking.c (8.1.8).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from everfly.runtime.client_connection import ClientConnection
from everfly.sentinel.commands.arguments import SYNTAX_ERROR, lower, to_integer
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import ErrorReply, to_text

TYPES: Final = {
    "normal": "normal",
    "pubsub": "pubsub",
    "master": "master",
    "replica": "replica",
    "slave": "replica",
}
"""Words for a kind of client; of the last kinds a Sentinel has none.
Source: `getClientTypeByName`, redis/src/networking.c (7.0.15)."""

BAD_ID: Final = ErrorReply("ERR client-id should be greater than 0")


@dataclass(slots=True)
class ClientFilter:
    """None: any."""

    ids: set[int] | None = None
    addr: str | None = None
    laddr: str | None = None
    kind: str | None = None
    user: str | None = None
    age_min_s: int | None = None
    skips_me: bool = False

    def chosen(
        self, clients: Iterable[ClientConnection], caller: ClientConnection, now: float
    ) -> list[ClientConnection]:
        """Return those that fit; `now` is the event loop's clock, in seconds."""
        return [
            client
            for client in clients
            if self._fits(client, now) and not (self.skips_me and client is caller)
        ]

    def _fits(self, client: ClientConnection, now: float) -> bool:
        return (
            (self.ids is None or client.id in self.ids)
            and self.addr in (None, client.addr)
            and self.laddr in (None, client.laddr)
            and self.kind in (None, client.kind)
            and self.user in (None, client.user)
            and (self.age_min_s is None or int(now - client.opened_at) >= self.age_min_s)
        )


def read_filter(desk: Desk, words: Sequence[bytes], *, skips_me: bool) -> ClientFilter | ErrorReply:
    """Return the filter, or what is wrong with it; `skips_me`: what holds if nobody says."""
    wanted = ClientFilter(skips_me=skips_me)
    place = 0
    while place < len(words):
        option = lower(words[place])
        place += 1
        if place == len(words):
            return SYNTAX_ERROR
        if option == "id" and desk.settings.compat.is_valkey:
            taken = _read_ids(wanted, words, place)
            if isinstance(taken, ErrorReply):
                return taken
            place = taken
            continue
        fault = _read_option(desk, wanted, option, words[place])
        if fault is not None:
            return fault
        place += 1
    return wanted


def kind_of(desk: Desk, word: bytes) -> str | ErrorReply:
    """Return a kind of client by its word, or the answer to one that does not exist."""
    name = lower(word)
    if name == "primary" and desk.settings.compat.is_valkey:
        return "master"
    return TYPES.get(name) or ErrorReply(f"ERR Unknown client type '{to_text(word)[:128]}'")


def _read_ids(wanted: ClientFilter, words: Sequence[bytes], place: int) -> int | ErrorReply:
    """Take the numbers that come, also none of them; return where they end."""
    wanted.ids = wanted.ids or set()
    while place < len(words):
        number = to_integer(words[place])
        if number is None:
            break
        if number < 1:
            return BAD_ID
        wanted.ids.add(number)
        place += 1
    return place


def _read_option(desk: Desk, wanted: ClientFilter, option: str, value: bytes) -> ErrorReply | None:
    match option:
        case "addr":
            wanted.addr = to_text(value)
        case "laddr":
            wanted.laddr = to_text(value)
        case "skipme" if lower(value) in ("yes", "no"):
            wanted.skips_me = lower(value) == "yes"
        case "maxage" if desk.settings.compat.is_recent:
            return _read_age(wanted, value)
        case "id" | "type" | "user":
            return _read_who(desk, wanted, option, value)
        case _:
            return SYNTAX_ERROR
    return None


def _read_age(wanted: ClientFilter, value: bytes) -> ErrorReply | None:
    seconds = to_integer(value)
    if seconds is None:
        return ErrorReply("ERR maxage is not an integer or out of range")
    if seconds < 1:
        return ErrorReply("ERR maxage should be greater than 0")
    wanted.age_min_s = seconds
    return None


def _read_who(desk: Desk, wanted: ClientFilter, option: str, value: bytes) -> ErrorReply | None:
    match option:
        case "id":
            number = to_integer(value)
            if number is None or number < 1:
                return BAD_ID
            wanted.ids = {number}
        case "type":
            kind = kind_of(desk, value)
            if isinstance(kind, ErrorReply):
                return kind
            wanted.kind = kind
        case _:
            wanted.user = to_text(value)
            if desk.access.users.get(wanted.user) is None:
                return ErrorReply(f"ERR No such user '{wanted.user[:128]}'")
    return None
