"""Take a peer's hello: learn peers, epochs, and configurations newer than ours.

Source: `sentinelProcessHelloMessage`, redis/src/sentinel.c (7.0.15).
"""

from everfly.core import election, hand_over
from everfly.core.effects import ReconfigureClients
from everfly.core.model import Address, Hello, RunId
from everfly.core.notices import Event
from everfly.core.records import Group, Peer
from everfly.core.topology import add_peer, forget_peer, move_peer, switch_primary
from everfly.core.turn import Turn


def on_hello(turn: Turn, hello: Hello) -> None:
    """Take a hello of another Sentinel."""
    group = turn.state.groups.get(hello.group)
    if group is None or hello.sender_run_id == turn.state.me:
        return
    peer = group.peers.get(hello.sender_run_id)
    if peer is not None and _says_nothing_new(group, peer, hello):
        peer.hello_heard_at = turn.now
        return
    if peer is None or peer.address != hello.sender:
        peer = _learn(turn, group, hello.sender_run_id, hello.sender)
    peer.hello_heard_at = turn.now
    # A config epoch is an epoch that was current once. Otherwise a failover of ours could begin in
    # one below that of the configuration which it replaces.
    election.adopt_epoch(turn, group, max(hello.current_epoch, hello.config_epoch))
    is_newer = hello.config_epoch > group.config_epoch
    if not is_newer and not _is_other_half(group, hello):
        if group.failover is None and hello.primary == group.primary.address:
            peer.said = (hello, peer.address, group.primary.address)
        return
    group.config_epoch = hello.config_epoch
    turn.persist()
    if group.current is not group.primary and hello.primary != group.current.address:
        # Our own promotion took effect and is overtaken already: first the one, then the other.
        switch_primary(turn, group, group.current.address)
    old = group.current.address
    if hello.primary == old:
        _give_up_older_attempt(turn, group)
        return
    turn.notify(Event.CONFIG_UPDATE, peer)
    switch_primary(turn, group, hello.primary)
    turn.emit(ReconfigureClients(group.name, is_leader=False, old=old, new=hello.primary))


def _says_nothing_new(group: Group, peer: Peer, hello: Hello) -> bool:
    """Whether this very hello was taken before, and what it is compared with is still the same.

    Epochs need not be compared again: ours never go back.
    """
    if peer.said is None or group.failover is not None:
        return False
    said, sender, primary = peer.said
    return said is hello and sender is peer.shared.address and primary is group.primary.address


def _give_up_older_attempt(turn: Turn, group: Group) -> None:
    """End an attempt of ours that could only put an older configuration over a newer one."""
    attempt = group.failover
    if attempt is not None and not attempt.has_promoted and attempt.epoch <= group.config_epoch:
        hand_over.abort(turn, group, attempt)
        turn.explain(
            group,
            f"failover of epoch {attempt.epoch} given up",
            f"the primary was confirmed in epoch {group.config_epoch}",
        )


def _is_other_half(group: Group, hello: Hello) -> bool:
    """Whether two configurations of one epoch exist and ours is the one to give up.

    SENTINEL FAILOVER asks for no votes, so two of them at once, or one beside an election, can
    promote two replicas in the same epoch. Genuine Sentinels then disagree for ever. Any rule that
    all apply alike ends it: the greater address stays.
    """
    ours = group.current.address
    return (
        hello.config_epoch == group.config_epoch > 0
        and hello.primary != ours
        and hello.primary in group.replicas
        and (str(hello.primary), hello.primary.port) > (str(ours), ours.port)
    )


def _learn(turn: Turn, group: Group, run_id: RunId, address: Address) -> Peer:
    """Note a new peer, or a known one at a new address."""
    known = group.peers.get(run_id)
    shared = turn.state.peer_links.get(run_id)
    if known is not None:
        detail = f"ip {turn.shown(address)} port {address.port} for {run_id}"
        turn.notify(Event.PEER_ADDRESS_SWITCH, group.primary, detail)
    else:
        for other in list(group.peers.values()):
            if other.address == address:
                _forget_everywhere(turn, other)
    if shared is not None and shared.address != address:
        move_peer(turn, shared, address)
    peer = known or add_peer(turn, group, run_id, address)
    if known is None:
        turn.notify(Event.PEER, peer)
    others = len(peer.shared.users) - 1
    if known is not None and others:
        detail = f"{others} additional matching instances"
        turn.notify(Event.PEER_ADDRESS_UPDATE, peer, detail)
    turn.persist(is_urgent=False)
    return peer


def _forget_everywhere(turn: Turn, peer: Peer) -> None:
    """Another Sentinel listens at this one's address: this one is no more, in any group."""
    turn.notify(Event.PEER_INVALID_ADDRESS, peer)
    for user in list(peer.shared.users):
        forget_peer(turn, user)
