"""What a genuine Sentinel believes and decides, tick by tick. See `genuine`.

Source: `sentinelHandleRedisInstance` and what it calls, redis/src/sentinel.c (7.0.15).
"""

from collections import Counter
from typing import TYPE_CHECKING

from everfly.core.effects import Vote
from everfly.core.model import Address, Epoch, GroupName, Hello, InstanceReport, Role, RunId
from everfly.core.records import Reconf
from everfly.sim import genuine_failover
from everfly.sim.genuine_records import (
    ASK_PERIOD,
    DESYNC,
    INFO_PERIOD,
    PUBLISH_PERIOD,
    TILT_PERIOD,
    TILT_TRIGGER,
    Attempt,
    Memory,
    Watched,
)

if TYPE_CHECKING:
    from everfly.sim.genuine import SimGenuine


class Mind:
    """One life of a genuine Sentinel that watches one group."""

    def __init__(self, me: "SimGenuine", memory: Memory) -> None:
        now = me.now
        self.me = me
        self.current_epoch = memory.current_epoch
        self.config_epoch = memory.config_epoch
        self.leader_epoch = memory.leader_epoch
        self.leader: RunId | None = None
        self.primary = Watched(memory.primary, now, role=Role.PRIMARY)
        self.replicas = {address: Watched(address, now) for address in memory.replicas}
        self.peers = {run_id: Watched(address, now, run_id) for address, run_id in memory.peers}
        self.o_down_since = 0
        self.attempt: Attempt | None = None
        self.started_at = 0
        """`failover_start_time`."""
        self.tilt_since = 0
        self._looked_at = now

    @property
    def current(self) -> Watched:
        """The primary in effect."""
        attempt = self.attempt
        if attempt is not None and attempt.state in {"reconf_slaves", "update_config"}:
            assert attempt.promoted is not None, "chosen before"
            return attempt.promoted
        return self.primary

    # The tick.

    def look(self) -> None:
        """Do what one tick does."""
        now = self.me.now
        delta = now - self._looked_at
        self._looked_at = now
        if delta < 0 or delta > TILT_TRIGGER:
            self.tilt_since = now
            self.me.tell("+tilt #tilt mode entered (genuine)")
        everybody = [self.primary, *self.replicas.values()]
        is_unsettled = bool(self.o_down_since) or self.attempt is not None
        for watched in everybody:
            is_replica = watched is not self.primary
            period = (
                self.me.info_period(watched, is_unsettled=is_unsettled)
                if is_replica
                else INFO_PERIOD
            )
            self.me.keep_in_touch(watched, is_peer=False, info_period=period)
        for peer in self.peers.values():
            self.me.keep_in_touch(peer, is_peer=True, info_period=0)
        if self.tilt_since:
            if now - self.tilt_since < TILT_PERIOD:
                return
            self.tilt_since = 0
            self.me.tell("-tilt #tilt mode exited (genuine)")
        for watched in [*everybody, *self.peers.values()]:
            self._check_down(watched)
        self._check_o_down()
        if self._start_if_needed():
            self._ask_peers(is_forced=True)
        genuine_failover.advance(self)
        self._ask_peers(is_forced=False)

    def _check_down(self, watched: Watched) -> None:
        now, down_after = self.me.now, self.me.settings.down_after
        self.me.drop_stale(watched)
        is_down = watched.silent_for(now) > down_after or (
            watched is self.primary
            and watched.role_reported is Role.REPLICA
            and now - watched.role_reported_at > down_after + 2 * INFO_PERIOD
        )
        if is_down and not watched.s_down_since:
            watched.s_down_since = watched.was_down_at = now
        elif not is_down:
            watched.s_down_since = 0

    def _check_o_down(self) -> None:
        seen_by = 1 + sum(peer.says_down for peer in self.peers.values())
        is_down = bool(self.primary.s_down_since) and seen_by >= self.me.settings.quorum
        if is_down and not self.o_down_since:
            self.o_down_since = self.me.now
            self.me.tell(f"+odown {self.primary.address} (genuine)")
        elif not is_down:
            self.o_down_since = 0

    # Elections.

    def _start_if_needed(self) -> bool:
        pause = 2 * self.me.settings.failover_timeout
        if not self.o_down_since or self.attempt is not None:
            return False
        if self.started_at and self.me.now - self.started_at < pause:
            return False
        self.start(is_forced=False)
        return True

    def start(self, *, is_forced: bool) -> None:
        """`sentinelStartFailover`."""
        now = self.me.now
        self.current_epoch = Epoch(self.current_epoch + 1)
        self.started_at = now + self.me.dice.randrange(DESYNC)
        self.attempt = Attempt(self.current_epoch, self.started_at, now, is_forced=is_forced)
        self.me.tell(f"+try-failover {self.primary.address} epoch {self.current_epoch} (genuine)")
        self._flush()

    def _ask_peers(self, *, is_forced: bool) -> None:
        now = self.me.now
        for peer in self.peers.values():
            if now - peer.answered_at > 5 * ASK_PERIOD:
                peer.says_down = False
                peer.leader = None
            if not self.primary.s_down_since or not peer.is_connected:
                continue
            if not is_forced and now - peer.answered_at < ASK_PERIOD:
                continue
            if not is_forced and now - peer.asked_at < ASK_PERIOD:
                continue
            peer.asked_at = now
            who = self.me.run_id if self.attempt is not None else None
            self.me.ask_vote(peer, self.primary.address, self.current_epoch, who)

    def take_vote(self, peer: Watched, vote: Vote) -> None:
        """Note a peer's answer."""
        peer.answered_at = self.me.now
        peer.says_down = vote.is_down
        if vote.leader is not None:
            peer.leader, peer.leader_epoch = vote.leader, vote.leader_epoch

    def vote(self, primary: Address, epoch: Epoch, candidate: RunId | None) -> Vote:
        """Answer a peer: `sentinelCommand`, is-master-down-by-addr."""
        if primary != self.primary.address:
            return Vote(is_down=False, leader=None, leader_epoch=Epoch(0))
        is_down = bool(self.primary.s_down_since) and not self.tilt_since
        if candidate is None:
            return Vote(is_down, None, Epoch(0))
        self._vote(epoch, candidate)
        return Vote(is_down, self.leader, self.leader_epoch)

    def _vote(self, epoch: Epoch, candidate: RunId) -> None:
        self._adopt_epoch(epoch)
        if self.leader_epoch < epoch and self.current_epoch <= epoch:
            self.leader, self.leader_epoch = candidate, self.current_epoch
            self.me.tell(f"+vote-for-leader {candidate} {epoch} (genuine)")
            if candidate != self.me.run_id:
                self.started_at = self.me.now + self.me.dice.randrange(DESYNC)
            self._flush()

    def _adopt_epoch(self, epoch: Epoch) -> None:
        if epoch > self.current_epoch:
            self.current_epoch = epoch
            self._flush()

    def winner(self) -> RunId | None:
        """Count votes: `sentinelGetLeader`. Votes itself if it has not yet."""
        epoch = self.current_epoch
        votes = Counter(
            peer.leader
            for peer in self.peers.values()
            if peer.leader is not None and peer.leader_epoch == epoch
        )
        best = votes.most_common(1)[0][0] if votes else self.me.run_id
        self._vote(epoch, best)
        if self.leader is not None and self.leader_epoch == epoch:
            votes[self.leader] += 1
        if not votes:
            return None
        winner, count = votes.most_common(1)[0]
        voters = len(self.peers) + 1
        needed = max(voters // 2 + 1, self.me.settings.quorum)
        return winner if count >= needed else None

    # The failover itself: `genuine_failover`.

    def enter(self, attempt: Attempt, state: str) -> None:
        """Go to a state."""
        attempt.state, attempt.changed_at = state, self.me.now

    def abort(self, why: str) -> None:
        """Give an attempt up."""
        self.me.tell(f"-failover-abort-{why} (genuine)")
        self.attempt = None

    def switch(self, new: Address) -> None:
        """`sentinelResetMasterAndChangeAddress`: everything but peers is learned anew."""
        now, old = self.me.now, self.primary.address
        self.me.tell(f"+switch-master {old} {new} (genuine)")
        addresses = [one for one in (*self.replicas, old) if one != new]
        for watched in (self.primary, *self.replicas.values()):
            self.me.disconnect(watched)
        self.primary = Watched(new, now, role=Role.PRIMARY)
        self.replicas = {address: Watched(address, now) for address in addresses}
        self.attempt = None
        self.o_down_since = self.started_at = 0
        self.leader = None
        for peer in self.peers.values():
            peer.says_down = False
            peer.leader = None
        self._flush()

    # What INFO and hellos tell: `sentinelRefreshInstanceInfo`, `sentinelProcessHelloMessage`.

    def take_info(self, watched: Watched, report: InstanceReport) -> None:
        """Take an instance's INFO."""
        now = self.me.now
        watched.info_at = now
        is_ours = watched is self.primary or watched in self.replicas.values()
        if report.role is None or not is_ours:
            return
        if report.primary != watched.report.primary:
            watched.followed_at = now
        watched.report = report
        if report.role is not watched.role_reported:
            watched.role_reported, watched.role_reported_at = report.role, now
            watched.followed_at = now
        if watched is self.primary:
            for address in report.replicas if report.role is Role.PRIMARY else ():
                if address not in self.replicas and address != self.primary.address:
                    self.replicas[address] = Watched(address, now)
                    self._flush()
        if self.tilt_since or watched is self.primary:
            return
        if report.role is Role.PRIMARY:
            self._on_replica_says_primary(watched)
        else:
            self._on_replica_says_replica(watched, report)

    def _on_replica_says_primary(self, replica: Watched) -> None:
        attempt, now = self.attempt, self.me.now
        if attempt is not None and attempt.promoted is replica:
            if attempt.state == "wait_promotion":
                self.config_epoch = attempt.epoch
                self.enter(attempt, "reconf_slaves")
                self.me.tell(f"+promoted-slave {replica.address} (genuine)")
                self.me.note_promotion(replica.address)
                self._flush()
                for one in (self.primary, *self.replicas.values(), *self.peers.values()):
                    one.published_at = 0
            return
        wait = 4 * PUBLISH_PERIOD
        is_old = now - replica.role_reported_at > wait and now - replica.was_down_at > wait
        if attempt is None and is_old and self._looks_sane():
            self.me.tell(f"+convert-to-slave {replica.address} (genuine)")
            self.me.order(replica, self.primary.address)

    def _on_replica_says_replica(self, replica: Watched, report: InstanceReport) -> None:
        now, timeout = self.me.now, self.me.settings.failover_timeout
        if report.primary is not None and report.primary != self.primary.address:
            is_old = now - replica.followed_at > timeout and now - replica.was_down_at > timeout
            if self.attempt is None and is_old and self._looks_sane():
                self.me.tell(f"+fix-slave-config {replica.address} (genuine)")
                self.me.order(replica, self.primary.address)
        attempt = self.attempt
        if attempt is None or attempt.promoted is None or report.primary != self.current.address:
            return
        if replica.reconf is Reconf.SENT:
            replica.reconf = Reconf.IN_PROGRESS
        if replica.reconf is Reconf.IN_PROGRESS and report.primary_link_up:
            replica.reconf = Reconf.DONE

    def _looks_sane(self) -> bool:
        primary = self.primary
        return (
            primary.report.role is Role.PRIMARY
            and not primary.s_down_since
            and primary.is_connected
            and self.me.now - primary.info_at < 2 * INFO_PERIOD
        )

    def hello(self, sender: Address) -> Hello:
        """Say who we are and what we know."""
        return Hello(
            sender=sender,
            sender_run_id=self.me.run_id,
            current_epoch=self.current_epoch,
            group=GroupName(self.me.group),
            primary=self.current.address,
            config_epoch=self.config_epoch,
        )

    def take_hello(self, hello: Hello) -> None:
        """Take a peer's hello."""
        if hello.group != self.me.group:
            return
        known = self.peers.get(hello.sender_run_id)
        if known is None or known.address != hello.sender:
            for run_id, peer in list(self.peers.items()):
                if run_id == hello.sender_run_id or peer.address == hello.sender:
                    self.me.disconnect(self.peers.pop(run_id))
            self.peers[hello.sender_run_id] = Watched(
                hello.sender, self.me.now, hello.sender_run_id
            )
            self._flush()
        self._adopt_epoch(hello.current_epoch)
        if hello.config_epoch > self.config_epoch:
            self.config_epoch = hello.config_epoch
            self._flush()
            if hello.primary != self.current.address:
                self.switch(hello.primary)

    def _flush(self) -> None:
        current = self.current.address
        known = (*self.replicas, self.primary.address)
        self.me.flush(
            Memory(
                self.current_epoch,
                self.config_epoch,
                self.leader_epoch,
                current,
                tuple(one for one in known if one != current),
                tuple((peer.address, run_id) for run_id, peer in self.peers.items()),
            )
        )
