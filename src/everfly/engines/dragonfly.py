"""Speak Dragonfly: its INFO to a report, promotion and following to commands, a spec to argv.

Observed with v1.40. What differs from Redis:

* INFO has no `run_id`. Its own `master_replid` is drawn at start, but a replica shows the one of
  its primary, so that alone would "change" at every promotion. See `run_id`.
* No `master_repl_offset`; `slave_repl_offset` counts journal entries, not bytes, and is missing
  during a full synchronisation. A primary's offset is None.
* No `master_link_down_since_seconds`; `master_last_io_seconds_ago` says the same once the link is
  down. While the link reads up it proves nothing: a frozen primary goes unnoticed.
* No `master_replid2`: after a promotion `history` is new and does not name the one before.
* `CLIENT KILL TYPE` is a syntax error and `CONFIG REWRITE` fails without a flag file, also inside
  MULTI. Neither is sent. `CLIENT KILL LADDR` would cut clients, but also the caller and all
  replication of that port; clients of a demoted primary learn from `-READONLY` instead.
* `REPLICAOF` to a host that is frozen answers nothing for over a minute: never wait for it on the
  way to a decision. To a host that refuses, it fails and keeps following the old one.
"""

import hashlib
from collections.abc import Mapping

from everfly.core.model import Engine, HandOver, InstanceReport, Millis, Role
from everfly.engines import redis
from everfly.engines.command import Command, EngineBinary, InstanceSpec

SNAPSHOT_CRON = "*/5 * * * *"
"""A snapshot every five minutes, besides the one of an orderly stop: Dragonfly has no append-only
file, so this bounds what a power failure of the whole machine takes."""


def is_spoken_in(fields: Mapping[str, str]) -> bool:
    """Return whether this INFO is Dragonfly's: it reports a `redis_version` too."""
    return "dragonfly_version" in fields


def report(fields: Mapping[str, str]) -> InstanceReport:
    """Translate INFO, given as field -> value."""
    role = redis.role_of(fields)
    is_replica = role is Role.REPLICA
    is_link_up = fields.get("master_link_status") == "up"
    silent_s = redis.integer(fields.get("master_last_io_seconds_ago"))
    return InstanceReport(
        role=role,
        engine=Engine.DRAGONFLY,
        run_id=run_id(fields),
        history=redis.known_history(fields.get("master_replid", "")),
        history_before=redis.known_history(fields.get("master_replid2", "")),
        # The primary's is there only with --info_replication_valkey_compatible.
        offset=redis.integer(
            fields.get("slave_repl_offset" if is_replica else "master_repl_offset")
        ),
        replicas=redis.replicas_of(fields) if role is Role.PRIMARY else (),
        primary=redis.primary_of(fields) if is_replica else None,
        primary_link_up=is_replica and is_link_up,
        primary_link_down_for=(
            Millis(silent_s * 1000)
            if is_replica and not is_link_up and silent_s is not None and silent_s >= 0
            else None
        ),
        is_syncing=fields.get("master_sync_in_progress") == "1",
        priority=redis.priority_of(fields),
        is_announced=fields.get("replica_announced", "1") != "0",
        hands_over=HandOver.BY_TAKEOVER,
        uptime_s=redis.integer(fields.get("uptime_in_seconds")),
        keys=redis.keys_of(fields),
    )


def run_id(fields: Mapping[str, str]) -> str:
    """Return 40 hexadecimal digits that name this process, made of its process id and port.

    It never changes while the process lives. It changes at a restart where process ids are not
    reused; in a container the process id is always 1, so whoever compares two reports must also
    look at `uptime_s` (it went down: restarted) and, of two reports as a primary, at `history`
    (it changed: restarted). Both are facts of two reports and so are no function of one.
    """
    if not fields.get("process_id"):
        return ""
    text = f"dragonfly {fields['process_id']} {fields.get('tcp_port', '')}"
    return hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def take_over_command(limit: Millis) -> Command:
    """Return what makes a replica take its primary's role over: to the replica, answered when done.

    The primary cancels blocked commands, waits for running ones and for the replica, refuses new
    ones with -LOADING, then its process ends with status 0. In whole seconds, at least one: clients
    are refused for no longer than that.
    """
    return ("REPLTAKEOVER", str(max(1, limit // 1000)))


def promote_commands() -> tuple[Command, ...]:
    """Return how a replica becomes a primary: in a transaction, with what Dragonfly understands."""
    return (("MULTI",), ("SLAVEOF", "NO", "ONE"), ("EXEC",))


def follow_commands(host: str, port: int) -> tuple[Command, ...]:
    """Return how an instance becomes a replica. The answer may take as long as the other's."""
    return (("MULTI",), ("SLAVEOF", host, str(port)), ("EXEC",))


def end_grace_commands() -> tuple[Command, ...]:
    """Return nothing: its replicas leave a primary that restarted by themselves.

    See `--break_replication_on_master_restart` in `start_command`.
    """
    return ()


def start_command(binary: EngineBinary, spec: InstanceSpec) -> list[str]:
    """Return the argument list that starts an instance in the foreground, logging to stderr."""
    options = [
        f"--port={spec.port}",
        f"--bind={spec.bind}",
        f"--dir={spec.directory}",
        "--dbfilename=dump",
        f"--snapshot_cron={SNAPSHOT_CRON}",
        f"--proactor_threads={spec.threads}",
        # Without it the replicas of a primary that restarts empty empty themselves.
        "--break_replication_on_master_restart=true",
        "--version_check=false",
        "--logtostderr",
    ]
    if spec.admin_port is not None:
        options += [f"--admin_port={spec.admin_port}", f"--admin_bind={spec.bind}"]
    if spec.maxmemory:
        options.append(f"--maxmemory={spec.maxmemory}")
    if spec.replica_of is not None:
        host = f"[{spec.replica_of.host}]" if ":" in spec.replica_of.host else spec.replica_of.host
        options.append(f"--replicaof={host}:{spec.replica_of.port}")
    if spec.secrets is not None:
        options.append(f"--flagfile={spec.secrets}")
    return [str(binary.path), *options, *spec.extra]


def secrets_text(password: str) -> str:
    """Return the text of a flag file with the password, for clients and replication."""
    return f"--requirepass={password}\n--masterauth={password}\n"
