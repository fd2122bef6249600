"""Rows that later programs have beside those of Redis 7.0, or in place of them.

Source: COMMAND of Redis 7.4 and of Valkey 8.1.8.
"""

from dataclasses import replace
from typing import Final

from everfly.sentinel.commands import (
    clients,
    introspection,
    sentinel_changes,
    sentinel_config_many,
    sentinel_queries,
)
from everfly.sentinel.commands.registry import AT_ALL_TIMES, RowKind, Spec

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
_COMMAND: Final = RowKind("loading stale", "slow connection", "server")
VALKEY_ROWS: Final = (
    _COMMAND.row(
        "command|getkeys",
        -3,
        introspection.from_table(introspection.getkeys),
        "2.8.13",
        "Tell which arguments are keys",
    ),
    _COMMAND.row(
        "command|getkeysandflags",
        -3,
        introspection.from_table(introspection.getkeys),
        "7.0.0",
        "Tell which arguments are keys, and how they are used",
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

_ON_ALL_NODES: Final = frozenset({"acl|save", "acl|deluser", "acl|setuser", "client|setname"})


def of_valkey(row: Spec) -> Spec:
    """Return a row of Redis as Valkey 8 shows it: some have tips, one lacks a flag."""
    if row.name in _ON_ALL_NODES:
        return replace(row, tips=("request_policy:all_nodes", "response_policy:all_succeeded"))
    if row.name == "client|setinfo":
        return replace(row, flags=tuple(flag for flag in row.flags if flag != "allow_busy"))
    return row


VALKEY_UNLISTED: Final = (
    (
        "sentinel|failover",
        _SENTINEL.row(
            "sentinel|failover",
            -3,
            sentinel_changes.failover_or_switchover,
            "2.8.4",
            "Fail over a primary without asking other Sentinels",
            "primary-name COORDINATED?",
        ),
    ),
)
"""What Valkey 9 understands, and COMMAND of Valkey 8 does not show."""
