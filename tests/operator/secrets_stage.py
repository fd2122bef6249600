"""Start the double of a pod's Dragonfly as a process, with ports of its own."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everfly.core.group_view import Contact, Facts, Member
from everfly.core.model import Address, Instant, Role
from processes import Child, Connection, free_port, until

IMAGE = Path(__file__).parent / "controlplane" / "images" / "dragonfly_image.py"


@dataclass(frozen=True)
class Double:
    """One instance in a process."""

    port: int
    admin_port: int
    child: Child

    @property
    def member(self) -> Member:
        """It, as the operator sees it."""
        facts, contact = Facts(Role.PRIMARY, "h"), Contact(answered_at=Instant(1))
        address = Address("127.0.0.1", self.admin_port)
        return Member("cache-0", 0, address, incarnation="u/0", facts=facts, contact=contact)

    def admin(self, *words: str | int) -> Any:
        with Connection(self.admin_port) as connection:
            return connection.call(*words)


@contextlib.contextmanager
def double(folder: Path, *flags: str, password: str = "") -> Iterator[Double]:
    """Run one until the block ends."""
    port, admin_port = free_port(), free_port()
    command = [sys.executable, str(IMAGE), f"--port={port}", f"--admin_port={admin_port}",
               "--bind=127.0.0.1", f"--dir={folder}", "--dbfilename=", *flags]  # fmt: skip
    child = Child(command, folder / f"{port}.log", environment={"DFLY_requirepass": password})
    made = Double(port, admin_port, child)
    try:
        until(lambda: made.admin("PING"), 20, show=child.log_tail)
        yield made
    finally:
        child.kill()
