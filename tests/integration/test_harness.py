"""The harness keeps its promises: nothing outlives a run, and a failed wait shows what it saw."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import Child, free_port, until

TESTS = Path(__file__).resolve().parents[1]


def is_gone(pid: int) -> bool:
    """The process has ended, and somebody has reaped it."""
    return not Path(f"/proc/{pid}").exists()


def test_a_child_dies_with_the_run_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys; from processes import Child\n"
        "child = Child(['sleep', '300'], pathlib.Path(sys.argv[1]))\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        child = int(run.stdout.readline())
        # What ties its life to the run's is done before it becomes what it shall be.
        command = Path(f"/proc/{child}/cmdline")
        until(lambda: command.read_bytes().startswith(b"sleep"), 5.0)
        run.send_signal(signal.SIGKILL)
    until(lambda: is_gone(child) or is_zombie(child), 5.0)


def is_zombie(pid: int) -> bool:
    """The process has ended; whoever inherited it has not reaped it yet."""
    return bool(re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))


def test_a_killed_child_takes_its_own_children_along(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "sleep 300 & echo $!; wait"], tmp_path / "log")
    grandchild = int(until(lambda: child.log.read_text().strip(), 5.0))
    child.kill()
    assert is_gone(child.pid)
    until(lambda: is_gone(grandchild) or is_zombie(grandchild), 5.0)


def test_a_failed_wait_shows_the_last_state() -> None:
    answers = iter(range(1_000_000))

    def grows() -> bool:
        """It grows enough."""
        return next(answers) < 0

    with pytest.raises(TimeoutError, match=r"not within 0\.1 s: It grows enough\.; .* 4[0-9]*$"):
        until(grows, 0.1, show=lambda: 42)


def test_ports_are_never_given_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
