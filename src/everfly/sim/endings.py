"""Judge how a world ends: healed, it must come together; a primary that dies then must be replaced
in time; what was acknowledged must be there, but for what may be lost.

Bounds come from the policies: see `LIVENESS_MS` and `failover_bound`.
"""

from typing import Final

from everfly.core.policy import Policy
from everfly.sim.checkers import Judge
from everfly.sim.cluster import GROUP, Deployment, Shape

LIVENESS_MS: Final = 90_000
"""How long a healed world may take to come together: TILT (30 s), the time between two attempts
(2 x failover-timeout), a demotion (8 s) and a full sync (5 s), with a margin."""
LOOK_MS: Final = 1_000
STABLE_MS: Final = 8_000
"""A world that agrees for so long has come together; what is still planned (a demotion after 8 s)
has been done."""
ELECTION_MS: Final = 3_000
"""An election with a split vote and its retry, the choice of a replica, its promotion."""
RETRIES_MS: Final = 14_000
"""Five attempts in a row in turns that double: `election.retry_soon`."""
DISK_WRITES: Final = 6
"""How many writes one after the other a failover needs: epochs, votes, the new configuration."""


def failover_bound(shape: Shape) -> int:
    """Return how long after a primary's death, in ms, a majority must name another one."""
    slow = 40 * shape.latency_ms[1] + DISK_WRITES * shape.disk_ms[1]
    if 2 * shape.latency_ms[1] + shape.disk_ms[1] > Policy().election_slot:
        # A vote takes longer than a turn: Sentinels stand beside each other, until they have tried
        # often enough to wait as genuine ones do.
        slow += 2 * shape.failover_timeout + RETRIES_MS
    return shape.down_after + shape.down_after // 2 + ELECTION_MS + slow


def wait_for_agreement(judge: Judge, limit: int, absent: frozenset[str]) -> bool:
    """Let a healed world run until it has come together, at most for `limit` ms.

    Return whether it has; if not, a rule is broken. No rule finds a primary again that an engine's
    own FAILOVER made, when people had Sentinels forget all replicas meanwhile.
    """
    deployment, world = judge.deployment, judge.deployment.world
    may_forget = bool(judge.operator.forgetful)
    end = world.now + limit
    agreed_since: int | None = None
    while world.now < end:
        world.run_until(min(end, world.now + LOOK_MS))
        if deployment.disagreement(absent, may_forget=may_forget) is not None:
            agreed_since = None
        elif agreed_since is None:
            agreed_since = world.now
        elif world.now - agreed_since >= STABLE_MS:
            return True
    trouble = deployment.disagreement(absent, may_forget=may_forget)
    if trouble is not None and not (may_forget and judge.operator.has_failed_over_by_engine):
        judge.complain("converges", trouble)
    return trouble is None


def kill_once_more(judge: Judge, absent: frozenset[str]) -> None:
    """Kill the primary of a world at rest, and judge how long it takes to replace it."""
    deployment, world = judge.deployment, judge.deployment.world
    may_forget = bool(judge.operator.forgetful)
    primary = next(
        one for one in deployment.primaries() if one.address == deployment.named_primary()
    )
    others = [
        one
        for one in deployment.instances.values()
        if one is not primary
        and one.priority
        and one.name not in absent
        and not (may_forget and deployment.is_forgotten(one))
    ]
    if not others:
        return
    world.mark("world", f"once more: {primary.name} dies for good")
    primary.kill()
    bound = failover_bound(deployment.shape)
    world.run_until(world.now + bound)
    named = [
        said.primary
        for sentinel in deployment.ours
        if sentinel.is_running and (said := sentinel.announcement(GROUP)) is not None
    ]
    best = max(named, key=named.count) if named else None
    instance = None if best is None else deployment.instances.get(best)
    is_done = (
        instance is not None
        and instance is not primary
        and instance.is_running
        and instance.follows is None
        and named.count(instance.address) >= deployment.shape.majority
    )
    if not is_done:
        told = f"{bound} ms after {primary.name} died, {sorted(map(str, named))} are named"
        judge.complain("fails over in time", told)


def judge_writes(judge: Judge, *, is_planned: bool) -> None:
    """Complain of acknowledged writes that are gone without an excuse.

    `is_planned`: nothing but switchovers happened, so there is no excuse at all.
    """
    deployment = judge.deployment
    for write_id in _lost(deployment):
        entry = deployment.ledger.entries[write_id]
        excuse = deployment.ledger.excuse(write_id)
        if is_planned or excuse is None:
            told = f"write {write_id}, done at {entry.taken_by} at {entry.taken_at} ms, is gone" + (
                "" if excuse is None else f": {excuse}"
            )
            rule = "a switchover loses nothing" if is_planned else "acknowledged writes survive"
            judge.complain(rule, told)


def _lost(deployment: Deployment) -> list[int]:
    """Return lost writes, if there is one primary whose data counts."""
    return deployment.lost_writes() if len(deployment.primaries()) == 1 else []
