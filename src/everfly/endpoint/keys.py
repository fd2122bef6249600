"""Every setting of an endpoint: its name, what it may be, its default, what it does and why.

Help, documentation and the configuration of the data plane come from this table. A setting that is
`live` is taken over by a reload; another one needs a restart, which no client notices
(`everfly.endpoint.handover`).
"""

from typing import Final

from everfly.endpoint.key_sections import Section
from everfly.runtime.setting_forms import (
    Flag,
    ListenAddress,
    Listeners,
    Networks,
    Places,
    Text,
    Whole,
    Word,
)

SENTINEL_PORT: Final = 26_379
MS: Final = "milliseconds"
HOUR_MS: Final = 3_600_000
GIB: Final = 1_073_741_824
MIB: Final = 1_048_576
COUNT_MAX: Final = 10_000_000

_FILE: Final = Text("a path, relative to the settings file")

_clients = Section("Where clients connect")
_clients.add(
    "listen",
    Listeners(),
    (),
    "Where clients speak to the primary. A port alone means the loopback address.",
)
_clients.add("tls_listen", Listeners(has_unix=False), (), "The same, inside TLS.")
_clients.add(
    "replicas_listen",
    Listeners(),
    (),
    "Where clients read from replicas in sync. What they read may be a little old.",
)
_clients.add("tls_replicas_listen", Listeners(has_unix=False), (), "The same, inside TLS.")
_clients.add("tls_cert_file", _FILE, "", "Our certificate with its chain, for `tls_listen`.")
_clients.add("tls_key_file", _FILE, "", "Its private key.")
_clients.add(
    "tls_client_ca_file",
    _FILE,
    "",
    "Who signs the certificates of clients. Default: nobody is asked.",
)
_clients.add(
    "tls_client_certificates",
    Word(("required", "optional", "none")),
    "required",
    "Whether a client must show a certificate, where `tls_client_ca_file` is set.",
)
_clients.add(
    "proxy_protocol_from",
    Networks(),
    (),
    "Load balancers whose connections begin with a PROXY protocol v2 header; without one they are "
    "closed. From all others such a header is an error.",
)

_group = Section("Which group")
_group.add(
    "mode",
    Word(("sentinels", "pushed")),
    "sentinels",
    "Who says where the primary is: `sentinels`, or `pushed`, by `POST /primary`.",
)
_group.add_live(
    "sentinels",
    Places(SENTINEL_PORT),
    (),
    "All Sentinels of the group. A majority of these must answer before the first command goes "
    "anywhere, so name all of them.",
)
_group.add("name", Text(), "default-primary", "The group, as the Sentinels call it.")
_group.add_live(
    "sentinel_user", Text(), "", "Who we are at the Sentinels. Default: their default user."
)
_group.add_live("sentinel_password_file", _FILE, "", "A file with our password there.")
_group.add("sentinel_tls_ca_file", _FILE, "", "Speak TLS to Sentinels that this authority signed.")
_group.add("sentinel_tls_cert_file", _FILE, "", "Our certificate towards Sentinels, if they ask.")
_group.add("sentinel_tls_key_file", _FILE, "", "Its private key.")
_group.add_live(
    "user",
    Text(),
    "",
    "Who asks instances for ROLE and INFO, and cuts blocking commands before a switch-over. "
    "Clients' commands go by their own AUTH.",
)
_group.add_live("password_file", _FILE, "", "A file with that user's password.")
_group.add("upstream_tls_ca_file", _FILE, "", "Speak TLS to instances that this authority signed.")
_group.add("upstream_tls_cert_file", _FILE, "", "Our certificate towards instances, if they ask.")
_group.add("upstream_tls_key_file", _FILE, "", "Its private key.")
_group.add(
    "upstream_tls_name",
    Text(),
    "",
    "The name that certificates of instances carry. Default: the host that the Sentinels name.",
    to="upstream_tls.name",
)

_change = Section("When the primary changes")
_change.add(
    "window_ms",
    Whole(1, HOUR_MS, MS),
    10_000,
    "How long commands wait while there is no primary; then they are answered by an error of class "
    "LOADING, which clients try again.",
    to="hold.window_ms",
)
_change.add_live(
    "drain_ms",
    Whole(1, HOUR_MS, MS),
    2_000,
    "How long commands that are under way may take when a switch-over begins. With longer ones "
    "nothing is switched.",
)
_change.add(
    "on_ambiguous",
    Word(("error", "close")),
    "error",
    "What a client gets whose write was sent and never answered: an error of class AMBIGUOUS, or "
    "the end of its connection, for libraries that try again by themselves.",
    to="on_ambiguous",
)
_change.add_live(
    "holds_on_announcement",
    Flag(),
    True,
    "Hold commands as soon as a Sentinel announces a failover, instead of when the old primary "
    "refuses: what is not sent cannot be lost.",
)
_change.add_live(
    "fence_ms",
    Whole(0, HOUR_MS, MS),
    0,
    "Hold commands when no majority of the Sentinels has answered for so long: cut off together "
    "with an old primary, we would let clients write what is lost later. A silent Sentinel is "
    "noticed within two seconds; both together should be less than their down-after. 0: never, for "
    "Sentinels that are all down are no reason to stop.",
)
_change.add_live(
    "switchover_limit_ms",
    Whole(100, HOUR_MS, MS),
    5_000,
    "How long a switch-over may hold commands; then the old primary goes on.",
)
_change.add_live(
    "switchover_lag_bytes",
    Whole(0, 1 << 40, "bytes (Dragonfly: journal entries)"),
    MIB,
    "How far the candidate of a switch-over may be behind when it begins: that is caught up while "
    "clients wait.",
)
_change.add_live(
    "switchover_pause_ms",
    Whole(0, 86_400_000, MS),
    0,
    "Refuse a switch-over so soon after the last change of primary. 0: never.",
)
_change.add(
    "hold_client_bytes",
    Whole(1_024, GIB, "bytes"),
    MIB,
    "What is read ahead from one client that waits.",
    to="hold.client_bytes",
)
_change.add(
    "hold_total_bytes",
    Whole(MIB, 1 << 40, "bytes"),
    256 * MIB,
    "The same for all clients; beyond it the oldest are answered by LOADING.",
    to="hold.total_bytes",
)
_change.add(
    "release_concurrency",
    Whole(1, 65_536, "connections"),
    64,
    "How many connections a worker opens to a new primary at the same time: all at once would be "
    "what it falls over first.",
    to="hold.release_concurrency",
)

_durable = Section("Durable replies")
_durable.add(
    "acks",
    Whole(0, 64, "replicas"),
    0,
    "The reply to a write waits until so many replicas have it: then a failover loses no "
    "acknowledged write, and each write takes a round trip more.",
    to="acks.replicas",
)
_durable.add(
    "acks_timeout_ms",
    Whole(1, HOUR_MS, MS),
    1_000,
    "How long to wait for them.",
    to="acks.timeout_ms",
)
_durable.add(
    "acks_otherwise",
    Word(("refuse", "degrade")),
    "refuse",
    "When fewer have it in time: an error of class NOREPLICAS (the write is on the primary all the "
    "same), or the plain reply, counted.",
    to="acks.otherwise",
)

_reads = Section("Reading from replicas")
_reads.add(
    "replicas_lag_bytes",
    Whole(0, 1 << 40, "bytes (Dragonfly: journal entries)"),
    MIB,
    "Replicas further behind are not read from.",
    to="read.lag_max_bytes",
)
_reads.add(
    "replicas_otherwise",
    Word(("primary", "refuse")),
    "primary",
    "Without a replica: read from the primary, or answer an error of class NOREPLICAS.",
    to="read.fallback",
)
_reads.add(
    "zone",
    Text(),
    "",
    "Prefer replicas that say this of themselves (`availability-zone`): nearer, and free of the "
    "price between zones.",
    to="read.zone",
)

_limits = Section("Limits")
for _name, _form, _default, _why in (
    ("connections", Whole(1, COUNT_MAX), 50_000, "Clients at the same time; more are refused."),
    ("connections_per_address", Whole(0, COUNT_MAX), 0, "The same from one address. 0: no limit."),
    ("request_bytes", Whole(1_024, 1 << 33, "bytes"), GIB, "The size of one command."),
    (
        "unauthenticated_request_bytes",
        Whole(1_024, GIB, "bytes"),
        65_536,
        "The same before the first command that succeeded.",
    ),
    (
        "total_input_bytes",
        Whole(65_536, 1 << 42, "bytes"),
        GIB,
        "Commands that have not come to their end, of all clients together.",
    ),
    (
        "client_output_bytes",
        Whole(65_536, 1 << 40, "bytes"),
        256 * MIB,
        "Replies that wait for one slow client; it is closed beyond.",
    ),
    (
        "total_output_bytes",
        Whole(65_536, 1 << 42, "bytes"),
        GIB,
        "The same for all clients together.",
    ),
    (
        "handshake_ms",
        Whole(1, HOUR_MS, MS),
        10_000,
        "TLS, the PROXY header and a first whole command must be done by then.",
    ),
    (
        "idle_ms",
        Whole(0, 86_400_000, MS),
        0,
        "Silent clients are closed. 0: never, as the engines.",
    ),
    (
        "partial_ms",
        Whole(1, HOUR_MS, MS),
        60_000,
        "A command that was begun must go on within this time.",
    ),
):
    _limits.add(_name, _form, _default, _why, to=f"limits.{_name}")
_limits.add(
    "allow_debug", Flag(), False, "Let DEBUG pass, which can stop an instance.", to="allow_debug"
)

_upstream = Section("Towards instances")
_upstream.add(
    "workers",
    Whole(0, 256, "threads"),
    0,
    "Threads that carry traffic. 0: as many as this process may use processors, at most 16.",
    to="workers",
)
_upstream.add(
    "shared_per_worker",
    Whole(1, 1_024, "connections"),
    1,
    "Connections that plain clients of one worker share. More help an engine of many threads "
    "(Dragonfly); one gathers best.",
    to="upstream.shared_per_worker",
)
_upstream.add(
    "connect_ms",
    Whole(1, HOUR_MS, MS),
    1_000,
    "How long a connection to an instance may take.",
    to="upstream.connect_ms",
)
_upstream.add(
    "silent_ms",
    Whole(1, HOUR_MS, MS),
    5_000,
    "How long an instance's machine may leave bytes unacknowledged before it counts as gone.",
    to="upstream.silent_ms",
)

_process = Section("This process")
_process.add(
    "admin",
    ListenAddress(),
    "",
    "Where to serve status, metrics and switch-overs over HTTP. Default: nowhere.",
)
_process.add_live(
    "admin_token_file",
    _FILE,
    "",
    "A file with the token (`Authorization: Bearer ...`) that changes need, and all but health and "
    "metrics. Without one `admin` must be a loopback address, and whoever is on this machine may "
    "do everything.",
)
_process.add(
    "probes",
    ListenAddress(),
    "",
    "Where health and metrics alone are served over HTTP, for whoever can connect and without a "
    "token. Default: nowhere but at `admin`.",
)
_process.add(
    "reloads_on_change",
    Flag(),
    False,
    "Reload when a file of certificates, passwords or tokens is replaced: for platforms that swap "
    "mounted secrets and send no signal.",
)
_process.add(
    "restart_socket",
    _FILE,
    "",
    "A Unix socket (mode 0600) by which the next process takes the ports over while this one lets "
    "its clients finish. Default: a restart closes the ports.",
)
_process.add_live(
    "grace_ms",
    Whole(0, HOUR_MS, MS),
    10_000,
    "How long clients may go on when this process ends: idle ones are closed between two commands, "
    "others when they are done.",
)
_process.add("log_format", Word(("redis", "json")), "redis", "Lines as Redis writes them, or JSON.")

SECTIONS: Final = tuple(
    (section.title, tuple(section.settings))
    for section in (_clients, _group, _change, _durable, _reads, _limits, _upstream, _process)
)
"""All, in the order of help and documentation."""

SETTINGS: Final = tuple(setting for _, settings in SECTIONS for setting in settings)
KEYS: Final = tuple(setting.key for setting in SETTINGS)
