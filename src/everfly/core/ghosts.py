"""Forget, where people allow it, what has been down for so long that it will not come back.

Genuine Sentinels never forget: a machine that was replaced counts in every majority until somebody
sends SENTINEL RESET to all of them. Forgetting has a danger of its own, so it has a condition: who
sees less than a majority alive may be the one that is cut off, and forgets nobody.
"""

from everfly.core.model import Role
from everfly.core.records import Group, Instance, Peer
from everfly.core.topology import forget_peer, forget_replica
from everfly.core.turn import Turn


def forget_peer_if_ghost(turn: Turn, peer: Peer) -> None:
    """Forget another Sentinel that has been down for longer than `forget_after`."""
    if not _is_over(turn, peer):
        return
    group = peer.group
    alive = 1 + sum(one.s_down_since is None for one in group.peers.values())
    if alive < (len(group.peers) + 1) // 2 + 1:
        return
    turn.explain(
        group,
        f"Sentinel {peer.run_id} at {peer.address} is forgotten",
        f"down for more than {turn.state.policy.forget_after} ms",
        f"{alive} of {len(group.peers) + 1} Sentinels are well",
    )
    forget_peer(turn, peer)
    turn.persist()


def forget_replica_if_ghost(turn: Turn, replica: Instance) -> None:
    """Forget a replica that is down and that its primary, which is well, does not name."""
    if not _is_over(turn, replica):
        return
    group = replica.group
    primary = group.primary
    if not _is_well(turn, group) or replica.address in primary.report.replicas:
        return
    turn.explain(
        group,
        f"replica {replica.address} is forgotten",
        f"down for more than {turn.state.policy.forget_after} ms",
        f"its primary {primary.address} does not name it",
    )
    forget_replica(turn, replica)
    turn.persist()


def _is_over(turn: Turn, who: Instance | Peer) -> bool:
    """Whether it has been down for long enough; ask to be woken when it will have been."""
    patience = turn.state.policy.forget_after
    if patience == 0 or who.s_down_since is None:
        return False
    at = who.s_down_since + patience
    if turn.now < at:
        turn.wake(who, at)
        return False
    return True


def _is_well(turn: Turn, group: Group) -> bool:
    primary = group.primary
    return (
        group.failover is None
        and primary.s_down_since is None
        and primary.report.role is Role.PRIMARY
        and primary.info_at is not None
        and turn.now - primary.info_at < 2 * turn.state.policy.info_period
    )
