"""Every metric that an endpoint exports: its name, what it means, and its labels."""

from typing import Final

from everfly.wire.exposition import Family, Kind

PREFIX: Final = "everfly_endpoint_"

_all: list[Family] = []
_of_plane: dict[str, Family] = {}


def _family(name: str, kind: Kind, help: str, labels: tuple[str, ...] = ()) -> Family:
    family = Family(PREFIX + name, kind, help, labels)
    _all.append(family)
    return family


def _of(counter: str, name: str, kind: Kind, help: str) -> None:
    """Add a number that the data plane counts as it is."""
    _of_plane[counter] = _family(name, kind, help)


_C, _G = Kind.COUNTER, Kind.GAUGE

BUILD_INFO = _family(
    "build_info", _G, "Always 1; the labels say what runs here.", ("version", "python", "group")
)
START_TIME = _family("start_time_seconds", _G, "When this process started, since 1970.")
PRIMARY = _family("primary", _G, "1 for the instance that commands go to.", ("address",))
EPOCH = _family("primary_epoch", _G, "The epoch by which it is the primary.")
SWITCHES = _family("switches_total", _C, "Changes from one primary to another.")
STATE = _family(
    "state", _G, "1 for the state of the traffic: open, holding, no-primary, stopped.", ("state",)
)
SENTINELS = _family("sentinels", _G, "Sentinels that were named.")
SENTINELS_ASKED = _family("sentinels_answering", _G, "Sentinels that answer.")
SENTINELS_HEARD = _family("sentinels_listened_to", _G, "Sentinels whose messages arrive.")
SWITCHOVERS = _family(
    "switchovers_total", _C, "Switch-overs that were asked for here, by outcome.", ("outcome",)
)
NOTICES = _family("notices_total", _C, "What the data plane noticed, by kind.", ("kind",))
LOOP_LAG = _family(
    "event_loop_lag_seconds", _G, "How late the control came to its last beat, of one a second."
)

for _counter, _name, _kind, _help in (
    ("connections", "connections", _G, "Clients that are connected."),
    ("connections_total", "connections_total", _C, "Clients that have connected."),
    ("connections_refused", "connections_refused_total", _C, "Clients over the limits."),
    (
        "connections_closed_by_limit",
        "connections_closed_by_limit_total",
        _C,
        "Clients that were closed because they took too much or too long.",
    ),
    ("upstreams_shared", "upstreams_shared", _G, "Connections to instances that clients share."),
    ("upstreams_own", "upstreams_own", _G, "Connections to instances of one client each."),
    ("upstreams_opened", "upstreams_opened_total", _C, "Connections to instances that were made."),
    ("upstreams_lost", "upstreams_lost_total", _C, "Connections to instances that broke."),
    ("requests", "requests_total", _C, "Commands of clients."),
    ("replies", "replies_total", _C, "Replies to clients."),
    ("bytes_from_clients", "client_received_bytes_total", _C, "Bytes that clients sent."),
    ("bytes_to_clients", "client_sent_bytes_total", _C, "Bytes that clients were sent."),
    ("bytes_to_instances", "instance_sent_bytes_total", _C, "Bytes that instances were sent."),
    ("bytes_from_instances", "instance_received_bytes_total", _C, "Bytes that instances sent."),
    ("in_flight", "requests_in_flight", _G, "Commands that were sent and are not answered."),
    ("held", "clients_held", _G, "Clients that wait for a primary."),
    ("held_bytes", "held_bytes", _G, "Bytes of the commands that wait."),
    ("held_total", "requests_held_total", _C, "Commands that waited for a primary."),
    ("holds", "holds_total", _C, "How often commands were held."),
    (
        "replayed",
        "requests_replayed_total",
        _C,
        "Commands that were sent again, provably unharmed.",
    ),
    (
        "refused_hidden",
        "refusals_hidden_total",
        _C,
        "Refusals of instances that no client saw (READONLY, LOADING, ...).",
    ),
    ("answered_loading", "requests_refused_total", _C, "Commands that were answered by LOADING."),
    (
        "ambiguous",
        "requests_ambiguous_total",
        _C,
        "Writes that were sent and never answered: carried out or not, nobody knows.",
    ),
    ("blocking_cut", "blocking_cut_total", _C, "Blocking commands that were cut for a change."),
    (
        "blocking_resumed",
        "blocking_resumed_total",
        _C,
        "Of those, that went on at the new primary.",
    ),
    ("restored_sessions", "sessions_restored_total", _C, "Sessions that were set up again."),
    ("acked_writes", "writes_durable_total", _C, "Writes that enough replicas acknowledged."),
    ("unacked_writes", "writes_not_durable_total", _C, "Writes that too few acknowledged in time."),
    ("read_from_replicas", "replica_reads_total", _C, "Commands that replicas answered."),
    ("read_fallbacks", "replica_reads_fallback_total", _C, "The same, for lack of a replica not."),
    ("handoff_clients", "maintenance_clients", _G, "Clients that asked to be told of changes."),
    ("tls_handshakes", "tls_handshakes_total", _C, "TLS handshakes of clients."),
    ("tls_failures", "tls_failures_total", _C, "Of those, that failed."),
    ("protocol_errors", "protocol_errors_total", _C, "Clients that sent what is no command."),
    ("workers", "workers", _G, "Threads that carry traffic."),
):
    _of(_counter, _name, _kind, _help)

HOLD_SECONDS = _family("hold_seconds_total", _C, "How long commands were held, in all.")
HOLD_AGE = _family("hold_age_seconds", _G, "How long commands are being held now.")
LONGEST_HOLD = _family("longest_hold_seconds", _G, "The longest of all holds.")
LATENCY = _family(
    "request_duration_seconds",
    Kind.HISTOGRAM,
    "From a command's last byte to its reply, waits included; one command in 64 is measured.",
)

OF_PLANE: Final = dict(_of_plane)
"""Key of the data plane's statistics -> metric."""

FAMILIES: Final = tuple(_all)
"""All, in the order of their export."""
