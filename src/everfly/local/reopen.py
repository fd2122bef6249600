"""Turn options and the description of an earlier deployment into settings, or a clear refusal.

Sentinels know instances and each other by address, so a deployment keeps the ports, the name and
the number of Sentinels that it was created with. It may get more replicas, never fewer: the
Sentinels would look for the missing ones for ever.
"""

import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from everfly.core.model import Engine
from everfly.engines.command import EngineBinary
from everfly.engines.find import KINDS, Kind, find_engine
from everfly.errors import SettingsError
from everfly.local.ports import random_free
from everfly.local.settings import ADMIN_PORT_OFFSET, FILE, HOST, Settings
from everfly.observe.description import Description

PORT: Final = 6_379
SENTINEL_PORT: Final = 26_379
REPLICAS: Final = 2
SENTINELS: Final = 3
GROUP: Final = "default-primary"
DOWN_AFTER_MS: Final = 1_000
FAILOVER_TIMEOUT_MS: Final = 10_000
ENDPOINT_PORT: Final = 6_390
"""Defaults of a new deployment. The ports are those of Redis and its Sentinel; the times are far
below Sentinel's own (30 s and 180 s), for one machine has no slow network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user said; None: nothing, so it stays as it is, or is the default."""

    replicas: int | None = None
    sentinels: int | None = None
    port: int | None = None
    sentinel_port: int | None = None
    group: str | None = None
    down_after_ms: int | None = None
    failover_timeout_ms: int | None = None
    maxmemory: str = ""
    password: str = ""
    sentinel_binary: str | None = None
    endpoint_port: int | None = None
    has_endpoint: bool = False


def engine_for(kind: Kind, binary: str | None, earlier: Description | None) -> EngineBinary:
    """Return the engine that was asked for; where nothing was, that of the earlier deployment.

    Its data can be read by no other: a Dragonfly that was installed meanwhile changes nothing.
    Raises SettingsError as `find_engine` does.
    """
    if binary is not None or earlier is None or kind not in ("auto", earlier.engine.value):
        return find_engine(kind, binary)
    same = earlier.engine.value
    assert same in KINDS, "the engine of a deployment that was started"
    if Path(earlier.engine_binary).is_file():
        return find_engine(same, earlier.engine_binary)
    return find_engine(same)


def settings_for(
    options: Options, engine: EngineBinary, directory: Path, earlier: Description | None
) -> Settings:
    """Return the settings of a new deployment, or of the one that is in the directory already.

    Raises SettingsError where the options contradict what is there, with what to do.
    """
    if earlier is not None:
        _check_unchanged(options, engine, directory, earlier)
    base = options.port or PORT
    ports = [each.address.port for each in earlier.instances] if earlier is not None else []
    admin_ports = [each.admin_port for each in earlier.instances] if earlier is not None else []
    sentinel_base = options.sentinel_port or SENTINEL_PORT
    sentinel_ports = (
        [each.address.port for each in earlier.sentinels]
        if earlier is not None
        else list(range(sentinel_base, sentinel_base + _or(options.sentinels, SENTINELS)))
    )
    wanted = _or(options.replicas, len(ports) - 1 if earlier is not None else REPLICAS) + 1
    next_port = max(ports, default=base - 1) + 1
    while len(ports) < wanted:
        ports.append(next_port)
        admin_ports.append(next_port + ADMIN_PORT_OFFSET)
        next_port += 1
    times = (
        (earlier.down_after_ms, earlier.failover_timeout_ms)
        if earlier is not None
        else (DOWN_AFTER_MS, FAILOVER_TIMEOUT_MS)
    )
    is_dragonfly = engine.engine is Engine.DRAGONFLY
    return Settings(
        engine=engine,
        directory=directory,
        ports=tuple(ports),
        admin_ports=tuple(port for port in admin_ports if port is not None and is_dragonfly),
        sentinel_ports=tuple(sentinel_ports),
        endpoint_ports=_endpoint_ports(options, earlier),
        group=earlier.group if earlier is not None else options.group or GROUP,
        down_after_ms=_or(options.down_after_ms, times[0]),
        failover_timeout_ms=_or(options.failover_timeout_ms, times[1]),
        password=options.password,
        maxmemory=options.maxmemory,
        sentinel_command=_sentinel_command(options.sentinel_binary),
    )


def _endpoint_ports(options: Options, earlier: Description | None) -> tuple[int, ...]:
    """Return where the endpoint listens. It keeps its port, which clients know."""
    if not options.has_endpoint:
        return ()
    known = earlier.endpoint if earlier is not None else None
    if options.endpoint_port is not None:
        return options.endpoint_port, options.endpoint_port + 1
    if known is not None and known.admin_port is not None:
        return known.address.port, known.admin_port
    if options.port is None and options.sentinel_port is None:
        return ENDPOINT_PORT, ENDPOINT_PORT + 1
    # Who chose other ports has another deployment on the usual ones, which may have an endpoint.
    first, second = random_free(HOST, 2)
    return first, second


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _sentinel_command(binary: str | None) -> tuple[str, ...]:
    if binary is None:
        return (sys.executable, "-m", "everfly", "sentinel", FILE)
    return (binary, FILE, "--sentinel")


def _check_unchanged(
    options: Options, engine: EngineBinary, directory: Path, earlier: Description
) -> None:
    instances, sentinels = len(earlier.instances), len(earlier.sentinels)
    pairs: tuple[tuple[str, object, object], ...] = (
        ("--engine", engine.engine.value, earlier.engine.value),
        ("--sentinels", options.sentinels, sentinels),
        ("--port", options.port, earlier.instances[0].address.port),
        ("--sentinel-port", options.sentinel_port, earlier.sentinels[0].address.port),
        ("--name", options.group, earlier.group),
        ("--down-after", options.down_after_ms, earlier.down_after_ms),
        ("--failover-timeout", options.failover_timeout_ms, earlier.failover_timeout_ms),
    )
    for option, asked, was in pairs:
        if asked is not None and asked != was:
            raise SettingsError(
                f"the deployment in {directory} was created with {option} {was}, not {asked}: its "
                f"data and its Sentinels rely on that. Start it with {option} {was}, "
                "or choose another directory with --dir"
            )
    if options.replicas is not None and options.replicas < instances - 1:
        raise SettingsError(
            f"the deployment in {directory} has {instances - 1} replicas; fewer cannot be had, "
            f"because its Sentinels would look for the others. Start it with --replicas "
            f"{instances - 1} or more, or choose another directory with --dir"
        )


def random_settings(
    engine: EngineBinary, directory: Path, replicas: int, sentinels: int
) -> Settings:
    """Return the settings of a deployment that somebody only tries, on ports that are free now."""
    instances = 1 + replicas
    admins = instances if engine.engine is Engine.DRAGONFLY else 0
    ports = random_free(HOST, instances + admins + sentinels)
    return Settings(
        engine=engine,
        directory=directory,
        ports=tuple(ports[:instances]),
        admin_ports=tuple(ports[instances : instances + admins]),
        sentinel_ports=tuple(ports[instances + admins :]),
        # Of its own: a Sentinel of another deployment that still looks for something on one of
        # these ports must not take this group for the one it lost.
        group=f"temporary-{secrets.token_hex(4)}",
        failover_timeout_ms=2_000,
    )


def with_random_endpoint(settings: Settings) -> Settings:
    """Return the same with an endpoint on ports that are free now."""
    first, second = random_free(HOST, 2, settings.every_port)
    return replace(settings, endpoint_ports=(first, second))
