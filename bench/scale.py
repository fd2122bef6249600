"""Turn many watched groups into figures: what one Sentinel process costs, ours beside the genuine.

Each run starts fresh fakes (`fake_instances.py`: every primary with two replicas, its own addresses
and its own hello channel, and two more Sentinels) and one real Sentinel that watches all of them.
Measured are the time until it knows every replica and every Sentinel, and then, in steady state,
its processor time, memory and files, how promptly it answers a client, and how evenly it pings the
instances. Nobody is ever down, so a +sdown, a +tilt or a failover is a fault.

The fakes report their own load and lateness: figures of a run in which they were late say little.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click
from rich.console import Console

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from environment import environment
from fake_connection import raise_file_limit
from fake_instances import GROUPS_MAX, MEMBERS, PEERS, REPLICAS, group_name, host
from kinds import HOST, Engine, Kind, missing, sentinel_command
from processes import Child, Connection, free_port
from scale_report import Run, failures, middle_of, table_of
from servers import Instance

QUORUM: Final = 2
SETTLE_S: Final = 12.0
"""More than one INFO period: the steady state begins when nothing is new any more."""

LOOK_S: Final = 0.2
"""Between two looks at the progress of the discovery. A look costs ours some milliseconds."""

PROBE_S: Final = 0.02
PROBE_TIMEOUT_S: Final = 30.0
REPORT_TIMEOUT_S: Final = 60.0
FILES_SPARE: Final = 2_000
CLOCK_HZ: Final = os.sysconf("SC_CLK_TCK")
GROUPS_PER_FAKE: Final = 1_000
"""One fake process uses about a third of a core for so many."""


class Fakes:
    """The processes that play all instances and the other Sentinels."""

    def __init__(self, groups: int, port: int, watched_port: int, info: Path) -> None:
        parts = -(-groups // GROUPS_PER_FAKE)
        program = Path(__file__).with_name("fake_instances.py")
        plan = {"groups": groups, "port": port, "watched_port": watched_port, "info": str(info)}
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for part in range(parts):
                words = json.dumps(plan | {"part": part, "parts": parts})
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, str(program), words],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            for each in self._processes:
                self._line_of(each)
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """Begin to count anew."""
        self._tell("reset")

    def report(self) -> list[dict[str, object]]:
        """Return what each process counted since the last reset."""
        self._tell("report")
        return [json.loads(self._line_of(each)) for each in self._processes]

    def close(self) -> None:
        """End all processes."""
        for each in self._processes:
            assert each.stdin is not None
            assert each.stdout is not None
            each.stdin.close()  # each of them ends when its stdin does
            each.stdout.close()
        for each in self._processes:
            try:
                each.wait(REPORT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()

    def _tell(self, word: str) -> None:
        for each in self._processes:
            assert each.stdin is not None
            each.stdin.write(f"{word}\n")
            each.stdin.flush()

    def _line_of(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"a fake process ended with status {process.wait()}; see above")
        return line


@dataclass(frozen=True)
class Watched:
    """The real Sentinel. `start` is the monotonic time just before its start."""

    child: Child
    port: int
    start: float


@contextmanager
def stage(kind: Kind, groups: int) -> Iterator[tuple[Watched, Fakes]]:
    """Start fakes and one Sentinel; yield both. The Sentinel may not answer yet."""
    with tempfile.TemporaryDirectory(prefix="everfly-scale-") as name:
        folder = Path(name)
        info = folder / "info.txt"
        info.write_text(info_of_a_real_instance(folder))
        port, watched_port = free_port(), free_port()
        conf = folder / "sentinel.conf"
        lines = [
            f"port {watched_port}",
            f"bind {HOST}",
            f"dir {folder}",
            # As many links as there are must fit beside the clients (the genuine one asks for it).
            f"maxclients {groups * MEMBERS * 2 + FILES_SPARE}",
            *(
                f"sentinel monitor {group_name(group)} {host(group, 0)} {port} {QUORUM}"
                for group in range(groups)
            ),
        ]
        conf.write_text("\n".join(lines) + "\n")
        fakes = Fakes(groups, port, watched_port, info)
        child: Child | None = None
        try:
            start = time.monotonic()
            child = Child(sentinel_command(kind, conf), folder / "sentinel.log")
            yield Watched(child, watched_port, start), fakes
        finally:
            if child is not None:
                child.kill()
            fakes.close()


def info_of_a_real_instance(folder: Path) -> str:
    """Return the INFO of a Valkey that was just started."""
    instance = Instance(Engine.VALKEY, folder / "instance")
    instance.start()
    try:
        reply = instance.ask("INFO")
        assert isinstance(reply, bytes), reply
        return reply.decode()
    finally:
        instance.kill()


def measure(kind: Kind, groups: int, seconds: float, patience: float) -> Run:
    """Carry out one run. Raise RuntimeError or TimeoutError when it does not even start."""
    with stage(kind, groups) as (watched, fakes):
        pid = watched.child.pid
        run = Run(kind.value, groups, os.getloadavg()[0])
        run.discovery_s = discover(watched, groups, patience)
        run.discovery_cpu_s = cpu_seconds(pid)
        if run.discovery_s is not None:
            wait_until(time.monotonic() + SETTLE_S)
            fakes.reset()
            before, began = cpu_seconds(pid), time.monotonic()
            answers = probe(watched.port, began + seconds)
            spent = cpu_seconds(pid) - before
            run.cpu_percent = 100 * spent / (time.monotonic() - began)
            run.answer_ms = (percentile(answers, 50), percentile(answers, 99))
            take_reports(run, fakes.report())
        run.rss_mb, run.rss_peak_mb = memory_mb(pid)
        run.files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        take_log(run, watched.child.log.read_text(errors="replace"))
    return run


def discover(watched: Watched, groups: int, patience: float) -> float | None:
    """Return the seconds from the start until every replica and Sentinel is known.

    None: not within `patience` seconds. Raise RuntimeError when the Sentinel ended.
    """
    expected = b",slaves=%d,sentinels=%d\r\n" % (REPLICAS, PEERS + 1)
    while time.monotonic() - watched.start < patience:
        if watched.child.exit_status is not None:
            raise RuntimeError(f"the watched Sentinel ended:\n{watched.child.log_tail()}")
        try:
            # A genuine one is deaf for seconds while it rewrites its file.
            with Connection(watched.port, timeout_s=PROBE_TIMEOUT_S) as connection:
                text = connection.call("INFO", "sentinel")
        except OSError:
            text = b""
        now = time.monotonic()
        assert isinstance(text, bytes), text
        if text.count(expected) == groups:
            return now - watched.start
        wait_until(now + LOOK_S)
    return None


def probe(port: int, end: float) -> list[float]:
    """Ask PING again and again until `end`; return the times of the answers in milliseconds."""
    answers: list[float] = []
    with Connection(port, timeout_s=PROBE_TIMEOUT_S) as connection:
        while (asked := time.monotonic()) < end:
            connection.call("PING")
            answers.append(1000 * (time.monotonic() - asked))
            wait_until(asked + PROBE_S)
    return answers


def wait_until(end: float) -> None:
    """Let the monotonic clock reach `end`."""
    time.sleep(max(0.0, end - time.monotonic()))


def percentile(values: list[float], part: int) -> float:
    """Return a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


def take_reports(run: Run, reports: list[dict[str, object]]) -> None:
    """Turn what the fakes counted into figures of the run."""
    intervals: list[float] = []
    for each in reports:
        assert isinstance(each["intervals"], list)
        intervals += each["intervals"]
        assert isinstance(each["cpu_percent"], float)
        run.fakes_cpu_percent.append(each["cpu_percent"])
        assert isinstance(each["late_ms"], float)
        run.fakes_late_ms = max(run.fakes_late_ms, each["late_ms"])
    run.ping_interval_ms = (
        1000 * percentile(intervals, 50),
        1000 * percentile(intervals, 99),
        1000 * max(intervals),
    )


def take_log(run: Run, text: str) -> None:
    """Count what the Sentinel logged since its start; all kinds log these in the same words."""
    run.writes = text.count("Sentinel new configuration saved on disk")
    run.tilts = len(re.findall(r"\+tilt\b", text))
    run.sdowns = len(re.findall(r"\+sdown\b", text))


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all its threads."""
    # The name in brackets may hold anything; user and system time are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_HZ


def memory_mb(pid: int) -> tuple[float, float]:
    """Return resident memory, now and at its highest."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    return int(found["VmRSS"]) / 1024, int(found["VmHWM"]) / 1024


def parse_sizes(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    """Turn `100,500` into numbers."""
    try:
        sizes = [int(word) for word in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{error}; give numbers like 100,500") from error
    if not all(0 < size <= GROUPS_MAX for size in sizes):
        raise click.BadParameter(f"each must be between 1 and {GROUPS_MAX}")
    return sizes


def parse_kinds(_context: click.Context, _option: click.Parameter, value: str) -> list[Kind]:
    """Turn `valkey,redis` into kinds that can run here. Empty: none."""
    try:
        kinds = [Kind(word.strip()) for word in value.split(",") if word.strip()]
    except ValueError as error:
        raise click.BadParameter(
            f"{error}; choose among {[each.value for each in Kind]}"
        ) from error
    for kind in kinds:
        if reason := missing(kind):
            raise click.BadParameter(reason)
    return kinds


@dataclass(frozen=True)
class Options:
    """The command line."""

    primaries: list[int]
    against: list[Kind]
    seconds: float
    patience: float
    rounds: int
    check: bool
    json_file: Path | None


@click.command()
@click.option("--primaries", default="100,500,2000", show_default=True, callback=parse_sizes)
@click.option("--against", default="valkey", show_default=True, callback=parse_kinds)
@click.option("--seconds", default=30.0, show_default=True, type=click.FloatRange(2, 3600))
@click.option("--patience", default=300.0, show_default=True, help="For the discovery, s.")
@click.option(
    "--rounds",
    default=1,
    show_default=True,
    type=click.IntRange(1, 20),
    help="Runs of each, in turn; the medians count.",
)
@click.option("--check", is_flag=True, help="Exit 1 when a limit is broken.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(**words: object) -> None:
    """Watch many groups with one Sentinel process and compare what it costs."""
    options = Options(**words)  # type: ignore[arg-type]  # click has given each its type
    kinds = [Kind.EVERFLY, *options.against]
    most = raise_file_limit()
    needed = max(options.primaries) * MEMBERS * 3 + FILES_SPARE
    if needed > most:
        raise click.ClickException(f"{needed} files are needed, {most} are allowed: ulimit -n")
    facts = environment(kinds, Engine.VALKEY)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    runs: list[Run] = []
    found: list[str] = []
    for groups in options.primaries:
        of_this_size: dict[Kind, list[Run]] = {kind: [] for kind in kinds}
        # In turn, so that what else goes on here concerns all of them alike.
        for kind in kinds * options.rounds:
            run = measure(kind, groups, options.seconds, options.patience)
            of_this_size[kind].append(run)
            click.echo(f"{groups} {kind.value}: CPU {run.cpu_percent:.1f} %", err=True)
        middle = [middle_of(several) for several in of_this_size.values()]
        console.print(table_of(middle, options.patience))
        found += failures(middle, options.patience)
        runs += [run for several in of_this_size.values() for run in several]
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    console.print(f"load at the end: {load}", highlight=False)
    if options.json_file is not None:
        content = {"environment": facts, "runs": [asdict(run) for run in runs]}
        options.json_file.write_text(json.dumps(content, indent=2) + "\n")
    for sentence in found:
        click.echo(f"check: {sentence}", err=True)
    if options.check and found:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
