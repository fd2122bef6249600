"""Speak Redis: its INFO to a report, promotion and following to commands, a specification to argv.

Valkey speaks the same dialect (`valkey` names what differs). Nothing here raises for what an
instance sent: a field that cannot be understood counts as not sent.

Persistence: the append-only file, flushed every second, so that a whole deployment can stop or
crash and come back with its data. What a crash takes is what was written in the last second (two
while the disk is slow), and only where no replica has it; an orderly end takes nothing.

The grace of a fresh process: a primary that restarts at once and empty would get its replicas back
within a second, and they would copy its emptiness. So every process starts with a pause before it
hands out its dataset (`GRACE_S`), long enough for the Sentinels to fail over; whoever knows that
this very process is the rightful primary ends the pause with `end_grace_commands`.
"""

import re
from collections.abc import Mapping

from everfly.core.model import Address, Engine, HandOver, InstanceReport, Millis, Role
from everfly.engines.command import Command, EngineBinary, InstanceSpec
from everfly.wire.info import parse_fields

GRACE_S = 5
"""Seconds before a fresh process hands out its dataset in a full synchronisation. It is also the
default of Redis (`repl-diskless-sync-delay`, `redis.conf` of 7.0)."""

BACKLOG = "64mb"
"""Of writes a returning replica may have missed and still continue (`repl-backlog-size`; 1mb by
default, which a busy store fills in less time than a failover takes)."""

PAUSE_WRITE_SINCE = (6, 2)
"""The version of Redis that brought CLIENT PAUSE WRITE."""

INTEGER_DIGITS_MAX = 19
"""Of a number of 64 bits."""

_REPLICA_LINE = re.compile(r"slave\d{1,9}")
_REPLICA_FIELDS_MIN = 2  # the old form: ip,port,state


def report(fields: Mapping[str, str], engine: Engine) -> InstanceReport:
    """Translate INFO, given as field -> value, of Redis, Valkey or something like them."""
    role = role_of(fields)
    primary = primary_of(fields)
    down_s = integer(fields.get("master_link_down_since_seconds"))
    is_down = fields.get("master_link_status") == "down"
    return InstanceReport(
        role=role,
        engine=engine,
        run_id=fields.get("run_id", ""),
        history=known_history(fields.get("master_replid", "")),
        history_before=known_history(fields.get("master_replid2", "")),
        offset=integer(
            fields.get("slave_repl_offset" if role is Role.REPLICA else "master_repl_offset")
        ),
        replicas=replicas_of(fields) if role is Role.PRIMARY else (),
        primary=primary if role is Role.REPLICA else None,
        primary_link_up=role is Role.REPLICA and fields.get("master_link_status") == "up",
        # -1: it has been without its primary since it started, but does not say since when.
        primary_link_down_for=(
            Millis(down_s * 1000) if is_down and down_s is not None and down_s >= 0 else None
        ),
        is_syncing=fields.get("master_sync_in_progress") == "1",
        priority=priority_of(fields),
        is_announced=fields.get("replica_announced", "1") != "0",
        hands_over=_hand_over_of(fields, engine),
        uptime_s=integer(fields.get("uptime_in_seconds")),
        keys=keys_of(fields),
    )


def _hand_over_of(fields: Mapping[str, str], engine: Engine) -> HandOver:
    """Return whether it can pause writes alone: Redis can from 6.2 on, Valkey always."""
    if engine is Engine.VALKEY:
        return HandOver.BY_PAUSE
    version = tuple(integer(part) or 0 for part in fields.get("redis_version", "").split("."))
    can = engine is Engine.REDIS and version >= PAUSE_WRITE_SINCE
    return HandOver.BY_PAUSE if can else HandOver.NONE


def role_of(fields: Mapping[str, str]) -> Role | None:
    """Return what it says it is, or None when it does not say."""
    match fields.get("role"):
        case Role.PRIMARY.value:
            return Role.PRIMARY
        case Role.REPLICA.value:
            return Role.REPLICA
        case _:
            return None


def primary_of(fields: Mapping[str, str]) -> Address | None:
    """Return whom it follows, or None when it names nobody."""
    return _address(fields.get("master_host", ""), fields.get("master_port", ""))


def replicas_of(fields: Mapping[str, str]) -> tuple[Address, ...]:
    """Return the replicas it names, in its order, in the form of today and that of Redis 2.6."""
    found: dict[Address, None] = {}
    for name, value in fields.items():
        if not _REPLICA_LINE.fullmatch(name):
            continue
        parts = value.split(",")
        pairs = dict(part.split("=", 1) for part in parts if "=" in part)
        if "ip" in pairs:
            address = _address(pairs["ip"], pairs.get("port", ""))
        elif len(parts) >= _REPLICA_FIELDS_MIN:
            address = _address(parts[0], parts[1])
        else:
            address = None
        if address is not None:
            found[address] = None
    return tuple(found)


def priority_of(fields: Mapping[str, str]) -> int:
    """Return its priority for promotion; 100, everyone's default, when it does not say."""
    value = integer(fields.get("slave_priority"))
    return 100 if value is None else value


def integer(text: str | None) -> int | None:
    """Return the number, or None when there is none of a sensible length."""
    if text is None:
        return None
    digits = text.removeprefix("-")
    # Not a pattern, which takes three times as long: it is asked five times for each INFO.
    is_number = len(digits) <= INTEGER_DIGITS_MAX and digits.isascii() and digits.isdecimal()
    return int(text) if is_number else None


def keys_of(fields: Mapping[str, str]) -> int | None:
    """Return how many keys all databases hold together; None when no database is named."""
    found = None
    for name, value in fields.items():
        if name.startswith("db") and name[2:].isdecimal():
            count = integer(parse_fields(value).get("keys"))
            found = (found or 0) + (count or 0)
    return found


def known_history(replid: str) -> str:
    """Return the replication id, or empty for the zeros that stand for "none"."""
    return replid if replid.strip("0") else ""


def _address(host: str, port: str) -> Address | None:
    number = integer(port)
    # Redis shows the host "?" and the port 0 while it does not know them.
    if not host or host == "?" or number is None or not 0 < number < 65_536:
        return None
    return Address(host, number)


def pause_command(limit: Millis) -> Command:
    """Return what makes a primary hold its clients' writes, for `limit` at most.

    Expiry and eviction stop too, so its offset moves only by what replication itself sends.
    Source: `clientCommand`, redis/src/networking.c (6.2).
    """
    return ("CLIENT", "PAUSE", str(limit), "WRITE")


def resume_command() -> Command:
    """Return what ends a pause."""
    return ("CLIENT", "UNPAUSE")


def promote_commands() -> tuple[Command, ...]:
    """Return how a replica becomes a primary: at once, remembered, its clients made to look again.

    Source: `sentinelSendSlaveOf`, redis/src/sentinel.c (7.0.15).
    """
    return _in_transaction(("SLAVEOF", "NO", "ONE"))


def follow_commands(host: str, port: int) -> tuple[Command, ...]:
    """Return how an instance becomes a replica of another. Source: as `promote_commands`."""
    return _in_transaction(("SLAVEOF", host, str(port)))


def _in_transaction(command: Command) -> tuple[Command, ...]:
    return (
        ("MULTI",),
        command,
        ("CONFIG", "REWRITE"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("CLIENT", "KILL", "TYPE", "pubsub"),
        ("EXEC",),
    )


def end_grace_commands() -> tuple[Command, ...]:
    """Return how a process that is known to be the rightful primary may serve replicas at once."""
    return (("CONFIG", "SET", "repl-diskless-sync-delay", "0"),)


def start_command(binary: EngineBinary, spec: InstanceSpec) -> list[str]:
    """Return the argument list that starts an instance in the foreground, logging to stdout."""
    options: list[tuple[str, ...]] = [
        ("port", str(spec.port)),
        ("bind", spec.bind),
        ("protected-mode", "no" if spec.is_loopback else "yes"),
        ("dir", str(spec.directory)),
        ("daemonize", "no"),
        ("logfile", ""),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", ""),
        ("repl-diskless-sync", "yes"),
        ("repl-diskless-sync-delay", str(GRACE_S)),
        ("repl-backlog-size", BACKLOG),
        # A replica notices a silent primary, and a primary knows its replicas' offsets, by these.
        ("repl-ping-replica-period", "1"),
    ]
    if spec.maxmemory:
        options.append(("maxmemory", spec.maxmemory))
    if spec.replica_of is not None:
        options.append(("replicaof", spec.replica_of.host, str(spec.replica_of.port)))
    command = [str(binary.path)]
    if spec.secrets is not None:
        command.append(str(spec.secrets))
    for name, *values in options:
        command += [f"--{name}", *values]
    return [*command, *spec.extra]


def secrets_text(password: str) -> str:
    """Return the text of a configuration file with the password, for clients and replication."""
    quoted = '"' + "".join(_quoted(byte) for byte in password.encode()) + '"'
    return f"requirepass {quoted}\nmasterauth {quoted}\n"


def _quoted(byte: int) -> str:
    is_plain = 0x20 <= byte < 0x7F and byte not in b'"\\'
    return chr(byte) if is_plain else f"\\x{byte:02x}"
