"""Turn the effects of a Sentinel that paused writes into what became of the pause.

What may be demanded of it is said in `leftovers`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from everfly.core.effects import Effect, Notify, PauseWrites, Reconfigure, ResumeWrites
from everfly.core.notices import Event, Notice
from everfly.sim.instance import SimInstance
from everfly.sim.sentinel_host import SimSentinel


@dataclass(slots=True, eq=False)
class Pause:
    """A pause of writes that a Sentinel ordered."""

    at: int
    sentinel_life: int
    primary: SimInstance
    primary_life: str
    order: PauseWrites
    is_prompt: bool
    """Whether hardly a packet is lost: orders and answers arrive at once."""
    is_over: bool = False
    is_given_up: bool = False
    _has_promoted: bool = False

    def observe(self, whose: SimSentinel, sentinel: SimSentinel, effect: Effect) -> None:
        """Note that the Sentinel let writes go, or that it gave up before it promoted anybody."""
        if sentinel is not whose:
            return
        match effect:
            case ResumeWrites():
                self.is_over = True
            case Reconfigure(follow=None):
                self._has_promoted = True
            case Notify(notice=Notice(event=Event.ABORT_REPLICA_TIMEOUT)):
                is_known = sentinel.links.is_holding(self.order.link)
                # A garbled run id looks like a restart, with which the pause would have ended.
                is_known = is_known and not self.primary.lies_until
                self.is_given_up = self.is_given_up or (is_known and not self._has_promoted)
            case _:
                pass

    def is_behind(self, observer: Callable[[SimSentinel, Effect], None]) -> bool:
        """Whether an observer is one that this pause looks on through."""
        function = observer.func if isinstance(observer, partial) else observer
        return getattr(function, "__self__", None) is self
