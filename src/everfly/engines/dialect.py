"""Recognise the engine behind an INFO and turn decisions into the commands that it understands.

The one door to the dialects. An engine that nobody recognises is spoken to as Redis would be.
"""

from collections.abc import Mapping

from everfly.core.model import Engine, InstanceReport, Millis
from everfly.engines import dragonfly, redis, valkey
from everfly.engines.command import Command, EngineBinary, InstanceSpec


def engine_of(fields: Mapping[str, str]) -> Engine:
    """Return which engine wrote this INFO, given as field -> value."""
    if dragonfly.is_spoken_in(fields):
        return Engine.DRAGONFLY
    if valkey.is_spoken_in(fields):
        return Engine.VALKEY
    return Engine.REDIS if "redis_version" in fields else Engine.UNKNOWN


def version_of(fields: Mapping[str, str]) -> str:
    """Return the engine's own version, not that of the Redis it is compatible with, or empty."""
    named = {
        Engine.DRAGONFLY: "dragonfly_version",
        Engine.VALKEY: "valkey_version",
        Engine.REDIS: "redis_version",
    }.get(engine_of(fields), "")
    return fields.get(named, "").removeprefix("df-").removeprefix("v")


def report(fields: Mapping[str, str]) -> InstanceReport:
    """Translate INFO, given as field -> value. Raises nothing: nonsense counts as not said.

    It is a pure function of one INFO. Whether a process restarted between two reports is seen by
    `run_id`, and for Dragonfly by `uptime_s` and `history` too: see `dragonfly.run_id`.
    """
    engine = engine_of(fields)
    return dragonfly.report(fields) if engine is Engine.DRAGONFLY else redis.report(fields, engine)


def promote_commands(engine: Engine) -> tuple[Command, ...]:
    """Return what makes a replica the primary: send them in order, on one connection.

    The last reply (EXEC) is an array; its first element says whether it worked. Of the others an
    error is normal (CONFIG REWRITE of an instance without a configuration file).
    """
    return dragonfly.promote_commands() if engine is Engine.DRAGONFLY else redis.promote_commands()


def follow_commands(engine: Engine, host: str, port: int) -> tuple[Command, ...]:
    """Return what makes an instance a replica of host and port: send and read as for a promotion.

    Dragonfly may answer only after minutes when the host is frozen: start it, don't await it.
    """
    if engine is Engine.DRAGONFLY:
        return dragonfly.follow_commands(host, port)
    return redis.follow_commands(host, port)


def take_over_command(limit: Millis) -> Command:
    """Return what makes a replica take its living primary's role over, where `hands_over` says so.

    The engine gives up after the limit.
    """
    return dragonfly.take_over_command(limit)


def pause_command(limit: Millis) -> Command:
    """Return what makes a primary hold its clients' writes, where `hands_over` says so."""
    return redis.pause_command(limit)


def resume_command() -> Command:
    """Return what ends such a pause."""
    return redis.resume_command()


def end_grace_commands(engine: Engine) -> tuple[Command, ...]:
    """Return what tells a fresh process that it is the rightful primary and may serve replicas."""
    if engine is Engine.DRAGONFLY:
        return dragonfly.end_grace_commands()
    return redis.end_grace_commands()


def start_command(binary: EngineBinary, spec: InstanceSpec) -> list[str]:
    """Return the argument list that starts such an instance in the foreground."""
    if binary.engine is Engine.DRAGONFLY:
        return dragonfly.start_command(binary, spec)
    return redis.start_command(binary, spec)


def secrets_text(engine: Engine, password: str) -> str:
    """Return what belongs into the file `InstanceSpec.secrets`, readable by its owner alone."""
    if engine is Engine.DRAGONFLY:
        return dragonfly.secrets_text(password)
    return redis.secrets_text(password)
