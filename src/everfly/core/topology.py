"""Add and forget groups, replicas and peers; move a group to another primary.

Records of instances outlive a change of their role, and with them the links: after a switch
nothing has to be connected anew. Source: `createSentinelRedisInstance`, `sentinelResetMaster`,
`sentinelResetMasterAndChangeAddress`, redis/src/sentinel.c (7.0.15), which do reconnect.
"""

from collections.abc import Iterable

from everfly.core import probing
from everfly.core.effects import Answer, Purpose, Refusal, Refused
from everfly.core.model import Address, GroupName, Role, RunId
from everfly.core.notices import Event
from everfly.core.policy import GroupSettings
from everfly.core.records import NO_REPORT, Group, Instance, Link, Peer, PeerLink, Reconf
from everfly.core.snapshot import GroupState
from everfly.core.turn import Turn


def add_group(turn: Turn, name: GroupName, primary: Address, settings: GroupSettings) -> Group:
    """Begin to watch a group."""
    group = Group(name, settings)
    group.primary = Instance(group, primary, Role.PRIMARY, turn.now)
    turn.state.groups[name] = group
    turn.state.by_primary = None
    turn.notify(Event.MONITOR, group.primary, f"quorum {settings.quorum}")
    turn.wake(group.primary, turn.now)
    return group


def restore_group(turn: Turn, state: GroupState) -> None:
    """Begin to watch a group that was watched before, with all that was known of it."""
    group = add_group(turn, state.name, state.primary, state.settings)
    group.config_epoch = state.config_epoch
    group.leader_epoch = state.leader_epoch
    # Where a person edited the file; what we begin must be newer than all that we know.
    known = (turn.state.current_epoch, state.config_epoch, state.leader_epoch)
    turn.state.current_epoch = max(known)
    for address in state.replicas:
        _add_replica(turn, group, address)
    for address, run_id in state.peers:
        add_peer(turn, group, run_id, address)


def forget_group(turn: Turn, group: Group) -> None:
    """Stop watching a group."""
    del turn.state.groups[group.name]
    turn.state.by_primary = None
    end_attempt(turn, group, "the group was removed meanwhile")
    group.is_gone = True
    for instance in group.instances():
        _forget_instance(turn, instance)
    for peer in list(group.peers.values()):
        forget_peer(turn, peer)


def find_replica(group: Group, place: Address) -> Instance | None:
    """Return the replica that people mean by an IP address, or by the name that they gave it."""
    for replica in group.replicas.values():
        known = replica.address
        if place.port == known.port and place.host.lower() in (known.host.lower(), known.ip):
            return replica
    return None


def end_attempt(turn: Turn, group: Group, reason: str) -> None:
    """Drop a failover of ours, if there is one; tell `reason` to whoever waits for it to begin."""
    failover, group.failover = group.failover, None
    if failover is not None and failover.waiting is not None:
        turn.emit(Answer(failover.waiting, Refused(Refusal.NO_HAND_OVER, reason)))


def reset_group(turn: Turn, group: Group) -> None:
    """Forget a group's replicas, peers and failover; learn them anew from its primary."""
    if group.current is not group.primary:
        # Its promotion is in effect and told to everybody: what is dropped is the rest of the
        # failover. Genuine Sentinels go back to the old primary, under the new epoch.
        switch_primary(turn, group, group.current.address)
    for instance in group.instances():
        _forget_instance(turn, instance)
    group.replicas.clear()
    for peer in list(group.peers.values()):
        forget_peer(turn, peer)
    group.primary = Instance(group, group.primary.address, Role.PRIMARY, turn.now)
    _forget_attempts(turn, group)
    turn.notify(Event.RESET_PRIMARY, group.primary)
    turn.wake(group.primary, turn.now)


def learn_replicas(turn: Turn, group: Group, addresses: Iterable[Address]) -> None:
    """Add the replicas that a primary names and that are new."""
    for address in addresses:
        if address not in group.replicas and address != group.primary.address:
            replica = _add_replica(turn, group, address)
            turn.persist(is_urgent=False)
            turn.notify(Event.REPLICA, replica)


def switch_primary(turn: Turn, group: Group, new: Address) -> None:
    """Move a group to a new primary; the old one becomes a replica that may come back."""
    old = group.primary
    turn.announce(
        Event.SWITCH,
        group,
        f"{group.name} {turn.shown(old.address)} {old.address.port} {turn.shown(new)} {new.port}",
    )
    primary = group.replicas.pop(new, None) or Instance(group, new, Role.PRIMARY, turn.now)
    _forget_attempts(turn, group)
    for instance in group.replicas.values():
        _settle(turn, instance, Role.REPLICA)
    _settle(turn, primary, Role.PRIMARY)
    _settle(turn, old, Role.REPLICA)
    old.is_stale_primary = True
    group.primary = primary
    turn.state.by_primary = None
    group.replicas[old.address] = old
    for peer in group.peers.values():
        # What they said was about the old primary.
        peer.says_down = False
        peer.vote = None
    for replica in group.replicas.values():
        turn.notify(Event.REPLICA, replica)
    turn.persist()
    probing.greet_all_now(turn, group)


def add_peer(turn: Turn, group: Group, run_id: RunId, address: Address) -> Peer:
    """Note another Sentinel of a group, sharing the link that other groups have to it."""
    shared = turn.state.peer_links.get(run_id)
    if shared is None:
        link = Link(Purpose.COMMANDS)
        link.ok_pong_at = link.pong_at = turn.now
        link.owes_since = turn.now
        shared = turn.state.peer_links[run_id] = PeerLink(run_id, address, link)
    peer = Peer(group, shared, hello_heard_at=turn.now)
    shared.users.append(peer)
    group.peers[run_id] = peer
    turn.wake(shared, turn.now)
    turn.wake(peer, turn.now)
    return peer


def forget_peer(turn: Turn, peer: Peer) -> None:
    """Forget another Sentinel in one group; the last one closes the link."""
    peer.is_gone = True
    del peer.group.peers[peer.run_id]
    shared = peer.shared
    shared.users.remove(peer)
    if not shared.users:
        shared.is_gone = True
        turn.close(shared.link)
        del turn.state.peer_links[shared.run_id]


def forget_replica(turn: Turn, replica: Instance) -> None:
    """Forget a replica."""
    del replica.group.replicas[replica.address]
    _forget_instance(turn, replica)


def move_peer(turn: Turn, shared: PeerLink, address: Address) -> None:
    """Note that another Sentinel listens elsewhere now."""
    shared.address = address
    turn.close(shared.link)
    shared.link.attempted_at = None
    turn.wake(shared, turn.now)


def move_host(turn: Turn, host: str, ip: str) -> None:
    """Note the IP that a name leads to now, for all that goes by that name.

    Links are left alone: we learn this when one of them has to be opened anew. What follows the
    former IP is brought back as any stray is. Source: `sentinelReconnectInstance` (7.0.15).
    """
    for group in turn.state.groups.values():
        for instance in list(group.instances()):
            known = instance.address
            if known.host == host and known.ip != ip:
                _move_instance(turn, instance, Address(host, known.port, ip))
    for shared in turn.state.peer_links.values():
        if shared.address.host == host:
            shared.address = Address(host, shared.address.port, ip)


def _move_instance(turn: Turn, instance: Instance, to: Address) -> None:
    """Give a record its new address. Two records that now name one place become one."""
    group = instance.group
    is_replica = instance is not group.primary
    other = group.primary if group.primary.address == to else group.replicas.get(to)
    if other is not None and not is_replica and other.is_promoted:
        # The name of the old primary leads to the new one already; the failover ends with that.
        return
    if is_replica:
        del group.replicas[instance.address]
    if other is not None and (other is group.primary or other.is_promoted):
        _forget_instance(turn, instance)
        return
    if other is not None:
        forget_replica(turn, other)
    instance.address = to
    if is_replica:
        group.replicas[to] = instance
    else:
        turn.state.by_primary = None


def reconnect(turn: Turn, owner: Instance | PeerLink) -> None:
    """Drop the links of an instance or a peer, so that new credentials hold."""
    links = [owner.commands, owner.channel] if isinstance(owner, Instance) else [owner.link]
    for link in links:
        turn.close(link)
        link.attempted_at = None
    turn.wake(owner, turn.now)


def _add_replica(turn: Turn, group: Group, address: Address) -> Instance:
    replica = group.replicas[address] = Instance(group, address, Role.REPLICA, turn.now)
    turn.wake(replica, turn.now)
    return replica


def _forget_instance(turn: Turn, instance: Instance) -> None:
    instance.is_gone = True
    turn.close(instance.commands)
    turn.close(instance.channel)


def _forget_attempts(turn: Turn, group: Group) -> None:
    end_attempt(turn, group, "the group was changed meanwhile")
    group.o_down_since = None
    group.leader = None
    group.next_attempt_at = None
    group.splits = 0


def _settle(turn: Turn, instance: Instance, role: Role) -> None:
    """Begin to watch an instance afresh in a role, over the links that it has."""
    instance.role = role
    instance.reconf = Reconf.NONE
    instance.s_down_since = None
    instance.rebooted_at = None
    instance.former = None
    instance.is_reborn = False
    if role is Role.PRIMARY:
        # Otherwise it stays what it is, through later failovers too, until it is seen as a replica.
        instance.is_stale_primary = False
    instance.brought_back_at = None
    if instance.commands.owes_since is not None:
        instance.commands.owes_since = turn.now
    instance.role_reported = role
    instance.role_reported_at = instance.followed_at = turn.now
    if instance.report.role is not role:
        instance.report = NO_REPORT
        instance.info_at = None
    probing.want_info(turn, instance)
