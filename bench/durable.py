"""Turn kills of a primary into a count of lost writes, with durable replies and without.

Each run: a fresh group of three instances and three Sentinels, an endpoint before them, clients
that each push numbers into a list of their own and remember what was acknowledged. The primary is
killed (SIGKILL) under load; when the endpoint has found the new one, the lists are read from it.
Lost: acknowledged and not there. The two ways take turns.

On one machine a killed primary loses next to nothing: what it wrote to its replicas' sockets still
arrives. On a network it would not. So the replicas are frozen for `--lag-ms` before the kill and
values are large: the sockets fill, and the rest is in the primary's memory when it dies.
"""

import json
import signal
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hiredis import ReplyError

from endpoint_process import EndpointProcess
from environment import environment
from kinds import Engine, Kind
from processes import Connection, until
from servers import Deployment, Instance

CLIENTS: Final = 8
BATCH: Final = 5
"""Writes that a client sends in one piece."""
VALUE_BYTES: Final = 2_048
READ_AT_ONCE: Final = 1_000
LOAD_S: Final = 0.5
LIMIT_S: Final = 60.0
TRIES: Final = 5
WAYS: Final = {"acks 1": ("--acks", "1"), "without": ()}


@dataclass
class Run:
    """One kill."""

    way: str
    number: int
    acknowledged: int = 0
    lost: int = 0
    twice: int = 0
    ambiguous: int = 0
    refused: int = 0
    """Answered by any other error."""
    writes_a_second: float = 0.0
    """Before the kill."""


@dataclass
class Writer(threading.Thread):
    """A client that pushes numbers and remembers which were acknowledged."""

    port: int
    key: str
    acknowledged: list[int] = field(default_factory=list)
    ambiguous: int = 0
    refused: int = 0
    trouble: str = ""

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Write until stopped."""
        number = 0
        try:
            with closing(Connection(self.port, timeout_s=LIMIT_S)) as connection:
                while not self.stopped.is_set():
                    batch = range(number, number + BATCH)
                    number += BATCH
                    for each in batch:
                        connection.send("RPUSH", self.key, f"{each}:".ljust(VALUE_BYTES, "x"))
                    for each in batch:
                        self._take(each, connection.receive())
        except OSError as error:
            self.trouble = f"connection: {error}"

    def _take(self, number: int, reply: object) -> None:
        if not isinstance(reply, ReplyError):
            self.acknowledged.append(number)
        elif str(reply).startswith("AMBIGUOUS "):
            self.ambiguous += 1
        else:
            self.refused += 1
            self.trouble = str(reply)


def kill_in_the_end(way: str, number: int, lag_ms: int) -> Run:
    """Return what one kill cost; a stage that does not come up on a busy machine is set anew."""
    for tries_left in reversed(range(TRIES)):
        try:
            return kill_once(way, number, lag_ms)
        except TimeoutError as error:
            if not tries_left:
                raise
            click.echo(f"{number}, {way}: again, for {str(error)[:100]}", err=True)
    raise AssertionError("the last try returned or raised")


def kill_once(way: str, number: int, lag_ms: int) -> Run:
    """Return what one kill cost."""
    run = Run(way, number)
    with (
        tempfile.TemporaryDirectory(prefix="everfly-durable-") as folder,
        Deployment(replicas=2, down_after=1000) as deployment,
        EndpointProcess(Path(folder), deployment, WAYS[way]) as endpoint,
    ):
        writers = [Writer(endpoint.port, f"list:{at}") for at in range(CLIENTS)]
        began = time.monotonic()
        for writer in writers:
            writer.start()
        time.sleep(LOAD_S)
        count = sum(len(writer.acknowledged) for writer in writers)
        run.writes_a_second = count / (time.monotonic() - began)
        _kill_with_lag(deployment, lag_ms)
        until(lambda: endpoint.status()["switches"] == 1, LIMIT_S)
        for writer in writers:
            writer.stopped.set()
        for writer in writers:
            writer.join(LIMIT_S)
            if writer.is_alive() or writer.trouble.startswith("connection"):
                raise click.ClickException(f"{writer.key}: {writer.trouble or 'never answered'}")
        new = deployment.group.by_port(endpoint.primary_port())
        for writer in writers:
            numbers = _numbers(new, writer.key)
            known = set(numbers)
            run.acknowledged += len(writer.acknowledged)
            run.lost += sum(each not in known for each in writer.acknowledged)
            run.twice += len(numbers) - len(known)
            run.ambiguous += writer.ambiguous
            run.refused += writer.refused
    return run


def _numbers(instance: Instance, key: str) -> list[int]:
    """Return what is in a list."""
    numbers: list[int] = []
    while True:
        start = len(numbers)
        part = instance.ask("LRANGE", key, start, start + READ_AT_ONCE - 1)
        assert isinstance(part, list), part
        numbers += [int(each.partition(b":")[0]) for each in part]
        if len(part) < READ_AT_ONCE:
            return numbers


def _kill_with_lag(deployment: Deployment, lag_ms: int) -> None:
    """Kill the primary while its replicas have not read what it sent last."""
    primary = deployment.primary()
    replicas = [each for each in deployment.group.instances if each is not primary]
    for replica in replicas:
        replica.signal(signal.SIGSTOP)
    time.sleep(lag_ms / 1000)
    primary.signal(signal.SIGKILL)
    for replica in replicas:
        replica.signal(signal.SIGCONT)


@click.command()
@click.option("--kills", default=10, show_default=True, help="Of each way.")
@click.option("--lag-ms", default=300, show_default=True, help="For how long replicas are frozen.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
@click.option("--check", is_flag=True, help="Exit 1 when a durable write was lost, or one doubled.")
def main(kills: int, lag_ms: int, is_json: bool, check: bool) -> None:
    """Kill primaries and count lost writes, with `acks = 1` and without."""
    runs = []
    for number in range(1, kills + 1):
        for way in WAYS:
            runs.append(kill_in_the_end(way, number, lag_ms))
            click.echo(f"{number} of {kills}, {way}: {runs[-1].lost} lost", err=True)
    if is_json:
        told = {
            "environment": environment([Kind.EVERFLY], Engine.VALKEY),
            "runs": [asdict(run) for run in runs],
        }
        click.echo(json.dumps(told, indent=2))
    else:
        show(runs, kills, lag_ms)
    durable = [run for run in runs if run.way != "without"]
    if check and (any(run.lost for run in durable) or any(run.twice for run in runs)):
        sys.exit(1)


def show(runs: list[Run], kills: int, lag_ms: int) -> None:
    """Print a table."""
    title = f"{kills} kills each, replicas frozen for {lag_ms} ms, {CLIENTS} clients"
    table = Table(title=title)
    for column in ("", "acknowledged", "lost", "kills with loss", "twice", "ambiguous",
                   "refused", "writes/s before"):  # fmt: skip
        table.add_column(column, justify="right")
    for way in WAYS:
        of_way = [run for run in runs if run.way == way]
        table.add_row(
            way,
            *(f"{sum(getattr(run, name) for run in of_way)}" for name in ("acknowledged", "lost")),
            str(sum(run.lost > 0 for run in of_way)),
            *(
                f"{sum(getattr(run, name) for run in of_way)}"
                for name in ("twice", "ambiguous", "refused")
            ),
            f"{sum(run.writes_a_second for run in of_way) / len(of_way):.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
