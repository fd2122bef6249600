"""Turn what each Sentinel says of a group into the one primary to believe in.

Pure. The rules:

1. The first belief needs answers of a majority of all Sentinels that were named, and is the claim
   of the highest epoch among them: any majority holds one Sentinel that saw the last failover.
2. From then on a higher epoch wins at once, whoever says it; a lower one never does.
3. Two claims of one epoch (two failovers at once) go by majority; without one, what is, stays.
4. Epochs may begin anew, when people remove a group and monitor it again. So what is believed is
   given up when a majority agrees on one other claim of a lower epoch, and nobody has said the
   believed one for `ANEW_AFTER`. Who does not see the primary has no say in that.

An epoch fences only within one such line; `order` counts through all lines, and it alone goes to
the data plane.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everfly.core.model import Address, Instant, Millis

ANEW_AFTER: Final = Millis(3_000)
"""Three polls: one that was answered late must not look like a new beginning."""

LINE: Final = 1 << 40
"""Room for the epochs of one line: a failover each second for 30,000 years."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one Sentinel says of the group."""

    primary: Address
    epoch: int
    """Its `config-epoch`."""
    is_changing: bool = False
    """It finds the primary objectively down, or runs a failover."""
    is_blind: bool = False
    """It does not see the primary now: what it says is what it knew."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Whom to follow."""

    primary: Address
    epoch: int
    order: int
    """Of two beliefs the one with the higher order is the later one."""


@dataclass(slots=True)
class Jury:
    """What all Sentinels said last, and what follows."""

    size: int
    """How many Sentinels were named."""
    belief: Belief | None = None
    _claims: dict[Address, Claim] = field(default_factory=dict)
    """By Sentinel. Of one that went away the last claim stays: an epoch does not wither."""
    _vacant: set[Address] = field(default_factory=set)
    """Sentinels that know the group and say that nobody is in service."""
    _line: int = 0
    _others_since: Instant | None = None

    @property
    def majority(self) -> int:
        """How many are more than half."""
        return self.size // 2 + 1

    @property
    def heard(self) -> int:
        """How many have said anything yet."""
        return len(self._claims)

    @property
    def claims(self) -> Mapping[Address, Claim]:
        """What each said last."""
        return self._claims

    @property
    def is_changing(self) -> bool:
        """Whether anybody sees a change under way, of whom the believed epoch is the latest."""
        current = self.belief.epoch if self.belief else 0
        return any(each.is_changing and each.epoch >= current for each in self._claims.values())

    @property
    def is_vacant(self) -> bool:
        """Whether a majority says that nobody is in service."""
        return len(self._vacant) >= self.majority

    def vacate(self, sentinel: Address) -> None:
        """Take it that a Sentinel finds nobody in service now: a change is under way.

        It says nothing of who was, so it never makes a belief.
        """
        self._vacant.add(sentinel)
        claim = self._claims.get(sentinel)
        if claim is not None:
            self._claims[sentinel] = Claim(claim.primary, claim.epoch, is_changing=True)

    def forget(self, sentinel: Address) -> None:
        """Take it that a Sentinel can say nothing now: its doubts no longer count."""
        self._vacant.discard(sentinel)
        claim = self._claims.get(sentinel)
        if claim is not None and claim.is_changing:
            self._claims[sentinel] = Claim(claim.primary, claim.epoch)

    def rename(self, sentinels: frozenset[Address]) -> None:
        """Take it that these are the Sentinels from now on."""
        self.size = len(sentinels)
        self._claims = {each: said for each, said in self._claims.items() if each in sentinels}
        self._vacant &= sentinels

    def settle(self, primary: Address, epoch: int, order: int) -> Belief:
        """Believe what somebody else found out who was entitled to, such as our predecessor."""
        self._line = order // LINE
        self.belief = Belief(primary, epoch, order)
        return self.belief

    def hear(self, now: Instant, sentinel: Address, claim: Claim) -> Belief | None:
        """Take a claim; return the new belief if it changes ours, else None."""
        self._vacant.discard(sentinel)
        self._claims[sentinel] = claim
        if self.belief is None:
            if self.heard < self.majority:
                return None
            return self._believe(self._latest())
        latest = self._latest()
        if latest.epoch > self.belief.epoch:
            return self._believe(latest)
        if latest.epoch == self.belief.epoch:
            self._others_since = None
            agreed = self._agreed()
            if agreed is not None and (agreed.epoch, agreed.primary) != self._believed():
                return self._believe(agreed) if agreed.epoch == self.belief.epoch else None
            return None
        return self._begin_anew(now)

    def _begin_anew(self, now: Instant) -> Belief | None:
        """Nobody says what we believe any more."""
        agreed = self._agreed()
        if agreed is None:
            self._others_since = None
            return None
        if self._others_since is None:
            self._others_since = now
        if now - self._others_since < ANEW_AFTER:
            return None
        self._line += 1
        return self._believe(agreed)

    def _believe(self, claim: Claim) -> Belief:
        self._others_since = None
        order = self._line * LINE + claim.epoch
        if self.belief is not None and order <= self.belief.order:
            # Another primary in the same epoch: it comes later all the same.
            self._line += 1
            order = self._line * LINE + claim.epoch
        self.belief = Belief(claim.primary, claim.epoch, order)
        return self.belief

    def _believed(self) -> tuple[int, Address]:
        assert self.belief is not None, "asked when there is one"
        return self.belief.epoch, self.belief.primary

    def _latest(self) -> Claim:
        """Return the claim of the highest epoch; of several primaries the one that most name."""
        epoch = max(each.epoch for each in self._claims.values())
        named = [each for each in self._claims.values() if each.epoch == epoch]
        counts = Counter(each.primary for each in named)
        return max(named, key=lambda each: (counts[each.primary], str(each.primary)))

    def _agreed(self) -> Claim | None:
        """Return what a majority of all says in the same words."""
        seeing = (each for each in self._claims.values() if not each.is_blind)
        counts = Counter((each.primary, each.epoch) for each in seeing)
        if not counts:
            return None
        (primary, epoch), count = counts.most_common(1)[0]
        return Claim(primary, epoch) if count >= self.majority else None
