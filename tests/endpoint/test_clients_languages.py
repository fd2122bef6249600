"""Client libraries of other languages, unchanged, count through the endpoint without one error."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compat.clients.programs import PROGRAMS, Missing, Program, lines_of
from endpoint_process import EndpointProcess, needs_plane
from processes import Child, until
from servers import Deployment

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    needs_plane,
    # One worker runs them all, so that they share their deployment.
    pytest.mark.xdist_group("endpoint-languages"),
    # The first run on a machine downloads and builds.
    pytest.mark.timeout(500),
]

START_S = 60.0
"""Five programs, two of them Java, start at once on a small machine."""
SWITCHES = 2

OTHERS = [program for program in PROGRAMS if program.name != "coredis"]
"""Coredis is Python: others stand for that."""


@dataclass(frozen=True)
class Passed:
    """What all programs went through."""

    running: dict[str, Child]
    missing: dict[str, str]
    primaries: list[int]
    """Ports, in the order in which they were primaries."""


def said(child: Child, protocol: int) -> list[int]:
    """Return the ports that a program has counted at, in order."""
    lines = lines_of(child.log)
    found = [each for each in lines if (each["phase"], each["protocol"]) == ("plain", protocol)]
    ports = [each["port"] for each in found]
    assert all(isinstance(port, int) for port in ports)
    return [port for port in ports if isinstance(port, int)]


def are_at(running: dict[Program, Child], port: int) -> bool:
    """Every program counts at this instance, or has ended or failed."""
    return all(
        child.exit_status is not None
        or any(line["phase"] == "error" for line in lines_of(child.log))
        or all(said(child, protocol)[-1:] == [port] for protocol in program.protocols)
        for program, child in running.items()
    )


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Passed]:
    folder: Path = tmp_path_factory.mktemp("languages")
    missing: dict[str, str] = {}
    for program in OTHERS:
        try:
            program.built()
        except Missing as error:
            missing[program.name] = str(error)
    running: dict[Program, Child] = {}
    with Deployment() as deployment, EndpointProcess(folder, deployment) as endpoint:
        try:
            for program in OTHERS:
                if program.name not in missing:
                    log = folder / f"{program.name}.log"
                    running[program] = program.start("plain", "count", [endpoint.port], log)
            primaries = [endpoint.primary_port()]
            until(lambda: are_at(running, primaries[-1]), START_S)
            for _ in range(SWITCHES):
                told = endpoint.switch_over_when_well()
                assert told["state"] == "done", told
                primaries.append(endpoint.primary_port())
                until(lambda: are_at(running, primaries[-1]), START_S)
                deployment.settle()
            by_name = {program.name: child for program, child in running.items()}
            yield Passed(by_name, missing, primaries)
        finally:
            for child in running.values():
                child.kill()


@pytest.mark.parametrize("program", OTHERS, ids=lambda program: program.name)
def test_a_client_counts_on_over_switchovers(passed: Passed, program: Program) -> None:
    if program.name in passed.missing:
        pytest.skip(passed.missing[program.name])
    child = passed.running[program.name]
    errors = [line for line in lines_of(child.log) if line["phase"] == "error"]
    assert errors == [], child.log_tail()
    for protocol in program.protocols:
        ports = said(child, protocol)
        visited = [port for at, port in enumerate(ports) if at == 0 or ports[at - 1] != port]
        assert visited == passed.primaries, child.log_tail()
