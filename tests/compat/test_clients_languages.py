"""Client libraries of other languages work with our Sentinels as they are, over a failover too.

All libraries share one deployment: the writers of all of them run when its primary is killed.
"""

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import pytest

from compat.clients.programs import PROGRAMS, Missing, Program, lines_of
from kinds import HOST, OURS
from processes import Child, until
from servers import Deployment, Instance

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    # One worker runs them all, so that they share their deployments.
    pytest.mark.xdist_group("client-languages"),
    # The first run on a machine downloads and builds.
    pytest.mark.timeout(500),
]

START_S: Final = 30.0
"""Six programs, two of them Java, start at once on a small machine."""

FAILOVER_S: Final = 20.0
SETTLE_S: Final = 40.0
"""After a manual failover the old primary is told to follow only after a while, as genuine."""

each_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)


@dataclass(frozen=True)
class Running:
    """A program that runs beside the others."""

    program: Program
    child: Child

    def port_after(self, phase: str, protocol: int, seen: int = 0) -> tuple[int, int] | None:
        """Return port and value of its newest line of a phase after the first `seen` lines."""
        lines = lines_of(self.child.log)[seen:]
        found = [each for each in lines if (each["phase"], each["protocol"]) == (phase, protocol)]
        if not found:
            return None
        port, value = found[-1]["port"], found[-1]["value"]
        assert isinstance(port, int)
        assert isinstance(value, int)
        return port, value

    def loops(self) -> list[tuple[str, int]]:
        phases = ("writes", "reads") if self.program.reads_replicas else ("writes",)
        return [(phase, protocol) for phase in phases for protocol in self.program.protocols]

    def is_at_work(self) -> bool:
        """Every loop of the program has reached an instance, or the program has ended."""
        ended = self.child.exit_status is not None
        return ended or all(self.port_after(*loop) for loop in self.loops())


@dataclass(frozen=True)
class Failover:
    """What all programs went through."""

    deployment: Deployment
    running: dict[str, Running]
    missing: dict[str, str]
    old: Instance
    new: Instance
    lines_before: dict[str, int]


@pytest.fixture(scope="module")
def builds() -> dict[str, str]:
    """Build all programs; return why those that are missing are."""
    missing: dict[str, str] = {}
    for program in PROGRAMS:
        try:
            program.built()
        except Missing as error:
            missing[program.name] = str(error)
    return missing


@pytest.fixture(scope="module")
def failover(builds: dict[str, str]) -> Iterator[Failover]:
    running: dict[str, Running] = {}
    with Deployment(kinds=(OURS,) * 3) as deployment:
        ports = [sentinel.port for sentinel in deployment.sentinels]
        try:
            for program in PROGRAMS:
                if program.name not in builds:
                    log = deployment.folder / f"{program.name}.log"
                    child = program.start("follow", deployment.name, ports, log)
                    running[program.name] = Running(program, child)
            # One that does not start fails its own test below, not those of the others.
            with suppress(TimeoutError):
                until(lambda: all(each.is_at_work() for each in running.values()), START_S)
            old = deployment.primary()
            before = {name: len(lines_of(each.child.log)) for name, each in running.items()}
            old.signal(signal.SIGKILL)
            new = deployment.new_primary(old)
            yield Failover(deployment, running, builds, old, new, before)
        finally:
            for each in running.values():
                each.child.kill()


@each_program
def test_a_client_writes_and_reads_again_after_a_failover(
    failover: Failover, program: Program
) -> None:
    if program.name in failover.missing:
        pytest.skip(failover.missing[program.name])
    running = failover.running[program.name]
    seen = failover.lines_before[program.name]
    before = lines_of(running.child.log)[:seen]
    new, old = failover.new, failover.old
    alive = {each.port for each in failover.deployment.group.instances} - {old.port}
    show = running.child.log_tail
    for protocol in program.protocols:

        def reached(phase: str, ports: set[int], least: int, protocol: int = protocol) -> int:
            """The program reaches the right instance and a fresh value there."""
            newest = running.port_after(phase, protocol, seen)
            return newest[1] if newest and newest[0] in ports and newest[1] >= least else 0

        written = {each["port"] for each in before if _is(each, "writes", protocol)}
        assert written == {old.port}, show()
        value = until(partial(reached, "writes", {new.port}, 1), FAILOVER_S, show=show)
        key = f"{program.name}-{protocol}"
        until(partial(_has_more, new, key, value), FAILOVER_S, show=show)
        if program.reads_replicas:
            read = {each["port"] for each in before if _is(each, "reads", protocol)}
            assert read, show()
            assert old.port not in read, show()
            # Not only at the replica: a library may stay where it was, at the promoted one.
            until(partial(reached, "reads", alive, value), FAILOVER_S, show=show)
    assert running.child.exit_status is None, running.child.log_tail()


def _is(line: dict[str, object], phase: str, protocol: int) -> bool:
    return (line["phase"], line["protocol"]) == (phase, protocol)


def _has_more(instance: Instance, key: str, value: int) -> bool:
    """The counter on the instance passes the value that the program said."""
    stored = instance.ask("GET", key)
    return isinstance(stored, bytes) and int(stored) > value


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """A deployment that lives on over all programs: each one moves its primary."""
    with Deployment(kinds=(OURS,) * 3) as ready:
        yield ready


@each_program
def test_a_client_understands_the_replies_of_a_sentinel(
    builds: dict[str, str], deployment: Deployment, program: Program
) -> None:
    if program.name in builds:
        pytest.skip(builds[program.name])
    deployment.settle(SETTLE_S)
    primary, name = deployment.primary(), deployment.name
    ports = [sentinel.port for sentinel in deployment.sentinels]
    replicas = sorted(each.port for each in deployment.group.instances if each.port != primary.port)
    log = deployment.folder / f"{program.name}.log"
    child = program.start("calls", name, ports, log)
    try:
        status = child.wait(START_S)
        said = [line for line in lines_of(log) if line["phase"] == "calls"]
        assert status == 0, child.log_tail()
    finally:
        child.kill()
    assert [line["protocol"] for line in said] == list(program.protocols), child.log_tail()
    for line in said:
        assert line["primary"] == [HOST, primary.port]
        assert line["masters"] == [name]
        assert line["replicas"] == replicas
        assert line["sentinels"] == sorted(ports[1:])
        assert str(line["quorum"]).startswith("OK")
        assert "No such master with that name" in str(line["unknown"])
    # The last one also asked for a failover, which must have happened.
    assert said[-1]["failover"] == "OK"
    deployment.new_primary(primary)
