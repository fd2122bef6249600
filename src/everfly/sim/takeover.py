"""REPLTAKEOVER of Dragonfly: a replica has its living primary hand its role over and end.

The primary refuses all commands but PING, lets this replica have all that it has, answers, and ends
its process; the replica is a primary when it hears that answer. If it never hears it, nobody is.
Source: `ReplTakeOver`, dragonfly/src/server/server_family.cc; `TakeOver`,
dragonfly/src/server/dflycmd.cc.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from everfly.sim.instance import SimInstance
from everfly.sim.world import Kind

ANSWER_MS: Final = 10_000
"""How much longer than its limit a replica waits for the primary's answer."""

Answer = Callable[[str | None], None]


def take_over(replica: SimInstance, limit: int, answer: Answer) -> None:
    """Do it at the replica; answers None, or an error's text. `limit` in ms."""
    link = replica.replication.link
    if replica.follows is None:
        answer(None)
        return
    if link is None:
        answer("Full sync not done")
        return
    primary: SimInstance = link.target  # type: ignore[assignment] # only instances have it
    asked = _Asked(replica, answer)

    def tell(error: str | None) -> None:
        link.send(primary, partial(asked.hear, error), f"TAKEOVER {error or 'OK'}")

    link.send(replica, partial(_be_taken_over, primary, replica, limit, tell), "DFLY TAKEOVER")
    late = partial(asked.hear, "Couldn't execute takeover: timed out")
    replica.world.after(limit + ANSWER_MS, partial(replica.deliver, late))


@dataclass(slots=True)
class _Asked:
    """A replica that waits for its primary's answer."""

    replica: SimInstance
    answer: Answer
    is_answered: bool = False

    def hear(self, error: str | None) -> None:
        """Take the first answer."""
        if self.is_answered:
            return
        self.is_answered = True
        if error is None and self.replica.follows is not None:
            self.replica.change_role(None)
        self.answer(error)


def _be_taken_over(primary: SimInstance, replica: SimInstance, limit: int, answer: Answer) -> None:
    """Do it at the primary."""
    life = primary.life

    def finish() -> None:
        if life == primary.life and primary.is_taken_over:
            told = f"hands over to {replica.name} and ends"
            primary.world.mark(primary.name, told, Kind.ROLE)
            answer(None)
            primary.exit()

    def give_up() -> None:
        if life == primary.life and primary.is_taken_over:
            primary.is_taken_over = False
            answer("Takeover failed!")

    if primary.follows is not None or primary.is_taken_over:
        answer("Takeover failed!")
        return
    primary.is_taken_over = True
    primary.world.after(limit, give_up)
    if not primary.replication.ask_for_all(replica, finish):
        give_up()
