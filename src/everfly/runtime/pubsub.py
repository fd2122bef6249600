"""Turn notices into messages for those who subscribed to the event's name, or to a pattern of it.

A message is encoded once for each protocol, not once for each client. What a subscriber may keep is
bounded: the number of its subscriptions, and the length of each.
Source: redis/src/pubsub.c (7.0.15).
"""

from typing import Final, Literal, Protocol

from everfly.core.notices import Level, Notice
from everfly.runtime.glob import PATTERN_BYTES_MAX, Glob
from everfly.wire.resp import encode_reply, to_bytes

SUBSCRIPTIONS_MAX: Final = 1_000
"""Of one client, both kinds together: there are about fifty events, and each pattern costs time
with each of them."""
CHANNEL_BYTES_MAX: Final = PATTERN_BYTES_MAX
"""Of a channel's name or a pattern."""


class Subscriber(Protocol):
    """A client as this module needs it."""

    @property
    def protocol(self) -> Literal[2, 3]:
        """Which RESP it speaks."""
        ...

    @property
    def channels(self) -> dict[bytes, None]:
        """Names it subscribed to, in that order. Changed by this module alone."""
        ...

    @property
    def patterns(self) -> dict[bytes, None]:
        """Patterns it subscribed to, in that order. Changed by this module alone."""
        ...

    def push(self, data: bytes) -> None:
        """Send encoded bytes that are no reply."""
        ...


class PubSub:
    """Who subscribed to what."""

    def __init__(self) -> None:
        self._channels: dict[bytes, dict[Subscriber, None]] = {}
        self._patterns: dict[bytes, tuple[Glob, dict[Subscriber, None]]] = {}

    @property
    def channel_count(self) -> int:
        """Channels with a subscriber (`pubsub_channels` of INFO)."""
        return len(self._channels)

    @property
    def pattern_count(self) -> int:
        """Patterns with a subscriber (`pubsub_patterns` of INFO)."""
        return len(self._patterns)

    def subscribe(self, client: Subscriber, channel: bytes) -> bytes:
        """Add a channel; return the encoded confirmation."""
        client.channels[channel] = None
        self._channels.setdefault(channel, {})[client] = None
        return _confirmation(client, b"subscribe", channel)

    def psubscribe(self, client: Subscriber, pattern: bytes) -> bytes:
        """Add a pattern; return the encoded confirmation."""
        client.patterns[pattern] = None
        entry = self._patterns.get(pattern)
        if entry is None:
            entry = self._patterns[pattern] = Glob(pattern), {}
        entry[1][client] = None
        return _confirmation(client, b"psubscribe", pattern)

    def unsubscribe(self, client: Subscriber, channel: bytes | None) -> bytes:
        """Remove a channel, also one that was never added; return the encoded confirmation.

        None: there is nothing to remove, and the client is told so.
        """
        if channel is not None and channel in client.channels:
            del client.channels[channel]
            subscribers = self._channels[channel]
            del subscribers[client]
            if not subscribers:
                del self._channels[channel]
        return _confirmation(client, b"unsubscribe", channel)

    def punsubscribe(self, client: Subscriber, pattern: bytes | None) -> bytes:
        """Remove a pattern, in the same way."""
        if pattern is not None and pattern in client.patterns:
            del client.patterns[pattern]
            subscribers = self._patterns[pattern][1]
            del subscribers[client]
            if not subscribers:
                del self._patterns[pattern]
        return _confirmation(client, b"punsubscribe", pattern)

    def forget(self, client: Subscriber) -> None:
        """Remove all of a client that is gone."""
        for channel in list(client.channels):
            self.unsubscribe(client, channel)
        for pattern in list(client.patterns):
            self.punsubscribe(client, pattern)

    def publish(self, channel: bytes, payload: bytes) -> int:
        """Send a message to all who want it; return how many times it was sent."""
        sent = _send(self._channels.get(channel, ()), (b"message", channel, payload))
        for pattern, (glob, subscribers) in list(self._patterns.items()):
            if glob.matches(channel):
                sent += _send(subscribers, (b"pmessage", pattern, channel, payload))
        return sent

    def on_notice(self, notice: Notice) -> None:
        """Publish a notice on the channel of its event's name; debug ones are for the log alone.

        Source: `sentinelEvent`, redis/src/sentinel.c (7.0.15).
        """
        if notice.event.level is not Level.DEBUG:
            self.publish(to_bytes(notice.event.wire), to_bytes(notice.payload))


def _confirmation(client: Subscriber, kind: bytes, name: bytes | None) -> bytes:
    count = len(client.channels) + len(client.patterns)
    return _message(client.protocol, (kind, name, count))


def _send(subscribers: dict[Subscriber, None] | tuple[()], message: tuple[bytes, ...]) -> int:
    if not subscribers:
        return 0
    encoded = {2: _message(2, message), 3: _message(3, message)}
    # A push can close a client whose buffer is full, which changes the set.
    for client in list(subscribers):
        client.push(encoded[client.protocol])
    return len(subscribers)


def _message(protocol: Literal[2, 3], parts: tuple[bytes | int | None, ...]) -> bytes:
    head = b">%d\r\n" if protocol == 3 else b"*%d\r\n"
    return head % len(parts) + b"".join(encode_reply(part, protocol) for part in parts)
