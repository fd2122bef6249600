"""The data plane of the Everfly endpoint: threads in Rust that carry the clients' traffic.

A `Plane` listens, forwards commands to the primary it was told of, holds them while there is none,
and reports. It decides nothing about who the primary is: the control tells it. No thread of the
plane ever needs the GIL; every method returns at once unless it says that it waits, and those that
wait release the GIL. All methods may be called from any thread. Times are milliseconds.
"""

from collections.abc import Sequence
from typing import Final, Literal, NotRequired, TypedDict

__version__: Final[str]

class ListenerConfig(TypedDict):
    """One address that clients connect to."""

    address: str
    """`HOST:PORT`, `[IPV6]:PORT` (port 0: any free one), or `unix:/PATH`."""
    kind: NotRequired[Literal["primary", "replicas"]]
    """Where commands go: to the primary (default), or, for reads, to the replicas in sync."""
    tls: NotRequired[bool]
    """Speak TLS with `Config.tls`. Default: no."""
    proxy_protocol_from: NotRequired[Sequence[str]]
    """Addresses or networks (`10.0.0.0/8`) whose connections begin with a PROXY protocol v2 header,
    without which they are closed. Others must not send one. Default: none."""
    fds: NotRequired[Sequence[int]]
    """Listening sockets to take over instead of binding `address`. The plane owns them from then
    on and closes them. As many or as few as they are, all are served."""

class TlsConfig(TypedDict):
    """TLS towards clients. Files are PEM; `reload_tls` reads them again."""

    certificate: str
    key: str
    client_ca: NotRequired[str | None]
    client_certificates: NotRequired[Literal["none", "optional", "required"]]
    """Default: `required` where `client_ca` is given, else `none`."""

class UpstreamTlsConfig(TypedDict):
    """TLS towards instances. Files are PEM; `reload_tls` reads them again."""

    ca: str
    certificate: NotRequired[str | None]
    key: NotRequired[str | None]
    name: NotRequired[str | None]
    """The name that certificates must carry. Default: the host that `set_primary` was given."""

class AcksConfig(TypedDict):
    """Durable replies: the reply to a write waits for replicas."""

    replicas: int
    """How many must have it; 0 switches this off."""
    timeout_ms: NotRequired[int]
    """How long to wait for them. Default: 1000."""
    otherwise: NotRequired[Literal["refuse", "degrade"]]
    """When fewer have it in time: answer `-NOREPLICAS everfly: ...` (default), or answer as the
    primary did, count it and say so by a notice."""

class ReadConfig(TypedDict):
    """How listeners of kind `replicas` choose."""

    lag_max_bytes: NotRequired[int]
    """Replicas further behind are not read from. Default: 1 MiB."""
    zone: NotRequired[str]
    """Replicas of this zone are preferred as long as one qualifies. Default: none."""
    fallback: NotRequired[Literal["primary", "refuse"]]
    """Without a replica: read from the primary (default) or answer `-NOREPLICAS everfly: ...`."""

class HoldConfig(TypedDict):
    """What happens while there is no primary."""

    window_ms: NotRequired[int]
    """How long commands are held, from the beginning of the hold; then they are answered by
    `-LOADING everfly: no primary within <n> ms, try again`. Default: 10000."""
    client_bytes: NotRequired[int]
    """What is read ahead from one client that is held; the rest stays in its socket.
    Default: 1 MiB, and a single command that is larger is taken whole."""
    total_bytes: NotRequired[int]
    """The same for all clients together; beyond, no client is read from. Default: 256 MiB."""
    release_concurrency: NotRequired[int]
    """How many connections a worker may be opening at once. Default: 64."""

class LimitsConfig(TypedDict):
    """Bounds of what clients may use."""

    connections: NotRequired[int]
    """Over all listeners; more are answered by `-ERR max number of clients reached`.
    Default: 50000."""
    connections_per_address: NotRequired[int]
    """From one address. Default: 0, no limit."""
    request_bytes: NotRequired[int]
    """One command. Default: 1 GiB."""
    unauthenticated_request_bytes: NotRequired[int]
    """One command of a client that has not logged in, where the primary asks for a login.
    Default: 64 KiB."""
    total_input_bytes: NotRequired[int]
    """Commands that have not come to their end, of all clients together; the one that grows beyond
    is closed. Default: 1 GiB."""
    client_output_bytes: NotRequired[int]
    """Replies that wait for one slow client; it is closed beyond. Default: 256 MiB."""
    total_output_bytes: NotRequired[int]
    """The same for all clients together; who asks for more then is closed. Default: 1 GiB."""
    handshake_ms: NotRequired[int]
    """TLS and the PROXY header must be done in this time after the connect, and a first command
    that was begun by then must be whole. A client that has begun nothing may wait.
    Default: 10000."""
    idle_ms: NotRequired[int]
    """Clients that say nothing for this long are closed, unless they are subscribed or wait for a
    blocking command. Default: 0, never."""
    partial_ms: NotRequired[int]
    """A command that was begun must be whole in this time after the last byte of it came.
    Default: 60000."""

class UpstreamConfig(TypedDict):
    """Connections to instances."""

    shared_per_worker: NotRequired[int]
    """Connections that all plain clients of a worker with equal sessions share. More help an
    instance with many threads (Dragonfly); one gathers best. Default: 1."""
    connect_ms: NotRequired[int]
    """Until a connection stands. Default: 1000."""
    silent_ms: NotRequired[int]
    """How long sent bytes may stay unacknowledged by the other kernel (TCP_USER_TIMEOUT), and how
    long an idle connection may be dead unnoticed (keepalive). Default: 5000."""
    username: NotRequired[str | None]
    password: NotRequired[str | None]
    """Who may send CLIENT UNBLOCK. Default: the user whose command it is about."""

class Config(TypedDict):
    """Everything a plane is told at the beginning. Unknown keys are an error."""

    listeners: Sequence[ListenerConfig]
    workers: NotRequired[int]
    """Threads. Default: the number of CPUs this process may use, at most 16."""
    tls: NotRequired[TlsConfig | None]
    upstream_tls: NotRequired[UpstreamTlsConfig | None]
    acks: NotRequired[AcksConfig | None]
    read: NotRequired[ReadConfig]
    hold: NotRequired[HoldConfig]
    limits: NotRequired[LimitsConfig]
    upstream: NotRequired[UpstreamConfig]
    on_ambiguous: NotRequired[Literal["error", "close"]]
    """A write whose reply was lost: answer `-AMBIGUOUS everfly: ...` (default), or close."""
    allow_debug: NotRequired[bool]
    """Let DEBUG pass. Default: no."""

class Notice(TypedDict):
    """Something that the control or a person wants to know at once."""

    kind: Literal[
        "primary-lost",
        "primary-refused",
        "primary-refusing",
        "primary-back",
        "hold-began",
        "hold-ended",
        "window-over",
        "ambiguous",
        "not-durable",
        "limit",
        "tls",
        "replica-lost",
        "worker-failed",
        "notices-dropped",
    ]
    """`primary-lost`: a standing connection ended. `primary-refused`: a connect failed.
    `primary-refusing`: it answers READONLY, LOADING, MASTERDOWN or MOVED. `primary-back`: it
    serves again without a new `set_primary`. `window-over`: held commands are now answered by
    LOADING."""
    text: str
    """For people: what, which, what now. One line, without secrets."""
    address: str | None
    """Of the instance or client that it is about."""
    count: int
    """How many of the same were folded into this one (at least 1)."""
    at_ms: int
    """Unix time."""

class Histogram(TypedDict):
    """Of a sample: one command in 64, from when it was taken to when its reply had come."""

    bounds_us: list[int]
    """Upper bounds; the counts have one element more, for what is above the last."""
    counts: list[int]
    sum_us: int

class Stats(TypedDict):
    """A snapshot. Counters only grow; they begin at 0 with the plane."""

    state: Literal["open", "holding", "no-primary", "stopped"]
    primary: str | None
    """`HOST:PORT` as `set_primary` was given it."""
    epoch: int
    hold_reason: str | None
    hold_age_ms: int
    """Since the hold began; 0 when open."""
    hold_ms_total: int
    """Of all holds, the present one included."""
    holds: int
    longest_hold_ms: int
    connections: int
    connections_by_listener: dict[str, int]
    connections_total: int
    connections_refused: int
    connections_closed_by_limit: int
    upstreams_shared: int
    upstreams_own: int
    upstreams_opened: int
    upstreams_lost: int
    requests: int
    replies: int
    bytes_from_clients: int
    bytes_to_clients: int
    bytes_to_instances: int
    bytes_from_instances: int
    in_flight: int
    held: int
    """Clients with a command that is held now."""
    held_bytes: int
    held_total: int
    """Commands that waited for a release (or for the end of the window)."""
    replayed: int
    refused_hidden: int
    """Refusals of an instance that the client never saw."""
    answered_loading: int
    ambiguous: int
    blocking_cut: int
    blocking_resumed: int
    restored_sessions: int
    acked_writes: int
    unacked_writes: int
    read_from_replicas: int
    read_fallbacks: int
    handoff_clients: int
    tls_handshakes: int
    tls_failures: int
    protocol_errors: int
    wakeups: int
    """Passes of the workers' loops."""
    workers: int
    latency: Histogram

class Plane:
    """The running data plane, or one that is still to be started.

    Raises `ValueError` for a configuration that cannot be (it names the key), `OSError` for what
    the machine refuses (an address in use, a file that cannot be read).
    """

    def __init__(self, config: Config) -> None: ...
    def start(self) -> None:
        """Bind or take over the sockets and start the threads. State: no primary, commands held;
        the window of that hold begins now.
        """

    def stop(self, grace_s: float = 0.0) -> None:
        """Stop accepting, let clients finish what is under way for up to `grace_s` (idle ones are
        closed at once, at a command boundary), then close all and join the threads. Waits.
        Harmless when called again.
        """

    def set_primary(self, host: str, port: int, epoch: int) -> bool:
        """Follow this instance from now on; end a hold for lack of a primary (not one by `hold`).

        `host` is an IP address or a name (resolved now, waits for that; OSError when it is
        unknown). Connections to another address are closed at once. The same address and epoch
        again says that it serves again. False, and nothing changes, when `epoch` is lower than
        the present one.
        """

    def no_primary(self, reason: str) -> None:
        """Hold for lack of a primary, until `set_primary`."""

    def hold(self, reason: str, budget_ms: int) -> int:
        """Hold from now on until `release`, at most for `budget_ms`, then release by itself.

        Return a token. A second `hold` replaces the first.
        """

    def release(self, token: int | None = None) -> bool:
        """End the hold. False when there is none, or `token` is not its (it ended by itself)."""

    def drained(self, timeout_ms: int) -> bool:
        """Wait until nothing is under way to the primary while holding; False after `timeout_ms`,
        or when the hold ends meanwhile.
        """

    def set_replicas(self, replicas: Sequence[tuple[str, int, str, int]]) -> None:
        """Say what replicas in sync there are: host, port, zone, lag in bytes. Replaces the list.
        Waits for the resolution of names.
        """

    def reload_tls(self) -> None:
        """Read all files of TLS again; new connections use them. ValueError or OSError when they
        cannot be used: the old ones stay.
        """

    def stop_accepting(self) -> None:
        """Leave the listening sockets to another process that took them over: stop accepting, and
        tell clients that asked for maintenance notifications to reconnect (MOVING).
        """

    def close_idle(self) -> int:
        """Close clients that have nothing under way and no state that a reconnect would lose
        (transactions, subscriptions). Return how many that will be, at most. For drains.
        """

    def listener_fds(self) -> list[tuple[str, int]]:
        """Return the listening sockets by the `address` of their configuration. They stay the
        plane's: duplicate them (SCM_RIGHTS does).
        """

    def addresses(self) -> list[tuple[str, str]]:
        """Return for each configured `address` where it is really bound (port 0 resolved)."""

    def connections(self) -> int:
        """Return how many clients are connected."""

    def stats(self) -> Stats: ...
    def notices(self) -> list[Notice]:
        """Take what has been noticed since the last call. At most 256 wait; equal ones fold."""

    def notice_fd(self) -> int:
        """Return a descriptor that is readable while there are notices. Do not read or close it."""
