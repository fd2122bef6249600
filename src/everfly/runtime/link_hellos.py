"""Turn our own hellos into commands, each of them once.

A Sentinel says the same every two seconds, on every channel and to each other one. Rule: what is
remembered is bounded, and depends on nothing but what it is looked up by.
"""

from typing import Final, TypeVar

from everfly.core.model import Address, GroupName, Hello
from everfly.runtime.link_settings import LinkSettings
from everfly.wire.hello import CHANNEL, format_hello
from everfly.wire.resp import encode_command

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED_MAX: Final = 20_000
"""Each is a few hundred bytes."""


class Hellos:
    """What one Sentinel says of itself and its groups."""

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._said: dict[tuple[Hello, str, str], bytes] = {}
        self._last_said: dict[GroupName, tuple[Hello, bool, str, bytes]] = {}

    def shown(self, address: Address) -> str:
        """Return the host as others are told it."""
        return address.host if self._settings.shows_hostnames else address.ip or address.host

    def command(self, hello: Hello, publish: str) -> bytes:
        """Return the command that says it; `publish` is what PUBLISH is called there.

        Raises LocalError for a hello that nobody could read.
        """
        shows = self._settings.shows_hostnames
        last = self._last_said.get(hello.group)
        if last is not None and last[0] is hello and last[1] is shows and last[2] == publish:
            return last[3]
        command = encode_command(publish, CHANNEL, self._write(hello))
        remember(self._last_said, hello.group, (hello, shows, publish, command))
        return command

    def _write(self, hello: Hello) -> bytes:
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
        return payload


def remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep a value, and let the oldest go when there are too many."""
    memory[key] = value
    if len(memory) > REMEMBERED_MAX:
        del memory[next(iter(memory))]
