"""Every tunable of the core: unit, default, reason, source.

The defaults named with a symbol are those of Redis Sentinel 7.0.15 (`redis/src/sentinel.c`), so
that a quorum of ours and genuine ones behaves as one. The others are ours; each says why.
"""

from dataclasses import dataclass

from everfly.core.model import Millis


@dataclass(slots=True)
class Policy:
    """Constants of one Sentinel. `SENTINEL DEBUG` changes the first block at run time."""

    info_period: Millis = Millis(10_000)
    """Between two INFO requests to a healthy instance. `SENTINEL_INFO_PERIOD`."""
    ping_period: Millis = Millis(1_000)
    """Longest time between two PINGs on a link. `SENTINEL_PING_PERIOD`."""
    ask_period: Millis = Millis(1_000)
    """Between two rounds of asking peers whether a primary is down; an answer older than five
    periods no longer counts. `SENTINEL_ASK_PERIOD`."""
    publish_period: Millis = Millis(2_000)
    """Between two hellos on one channel. `SENTINEL_PUBLISH_PERIOD`."""
    default_down_after: Millis = Millis(30_000)
    """For groups that are monitored without saying. `SENTINEL_DEFAULT_DOWN_AFTER`."""
    default_failover_timeout: Millis = Millis(180_000)
    """For groups that are monitored without saying. `SENTINEL_DEFAULT_FAILOVER_TIMEOUT`."""
    tilt_trigger: Millis = Millis(2_000)
    """This process slept longer than this when it should have been awake: nothing that it
    believes of others' silence can be trusted. `SENTINEL_TILT_TRIGGER`."""
    tilt_period: Millis = Millis(30_000)
    """How long it then only watches. `SENTINEL_TILT_PERIOD`."""
    replica_reconf_timeout: Millis = Millis(10_000)
    """A replica that was sent SLAVEOF and does not start to follow within this is given up by
    this failover. `SENTINEL_SLAVE_RECONF_TIMEOUT`."""
    min_link_reconnect_period: Millis = Millis(15_000)
    """A link younger than this is not closed for silence. `SENTINEL_MIN_LINK_RECONNECT_PERIOD`."""
    election_timeout: Millis = Millis(10_000)
    """An election without a winner ends after this, or after failover-timeout if shorter.
    `SENTINEL_ELECTION_TIMEOUT`."""
    script_max_runtime: Millis = Millis(60_000)
    """A script is killed after this. `SENTINEL_SCRIPT_MAX_RUNTIME`. Used by the shell."""
    script_retry_delay: Millis = Millis(30_000)
    """Before a failed script's second run; doubles. `SENTINEL_SCRIPT_RETRY_DELAY`. By the shell."""

    desync_max: Millis = Millis(1_000)
    """Upper bound of the dice in failover start times. `SENTINEL_MAX_DESYNC`."""
    pending_commands_max: int = 100
    """Unanswered commands on a link before PING, INFO and hellos pause. For a link to a peer it is
    multiplied by the groups that share it. `SENTINEL_MAX_PENDING_COMMANDS`."""

    ping_share_of_down_after: int = 10
    """PINGs are sent every down-after / this (at least `ping_period_min`), so that silence is
    noticed a tenth of down-after late at worst. Genuine Sentinels ping once a second whatever
    down-after is, so a frozen primary with down-after 1 s is noticed up to 1 s late."""
    infos_at_once: int = 100
    """So many routine INFOs in a ping period are no crowd: a few milliseconds of work."""
    ping_period_min: Millis = Millis(100)
    """Floor of the above; also between two connection attempts."""
    leeway_share_of_ping_period: int = 4
    """Hellos and routine INFO go up to a quarter of a ping period earlier or later than due, so
    that they leave with a PING: one packet and one wake-up instead of two, here and there."""
    chase_period: Millis = Millis(250)
    """Between two attempts to reach an old primary that has not been seen as a replica yet; grows
    by a millisecond every `chase_patience` of its absence, up to `ping_period`."""
    chase_patience: int = 1_000
    """See `chase_period`: machines that are gone for good must not cost more than others."""
    info_fast_period: Millis = Millis(100)
    """Between two INFOs to a replica whose change of role or primary this failover awaits, counted
    from the previous answer; the first goes out with the command itself. Genuine: 1 s, which is
    half of their recovery time."""
    info_fast_for: Millis = Millis(3_000)
    """After this the fast period becomes the failover period: what has not happened by then is slow
    (a full sync), and hundreds of replicas must not cost a core."""
    info_failover_period: Millis = Millis(1_000)
    """INFO period of replicas while their primary is down or a failover runs, and of a
    replica whose link to its primary is down. A literal in `sentinelSendPeriodicCommands`."""
    info_wait: Millis = Millis(300)
    """How long the choice of a new primary waits for INFO answers that are under way: the most
    advanced replica is worth more than this delay, which only a hung replica makes us pay."""
    ask_fast_period: Millis = Millis(100)
    """Between two rounds of asking while the quorum is not complete or an election is open, during
    `ask_fast_for` after the primary went down: peers notice milliseconds apart, and waiting out an
    `ask_period` would double the time to recover."""
    ask_fast_for: Millis = Millis(3_000)
    """See `ask_fast_period`."""
    ask_gap_min: Millis = Millis(20)
    """When a peer's question shows that it sees the primary down too, we ask again at once, but
    not more often than this."""
    hands_over: bool = True
    """A failover that people ask for while the primary is well is handed over by the engine,
    without loss, where it can. Genuine Sentinels promote a replica beside the living primary, and
    what clients write to that one until it is demoted (10 s) is lost."""
    hand_over_limit: Millis = Millis(5_000)
    """How long a hand-over may take, and clients may wait. Never more than failover-timeout."""
    hand_over_grace: Millis = Millis(500)
    """How much later than the limit its outcome may show."""
    info_hand_over_period: Millis = Millis(5)
    """Between two INFOs during a hand-over: clients wait meanwhile."""
    fast_down: bool = False
    """A primary whose host resets our connection and refuses the next one is down at once: its
    process is gone, it is not the network. The quorum is asked as ever. Off by default: a
    supervisor that restarts a crashed primary within down-after would come too late."""
    forget_after: Millis = Millis(0)
    """Peers that have been down for so long are forgotten, if a majority of all known Sentinels is
    well, and so are replicas that have been down for so long and that a healthy primary does not
    name. 0: never, as genuine Sentinels; they keep ghosts, which count in every majority, until
    SENTINEL RESET."""
    histories_max: int = 32
    """Histories of a group that are remembered, to tell its replicas from those of strangers."""
    election_slot: Millis = Millis(60)
    """Reachable peers take turns to stand for election, this far apart, in an order that all can
    compute and that changes with each epoch. Without turns, event-driven Sentinels would all stand
    within a millisecond and split the vote. Should exceed a round trip and a disk flush; doubles
    with each split in a row, as where it does not."""
    election_retry_min: Millis = Millis(200)
    """After a vote that nobody can win any more, the next attempt comes this much later plus dice
    of half a turn, in a new epoch. Genuine: 2 x failover-timeout."""
    convert_wait_periods: int = 4
    """A replica that says it is a primary is demoted after this many publish periods, in which a
    newer hello could explain it. A literal in `sentinelRefreshInstanceInfo`."""
    heir_wait_periods: int = 2
    """A primary that says that it follows one of its replicas, which says that it is a primary, is
    down after this many publish periods: a newer hello would explain it. Genuine Sentinels wait
    for down-after and two INFO periods, and send clients to a replica meanwhile."""
    fresh_pings: int = 5
    """A candidate's last PONG (and, with the primary down, INFO) may be this many ping periods
    old. A literal in `sentinelSelectSlave`."""
    link_down_share_of_down_after: int = 10
    """A candidate may have lost its primary this many down-afters before we did. A literal in
    `sentinelSelectSlave`."""
    history_length_max: int = 256
    """Decisions kept for those who ask why."""


@dataclass(slots=True)
class GroupSettings:
    """What people set for one group (`SENTINEL SET`)."""

    quorum: int
    down_after: Millis
    failover_timeout: Millis
    parallel_syncs: int = 1
    reboot_down_after: Millis = Millis(0)
    """`master-reboot-down-after-period`: a primary that rebooted and does not answer PING properly
    for this long is down. 0: off."""
