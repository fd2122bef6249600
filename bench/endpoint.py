"""Turn the data plane and its peers, side by side in one run, into figures per CPU second.

The same load (redis-benchmark) goes straight to an instance, through our data plane, through
HAProxy (TCP mode) and, with `--envoy`, through Envoy's Redis and TCP filters. Ways take turns
within each round, so that whatever else the machine does meets all alike; the figure of a way is
its median over the rounds. CPU seconds are those of the proxy's whole process tree.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
from rich.console import Console
from rich.table import Table

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from endpoint_proxies import Road, Running, Way, install_envoy, opened
from environment import environment
from kinds import HOST, Engine
from servers import Instance

COST_MIN: Final = 1.0
"""What `--check` demands of ours / the best proxy, in requests per CPU second."""
P99_MAX: Final = 1.1
"""What `--check` demands of ours / the best proxy, in the 99th percentile of latency."""
LOAD_S: Final = 300.0
IDLE_S: Final = 20.0
IDLE_CONNECTIONS: Final = min(10_000, os.sysconf("SC_OPEN_MAX") // 2 - 1_000)
"""10,000, or what the limit of open files leaves to a proxy with two of them a connection."""


@dataclass(frozen=True)
class Load:
    """What clients do."""

    connections: int
    pipeline: int
    value_bytes: int
    requests: int

    def __str__(self) -> str:
        return f"{self.connections} x {self.pipeline}, {self.value_bytes} B"


@dataclass(frozen=True)
class Run:
    """One load over one way. Times in milliseconds."""

    way: str
    load: Load
    requests_per_s: float
    p50: float
    p99: float
    cpu_s: float
    requests_per_cpu_s: float


def loads(*, is_quick: bool) -> list[Load]:
    """Return the loads: connections, pipeline, size of the values."""
    if is_quick:
        return [Load(50, 1, 3, 60_000), Load(50, 16, 3, 600_000)]
    return [
        Load(connections, pipeline, value_bytes, requests)
        for connections in (1, 50, 500)
        for value_bytes in (3, 1024)
        for pipeline, requests in ((1, 20_000 if connections == 1 else 100_000), (16, 800_000))
    ]


def measure(running: Running, load: Load, cores: tuple[int, ...]) -> Run:
    """Put one load on a way. Raise CalledProcessError, TimeoutExpired."""
    command = [
        *(["taskset", "-c", ",".join(map(str, cores))] if cores else []),
        "redis-benchmark", "-h", HOST, "-p", str(running.port), "-t", "get", "--csv",
        "-c", str(load.connections), "-P", str(load.pipeline), "-n", str(load.requests),
        "-d", str(load.value_bytes),
    ]  # fmt: skip
    before = running.cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LOAD_S)
    cpu_s = running.cpu_s() - before
    # "test","rps","avg","min","p50","p95","p99","max"
    fields = [each.strip('"') for each in done.stdout.strip().splitlines()[-1].split(",")]
    return Run(
        way=running.way.value,
        load=load,
        requests_per_s=float(fields[1]),
        p50=float(fields[4]),
        p99=float(fields[6]),
        cpu_s=cpu_s,
        requests_per_cpu_s=load.requests / cpu_s if cpu_s else 0.0,
    )


def idle_memory(running: Running) -> int:
    """Return the bytes of memory that each of many idle connections costs a proxy."""
    before = running.memory_bytes()
    with ExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            client = stack.enter_context(socket.create_connection((HOST, running.port)))
            client.settimeout(IDLE_S)
            client.sendall(b"PING\r\n")
            if client.recv(7) != b"+PONG\r\n":
                raise ConnectionError(f"{running.way.value} does not serve so many connections")
        return (running.memory_bytes() - before) // IDLE_CONNECTIONS


def medians(runs: list[Run]) -> list[Run]:
    """Return for each load and way the medians over the rounds."""
    groups: dict[tuple[Load, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.load, run.way), []).append(run)
    return [
        Run(
            way,
            load,
            *(
                median(getattr(each, name) for each in group)
                for name in ("requests_per_s", "p50", "p99", "cpu_s", "requests_per_cpu_s")
            ),
        )
        for (load, way), group in groups.items()
    ]


def shortfalls(figures: list[Run]) -> list[str]:
    """Return where ours is dearer or slower than the best proxy, one line each."""
    lines = []
    for load in dict.fromkeys(run.load for run in figures):
        of_load = {run.way: run for run in figures if run.load == load}
        ours = of_load.pop(Way.EVERFLY.value)
        of_load.pop(Way.DIRECT.value, None)
        if not of_load:
            continue
        cost = ours.requests_per_cpu_s / max(it.requests_per_cpu_s for it in of_load.values())
        wait = ours.p99 / min(it.p99 for it in of_load.values())
        if cost < COST_MIN:
            lines.append(f"{load}: {cost:.2f} x the best proxy's requests per CPU second")
        if wait > P99_MAX:
            lines.append(f"{load}: {wait:.2f} x the best proxy's 99th percentile")
    return lines


def show(figures: list[Run], console: Console) -> None:
    """Print the figures for people."""
    table = Table(title="GET through each way, medians (times in ms)")
    for name in ("load", "way", "requests/s", "p50", "p99", "CPU s", "requests/CPU s"):
        table.add_column(name, justify="left" if name in ("load", "way") else "right")
    last = None
    for run in figures:
        cost = f"{run.requests_per_cpu_s:,.0f}" if run.cpu_s else "-"
        table.add_row(
            str(run.load) if run.load != last else "",
            run.way,
            f"{run.requests_per_s:,.0f}",
            f"{run.p50:.3f}",
            f"{run.p99:.3f}",
            f"{run.cpu_s:.2f}",
            cost,
        )
        last = run.load
    console.print(table)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often each way takes its turn.")
@click.option("--workers", default=1, show_default=True, help="Threads of each proxy.")
@click.option("--proxy-cores", default="", help="CPUs of the proxy, like 0,1; empty: any.")
@click.option("--load-cores", default="", help="CPUs of the load; empty: any.")
@click.option("--envoy", is_flag=True, help="Envoy too; installs 100 MB into the user's cache.")
@click.option("--quick", is_flag=True, help="Two loads, no idle connections.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--check", is_flag=True, help="Exit 1 where ours falls short of the best proxy.")
def main(  # noqa: PLR0913 - options are arguments
    *,
    rounds: int,
    workers: int,
    proxy_cores: str,
    load_cores: str,
    envoy: bool,
    quick: bool,
    as_json: bool,
    check: bool,
) -> None:
    """Measure the endpoint's data plane against its peers."""
    ways = [Way.DIRECT, Way.EVERFLY, Way.HAPROXY]
    if envoy:
        install_envoy()
        ways += [Way.ENVOY_REDIS, Way.ENVOY_TCP]
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 100)
    cores = tuple(int(core) for core in load_cores.split(",") if core)
    runs: list[Run] = []
    idle: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="everfly-bench-") as folder, ExitStack() as stack:
        primary = Instance(Engine.VALKEY, Path(folder) / "primary")
        stack.callback(primary.kill)
        primary.start()
        proxy = tuple(int(core) for core in proxy_cores.split(",") if core)
        road = Road(primary.port, workers, proxy, Path(folder))
        open_ways = [stack.enter_context(opened(way, road)) for way in ways]
        for load in loads(is_quick=quick):
            primary.ask("SET", "key:__rand_int__", "x" * load.value_bytes)
            for number in range(rounds):
                console.print(f"[dim]{load}: round {number + 1} of {rounds}", highlight=False)
                runs += [measure(running, load, cores) for running in open_ways]
        figures = medians(runs)
        missing = shortfalls(figures)
        if not as_json:
            show(figures, console)
        if not quick:
            idle = {it.way.value: idle_memory(it) for it in open_ways if it.process}
    if as_json:
        facts = environment([], Engine.VALKEY)
        result = {
            "environment": facts,
            "runs": [asdict(run) for run in figures],
            "idle_bytes": idle,
            "shortfalls": missing,
        }
        print(json.dumps(result, indent=2))
    else:
        for way, count in idle.items():
            console.print(f"{way}: {count:,} bytes for each of {IDLE_CONNECTIONS:,} idle clients")
        for line in missing:
            console.print(f"short: {line}")
    if check and missing:
        sys.exit(1)


if __name__ == "__main__":
    main()
