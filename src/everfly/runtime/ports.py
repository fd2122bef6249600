"""The ports between the shell's parts: what each may ask of the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from everfly.core.effects import Result
from everfly.core.inputs import Input
from everfly.core.model import Address, GroupName, Hello, LinkId, Millis, Token
from everfly.core.notices import Notice
from everfly.core.snapshot import DurableState, GroupView


class Brain(Protocol):
    """The deciding core as commands see it: frozen views, and requests that enter as inputs.

    Implemented by `runtime.driver.Driver`.
    """

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, in the order in which they were added."""
        ...

    def group_view(self, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group as of now, or None."""
        ...

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go."""
        ...

    @property
    def tilt_for(self) -> Millis | None:
        """How long it only watches already; None: it acts."""
        ...

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now."""
        ...

    def submit(self, fact: Input) -> None:
        """Put a fact in the queue; it is decided on in this turn of the event loop or the next."""
        ...

    async def request(self, make: Callable[[Token], Input]) -> Result:
        """Enter a request and return its answer, which comes after it is durable.

        Raises `Unavailable` when the state file could not be written (the text says why).
        """
        ...


class Links(Protocol):
    """Managed connections to instances and peers. Implemented by `runtime.link.LinkPool`."""

    def local_host(self, link: LinkId) -> str:
        """Return our own address on a link that is up; empty otherwise."""
        ...


class StateFile(Protocol):
    """Where durable state goes. Implemented by `sentinel.state_file`."""

    async def write(self, state: DurableState) -> None:
        """Make `state` durable: atomic replace and fsync, off the event loop.

        Raises `Unavailable` when it could not; then the old content is intact.
        """
        ...


class NoticeSink(Protocol):
    """Somebody who wants every notice: pub/sub, log, scripts."""

    def on_notice(self, notice: Notice) -> None:
        """Take it at once, without waiting and without raising."""
        ...


class Resolver(Protocol):
    """Names become addresses without holding anything up. Implemented by `runtime.resolver`."""

    def resolve_now(self, host: str) -> str | None:
        """Return the IP of a literal or of a name that was resolved lately, or None."""
        ...

    async def resolve(self, host: str) -> str:
        """Return the IP of `host`. Raises `Unavailable` when there is none, or not in time."""
        ...


class HelloResolver(Protocol):
    """Names in hellos become addresses. Implemented by `runtime.hostnames.Hostnames`."""

    def resolve_hello(self, hello: Hello, then: Callable[[Hello | None], None]) -> None:
        """Call `then` with the hello as it is to be believed, or None; at once where possible."""
        ...


class InfoCache(Protocol):
    """The last INFO texts, as instances sent them. Implemented by `runtime.link.LinkPool`."""

    def cached_info(self, group: GroupName) -> tuple[tuple[Millis, bytes | None], ...]:
        """Return age and text for each instance of a group, its primary first.

        None (age 0): it never answered. An unknown group has no instances.
        """
        ...


@dataclass(frozen=True, slots=True)
class ScriptView:
    """A script that runs or waits, as SENTINEL PENDING-SCRIPTS shows it."""

    argv: tuple[str, ...]
    pid: int | None
    """None: it waits for its turn."""
    for_ms: Millis
    """How long it runs already; or how long it still waits, 0 when it starts with the next turn."""
    retries: int
    """Runs so far, the present one included."""


class Scripts(Protocol):
    """The queue of scripts. Implemented by `sentinel.scripts`."""

    def pending(self) -> tuple[ScriptView, ...]:
        """Return all scripts that run or wait, in the order in which they were asked for."""
        ...
