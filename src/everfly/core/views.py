"""Freeze what this Sentinel knows, for those who ask and for the disk."""

from everfly.core.model import Epoch, Instant, Millis, Role
from everfly.core.records import Group, Instance, Link, Peer
from everfly.core.snapshot import (
    DurableState,
    GroupState,
    GroupView,
    InstanceView,
    LinkView,
    PeerView,
)
from everfly.core.turn import State


def durable_state(state: State) -> DurableState:
    """Return what must survive a crash."""
    return DurableState(
        me=state.me,
        current_epoch=state.current_epoch,
        announce_host=state.announce_host,
        announce_port=state.announce_port,
        shows_hostnames=state.shows_hostnames,
        groups=tuple(_group_state(group) for group in state.groups.values()),
    )


def group_view(state: State, group: Group, now: Instant) -> GroupView:
    """Return a picture of a group."""
    peers = tuple(_peer_view(peer, now) for peer in group.peers.values())
    usable = 1 + sum(peer.s_down_for is None for peer in peers)
    return GroupView(
        name=group.name,
        primary=_instance_view(state, group.primary, now),
        current_address=group.current.address,
        settings=group.settings,
        config_epoch=group.config_epoch,
        failover_state=None if group.failover is None else group.failover.state.value,
        replicas=tuple(_instance_view(state, one, now) for one in group.replicas.values()),
        peers=peers,
        usable_sentinels=usable,
        can_reach_quorum=usable >= group.settings.quorum,
        can_authorize=usable >= (len(peers) + 1) // 2 + 1,
    )


def _group_state(group: Group) -> GroupState:
    current = group.current
    replicas = [address for address in group.replicas if address != current.address]
    if current is not group.primary:
        # A restart begins with the new primary: the old one takes its place among the replicas.
        replicas.append(group.primary.address)
    return GroupState(
        name=group.name,
        primary=current.address,
        settings=group.settings,
        config_epoch=group.config_epoch,
        leader_epoch=group.leader_epoch,
        replicas=tuple(replicas),
        peers=tuple((peer.address, peer.run_id) for peer in group.peers.values()),
    )


def _ago(now: Instant, at: Instant) -> Millis:
    return Millis(now - at)


def _ago_if(now: Instant, at: Instant | None) -> Millis | None:
    return None if at is None else Millis(now - at)


def _link_view(link: Link, now: Instant, shared_by: int) -> LinkView:
    return LinkView(
        is_connected=link.is_up,
        pending=link.pending,
        shared_by=shared_by,
        last_ping_sent_ago=Millis(0) if link.owes_since is None else _ago(now, link.owes_since),
        last_ok_ping_ago=_ago(now, link.ok_pong_at),
        last_ping_reply_ago=_ago(now, link.pong_at),
    )


def _instance_view(state: State, instance: Instance, now: Instant) -> InstanceView:
    group = instance.group
    is_primary = instance.role is Role.PRIMARY
    host = instance.address.host if state.shows_hostnames else instance.address.ip
    host = host or instance.address.host
    port = instance.address.port
    name = group.name if is_primary else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return InstanceView(
        address=instance.address,
        name=name,
        run_id=instance.run_id,
        flags=tuple(flag for flag, holds in _instance_flags(instance, is_primary) if holds),
        link=_link_view(instance.commands, now, 1),
        s_down_for=_ago_if(now, instance.s_down_since),
        o_down_for=_ago_if(now, group.o_down_since) if is_primary else None,
        info_ago=_ago_if(now, instance.info_at),
        role_reported=instance.role_reported.value,
        role_reported_for=_ago(now, instance.role_reported_at),
        report=instance.report,
    )


def _instance_flags(instance: Instance, is_primary: bool) -> list[tuple[str, bool]]:
    group = instance.group
    failover = group.failover
    reconf = instance.reconf.value
    return [
        ("s_down", instance.s_down_since is not None),
        ("o_down", is_primary and group.o_down_since is not None),
        ("master", is_primary),
        ("slave", not is_primary),
        ("disconnected", not (instance.commands.is_up and instance.channel.is_up)),
        ("failover_in_progress", is_primary and failover is not None),
        ("promoted", instance.is_promoted),
        (reconf, bool(reconf)),
        ("force_failover", is_primary and failover is not None and failover.is_forced),
        ("script_kill_sent", instance.script_kill_is_sent),
        ("master_reboot", instance.rebooted_at is not None),
    ]


def _peer_view(peer: Peer, now: Instant) -> PeerView:
    link = peer.shared.link
    flags = [
        ("s_down", peer.s_down_since is not None),
        ("sentinel", True),
        ("disconnected", not link.is_up),
        ("master_down", peer.says_down),
    ]
    leader, epoch = peer.vote if peer.vote is not None else (None, 0)
    return PeerView(
        address=peer.address,
        run_id=peer.run_id,
        flags=tuple(flag for flag, holds in flags if holds),
        link=_link_view(link, now, len(peer.shared.users)),
        s_down_for=_ago_if(now, peer.s_down_since),
        last_hello_ago=_ago(now, peer.hello_heard_at),
        voted_leader=leader,
        voted_leader_epoch=Epoch(epoch),
        says_down=peer.says_down,
    )
