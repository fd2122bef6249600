"""Turn one line that every engine knows into a `Directive`, or say what is wrong with it.

A Sentinel accepts every directive of the engine, although most mean nothing to it. Those that mean
something to a Sentinel are checked; of the others only the name and the number of arguments.
Source: `loadServerConfigFromString`, redis/src/config.c (7.0.15), and its error texts.
"""

import re
from typing import Final

from everfly.wire.sentinel_conf_model import Directive, to_memory

_NAMES = """
acl-pubsub-default aclfile acllog-max-len active-defrag-cycle-max active-defrag-cycle-min
active-defrag-cycle-us active-defrag-ignore-bytes active-defrag-max-scan-fields
active-defrag-threshold-lower active-defrag-threshold-upper active-expire-effort activedefrag
activerehashing always-show-logo aof-disable-auto-gc aof-load-truncated aof-rewrite-cpulist
aof-rewrite-incremental-fsync aof-timestamp-enabled aof-use-rdb-preamble aof_rewrite_cpulist
appenddirname appendfilename appendfsync appendonly auto-aof-rewrite-min-size
auto-aof-rewrite-percentage availability-zone bgsave-cpulist bgsave_cpulist bind bind-source-addr
bio-cpulist bio_cpulist busy-reply-threshold client-output-buffer-limit client-query-buffer-limit
cluster-allow-pubsubshard-when-down cluster-allow-reads-when-down cluster-allow-replica-migration
cluster-announce-bus-port cluster-announce-client-ipv4 cluster-announce-client-ipv6
cluster-announce-client-port cluster-announce-client-tls-port cluster-announce-hostname
cluster-announce-human-nodename cluster-announce-ip cluster-announce-port cluster-announce-tls-port
cluster-blacklist-ttl cluster-config-file cluster-config-save-behavior cluster-databases
cluster-enabled cluster-link-sendbuf-limit cluster-manual-failover-timeout cluster-migration-barrier
cluster-node-timeout cluster-port cluster-preferred-endpoint-type cluster-replica-no-failover
cluster-replica-validity-factor cluster-require-full-coverage cluster-slave-no-failover
cluster-slave-validity-factor cluster-slot-migration-log-max-len cluster-slot-stats-enabled
commandlog-execution-slower-than commandlog-large-reply-max-len commandlog-large-request-max-len
commandlog-reply-larger-than commandlog-request-larger-than commandlog-slow-execution-max-len
crash-log-enabled crash-memcheck-enabled daemonize databases dbfilename dir disable-thp
dual-channel-replication-enabled dynamic-hz enable-debug-command enable-module-command
enable-protected-configs extended-redis-compatibility hash-max-listpack-entries
hash-max-listpack-value hash-max-ziplist-entries hash-max-ziplist-value hash-seed
hide-user-data-from-log hll-sparse-max-bytes hz ignore-warnings import-mode io-threads
io-threads-do-reads jemalloc-bg-thread key-load-delay latency-monitor-threshold latency-tracking
latency-tracking-info-percentiles lazyfree-lazy-eviction lazyfree-lazy-expire
lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush lfu-decay-time
lfu-log-factor list-compress-depth list-max-listpack-size list-max-ziplist-entries
list-max-ziplist-size list-max-ziplist-value loading-process-events-interval-bytes locale-collate
log-format log-timestamp-format logfile loglevel lua-enable-deprecated-api lua-replicate-commands
lua-time-limit masterauth masteruser max-new-connections-per-cycle max-new-tls-connections-per-cycle
maxclients maxmemory maxmemory-clients maxmemory-eviction-tenacity maxmemory-policy
maxmemory-samples min-replicas-max-lag min-replicas-to-write min-slaves-max-lag min-slaves-to-write
mptcp no-appendfsync-on-rewrite notify-keyspace-events oom-score-adj oom-score-adj-values pidfile
port prefetch-batch-max-size primaryauth primaryuser proc-title-template propagation-error-behavior
protected-mode proto-max-bulk-len rdb-del-sync-files rdb-key-save-delay rdb-save-incremental-fsync
rdb-version-check rdbchecksum rdbcompression rdma-bind rdma-completion-vector rdma-port rdma-rx-size
repl-backlog-size repl-backlog-ttl repl-disable-tcp-nodelay repl-diskless-load repl-diskless-sync
repl-diskless-sync-delay repl-diskless-sync-max-replicas repl-mptcp repl-ping-replica-period
repl-ping-slave-period repl-timeout replica-announce-ip replica-announce-port replica-announced
replica-ignore-disk-write-errors replica-ignore-maxmemory replica-lazy-flush replica-priority
replica-read-only replica-serve-stale-data replicaof requirepass sanitize-dump-payload save
server-cpulist server_cpulist set-max-intset-entries set-max-listpack-entries set-max-listpack-value
set-proc-title shutdown-on-sigint shutdown-on-sigterm shutdown-timeout slave-announce-ip
slave-announce-port slave-ignore-maxmemory slave-lazy-flush slave-priority slave-read-only
slave-serve-stale-data slaveof slot-migration-max-failover-repl-bytes slowlog-log-slower-than
slowlog-max-len socket-mark-id stop-writes-on-bgsave-error stream-node-max-bytes
stream-node-max-entries supervised syslog-enabled syslog-facility syslog-ident tcp-backlog
tcp-keepalive timeout tls-auth-clients tls-auth-clients-user tls-auto-reload-interval
tls-ca-cert-dir tls-ca-cert-file tls-cert-file tls-ciphers tls-ciphersuites tls-client-cert-file
tls-client-key-file tls-client-key-file-pass tls-cluster tls-dh-params-file tls-key-file
tls-key-file-pass tls-port tls-prefer-server-ciphers tls-protocols tls-replication
tls-session-cache-size tls-session-cache-timeout tls-session-caching tracking-table-max-keys
unixsocket unixsocketgroup unixsocketperm use-exit-on-panic watchdog-period
zset-max-listpack-entries zset-max-listpack-value zset-max-ziplist-entries zset-max-ziplist-value
"""
NAMES: Final = frozenset(_NAMES.split())
"""What Redis 7.0 and Valkey 9.1 call their settings, with older names and hidden ones."""

STRUCTURAL: Final = frozenset({"include", "rename-command", "user", "loadmodule"})
"""No settings, but lines of their own; each may repeat."""
REPEATED: Final = STRUCTURAL | {"save", "client-output-buffer-limit"}
"""What adds up instead of replacing what came before."""
_SEVERAL_ARGS: Final = frozenset(
    {
        "bind",
        "client-output-buffer-limit",
        "latency-tracking-info-percentiles",
        "oom-score-adj-values",
        "rdma-bind",
        "replicaof",
        "save",
        "slaveof",
    }
)
_YES_OR_NO: Final = frozenset(
    {
        "daemonize",
        "protected-mode",
        "set-proc-title",
        "syslog-enabled",
        "tls-cluster",
        "tls-prefer-server-ciphers",
        "tls-replication",
        "tls-session-caching",
    }
)
_INT_MAX: Final = 2**31 - 1
_RANGES: Final = {
    "port": (0, 65535),
    "tls-port": (0, 65535),
    "tcp-backlog": (0, _INT_MAX),
    "timeout": (0, _INT_MAX),
    "tcp-keepalive": (0, _INT_MAX),
    "maxclients": (1, 2**32 - 1),
    "acllog-max-len": (0, 2**63 - 1),
    "tls-session-cache-size": (0, _INT_MAX),
    "tls-session-cache-timeout": (0, _INT_MAX),
}
_WORDS: Final = {
    "loglevel": ("debug", "verbose", "notice", "warning", "nothing"),
    "supervised": ("upstart", "systemd", "auto", "no"),
    "tls-auth-clients": ("no", "yes", "optional"),
    "syslog-facility": ("user", *(f"local{number}" for number in range(8))),
    "acl-pubsub-default": ("allchannels", "resetchannels"),
}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)
_OCTAL = re.compile(r"[0-7]{0,4}", re.ASCII)
_STRUCTURAL_ARGS: Final = {"include": (1, 1), "rename-command": (2, 2)}
_ANY = (1, 10_000)


class DirectiveError(ValueError):
    """A line is wrong; the text is what the engine says."""


def to_directive(args: list[str], *, is_included: bool) -> Directive:
    """Return the directive of a line split into arguments; raise DirectiveError for a wrong one."""
    name, values = args[0].lower(), tuple(args[1:])
    if name in STRUCTURAL:
        least, most = _STRUCTURAL_ARGS.get(name, _ANY)
        if not least <= len(values) <= most:
            raise DirectiveError("Bad directive or wrong number of arguments")
    elif name not in NAMES:
        raise DirectiveError("Bad directive or wrong number of arguments")
    elif name not in _SEVERAL_ARGS:
        if len(values) != 1:
            raise DirectiveError("wrong number of arguments")
        _check_value(name, values[0])
    if name in ("replicaof", "slaveof") and len(values) != 2:
        raise DirectiveError("wrong number of arguments")
    if name == "client-output-buffer-limit":
        _check_output_limits(values)
    return Directive(name, values, is_included)


def _check_output_limits(values: tuple[str, ...]) -> None:
    if not values or len(values) % 4:
        raise DirectiveError("Wrong number of arguments in buffer limit configuration.")
    for kind, hard, soft, soft_s in zip(*(values[at::4] for at in range(4)), strict=True):
        if kind.lower() not in ("normal", "slave", "replica", "pubsub"):
            raise DirectiveError("Invalid client class specified in buffer limit configuration.")
        if None in (to_memory(hard), to_memory(soft)) or _SECONDS.fullmatch(soft_s) is None:
            raise DirectiveError(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration."
            )


def _check_value(name: str, value: str) -> None:
    if name in _YES_OR_NO and value.lower() not in ("yes", "no"):
        raise DirectiveError("argument must be 'yes' or 'no'")
    if name in _RANGES:
        least, most = _RANGES[name]
        if _INTEGER.fullmatch(value) is None:
            raise DirectiveError("argument couldn't be parsed into an integer")
        if not least <= int(value) <= most:
            raise DirectiveError(f"argument must be between {least} and {most} inclusive")
    if name in _WORDS and value.lower() not in _WORDS[name]:
        words = ", ".join(_WORDS[name])
        raise DirectiveError(f"argument(s) must be one of the following: {words}")
    if name == "unixsocketperm" and _OCTAL.fullmatch(value) is None:
        raise DirectiveError("argument couldn't be parsed as an octal number")
