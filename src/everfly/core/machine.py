"""The door of the core: facts in, intentions out.

    effects = machine.step(now, input)
    deadline = machine.next_deadline()

Rules:

1. One caller. `step` is never re-entered and never awaits.
2. `now` never goes back. Dice come from the generator given at construction.
3. Effects are started in list order; see `effects` for which of them wait for the disk.
4. After each step the caller asks `next_deadline` and calls `step(now, TimerExpired())` then.
   Calling early is harmless; calling more than `tilt_trigger` late is noticed and called TILT.
5. Whoever only asks reads a view; it is frozen and knows nothing of the future.

Theory of operation: a fact changes a record; then whatever the record belongs to is looked at:
its links and periodic questions (`probing`), whether it is down (`detector`), and for a group in
trouble the election and the failover (`election`, `failover`). Looking is idempotent: it does what
is due now and asks to be woken for what comes later (`alarms`).
"""

import random

from everfly.core import (
    convergence,
    detector,
    election,
    failover,
    ghosts,
    gossip,
    hand_over,
    lineage,
    probing,
    requests,
    topology,
    views,
)
from everfly.core.effects import Answer, Effect, Purpose, Vote
from everfly.core.inputs import (
    AskReplied,
    ChannelHeard,
    CommandRefused,
    Connected,
    HelloHeard,
    HelloSent,
    HostResolved,
    InfoReceived,
    Input,
    LinkFact,
    LinkLost,
    PauseAnswered,
    Ponged,
    Reconfigured,
    Reply,
    TakeOverAnswered,
    TimerExpired,
    VoteRequested,
)
from everfly.core.model import Address, Epoch, GroupName, Instant, Millis, Role
from everfly.core.notices import Event
from everfly.core.policy import Policy
from everfly.core.records import FailoverState, Group, Instance, Link, Peer, PeerLink, Timed
from everfly.core.snapshot import DurableState, GroupView
from everfly.core.turn import State, Turn


class Machine:
    """The decisions of one Sentinel."""

    def __init__(
        self, state: DurableState, *, port: int, dice: random.Random, policy: Policy
    ) -> None:
        """Take durable state. `port` is where this Sentinel listens, for its hellos."""
        self._durable = state
        self._state = State(
            me=state.me,
            port=port,
            policy=policy,
            dice=dice,
            current_epoch=state.current_epoch,
            announce_host=state.announce_host,
            announce_port=state.announce_port,
            shows_hostnames=state.shows_hostnames,
        )

    def start(self, now: Instant) -> list[Effect]:
        """Announce what is watched and begin to connect. Call once, before the first step."""
        turn = Turn(self._state, now)
        for group in self._durable.groups:
            topology.restore_group(turn, group)
        self._look_where_due(turn)
        return turn.effects

    def step(self, now: Instant, input: Input) -> list[Effect]:
        """Take one fact or request, return what to do."""
        state = self._state
        turn = Turn(state, now)
        is_late = state.alarms.may_be_due(now - state.policy.tilt_trigger)
        if (is_late or state.tilt_since is not None) and detector.check_tilt(
            turn, self.next_deadline()
        ):
            self._look_at_all(turn)
        # What comes thousands of times a second is asked for first, here and below.
        if isinstance(input, HelloHeard):
            self._on_hello(turn, input)
        elif isinstance(input, TimerExpired):
            pass
        elif isinstance(input, LinkFact):
            self._on_link_fact(turn, input)
        elif isinstance(input, VoteRequested):
            self._on_vote_requested(turn, input)
        elif isinstance(input, HostResolved):
            topology.move_host(turn, input.host, input.ip)
        else:
            requests.carry_out(turn, input)
        if state.alarms.may_be_due(now):
            self._look_where_due(turn)
        return turn.effects

    def next_deadline(self) -> Instant | None:
        """Return when to call `step` with `TimerExpired`; None: never. Ask after each step."""
        at = self._state.alarms.earliest()
        if self._state.tilt_since is None:
            return at
        tilt_ends_at = detector.tilt_ends_at(self._state)
        return tilt_ends_at if at is None else min(at, tilt_ends_at)

    # What others may read.

    def durable_state(self) -> DurableState:
        """Return what must survive a crash, as of now. O(size)."""
        return views.durable_state(self._state)

    def tilt_for(self, now: Instant) -> Millis | None:
        """How long it only watches already (`sentinel_tilt_since_seconds`); None: it acts."""
        since = self._state.tilt_since
        return None if since is None else Millis(now - since)

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, in the order in which they were added."""
        return tuple(self._state.groups)

    def group_view(self, now: Instant, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group, or None."""
        group = self._state.groups.get(name)
        return None if group is None else views.group_view(self._state, group, now)

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go; cheaper than a whole view."""
        group = self._state.groups.get(name)
        return None if group is None else group.current.address

    @property
    def current_epoch(self) -> Epoch:
        """The greatest epoch this Sentinel knows."""
        return self._state.current_epoch

    # Facts.

    def _on_link_fact(self, turn: Turn, fact: LinkFact) -> None:
        found = self._state.links.get(fact.link)
        if found is None:
            return
        link, owner = found
        match fact:
            case ChannelHeard():
                link.heard_at = turn.now
            case Connected():
                self._on_connected(turn, link, owner, fact)
            case LinkLost():
                self._on_lost(turn, link, owner, fact)
            case _:
                # Only what was asked can be answered, and only over a command link that is up.
                if link.is_up and link.purpose is Purpose.COMMANDS:
                    self._on_reply(turn, link, owner, fact)

    def _on_connected(
        self, turn: Turn, link: Link, owner: Instance | PeerLink, fact: Connected
    ) -> None:
        link.is_up = True
        link.attempts = link.refusals = 0
        link.up_since = link.heard_at = turn.now
        link.local_host = fact.local_host
        link.ping_sent_at = None
        turn.wake(owner, turn.now)
        if isinstance(owner, PeerLink):
            for peer in owner.users:
                peer.hello_sent_at = peer.asked_at = None
                turn.wake(peer, turn.now)
                self._consider(turn, peer.group)
            return
        if link.purpose is Purpose.COMMANDS:
            owner.hello_sent_at = None
            owner.info_is_wanted = True
            owner.info_is_pending = False
            # An order to become a primary may have been lost with the last connection. Who listens
            # there now may be somebody else: INFO tells.
            owner.order_is_doubtful = owner.is_promoted
        self._consider(turn, owner.group)

    def _repeat_promotion(self, turn: Turn, promoted: Instance) -> None:
        promoted.order_is_doubtful = False
        running = promoted.group.failover
        if (
            running is not None
            and promoted.is_promoted
            and promoted.report.role is Role.REPLICA
            and not lineage.is_foreign(turn, promoted)
            and running.state is FailoverState.WAIT_PROMOTION
            and running.hand_over_ends_at is None
        ):
            hand_over.send_role(turn, promoted, None, running.epoch)

    def _on_lost(self, turn: Turn, link: Link, owner: Instance | PeerLink, fact: LinkLost) -> None:
        turn.lose(link)
        link.refusals = link.refusals + 1 if fact.is_refusal else 0
        turn.wake(owner, turn.now)
        if isinstance(owner, PeerLink):
            for peer in owner.users:
                turn.notify(Event.LINK_LOST, peer, f"#{fact.reason}")
                turn.wake(peer, turn.now)
            return
        event = Event.CHANNEL_LOST
        if link.purpose is Purpose.COMMANDS:
            event = Event.LINK_LOST
        turn.notify(event, owner, f"#{fact.reason}")

    def _on_reply(self, turn: Turn, link: Link, owner: Instance | PeerLink, fact: Reply) -> None:
        if probing.is_choked(self._state.policy, link, owner):
            turn.wake(owner, turn.now)
        link.pending -= 1
        if isinstance(owner, PeerLink):
            self._on_peer_reply(turn, owner, fact)
            return
        match fact:
            case Ponged():
                self._on_instance_pong(turn, owner, fact)
            case HelloSent():
                pass
            case InfoReceived():
                self._on_instance_info(turn, owner, fact)
            case Reconfigured():
                probing.want_info(turn, owner)
            case TakeOverAnswered():
                hand_over.on_take_over_answered(turn, owner.group, fact.error)
            case PauseAnswered(is_paused=True):
                hand_over.on_pause_answered(turn, owner, fact.error)
            case CommandRefused():
                owner.info_is_refused = owner.info_is_refused or owner.info_is_pending
                owner.info_is_pending = False
            case _:
                pass

    def _on_instance_info(self, turn: Turn, instance: Instance, fact: InfoReceived) -> None:
        instance.info_is_pending = instance.info_is_refused = False
        convergence.on_info(turn, instance, fact.report)
        if instance.order_is_doubtful and self._state.tilt_since is None:
            self._repeat_promotion(turn, instance)
        if instance.info_is_wanted:
            # Wanted again while this answer was under way.
            turn.wake(instance, turn.now)
        elif instance.is_promoted:
            # Its next look, for a PING, may come much later than its next INFO is due.
            period = probing.info_period(self._state.policy, instance, turn.now)
            turn.wake(instance, turn.now + period)
        self._look_at_instance(turn, instance)

    def _on_instance_pong(self, turn: Turn, instance: Instance, fact: Ponged) -> None:
        detector.on_pong(turn, instance, fact.reply)
        period = probing.ping_period(self._state.policy, instance.group.settings.down_after)
        turn.wake(instance, turn.now + period)
        if instance.s_down_since is not None:
            self._look_at_instance(turn, instance)

    def _on_peer_reply(self, turn: Turn, shared: PeerLink, fact: object) -> None:
        link = shared.link
        if isinstance(fact, Ponged):
            link.pong_at = turn.now
            if fact.reply.startswith(detector.VALID_PONGS):
                link.ok_pong_at = turn.now
                link.owes_since = None
                for peer in shared.users:
                    if peer.s_down_since is not None:
                        turn.wake(peer, turn.now)
        elif isinstance(fact, AskReplied):
            for peer in shared.users:
                if peer.group.name != fact.group:
                    continue
                if fact.primary in {None, peer.group.primary.address}:
                    # An answer about the former primary would testify against its successor.
                    peer.answered_at = turn.now
                    peer.says_down = fact.is_down
                if fact.leader is not None:
                    peer.vote = (fact.leader, fact.leader_epoch)
                self._consider(turn, peer.group)

    def _on_hello(self, turn: Turn, fact: HelloHeard) -> None:
        if fact.link is not None:
            found = self._state.links.get(fact.link)
            if found is None:
                return
            found[0].heard_at = turn.now
        gossip.on_hello(turn, fact.hello)

    def _on_vote_requested(self, turn: Turn, request: VoteRequested) -> None:
        state = self._state
        group = state.group_at(request.primary)
        leader, leader_epoch, is_down = None, Epoch(0), False
        if group is not None:
            is_down = state.tilt_since is None and group.primary.s_down_since is not None
            if request.candidate is not None:
                if election.is_committed(group):
                    election.adopt_epoch(turn, group, request.epoch)
                else:
                    election.vote(turn, group, request.epoch, request.candidate)
                leader, leader_epoch = group.leader, group.leader_epoch
            if is_down and group.o_down_since is None:
                # Whoever asks sees it down: this is the moment to complete the quorum.
                election.ask_peers(turn, group, at_least_every=state.policy.ask_gap_min)
        turn.emit(Answer(request.token, Vote(is_down, leader, leader_epoch)))

    # Looking.

    def _look_where_due(self, turn: Turn) -> None:
        while (who := self._state.alarms.pop_due(turn.now)) is not None:
            self._look(turn, who)

    def _look(self, turn: Turn, who: Timed) -> None:
        if isinstance(who, Instance):
            if self._state.tilt_since is None and who.role is Role.REPLICA:
                ghosts.forget_replica_if_ghost(turn, who)
            if not who.is_gone:
                probing.probe_instance(turn, who)
                self._look_at_instance(turn, who)
        elif isinstance(who, PeerLink):
            probing.probe_peer_link(turn, who)
        elif isinstance(who, Peer):
            probing.greet_peer(turn, who)
            if self._state.tilt_since is None:
                detector.check_peer(turn, who)
                ghosts.forget_peer_if_ghost(turn, who)
                self._consider(turn, who.group)
        else:
            assert isinstance(who, Group)
            self._consider(turn, who)

    def _look_at_instance(self, turn: Turn, instance: Instance) -> None:
        if self._state.tilt_since is None:
            detector.check_instance(turn, instance)
            self._consider(turn, instance.group)

    def _consider(self, turn: Turn, group: Group) -> None:
        """Deal with a group in trouble; cheap for one that is well."""
        is_well = (
            group.primary.s_down_since is None
            and group.o_down_since is None
            and group.failover is None
        )
        if is_well or self._state.tilt_since is not None:
            return
        detector.check_group(turn, group)
        election.stand_if_due(turn, group)
        failover.advance(turn, group)
        election.ask_peers(turn, group)

    def _look_at_all(self, turn: Turn) -> None:
        for shared in self._state.peer_links.values():
            turn.wake(shared, turn.now)
        for group in self._state.groups.values():
            turn.wake(group, turn.now)
            for who in (*group.instances(), *group.peers.values()):
                turn.wake(who, turn.now)
