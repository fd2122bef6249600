"""Turn command lines into supervised children of a test, and waits into clear failures.

A child has its own process group, writes into one log file, dies with the process that started it,
and is always reaped. A wait asks for a condition until it holds; when it does not, the error shows
the last state that was seen.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import hiredis

T = TypeVar("T")

Reply = object
"""What hiredis makes of a reply: bytes, int, None, list, dict, bool, float, or a ReplyError."""

POLL_S: Final = 0.02
"""Between two looks at a condition: far below anything that is awaited, and cheap."""

LOG_TAIL_LINES: Final = 60
REPLY_MAX_BYTES: Final = 8 * 1024 * 1024
"""No reply that the harness asks for comes near this; more means that something went wild."""

# pytest-randomly seeds `random` alike in every worker; ports must differ between them.
_DICE: Final = random.SystemRandom()
_PORT_MIN: Final = 10_000
_PORT_MAX: Final = 32_000
"""Below the ephemeral range of Linux (32768..60999): an outgoing connection never sits on the port
of an instance that is down for a moment."""

_RESERVATIONS: dict[int, socket.socket] = {}
"""Ports given out by this process. Each is held by the name of an abstract Unix socket, which all
test processes of this machine see and which ends with the process: what is free now is not given
to another worker before its server has started."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on and nobody was given."""
    for _ in range(1000):
        port = _DICE.randint(_PORT_MIN, _PORT_MAX)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0everfly-test-port-{port}")
        except OSError:
            reservation.close()
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _RESERVATIONS[port] = reservation
        return port
    raise RuntimeError(f"no free port between {_PORT_MIN} and {_PORT_MAX} in 1000 tries")


def until(
    condition: Callable[[], T],
    within_s: float,
    *,
    show: Callable[[], object] | None = None,
    despite: tuple[type[Exception], ...] = (),
) -> T:
    """Ask `condition` until it returns something true, and return that.

    A condition that raises OSError (a refused connection, a time-out), ReplyError or one of the
    errors in `despite` does not hold yet. Raise TimeoutError after `within_s` seconds with the
    last answer, or with what `show` says.
    """
    tolerated: tuple[type[Exception], ...] = (OSError, hiredis.ReplyError, *despite)
    deadline = time.monotonic() + within_s
    while True:
        try:
            last: object = condition()
            if last:
                return last  # type: ignore[return-value]  # it is the T that was just asked for
        except tolerated as error:
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    state = last if show is None else _shown(show)
    function = condition.func if isinstance(condition, partial) else condition
    doc = function.__doc__ or getattr(function, "__qualname__", "the condition holds")
    raise TimeoutError(f"not within {within_s:g} s: {doc}; last state: {state}")


def _shown(show: Callable[[], object]) -> object:
    try:
        return show()
    except (OSError, hiredis.ReplyError) as error:
        return f"(cannot be shown: {type(error).__name__}: {error})"


class Connection:
    """A plain blocking RESP connection, independent of the code under test."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout_s: float = 2.0) -> None:
        self.socket = socket.create_connection((host, port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, *args: str | bytes | int) -> None:
        self.socket.sendall(hiredis.pack_command(args))  # type: ignore[arg-type]  # its stub: 1-tuple

    def receive(self) -> Reply:
        """Return the next reply, also one that is an error. Raise OSError at the end."""
        received = 0
        while (reply := self._reader.gets()) is False:
            data = self.socket.recv(65_536)
            received += len(data)
            if not data:
                raise ConnectionResetError("the other side closed the connection")
            if received > REPLY_MAX_BYTES:
                raise ConnectionAbortedError(f"a reply of more than {REPLY_MAX_BYTES} bytes")
            self._reader.feed(data)
        return reply

    def call(self, *args: str | bytes | int) -> Reply:
        """Return the reply. Raise hiredis.ReplyError for an error reply, OSError for trouble."""
        self.send(*args)
        reply = self.receive()
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply


def ask(port: int, *args: str | bytes | int, password: str = "") -> Reply:
    """Connect, send one command, return its reply. Raise OSError or hiredis.ReplyError."""
    with Connection(port) as connection:
        if password:
            connection.call("AUTH", password)
        return connection.call(*args)


def info(port: int, *, password: str = "") -> dict[str, str]:
    """Return the fields of INFO. Raise OSError or hiredis.ReplyError."""
    reply = ask(port, "INFO", "everything", password=password)
    assert isinstance(reply, bytes), reply
    lines = reply.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


class Child:
    """One process, started at construction, in a process group of its own.

    It is killed by the kernel when the thread that started it ends (PR_SET_PDEATHSIG), so that not
    even a SIGKILL of the test run leaves it behind: start children from the main thread.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        directory: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*_dies_with_parent(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=os.environ | (environment or {}),
                process_group=0,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: the signal), or None while it runs."""
        return self._popen.poll()

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def wait(self, within_s: float) -> int:
        """Return the exit status. Raise TimeoutError when it runs after `within_s` seconds."""
        try:
            return self._popen.wait(within_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{self.command[0]} still runs after {within_s:g} s") from error

    def kill(self) -> None:
        """End the whole process group at once and reap the child. Harmless when it has ended."""
        # The group outlives its leader when the child has children of its own (scripts).
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        status = self.exit_status
        state = "running" if status is None else f"exit status {status}"
        return f"--- {self.log} ({state})\n" + "\n".join(lines)


def _dies_with_parent() -> list[str]:
    # A program of its own, because code between fork and exec is unsafe beside threads.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
