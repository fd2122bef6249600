"""What commands have at hand: the deciding core, the clients, the settings.

`Parts` is what the home gives; a `Desk` is made of it for one listener.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from everfly.core.model import Address, RunId
from everfly.core.policy import Policy
from everfly.runtime.listener import Listener
from everfly.runtime.ports import Brain, HelloResolver, InfoCache, Resolver, Scripts
from everfly.runtime.pubsub import PubSub
from everfly.sentinel.acl.control import AccessControl
from everfly.sentinel.commands.help_variants import help_of
from everfly.sentinel.commands.registry import Registry
from everfly.sentinel.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """The home's parts that commands talk to."""

    me: RunId
    brain: Brain
    settings: Settings
    policy: Policy
    """Read only: changes enter the core as inputs."""
    pubsub: PubSub
    resolver: Resolver
    hellos: HelloResolver
    info_cache: InfoCache
    scripts: Scripts
    access: AccessControl
    shut_down: Callable[[], None]
    """Begin to end the process; returns at once."""


class Pause:
    """CLIENT PAUSE: until when which commands wait."""

    def __init__(self) -> None:
        self.is_for_writes_only = False
        self._until = 0.0
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether commands wait now."""
        return self._timer is not None

    @property
    def left_s(self) -> float:
        """How long commands wait yet; 0: they do not."""
        return max(0.0, self._until - asyncio.get_running_loop().time()) if self.is_on else 0.0

    def begin(self, seconds: float, *, for_writes_only: bool) -> None:
        """Start or prolong a pause. It never becomes shorter, or milder, by a second call.

        Source: `pauseClients`, redis/src/networking.c (7.0.15).
        """
        loop = asyncio.get_running_loop()
        until = max(self._until, loop.time() + seconds) if self.is_on else loop.time() + seconds
        self.is_for_writes_only = for_writes_only and (not self.is_on or self.is_for_writes_only)
        self._until = until
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(until, self.end)
        self._ended.clear()

    def end(self) -> None:
        """Let all go on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ended.set()

    async def wait(self) -> None:
        """Return when the pause is over."""
        await self._ended.wait()


class Desk:
    """What a command handler gets."""

    def __init__(self, parts: Parts, listener: Listener, registry: Registry) -> None:
        self.me: Final = parts.me
        self.brain: Final = parts.brain
        self.settings: Final = parts.settings
        self.policy: Final = parts.policy
        self.pubsub: Final = parts.pubsub
        self.resolver: Final = parts.resolver
        self.hellos: Final = parts.hellos
        self.info_cache: Final = parts.info_cache
        self.scripts: Final = parts.scripts
        self.access: Final = parts.access
        self.shut_down: Final = parts.shut_down
        self.registry: Final = registry
        self.help: Final = help_of(parts.settings.compat)
        self.libraries: Final[dict[int, dict[str, str]]] = {}
        """What clients said of their libraries (CLIENT SETINFO), by their ids."""
        self.listener: Final = listener
        self.pause: Final = Pause()
        self.change_lock: Final = asyncio.Lock()
        """Held from reading settings until their change is durable: two changes at once would
        undo each other."""
        self.process_id: Final = secrets.token_hex(20)
        """`run_id` of INFO: names this process until it ends."""
        self.started_at: Final = time.monotonic()
        self.guard()
        self.dies_after_election = False
        self.dies_after_promotion = False
        """What SENTINEL SIMULATE-FAILURE set."""

    def guard(self) -> None:
        """Apply `protected-mode`; call it after each change of the default user."""
        is_open = self.access.users.default.is_open
        self.listener.limits.is_protected = self.settings.is_protected and is_open

    def shown_host(self, address: Address) -> str:
        """Return the host that clients are told: a name only where names are announced."""
        if self.settings.announce_hostnames:
            return address.host
        return address.ip or address.host
