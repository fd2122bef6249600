"""INFO: the state of this process as text, section by section, for people and for exporters.

Fields and their order are those of a Sentinel of Redis; the numbers are our own, and what does not
exist here (keys, replication streams, forks) is 0.
Source: `genRedisInfoString`, redis/src/server.c; `sentinelInfoCommand`, sentinel.c (7.0.15);
server.c of redis (7.4.1) and of valkey (8.1.8) for the fields of later ones.
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final

from everfly.core.snapshot import GroupView
from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.sentinel.acl.selectors import Reason
from everfly.sentinel.commands.arguments import lower
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.compat import Compat
from everfly.wire.resp import to_bytes

Fields = Mapping[str, object]

REDIS_OF_VALKEY: Final = "7.2.4"
"""What Valkey says of Redis. Source: `REDIS_VERSION`, valkey/src/version.h (8.1.8)."""

_ALL: Final = frozenset({"all", "default", "everything"})


def info(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """INFO [section ...]; unknown sections are empty."""
    del client
    wanted = {lower(word) for word in command[1:]}
    is_all = not wanted or wanted & _ALL
    return info_text(desk, set(_SECTIONS) if is_all else wanted)


def info_text(desk: Desk, wanted: set[str]) -> bytes:
    """Return the sections that are wanted (lower case), in their own order."""
    texts = []
    for name, (title, make) in _SECTIONS.items():
        if name in wanted:
            lines = [f"# {title}", *(f"{key}:{value}" for key, value in make(desk).items())]
            texts.append("".join(f"{line}\r\n" for line in lines))
    return to_bytes("\r\n".join(texts))


def _about_process(desk: Desk) -> Fields:
    uptime_s = int(time.monotonic() - desk.started_at)
    compat = desk.settings.compat
    system = platform.uname()
    now = time.time()
    fields: dict[str, object] = {
        **_about_program(compat),
        "os": f"{system.system} {system.release} {system.machine}",
        "arch_bits": 64 if sys.maxsize > 2**32 else 32,
        "monotonic_clock": "POSIX clock_gettime",
        "multiplexing_api": "epoll",
        **({} if compat.is_valkey else {"atomicvar_api": "c11-builtin"}),
        "gcc_version": platform.python_compiler().rpartition(" ")[2],
        "process_id": os.getpid(),
        "process_supervised": "no",
        "run_id": desk.process_id,
        "tcp_port": desk.listener.port,
        "server_time_usec": int(now * 1_000_000),
        "uptime_in_seconds": uptime_s,
        "uptime_in_days": uptime_s // 86_400,
        "hz": 10,
        "configured_hz": 10,
        **({"clients_hz": 10} if compat.is_valkey else {}),
        "lru_clock": int(now) & 0xFFFFFF,
        "executable": sys.argv[0] and os.path.abspath(sys.argv[0]),  # noqa: PTH100 - as it is
        "config_file": desk.settings.config_file,
        "io_threads_active": 0,
        **({"availability_zone": ""} if compat.is_valkey else {}),
    }
    if compat.is_recent:
        binds = "".join(f",bind={bind}" for bind in desk.settings.bind)
        fields["listener0"] = f"name=tcp{binds},port={desk.listener.port}"
    return fields


def _about_program(compat: Compat) -> Fields:
    mode = "server_mode" if compat.is_valkey else "redis_mode"
    names: dict[str, object] = {"redis_version": compat.version}
    if compat.is_valkey:
        # The Redis that it forked from: clients compare it.
        names = {
            "redis_version": REDIS_OF_VALKEY,
            "server_name": "valkey",
            "valkey_version": compat.version,
            "valkey_release_stage": "ga",
        }
    return {
        **names,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": "0",
        mode: "sentinel",
    }


def _about_clients(desk: Desk) -> Fields:
    clients = list(desk.listener.clients.values())
    is_recent = desk.settings.compat.is_recent
    return {
        "connected_clients": len(clients),
        "cluster_connections": 0,
        "maxclients": desk.listener.limits.maxclients,
        "client_recent_max_input_buffer": max((each.held_input for each in clients), default=0),
        "client_recent_max_output_buffer": max((each.held_output for each in clients), default=0),
        "blocked_clients": 0,
        "tracking_clients": sum(each.tracking.is_on for each in clients),
        **({"pubsub_clients": sum(each.kind == "pubsub" for each in clients)} if is_recent else {}),
        **({"watching_clients": 0} if is_recent else {}),
        "clients_in_timeout_table": 0,
        **(dict.fromkeys(_NOTHING_WATCHED, 0) if is_recent else {}),
        **(_about_pause(desk) if desk.settings.compat.is_valkey else {}),
    }


def _about_pause(desk: Desk) -> Fields:
    pause = desk.pause
    kind = "write" if pause.is_for_writes_only else "all"
    return {
        "paused_reason": "client_pause" if pause.is_on else "none",
        "paused_actions": kind if pause.is_on else "none",
        "paused_timeout_milliseconds": int(pause.left_s * 1000),
    }


def _about_traffic(desk: Desk) -> Fields:
    traffic = desk.listener.traffic
    is_valkey = desk.settings.compat.is_valkey
    return {
        "total_connections_received": traffic.connections,
        "total_commands_processed": traffic.commands,
        "instantaneous_ops_per_sec": int(traffic.commands_per_s),
        "total_net_input_bytes": traffic.input_bytes,
        "total_net_output_bytes": traffic.output_bytes,
        "total_net_repl_input_bytes": 0,
        "total_net_repl_output_bytes": 0,
        "instantaneous_input_kbps": f"{traffic.input_per_s / 1024:.2f}",
        "instantaneous_output_kbps": f"{traffic.output_per_s / 1024:.2f}",
        "instantaneous_input_repl_kbps": "0.00",
        "instantaneous_output_repl_kbps": "0.00",
        "rejected_connections": traffic.rejected,
        **dict.fromkeys(("sync_full", "sync_partial_ok", "sync_partial_err", "expired_keys"), 0),
        "expired_stale_perc": "0.00",
        **dict.fromkeys(_NOTHING_EXPIRED, 0),
        **({"evicted_scripts": 0} if is_valkey else {}),
        **dict.fromkeys(_NOTHING_EVICTED, 0),
        "pubsub_channels": desk.pubsub.channel_count,
        "pubsub_patterns": desk.pubsub.pattern_count,
        **dict.fromkeys(_NOTHING_STORED, 0),
        "total_error_replies": traffic.errors,
        "dump_payload_sanitizations": 0,
        "total_reads_processed": traffic.reads,
        "total_writes_processed": traffic.writes,
        **dict.fromkeys(_NO_IO_THREADS, 0),
        **(_about_closings(desk) if is_valkey else {}),
        **dict.fromkeys(_NO_REPLY_BUFFERS, 0),
        **(_about_refusals(desk) if desk.settings.compat.is_recent else {}),
    }


def _about_closings(desk: Desk) -> Fields:
    traffic = desk.listener.traffic
    return {
        **dict.fromkeys(_NO_IO_THREADS_OF_VALKEY, 0),
        "client_query_buffer_limit_disconnections": traffic.input_limit_closings,
        "client_output_buffer_limit_disconnections": traffic.output_limit_closings,
    }


def _about_refusals(desk: Desk) -> Fields:
    counts = desk.access.log.counts
    return {
        **dict.fromkeys(_NO_CYCLES_COUNTED, 0),
        "acl_access_denied_auth": counts[Reason.AUTH],
        "acl_access_denied_cmd": counts[Reason.COMMAND],
        "acl_access_denied_key": 0,
        "acl_access_denied_channel": counts[Reason.CHANNEL],
    }


_NOTHING_WATCHED: Final = (
    "total_watched_keys",
    "total_blocking_keys",
    "total_blocking_keys_on_nokey",
)
_NO_CYCLES_COUNTED: Final = (
    "eventloop_cycles",
    "eventloop_duration_sum",
    "eventloop_duration_cmd_sum",
    "instantaneous_eventloop_cycles_per_sec",
    "instantaneous_eventloop_duration_usec",
)
_NOTHING_EXPIRED: Final = (
    "expired_time_cap_reached_count",
    "expire_cycle_cpu_milliseconds",
    "evicted_keys",
    "evicted_clients",
)
_NOTHING_EVICTED: Final = (
    "total_eviction_exceeded_time",
    "current_eviction_exceeded_time",
    "keyspace_hits",
    "keyspace_misses",
)
_NOTHING_STORED: Final = (
    "pubsubshard_channels",
    "latest_fork_usec",
    "total_forks",
    "migrate_cached_sockets",
    "slave_expires_tracked_keys",
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
    "tracking_total_keys",
    "tracking_total_items",
    "tracking_total_prefixes",
    "unexpected_error_replies",
)
_NO_IO_THREADS: Final = (
    "io_threaded_reads_processed",
    "io_threaded_writes_processed",
)
_NO_IO_THREADS_OF_VALKEY: Final = (
    "io_threaded_freed_objects",
    "io_threaded_accept_processed",
    "io_threaded_poll_processed",
    "io_threaded_total_prefetch_batches",
    "io_threaded_total_prefetch_entries",
)
_NO_REPLY_BUFFERS: Final = ("reply_buffer_shrinks", "reply_buffer_expands")


def _about_cpu(desk: Desk) -> Fields:
    del desk
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    thread = resource.getrusage(resource.RUSAGE_THREAD)
    return {
        "used_cpu_sys": f"{own.ru_stime:.6f}",
        "used_cpu_user": f"{own.ru_utime:.6f}",
        "used_cpu_sys_children": f"{children.ru_stime:.6f}",
        "used_cpu_user_children": f"{children.ru_utime:.6f}",
        "used_cpu_sys_main_thread": f"{thread.ru_stime:.6f}",
        "used_cpu_user_main_thread": f"{thread.ru_utime:.6f}",
    }


def _about_groups(desk: Desk) -> Fields:
    tilt_for = desk.brain.tilt_for
    scripts = desk.scripts.pending()
    fields: dict[str, object] = {
        "sentinel_masters": len(desk.brain.group_names()),
        "sentinel_tilt": int(tilt_for is not None),
        "sentinel_tilt_since_seconds": -1 if tilt_for is None else tilt_for // 1000,
        "sentinel_running_scripts": sum(script.pid is not None for script in scripts),
        "sentinel_scripts_queue_length": len(scripts),
        "sentinel_simulate_failure_flags": desk.dies_after_election + 2 * desk.dies_after_promotion,
    }
    views = (desk.brain.group_view(name) for name in desk.brain.group_names())
    for number, view in enumerate(view for view in views if view is not None):
        fields[f"master{number}"] = _group_line(desk, view)
    return fields


def _group_line(desk: Desk, view: GroupView) -> str:
    flags = view.primary.flags
    status = "odown" if "o_down" in flags else "sdown" if "s_down" in flags else "ok"
    address = view.primary.address
    return (
        f"name={view.name},status={status},"
        f"address={desk.shown_host(address)}:{address.port},"
        f"slaves={len(view.replicas)},sentinels={len(view.peers) + 1}"
    )


_SECTIONS: Final[dict[str, tuple[str, Callable[[Desk], Fields]]]] = {
    "server": ("Server", _about_process),
    "clients": ("Clients", _about_clients),
    "stats": ("Stats", _about_traffic),
    "cpu": ("CPU", _about_cpu),
    "sentinel": ("Sentinel", _about_groups),
}
