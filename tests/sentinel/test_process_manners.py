"""What whoever starts, names, watches and stops the process of a Sentinel sees of it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinds import HOST, OURS
from processes import Child, ask, free_port, until
from servers import Deployment, Sentinel

pytestmark = pytest.mark.integration

EVERFLY = Path(sys.executable).parent / "everfly"


@pytest.mark.parametrize("name", ["redis-sentinel", "valkey-sentinel", "everfly-sentinel"])
def test_called_by_the_name_of_a_sentinel_it_is_one(name: str, tmp_path: Path) -> None:
    program, conf, port = tmp_path / name, tmp_path / "sentinel.conf", free_port()
    program.symlink_to(EVERFLY)
    conf.write_text(f"bind {HOST}\n")
    child = Child([str(program), str(conf), "--port", str(port)], tmp_path / "log")
    try:
        until(lambda: ask(port, "PING") == b"PONG", 10, show=child.log_tail)
        assert ask(port, "ROLE") == [b"sentinel", []]
    finally:
        child.kill()


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_called_by_the_name_of_a_sentinel_it_tells_its_version(option: str, tmp_path: Path) -> None:
    program = tmp_path / "redis-sentinel"
    program.symlink_to(EVERFLY)
    done = subprocess.run([program, option], capture_output=True, text=True, timeout=20, check=True)
    assert re.search(r"\b[0-9]+\.[0-9]+\.[0-9]+", done.stdout)


def test_its_title_says_what_it_is_and_no_password(tmp_path: Path) -> None:
    conf, port = tmp_path / "sentinel.conf", free_port()
    conf.write_text(f"bind {HOST}\n")
    line = [sys.executable, "-m", "everfly", "sentinel", str(conf), "--port", str(port)]
    child = Child([*line, "--requirepass", "open-sesame"], tmp_path / "log")
    try:
        until(lambda: ask(port, "PING", password="open-sesame") == b"PONG", 10)
        shown = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        assert shown.rstrip(b"\0").decode() == f"everfly-sentinel {HOST}:{port} [sentinel]"
    finally:
        child.kill()


@pytest.mark.parametrize(
    ("lines", "title"),
    [(['proc-title-template "{title} on {port} {tls-port}"'], "everfly-sentinel on {port} 0"),
     (["set-proc-title no"], None)],
)  # fmt: skip
def test_its_title_is_the_one_that_is_set(
    lines: list[str], title: str | None, tmp_path: Path
) -> None:
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start(lines)
        assert sentinel.child is not None
        shown = Path(f"/proc/{sentinel.child.pid}/cmdline").read_bytes().rstrip(b"\0").decode()
        expected = (
            title.format(port=sentinel.port)
            if title
            else "\0".join([sys.executable, "-m", "everfly", "sentinel", str(sentinel.conf)])
        )
        assert shown == expected
    finally:
        sentinel.kill()


def test_a_title_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f'port {free_port()}\nproc-title-template "{{nonsense}}"\n')
    line = [sys.executable, "-m", "everfly", "sentinel", str(conf)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "contains unknown variables: 'nonsense'" in ended.stderr


def test_start_and_end_are_told_in_order(tmp_path: Path) -> None:
    sentinel = Sentinel(OURS, tmp_path)
    pid_file, path = tmp_path / "pid", tmp_path / "socket"
    try:
        sentinel.start([f"pidfile {pid_file}", f"unixsocket {path}",
                        f"sentinel monitor m {HOST} {free_port()} 1"])  # fmt: skip
        assert sentinel.ask("SENTINEL", "SET", "m", "quorum", 7) == b"OK"
        began = time.monotonic()
        assert sentinel.stop() == 0
        assert time.monotonic() - began < 1
    finally:
        sentinel.kill()
    told = [
        "oO0OoO0OoO0Oo", "version=", "Configuration loaded",
        "* Sentinel new configuration saved on disk",
        f"Running mode=sentinel, port={sentinel.port}.", "# Sentinel ID is ", "# +monitor master m",
        "Received SIGTERM scheduling shutdown...", "# User requested shutdown...",
        "# Sentinel is now ready to exit, bye bye...",
    ]  # fmt: skip
    text = sentinel.log_tail()
    places = [text.find(each) for each in told]
    assert -1 not in places, dict(zip(told, places, strict=True))
    assert places == sorted(places), text
    assert "* Removing the pid file." in text
    assert "* Removing the unix socket file." in text
    assert not pid_file.exists()
    assert not path.exists()
    assert sentinel.saved("monitor")[0].endswith(" 7")


def test_the_first_user_signal_kills_it_as_it_kills_a_redis(tmp_path: Path) -> None:
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start([])
        assert sentinel.child is not None
        sentinel.child.signal(signal.SIGUSR1)
        assert sentinel.child.wait(5) == -signal.SIGUSR1
    finally:
        sentinel.kill()


def test_a_simulated_crash_has_the_genuine_exit_status() -> None:
    with Deployment(kinds=(OURS,), replicas=1, quorum=1) as deployment:
        sentinel = deployment.sentinels[0]
        assert sentinel.ask("SENTINEL", "SIMULATE-FAILURE", "crash-after-election") == b"OK"
        deployment.primary().kill()
        assert sentinel.child is not None
        assert sentinel.child.wait(15) == 99


@pytest.mark.parametrize("mode", ["systemd", "auto"])
def test_under_a_supervisor_it_stays_in_the_foreground(mode: str, tmp_path: Path) -> None:
    conf, port = tmp_path / "sentinel.conf", free_port()
    conf.write_text(f"port {port}\nbind {HOST}\nsupervised {mode}\ndaemonize yes\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.settimeout(10)
        supervisor.bind(str(tmp_path / "notify"))
        child = Child(
            [sys.executable, "-m", "everfly", "sentinel", str(conf)],
            tmp_path / "log",
            environment={"NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert supervisor.recv(100) == b"READY=1"
            assert child.exit_status is None
            assert ask(port, "PING") == b"PONG"
        finally:
            child.kill()


def test_the_log_of_the_system_gets_what_our_own_gets(tmp_path: Path) -> None:
    place = tmp_path / "log"
    code = (
        "import logging, sys\n"
        "from everfly.runtime.log import NOTICE, set_up\n"
        "from everfly.runtime.syslog import add_system_log\n"
        "set_up('', 'notice')\n"
        "add_system_log('my-sentinel', 'local3', sys.argv[1])\n"
        "logging.getLogger('x').log(NOTICE, 'one\\nline')\n"
        "logging.getLogger('x').warning('%s', 'two')\n"
        "logging.getLogger('x').debug('unseen')\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.settimeout(10)
        system.bind(str(place))
        done = subprocess.run(
            [sys.executable, "-c", code, str(place)], capture_output=True, text=True, timeout=20,
            check=True,
        )  # fmt: skip
        day = r"[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}"
        first, second = system.recv(1000).decode(), system.recv(1000).decode()
    assert re.fullmatch(rf"<157>{day} my-sentinel\[\d+\]: one\\nline", first), first
    assert re.fullmatch(rf"<156>{day} my-sentinel\[\d+\]: two", second), second
    assert done.stdout.count("\n") == 2
    assert done.stderr == ""


def test_without_a_log_of_the_system_it_runs_all_the_same(tmp_path: Path) -> None:
    if os.path.exists("/dev/log"):  # noqa: PTH110
        pytest.skip("this machine has a log of the system, which is not for tests")
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start(["syslog-enabled yes", "syslog-ident x", "syslog-facility local1"])
        assert sentinel.stop() == 0
        assert "bye bye" in sentinel.log_tail()
    finally:
        sentinel.kill()
