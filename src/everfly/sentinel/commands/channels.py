"""Commands about channels: who wants to hear notices, and hellos that peers publish to us.

Source: redis/src/pubsub.c; `sentinelPublishCommand`, redis/src/sentinel.c (7.0.15).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from everfly.core.inputs import HelloHeard
from everfly.core.model import Hello
from everfly.errors import RemoteError
from everfly.runtime.client_connection import ClientConnection, Encoded, Outcome
from everfly.runtime.hostnames import has_names
from everfly.runtime.pubsub import CHANNEL_BYTES_MAX, SUBSCRIPTIONS_MAX
from everfly.sentinel.commands.desk import Desk
from everfly.wire.hello import CHANNEL, HELLOS_MAX, read_hello
from everfly.wire.resp import ErrorReply

ONE: Final = 1
"""How many received a hello, which is nobody's business: always one."""


def subscribe(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SUBSCRIBE channel [channel ...]."""
    return _add(client, command, desk.pubsub.subscribe)


def psubscribe(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """PSUBSCRIBE pattern [pattern ...]."""
    return _add(client, command, desk.pubsub.psubscribe)


def unsubscribe(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """UNSUBSCRIBE [channel ...]; without one, all."""
    return _remove(client, command[1:] or list(client.channels), desk.pubsub.unsubscribe)


def punsubscribe(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """PUNSUBSCRIBE [pattern ...]; without one, all."""
    return _remove(client, command[1:] or list(client.patterns), desk.pubsub.punsubscribe)


def publish(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """PUBLISH: a peer's hello, which is not handed on to subscribers. All else is refused."""
    del client
    if command[1] != CHANNEL:
        return ErrorReply("ERR Only HELLO messages are accepted by Sentinel instances.")
    try:
        hello, names = _read(command[2])
    except RemoteError:
        return ONE  # As ever: whoever sends such things learns nothing from the answer.
    if hello.sender_run_id == desk.me:
        return ONE
    if names:
        desk.hellos.resolve_hello(hello, lambda resolved: _hear(desk, resolved))
    else:
        desk.brain.submit(HelloHeard(None, hello))
    return ONE


@lru_cache(maxsize=HELLOS_MAX)
def _read(payload: bytes) -> tuple[Hello, bool]:
    """Return a hello and whether there are names in it. Raises RemoteError for what is none.

    A peer says the same every two seconds, for each group.
    """
    hello = read_hello(payload)
    return hello, has_names(hello.sender, hello.primary)


def _hear(desk: Desk, hello: Hello | None) -> None:
    if hello is not None:
        desk.brain.submit(HelloHeard(None, hello))


def _add(
    client: ClientConnection,
    command: list[bytes],
    subscribe_one: Callable[[ClientConnection, bytes], bytes],
) -> Outcome:
    names = command[1:]
    if any(len(name) > CHANNEL_BYTES_MAX for name in names):
        return ErrorReply(f"ERR a channel or pattern is longer than {CHANNEL_BYTES_MAX} bytes")
    if len(names) + len(client.channels) + len(client.patterns) > SUBSCRIPTIONS_MAX:
        return ErrorReply(f"ERR a client may have {SUBSCRIPTIONS_MAX} subscriptions")
    return Encoded(b"".join([subscribe_one(client, name) for name in names]))


def _remove(
    client: ClientConnection,
    names: list[bytes],
    unsubscribe_one: Callable[[ClientConnection, bytes | None], bytes],
) -> Outcome:
    wanted: list[bytes | None] = list(names) or [None]
    return Encoded(b"".join([unsubscribe_one(client, name) for name in wanted]))
