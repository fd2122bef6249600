import contextlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_log import EventLog
from kinds import HOST, OURS
from processes import Child, Connection, ask, free_port, until
from servers import Deployment, Group, Sentinel

pytestmark = pytest.mark.integration

START_LIMIT_S = 0.5
"""From the start of the process to the first PONG, on a machine that is not loaded."""


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    sentinel = Sentinel(OURS, tmp_path)
    yield sentinel
    sentinel.kill()


def run_to_the_end(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `everfly sentinel` where it is expected to refuse."""
    return subprocess.run(
        [sys.executable, "-m", "everfly", "sentinel", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_it_answers_soon_after_its_start(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    seconds = []
    for _ in range(3):
        port = free_port()
        conf.write_text(f"port {port}\nbind {HOST}\n")
        began = time.monotonic()
        child = Child([sys.executable, "-m", "everfly", "sentinel", str(conf)], tmp_path / "log")
        try:
            until(lambda at=port: ask(at, "PING") == b"PONG", 10)  # type: ignore[misc]
            seconds.append(time.monotonic() - began)
        finally:
            child.kill()
    assert min(seconds) < START_LIMIT_S * (1 + os.getloadavg()[0])


def test_the_first_start_saves_an_id_that_stays(sentinel: Sentinel) -> None:
    sentinel.start([])
    run_id = sentinel.run_id()
    assert re.fullmatch("[0-9a-f]{40}", run_id)
    assert sentinel.saved("myid") == [run_id]
    assert sentinel.stop() == 0
    sentinel.start()
    assert sentinel.run_id() == run_id


def test_an_orderly_end_is_quick_frees_the_port_and_says_good_bye(sentinel: Sentinel) -> None:
    sentinel.start([f"pidfile {sentinel.folder}/pid"])
    assert sentinel.child is not None
    assert (sentinel.folder / "pid").read_text() == f"{sentinel.child.pid}\n"
    with Connection(sentinel.port) as client:
        client.call("SUBSCRIBE", "+sdown")
        began = time.monotonic()
        assert sentinel.stop() == 0
        assert time.monotonic() - began < 1
        with pytest.raises(OSError, match="closed"):
            client.receive()
    log = sentinel.log_tail()
    assert "Received SIGTERM scheduling shutdown..." in log
    assert "Sentinel is now ready to exit, bye bye..." in log
    assert not (sentinel.folder / "pid").exists()
    with socket.socket() as again:
        # Its closed connections may linger in TIME_WAIT, which is the kernel's business.
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((HOST, sentinel.port))


@pytest.mark.parametrize("way", ["SIGINT", "SHUTDOWN"])
def test_other_ways_to_end_it(way: str, sentinel: Sentinel) -> None:
    sentinel.start([])
    assert sentinel.child is not None
    if way == "SIGINT":
        sentinel.child.signal(signal.SIGINT)
    else:
        with Connection(sentinel.port) as client:
            client.send("SHUTDOWN")
            with pytest.raises(OSError, match="closed"):
                client.receive()
    assert sentinel.child.wait(2) == 0
    assert "bye bye" in sentinel.log_tail()


def test_hangup_is_ignored(sentinel: Sentinel) -> None:
    sentinel.start([])
    assert sentinel.child is not None
    sentinel.child.signal(signal.SIGHUP)
    assert sentinel.ask("PING") == b"PONG"
    assert sentinel.stop() == 0


def test_normal_life_says_nothing_on_stderr(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    port = free_port()
    conf.write_text(f"port {port}\nbind {HOST}\nsentinel monitor m {HOST} {free_port()} 1\n")
    with (
        (tmp_path / "stdout").open("w") as stdout,
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", "everfly", "sentinel", str(conf)],
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            until(lambda: ask(port, "PING") == b"PONG", 10)
            with Connection(port) as client:
                for command in ("INFO", "ROLE", "NONSENSE", "SENTINEL MASTERS"):
                    client.send(*command.split())
                    client.receive()
            process.terminate()
            assert process.wait(5) == 0
        finally:
            process.kill()
    assert (tmp_path / "stderr").read_text() == ""
    line = re.compile(r"\d+:X \d\d \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3} [-.*#] .+")
    lines = (tmp_path / "stdout").read_text().splitlines()
    assert [text for text in lines if not line.fullmatch(text)] == []
    assert f"# +monitor master m {HOST}" in "\n".join(lines)


def test_a_port_in_use_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = f"port {port}\nbind {HOST}\n"
        conf.write_text(text)
        ended = run_to_the_end(conf)
    assert ended.returncode == 1
    expected = f"Could not create server TCP listening socket {HOST}:{port}: bind: Address already"
    assert expected in ended.stdout
    assert f"Failed listening on port {port} (TCP), aborting." in ended.stdout
    assert conf.read_text() == text


def test_a_wrong_line_is_fatal_and_shown(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    conf.write_text("port 26379\nsentinel monitor m 127.0.0.1 6379 0\n")
    ended = run_to_the_end(conf)
    assert ended.returncode == 1
    assert ended.stderr == (
        "\n*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\n"
        "Reading the configuration file, at line 2\n"
        ">>> 'sentinel monitor m 127.0.0.1 6379 0'\n"
        "Quorum must be 1 or greater.\n"
    )


def test_no_file_and_a_file_that_is_not_there_are_told(tmp_path: Path) -> None:
    ended = run_to_the_end()
    assert ended.returncode == 1
    assert "Sentinel needs config file on disk to save state. Exiting..." in ended.stdout
    ended = run_to_the_end(tmp_path / "gone.conf")
    assert ended.returncode == 1
    assert f"can't open config file '{tmp_path}/gone.conf': No such file" in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_cannot_be_written_is_told(what: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for above in tmp_path.parents:
        if above.stat().st_uid == os.geteuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port {free_port()}\n")
    conf.chmod(0o644 if what == "file" else 0o666)
    if what == "folder":
        tmp_path.chmod(0o755)
    # In a process of its own: the interpreter itself may be out of reach for a stranger.
    code = (
        "import os, sys\n"
        "from everfly.sentinel.app import run\n"
        "import everfly.sentinel.service\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(run(sys.argv[1]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(conf)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert f"Sentinel config file {conf} is not writable: " in ended.stdout
    assert "Exiting..." in ended.stdout


@pytest.mark.parametrize(
    ("line", "word"),
    [("loadmodule /x.so a", "cannot load modules"),
     ("user eve on >x +@bogus", "Unknown command or category"), ("user eve >x (", "parenthesis"),
     ("user eve on >x\nuser eve on", "Duplicate user"), ("user eve on #>x", "password hash"),
     ("aclfile /no/such.acl", "No such file"), ("aclfile /x\nuser eve on >x", "not both")],
)  # fmt: skip
def test_what_would_be_dangerous_to_ignore_is_refused(line: str, word: str, tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port {free_port()}\n{line}\n")
    ended = run_to_the_end(conf)
    assert ended.returncode == 1
    assert word in ended.stderr
    assert ">x" not in ended.stderr


def test_options_behind_the_file_win(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    port = free_port()
    conf.write_text(f"port 1\nbind {HOST}\n")
    child = Child(
        [sys.executable, "-m", "everfly", "sentinel", str(conf), "--port", str(port),
         "--sentinel", "announce-ip", "192.0.2.1"],
        tmp_path / "log",
    )  # fmt: skip
    try:
        until(lambda: ask(port, "PING") == b"PONG", 10, show=child.log_tail)
        assert ask(port, "SENTINEL", "CONFIG", "GET", "announce-ip") == [
            b"announce-ip", b"192.0.2.1"
        ]  # fmt: skip
    finally:
        child.kill()


def test_it_goes_to_the_background_when_told(tmp_path: Path) -> None:
    conf, pid_file = tmp_path / "sentinel.conf", tmp_path / "pid"
    port = free_port()
    conf.write_text(
        f"port {port}\nbind {HOST}\ndaemonize yes\npidfile {pid_file}\nlogfile {tmp_path}/log\n"
    )
    assert run_to_the_end(conf).returncode == 0
    until(lambda: ask(port, "PING") == b"PONG", 10)
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: not pid_file.exists() and not Path(f"/proc/{pid}").exists(), 5)
    assert "bye bye" in (tmp_path / "log").read_text()


def test_it_watches_a_real_primary_and_its_replica_and_knows_when_it_is_gone() -> None:
    with Deployment(kinds=(OURS,), replicas=1, quorum=2) as deployment:
        watcher = deployment.sentinels[0]
        with EventLog([watcher.port]) as log:
            deployment.group.instances[0].kill()
            log.wait_for("+sdown", within_s=5)
        assert "s_down" in watcher.view(deployment.name)["flags"]


def test_a_sentinel_that_was_stopped_for_a_while_calls_nobody_down() -> None:
    """Its own sleep is not the silence of others (TILT off: shorter than its trigger)."""
    with Deployment(kinds=(OURS,), replicas=1, quorum=1, down_after=600) as deployment:
        watcher = deployment.sentinels[0]
        assert watcher.child is not None
        with EventLog([watcher.port]) as log:
            for _ in range(3):
                watcher.child.signal(signal.SIGSTOP)
                log.watch(time.monotonic() + 1.3)
                watcher.child.signal(signal.SIGCONT)
                until(lambda: watcher.ask("PING") == b"PONG", 5)
                log.watch(time.monotonic() + 1.0)
            assert log.of("+sdown") == []
            assert log.of("+tilt") == []


def test_a_disk_that_fails_refuses_changes_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    sentinel = Sentinel(OURS, folder)
    try:
        sentinel.start([])
        # The file's folder goes away: nothing can be replaced there, also not by root.
        folder.rename(tmp_path / "away")
        add = ("SENTINEL", "MONITOR", "m", HOST, free_port(), 1)
        with Connection(sentinel.port) as client:
            client.send(*add)
            assert "Failed to save config file" in str(client.receive())
            (tmp_path / "away").rename(folder)
            assert client.call("SENTINEL", "FLUSHCONFIG") == b"OK"
        assert sentinel.saved("monitor")[0].startswith("m ")
        assert "WARNING: Sentinel was not able to save the new configuration" in sentinel.log_tail()
        assert sentinel.stop() == 0
    finally:
        sentinel.kill()


def test_it_tells_systemd_and_listens_on_a_socket_in_the_file_system(tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port 0\nunixsocket {tmp_path}/s\nunixsocketperm 700\n")
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
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(5)
                client.connect(str(tmp_path / "s"))
                client.sendall(b"PING\r\n")
                assert client.recv(100) == b"+PONG\r\n"
            child.signal(signal.SIGTERM)
            assert supervisor.recv(100) == b"STOPPING=1"
            assert child.wait(2) == 0
            assert not (tmp_path / "s").exists()
        finally:
            child.kill()


def test_names_are_resolved_and_stay_in_the_file(tmp_path: Path) -> None:
    group = Group(tmp_path / "group", replicas=1)
    sentinel = Sentinel(OURS, tmp_path / "sentinel")
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(group.kill)
        at_the_end.callback(sentinel.kill)
        group.start()
        primary = group.instances[0].port
        sentinel.start(
            ["sentinel resolve-hostnames yes", f"sentinel monitor m localhost {primary} 1"]
        )
        until(lambda: len(sentinel.replicas("m")) == 1, 10, show=sentinel.log_tail)
        until(lambda: sentinel.view("m")["flags"] == "master", 5, show=sentinel.log_tail)
        address = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m")
        assert address in ([HOST.encode(), b"%d" % primary], [b"::1", b"%d" % primary])
        assert sentinel.ask("SENTINEL", "FLUSHCONFIG") == b"OK"
        assert sentinel.saved("monitor") == [f"m localhost {primary} 1"]
        assert sentinel.ask("SENTINEL", "CONFIG", "SET", "announce-hostnames", "yes") == b"OK"
        assert sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m") == [
            b"localhost", b"%d" % primary
        ]  # fmt: skip
