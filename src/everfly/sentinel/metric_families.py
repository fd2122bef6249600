"""Every metric that a Sentinel exports: its name, what it means, and its labels."""

from typing import Final

from everfly.wire.exposition import Family, Kind

_PREFIX: Final = "everfly_sentinel_"
_GROUP: Final = ("group",)
# Not `instance`, which Prometheus gives to what it scrapes.
_INSTANCE: Final = ("group", "address", "role")
_PEER: Final = ("group", "peer", "sentinel_id")

_all: list[Family] = []


def _counter(name: str, help: str, labels: tuple[str, ...] = ()) -> Family:
    return _family(name, Kind.COUNTER, help, labels)


def _gauge(name: str, help: str, labels: tuple[str, ...] = ()) -> Family:
    return _family(name, Kind.GAUGE, help, labels)


def _histogram(name: str, help: str, labels: tuple[str, ...] = ()) -> Family:
    return _family(name, Kind.HISTOGRAM, help, labels)


def _family(name: str, kind: Kind, help: str, labels: tuple[str, ...]) -> Family:
    family = Family(_PREFIX + name, kind, help, labels)
    _all.append(family)
    return family


# This process.

BUILD_INFO = _gauge(
    "build_info", "Always 1; the labels say what runs here.", ("version", "python", "sentinel_id")
)
START_TIME = _gauge("start_time_seconds", "When this process started, since 1970.")
EPOCH = _gauge("current_epoch", "The greatest epoch this Sentinel knows.")
GROUPS = _gauge("groups", "Groups that this Sentinel watches.")
TILT = _gauge("tilt", "1: it only watches, because it slept or the clock was odd.")
LOOP_LAG = _gauge(
    "event_loop_lag_seconds", "How late the event loop came to its last beat, of one a second."
)
NOTICES = _counter("notices_total", "Notices told, by event, as in pub/sub.", ("event",))
WRITES = _counter("config_writes_total", "Times that the state was saved to sentinel.conf.")
WRITE_FAILURES = _counter(
    "config_write_failures_total", "Times that sentinel.conf could not be saved."
)
EFFECTS_WAITING = _gauge("effects_waiting", "Effects that wait for the disk.")
EFFECTS_SHED = _counter(
    "effects_shed_total", "Hellos and questions dropped because too many waited for the disk."
)
FACTS_WAITING = _gauge("facts_waiting", "Facts that wait to be decided on.")
FACTS_DROPPED = _counter("facts_dropped_total", "Hellos dropped because too many facts waited.")
LINKS = _gauge("links", "Connections to instances and peers, attempts included.")
MALFORMED = _counter("malformed_hellos_total", "Messages on the hello channel that are no hello.")
CLIENTS = _gauge("clients", "Clients that are connected.")
CONNECTIONS = _counter("client_connections_total", "Clients that have connected.")
REJECTED = _counter("client_rejections_total", "Clients turned away because of maxclients.")
COMMANDS = _counter("commands_total", "Commands of clients and peers.")
COMMAND_ERRORS = _counter("command_errors_total", "Commands that were answered by an error.")
SCRIPTS = _gauge("scripts_queued", "Scripts that run or wait.")
TIMELINE = _gauge("timeline_entries", "Entries of the timeline that are kept.")
WEBHOOK_QUEUED = _gauge(
    "webhook_queued", "Messages that wait for a webhook, or are under way.", ("webhook",)
)
WEBHOOK_MESSAGES = _counter(
    "webhook_messages_total",
    "Messages by what became of them: delivered, failed (given up), dropped (full queue).",
    ("webhook", "outcome"),
)
WEBHOOK_RETRIES = _counter("webhook_retries_total", "Tries beside the first.", ("webhook",))
HTTP_REQUESTS = _counter("http_requests_total", "Requests to this address.")
HTTP_REFUSED = _counter("http_refused_total", "Connections over the limit, and broken requests.")
PEER_PINGS = _histogram("peer_ping_duration_seconds", "PING to PONG, of other Sentinels.")

# Groups.

FAILOVERS = _counter(
    "failovers_total", "Failovers that this Sentinel tried, by outcome.", ("group", "outcome")
)
SWITCHES = _counter(
    "switches_total", "Changes of primary, by who led them: self or peer.", ("group", "led_by")
)
VOTES = _counter(
    "votes_total", "Votes that this Sentinel gave: to itself or a peer.", ("group", "given_to")
)
PHASES = _histogram(
    "failover_phase_duration_seconds",
    "How long each phase of a failover took, as this Sentinel saw it.",
    ("group", "phase"),
)
PINGS = _histogram("ping_duration_seconds", "PING to PONG, of a group's instances.", _GROUP)
CONFIG_EPOCH = _gauge("group_config_epoch", "The epoch of the group's configuration.", _GROUP)
O_DOWN = _gauge("group_objectively_down", "1: a quorum finds the primary down.", _GROUP)
FAILING_OVER = _gauge("group_failover_in_progress", "1: this Sentinel runs a failover.", _GROUP)
QUORUM = _gauge("group_quorum", "Sentinels that must find the primary down.", _GROUP)
USABLE = _gauge("group_usable_sentinels", "Sentinels that are up, this one included.", _GROUP)
KNOWN = _gauge("group_known_sentinels", "Sentinels that are known, this one included.", _GROUP)
CAN_AGREE = _gauge("group_can_reach_quorum", "1: enough Sentinels are up for a quorum.", _GROUP)
CAN_AUTHORIZE = _gauge(
    "group_can_authorize", "1: enough Sentinels are up to elect a leader.", _GROUP
)
REPLICAS = _gauge("group_replicas", "Replicas that are known.", _GROUP)
GOOD_REPLICAS = _gauge(
    "group_good_replicas", "Replicas that are up and linked to their primary.", _GROUP
)
DOWN_AFTER = _gauge("group_down_after_seconds", "Silence after which an instance is down.", _GROUP)

# Instances and peers.

S_DOWN = _gauge("instance_subjectively_down", "1: this Sentinel finds it down.", _INSTANCE)
CONNECTED = _gauge("instance_connected", "1: our link for commands is up.", _INSTANCE)
PONG_AGE = _gauge("instance_last_ok_ping_seconds", "Since its last good PONG.", _INSTANCE)
INFO_AGE = _gauge("instance_info_age_seconds", "Since its last INFO.", _INSTANCE)
OFFSET = _gauge(
    "instance_replication_offset",
    "How far its data goes, in the unit of its engine (bytes or entries).",
    _INSTANCE,
)
LAG = _gauge(
    "instance_replication_lag",
    "How far a replica is behind, by the last INFO of both (up to ten seconds old), as above.",
    _INSTANCE,
)
REPLICATION_UP = _gauge(
    "instance_replication_link_up", "1: the replica is linked to its primary.", _INSTANCE
)
PEER_CONNECTED = _gauge("peer_connected", "1: our link to this Sentinel is up.", _PEER)
PEER_DOWN = _gauge("peer_subjectively_down", "1: we find this Sentinel down.", _PEER)
PEER_HELLO_AGE = _gauge("peer_hello_age_seconds", "Since its last hello about the group.", _PEER)

FAMILIES: Final = tuple(_all)
"""All, in the order of their export."""
