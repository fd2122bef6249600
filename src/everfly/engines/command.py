"""What a binary is and what an instance of it is to be: the values that dialects turn into argv.

A dialect module (`valkey`, `redis`, `dragonfly`) turns INFO into a report, a decision into commands
and a specification into an argument list. None of them does IO.
"""

from dataclasses import dataclass
from pathlib import Path

from everfly.core.model import Address, Engine

Command = tuple[str, ...]
"""One command of the wire: its name and arguments, unencoded."""

LOOPBACK = ("127.", "::1", "localhost")
"""What a bind address of this machine alone starts with."""


@dataclass(frozen=True, slots=True)
class EngineBinary:
    """A program that can serve as an instance."""

    engine: Engine
    path: Path
    version: str
    """As it says itself, without a leading `v`."""

    def __str__(self) -> str:
        return f"{self.engine.value} {self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """How one instance is to be started."""

    port: int
    directory: Path
    """Where it keeps its data; must exist."""
    bind: str = "127.0.0.1"
    replica_of: Address | None = None
    """None: it starts as a primary."""
    maxmemory: str = ""
    """In the engine's notation, such as `256mb`; empty: its default."""
    admin_port: int | None = None
    """Dragonfly only: a second port that answers while the first refuses."""
    threads: int = 1
    """Dragonfly only. Replicas of one group must have the same number, or every resynchronisation
    is a full one."""
    secrets: Path | None = None
    """File with what must not be seen in a list of processes: the text of `secrets_text`."""
    extra: tuple[str, ...] = ()
    """Arguments of the user, last, so that they win."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.bind.startswith(LOOPBACK)
