"""A whole endpoint: what its clients see of switch-overs, kills, freezes, restarts and its end."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import hiredis
import pytest

from endpoint_process import EndpointProcess, needs_plane
from kinds import HOST
from processes import Connection, ask, until
from servers import Deployment

pytestmark = [pytest.mark.integration, needs_plane]

LIMIT_S = 30.0


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with Deployment() as ready:
        yield ready


@dataclass
class Counter(threading.Thread):
    """A client that increments one key on one connection, and never gives it up."""

    port: int
    key: str
    values: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.stopped = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        try:
            with closing(Connection(self.port, timeout_s=LIMIT_S)) as connection:
                while not self.stopped.is_set():
                    self._increment(connection)
        except OSError as error:
            self.errors.append(f"connection: {error}")

    def _increment(self, connection: Connection) -> None:
        began = time.monotonic()
        try:
            value = connection.call("INCR", self.key)
        except hiredis.ReplyError as error:
            self.errors.append(str(error))
        else:
            assert isinstance(value, int)
            self.values.append(value)
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        self.stopped.wait(0.002)

    def end(self) -> None:
        self.stopped.set()
        self.join(LIMIT_S)
        assert not self.is_alive(), "it waits for an answer for ever"


def some_more(counters: list[Counter], count: int = 50) -> None:
    """Wait until each has had more answers."""
    wanted = [len(each.values) + count for each in counters]
    until(
        lambda: all(
            len(each.values) >= least for each, least in zip(counters, wanted, strict=True)
        ),
        LIMIT_S,
        show=lambda: [(len(each.values), each.errors) for each in counters],
    )


def counting(port: int, count: int = 4) -> list[Counter]:
    counters = [Counter(port, f"key:{number}") for number in range(count)]
    for each in counters:
        each.start()
    return counters


def test_three_switchovers_in_a_row_cost_nobody_an_error(
    tmp_path: Path, deployment: Deployment
) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        counters = counting(endpoint.port)
        seen = set()
        for _ in range(3):
            some_more(counters)
            told = endpoint.switch_over_when_well()
            assert told["state"] == "done", told
            seen.add(told["to"])
            deployment.settle()
        some_more(counters)
        for each in counters:
            each.end()
        assert len(seen) > 1
        for each in counters:
            assert each.errors == []
            assert each.values == list(range(1, len(each.values) + 1)), "none lost, none twice"
        primary = deployment.group.by_port(endpoint.primary_port())
        for each in counters:
            assert primary.ask("GET", each.key) == str(each.values[-1]).encode()


def test_a_killed_primary_costs_only_what_was_under_way(
    tmp_path: Path, deployment: Deployment
) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        counters = counting(endpoint.port)
        some_more(counters)
        old = deployment.primary()
        old.signal(signal.SIGKILL)
        some_more(counters)
        for each in counters:
            each.end()
            # One command at a time: at most one of each client was under way.
            assert len(each.errors) <= 1, each.errors
            assert all(error.startswith("AMBIGUOUS everfly: ") for error in each.errors)
            ups = [b - a for a, b in zip(each.values, each.values[1:], strict=False)]
            # After the change a value may go back by what no replica had, and never jump ahead
            # by more than the one that was ambiguous.
            assert max(ups) <= 1 + len(each.errors)
        assert endpoint.primary_port() != old.port
        assert endpoint.status()["switches"] == 1


def test_a_frozen_primary_that_wakes_up_gets_no_write(
    tmp_path: Path, deployment: Deployment
) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        counters = counting(endpoint.port)
        some_more(counters)
        old = deployment.primary()
        with closing(Connection(old.port, timeout_s=LIMIT_S)) as watching:
            watching.call("MONITOR")
            old.signal(signal.SIGSTOP)
            until(lambda: endpoint.status()["switches"] == 1, LIMIT_S)
            with endpoint.connect() as client:
                client.call("SET", "after", "the change")
            some_more(counters)
            old.signal(signal.SIGCONT)
            # What it had received before it froze it may carry out; then it learns its new role.
            until(lambda: old.info()["role"] == "slave", LIMIT_S)
            seen = monitored(watching)
        for each in counters:
            each.end()
        assert not [line for line in seen if "the change" in line and " lua]" not in line]
        written = [line for line in seen if '"INCR"' in line]
        assert len(written) <= len(counters), "at most one of each client was under way"


def monitored(watching: Connection) -> list[str]:
    """Return the commands of clients, up to the link to the new primary, by MONITOR's order."""
    watching.socket.settimeout(0.5)
    lines: list[str] = []
    try:
        while True:
            line = watching.receive()
            if isinstance(line, bytes):
                lines.append(line.decode())
            if any(word in lines[-1] for word in ('"REPLICAOF"', '"SLAVEOF"')):
                return lines
    except OSError:
        return lines


def test_a_successor_takes_the_ports_over_and_no_client_is_refused(
    tmp_path: Path, deployment: Deployment
) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        refused: list[str] = []
        stopped = threading.Event()

        def come_and_go() -> None:
            while not stopped.is_set():
                try:
                    with closing(Connection(endpoint.port, timeout_s=LIMIT_S)) as connection:
                        connection.call("PING")
                except (OSError, hiredis.ReplyError) as error:
                    refused.append(str(error))

        visitors = [threading.Thread(target=come_and_go, daemon=True) for _ in range(2)]
        for each in visitors:
            each.start()
        with endpoint.connect() as staying:
            staying.call("MULTI")
            first = endpoint.children[0]
            endpoint.start()
            assert staying.call("SET", "kept", "1") == b"QUEUED"
            assert staying.call("EXEC") == [b"OK"], "the old process lets its client finish"
            assert first.wait(LIMIT_S) == 0
        assert endpoint.status()["pid"] == endpoint.children[1].pid
        stopped.set()
        for each in visitors:
            each.join(LIMIT_S)
        assert refused == []
        assert ask(endpoint.port, "GET", "kept") == b"1"


def test_it_starts_its_own_successor(tmp_path: Path, deployment: Deployment) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        first = endpoint.children[0]
        first.signal(signal.SIGUSR2)
        assert first.wait(LIMIT_S) == 0
        assert ask(endpoint.port, "PING") == b"PONG"
        status = endpoint.status()
        pid = status["pid"]
        assert isinstance(pid, int)
        assert pid != first.pid
        assert endpoint.post("/drain").status == 202
        until(lambda: not Path(f"/proc/{pid}").exists(), LIMIT_S)
        assert not endpoint.restart_socket.exists(), "the last one takes the door away"


def test_it_ends_when_its_clients_are_done(tmp_path: Path, deployment: Deployment) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        with endpoint.connect() as idle, endpoint.connect() as busy:
            idle.call("PING")
            busy.call("MULTI")
            endpoint.children[0].signal(signal.SIGTERM)
            busy.call("SET", "a", "1")
            assert busy.call("EXEC") == [b"OK"]
        assert endpoint.children[0].wait(LIMIT_S) == 0


def test_a_reload_that_cannot_be_leaves_all_as_it_was(
    tmp_path: Path, deployment: Deployment
) -> None:
    settings = tmp_path / "endpoint.toml"
    settings.write_text("switchover_pause_ms = 0\n")
    with EndpointProcess(tmp_path, deployment, ("--settings", str(settings))) as endpoint:
        log = endpoint.children[0].log
        settings.write_text("switchover_pause_ms = 3600000\nworkers = 1\n")
        endpoint.children[0].signal(signal.SIGHUP)
        until(
            lambda: "Reloaded: certificates and secrets, switchover_pause_ms" in log.read_text(), 9
        )
        assert "only a restart takes over: workers" in log.read_text()
        settings.write_text("nonsense = 1\n")
        endpoint.children[0].signal(signal.SIGHUP)
        until(lambda: "Reload refused" in log.read_text(), 9)
        assert ask(endpoint.port, "PING") == b"PONG"


def test_the_command_moves_the_primary_and_says_what_clients_saw(
    tmp_path: Path, deployment: Deployment
) -> None:
    with EndpointProcess(tmp_path, deployment) as endpoint:
        line = [sys.executable, "-m", "everfly", "switchover", "--admin"]
        line.append(f"http://{HOST}:{endpoint.admin}")
        done = subprocess.run([*line], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done
        assert "the primary moved from" in done.stdout
        assert "clients waited at most" in done.stdout
        assert "commands are held" in done.stderr
        deployment.settle()
        refused = subprocess.run(
            [*line, "--to", f"{HOST}:{endpoint.primary_port()}", "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert refused.returncode == 1
        told = json.loads(refused.stdout)
        assert told["state"] == "refused"
        assert "is the primary already" in told["reason"]


def test_a_wrong_setting_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "everfly", "endpoint", "--listen", "127.0.0.1:0"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: nobody to ask for the primary")
    assert "Traceback" not in done.stderr + done.stdout
