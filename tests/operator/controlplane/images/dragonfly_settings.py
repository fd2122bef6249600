"""Know the settings of the double of Dragonfly that can be changed while it runs.

Names and defaults are those that a running 1.40 shows in `CONFIG GET *`; a value that is no number
where one is wanted is refused, and `maxmemory` is shown in bytes however it was written.
"""

import re

SETTINGS = {
    "maxclients": "64000",
    "timeout": "0",
    "tcp_keepalive": "300",
    "replication_timeout": "30000",
    "slowlog_log_slower_than": "10000",
    "slowlog_max_len": "20",
    "notify_keyspace_events": "",
    "pipeline_squash": "1",
    "table_growth_margin": "0.4",
    "enable_heartbeat_eviction": "true",
    "background_snapshotting": "false",
    "dbnum": "16",
}
SIZE = re.compile(r"([0-9]+(?:[.][0-9]+)?)([kmgt]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


_TRUTHS = frozenset(["enable_heartbeat_eviction", "background_snapshotting", "tls"])
_TEXTS = frozenset(["dbfilename", "masterauth", "requirepass", "snapshot_cron", "aclfile", "dir"])


def accepts(name: str, value: str) -> bool:
    if name in _TRUTHS:
        return value in ("true", "false")
    if name == "maxmemory":
        return SIZE.fullmatch(value) is not None
    if name == "notify_keyspace_events":
        return value.upper() in ("", "EX")
    if name in _TEXTS or name.startswith("tls_"):
        return True
    return re.fullmatch(r"-?[0-9]+(?:[.][0-9]+)?", value) is not None


def plain(name: str, value: str) -> str:
    found = SIZE.fullmatch(value) if name == "maxmemory" else None
    if found is None:
        return value
    return str(int(float(found[1]) * (1 << _POWERS[found[2].lower()])))
