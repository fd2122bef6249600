"""Turn one deployment into days of bad luck: fault after fault of random kinds, under load.

Three Sentinels of ours, one primary, two replicas, one client that writes all the time. After each
fault everything must be as it should: one primary, the others its replicas in sync, all Sentinels
of one mind, and exactly as many changes of primary as the fault asks for. Memory of the Sentinels
is read along the way: it must stay flat. The dice are seeded; the seed is printed.
"""

import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from environment import environment
from event_log import EventLog
from failover import progress
from kinds import Engine, Kind
from processes import until
from servers import Deployment, Instance, Sentinel
from switchover import Writer

SETTLED_S: Final = 30.0
WARM_UP: Final = 20
"""Faults after which memory counts as warmed up."""

GROWTH_MAX: Final = 1.15
"""What `--check` allows of memory at the end / memory after the warm-up."""


@dataclass
class Soak:
    """One long run."""

    deployment: Deployment
    dice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory_kb: list[int] = field(default_factory=list)

    def strike(self, number: int) -> None:
        """Carry out one fault, and judge what came of it."""
        faults: dict[str, tuple[Callable[[], None], int]] = {
            "kill-primary": (self._kill_primary, 1),
            "shutdown-primary": (self._shutdown_primary, 1),
            "freeze-primary": (self._freeze_primary, 1),
            "restart-primary-empty": (self._restart_empty, 1),
            "failover-command": (self._fail_over, 1),
            "kill-replica": (self._kill_replica, 0),
            "kill-sentinel": (self._kill_sentinel, 0),
        }
        name = self.dice.choice(list(faults))
        act, expected = faults[name]
        self.done[name] += 1
        start = time.monotonic()
        with EventLog([one.port for one in self.deployment.sentinels]) as log:
            try:
                act()
                until(self._is_well, SETTLED_S, show=self.deployment.picture)
                self.deployment.settle(SETTLED_S)
            except TimeoutError as error:
                self.wrong.append(f"{number} {name}: {error}")
            switched = len({event.payload for event in log.of("+switch-master")})
        if switched != expected:
            self.wrong.append(f"{number} {name}: {switched} changes of primary, not {expected}")
        self.memory_kb.append(max(_memory_kb(one) for one in self.deployment.sentinels))
        progress(
            f"{number} {name}: {time.monotonic() - start:.1f} s, {self.memory_kb[-1]:,} kB, "
            f"{len(self.wrong)} wrong"
        )

    def _is_well(self) -> bool:
        """One primary, which all Sentinels name, and the others follow it in sync."""
        ports = {one.primary_port(self.deployment.name) for one in self.deployment.sentinels}
        if len(ports) != 1:
            return False
        port = ports.pop()
        return all(
            one.is_primary() if one.port == port else one.follows(port)
            for one in self.deployment.group.instances
        )

    def _kill_primary(self) -> None:
        old = self.deployment.primary()
        old.kill()
        self._bring_back(old)

    def _shutdown_primary(self) -> None:
        old = self.deployment.primary()
        old.shutdown()
        self._bring_back(old)

    def _bring_back(self, old: Instance) -> None:
        """Start a dead primary again as a supervisor does: as a replica of the new one."""
        new = self.deployment.new_primary(old, SETTLED_S)
        old.start(follow=new.port)

    def _freeze_primary(self) -> None:
        old = self.deployment.primary()
        old.signal(signal.SIGSTOP)
        self.deployment.new_primary(old, SETTLED_S)
        old.signal(signal.SIGCONT)

    def _restart_empty(self) -> None:
        old = self.deployment.primary()
        held = old.ask("DBSIZE")
        old.kill()
        old.start(sync_delay_s=5)
        new = self.deployment.new_primary(old, SETTLED_S)
        now = new.ask("DBSIZE")
        assert isinstance(held, int)
        assert isinstance(now, int)
        if now < held * 0.9:
            self.wrong.append(f"restart-primary-empty: {held} keys before, {now} after")

    def _fail_over(self) -> None:
        old = self.deployment.primary()
        self.dice.choice(self.deployment.sentinels).ask(
            "SENTINEL", "FAILOVER", self.deployment.name
        )
        self.deployment.new_primary(old, SETTLED_S)

    def _kill_replica(self) -> None:
        primary = self.deployment.primary()
        replicas = [one for one in self.deployment.group.instances if one is not primary]
        replica = self.dice.choice(replicas)
        replica.kill()
        replica.start(follow=primary.port)

    def _kill_sentinel(self) -> None:
        sentinel = self.dice.choice(self.deployment.sentinels)
        sentinel.kill()
        sentinel.start()


def _memory_kb(sentinel: Sentinel) -> int:
    assert sentinel.child is not None
    status = Path(f"/proc/{sentinel.child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def report(soak: Soak, writer: Writer, seed: int, seconds: float) -> Table:
    """Return the figures of a run."""
    table = Table(title=f"soak, seed {seed}", title_justify="left", show_header=False)
    for name, count in sorted(soak.done.items()):
        table.add_row(name, f"{count:,}")
    warm = soak.memory_kb[min(WARM_UP, len(soak.memory_kb)) - 1]
    table.add_section()
    table.add_row("wrong outcomes", f"{len(soak.wrong):,}")
    table.add_row("acknowledged writes", f"{len(writer.acknowledged):,}")
    table.add_row("memory after the warm-up, kB", f"{warm:,}")
    table.add_row("memory at the end, kB", f"{soak.memory_kb[-1]:,}")
    table.add_row("seconds", f"{seconds:,.0f}")
    return table


@click.command()
@click.option("--faults", default=200, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--seed", type=int, help="Default: by the clock; printed.")
@click.option("--check", is_flag=True, help="Exit 1 when something was wrong or memory grew.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def main(faults: int, seed: int | None, *, check: bool, json_file: Path | None) -> None:
    """Hit one deployment with fault after fault under load."""
    seed = time.time_ns() % 1_000_000 if seed is None else seed
    facts = environment([Kind.EVERFLY], Engine.VALKEY)
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    start = time.monotonic()
    with Deployment() as deployment:
        soak = Soak(deployment, random.Random(seed))
        writer = Writer(deployment, "soak:", None, pause_s=0.002)
        writer.start()
        for number in range(1, faults + 1):
            soak.strike(number)
        writer.stopped.set()
        writer.join()
    console.print(report(soak, writer, seed, time.monotonic() - start))
    for sentence in soak.wrong:
        progress(f"wrong: {sentence}")
    warm = soak.memory_kb[min(WARM_UP, faults) - 1]
    has_grown = soak.memory_kb[-1] > GROWTH_MAX * warm
    if json_file is not None:
        content = {"environment": facts, "seed": seed, "faults": soak.done, "wrong": soak.wrong}
        json_file.write_text(json.dumps(content | {"memory_kb": soak.memory_kb}, indent=2) + "\n")
    if check and (soak.wrong or has_grown):
        progress("check: memory grew" if has_grown else "check: something was wrong")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
