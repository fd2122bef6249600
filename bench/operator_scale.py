"""Turn many hollow data stores into figures of one operator: what it costs, and how prompt it is.

A real control plane (`tests/operator/controlplane`), machines and pods that are hollow
(`hollow_pods.py`: statuses are faked, one process answers as all instances), and the real operator.
Measured are, in peace, its processor time, memory and questions; then how long it takes from the
death of a primary to the label of the next one, in blocks that alternate: all well, and with data
stores beside it whose instances take connections and never answer.

Needs root, for network namespaces; traffic stays inside them.
"""

import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import httpx2
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "operator"))

from controlplane.binaries import missing
from controlplane.cluster import Cluster, Shape
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from environment import environment
from everfly.operator import names
from everfly.operator.apiserver.api import DRAGONFLY
from everfly.operator.crd import definition_text, without_rules
from kinds import Engine
from processes import Child, free_port, until

CORE_MAX: Final = 0.2
MEMORY_MB_MAX: Final = 200.0
SLOWER_MAX: Final = 2.0
"""Times: p99 of a failover beside data stores that hang, over p99 where all is well."""
READY_S: Final = 900.0
FAILOVER_S: Final = 60.0
SETTLE_S: Final = 20.0
CLOCK_HZ: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """When which pod of a data store got the label of a primary, as a client of the API sees it."""

    primaries: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    """Name, address and moment (monotonic, s) by the name of the data store."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def follow(self, cluster: Cluster, namespace: str) -> None:
        """Follow all pods until the process ends."""
        with cluster.network(), cluster.client(namespace) as client:
            while True:
                try:
                    for change, pod in client.watch(Pod, labels={names.LABEL_ROLE: "master"}):
                        if change != "DELETED":
                            self._note(pod)
                except (ApiError, httpx2.HTTPError):
                    continue

    def _note(self, pod: Pod) -> None:
        assert pod.metadata is not None
        assert pod.status is not None
        store = (pod.metadata.labels or {})[names.LABEL_APP]
        name, ip = pod.metadata.name or "", pod.status.podIP or ""
        with self.changed:
            if self.primaries.get(store, ("", "", 0.0))[0] != name:
                self.primaries[store] = name, ip, time.monotonic()
                self.changed.notify_all()

    def other_than(self, store: str, name: str) -> float:
        """Wait for another primary of a data store; return when it was there."""
        end = time.monotonic() + FAILOVER_S
        with self.changed:
            while self.primaries[store][0] == name:
                if not self.changed.wait(end - time.monotonic()):
                    raise TimeoutError(f"{store} has no other primary after {FAILOVER_S:g} s")
            return self.primaries[store][2]


class Hollow:
    """The process that plays machines, pods and instances."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        program = Path(__file__).with_name("hollow_pods.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(kubeconfig)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True,
        )  # fmt: skip

    def tell(self, order: str) -> dict[str, Any]:
        """Have an order carried out. Raise RuntimeError when the process ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the hollow machines ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@dataclass
class Scene:
    """All that runs."""

    cluster: Cluster
    client: Any
    namespace: str
    hollow: Hollow
    operator: Child
    metrics: str
    watch: Watch

    def metric(self, name: str) -> dict[str, float]:
        """Return a metric of the operator: value by its labels."""
        text = httpx2.get(self.metrics, timeout=10).text
        found = {}
        for line in text.splitlines():
            if line.startswith(name) and line[len(name)] in "{ ":
                key, _, value = line.rpartition(" ")
                found[key] = float(value)
        return found

    def ready(self) -> int:
        """Return how many data stores are in order."""
        phases = self.metric("everfly_operator_store_phase")
        return sum(value == 1 for key, value in phases.items() if 'phase="Ready"' in key)


@contextmanager
def stage(stores: int) -> Iterator[Scene]:
    """Start everything; yield when all data stores are there, ready or not."""
    with tempfile.TemporaryDirectory(prefix="everfly-operator-scale-") as name:
        folder = Path(name)
        definition = without_rules(yaml.safe_load(definition_text()))
        cluster = Cluster(folder / "cluster", Shape(nodes=(), definitions=[definition]))
        cluster.start()
        try:
            with cluster.network(), cluster.client() as client:
                hollow = Hollow(cluster.kubeconfig, folder / "hollow.log")
                operator: Child | None = None
                try:
                    watch = Watch()
                    threading.Thread(
                        target=watch.follow, args=(cluster, "default"), daemon=True
                    ).start()
                    port = free_port()
                    operator = Child(
                        [sys.executable, "-m", "everfly", "operator", "--leader-elect",
                         f"--kubeconfig={cluster.kubeconfig}",
                         f"--metrics-bind-address=127.0.0.1:{port}",
                         "--health-probe-bind-address=0"],
                        folder / "operator.log",
                        environment={"POD_NAMESPACE": "default",
                                     "POD_NAME": f"operator-{secrets.token_hex(4)}"},
                    )  # fmt: skip
                    for number in range(stores):
                        client.create(_resource(number))
                    url = f"http://127.0.0.1:{port}/metrics"
                    yield Scene(cluster, client, "default", hollow, operator, url, watch)
                finally:
                    if operator is not None:
                        operator.signal(signal.SIGTERM)
                        operator.wait(20)
                    hollow.close()
        finally:
            cluster.stop()


def store_name(number: int) -> str:
    """Return the name of a data store."""
    return f"store-{number:03d}"


def _resource(number: int) -> Any:
    metadata = ObjectMeta(name=store_name(number), namespace="default")
    return DRAGONFLY(metadata=metadata, spec={"replicas": 3, "image": "hollow"})


@dataclass
class Figures:
    """What was measured."""

    ready_s: float = 0.0
    core: float = 0.0
    memory_mb: float = 0.0
    peak_mb: float = 0.0
    questions_a_second: float = 0.0
    hollow_core: float = 0.0
    well_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)


def measure_peace(scene: Scene, figures: Figures, seconds: float) -> None:
    """Measure what the operator costs while nothing happens."""
    before = scene.hollow.tell("report")
    spent, began = _cpu_s(scene.operator.pid), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    figures.core = (_cpu_s(scene.operator.pid) - spent) / passed
    after = scene.hollow.tell("report")
    figures.questions_a_second = (after["questions"] - before["questions"]) / passed
    figures.hollow_core = after["cpu"]
    status = Path(f"/proc/{scene.operator.pid}/status").read_text()
    sizes = dict(line.split(":", 1) for line in status.splitlines())
    figures.memory_mb, figures.peak_mb = (
        int(sizes[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM")
    )


def fail_over(scene: Scene, number: int) -> float:
    """Kill the primary of a data store; return the seconds until another one has the label."""
    store = store_name(number)
    name, ip, _ = scene.watch.primaries[store]
    began = time.monotonic()
    scene.hollow.tell(f"kill {ip}")
    return scene.watch.other_than(store, name) - began


def measure_failovers(scene: Scene, figures: Figures, stores: int, hanging: int, each: int) -> None:
    """Kill primaries one after the other, in blocks: all well, some data stores beside hanging."""
    candidates = iter(range(stores - hanging))
    addresses = [
        pod.status.podIP
        for number in range(stores - hanging, stores)
        for pod in scene.client.list(Pod, labels={names.LABEL_APP: store_name(number)})
    ]
    console = Console(stderr=True)
    for block in track(range(4), "failovers", console=console):
        is_beside = block % 2 == 1
        order = "freeze" if is_beside else "thaw"
        for ip in addresses:
            scene.hollow.tell(f"{order} {ip}")
        time.sleep(SETTLE_S / 4)
        for _ in range(each // 2):
            found = fail_over(scene, next(candidates))
            (figures.beside_s if is_beside else figures.well_s).append(found)
            # Not at the same moment of every second's question.
            time.sleep(0.3 + secrets.randbelow(1000) / 1000)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_HZ


def percentile(values: list[float], part: int) -> float:
    """Return a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


def table_of(figures: Figures, stores: int, hanging: int) -> Table:
    """Return what people look at."""
    table = Table(title=f"one operator, {stores} data stores of 3", title_justify="left")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")
    table.add_row("all ready after, s", f"{figures.ready_s:.0f}", "")
    table.add_row("in peace: cores", f"{figures.core:.3f}", f"{CORE_MAX:g}")
    table.add_row(
        "memory now / peak, MB", f"{figures.memory_mb:.0f} / {figures.peak_mb:.0f}",
        f"{MEMORY_MB_MAX:g}",
    )  # fmt: skip
    table.add_row("questions to instances, 1/s", f"{figures.questions_a_second:.0f}", "")
    for label, found in (
        ("all well", figures.well_s),
        (f"beside {hanging} that hang", figures.beside_s),
    ):
        if found:
            shown = " / ".join(f"{percentile(found, part):.3f}" for part in (50, 90, 99))
            table.add_row(f"failover, {label} ({len(found)}): p50 / p90 / p99, s", shown, "")
    if figures.beside_s:
        ratio = percentile(figures.beside_s, 99) / percentile(figures.well_s, 99)
        table.add_row("p99 beside / well", f"{ratio:.2f}", f"{SLOWER_MAX:g}")
    return table


def failures(figures: Figures) -> list[str]:
    """Return what `--check` finds wrong, as sentences."""
    found = []
    if figures.core > CORE_MAX:
        found.append(f"{figures.core:.3f} cores in peace; the limit is {CORE_MAX:g}")
    if figures.peak_mb > MEMORY_MB_MAX:
        found.append(f"{figures.peak_mb:.0f} MB; the limit is {MEMORY_MB_MAX:g}")
    if figures.beside_s:
        ratio = percentile(figures.beside_s, 99) / percentile(figures.well_s, 99)
        if ratio > SLOWER_MAX:
            found.append(f"failovers beside data stores that hang take {ratio:.2f} times as long")
    return found


@click.command()
@click.option("--stores", default=100, show_default=True, type=click.IntRange(2, 300))
@click.option("--hanging", default=1, show_default=True, help="Data stores that never answer.")
@click.option("--seconds", default=60.0, show_default=True, help="Of peace to measure.")
@click.option("--failovers", default=40, show_default=True, help="Of each kind; 0: none.")
@click.option("--check", is_flag=True, help="Exit 1 when a limit is broken.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(**options: Any) -> None:
    """Measure what one operator costs and how prompt it is beside data stores that hang."""
    stores, hanging, each = options["stores"], options["hanging"], options["failovers"]
    if 2 * each + hanging > stores:
        raise click.BadParameter(f"{2 * each} failovers need as many data stores and {hanging}")
    if reason := missing():
        raise click.ClickException(reason)
    console = Console()
    console.print(environment([], Engine.VALKEY))
    figures = Figures()
    with stage(stores) as scene:
        began = time.monotonic()
        try:
            with Console(stderr=True).status(f"{stores} data stores become ready"):
                until(lambda: scene.ready() == stores, READY_S, despite=(httpx2.HTTPError,),
                      show=scene.operator.log_tail)  # fmt: skip
            figures.ready_s = time.monotonic() - began
            with Console(stderr=True).status(f"peace for {options['seconds']:g} s"):
                time.sleep(SETTLE_S)
                measure_peace(scene, figures, options["seconds"])
            if each:
                measure_failovers(scene, figures, stores, hanging, each)
        except BaseException:
            console.print(scene.operator.log_tail())
            raise
    console.print(table_of(figures, stores, hanging))
    if options["json_file"]:
        options["json_file"].write_text(json.dumps(figures.__dict__, indent=1))
    found = failures(figures)
    for each_one in found:
        console.print(f"short: {each_one}")
    if options["check"] and found:
        sys.exit(1)


if __name__ == "__main__":
    main()
