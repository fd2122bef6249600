"""The door of the core: facts in, intentions out.

    effects = machine.step(now, input)
    deadline = machine.next_deadline()

Rules:

1. One caller. `step` is never re-entered and never awaits.
2. `now` never goes back. Dice come from the generator given at construction.
3. Effects are started in list order; see `effects` for which of them wait for the disk.
4. After each step the caller asks `next_deadline` and calls `step(now, TimerExpired())` then.
5. Whoever only asks reads a view; it is frozen and knows nothing of the future.
"""

import random

from everfly.core.effects import Effect
from everfly.core.inputs import Input
from everfly.core.model import Address, GroupName, Instant, Millis
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState, GroupView


class Machine:
    """The decisions of one Sentinel."""

    def __init__(
        self, state: DurableState, *, now: Instant, port: int, dice: random.Random, policy: Policy
    ) -> None:
        """Start from durable state. `port` is where this Sentinel listens, for its hellos."""
        raise NotImplementedError

    def start(self, now: Instant) -> list[Effect]:
        """Announce and connect. Call once, before the first step."""
        raise NotImplementedError

    def step(self, now: Instant, input: Input) -> list[Effect]:
        """Take one fact, return what to do."""
        raise NotImplementedError

    def next_deadline(self) -> Instant | None:
        """Return when to call `step` with `TimerExpired`, or None for never. Ask after each step."""
        raise NotImplementedError

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now. O(size)."""
        raise NotImplementedError

    @property
    def tilt_for(self) -> Millis | None:
        """How long it only watches already (`sentinel_tilt_since_seconds`); None: it acts."""
        raise NotImplementedError

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, in the order in which they were added."""
        raise NotImplementedError

    def group_view(self, now: Instant, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group, or None."""
        raise NotImplementedError

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go; cheaper than a whole view."""
        raise NotImplementedError
