"""Keep links up and questions flowing: connections, PING, INFO, hellos, each when it is due.

Every function looks at one thing, does what is due, and asks to be woken for what comes next.
Source of the periods: `sentinelReconnectInstance`, `sentinelSendPeriodicCommands`,
`sentinelCheckSubjectivelyDown`, redis/src/sentinel.c (7.0.15), without their polling.
"""

from everfly.core.effects import SendHello, SendInfo, SendPing
from everfly.core.model import Address, Hello, Instant, Millis, Role
from everfly.core.policy import Policy
from everfly.core.records import FailoverState, Group, Instance, Link, Peer, PeerLink, Reconf, Timed
from everfly.core.turn import Turn


def ping_period(policy: Policy, down_after: Millis) -> Millis:
    """Return how often to PING, and at the least wait between two connection attempts."""
    period = down_after // policy.ping_share_of_down_after
    if policy.ping_period_min <= period < policy.ping_period:
        return Millis(period)
    return policy.ping_period_min if period < policy.ping_period_min else policy.ping_period


def probe_instance(turn: Turn, instance: Instance) -> None:
    """Do what is due on both links of a primary or replica."""
    down_after = instance.group.settings.down_after
    policy = turn.state.policy
    period = ping_period(policy, down_after)
    link = instance.commands
    if instance.is_stale_primary and not link.is_up:
        _chase(turn, instance)
    elif link.id is None:
        _keep_open(turn, instance, link, period)
    if instance.channel.id is None:
        _keep_open(turn, instance, instance.channel, period)
    if link.owes_since is not None:
        _drop_if_stale(turn, instance, link, down_after)
    _drop_if_silent(turn, instance)
    if not link.is_up or is_choked(policy, link, instance):
        return
    is_pinged = _ping(turn, instance, link, period)
    # What is not urgent goes with a PING, a little before its time or after it.
    leeway = period // policy.leeway_share_of_ping_period
    _ask_for_info(turn, instance, -leeway if is_pinged else leeway)
    if policy.publish_period <= period:
        leeway = 0
    wait = policy.publish_period - leeway if is_pinged else policy.publish_period + leeway
    if _is_due(turn, instance, instance.hello_sent_at, wait):
        instance.hello_sent_at = turn.now
        _send_hello(turn, instance.group, link)
        turn.wake(instance, turn.now + policy.publish_period + leeway)


def probe_peer_link(turn: Turn, shared: PeerLink) -> None:
    """Do what is due on the one link to another Sentinel."""
    policy = turn.state.policy
    down_after = shared.down_after
    period = Millis(min(policy.ping_period, down_after))
    if shared.link.id is None:
        _keep_open(turn, shared, shared.link, ping_period(policy, down_after))
    if shared.link.owes_since is not None:
        _drop_if_stale(turn, shared, shared.link, down_after)
    if not shared.link.is_up or is_choked(policy, shared.link, shared):
        return
    owed_nothing = shared.link.owes_since is None
    _ping(turn, shared, shared.link, period)
    if owed_nothing and shared.link.owes_since is not None:
        for peer in shared.users:
            turn.wake(peer, turn.now + peer.group.settings.down_after)


def greet_peer(turn: Turn, peer: Peer) -> None:
    """Publish our hello of one group to another Sentinel, if due."""
    policy = turn.state.policy
    if not peer.shared.link.is_up or is_choked(policy, peer.shared.link, peer.shared):
        return
    if _is_due(turn, peer, peer.hello_sent_at, policy.publish_period):
        peer.hello_sent_at = turn.now
        _send_hello(turn, peer.group, peer.shared.link)
        turn.wake(peer, turn.now + policy.publish_period)


def greet_all_now(turn: Turn, group: Group) -> None:
    """Publish our hello of a group everywhere at once: something that others must know changed."""
    for instance in group.instances():
        instance.hello_sent_at = None
        turn.wake(instance, turn.now)
    for peer in group.peers.values():
        peer.hello_sent_at = None
        turn.wake(peer, turn.now)


def want_info(turn: Turn, instance: Instance) -> None:
    """Ask an instance for INFO as soon as its link allows."""
    instance.info_is_wanted = True
    turn.wake(instance, turn.now)


def info_period(policy: Policy, instance: Instance, now: Instant) -> Millis:
    """Return how long an INFO is good enough."""
    group = instance.group
    failover = group.failover
    awaits_promotion = (
        failover is not None
        and failover.promoted is instance
        and failover.state is FailoverState.WAIT_PROMOTION
    )
    if awaits_promotion and failover is not None and failover.hand_over_ends_at is not None:
        return policy.info_hand_over_period
    if awaits_promotion or instance.reconf is Reconf.SENT or instance.reconf is Reconf.IN_PROGRESS:
        is_recent = now - instance.reconf_at < policy.info_fast_for
        return policy.info_fast_period if is_recent else policy.info_failover_period
    if instance.info_is_refused:
        return policy.info_failover_period
    if instance.role is Role.PRIMARY:
        is_new = not group.replicas and now - instance.created_at < policy.info_period
        return policy.info_failover_period if is_new else policy.info_period
    report = instance.report
    is_unsettled = (
        failover is not None
        or group.primary.s_down_since is not None
        or report.role is Role.PRIMARY
        or not report.primary_link_up
    )
    return policy.info_failover_period if is_unsettled else policy.info_period


def hello(turn: Turn, group: Group, local_host: str) -> Hello:
    """Say who we are and what we know of a group."""
    state = turn.state
    current = group.current.address
    host, port = state.announce_host or local_host, state.announce_port or state.port
    if group.said is not None:
        # It is said several times a second and changes about never.
        said, primary, shows_hostnames = group.said
        if (
            primary is current
            and said.sender.host == host
            and said.sender.port == port
            and said.current_epoch == state.current_epoch
            and said.config_epoch == group.config_epoch
            and shows_hostnames is state.shows_hostnames
        ):
            return said
    said = Hello(
        sender=Address(host, port),
        sender_run_id=state.me,
        current_epoch=state.current_epoch,
        group=group.name,
        primary=Address(turn.shown(current), current.port),
        config_epoch=group.config_epoch,
    )
    group.said = (said, current, state.shows_hostnames)
    return said


def _is_due(turn: Turn, who: Timed, last: Instant | None, period: int) -> bool:
    if last is None or turn.now - last >= period:
        return True
    turn.wake(who, last + period)
    return False


def is_choked(policy: Policy, link: Link, owner: Instance | PeerLink) -> bool:
    """Whether so much is unanswered that routine questions wait."""
    users = len(owner.users) if isinstance(owner, PeerLink) else 1
    return link.pending >= policy.pending_commands_max * users


def _keep_open(turn: Turn, owner: Instance | PeerLink, link: Link, period: Millis) -> None:
    """Connect when it is time to; each failed attempt makes the next one wait a little longer."""
    wait = Millis(min(turn.state.policy.ping_period, period * max(link.attempts, 1)))
    if _is_due(turn, owner, link.attempted_at, wait):
        turn.open(link, owner)


def _chase(turn: Turn, stale: Instance) -> None:
    """Try to reach an old primary often: until it is demoted, its clients write what will be lost.

    An attempt that a partition swallowed would go on long after the partition has healed, because
    TCP repeats itself ever more slowly; it is dropped for a new one.
    """
    policy, link = turn.state.policy, stale.commands
    absent_for = 0 if stale.s_down_since is None else turn.now - stale.s_down_since
    wait = Millis(
        min(policy.ping_period, policy.chase_period + absent_for // policy.chase_patience)
    )
    if link.id is not None:
        if not _is_due(turn, stale, link.attempted_at, wait):
            return
        turn.close(link)
    if _is_due(turn, stale, link.attempted_at, wait):
        turn.open(link, stale)
        turn.wake(stale, turn.now + wait)


def _drop_if_stale(turn: Turn, owner: Instance | PeerLink, link: Link, down_after: Millis) -> None:
    """Close a command link that is old and silent: a new one may fare better."""
    if not link.is_up or link.owes_since is None:
        return
    half = down_after // 2
    at = max(
        link.up_since + turn.state.policy.min_link_reconnect_period,
        link.owes_since + half,
        link.pong_at + half,
    )
    if turn.now > at:
        turn.close(link)
        turn.wake(owner, turn.now)
    else:
        turn.wake(owner, at + 1)


def _drop_if_silent(turn: Turn, instance: Instance) -> None:
    """Close a channel link on which not even our own hellos arrive."""
    link = instance.channel
    if not link.is_up:
        return
    policy = turn.state.policy
    at = link.heard_at + 3 * policy.publish_period
    if turn.now > at:
        at = link.up_since + policy.min_link_reconnect_period
    if turn.now > at:
        turn.close(link)
        turn.wake(instance, turn.now)
    else:
        turn.wake(instance, at + 1)


def _ping(turn: Turn, owner: Instance | PeerLink, link: Link, period: Millis) -> bool:
    """PING when the last one is a period old; an unanswered one is repeated more slowly.

    Return whether a PING goes out now.
    """
    if link.owes_since is not None:
        period = Millis(max(period, turn.state.policy.ping_period // 2))
    if not _is_due(turn, owner, link.ping_sent_at, period):
        return False
    link.ping_sent_at = turn.now
    if link.owes_since is None:
        link.owes_since = turn.now
    link.pending += 1
    turn.emit(SendPing(link.open_id))
    turn.wake(owner, turn.now + period)
    return True


def _ask_for_info(turn: Turn, instance: Instance, leeway: int) -> None:
    """Ask when it is time to. What is asked as a routine may come `leeway` later, or earlier."""
    if instance.info_is_pending:
        return
    policy = turn.state.policy
    period: int = info_period(policy, instance, turn.now)
    is_routine = period == policy.info_period > policy.ping_period
    if is_routine:
        period += leeway
    if instance.info_is_wanted or (
        _is_due(turn, instance, instance.info_asked_at, period)
        and not (is_routine and _is_crowded(turn))
    ):
        instance.info_asked_at = turn.now
        instance.info_is_wanted = False
        instance.info_is_pending = True
        instance.commands.pending += 1
        turn.emit(SendInfo(instance.commands.open_id))


def _is_crowded(turn: Turn) -> bool:
    """Count a routine INFO; return whether so many went out lately that it had better wait.

    Thousands who were met at once would otherwise be asked at once for ever. It goes with the next
    PING; half as many again as it takes to ask all of them in one period are let through.
    """
    state, policy = turn.state, turn.state.policy
    if turn.now - state.infos_counted_since >= policy.ping_period:
        state.infos_counted_since = turn.now
        state.infos_counted = 0
    instances = len(state.links) // 2
    share = instances * policy.ping_period * 3 // (policy.info_period * 2)
    if state.infos_counted >= max(policy.infos_at_once, share):
        return True
    state.infos_counted += 1
    return False


def _send_hello(turn: Turn, group: Group, link: Link) -> None:
    link.pending += 1
    turn.emit(SendHello(link.open_id, hello(turn, group, link.local_host)))
