"""Turn SENTINEL FAILOVER on a healthy group into figures: what clients lose and how long they wait.

Each run is a fresh deployment of one kind of Sentinel (three, quorum 2, down-after 1000 ms). One
client writes as fast as it can where the Sentinels say, each key once; another never leaves the old
primary, as clients with open connections do. After some seconds of writing one Sentinel is told to
fail over. Counted from the data at the end: acknowledged writes that the new primary does not hold.
Kinds take turns within one round.
"""

import json
import random
import sys
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

import click
from rich.console import Console
from rich.table import Table

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hiredis import ReplyError

from environment import environment, kind_version
from failover import parse_kinds, progress
from kinds import Engine, Kind
from processes import Connection, until
from servers import Deployment

BEFORE_S: Final = 1.5
AFTER_S: Final = 13.0
"""Genuine Sentinels leave the old primary writable for 10 s."""

SENTINEL_TIMEOUT_S: Final = 0.5
WRITE_TIMEOUT_S: Final = 8.0
"""Above the longest hand-over, so that no client gives up a write that is only held."""

LEAD_MAX: Final = 0.1
"""What `--check` demands of ours / genuine, in the time from the command to the first write on the
new primary."""


@dataclass
class Run:
    """One switchover. Times in seconds."""

    kind: str
    number: int
    first_write: float = 0.0
    """From the command to the first acknowledged write on the new primary."""
    longest_gap: float = 0.0
    """Between two acknowledged writes of the client that follows the Sentinels."""
    old_accepted: float = 0.0
    """For how long after the command the old primary still acknowledged writes."""
    acknowledged: int = 0
    lost: int = 0
    lost_by_followers: int = 0
    """Of those, by the client that follows the Sentinels."""
    errors: int = 0


@dataclass
class Writer(threading.Thread):
    """A client that writes each of its keys once and remembers what was acknowledged where."""

    deployment: Deployment
    prefix: str
    port: int | None
    """Where it stays; None: it asks the Sentinels, again after each error."""
    pause_s: float = 0.0
    """Between two writes."""
    acknowledged: list[tuple[float, int, int]] = field(default_factory=list)
    """When, at which port, which number."""
    errors: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Write until stopped."""
        number = 0
        turn = 0
        while not self.stopped.is_set():
            turn += 1
            try:
                port = self.port or self._ask(turn)
                with closing(Connection(port, timeout_s=WRITE_TIMEOUT_S)) as connection:
                    while not self.stopped.is_set():
                        number += 1
                        connection.call("SET", f"{self.prefix}{number}", "1")
                        self.acknowledged.append((time.monotonic(), port, number))
                        if self.pause_s:
                            self.stopped.wait(self.pause_s)
            except (OSError, ReplyError):
                self.errors += 1
                self.stopped.wait(0.002)

    def _ask(self, turn: int) -> int:
        sentinels = self.deployment.sentinels
        with closing(
            Connection(sentinels[turn % len(sentinels)].port, timeout_s=SENTINEL_TIMEOUT_S)
        ) as sentinel:
            reply = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.deployment.name)
        assert isinstance(reply, list)
        return int(reply[1])


def measure(kind: Kind, number: int, engine: Engine) -> Run:
    """Carry out one switchover in a deployment of its own."""
    run = Run(kind.value, number)
    with Deployment(kinds=(kind,) * 3, engine=engine, failover_timeout=10_000) as deployment:
        old = deployment.primary()
        follower = Writer(deployment, "follower:", None)
        stayer = Writer(deployment, "stayer:", old.port)
        follower.start()
        stayer.start()
        time.sleep(BEFORE_S + random.uniform(0, 1))
        start = time.monotonic()
        deployment.sentinels[0].ask("SENTINEL", "FAILOVER", deployment.name)
        new = deployment.new_primary(old, 30.0)
        time.sleep(AFTER_S)
        for writer in (follower, stayer):
            writer.stopped.set()
        for writer in (follower, stayer):
            writer.join()
        at_new = [at for at, port, _ in follower.acknowledged if port == new.port]
        run.first_write = at_new[0] - start if at_new else float("inf")
        times = [at for at, _, _ in follower.acknowledged]
        run.longest_gap = max(later - earlier for earlier, later in pairwise(times))
        at_old = [at for at, _, _ in stayer.acknowledged if at > start]
        run.old_accepted = at_old[-1] - start if at_old else 0.0
        until(partial(old.follows, new.port), 20.0)
        run.errors = follower.errors
        for writer in (follower, stayer):
            lost = _missing(new.port, writer)
            run.lost += lost
            run.acknowledged += len(writer.acknowledged)
            if writer is follower:
                run.lost_by_followers = lost
    return run


def _missing(port: int, writer: Writer) -> int:
    """Count the acknowledged writes that an instance does not hold."""
    missing = 0
    numbers = [number for _, _, number in writer.acknowledged]
    with closing(Connection(port, timeout_s=10.0)) as connection:
        for begin in range(0, len(numbers), 500):
            keys = [f"{writer.prefix}{number}" for number in numbers[begin : begin + 500]]
            held = connection.call("EXISTS", *keys)
            assert isinstance(held, int)
            missing += len(keys) - held
    return missing


def table_of(runs: list[Run], kinds: list[Kind]) -> Table:
    """Return medians, a column a kind, ours first."""
    table = Table(title="SENTINEL FAILOVER with a living primary, medians", title_justify="left")
    table.add_column("")
    for kind in kinds:
        table.add_column(kind_version(kind), justify="right")
    rows = {
        "first write on the new primary, s": "first_write",
        "longest gap between writes, s": "longest_gap",
        "old primary accepted writes for, s": "old_accepted",
        "acknowledged writes": "acknowledged",
        "of them lost": "lost",
        "of them by a client that follows the Sentinels": "lost_by_followers",
    }
    for label, name in rows.items():
        values = [
            median(getattr(run, name) for run in runs if run.kind == kind.value) for kind in kinds
        ]
        table.add_row(label, *(f"{value:,.3f}".removesuffix(".000") for value in values))
    return table


def failures(runs: list[Run], kinds: list[Kind]) -> list[str]:
    """Return what `--check` finds wrong with ours."""
    ours = [run for run in runs if run.kind == kinds[0].value]
    found = [f"run {run.number}: {run.lost} acknowledged writes lost" for run in ours if run.lost]
    mine = median(run.first_write for run in ours)
    for kind in kinds[1:]:
        theirs = median(run.first_write for run in runs if run.kind == kind.value)
        if mine / theirs > LEAD_MAX:
            found.append(f"first write: {mine:.3f} s / {theirs:.3f} s is above {LEAD_MAX}")
    return found


@click.command()
@click.option("--against", default="valkey", callback=parse_kinds, help="Other kinds: a,b.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1, 1000))
@click.option("--engine", default="valkey", type=click.Choice([each.value for each in Engine]))
@click.option("--check", is_flag=True, help="Exit 1 when something is lost or slow.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(
    against: list[Kind], runs: int, engine: str, *, check: bool, json_file: Path | None
) -> None:
    """Switch primaries under load with Sentinels of several kinds, and count what is lost."""
    kinds = [Kind.EVERFLY, *against]
    facts = environment(kinds, Engine(engine))
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    done: list[Run] = []
    for number in range(1, runs + 1):
        for kind in random.sample(kinds, len(kinds)):
            run = measure(kind, number, Engine(engine))
            done.append(run)
            progress(
                f"{number}/{runs} {kind.value}: first write {run.first_write:.3f} s, "
                f"{run.lost} of {run.acknowledged} writes lost"
            )
    console.print(table_of(done, kinds))
    if json_file is not None:
        content = {"environment": facts, "runs": [asdict(run) for run in done]}
        json_file.write_text(json.dumps(content, indent=2) + "\n")
    if check and (found := failures(done, kinds)):
        for sentence in found:
            progress(f"check: {sentence}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
