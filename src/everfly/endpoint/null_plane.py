"""A data plane that carries nothing, for a switch-over without an endpoint: nothing can be held."""

from collections.abc import Sequence
from typing import Final

from everfly.endpoint.plane import PlaneNotice, PlaneStats

NOWHERE: Final = -1


class NullPlane:
    """Knows who is the primary, and has no clients."""

    def __init__(self) -> None:
        self._has_primary = False

    def start(self) -> None:
        """Have nothing to start."""

    def stop(self, grace_s: float = 0.0) -> None:
        """Have nothing to stop."""

    def set_primary(self, host: str, port: int, epoch: int) -> bool:
        """Note that there is a primary."""
        del host, port, epoch
        self._has_primary = True
        return True

    def no_primary(self, reason: str) -> None:
        """Note that there is none."""
        del reason
        self._has_primary = False

    def hold(self, reason: str, budget_ms: int) -> int:
        """Hold nothing."""
        del reason, budget_ms
        return 0

    def release(self, token: int | None = None) -> bool:
        """Release nothing."""
        del token
        return True

    def drained(self, timeout_ms: int) -> bool:
        """Return at once: nothing is ever under way here."""
        del timeout_ms
        return True

    def set_replicas(self, replicas: Sequence[tuple[str, int, str, int]]) -> None:
        """Have nobody who reads."""

    def reload_tls(self) -> None:
        """Have no certificates."""

    def stop_accepting(self) -> None:
        """Accept nobody anyway."""

    def close_idle(self) -> int:
        """Have no clients."""
        return 0

    def listener_fds(self) -> list[tuple[str, int]]:
        """Listen nowhere."""
        return []

    def addresses(self) -> list[tuple[str, str]]:
        """Listen nowhere."""
        return []

    def connections(self) -> int:
        """Have no clients."""
        return 0

    def stats(self) -> PlaneStats:
        """Return the state alone: what clients saw is not known here."""
        return {"state": "open" if self._has_primary else "no-primary"}

    def notices(self) -> list[PlaneNotice]:
        """Notice nothing."""
        return []

    def notice_fd(self) -> int:
        """Have no descriptor."""
        return NOWHERE
