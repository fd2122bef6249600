"""Judge a run from outside the code under test: by the effects that left the Sentinels.

Effects are seen when they are carried out, so what a checker sees has been on disk if it must.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from everfly.core.effects import Answer, Ask, Effect, Reconfigure, SendHello, Vote
from everfly.core.model import Epoch, RunId
from everfly.sim.cluster import Deployment
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.world import Kind

STEPS_A_SECOND_MAX = 1_500
"""More than this, for one Sentinel and one group, is a busy loop."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken."""

    at: int
    rule: str
    """Its name, the same for all that break it: `one vote an epoch`."""
    what: str

    def __str__(self) -> str:
        return f"{self.at} ms: {self.rule}: {self.what}"


@dataclass(slots=True, eq=False)
class Judge:
    """Collects violations; a run without any is sound."""

    deployment: Deployment
    violations: list[Violation] = field(default_factory=list)
    _votes: dict[tuple[RunId, Epoch], RunId] = field(default_factory=dict)
    _promotions: dict[Epoch, set[tuple[RunId, str]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    _epochs: dict[RunId, tuple[Epoch, Epoch]] = field(default_factory=dict)
    forced: set[RunId] = field(default_factory=set)
    """Sentinels that were told to fail over: they ask for no votes, by design of the command."""

    def __post_init__(self) -> None:
        self.deployment.observers.append(self.observe)

    def observe(self, sentinel: SimSentinel, effect: Effect) -> None:
        """Look at one effect as it is carried out."""
        match effect:
            case Answer(result=Vote(leader=leader, leader_epoch=epoch)) if leader is not None:
                self._note_vote(sentinel.run_id, epoch, leader)
            case Ask(candidate=candidate, epoch=epoch) if candidate is not None:
                self._note_stand(sentinel, epoch)
            case SendHello(hello=hello):
                self._note_epochs(sentinel, hello.current_epoch, hello.config_epoch)
            case Reconfigure(follow=None):
                self._note_promotion(sentinel, effect)
            case _:
                pass

    def _complain(self, rule: str, what: str) -> None:
        world = self.deployment.world
        self.violations.append(Violation(world.now, rule, what))
        world.mark("rule", f"{rule}: {what}", Kind.RULE)

    def _note_vote(self, voter: RunId, epoch: Epoch, leader: RunId) -> None:
        before = self._votes.setdefault((voter, epoch), leader)
        if before != leader:
            self._complain(
                "one vote an epoch",
                f"{voter[:8]} voted twice in epoch {epoch}: {before[:8]}, {leader[:8]}",
            )

    def _note_stand(self, sentinel: SimSentinel, epoch: Epoch) -> None:
        if sentinel.run_id not in self.forced:
            self._note_vote(sentinel.run_id, epoch, sentinel.run_id)

    def _note_epochs(self, sentinel: SimSentinel, current: Epoch, config: Epoch) -> None:
        before = self._epochs.get(sentinel.run_id, (Epoch(0), Epoch(0)))
        if current < before[0] or config < before[1]:
            self._complain(
                "epochs never go back",
                f"{sentinel.name} went back from epochs {before} to {(current, config)}",
            )
        self._epochs[sentinel.run_id] = (current, config)

    def _note_promotion(self, sentinel: SimSentinel, effect: Reconfigure) -> None:
        instance = self.deployment.instances[effect.instance]
        if instance.priority == 0:
            self._complain(
                "only eligible replicas",
                f"{sentinel.name} promotes {instance.name}, whose priority is 0",
            )
        if sentinel.run_id in self.forced:
            return
        self._promotions[effect.epoch].add((sentinel.run_id, instance.name))
        if len(self._promotions[effect.epoch]) > 1:
            self._complain(
                "one leader an epoch",
                f"epoch {effect.epoch} has promotions {self._promotions[effect.epoch]}",
            )
        voters = {
            voter
            for (voter, epoch), leader in self._votes.items()
            if epoch == effect.epoch and leader == sentinel.run_id
        }
        shape = self.deployment.shape
        needed = max(shape.sentinels // 2 + 1, shape.quorum)
        if len(voters) < needed:
            self._complain(
                "quorum and majority",
                f"{sentinel.name} promotes in epoch {effect.epoch} with {len(voters)} votes, "
                f"{needed} needed",
            )

    def judge_pace(self, elapsed_ms: int) -> None:
        """Complain of a Sentinel that turns in circles."""
        for sentinel in self.deployment.sentinels.values():
            limit = STEPS_A_SECOND_MAX * max(1, elapsed_ms // 1_000)
            if sentinel.steps > limit:
                self._complain(
                    "no busy loop",
                    f"{sentinel.name} made {sentinel.steps} steps in {elapsed_ms} ms",
                )

    def judge_end(self) -> None:
        """Complain of a healed world that has not come together."""
        trouble = self.deployment.disagreement()
        if trouble is not None:
            self._complain("converges", trouble)
