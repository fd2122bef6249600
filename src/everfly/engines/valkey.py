"""Speak Valkey: the dialect of Redis, under its own name.

Valkey kept INFO, the replication commands and the directives of Redis 7.2, so everything is
`redis`; only how it is recognised is its own.
"""

from collections.abc import Mapping


def is_spoken_in(fields: Mapping[str, str]) -> bool:
    """Return whether this INFO is Valkey's: it reports a `redis_version` too, so ask this first."""
    return "valkey_version" in fields or fields.get("server_name") == "valkey"
