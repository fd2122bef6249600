"""What a local deployment is to be: values, checked once, with a clear text for what is wrong."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everfly.core.model import Address, Engine
from everfly.engines.command import EngineBinary
from everfly.errors import SettingsError

HOST: Final = "127.0.0.1"
"""Everything listens on this machine alone: a deployment has no protection against a network."""

REPLICAS_MAX: Final = 8
SENTINELS_MAX: Final = 9
"""More would show nothing that fewer do not, on one machine."""

ENDPOINT_MODULE: Final = "everfly_endpoint"
"""The data plane of the endpoint, a package of its own."""

ADMIN_PORT_OFFSET: Final = 1_000
"""From a Dragonfly's port to its admin port, unless told otherwise."""

PORT_MAX: Final = 65_535
FILE: Final = "{file}"
"""Stands for the configuration file in the command line of a Sentinel."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PASSWORD: Final = re.compile(r"[!-~]{1,512}")
"""Printable and without spaces: both a flag file of Dragonfly and `sentinel.conf` hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to deploy. Made by `settings_for`, or with ports of one's own."""

    engine: EngineBinary
    directory: Path
    ports: tuple[int, ...]
    """Of the instances. The first one is the primary when the deployment is created."""
    sentinel_ports: tuple[int, ...]
    admin_ports: tuple[int, ...] = ()
    """Of the instances, if they are Dragonflies."""
    endpoint_ports: tuple[int, ...] = ()
    """Of the endpoint: where clients connect, and its admin address. Empty: there is none."""
    group: str = "default-primary"
    down_after_ms: int = 1_000
    failover_timeout_ms: int = 10_000
    password: str = ""
    maxmemory: str = ""
    sentinel_command: tuple[str, ...] = (sys.executable, "-m", "everfly", "sentinel", FILE)

    def __post_init__(self) -> None:
        """Raise SettingsError for what cannot work."""
        replicas, sentinels = len(self.ports) - 1, len(self.sentinel_ports)
        is_dragonfly = self.engine.engine is Engine.DRAGONFLY
        every = self.every_port
        wrong = [port for port in every if not 0 < port <= PORT_MAX]
        twice = sorted({port for port in every if every.count(port) > 1})
        times = (self.down_after_ms, self.failover_timeout_ms)
        checks = (
            (
                _NAME.fullmatch(self.group),
                f"{self.group!r} cannot be a name; use at most 64 letters, digits, `.`, `_`, `-`",
            ),
            (0 <= replicas <= REPLICAS_MAX, f"{replicas} replicas: choose 0 to {REPLICAS_MAX}"),
            (
                0 < sentinels <= SENTINELS_MAX,
                f"{sentinels} Sentinels: choose 1 to {SENTINELS_MAX}; 3 survive the loss of one",
            ),
            (
                not self.password or _PASSWORD.fullmatch(self.password),
                "the password must be 1 to 512 printable ASCII characters without spaces",
            ),
            (min(times) >= 1, "times are in milliseconds and at least 1"),
            (
                not is_dragonfly or len(self.admin_ports) == len(self.ports),
                "each Dragonfly needs an admin port",
            ),
            (len(self.endpoint_ports) in (0, 2), "an endpoint needs a port and one for its admin"),
            (not wrong, f"port {wrong[:1]}: ports are 1 to {PORT_MAX}; choose a lower --port"),
            (
                not twice,
                f"port {twice[:1]} would be used twice; move --port and --sentinel-port apart",
            ),
        )
        for is_right, text in checks:
            if not is_right:
                raise SettingsError(text)

    @property
    def every_port(self) -> tuple[int, ...]:
        """All ports of all processes."""
        return (*self.ports, *self.admin_ports, *self.sentinel_ports, *self.endpoint_ports)

    @property
    def quorum(self) -> int:
        """How many Sentinels must call the primary down: a majority."""
        return len(self.sentinel_ports) // 2 + 1

    @property
    def sentinel_addresses(self) -> tuple[Address, ...]:
        """Where the Sentinels listen."""
        return tuple(Address(HOST, port) for port in self.sentinel_ports)
