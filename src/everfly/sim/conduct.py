"""Judge how Sentinels go about it, beside whether it ends well: rules whose breach others would
often repair before anybody sees it.

What leaves a Sentinel is compared with what is true in the world, with its own disk, and with what
the others said. Where a rule holds only in quiet times (messages on their way, processes that were
just stopped), it is judged only then; each rule says when.
"""

from dataclasses import dataclass, field
from typing import Final

from everfly.core.effects import Answer, Ask, Effect, Explain, Notify, Reconfigure, Vote
from everfly.core.model import Address, Engine, Epoch, RunId
from everfly.core.notices import Event, Notice
from everfly.core.snapshot import DurableState, GroupState
from everfly.sim.checkers import Judge
from everfly.sim.cluster import GROUP
from everfly.sim.instance import SimInstance
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.world import Kind

CALM_MS: Final = 10_000
"""Nothing but the primary was disturbed for so long: what Sentinels know is fresh."""
WITNESS_MS: Final = 25_000
"""A peer's word counts for 5 s after it came, and it may have been on its way for as long as a
link can be cut."""
LATE_ASK_MS: Final = 500
"""A question that was decided before the election may wait for the disk for so long."""
LONG_SLACK_MS: Final = 4_000
"""How much the report of a broken link may be older than we think."""


Place = tuple[str, int]
"""Where an instance is, as Sentinels tell it: a name, or an IP, and its port. A name stays when it
leads elsewhere."""


def place_of(instance: SimInstance) -> Place:
    """Return how Sentinels tell of an instance."""
    return instance.address.host, instance.address.port


@dataclass(slots=True)
class Record:
    """What is known of one Sentinel in this life of its process."""

    down: dict[Place, int] = field(default_factory=dict)
    """Instances that it finds down, since when."""
    silent: set[str] = field(default_factory=set)
    """Those of them that it calls silent, as it writes them."""
    was_down: dict[Place, int] = field(default_factory=dict)
    """Those it found down, until when."""
    syncing: dict[str, None] = field(default_factory=dict)
    """Replicas that it told to follow, and that do not yet."""
    ordered: set[Address] = field(default_factory=set)
    """Instances that it told to follow in this failover."""
    promoted: Address | None = None
    leads_since: int | None = None
    """When it was elected; None: it leads no failover."""
    life: int = 0
    switched_at: int | None = None
    """When it last moved the group; None: not in this life."""
    left: dict[Place, int] = field(default_factory=dict)
    """Primaries from which it has moved the group, and when last."""
    voted: Epoch = Epoch(0)
    voted_at: int | None = None
    began_at: int = 0
    is_watching_only: bool = False
    """It said that it is in TILT."""
    tilt_at: int = 0
    """When it last said so."""

    def look_afresh(self, now: int) -> None:
        """Take it that it looks at everything anew, without a word."""
        self.was_down |= dict.fromkeys(self.down, now)
        self.down.clear()
        self.silent.clear()


@dataclass(slots=True, eq=False)
class Conduct:
    """Adds its findings to a judge's."""

    judge: Judge
    _records: dict[RunId, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.judge.deployment.observers.append(self.observe)

    def observe(self, sentinel: SimSentinel, effect: Effect) -> None:
        """Look at one effect as it is carried out."""
        match effect:
            case Notify(notice=notice):
                self._on_notice(sentinel, notice)
            case Answer(result=Vote(leader=leader, leader_epoch=epoch)) if leader is not None:
                self._judge_vote(sentinel, epoch)
            case Reconfigure(follow=None):
                self._judge_age(sentinel, effect.instance)
            case Reconfigure():
                self.record(sentinel).ordered.add(effect.instance)
            case Explain(decision=decision, facts=(fact, *_)) if fact.startswith("silent for "):
                self.record(sentinel).silent.add(decision.partition(" ")[0])
            case Explain() if effect.decision.startswith("choice of a new primary"):
                self._judge_choice(sentinel, effect.facts)
            case Explain() if " is left alone: " in effect.decision:
                # Whatever it was told, what it says now is not what a replica of ours would.
                self.record(sentinel).syncing.pop(effect.decision.partition(" ")[0], None)
            case Ask(candidate=candidate) if candidate is not None:
                self._judge_asking(sentinel)
            case _:
                pass

    def record(self, sentinel: SimSentinel) -> Record:
        """Return what is known of a Sentinel."""
        return self._records.setdefault(sentinel.run_id, Record())

    @property
    def now(self) -> int:
        """Return the time of the world, in ms."""
        return self.judge.deployment.world.now

    def is_calm(self, since_ms: int = CALM_MS) -> bool:
        """Whether nothing but the primary was disturbed for so long, and no packet is lost."""
        quiet_for = self.now - self.judge.mischief.disturbed_at
        is_quiet = quiet_for >= since_ms and self.now >= since_ms
        return is_quiet and not self.judge.deployment.network.loss

    # Notices.

    def _on_notice(self, sentinel: SimSentinel, notice: Notice) -> None:
        record = self.record(sentinel)
        now = self.now
        about = None
        if notice.subject is not None:
            about = (notice.subject.host, notice.subject.port)
        match notice.event:
            case Event.MONITOR:
                # Also where people have a group forgotten and watched again. What it said before
                # still counts for those who heard it.
                was_down = record.was_down | dict.fromkeys(record.down, now)
                self._records[sentinel.run_id] = Record(
                    was_down=was_down, life=sentinel.life, began_at=now
                )
                if record.life != sentinel.life:
                    self._judge_restart(sentinel)
            case Event.S_DOWN if about is not None:
                record.down[about] = now
                self._judge_sleeper(sentinel, about)
            case Event.S_UP if about is not None:
                record.down.pop(about, None)
                record.silent.discard(str(Address(*about)))
                record.was_down[about] = now
            case Event.O_DOWN if about is not None:
                self._judge_witnesses(sentinel, about)
            case Event.TILT | Event.UNTILT:
                record.is_watching_only = notice.event is Event.TILT
                record.tilt_at = now
            case Event.SWITCH | Event.UNMONITOR | Event.RESET_PRIMARY:
                self._on_change(record, notice)
            case Event.VOTE:
                record.voted = Epoch(int(notice.detail.rpartition(" ")[2]))
                record.voted_at = now
            case _:
                self._on_failover(sentinel, record, notice)

    def _on_change(self, record: Record, notice: Notice) -> None:
        """Take it that the group is another one now: everything is looked at anew."""
        record.promoted = record.leads_since = None
        record.syncing.clear()
        record.look_afresh(self.now)
        if notice.event is Event.SWITCH:
            _, host, port, *_ = notice.detail.split()
            record.left[host, int(port)] = record.switched_at = self.now
        else:
            record.left.clear()

    def _on_failover(self, sentinel: SimSentinel, record: Record, notice: Notice) -> None:
        """Follow a failover that a Sentinel leads."""
        name = "" if notice.subject is None else notice.subject.name
        match notice.event:
            case Event.ELECTED:
                record.syncing.clear()
                record.ordered.clear()
                record.leads_since = self.now
            case Event.TRY_FAILOVER | Event.ABORT_NO_GOOD_REPLICA | Event.ABORT_REPLICA_TIMEOUT:
                record.leads_since = None
            case Event.SELECTED if notice.subject is not None:
                record.promoted = self._where(notice.subject.host, notice.subject.port)
            case Event.RECONF_SENT:
                record.syncing[name] = None
                self._judge_parallel(sentinel, record)
            case Event.RECONF_DONE | Event.RECONF_SENT_TIMEOUT:
                record.syncing.pop(name, None)
            case Event.END_FOR_TIMEOUT:
                record.promoted = record.leads_since = None
                record.syncing.clear()
            case Event.END:
                self._judge_repointing(sentinel, record)
            case _:
                pass

    # Rules.

    def _judge_vote(self, sentinel: SimSentinel, epoch: Epoch) -> None:
        """Require that a vote is on disk before anybody hears of it. Always."""
        saved = _group_of(sentinel.disk.content)
        if saved is not None and saved.leader_epoch < epoch:
            told = (
                f"{sentinel.name} tells its vote of epoch {epoch}, on disk is {saved.leader_epoch}"
            )
            self.judge.complain("a vote is saved before it is told", told)

    def _judge_restart(self, sentinel: SimSentinel) -> None:
        """Require that a restart forgets no epoch and no vote. Always, when it begins."""
        if sentinel.machine is None:
            return
        saved, known = sentinel.disk.content, sentinel.machine.durable_state()
        before, after = _group_of(saved), _group_of(known)
        if before is None or after is None:
            return
        was = (saved.current_epoch, before.config_epoch, before.leader_epoch)
        has = (known.current_epoch, after.config_epoch, after.leader_epoch)
        if any(now < then for now, then in zip(has, was, strict=True)):
            told = f"{sentinel.name} starts with epochs {has}, on disk are {was}"
            self.judge.complain("a restart forgets nothing", told)

    def _judge_witnesses(self, sentinel: SimSentinel, primary: Place) -> None:
        """Require that a quorum found the primary down. Where all Sentinels are ours."""
        if self.judge.deployment.shape.genuine:
            return
        now = self.now
        witnesses = sum(
            primary in record.down or now - record.was_down.get(primary, -WITNESS_MS) < WITNESS_MS
            for record in self._records.values()
        )
        quorum = min(
            self.judge.operator.quorums.get(sentinel.run_id, self.judge.deployment.shape.quorum),
            self.judge.deployment.shape.quorum,
        )
        if witnesses < quorum:
            told = f"{sentinel.name} sees {Address(*primary)} objectively down"
            told = f"{told}, {witnesses} of {quorum} agree"
            self.judge.complain("a quorum finds it down", told)

    def _judge_sleeper(self, sentinel: SimSentinel, about: Place) -> None:
        """Require that who was stopped itself calls nobody down while it only watches. Always."""
        if self.record(sentinel).is_watching_only:
            told = f"{sentinel.name} calls {Address(*about)} down in TILT"
            self.judge.complain("who slept does not judge", told)

    def _judge_asking(self, sentinel: SimSentinel) -> None:
        """Require that who leads asks for no more votes. Where no question waited for the disk."""
        since = self.record(sentinel).leads_since
        if since is None or sentinel.disk.slow_until or sentinel.disk.fails_until:
            return
        leads_for = self.now - since
        if leads_for > LATE_ASK_MS + 2 * self.judge.deployment.shape.disk_ms[1]:
            told = f"{sentinel.name} asks for votes, and has led a failover for {leads_for} ms"
            self.judge.complain("no votes past an election", told)

    def _judge_choice(self, sentinel: SimSentinel, facts: tuple[str, ...]) -> None:
        """Require that of those which are fit, the one is chosen that said to have most.

        Among those of one priority and one history. Always.
        """
        view = sentinel.machine.group_view(sentinel.now, GROUP) if sentinel.machine else None
        if view is None:
            return
        fit = {fact.partition(" ")[0] for fact in facts if " rejected: " not in fact}
        chosen = next((fact.partition(" ")[0] for fact in facts if " chosen: " in fact), "")
        reports = {str(replica.address): replica.report for replica in view.replicas}
        best = reports.get(chosen)
        if best is None:
            return
        for name in fit - {chosen}:
            other = reports.get(name)
            if other is None or (other.priority, other.history) != (best.priority, best.history):
                continue
            if (other.offset or 0) > (best.offset or 0) and other.primary == best.primary:
                told = f"{sentinel.name} chooses {chosen} at {best.offset}"
                what = f"{told}, {name} is at {other.offset}"
                self.judge.complain("the most advanced replica", what)

    def _judge_parallel(self, sentinel: SimSentinel, record: Record) -> None:
        """Require that one replica at a time is on its way. Where no stranger is one of them."""
        if self.judge.deployment.strangers or len(record.syncing) <= 1:
            return
        told = f"{sentinel.name} repoints {', '.join(record.syncing)} at once"
        self.judge.complain("parallel-syncs at a time", told)

    def _where(self, host: str, port: int) -> Address:
        """Return the place that a notice names, where a name leads to now."""
        return self.judge.deployment.network.resolve(Address(host, port))

    def _judge_repointing(self, sentinel: SimSentinel, record: Record) -> None:
        """Require that all replicas were told when a failover ends. In quiet times."""
        promoted = record.promoted
        record.promoted = None
        if promoted is None or not self.is_calm() or sentinel.machine is None:
            return
        deployment = self.judge.deployment
        view = sentinel.machine.group_view(sentinel.now, GROUP)
        known = {replica.address for replica in view.replicas} if view is not None else set()
        for instance in deployment.instances.values():
            is_there = (
                instance.address in known
                and instance.address != promoted
                and place_of(instance) not in record.down
                and instance.is_running
                and not instance.is_paused
                and self.now - instance.started_at >= CALM_MS
                and instance.follows not in {None, promoted}
                and deployment.network.reaches(sentinel.name, instance.name)
            )
            if is_there and instance.address not in record.ordered:
                told = (
                    f"{sentinel.name} ends its failover to {promoted}, {instance.name} follows "
                    f"{instance.follows} and was told nothing"
                )
                self.judge.complain("replicas are repointed", told)

    def _judge_age(self, sentinel: SimSentinel, chosen: Address) -> None:
        """Require of a replica that it lost its primary not long before that one was gone.

        Where the engine says how long, and nothing but a death or a stop took the primary away.
        """
        deployment = self.judge.deployment
        instance = deployment.instances.get(chosen)
        if instance is None or instance.engine is Engine.DRAGONFLY or instance.follows is None:
            return
        down_since = instance.replication.down_since
        primary = deployment.instances.get(instance.follows)
        is_sure = primary is not None and primary.follows is None and self.is_calm(LONG_SLACK_MS)
        if down_since is None or primary is None or not is_sure:
            return
        without = self.now - down_since
        # Where it came back for a moment, those who were cut off from it meanwhile did not see it.
        missed_since = self.record(sentinel).down.get(place_of(primary), self.now)
        gone_for = max(self._gone_for(primary), self.now - missed_since)
        limit = 10 * deployment.shape.down_after + gone_for + LONG_SLACK_MS
        # Who has nobody better takes it when the primary is gone for good.
        if without > limit and gone_for < deployment.shape.failover_timeout:
            told = f"{sentinel.name} promotes {instance.name}, without its primary for {without} ms"
            self.judge.complain("old data is not promoted", f"{told}, limit {limit}")

    def _gone_for(self, primary: SimInstance) -> int:
        """Return for how long a primary has been dead or stopped; 0: it is well."""
        if primary.is_running and not primary.is_paused:
            return 0
        for mark in reversed(self.judge.deployment.world.trace):
            if mark.who == primary.name and mark.kind is Kind.LIFE:
                return self.now - mark.at
        return self.now


def _group_of(state: DurableState) -> GroupState | None:
    return next((group for group in state.groups if group.name == GROUP), None)
