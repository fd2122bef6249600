"""What the control asks of the data plane, and how to find one.

The plane is a package of its own in Rust, `everfly_endpoint`: its stub file holds the whole
contract. Rules: it carries traffic and decides nothing; every call returns at once, but for those
that say that they wait, which belong into a thread.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final, Protocol, TypedDict, cast

from everfly.errors import SettingsError

MODULE: Final = "everfly_endpoint"

MISSING: Final = (
    "the data plane of the endpoint is not installed (Python package everfly-endpoint); install "
    "its wheel, or run make in a checkout, with Rust on PATH"
)
"""What to say where there is none."""


class PlaneNotice(TypedDict):
    """Something that the plane noticed."""

    kind: str
    text: str
    address: str | None
    count: int
    at_ms: int


class Latency(TypedDict):
    """How long a sample of the commands took."""

    bounds_us: list[int]
    counts: list[int]
    """One more than bounds: the last counts what is above them."""
    sum_us: int


PlaneStats = Mapping[str, object]
"""Counters and gauges by name; see `Stats` of the stub file."""


class Plane(Protocol):
    """The data plane. Implemented by `everfly_endpoint.Plane`."""

    def start(self) -> None:
        """Listen, and hold commands until a primary is set. Raises OSError."""
        ...

    def stop(self, grace_s: float = 0.0) -> None:
        """End; clients may finish what is under way. Waits."""
        ...

    def set_primary(self, host: str, port: int, epoch: int) -> bool:
        """Send commands there; False when `epoch` is lower than the present one.

        A name is resolved, which waits; OSError when it is unknown.
        """
        ...

    def no_primary(self, reason: str) -> None:
        """Hold commands until `set_primary`."""
        ...

    def hold(self, reason: str, budget_ms: int) -> int:
        """Hold commands until `release`, at most for so long; return a token."""
        ...

    def release(self, token: int | None = None) -> bool:
        """End that hold; False when it had ended."""
        ...

    def drained(self, timeout_ms: int) -> bool:
        """Wait until nothing is under way while holding; False when something still is."""
        ...

    def set_replicas(self, replicas: Sequence[tuple[str, int, str, int]]) -> None:
        """Say which replicas are in sync: host, port, zone, lag."""
        ...

    def reload_tls(self) -> None:
        """Read certificates again. Raises ValueError or OSError; the old ones stay then."""
        ...

    def stop_accepting(self) -> None:
        """Leave the listening sockets to a process that took them over."""
        ...

    def close_idle(self) -> int:
        """Close clients between two commands that lose nothing by it; return how many."""
        ...

    def listener_fds(self) -> list[tuple[str, int]]:
        """Return the listening sockets by the address in the configuration."""
        ...

    def addresses(self) -> list[tuple[str, str]]:
        """Return for each address in the configuration where it is bound."""
        ...

    def connections(self) -> int:
        """Return how many clients are connected."""
        ...

    def stats(self) -> PlaneStats:
        """Return counters and gauges as of now."""
        ...

    def notices(self) -> list[PlaneNotice]:
        """Take what was noticed since the last call."""
        ...

    def notice_fd(self) -> int:
        """Return a descriptor that is readable while there are notices."""
        ...


def is_installed() -> bool:
    """Return whether there is a data plane on this machine."""
    try:
        import_module(MODULE)
    except ImportError:
        return False
    return True


def make_plane(config: Mapping[str, object]) -> Plane:
    """Return a plane that is still to be started. Raises SettingsError."""
    try:
        module = import_module(MODULE)
    except ImportError as error:
        raise SettingsError(MISSING) from error
    try:
        return cast(Plane, module.Plane(config))
    except (ValueError, OSError) as error:
        raise SettingsError(f"the data plane refuses its settings: {error}") from error
