"""Judge a run from outside the code under test: by the effects that left the Sentinels.

Effects are seen when they are carried out, so what a checker sees has been on disk if it must.
What is at the end of a world is judged by `endings`, what became of writes with the `ledger`.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from everfly.core.effects import Answer, Ask, Effect, Notify, Reconfigure, SendHello, TakeOver, Vote
from everfly.core.model import Address, Epoch, RunId
from everfly.core.notices import Event, Notice, Subject
from everfly.sim.cluster import GROUP, Deployment
from everfly.sim.instance import SimInstance
from everfly.sim.mischief import Mischief
from everfly.sim.operators_hand import Operator
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.world import Kind

EFFECTS_A_SECOND_MAX: Final = 2_000
STEPS_A_SECOND_MAX: Final = 3_000
"""More than this, for one Sentinel and one group, is a busy loop. A hand-over asks for INFO 400
times a second, and a process that was stopped finds seconds of facts waiting."""
WAITING_MAX: Final = 5_000
"""Effects that wait for the disk: `runtime.executor`."""
PENDING_MAX: Final = 140
"""Unanswered commands on a link: `Policy.pending_commands_max`, and those that never wait."""
HELD_MAX: Final = 1_000
"""Writes that an endpoint holds."""
CALM_MS: Final = 10_000
"""Facts about replicas are fresh when nothing but the primary was disturbed for so long."""
FORGETFUL_MS: Final = 10_000
"""A Sentinel that is new or was told to forget knows all others after this."""


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
    operator: Operator
    mischief: Mischief
    violations: list[Violation] = field(default_factory=list)
    _votes: dict[tuple[RunId, Epoch], RunId] = field(default_factory=dict)
    _promotions: dict[Epoch, set[tuple[RunId, str]]] = field(
        default_factory=lambda: defaultdict(set)
    )
    _epochs: dict[RunId, tuple[Epoch, Epoch]] = field(default_factory=dict)
    _paced: dict[str, tuple[int, int]] = field(default_factory=dict)
    _electors: dict[RunId, int] = field(default_factory=dict)
    """How many Sentinels, itself among them, each knew of when it was last elected."""

    def __post_init__(self) -> None:
        self.deployment.observers.append(self.observe)
        self.deployment.world.after(1_000, self._look_at_pace)

    def observe(self, sentinel: SimSentinel, effect: Effect) -> None:
        """Look at one effect as it is carried out."""
        match effect:
            case SendHello(hello=hello):
                self._note_epochs(sentinel, hello.current_epoch, hello.config_epoch)
            case Answer(result=Vote(leader=leader, leader_epoch=epoch)) if leader is not None:
                self._note_vote(sentinel.run_id, epoch, leader)
            case Ask(candidate=candidate, epoch=epoch) if candidate is not None:
                self._note_stand(sentinel, epoch)
            case Reconfigure():
                self._note_order(sentinel, effect)
            case Notify(notice=Notice(event=Event.ELECTED)):
                self._electors[sentinel.run_id] = self._known_by(sentinel)
            case Notify(notice=Notice(event=Event.PROMOTED, subject=Subject(host=host, port=port))):
                self._note_success(Address(host, port))
            case TakeOver():
                self._note_promotion(sentinel, effect.epoch, sentinel.links.far_end(effect.link))
            case _:
                pass

    def complain(self, rule: str, what: str) -> None:
        """Note that a rule was broken."""
        world = self.deployment.world
        self.violations.append(Violation(world.now, rule, what))
        world.mark("rule", f"{rule}: {what}", Kind.RULE)

    def _at(self, address: Address) -> SimInstance | None:
        """Return who listens at an address, of whatever deployment."""
        network = self.deployment.network
        found = network.hosts.get(network.resolve(address))
        return found if isinstance(found, SimInstance) else None

    # Votes and epochs.

    def _note_vote(self, voter: RunId, epoch: Epoch, leader: RunId) -> None:
        before = self._votes.setdefault((voter, epoch), leader)
        if before != leader:
            told = f"{voter[:8]} voted twice in epoch {epoch}: {before[:8]}, {leader[:8]}"
            self.complain("one vote an epoch", told)

    def _note_stand(self, sentinel: SimSentinel, epoch: Epoch) -> None:
        if (sentinel.run_id, epoch) not in self.operator.forced:
            self._note_vote(sentinel.run_id, epoch, sentinel.run_id)

    def _note_epochs(self, sentinel: SimSentinel, current: Epoch, config: Epoch) -> None:
        before = self._epochs.get(sentinel.run_id, (Epoch(0), Epoch(0)))
        is_forgetful = self._is_forgetful(sentinel) or self._waited_since_told(sentinel)
        if current < before[0] or (config < before[1] and not is_forgetful):
            told = f"{sentinel.name} went back from epochs {before} to {(current, config)}"
            self.complain("epochs never go back", told)
        self._epochs[sentinel.run_id] = (current, config)

    # Orders.

    def _note_order(self, sentinel: SimSentinel, effect: Reconfigure) -> None:
        instance = sentinel.links.far_end(effect.link)
        known = self._epochs.get(sentinel.run_id, (Epoch(0), Epoch(0)))[1]
        if effect.epoch < known:
            told = f"{sentinel.name} orders for epoch {effect.epoch} after it said epoch {known}"
            self.complain("no older epoch after a newer", told)
        if effect.follow is None:
            self._note_promotion(sentinel, effect.epoch, instance)
        elif instance is not None and self.deployment.is_strange(instance):
            told = f"{sentinel.name} makes {effect.instance} follow {effect.follow}"
            self.complain("strangers are left alone", told)

    def _note_promotion(
        self, sentinel: SimSentinel, epoch: Epoch, instance: SimInstance | None
    ) -> None:
        if instance is None:
            return
        # One that is a primary already, by its engine's own FAILOVER, says nothing of its priority.
        is_unfit = instance.priority == 0 and instance.follows is not None
        if is_unfit or self.deployment.is_strange(instance):
            told = f"{sentinel.name} promotes {instance.name}, priority {instance.priority}"
            self.complain("only eligible replicas", told)
        self.deployment.ledger.note_order(instance.name, epoch)
        self._judge_choice(sentinel, instance)
        self._judge_hand_over(sentinel, instance)
        if (sentinel.run_id, epoch) in self.operator.forced:
            return
        if not self._is_lonely(sentinel):
            self._promotions[epoch].add((sentinel.run_id, instance.name))
        if len(self._promotions[epoch]) > 1:
            all_of_it = sorted((run_id[:8], name) for run_id, name in self._promotions[epoch])
            self.complain("one leader an epoch", f"epoch {epoch} has promotions {all_of_it}")
        self._judge_election(sentinel, epoch)

    def _note_success(self, address: Address) -> None:
        """Take it that a Sentinel sees a primary: its data count, also where the order was lost."""
        instance = self._at(address)
        if instance is not None and instance.is_primary:
            self.deployment.ledger.note_promotion(instance)

    def _judge_election(self, sentinel: SimSentinel, epoch: Epoch) -> None:
        voters = {
            voter
            for (voter, voted_in), leader in self._votes.items()
            if voted_in == epoch and leader == sentinel.run_id
        }
        # Its own vote leaves it only when it asks somebody.
        self._note_vote(sentinel.run_id, epoch, sentinel.run_id)
        voters.add(sentinel.run_id)
        needed = max(self._majority_of(sentinel), self._quorum_of(sentinel))
        if len(voters) < needed and not self.deployment.shape.genuine:
            told = f"{sentinel.name} promotes in epoch {epoch} with {len(voters)} of {needed} votes"
            self.complain("quorum and majority", told)

    def _majority_of(self, sentinel: SimSentinel) -> int:
        """Return how many votes are a majority of the Sentinels it has to count with.

        Whoever is new, or was told to forget the others, counts with those that it knew then.
        """
        if self._may_know_few(sentinel):
            return self._electors.get(sentinel.run_id, 1) // 2 + 1
        return self.deployment.shape.majority

    def _is_lonely(self, sentinel: SimSentinel) -> bool:
        """Whether it is new or was told to forget, and elected before it had met all others again.

        What is a majority to it may be a minority: nothing can keep another one from being elected.
        """
        known = self._electors.get(sentinel.run_id, 1)
        return self._may_know_few(sentinel) and known < self.deployment.shape.sentinels

    @staticmethod
    def _known_by(sentinel: SimSentinel) -> int:
        view = sentinel.machine.group_view(sentinel.now, GROUP) if sentinel.machine else None
        return 1 if view is None else len(view.peers) + 1

    def _is_forgetful(self, sentinel: SimSentinel) -> bool:
        """Whether somebody told it lately to forget what it knew."""
        at = self.operator.forgetful.get(sentinel.run_id)
        return at is not None and self.deployment.world.now - at < FORGETFUL_MS

    def _may_know_few(self, sentinel: SimSentinel) -> bool:
        """Whether it may not have met all others yet: all began when the world did."""
        return self._is_forgetful(sentinel) or self.deployment.world.now < FORGETFUL_MS

    def is_anybody_forgetful(self) -> bool:
        """Whether a Sentinel knows too little of its group, for having been told to forget it."""
        return any(
            one.is_running and (one.announcement(GROUP) is None or self._is_forgetful(one))
            for one in self.deployment.ours
        )

    def _waited_since_told(self, sentinel: SimSentinel) -> bool:
        """Whether its disk has let go nothing since it was told to forget: it says old things."""
        at = self.operator.forgetful.get(sentinel.run_id)
        return at is not None and sentinel.disk.released_at <= at

    def _quorum_of(self, sentinel: SimSentinel) -> int:
        return self.operator.quorums.get(sentinel.run_id, self.deployment.shape.quorum)

    def _judge_choice(self, sentinel: SimSentinel, chosen: SimInstance) -> None:
        """Complain when a replica that holds more was plainly there to be promoted.

        Only where nothing but the primary was disturbed lately: then the Sentinel knows of all.
        """
        deployment, now = self.deployment, self.deployment.world.now
        is_calm = now - self.mischief.disturbed_at >= CALM_MS and not deployment.network.loss
        if not is_calm or now < CALM_MS or self._is_asked_for(sentinel):
            return
        for other in deployment.instances.values():
            is_there = (
                other is not chosen
                and other.is_running
                and not other.is_paused
                and other.follows == chosen.follows is not None
                and other.priority == chosen.priority
                # One that copied a primary which restarted is of another history.
                and other.data.history == chosen.data.history
                and now - other.started_at >= CALM_MS
                and deployment.network.reaches(sentinel.name, other.name)
            )
            if is_there and len(other.log) > len(chosen.log):
                told = (
                    f"{sentinel.name} promotes {chosen.name} with {len(chosen.log)} writes, "
                    f"{other.name} has {len(other.log)}"
                )
                self.complain("the most advanced replica", told)

    def _is_asked_for(self, sentinel: SimSentinel) -> bool:
        """Whether somebody commanded this failover: its primary lives, and offsets move."""
        view = sentinel.machine.group_view(sentinel.now, GROUP) if sentinel.machine else None
        return view is None or view.primary.o_down_for is None

    def _judge_hand_over(self, sentinel: SimSentinel, chosen: SimInstance) -> None:
        """Complain when a replica is promoted in a pause of writes before it has all of them."""
        old = None if chosen.follows is None else self._at(chosen.follows)
        if old is None or not self._is_asked_for(sentinel) or not old.is_running:
            return
        is_paused = self.deployment.world.now < old.pause_until and old.follows is None
        missing = set(old.log).difference(chosen.log)
        if is_paused and missing:
            told = (
                f"{chosen.name} lacks {len(missing)} writes of {old.name}, whose writes it paused"
            )
            self.complain("a switchover loses nothing", told)

    # Pace.

    def _look_at_pace(self) -> None:
        """Complain of a Sentinel that turns in circles, or that lets queues grow."""
        self.deployment.world.after(1_000, self._look_at_pace)
        for sentinel in self.deployment.ours:
            steps, effects = self._paced.get(sentinel.name, (0, 0))
            self._paced[sentinel.name] = (sentinel.steps, sentinel.effects)
            steps, effects = sentinel.steps - steps, sentinel.effects - effects
            if steps > STEPS_A_SECOND_MAX or effects > EFFECTS_A_SECOND_MAX:
                told = f"{sentinel.name} made {steps} steps, {effects} effects in a second"
                self.complain("no busy loop", told)
            if sentinel.disk.waiting_max > WAITING_MAX or sentinel.links.pending_max > PENDING_MAX:
                told = (
                    f"{sentinel.name}: {sentinel.disk.waiting_max} effects waited for the disk, "
                    f"{sentinel.links.pending_max} commands for answers on one link"
                )
                self.complain("queues are bounded", told)
        endpoint = self.deployment.endpoint
        if endpoint is not None and endpoint.held_max > HELD_MAX:
            self.complain("queues are bounded", f"the endpoint held {endpoint.held_max} writes")
