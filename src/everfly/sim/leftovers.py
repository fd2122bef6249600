"""Judge what must not last: paused writes, primaries beside the one that all name, TILT, and being
called down while answering.

Most of it ends by itself some time, in which clients wait or write what will be lost.
"""

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from everfly.core.effects import Effect, PauseWrites
from everfly.core.model import Address, Engine
from everfly.sim.cluster import GROUP
from everfly.sim.conduct import Conduct, place_of
from everfly.sim.instance import SimInstance
from everfly.sim.network import CONNECT_LIMIT_MS
from everfly.sim.pauses import Pause
from everfly.sim.sentinel_host import SimSentinel
from everfly.sim.world import Kind, Mark

DEMOTED_MS: Final = 5_000
"""A primary too many is looked at within a second, and told at once where it is known as an old
one; this is counted from when all are well for so long that the others are told too, after 8 s."""
OLD_CALM_MS: Final = 2_000
"""Who knows an old primary tells it sooner than that: before 8 s are over."""
STEADY_MS: Final = 5_000
"""Others are told when they were not down for 8 s: so much of it before the rule counts."""
OLD_STEADY_MS: Final = 1_000
LOOK_MS: Final = 500
PAUSE_SLACK_MS: Final = 3_000
LITTLE_LOSS: Final = 0.02
"""Of packets: what takes two of them takes seconds once in some thousand times."""
HAND_OVER_MS: Final = 5_500
"""`hand_over_limit` and `hand_over_grace`."""


SLEPT_MS: Final = 3_500
"""Longer than what makes a Sentinel enter TILT (2 s), by more than the time between two PINGs."""
AWAKE_MS: Final = 300
"""By then it has handled what it found when it awoke."""
TILT_MS: Final = 31_000
"""TILT lasts for 30 s."""
LOADING_MS: Final = 1_700
"""A Sentinel is connected again to a process that has run for so long."""
GRACE_MS: Final = 5_000
"""A fresh process hands its data out after this: `repl-diskless-sync-delay`."""
LOST_MIN: Final = 3
"""One or two writes may have been on their way."""
CALM_BEFORE_MS: Final = 3_000
_COPY: Final = re.compile(r"full sync: \d+ writes, (\d+) of its own gone")
_FOLLOWS: Final = re.compile(r"^SLAVEOF (?!NO ONE)|, as a replica$")
_LEAP: Final = re.compile(r"clock leaps (\d+) ms ahead")


@dataclass(slots=True, eq=False)
class Leftovers:
    """Adds its findings to a judge's."""

    conduct: Conduct
    _asides: dict[tuple[Address, bool], int] = field(default_factory=dict)
    """Primaries too many, whether judged as old ones, and since when."""
    _followed_at: dict[str, int] = field(default_factory=dict)
    """When whoever has a port was last seen as a replica, or became one."""
    _read: int = 0
    """Lines of the trace that were looked at for sleepers."""
    _paused_at: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.conduct.judge.deployment.observers.append(self.observe)
        self.conduct.judge.deployment.world.after(LOOK_MS, self._look)

    def observe(self, sentinel: SimSentinel, effect: Effect) -> None:
        """Look at one effect as it is carried out."""
        if isinstance(effect, PauseWrites):
            self._watch_pause(sentinel, effect)

    # Pauses of writes.

    def _watch_pause(self, sentinel: SimSentinel, order: PauseWrites) -> None:
        """Require that paused writes are let go again.

        Always by who gives the hand-over up; otherwise if nothing comes between.
        """
        deployment = self.conduct.judge.deployment
        named = sentinel.announcement(GROUP)
        primary = None if named is None else deployment.instances.get(named.primary)
        if primary is None:
            return
        lossy_until = self.conduct.judge.mischief.lossy_until
        is_recent = self.conduct.now - lossy_until < PAUSE_SLACK_MS and lossy_until > 0
        # Otherwise the order, or what answers it, may be on its way for long.
        is_prompt = not is_recent and deployment.network.loss <= LITTLE_LOSS
        watch = Pause(self.conduct.now, sentinel.life, primary, primary.life, order, is_prompt)
        deployment.observers.append(partial(watch.observe, sentinel))
        deployment.world.after(
            HAND_OVER_MS + PAUSE_SLACK_MS, partial(self._judge_pause, sentinel, watch)
        )

    def _judge_pause(self, sentinel: SimSentinel, watch: Pause) -> None:
        deployment = self.conduct.judge.deployment
        deployment.observers[:] = [one for one in deployment.observers if not watch.is_behind(one)]
        is_undisturbed = (
            watch.is_prompt
            and watch.primary.is_running
            # A garbled run id looks like a restart, with which the pause would have ended.
            and not watch.primary.lies_until
            and self.conduct.judge.mischief.disturbed_at <= watch.at
            and deployment.network.loss <= LITTLE_LOSS
            and sentinel.life == watch.sentinel_life
            and not sentinel.is_paused
            and watch.primary.life == watch.primary_life
            and watch.primary.pause_until > watch.at
            and not self._is_demoted_in(watch)
            and not watch.primary.is_paused
        )
        if (is_undisturbed or self._is_kept(sentinel, watch)) and not watch.is_over:
            told = f"{sentinel.name} paused the writes of {watch.primary.name} at {watch.at} ms"
            self.conduct.judge.complain("writes are let go again", told)

    @staticmethod
    def _is_kept(sentinel: SimSentinel, watch: Pause) -> bool:
        """Whether it gave the hand-over up, knew of the pause, and could have ended it."""
        return (
            watch.is_given_up
            and sentinel.life == watch.sentinel_life
            and _is_awake(sentinel)
            and sentinel.links.is_holding(watch.order.link)
            and not sentinel.disk.slow_until
            and not sentinel.disk.fails_until
        )

    def _is_demoted_in(self, watch: Pause) -> bool:
        """Whether it became a replica before its pause was over: that holds no writes."""
        for mark in reversed(self.conduct.judge.deployment.world.trace):
            if mark.at < watch.at:
                return False
            is_demotion = mark.who == watch.primary.name and _FOLLOWS.search(mark.what)
            if is_demotion and mark.at <= watch.primary.pause_until:
                return True
        return False

    # Primaries too many.

    def _look(self) -> None:
        """Require that an old primary that is back is demoted at once. In quiet times."""
        deployment = self.conduct.judge.deployment
        deployment.world.after(LOOK_MS, self._look)
        self._look_at_sleepers()
        self._look_at_the_loading()
        for instance in (*deployment.instances.values(), *deployment.strangers):
            if instance.is_running and not instance.is_primary:
                self._followed_at[str(instance.address.port)] = self.conduct.now
        self._look_at_asides(is_old=True)
        self._look_at_asides(is_old=False)

    def _look_at_asides(self, *, is_old: bool) -> None:
        deployment = self.conduct.judge.deployment
        is_calm = self.conduct.is_calm(OLD_CALM_MS if is_old else DEMOTED_MS)
        for instance in deployment.instances.values():
            about = (instance.address, is_old)
            if not (is_calm and self._is_aside(instance, is_old=is_old)):
                self._asides.pop(about, None)
                continue
            since = self._asides.setdefault(about, self.conduct.now)
            if self.conduct.now - since == DEMOTED_MS:
                told = f"{instance.address} is a primary beside the one that all name"
                told = f"{told}, for {DEMOTED_MS} ms"
                self.conduct.judge.complain("an old primary is demoted at once", told)

    # Sleepers.

    def _look_at_sleepers(self) -> None:
        """Require that who was stopped for longer enters TILT, and leaves it. Always."""
        deployment = self.conduct.judge.deployment
        ours = {sentinel.name: sentinel for sentinel in deployment.ours}
        trace = deployment.world.trace
        new, self._read = trace[self._read :], len(trace)
        for mark in new:
            if mark.kind is Kind.DATA:
                self._judge_copy(mark)
            if _FOLLOWS.search(mark.what) is not None:
                self._followed_at[mark.who.partition(":")[2]] = mark.at
            if mark.who in ours and mark.kind is Kind.LIFE:
                self._note_sleep(ours[mark.who], mark)
        for sentinel in deployment.ours:
            record = self.conduct.record(sentinel)
            lasts = self.conduct.now - record.tilt_at
            if record.is_watching_only and _is_awake(sentinel) and lasts >= TILT_MS:
                told = f"{sentinel.name} has been in TILT for {lasts} ms"
                self.conduct.judge.complain("TILT ends after 30 s", told)
                record.is_watching_only = False

    def _note_sleep(self, sentinel: SimSentinel, mark: Mark) -> None:
        if not self._has_company(sentinel):
            # Nothing was due, so nothing was late.
            self._paused_at.pop(mark.who, None)
            return
        leap = _LEAP.match(mark.what)
        if mark.what == "paused":
            self._paused_at[mark.who] = mark.at
        elif mark.what == "resumed":
            slept = mark.at - self._paused_at.pop(mark.who, mark.at)
            self._expect_tilt(sentinel, mark.at, slept)
        elif leap is not None:
            self._expect_tilt(sentinel, mark.at, int(leap[1]))

    def _has_company(self, sentinel: SimSentinel) -> bool:
        """Whether an instance answers its PINGs, so that another one is always due soon.

        None does of one that was told to forget the group.
        """
        deployment, down = self.conduct.judge.deployment, self.conduct.record(sentinel).down
        return sentinel.announcement(GROUP) is not None and any(
            instance.is_running
            and not instance.is_paused
            and place_of(instance) not in down
            and self.conduct.now - instance.started_at >= SLEPT_MS
            and deployment.network.reaches(sentinel.name, instance.name)
            for instance in deployment.instances.values()
        )

    def _expect_tilt(self, sentinel: SimSentinel, awoke_at: int, slept: int) -> None:
        if slept >= SLEPT_MS:
            world = self.conduct.judge.deployment.world
            judge = partial(self._judge_tilt, sentinel, sentinel.life, awoke_at, slept)
            world.after(AWAKE_MS, judge)

    def _judge_tilt(self, sentinel: SimSentinel, life: int, awoke_at: int, slept: int) -> None:
        record = self.conduct.record(sentinel)
        is_same = _is_awake(sentinel) and sentinel.life == life
        if is_same and sentinel.announcement(GROUP) is not None and record.tilt_at < awoke_at:
            told = f"{sentinel.name} slept for {slept} ms, and does not say +tilt"
            self.conduct.judge.complain("who slept enters TILT", told)

    # Copies.

    def _judge_copy(self, mark: Mark) -> None:
        """Require that a replica does not copy a primary that came back with less than it has.

        Where its engine hands nothing out for five seconds, and nothing keeps Sentinels from using
        them: no other trouble, no vote so lately that they wait.
        """
        copied = _COPY.match(mark.what)
        deployment, judge = self.conduct.judge.deployment, self.conduct.judge
        replica = next((one for one in deployment.instances.values() if one.name == mark.who), None)
        if copied is None or replica is None or replica.follows is None:
            return
        primary = deployment.instances.get(replica.follows)
        if primary is None or primary.engine is Engine.DRAGONFLY or not replica.priority:
            return
        came_back = primary.started_at
        is_of_restart = (
            int(copied[1]) >= LOST_MIN
            and primary.lives > 1
            and GRACE_MS <= mark.at - came_back <= 2 * GRACE_MS
            and replica.started_at < came_back - CALM_BEFORE_MS
        )
        is_quiet = (
            judge.mischief.disturbed_at <= came_back
            and not deployment.shape.loss
            and not deployment.network.loss
            and not deployment.network.slow
            and not deployment.shape.genuine
            and all(self._could_act(sentinel, primary, came_back) for sentinel in deployment.ours)
        )
        if is_of_restart and is_quiet:
            told = f"{replica.name} copied {primary.name}, which came back with less"
            judge.complain("nobody copies a loss", f"{told}: {copied[1]} writes are gone")

    def _could_act(self, sentinel: SimSentinel, primary: SimInstance, since: int) -> bool:
        said = sentinel.announcement(GROUP)
        if said is None or said.primary != primary.address:
            # By an engine's own FAILOVER, which it has not seen or not settled on yet.
            return False
        record = self.conduct.record(sentinel)
        waits_for = 2 * self.conduct.judge.deployment.shape.failover_timeout + CALM_BEFORE_MS
        return (
            _is_awake(sentinel)
            and not record.is_watching_only
            and record.began_at < since - CALM_BEFORE_MS
            and (record.switched_at is None or record.switched_at < since)
            and (record.voted_at is None or not since - waits_for <= record.voted_at < since)
        )

    # The loading.

    def _look_at_the_loading(self) -> None:
        """Require that an instance that says LOADING is not down. Where it is reached."""
        deployment = self.conduct.judge.deployment
        if deployment.network.loss or deployment.network.slow:
            return
        for instance in deployment.instances.values():
            # An attempt that lost a packet before may hang for as long as it is waited for.
            undisturbed = self.conduct.judge.mischief.disturbed_at + CONNECT_LIMIT_MS
            has_run = self.conduct.now - max(instance.started_at, undisturbed)
            is_sure = (
                instance.is_running
                and instance.is_loading
                and not instance.is_paused
                and not instance.is_behind
                and has_run >= LOADING_MS
                and self.conduct.judge.mischief.disturbed_at <= instance.started_at
            )
            if is_sure:
                self._judge_loading(instance)

    def _judge_loading(self, instance: SimInstance) -> None:
        deployment = self.conduct.judge.deployment
        for sentinel in deployment.ours:
            is_down = str(instance.address) in self.conduct.record(sentinel).silent
            is_watching = self.conduct.record(sentinel).is_watching_only
            reaches = deployment.network.reaches(sentinel.name, instance.name)
            if is_down and reaches and _is_awake(sentinel) and not is_watching:
                told = f"{sentinel.name} calls {instance.name} down, which says that it is loading"
                self.conduct.judge.complain("who loads is not down", told)

    # Primaries too many.

    def _is_aside(self, instance: SimInstance, *, is_old: bool) -> bool:
        """Whether every Sentinel, itself well, knows a newer primary and reaches this one.

        `is_old`: and has moved the group away from it, and it has been no replica since.
        """
        deployment = self.conduct.judge.deployment
        if not (instance.is_primary and instance.is_running) or instance.is_paused:
            return False
        if instance.is_behind:
            return False
        has_served = self.conduct.now - instance.started_at - instance.character.load_ms
        steady_ms = OLD_STEADY_MS if is_old else STEADY_MS
        if has_served < steady_ms or self.conduct.now < instance.busy_until:
            return False
        followed_at = self._followed_at.get(str(instance.address.port), 0)
        return bool(deployment.ours) and all(
            self._would_demote(sentinel, instance, steady_ms)
            and (not is_old or self._left_at(sentinel, instance) > followed_at)
            for sentinel in deployment.ours
        )

    def _left_at(self, sentinel: SimSentinel, instance: SimInstance) -> int:
        return self.conduct.record(sentinel).left.get(place_of(instance), 0)

    def _would_demote(self, sentinel: SimSentinel, instance: SimInstance, steady_ms: int) -> bool:
        record = self.conduct.record(sentinel)
        said = sentinel.announcement(GROUP) if sentinel.is_running else None
        if said is None or sentinel.is_paused or record.is_watching_only:
            return False
        if sentinel.disk.slow_until or sentinel.disk.fails_until:
            # Orders wait for it.
            return False
        primary = self.conduct.judge.deployment.instances.get(said.primary)
        return (
            said.primary != instance.address
            and primary is not None
            and primary.is_running
            and not primary.is_paused
            and primary.follows is None
            and record.switched_at is not None
            and record.voted <= said.config_epoch
            and sentinel.knows(GROUP, instance.address)
            and self.conduct.now - record.was_down.get(place_of(instance), -steady_ms) >= steady_ms
            and place_of(instance) not in record.down
            and place_of(primary) not in record.down
            and self.conduct.judge.deployment.network.reaches(sentinel.name, instance.name)
            and self.conduct.judge.deployment.network.reaches(sentinel.name, primary.name)
        )


def _is_awake(sentinel: SimSentinel) -> bool:
    return sentinel.is_running and not sentinel.is_paused
