"""Turn hellos into what travels on links and back, each of them once.

Sentinels say the same every two seconds, on every channel and to each other. Rules: what is
remembered is bounded, and depends on nothing but what it is looked up by.
"""

from typing import Final, TypeVar

from everfly.core.model import Address, GroupName, Hello
from everfly.runtime.link_settings import LinkSettings
from everfly.wire.hello import format_hello, parse_hello

K = TypeVar("K")
V = TypeVar("V")

HELLOS_MAX: Final = 20_000
"""Remembered hellos, read or written. Each is a few hundred bytes."""


class Hellos:
    """The hellos of one Sentinel's links."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._heard: dict[bytes, Hello] = {}
        self._said: dict[tuple[Hello, str, str], bytes] = {}
        self._last_said: dict[GroupName, tuple[Hello, bool, bytes]] = {}

    def read(self, payload: bytes) -> Hello:
        """Return what a message says, with hosts as given. Raises RemoteError for no hello."""
        hello = self._heard.get(payload)
        if hello is None:
            hello = parse_hello(payload)
            remember(self._heard, payload, hello)
        return hello

    def shown(self, address: Address) -> str:
        """Return the host as others are told it."""
        return address.host if self._settings.shows_hostnames else address.ip or address.host

    def write(self, hello: Hello) -> bytes:
        """Return the message. Raises LocalError for a hello that nobody could read."""
        last = self._last_said.get(hello.group)
        shows = self._settings.shows_hostnames
        if last is not None and last[0] is hello and last[1] is shows:
            return last[2]
        sender, primary = self.shown(hello.sender), self.shown(hello.primary)
        # Beside the hello itself, because addresses are equal when they lead to the same place.
        key = (hello, sender, primary)
        payload = self._said.get(key)
        if payload is None:
            payload = format_hello(
                Hello(
                    sender=Address(sender, hello.sender.port),
                    sender_run_id=hello.sender_run_id,
                    current_epoch=hello.current_epoch,
                    group=hello.group,
                    primary=Address(primary, hello.primary.port),
                    config_epoch=hello.config_epoch,
                )
            )
            remember(self._said, key, payload)
        remember(self._last_said, hello.group, (hello, shows, payload))
        return payload


def remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep a value, and let the oldest go when there are too many."""
    memory[key] = value
    if len(memory) > HELLOS_MAX:
        del memory[next(iter(memory))]
