"""Rows that later programs have beside those of Redis 7.0, or in place of them.

Source: COMMAND of Redis 7.4 and of Valkey; the third word of FAILOVER comes from Valkey 9.
"""

from typing import Final

from everfly.sentinel.commands import (
    clients,
    sentinel_changes,
    sentinel_config_many,
    sentinel_queries,
)
from everfly.sentinel.commands.registry import AT_ALL_TIMES, RowKind

RECENT_CLIENT_ROWS: Final = (
    RowKind(f"{AT_ALL_TIMES} allow_busy", "slow connection", "connection").row(
        "client|setinfo",
        4,
        clients.setinfo,
        "7.2.0",
        "Tell what library this connection is of",
        "(attr LIB-NAME=libname | LIB-VER=libver)",
        "request_policy:all_nodes response_policy:all_succeeded",
    ),
)

_SENTINEL: Final = RowKind("admin", "admin slow dangerous", "sentinel")
RECENT_SENTINEL_ROWS: Final = (
    _SENTINEL.row(
        "sentinel|config",
        -4,
        sentinel_config_many.config_many,
        "6.2.0",
        "Show or change settings of this Sentinel",
        "(action SET={set_param_value parameter value}* | GET=parameter*)",
    ),
)
VALKEY_SENTINEL_ROWS: Final = (
    _SENTINEL.row(
        "sentinel|failover",
        -3,
        sentinel_changes.failover_or_switchover,
        "2.8.4",
        "Fail over a primary without asking other Sentinels",
        "primary-name COORDINATED?",
    ),
    _SENTINEL.row(
        "sentinel|get-primary-addr-by-name",
        3,
        sentinel_queries.get_master_addr_by_name,
        "8.0.0",
        "Tell where clients of a primary should go",
        "primary-name",
    ),
    _SENTINEL.row(
        "sentinel|is-primary-down-by-addr",
        6,
        sentinel_queries.is_master_down_by_addr,
        "8.0.0",
        "Ask whether a primary is down, and for a vote",
        "ip port:integer current-epoch:integer runid",
    ),
    _SENTINEL.row(
        "sentinel|primaries",
        2,
        sentinel_queries.masters,
        "8.0.0",
        "Show the state of all primaries",
    ),
    _SENTINEL.row(
        "sentinel|primary",
        3,
        sentinel_queries.master,
        "8.0.0",
        "Show the state of a primary",
        "primary-name",
    ),
)
