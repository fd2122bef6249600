"""Turn what a double knows of itself into the metrics that Dragonfly serves over HTTP.

Names, labels and types are those of dragonfly/src/server (1.40); of about a hundred families these
are the ones that dashboards and alerts look at. `oom_errors_total` is there only once writes were
refused, as in the real one.
"""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragonfly import Dragonfly

TYPE = "text/plain; version=0.0.4; charset=utf-8"


def family(name: str, kind: str, *samples: tuple[str, object]) -> str:
    head = f"# HELP dragonfly_{name}\n# TYPE dragonfly_{name} {kind}\n"
    return head + "".join(f"dragonfly_{name}{labels} {value}\n" for labels, value in samples)


def metrics_text(instance: "Dragonfly") -> str:
    limit = instance.config["maxmemory"]
    used = 280_000 + len(instance.dataset.snapshot())
    seconds = int(time.monotonic() - instance.started)
    keys = len(instance.dataset.data)
    parts = [
        family("version", "gauge", ('{version="df-v1.40.1"}', 1)),
        family("master", "gauge", ("", int(instance.primary is None))),
        family("uptime_in_seconds", "counter", ("", seconds)),
        family(
            "connected_clients",
            "gauge",
            ('{listener="main"}', len(instance.connections)),
            ('{listener="other"}', 0),
        ),
        family("memory_used_bytes", "gauge", ("", used)),
        family("memory_max_bytes", "gauge", ("", limit if limit.isdigit() else 0)),
        family("used_memory_rss_bytes", "gauge", ("", used * 2)),
        family(
            "commands_processed_total",
            "counter",
            ('{listener="main"}', instance.accepted),
            ('{listener="other"}', 0),
        ),
        family("keyspace_hits_total", "counter", ('{db="db0"}', 0)),
        family("keyspace_misses_total", "counter", ('{db="db0"}', 0)),
        family("net_input_bytes_total", "counter", ("", 0)),
        family("net_output_bytes_total", "counter", ("", 0)),
        family("db_keys", "gauge", ('{db="db0"}', keys)),
        family("db_keys_expiring", "gauge", ('{db="db0"}', 0)),
        family("expired_keys_total", "counter"),
        family("evicted_keys_total", "counter"),
    ]
    if instance.primary is None:
        lags = [
            (
                f'{{replica_ip="{each.replica_host}",replica_state="{each.state}"}}',
                max(0, instance.lsn - each.acked),
            )
            for each in instance.replicas
        ]
        parts.append(family("connected_replica_lag_records", "gauge", *lags))
    else:
        is_up = int(instance.link_state in ("online", "full_sync"))
        parts += [
            family("replica_reconnect_count", "counter", ("", 0)),
            family("master_link_status", "gauge", ("", is_up)),
        ]
    return "".join(parts)


def answer(instance: "Dragonfly", path: str) -> bytes:
    """Return an HTTP response; the connection ends with it."""
    status, body = "404 Not Found", b"nothing here\n"
    if path == "/metrics":
        status, body = "200 OK", metrics_text(instance).encode()
    if path == "/healthz":
        status, body = "200 OK", b"OK\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {TYPE}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
