"""Let a machine live through moves and hold it to its promises at every step."""

import random
from dataclasses import dataclass, field

from core.moves import ME, PLACES, STATE, Live, Move, Over, Pass
from everfly.core import effects, inputs
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import (
    Address,
    Epoch,
    GroupName,
    HandOver,
    InstanceReport,
    Instant,
    LinkId,
    Role,
)
from everfly.core.notices import Event
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState

POLICY = Policy()
HANDS_OVER = dict(zip(PLACES, [*HandOver, HandOver.BY_PAUSE], strict=True))
"""How each instance says that it hands over: one in each way."""

STEPS_MAX = 100_000
"""A run of 50 moves of at most 31 s each takes fewer, with PINGs every 50 ms or more."""

ROUNDS_MAX = 50
"""Questions and answers within one millisecond."""


@dataclass
class Run:
    """One machine and what must be true of all that it does."""

    machine: Machine
    now: int = 1_000
    links: list[LinkId] = field(default_factory=list)
    where: dict[LinkId, effects.Connect] = field(default_factory=dict)
    up: set[LinkId] = field(default_factory=set)
    gone: set[LinkId] = field(default_factory=set)
    votes: dict[tuple[GroupName, str], str] = field(default_factory=dict)
    log: list[tuple[int, list[effects.Effect]]] = field(default_factory=list)
    asked: list[tuple[LinkId, effects.Effect]] = field(default_factory=list)
    follows: dict[Address, Address | None] = field(
        default_factory=lambda: {
            place: PLACES[0] if at else None for at, place in enumerate(PLACES)
        }
    )

    def play(self, run: list[Move]) -> None:
        self.take(self.machine.start(Instant(self.now)))
        self.live(Live(1_500, frozenset(), ME))
        for move in run:
            self.move(move)

    def move(self, move: Move) -> None:
        match move:
            case Pass():
                self.let_pass(move)
            case Live():
                self.live(move)
            case Over():
                at = -1 - move.position
                known = -len(self.links) <= at
                self.give(move.make(self.links[at] if known else LinkId(99_999)))
            case _:
                self.give(move)

    def let_pass(self, move: Pass) -> None:
        end = self.now + move.by
        if move.is_asleep:
            self.now = end
            return
        while (at := self.machine.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            self.give(inputs.TimerExpired())
            after = self.machine.next_deadline()
            assert after is None or after > self.now, "a deadline that has passed: a busy loop"
        self.now = end

    def live(self, move: Live) -> None:
        end = self.now + move.by
        while True:
            self.answer_all(move)
            at = self.machine.next_deadline()
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.give(inputs.TimerExpired())
        self.now = end

    def answer_all(self, move: Live) -> None:
        for _ in range(ROUNDS_MAX):
            for link in [link for link in self.links if link not in self.gone]:
                if self.where[link].to in move.dead:
                    self.give(inputs.LinkLost(link, "Connection refused"))
                elif link not in self.up:
                    self.give(inputs.Connected(link, "10.0.0.99"))
            asked, self.asked = self.asked, []
            for link, question in asked:
                if link in self.up:
                    self.give(self.answer(link, question, move))
            if not self.asked:
                return
        raise AssertionError("questions and answers without end")

    def answer(self, link: LinkId, question: effects.Effect, move: Live) -> Input:
        match question:
            case effects.SendPing():
                return inputs.Ponged(link, "PONG")
            case effects.SendInfo():
                return inputs.InfoReceived(link, self.truth(self.where[link].to))
            case effects.Ask():
                return inputs.AskReplied(
                    link,
                    question.group,
                    is_down=question.primary in move.dead,
                    leader=move.vote,
                    leader_epoch=question.epoch,
                )
            case effects.Reconfigure():
                self.follows[question.instance] = question.follow
                return inputs.Reconfigured(link)
            case effects.TakeOver():
                self.follows[question.replica] = None
                return inputs.TakeOverAnswered(link)
            case effects.PauseWrites():
                return inputs.PauseAnswered(link, is_paused=True)
            case effects.ResumeWrites():
                return inputs.PauseAnswered(link, is_paused=False)
            case _:
                return inputs.HelloSent(link)

    def truth(self, place: Address) -> InstanceReport:
        """What an instance says that obeys each order at once."""
        primary = self.follows[place]
        if primary is None:
            replicas = tuple(who for who, whom in self.follows.items() if whom == place)
            return InstanceReport(
                role=Role.PRIMARY, replicas=replicas, offset=1, hands_over=HANDS_OVER[place]
            )
        return InstanceReport(
            role=Role.REPLICA,
            primary=primary,
            primary_link_up=True,
            offset=1,
            hands_over=HANDS_OVER[place],
        )

    def give(self, fact: Input) -> None:
        assert len(self.log) < STEPS_MAX, "steps without end"
        if isinstance(fact, inputs.Connected) and fact.link not in self.gone:
            self.up.add(fact.link)
        if isinstance(fact, inputs.LinkLost):
            self.forget(fact.link)
        if isinstance(fact, inputs.RemoveRequested):
            self.votes = {key: who for key, who in self.votes.items() if key[0] != fact.group}
        before = self.machine.durable_state()
        done = self.machine.step(Instant(self.now), fact)
        self.take(done)
        self.check(fact, before, done)

    def forget(self, link: LinkId) -> None:
        self.up.discard(link)
        self.gone.add(link)

    def take(self, done: list[effects.Effect]) -> None:
        self.log.append((self.now, done))
        for effect in done:
            if isinstance(effect, effects.Connect):
                assert effect.link not in self.where, "each attempt has an id of its own"
                self.where[effect.link] = effect
                self.links.append(effect.link)
            elif isinstance(effect, effects.Disconnect):
                assert effect.link not in self.gone, "what is closed is not closed again"
                self.forget(effect.link)
            elif isinstance(effect, effects.Command):
                assert effect.link in self.up, f"{effect} over a link that is not up"
                assert self.where[effect.link].purpose is effects.Purpose.COMMANDS
                self.asked.append((effect.link, effect))
            elif isinstance(effect, effects.Notify) and effect.notice.event is Event.VOTE:
                self.check_vote(effect)

    def check_vote(self, effect: effects.Notify) -> None:
        candidate, epoch = effect.notice.detail.split()
        assert effect.notice.group is not None
        key = (effect.notice.group, epoch)
        assert key not in self.votes, f"a second vote in epoch {epoch}"
        self.votes[key] = candidate

    def check_hand_over(self, done: list[effects.Effect]) -> None:
        for at, effect in enumerate(done):
            if isinstance(effect, effects.PauseWrites | effects.TakeOver):
                assert 0 < effect.limit <= POLICY.hand_over_limit + 2 * POLICY.hand_over_grace
            if isinstance(effect, effects.ResumeWrites):
                later = [each for each in done[at:] if isinstance(each, effects.Reconfigure)]
                followers = {each.link for each in later if each.follow is not None}
                assert effect.link not in followers, "it writes again before it is told to follow"

    def check(self, fact: Input, before: DurableState, done: list[effects.Effect]) -> None:
        after = self.machine.durable_state()
        self.check_hand_over(done)
        writes = [effect.is_urgent for effect in done if isinstance(effect, effects.Persist)]
        assert before == after or writes, "state changed that nobody writes down"
        assert after.current_epoch >= before.current_epoch
        if fences(after) != fences(before):
            assert any(writes), "an epoch changed and the disk may hear of it late"
        earlier = {group.name: group for group in before.groups}
        for group in after.groups:
            if group.name in earlier:
                assert group.leader_epoch >= earlier[group.name].leader_epoch
                assert group.config_epoch >= earlier[group.name].config_epoch
                is_told = isinstance(fact, inputs.HelloHeard)
                if group.config_epoch == earlier[group.name].config_epoch and not is_told:
                    assert group.primary == earlier[group.name].primary
            assert group.leader_epoch <= after.current_epoch
            assert group.primary not in group.replicas
            assert len(set(group.replicas)) == len(group.replicas)


def fences(state: DurableState) -> tuple[Epoch, list[tuple[GroupName, Epoch, Epoch]]]:
    """Return what keeps two truths apart."""
    groups = [(group.name, group.config_epoch, group.leader_epoch) for group in state.groups]
    return state.current_epoch, groups


def machine(seed: int, state: DurableState = STATE) -> Machine:
    return Machine(state, port=26379, dice=random.Random(seed), policy=Policy())


def view_holds(machine: Machine, now: Instant) -> None:
    """Check that what others may read agrees with what goes to disk."""
    state = machine.durable_state()
    assert machine.current_epoch == state.current_epoch
    assert machine.group_names() == tuple(group.name for group in state.groups)
    for group in state.groups:
        view = machine.group_view(now, group.name)
        assert view is not None
        assert view.current_address == group.primary == machine.current_address(group.name)
        known = {view.primary.address, *(replica.address for replica in view.replicas)}
        assert known == {group.primary, *group.replicas}
        assert [(peer.address, peer.run_id) for peer in view.peers] == list(group.peers)
        assert view.usable_sentinels == 1 + sum("s_down" not in one.flags for one in view.peers)
