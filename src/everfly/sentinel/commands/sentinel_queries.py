"""SENTINEL subcommands that only ask, and so read frozen views of the core.

The order of the fields in the maps is part of the interface: clients and tests index them.
Source: `sentinelCommand`, `addReplySentinelRedisInstance`, redis/src/sentinel.c (7.0.15).
"""

from collections.abc import Iterable
from typing import Final

from everfly.core.effects import Result, Vote
from everfly.core.inputs import VoteRequested
from everfly.core.model import Address, Epoch, GroupName, RunId
from everfly.core.snapshot import GroupView, InstanceView, LinkView, PeerView
from everfly.errors import Unavailable
from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.runtime.ports import ScriptView
from everfly.sentinel.commands.arguments import NOT_AN_INTEGER, SAVE_FAILED, to_integer
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import NULL_ARRAY, ErrorReply, SimpleString, Value, to_text

NO_SUCH_GROUP: Final = ErrorReply("ERR No such master with that name")

RUN_ID_CHARS_MAX: Final = 64
"""Of a candidate: 40 hexadecimal digits everywhere; others are accepted, but bounded."""


def help_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL HELP."""
    del client, command
    return desk.help.sentinel


def myid(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL MYID."""
    del client, command
    return desk.me


def masters(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL MASTERS."""
    del client, command
    views = (desk.brain.group_view(name) for name in desk.brain.group_names())
    return [_primary_map(desk, view) for view in views if view is not None]


def master(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL MASTER name."""
    del client
    view = view_of(desk, command[2])
    return NO_SUCH_GROUP if view is None else _primary_map(desk, view)


def replicas(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL REPLICAS name; those that do not want to be announced are left out."""
    del client
    view = view_of(desk, command[2])
    if view is None:
        return NO_SUCH_GROUP
    return [
        _replica_map(desk, view, replica)
        for replica in view.replicas
        if replica.report.is_announced
    ]


def sentinels(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL SENTINELS name: the peers, without this one."""
    del client
    view = view_of(desk, command[2])
    if view is None:
        return NO_SUCH_GROUP
    return [_peer_map(desk, view, peer) for peer in view.peers]


def get_master_addr_by_name(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL GET-MASTER-ADDR-BY-NAME name: where clients should go."""
    del client
    address = desk.brain.current_address(GroupName(to_text(command[2])))
    return NULL_ARRAY if address is None else [desk.shown_host(address), str(address.port)]


def is_master_down_by_addr(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL IS-MASTER-DOWN-BY-ADDR ip port epoch runid: a peer asks, for our vote perhaps.

    A run id that could not be one is taken as `*`: nobody gets a vote under such a name.
    """
    del client
    port, epoch = to_integer(command[3]), to_integer(command[4])
    if port is None or epoch is None:
        return NOT_AN_INTEGER
    run_id = to_text(command[5])
    may_vote = len(run_id) <= RUN_ID_CHARS_MAX and run_id.isascii() and run_id.isalnum()
    candidate = RunId(run_id) if may_vote and epoch >= 0 else None
    # Many of these wait for the disk side by side, one for each group: no barrier.
    return Later(
        _vote(desk, Address(to_text(command[2]), port), Epoch(max(epoch, 0)), candidate),
        is_barrier=False,
    )


async def _vote(desk: Desk, primary: Address, epoch: Epoch, candidate: RunId | None) -> Answer:
    if not primary.ip:
        known = desk.resolver.resolve_now(primary.host)
        if known is not None and known != primary.host:
            primary = Address(primary.host, primary.port, known)
    try:
        result = await desk.brain.request(
            lambda token: VoteRequested(token, primary, epoch, candidate)
        )
    except Unavailable:
        # A vote that could be forgotten must not be given; the peer goes on without it.
        return SAVE_FAILED
    return vote_answer(result)


def vote_answer(result: Result) -> Value:
    """Return a vote as the wire carries it."""
    assert isinstance(result, Vote)
    return [int(result.is_down), result.leader or "*", result.leader_epoch]


def ckquorum(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL CKQUORUM name: tell whether a failover could happen now."""
    del client
    view = view_of(desk, command[2])
    if view is None:
        return NO_SUCH_GROUP
    usable = f"{view.usable_sentinels} usable Sentinels. "
    if view.can_reach_quorum and view.can_authorize:
        return SimpleString(f"OK {usable}Quorum and failover authorization can be reached")
    faults = []
    if not view.can_reach_quorum:
        faults.append(
            "Not enough available Sentinels to reach the specified quorum for this master"
        )
    if not view.can_authorize:
        faults.append(
            "Not enough available Sentinels to reach the majority and authorize a failover"
        )
    return ErrorReply(f"NOQUORUM {usable}{'. '.join(faults)}")


def info_cache(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL INFO-CACHE name ...: what instances last said; unknown names are left out."""
    del client
    wanted = {to_text(word) for word in command[2:]}
    answer: list[Value] = []
    for name in desk.brain.group_names():
        if name in wanted:
            cached = desk.info_cache.cached_info(name)
            answer += [name, [[age, text] for age, text in cached]]
    return answer


def pending_scripts(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL PENDING-SCRIPTS."""
    del client, command
    return [_script_map(script) for script in desk.scripts.pending()]


def view_of(desk: Desk, name: bytes) -> GroupView | None:
    """Return the view of a group by the word of a client."""
    return desk.brain.group_view(GroupName(to_text(name)))


def _script_map(script: ScriptView) -> dict[str, Value]:
    is_running = script.pid is not None
    return {
        "argv": list(script.argv),
        "flags": "running" if is_running else "scheduled",
        "pid": str(script.pid or 0),
        "run-time" if is_running else "run-delay": str(script.for_ms),
        "retry-num": str(script.retries),
    }


def _primary_map(desk: Desk, view: GroupView) -> dict[str, Value]:
    settings = view.settings
    extras = desk.settings.group(view.name)
    fields: dict[str, Value] = _head(desk, view.name, view.primary.address, view.primary.run_id)
    fields |= _link_fields(_shown_flags(desk, view.primary), view.primary.link, view.failover_state)
    fields |= _down_fields(view.primary, view)
    fields |= _role_fields(view.primary)
    fields |= {
        "config-epoch": str(view.config_epoch),
        "num-slaves": str(len(view.replicas)),
        "num-other-sentinels": str(len(view.peers)),
        "quorum": str(settings.quorum),
        "failover-timeout": str(settings.failover_timeout),
        "parallel-syncs": str(settings.parallel_syncs),
    }
    if extras.notification_script:
        fields["notification-script"] = extras.notification_script
    if extras.client_reconfig_script:
        fields["client-reconfig-script"] = extras.client_reconfig_script
    return fields


def _replica_map(desk: Desk, view: GroupView, replica: InstanceView) -> dict[str, Value]:
    report = replica.report
    fields = _head(desk, replica.name, replica.address, replica.run_id)
    fields |= _link_fields(replica.flags, replica.link, None)
    fields |= _down_fields(replica, view)
    fields |= _role_fields(replica)
    return fields | {
        "master-link-down-time": str(report.primary_link_down_for or 0),
        "master-link-status": "ok" if report.primary_link_up else "err",
        "master-host": desk.shown_host(report.primary) if report.primary else "?",
        "master-port": str(report.primary.port if report.primary else 0),
        "slave-priority": str(report.priority),
        "slave-repl-offset": str(report.offset or 0),
        "replica-announced": str(int(report.is_announced)),
    }


def _peer_map(desk: Desk, view: GroupView, peer: PeerView) -> dict[str, Value]:
    fields = _head(desk, peer.run_id, peer.address, peer.run_id)
    fields |= _link_fields(peer.flags, peer.link, None)
    if peer.s_down_for is not None:
        fields["s-down-time"] = str(peer.s_down_for)
    return fields | {
        "down-after-milliseconds": str(view.settings.down_after),
        "last-hello-message": str(peer.last_hello_ago),
        "voted-leader": peer.voted_leader or "?",
        "voted-leader-epoch": str(peer.voted_leader_epoch),
    }


def _head(desk: Desk, name: str, address: Address, run_id: str) -> dict[str, Value]:
    return {
        "name": name,
        "ip": desk.shown_host(address),
        "port": str(address.port),
        "runid": run_id,
    }


def _shown_flags(desk: Desk, primary: InstanceView) -> Iterable[str]:
    """Leave out what Redis 7.0 knows but does not show."""
    is_shown = desk.settings.compat.is_recent
    return (flag for flag in primary.flags if is_shown or flag != "master_reboot")


def _link_fields(
    flags: Iterable[str], link: LinkView, failover_state: str | None
) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "flags": ",".join(flags),
        "link-pending-commands": str(link.pending),
        "link-refcount": str(link.shared_by),
    }
    if failover_state is not None:
        fields["failover-state"] = failover_state
    return fields | {
        "last-ping-sent": str(link.last_ping_sent_ago),
        "last-ok-ping-reply": str(link.last_ok_ping_ago),
        "last-ping-reply": str(link.last_ping_reply_ago),
    }


def _down_fields(instance: InstanceView, view: GroupView) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    if instance.s_down_for is not None:
        fields["s-down-time"] = str(instance.s_down_for)
    if instance.o_down_for is not None:
        fields["o-down-time"] = str(instance.o_down_for)
    fields["down-after-milliseconds"] = str(view.settings.down_after)
    return fields


def _role_fields(instance: InstanceView) -> dict[str, Value]:
    return {
        "info-refresh": str(instance.info_ago or 0),
        "role-reported": instance.role_reported,
        "role-reported-time": str(instance.role_reported_for),
    }
