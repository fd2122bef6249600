"""SIGSTOP and SIGCONT of a simulated process: what arrives meanwhile waits, in order."""

from collections import deque

from everfly.sim.network import Deed
from everfly.sim.world import Kind, World


class Stoppable:
    """What can be stopped and go on. Whoever has these fields only says what else goes on then."""

    world: World
    name: str
    is_running: bool
    is_paused: bool
    _inbox: deque[Deed]

    def pause(self) -> None:
        """SIGSTOP, or a virtual machine that is not scheduled."""
        if self.is_running and not self.is_paused:
            self.world.mark(self.name, "paused", Kind.LIFE)
            self.is_paused = True

    def resume(self) -> None:
        """SIGCONT: what arrived meanwhile is handled now, in order; then the process goes on."""
        if not self.is_paused:
            return
        self.world.mark(self.name, "resumed", Kind.LIFE)
        self.is_paused = False
        while self._inbox and not self.is_paused:
            self._inbox.popleft()()
        self._go_on()

    def deliver(self, what: Deed) -> None:
        """Take something off the wire."""
        if not self.is_running:
            return
        if self.is_paused:
            self._inbox.append(what)
        else:
            what()

    def _go_on(self) -> None:
        """Set what waits for time: after a stop it may be late."""
