"""Turn killed primaries into times: how long until clients write again, ours beside the genuine.

Each run is a fresh deployment: three Sentinels of one kind (quorum 2, down-after 1000 ms,
failover-timeout 2000 ms, parallel-syncs 1) on one primary and two replicas, left alone for a random
4..6 s. Then the primary gets a signal, and every time is counted from just before it. Kinds take
turns within one round, so that a busy minute of the machine meets all of them.

The client is the same for all: it asks the Sentinels in turn for the address, connects there and
writes, with short time limits, again every 5 ms. What it measures is what a careful client can get.
"""

import json
import os
import random
import signal
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from hiredis import ReplyError

from environment import environment, kind_version
from event_log import EventLog
from kinds import Engine, Kind, missing
from processes import Connection
from servers import Deployment

SETTLE_S: Final = (4.0, 6.0)
"""Random, so that no run meets the Sentinels' periods (1 s, 2 s, 10 s) always at the same phase."""

RETRY_S: Final = 0.005
WRITE_TIMEOUT_S: Final = 0.02
"""A loopback write takes less than 1 ms; a frozen primary accepts connections but never answers."""

SENTINEL_TIMEOUT_S: Final = 0.2
GIVE_UP_S: Final = 30.0
AFTERMATH_S: Final = 2.0
"""Watched after the last +switch-master, for a second failover that nobody asked for."""

RATIO_MAX: Final = 0.55
"""What `--check` demands of ours / genuine, in the median time to the first write. Of the genuine
2.2 s about 1.0 s is down-after, which no Sentinel may shorten; most of the rest is waiting for
the next INFO, which one may."""

FAST_DOWN_MAX_S: Final = 0.3
"""What `--check --fast-down` demands of the median time to the first write after SIGKILL."""

RESAMPLES: Final = 2000
FAULTS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
FIRST: Final = {
    "first +sdown": "+sdown",
    "first +odown": "+odown",
    "first +elected-leader": "+elected-leader",
    "first +promoted-slave": "+promoted-slave",
    "first +switch-master": "+switch-master",
}
ALL_SWITCHED: Final = "all +switch-master"
FIRST_WRITE: Final = "first write"
PHASES: Final = (*FIRST, ALL_SWITCHED, FIRST_WRITE)


@dataclass
class Run:
    """One failover. Times in seconds after the signal; a phase that never came is left out."""

    kind: str
    fault: str
    number: int
    load: float
    times: dict[str, float] = field(default_factory=dict)
    failovers: int = 0
    split_votes: int = 0
    """Epochs in which Sentinels voted for different leaders."""
    aborts: int = 0
    tilts: int = 0


class Client:
    """Ask the Sentinels in turn where the primary is, and write there."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._sentinels: dict[int, Connection] = {}

    def first_write(self, name: str, deadline: float) -> float | None:
        """Return the monotonic time of the first acknowledged write, or None at the deadline."""
        turn = 0
        while time.monotonic() < deadline:
            port = self._ports[turn % len(self._ports)]
            turn += 1
            try:
                if self._write_at(self._address(port, name)):
                    return time.monotonic()
            except (OSError, ReplyError):
                pass  # down, frozen or still read-only: exactly what is being waited for to end
            time.sleep(RETRY_S)
        return None

    def _address(self, port: int, name: str) -> int:
        try:
            if port not in self._sentinels:
                self._sentinels[port] = Connection(port, timeout_s=SENTINEL_TIMEOUT_S)
            reply = self._sentinels[port].call("SENTINEL", "get-master-addr-by-name", name)
        except OSError:
            if connection := self._sentinels.pop(port, None):
                connection.close()
            raise
        if not isinstance(reply, list):
            raise ConnectionError(f"Sentinel {port} knows no group {name}")
        return int(reply[1])

    def _write_at(self, port: int) -> bool:
        with Connection(port, timeout_s=WRITE_TIMEOUT_S) as instance:
            return instance.call("SET", "bench", "1") == b"OK"

    def close(self) -> None:
        """Close the connections to the Sentinels."""
        for connection in self._sentinels.values():
            connection.close()


def measure(kind: Kind, fault: str, number: int, engine: Engine) -> Run:
    """Carry out one run in a deployment of its own. Raise TimeoutError when it does not start."""
    with Deployment(kinds=(kind,) * 3, engine=engine) as deployment:
        ports = [sentinel.port for sentinel in deployment.sentinels]
        client = Client(ports)
        with EventLog(ports) as log:
            time.sleep(random.uniform(*SETTLE_S))
            run = Run(kind.value, fault, number, load())
            primary = deployment.primary()
            start = time.monotonic()
            primary.signal(FAULTS[fault])
            written = client.first_write(deployment.name, start + GIVE_UP_S)
            if written is not None:
                run.times[FIRST_WRITE] = written - start
            try:
                log.wait_for("+switch-master", count=3, start=start, within_s=GIVE_UP_S)
            except TimeoutError as error:
                progress(f"{kind.value} {fault}: {error}")
            time.sleep(AFTERMATH_S)
            client.close()
            take_events(run, log, start, len(ports))
    return run


def take_events(run: Run, log: EventLog, start: float, sentinels: int) -> None:
    """Turn the events after `start` into the times and counts of a run."""
    for phase, channel in FIRST.items():
        # Replicas and Sentinels may go down too; only the primary's events open the phases.
        found = [
            event
            for event in log.of(channel, start)
            if channel not in ("+sdown", "+odown") or event.payload.startswith("master ")
        ]
        if found:
            run.times[phase] = found[0].at - start
    switched: dict[int, float] = {}
    for event in log.of("+switch-master", start):
        switched.setdefault(event.port, event.at - start)
    if len(switched) == sentinels:
        run.times[ALL_SWITCHED] = max(switched.values())
    votes: dict[str, set[str]] = defaultdict(set)
    for event in log.of("+vote-for-leader", start):
        leader, epoch = event.payload.split()
        votes[epoch].add(leader)
    run.split_votes = sum(len(leaders) > 1 for leaders in votes.values())
    run.failovers = len(log.of("+elected-leader", start))
    run.aborts = sum(event.channel.startswith("-failover-abort") for event in log.since(start))
    run.tilts = len(log.of("+tilt", start))


def load() -> float:
    """Return the load average of the last minute."""
    return float(Path("/proc/loadavg").read_text().split()[0])


def progress(text: str) -> None:
    """Tell a person what goes on, on stderr."""
    click.echo(text, err=True)


@dataclass(frozen=True)
class Ratio:
    """Median of ours / median of theirs, with the limits of a 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}..{self.high:.2f})"


def ratio(ours: list[float], theirs: list[float]) -> Ratio:
    """Compare two samples. The resampling has a fixed seed: same times, same limits."""
    dice = random.Random(0)
    resampled = sorted(
        statistics.median(dice.choices(ours, k=len(ours)))
        / statistics.median(dice.choices(theirs, k=len(theirs)))
        for _ in range(RESAMPLES)
    )
    return Ratio(
        statistics.median(ours) / statistics.median(theirs),
        resampled[round(RESAMPLES * 0.025)],
        resampled[round(RESAMPLES * 0.975) - 1],
    )


def times_of(runs: list[Run], kind: Kind, fault: str, phase: str) -> list[float]:
    """Return the times of one phase, of the runs in which it came."""
    return [
        run.times[phase]
        for run in runs
        if run.kind == kind.value and run.fault == fault and phase in run.times
    ]


def spread(times: list[float]) -> str:
    """Return minimum, median and maximum for the table."""
    if not times:
        return "never"
    return f"{min(times):.3f}  {statistics.median(times):.3f}  {max(times):.3f}"


def table_of(runs: list[Run], fault: str, kinds: list[Kind]) -> Table:
    """Return a table of one fault: a row a phase, a column a kind, ours first."""
    title = f"seconds after {FAULTS[fault].name} of the primary: minimum, median, maximum"
    table = Table(title=title, title_justify="left")
    table.add_column("phase")
    for kind in kinds:
        table.add_column(kind_version(kind), justify="right", no_wrap=True)
    for kind in kinds[1:]:
        table.add_column(f"{kinds[0].value} / {kind.value} (95 %)", justify="right", no_wrap=True)
    for phase in PHASES:
        samples = [times_of(runs, kind, fault, phase) for kind in kinds]
        ratios = [
            str(ratio(samples[0], theirs)) if samples[0] and theirs else ""
            for theirs in samples[1:]
        ]
        table.add_row(phase, *map(spread, samples), *ratios, end_section=phase == FIRST_WRITE)
    for label in ("failovers", "split_votes", "aborts", "tilts"):
        sums = [
            sum(getattr(run, label) for run in runs if (run.kind, run.fault) == (kind.value, fault))
            for kind in kinds
        ]
        count = sum((run.kind, run.fault) == (kinds[0].value, fault) for run in runs)
        table.add_row(f"{label.replace('_', ' ')} in {count} runs", *map(str, sums))
    return table


def failures(runs: list[Run], faults: list[str], kinds: list[Kind]) -> list[str]:
    """Return what `--check` finds wrong with ours, as sentences."""
    ours = kinds[0]
    found = [
        f"{run.kind} {run.fault} run {run.number}: {run.failovers} failovers, phases seen: "
        f"{', '.join(run.times)}; there must be exactly one, with every phase"
        for run in runs
        if run.kind == ours.value and (run.failovers != 1 or len(run.times) < len(PHASES))
    ]
    for fault in faults:
        mine = times_of(runs, ours, fault, FIRST_WRITE)
        if fault == "kill" and "EVERFLY_FAST_DOWN" in os.environ:
            slow = not mine or statistics.median(mine) > FAST_DOWN_MAX_S
            found += [f"fast down: median above {FAST_DOWN_MAX_S} s"] if slow else []
        for kind in kinds[1:]:
            theirs = times_of(runs, kind, fault, FIRST_WRITE)
            measured = ratio(mine, theirs) if mine and theirs else None
            if measured is None or measured.value > RATIO_MAX:
                found.append(
                    f"{fault}: first write, {ours.value} / {kind.value} is {measured}; "
                    f"the limit is {RATIO_MAX}"
                )
    return found


def parse_kinds(_context: click.Context, _option: click.Parameter, value: str) -> list[Kind]:
    """Turn `valkey,redis` into kinds that can run here."""
    try:
        kinds = [Kind(word.strip()) for word in value.split(",") if word.strip()]
    except ValueError as error:
        names = ", ".join(kind.value for kind in Kind)
        raise click.BadParameter(f"{error}; choose among {names}") from error
    for kind in kinds:
        if reason := missing(kind):
            raise click.BadParameter(reason)
    return kinds


def parse_faults(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    """Turn `kill,stop` into fault names."""
    faults = [word.strip() for word in value.split(",") if word.strip()]
    for fault in faults:
        if fault not in FAULTS:
            raise click.BadParameter(f"{fault!r}; choose among {', '.join(FAULTS)}")
    return faults


@click.command()
@click.option("--ours", default="everfly", callback=parse_kinds, help="The kind that is judged.")
@click.option("--against", default="valkey", callback=parse_kinds, help="Other kinds: a,b.")
@click.option("--runs", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option("--faults", default="kill,stop", show_default=True, callback=parse_faults)
@click.option("--engine", default="valkey", type=click.Choice([each.value for each in Engine]))
@click.option("--fast-down", is_flag=True, help="With ours set to act on refused connections.")
@click.option("--check", is_flag=True, help=f"Exit 1 when a first-write ratio is > {RATIO_MAX}.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(**options: object) -> None:
    """Kill primaries under Sentinels of several kinds and compare the times."""
    ours, against, faults = options["ours"], options["against"], options["faults"]
    assert isinstance(ours, list), ours
    assert isinstance(against, list), against
    assert isinstance(faults, list), faults
    kinds: list[Kind] = [*ours, *against]
    engine = Engine(options["engine"])
    count = options["runs"]
    assert isinstance(count, int), count
    if options["fast_down"]:
        # Their environment is ours; the genuine ones do not know it.
        os.environ["EVERFLY_FAST_DOWN"] = "yes"
    facts = environment(kinds, engine)
    facts["fast down"] = "yes" if options["fast_down"] else "no"
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    runs: list[Run] = []
    for number in range(1, count + 1):
        for fault in faults:
            for kind in random.sample(kinds, len(kinds)):
                run = measure(kind, fault, number, engine)
                runs.append(run)
                times = f"write {run.times.get(FIRST_WRITE, float('nan')):.3f} s"
                progress(f"{number}/{count} {fault} {kind.value}: {times}, load {run.load:.2f}")
    for fault in faults:
        console.print(table_of(runs, fault, kinds))
    if isinstance(options["json_file"], Path):
        content = {"environment": facts, "runs": [asdict(run) for run in runs]}
        options["json_file"].write_text(json.dumps(content, indent=2) + "\n")
    if options["check"] and (found := failures(runs, faults, kinds)):
        for sentence in found:
            progress(f"check: {sentence}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
