"""Ten thousand groups under five Sentinels: on paper, and with the real core in a simulated fleet.

    .venv/bin/python bench/sim_scale.py paper --groups 10000
    .venv/bin/python bench/sim_scale.py run --groups 1000
    .venv/bin/python bench/sim_scale.py run --groups 2000 --step-us 20

`paper` counts messages from the periods of the policy. `run` counts those that the core really
sends, measures what its steps and its state file cost on this machine, then takes a zone away with
a third of all instances and two of five Sentinels, and tells how long it takes until every group
has a primary again and all Sentinels agree. With `--step-us` a Sentinel is busy for so long with
each step, as a process is, and cannot do more than there is time for.
"""

import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

# The harness of the tests is no package: it serves from the checkout only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from environment import environment
from everfly.core.model import Millis
from everfly.core.policy import Policy
from everfly.core.probing import ping_period
from everfly.sim.scale import Fleet
from everfly.sim.scale_records import ScaleShape
from kinds import Engine

WARM_UP_MS: Final = 7_000
STEADY_MS: Final = 10_000
"""A whole period of INFO, so that each is counted once."""
LOOK_MS: Final = 250
LIMIT_MS: Final = 120_000
"""After the loss of the zone."""


@dataclass(frozen=True)
class Rates:
    """Messages of one Sentinel, a second."""

    pings: float
    infos: float
    hellos_sent: float
    hellos_heard: float
    """Its own on channels included."""
    facts: float
    """All that its core is told: replies, hellos, timers not counted."""

    @staticmethod
    def on_paper(shape: ScaleShape) -> "Rates":
        """Count them from the periods of the policy."""
        policy = Policy()
        instances = shape.groups * (1 + shape.replicas)
        peers = shape.sentinels - 1
        a_second = 1_000
        ping = ping_period(policy, Millis(shape.down_after))
        hello = policy.publish_period
        pings = instances * a_second / ping + peers * a_second / policy.ping_period
        infos = instances * a_second / policy.info_period
        sent = (instances + peers * shape.groups) * a_second / hello
        heard = (instances * shape.sentinels + peers * shape.groups) * a_second / hello
        return Rates(pings, infos, sent, heard, pings + infos + sent + heard)


@dataclass(frozen=True)
class Result:
    """What one run measured."""

    shape: ScaleShape
    paper: Rates
    sent_a_second: dict[str, float]
    """Of one Sentinel."""
    steps_a_second: float
    step_us: float
    """Measured on this machine, the core alone."""
    state_ms: float
    """`durable_state()`, which each write of the state file begins with."""
    orphans: int
    """Groups that lost their primary with the zone."""
    promoted_ms: tuple[int, int, int] | None
    """Median, 99th percentile, last; None: not all within the limit."""
    unpromoted: int
    agreed_ms: int | None
    """Until all living Sentinels named a living primary for all; None: not within the limit."""
    tilts: int
    inbox_max: int
    """The most facts that waited in a Sentinel when a timer came."""
    writes: int
    """Of state files, by the busiest Sentinel, after the loss."""
    wall_s: float


@click.group()
def main() -> None:
    """Say what ten thousand groups cost, on paper and simulated."""


@main.command()
@click.option("--groups", default=10_000, show_default=True)
@click.option("--replicas", default=2, show_default=True)
@click.option("--sentinels", default=5, show_default=True)
@click.option("--down-after", default=30_000, show_default=True, help="In ms.")
def paper(groups: int, replicas: int, sentinels: int, down_after: int) -> None:
    """Count messages from the periods of the policy."""
    shape = ScaleShape(groups, replicas, sentinels, sentinels // 2 + 1, down_after)
    click.echo(json.dumps(asdict(Rates.on_paper(shape)), indent=2))


@main.command()
@click.option("--groups", default=1_000, show_default=True)
@click.option("--replicas", default=2, show_default=True)
@click.option("--sentinels", default=5, show_default=True)
@click.option("--down-after", default=10_000, show_default=True, help="In ms.")
@click.option("--step-us", default=0.0, show_default=True, help="Price of a step; 0: none.")
@click.option("--disk-us", default=0.0, show_default=True, help="Price of a write, each group.")
def run(  # noqa: PLR0913 - options are arguments
    *, groups: int, replicas: int, sentinels: int, down_after: int, step_us: float, disk_us: float
) -> None:
    """Run the real core over a simulated fleet, and take a zone away."""
    shape = ScaleShape(
        groups,
        replicas,
        sentinels,
        sentinels // 2 + 1,
        down_after,
        step_us=step_us,
        disk_us_a_group=disk_us,
    )
    result = measure(shape)
    told = {"environment": environment([], Engine.VALKEY), **asdict(result)}
    click.echo(json.dumps(told, indent=2))


def measure(shape: ScaleShape) -> Result:
    """Measure one fleet: at rest, then without a zone."""
    began = time.monotonic()
    # Time of the processor: others on the machine do not count.
    fleet = Fleet(shape, time.process_time_ns)
    fleet.start()
    for at in range(LOOK_MS, WARM_UP_MS + 1, LOOK_MS):
        fleet.run_until(at)
        _progress(fleet, "starting")
    sent, steps, step_ns = fleet.sent.copy(), _steps(fleet), fleet.step_ns
    for at in range(WARM_UP_MS, WARM_UP_MS + STEADY_MS + 1, LOOK_MS):
        fleet.run_until(at)
        _progress(fleet, "at rest")
    seconds = STEADY_MS / 1_000 * shape.sentinels
    steady_steps = _steps(fleet) - steps
    rates = {
        name: (count - sent[name]) / seconds
        for name, count in fleet.sent.items()
        if count > sent[name]
    }
    step_us = (fleet.step_ns - step_ns) / max(1, steady_steps) / 1_000
    state_ms = _state_ms(fleet)
    writes = {keeper.number: keeper.writes for keeper in fleet.keepers}
    lost_at = fleet.now
    orphans = fleet.lose_zone(0)
    agreed_ms = _until_agreed(fleet, orphans)
    waits = sorted(at - lost_at for at in map(fleet.promoted_at, orphans) if at is not None)
    return Result(
        shape,
        Rates.on_paper(shape),
        rates,
        steady_steps / seconds,
        step_us,
        state_ms,
        len(orphans),
        _percentiles(waits) if len(waits) == len(orphans) else None,
        len(orphans) - len(waits),
        agreed_ms,
        sum(keeper.tilts for keeper in fleet.keepers),
        max(keeper.inbox_max for keeper in fleet.keepers),
        max(keeper.writes - writes[keeper.number] for keeper in fleet.keepers),
        time.monotonic() - began,
    )


def _until_agreed(fleet: Fleet, orphans: list[int]) -> int | None:
    lost_at = fleet.now
    open_groups = set(orphans)
    for at in _instants(lost_at):
        fleet.run_until(at)
        open_groups = {group for group in open_groups if not fleet.is_agreed(group)}
        _progress(fleet, f"{len(open_groups)} groups without agreement")
        if not open_groups:
            return fleet.now - lost_at
    return None


def _instants(lost_at: int) -> Iterator[int]:
    return iter(range(lost_at + LOOK_MS, lost_at + LIMIT_MS + 1, LOOK_MS))


def _percentiles(waits: list[int]) -> tuple[int, int, int]:
    return (
        waits[len(waits) // 2],
        waits[min(len(waits) - 1, math.ceil(len(waits) * 0.99) - 1)],
        waits[-1],
    )


def _steps(fleet: Fleet) -> int:
    return sum(keeper.steps for keeper in fleet.keepers)


def _state_ms(fleet: Fleet) -> float:
    began = time.process_time()
    fleet.keepers[0].machine.durable_state()
    return (time.process_time() - began) * 1_000


def _progress(fleet: Fleet, what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{fleet.now / 1_000:7.1f} s  {what:<50}", err=True, nl=False)


if __name__ == "__main__":
    main()
