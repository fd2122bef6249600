"""What a Sentinel of any make is to the others, to clients and to the world: one face for the real
core (`sentinel_host`) and for the model of a genuine Sentinel (`genuine`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from everfly.core.effects import Answer
from everfly.core.model import Address, Epoch, GroupName, Hello, RunId
from everfly.sim.network import Connection, Deed


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where the primary of a group is, and since which configuration."""

    primary: Address
    config_epoch: Epoch


class Watcher(Protocol):
    """A Sentinel."""

    name: str
    address: Address
    is_genuine: bool
    is_running: bool
    is_paused: bool
    connections: dict[Connection, None]
    subscribers: dict[Connection, Callable[[Announcement], None]]
    """Who hears +switch-master."""

    @property
    def run_id(self) -> RunId:
        """Its name for life."""
        ...

    def start(self) -> None:
        """Start from what is on disk."""
        ...

    def crash(self) -> None:
        """SIGKILL."""
        ...

    def pause(self) -> None:
        """SIGSTOP."""
        ...

    def resume(self) -> None:
        """SIGCONT."""
        ...

    def jump(self, ahead: int) -> None:
        """Have its clock leap."""
        ...

    def deliver(self, what: Deed) -> None:
        """Take something off the wire."""
        ...

    def ping(self) -> str:
        """PING."""
        ...

    def hear(self, hello: Hello) -> None:
        """PUBLISH of a hello."""
        ...

    def vote(
        self,
        primary: Address,
        epoch: Epoch,
        candidate: RunId | None,
        then: Callable[[Answer | None], None],
    ) -> None:
        """SENTINEL is-master-down-by-addr."""
        ...

    def announcement(self, group: GroupName) -> Announcement | None:
        """SENTINEL MASTER."""
        ...

    def knows(self, group: GroupName, instance: Address) -> bool:
        """SENTINEL MASTER and SENTINEL REPLICAS."""
        ...
