"""The states of a genuine Sentinel's failover, one step a tick.

Source: `sentinelFailoverStateMachine`, `sentinelSelectSlave`, `sentinelFailoverReconfNextSlave`,
`sentinelFailoverDetectEnd`, redis/src/sentinel.c (7.0.15).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from everfly.core.records import Reconf
from everfly.sim.genuine_records import (
    ELECTION_TIMEOUT,
    INFO_PERIOD,
    PING_PERIOD,
    RECONF_TIMEOUT,
    Attempt,
    Watched,
)

if TYPE_CHECKING:
    from everfly.sim.genuine_mind import Mind


def advance(mind: "Mind") -> None:
    """Do what the state of the attempt, if there is one, allows in this tick."""
    attempt = mind.attempt
    if attempt is not None:
        _STATES[attempt.state](mind, attempt)


def _wait_start(mind: "Mind", attempt: Attempt) -> None:
    if attempt.is_forced or mind.winner() == mind.me.run_id:
        mind.enter(attempt, "select_slave")
        mind.me.tell(f"+elected-leader epoch {attempt.epoch} (genuine)")
    elif mind.me.now - attempt.started_at > min(
        ELECTION_TIMEOUT, mind.me.settings.failover_timeout
    ):
        mind.abort("not-elected")


def _select(mind: "Mind", attempt: Attempt) -> None:
    attempt.promoted = _choose(mind)
    if attempt.promoted is None:
        mind.abort("no-good-slave")
    else:
        mind.enter(attempt, "send_slaveof_noone")


def _send_promotion(mind: "Mind", attempt: Attempt) -> None:
    promoted = chosen(attempt)
    if promoted.is_connected:
        mind.me.order(promoted, None)
        mind.enter(attempt, "wait_promotion")
    else:
        _wait_promotion(mind, attempt)


def _wait_promotion(mind: "Mind", attempt: Attempt) -> None:
    if mind.me.now - attempt.changed_at > mind.me.settings.failover_timeout:
        mind.abort("slave-timeout")


def _reconf(mind: "Mind", attempt: Attempt) -> None:
    promoted = chosen(attempt)
    if promoted.s_down_since:
        # It stays here for as long as that lasts.
        return
    now = mind.me.now
    others = [one for one in mind.replicas.values() if one is not promoted]
    for one in others:
        if one.reconf is Reconf.SENT and now - one.reconf_at > RECONF_TIMEOUT:
            one.reconf = Reconf.DONE
    left = [one for one in others if one.reconf is not Reconf.DONE and not one.s_down_since]
    is_late = now - attempt.changed_at > mind.me.settings.failover_timeout
    if is_late:
        for one in left:
            mind.me.order(one, promoted.address)
    if is_late or not left:
        mind.enter(attempt, "update_config")
        return
    moving = sum(one.reconf in {Reconf.SENT, Reconf.IN_PROGRESS} for one in left)
    for one in left:
        if moving >= mind.me.settings.parallel_syncs:
            break
        if one.reconf is Reconf.NONE and one.is_connected:
            one.reconf, one.reconf_at = Reconf.SENT, now
            moving += 1
            mind.me.order(one, promoted.address)


def _update_config(mind: "Mind", attempt: Attempt) -> None:
    mind.switch(chosen(attempt).address)


def _choose(mind: "Mind") -> Watched | None:
    now, primary = mind.me.now, mind.primary
    limit = 10 * mind.me.settings.down_after
    if primary.s_down_since:
        limit += now - primary.s_down_since
    fresh = 5 * PING_PERIOD if primary.s_down_since else 3 * INFO_PERIOD
    fit = [
        replica
        for replica in mind.replicas.values()
        if not replica.s_down_since
        and replica.is_connected
        and now - replica.last_avail_at <= 5 * PING_PERIOD
        and replica.report.priority
        and now - replica.info_at <= fresh
        and (replica.report.primary_link_down_for or 0) <= limit
    ]
    fit.sort(key=lambda one: (one.report.priority, -(one.report.offset or 0), one.report.run_id))
    return fit[0] if fit else None


def chosen(attempt: Attempt) -> Watched:
    """Return whom an attempt past its choice promotes."""
    assert attempt.promoted is not None, "chosen before"
    return attempt.promoted


_STATES: Final[dict[str, "Callable[[Mind, Attempt], None]"]] = {
    "wait_start": _wait_start,
    "select_slave": _select,
    "send_slaveof_noone": _send_promotion,
    "wait_promotion": _wait_promotion,
    "reconf_slaves": _reconf,
    "update_config": _update_config,
}
