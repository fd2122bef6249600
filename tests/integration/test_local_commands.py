"""`everfly up`, `status` and `events` as a user runs them: processes, signals, statuses, text."""

import contextlib
import json
import os
import pty
import random
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from redis.sentinel import Sentinel

from everfly.local.ports import RANDOM_MAX, RANDOM_MIN, is_free
from processes import Child, until

pytestmark = pytest.mark.integration

EVERFLY = [sys.executable, "-m", "everfly"]
HOST = "127.0.0.1"
READY_S = 30.0
STOP_S = 30.0
COUNT = 3


def free_range(count: int) -> int:
    """Return the first of that many free ports in a row."""
    dice = random.SystemRandom()
    for _ in range(1000):
        first = dice.randint(RANDOM_MIN, RANDOM_MAX - count)
        if all(is_free(HOST, port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row")


@dataclass
class Up:
    """One directory and its ports; `start` runs `everfly up` on it."""

    folder: Path
    port: int = field(default_factory=lambda: free_range(COUNT))
    sentinel_port: int = field(default_factory=lambda: free_range(COUNT))
    group: str = field(default_factory=lambda: f"group-{secrets.token_hex(4)}")
    children: list[Child] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.folder / "store"

    @property
    def command(self) -> list[str]:
        ports = ["--port", str(self.port), "--sentinel-port", str(self.sentinel_port)]
        store = ["--engine", "valkey", "--dir", str(self.directory), "--name", self.group]
        return [*EVERFLY, "up", *store, *ports]

    def start(self, *options: str) -> Child:
        child = Child([*self.command, *options], self.folder / f"up-{len(self.children)}.log")
        self.children.append(child)
        until(lambda: self.status().returncode == 0, READY_S, show=child.log_tail)
        return child

    def status(self, *options: str) -> subprocess.CompletedProcess[str]:
        return run("status", "--dir", str(self.directory), *options)

    def picture(self) -> dict[str, object]:
        document = json.loads(self.status("--json").stdout)
        assert isinstance(document, dict)
        return document

    def pid(self, kind: str, index: int) -> int:
        document = json.loads((self.directory / "deployment.json").read_text())
        pid = document[kind][index]["pid"]
        assert isinstance(pid, int)
        return pid

    @property
    def ports(self) -> list[int]:
        return [base + index for base in (self.port, self.sentinel_port) for index in range(COUNT)]

    def is_down(self) -> bool:
        """Nothing listens on any port."""
        return all(is_closed(port) for port in self.ports)


def run(*arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EVERFLY, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )


def is_closed(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) != 0


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    deployment = Up(tmp_path)
    yield deployment
    for child in deployment.children:
        child.kill()
    # Its children are told by the kernel; an instance then saves its data.
    until(deployment.is_down, STOP_S)


def test_a_user_can_start_use_break_and_stop_it(up: Up) -> None:
    child = up.start()
    log = child.log.read_text()
    snippet = re.search(r"Sentinel\((\[.*?\])\)", log)
    assert snippet is not None, log
    assert str(up.sentinel_port) in snippet[1]

    sentinel = Sentinel([(HOST, up.sentinel_port + index) for index in range(COUNT)])
    store = sentinel.master_for(up.group, socket_timeout=1.0)
    store.set("greeting", "hello")
    store.wait(2, 5000)

    os.kill(up.pid("instances", 0), signal.SIGKILL)
    until(lambda: write_again(store), 20, show=up.status)
    assert store.get("greeting") == b"hello"
    until(lambda: up.status().returncode == 0, READY_S, show=lambda: up.status().stdout)
    assert up.picture()["primary"] != f"{HOST}:{up.port}"

    child.signal(signal.SIGINT)
    assert child.wait(STOP_S) == 0
    assert up.is_down()
    assert "stopped" in child.log.read_text()
    assert up.status().returncode == 2


def write_again(store: redis.Redis) -> bool:
    """A client that asks the Sentinels can write."""
    with contextlib.suppress(redis.RedisError):
        return bool(store.set("after", "the failover"))
    return False


def test_the_next_start_has_the_same_primary_and_the_data(up: Up) -> None:
    first = up.start()
    os.kill(up.pid("instances", 0), signal.SIGKILL)
    until(lambda: up.picture()["primary"] not in (None, f"{HOST}:{up.port}"), 20)
    until(lambda: up.status().returncode == 0, READY_S, show=lambda: up.status().stdout)
    primary = str(up.picture()["primary"])
    port = int(primary.rpartition(":")[2])
    with redis.Redis(HOST, port) as store:
        store.set("greeting", "hello")
    first.signal(signal.SIGTERM)
    assert first.wait(STOP_S) == 0

    up.start()
    assert up.picture()["primary"] == primary
    with redis.Redis(HOST, port) as store:
        assert store.get("greeting") == b"hello"


def test_a_second_ctrl_c_kills(up: Up) -> None:
    child = up.start()
    # A frozen instance would make an orderly stop wait.
    frozen = up.pid("instances", 0)
    child.signal(signal.SIGINT)
    with contextlib.suppress(ProcessLookupError):
        os.kill(frozen, signal.SIGSTOP)
    until(lambda: "stopping" in child.log.read_text(), 10, show=child.log_tail)
    child.signal(signal.SIGINT)
    assert child.wait(10) == 0
    assert up.is_down()


def test_nothing_survives_when_it_is_killed_itself(up: Up) -> None:
    child = up.start()
    child.kill()
    until(up.is_down, STOP_S)
    # The next start finds its way although nobody cleaned up.
    up.start()


def test_a_password_is_wanted_kept_and_never_shown(up: Up) -> None:
    password = f"secret-{secrets.token_hex(8)}"
    (up.folder / "given").write_text(password + "\n")
    child = up.start("--password-file", str(up.folder / "given"))
    with redis.Redis(HOST, up.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(HOST, up.port, password=password) as friend:
        assert friend.ping()
    for kind in ("instances", "sentinels"):
        command = Path(f"/proc/{up.pid(kind, 0)}/cmdline").read_text()
        assert password not in command
    assert password not in (up.directory / "deployment.json").read_text()
    child.signal(signal.SIGTERM)
    assert child.wait(STOP_S) == 0
    assert password not in child.log.read_text()

    (up.folder / "given").unlink()
    up.start()
    with redis.Redis(HOST, up.port, password=password) as friend:
        assert friend.ping()


def test_nothing_survives_when_nobody_reads_its_output(up: Up) -> None:
    process = subprocess.Popen(up.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"starting valkey")
        process.stdout.close()
        assert process.wait(READY_S) == 1
    finally:
        process.kill()
        process.wait()
    assert up.is_down()


def test_two_cannot_have_one_directory(up: Up) -> None:
    up.start()
    other = run("up", "--engine", "valkey", "--dir", str(up.directory))
    assert other.returncode == 1
    assert f"a deployment runs in {up.directory} already" in other.stderr
    assert up.status().returncode == 0


def test_a_port_in_use_is_an_error_that_leaves_nothing(up: Up) -> None:
    with socket.create_server((HOST, up.port + 1)):
        result = subprocess.run(up.command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert f"port {up.port + 1} for instance-2 is in use by" in result.stderr
    assert "--port" in result.stderr
    assert up.is_down()
    up.start()  # the failed start left nothing in the way


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--engine-binary", "/nowhere/dragonfly"], "which does not exist"),
        (["--dir", "/proc/store"], "cannot be used"),
        (["--replicas", "99"], "choose 0 to 8"),
        (["--password-file", "/nowhere/password"], "cannot be read"),
    ],
)
def test_a_wrong_option_is_an_error_with_what_to_do(
    tmp_path: Path, options: list[str], expected: str
) -> None:
    result = run("up", "--engine", "valkey", "--dir", str(tmp_path / "store"), *options)
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_status_says_what_is_wrong_and_fails(up: Up) -> None:
    up.start()
    healthy = up.status()
    assert "● healthy" in healthy.stdout
    assert healthy.stdout.count("replica ") >= 2
    frozen = up.pid("instances", 2)
    os.kill(frozen, signal.SIGSTOP)
    try:
        sick = up.status()
        assert sick.returncode == 1
        assert f"✗ the replica {HOST}:{up.port + 2} does not answer" in sick.stdout
    finally:
        os.kill(frozen, signal.SIGCONT)


def test_status_finds_everybody_by_one_sentinel(up: Up) -> None:
    up.start()
    result = run("status", "--sentinel", f"{HOST}:{up.sentinel_port}", "--json")
    assert result.returncode == 0
    document = json.loads(result.stdout)
    assert document["group"] == up.group
    assert (len(document["sentinels"]), len(document["instances"])) == (3, 3)
    unknown = run("status", "--sentinel", f"{HOST}:{up.sentinel_port}", "--name", "nobody")
    assert unknown.returncode == 1
    assert "does not watch this group" in unknown.stdout


def test_status_of_nobody_is_unreachable(tmp_path: Path) -> None:
    nobody = run("status", "--dir", str(tmp_path / "none"))
    assert nobody.returncode == 2
    assert "start one with `everfly up`" in nobody.stderr
    refused = run("status", "--sentinel", f"{HOST}:{free_range(1)}")
    assert refused.returncode == 2
    assert "Connection refused" in refused.stdout


def test_events_shows_a_failover_once_with_a_mark_for_each_sentinel(up: Up) -> None:
    up.start()
    events = Child(
        [*EVERFLY, "events", "--dir", str(up.directory), "--json"], up.folder / "events.log"
    )
    try:
        until(lambda: len(seen(events, "everfly-back")[:1]) == 1, 20, show=events.log_tail)
        os.kill(up.pid("instances", 0), signal.SIGKILL)
        until(lambda: seen(events, "+switch-master"), 20, show=events.log_tail)
        until(lambda: len(seen(events, "+sdown")[0]["sentinels"]) > 1, 5, show=events.log_tail)  # type: ignore[arg-type]  # a list
        assert len(seen(events, "+switch-master")) == 1
    finally:
        events.kill()


def seen(events: Child, name: str) -> list[dict[str, object]]:
    lines = [line for line in events.log.read_text().splitlines() if line.startswith("{")]
    return [each for each in map(json.loads, lines) if each["event"] == name]


def test_a_terminal_gets_a_live_table(up: Up) -> None:
    screen = Screen(up.command)
    try:
        screen.until("● healthy", READY_S)
        assert "Ctrl-C stops everything and keeps the data" in screen.text
        os.kill(up.pid("instances", 0), signal.SIGKILL)
        screen.until("+switch-master instance-1 → instance-", 20)
        screen.write(b"\x03")
        assert screen.wait(STOP_S) == 0
    finally:
        screen.kill()
    assert up.is_down()


class Screen:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ |= {"COLUMNS": "150", "LINES": "40", "TERM": "xterm"}
            os.execv(command[0], command)
        self.text = ""
        self.status: int | None = None

    def read(self, within_s: float) -> bool:
        if not select.select([self.terminal], [], [], within_s)[0]:
            return True
        try:
            data = os.read(self.terminal, 65_536)
        except OSError:  # the program has ended
            return False
        self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return bool(data)

    def until(self, text: str, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while text not in self.text:
            assert self.read(0.5), f"it ended before {text!r}:\n{self.text[-3000:]}"
            assert time.monotonic() < deadline, f"no {text!r}:\n{self.text[-3000:]}"

    def write(self, data: bytes) -> None:
        os.write(self.terminal, data)

    def wait(self, within_s: float) -> int:
        deadline = time.monotonic() + within_s
        while self.status is None:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.text[-3000:]
        return self.status

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)
