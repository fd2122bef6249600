"""Rows of the SENTINEL commands."""

from dataclasses import replace
from typing import Final

from everfly.sentinel.commands import (
    sentinel_changes,
    sentinel_config,
    sentinel_queries,
    sentinel_set,
)
from everfly.sentinel.commands.registry import RowKind

_SENTINEL: Final = RowKind("admin", "admin slow dangerous", "sentinel")
SENTINEL_ROWS: Final = (
    RowKind("admin", "admin slow dangerous", "sentinel").row(
        "sentinel", -2, None, "2.8.4", "Watch masters, and fail over"
    ),
    _SENTINEL.row(
        "sentinel|ckquorum",
        3,
        sentinel_queries.ckquorum,
        "2.8.4",
        "Tell whether a failover of a master could happen now",
        "master-name",
    ),
    _SENTINEL.row(
        "sentinel|config",
        -3,
        sentinel_config.config,
        "6.2.0",
        "Show or change settings of this Sentinel",
        "(set_or_get SET={set_param_value parameter value}* | GET=parameter*)",
    ),
    _SENTINEL.row(
        "sentinel|debug",
        -2,
        sentinel_config.debug,
        "7.0.0",
        "Show or change time parameters",
        "{parameter_value parameter value}*",
    ),
    _SENTINEL.row(
        "sentinel|failover",
        3,
        sentinel_changes.failover,
        "2.8.4",
        "Fail over a master without asking other Sentinels",
        "master-name",
    ),
    _SENTINEL.row(
        "sentinel|flushconfig",
        2,
        sentinel_changes.flushconfig,
        "2.8.4",
        "Write the configuration file",
    ),
    _SENTINEL.row(
        "sentinel|get-master-addr-by-name",
        3,
        sentinel_queries.get_master_addr_by_name,
        "2.8.4",
        "Tell where clients of a master should go",
        "master-name",
    ),
    RowKind("loading stale", "slow", "sentinel").row(
        "sentinel|help", 2, sentinel_queries.help_, "6.2.0", "Explain the subcommands"
    ),
    _SENTINEL.row(
        "sentinel|info-cache",
        -3,
        sentinel_queries.info_cache,
        "3.2.0",
        "Show what instances last answered to INFO",
        "nodename*",
    ),
    _SENTINEL.row(
        "sentinel|is-master-down-by-addr",
        6,
        sentinel_queries.is_master_down_by_addr,
        "2.8.4",
        "Ask whether a master is down, and for a vote",
        "ip port:integer current-epoch:integer runid",
    ),
    _SENTINEL.row(
        "sentinel|master",
        3,
        sentinel_queries.master,
        "2.8.4",
        "Show the state of a master",
        "master-name",
    ),
    _SENTINEL.row(
        "sentinel|masters", 2, sentinel_queries.masters, "2.8.4", "Show the state of all masters"
    ),
    _SENTINEL.row(
        "sentinel|monitor",
        6,
        sentinel_changes.monitor,
        "2.8.4",
        "Watch another master",
        "name ip port:integer quorum:integer",
    ),
    _SENTINEL.row(
        "sentinel|myid", 2, sentinel_queries.myid, "6.2.0", "Tell the id of this Sentinel"
    ),
    _SENTINEL.row(
        "sentinel|pending-scripts",
        2,
        sentinel_queries.pending_scripts,
        "2.8.4",
        "Show scripts that run or wait",
    ),
    _SENTINEL.row(
        "sentinel|remove",
        3,
        sentinel_changes.remove,
        "2.8.4",
        "Watch a master no more",
        "master-name",
    ),
    _SENTINEL.row(
        "sentinel|replicas",
        3,
        sentinel_queries.replicas,
        "5.0.0",
        "Show the replicas of a master",
        "master-name",
    ),
    _SENTINEL.row(
        "sentinel|reset",
        3,
        sentinel_changes.reset,
        "2.8.4",
        "Forget what was learned about masters by a pattern",
        "pattern:pattern",
    ),
    _SENTINEL.row(
        "sentinel|sentinels",
        3,
        sentinel_queries.sentinels,
        "2.8.4",
        "Show the other Sentinels of a master",
        "master-name",
    ),
    _SENTINEL.row(
        "sentinel|set",
        -5,
        sentinel_set.set_,
        "2.8.4",
        "Change settings of a master",
        "master-name {option_value option value}*",
    ),
    _SENTINEL.row(
        "sentinel|simulate-failure",
        -3,
        sentinel_config.simulate_failure,
        "3.2.0",
        "Crash at a bad moment",
        "(mode crash-after-election | crash-after-promotion | help)?*",
    ),
    replace(
        _SENTINEL.row(
            "sentinel|slaves",
            3,
            sentinel_queries.replicas,
            "2.8.0",
            "Show the replicas of a master",
            "master-name",
        ),
        deprecated=("5.0.0", "`SENTINEL REPLICAS`"),
    ),
)

EVERFLY_ROWS: Final = (
    (
        "sentinel|switchover",
        _SENTINEL.row(
            "sentinel|failover",
            -3,
            sentinel_changes.switchover,
            "7.0.0",
            "Hand a master over to a replica without loss, or change nothing",
            "master-name {host port}?",
        ),
    ),
)
"""What genuine Sentinels do not have."""
