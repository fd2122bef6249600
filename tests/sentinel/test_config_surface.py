"""Each line that a Redis takes is taken, and what a Sentinel acts on is refused as Redis does."""

import contextlib
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from everfly.wire.sentinel_conf import ConfigError, parse
from kinds import HOST, OURS, Engine, Kind, missing, missing_yardstick, sentinel_command
from processes import Connection, ask, free_port, until
from servers import Instance, Sentinel

pytestmark = pytest.mark.compat

NOT_HERE = ("port", "bind", "daemonize", "dir", "logfile", "unixsocket", "tls-port", "aclfile")
"""What would make this file another one than the test's."""

WRONG = [
    "client-output-buffer-limit normal 0 0", "client-output-buffer-limit foo 0 0 0",
    "client-output-buffer-limit pubsub x 0 0", "client-output-buffer-limit pubsub 1mb 1 -1",
    "client-output-buffer-limit pubsub 1mb 0 1 slave 1", "client-output-buffer-limit master 1 1 1",
    "client-output-buffer-limit pubsub 1tb 1 1", "syslog-facility local8", "syslog-facility x",
    "syslog-enabled x", "set-proc-title 1", "tls-replication on", "tls-auth-clients maybe",
    "tls-prefer-server-ciphers x", "tls-session-caching x", "tls-session-cache-size -1",
    "tls-session-cache-size x", "tls-session-cache-timeout -1", "tls-port -1", "tls-port x",
    "port 65536", "port x", "port 1 2", "timeout 2147483648", "tcp-keepalive x", "tcp-backlog -1",
    "maxclients x", "maxclients 4294967296", "supervised runit",
    "protected-mode 1", "unixsocketperm 8", "unixsocketperm x", "daemonize 1",
    "acl-pubsub-default none", "no-such-directive 1", "tls-cert-file", "tls-cert-file a b",
    "requirepass", "requirepass a b", "pidfile", "syslog-ident", "bind-source-addr", "loadmodule",
]  # fmt: skip
RIGHT = [
    "client-output-buffer-limit normal 1mb 1mb 1 pubsub 1 1 1",
    "CLIENT-OUTPUT-BUFFER-LIMIT Slave 1GB 1k 0",
    "client-output-buffer-limit replica 0 0 0", "syslog-facility USER", "syslog-facility local7",
    "syslog-ident 'my sentinel'", "set-proc-title NO", 'proc-title-template "{title} {port}"',
    "supervised AUTO", "supervised upstart", "loglevel Debug", "tcp-keepalive 0", "timeout 0",
    "maxclients 1", "unixsocketperm 0700", 'unixsocketperm ""', 'pidfile ""', 'requirepass ""',
    'bind-source-addr ""', "tls-session-caching no", "tls-session-cache-size 0",
    "save 900 1 300 10",
    'save ""', "repl-diskless-sync-delay 0", "enable-protected-configs yes", "slaveof no one",
    "enable-debug-command local", "notify-keyspace-events AKE", "maxmemory 100mb", "hz 500",
    "rename-command PING PONG", "oom-score-adj-values 0 200 800", "tls-protocols TLSv1.2",
    "tls-ciphers DEFAULT:!MEDIUM", "tls-dh-params-file ''", "lua-time-limit 5000", "# port x",
    "list-max-ziplist-size -2", "appendonly yes", "io-threads 4", "PORT 0",
]  # fmt: skip


@pytest.fixture
def genuine() -> None:
    if reason := missing_yardstick() or missing(Kind.REDIS):
        pytest.skip(reason)


def genuine_error(text: str, folder: Path) -> str:
    """Return why a genuine Sentinel refuses a file; empty when it took it."""
    conf = folder / "sentinel.conf"
    conf.write_text("port 0\n" + text + "\n")
    done = subprocess.run(
        sentinel_command(Kind.REDIS, conf), capture_output=True, text=True, timeout=20, check=False,
        cwd=folder, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 1, done
    if "Configured to not listen anywhere" in done.stdout:
        return ""
    return done.stderr.strip().splitlines()[-1]


def our_error(text: str) -> str:
    try:
        parse("port 0\n" + text + "\n", "sentinel.conf")
    except ConfigError as error:
        return error.message
    return ""


def test_what_a_sentinel_acts_on_is_taken_or_refused_in_the_same_words(
    genuine: None, tmp_path: Path
) -> None:
    lines = WRONG + RIGHT
    assert {line: our_error(line) for line in lines} == {
        line: genuine_error(line, tmp_path) for line in lines
    }
    assert [line for line in RIGHT if our_error(line)] == []
    assert [line for line in WRONG if not our_error(line)] == []


@pytest.fixture
def all_lines(genuine: None, tmp_path: Path) -> list[str]:
    """Every directive of this Redis, with the value that it has there."""
    instance = Instance(Engine.REDIS, tmp_path / "instance")
    try:
        instance.start()
        reply = instance.ask("CONFIG", "GET", "*")
    finally:
        instance.kill()
    assert isinstance(reply, list)
    words = [word.decode() for word in reply]
    pairs = zip(words[::2], words[1::2], strict=True)
    several = ("client-output-buffer-limit", "oom-score-adj-values", "save",
               "latency-tracking-info-percentiles")  # fmt: skip
    return [
        f"{name} {value}" if name in several and value else f'{name} "{value}"'
        for name, value in pairs
        if name not in NOT_HERE and (value or name not in ("slaveof", "replicaof"))
    ]


def test_every_directive_of_a_redis_is_taken_and_kept(all_lines: list[str], tmp_path: Path) -> None:
    assert len(all_lines) > 180
    assert genuine_error("\n".join(all_lines), tmp_path) == ""
    sentinel = Sentinel(OURS, tmp_path / "sentinel")
    # As root it may otherwise ask for more descriptors than there are.
    lines = [line for line in all_lines if not line.startswith(("maxclients", "pidfile"))]
    try:
        sentinel.start(lines)
        assert sentinel.ask("SENTINEL", "FLUSHCONFIG") == b"OK"
        assert sentinel.stop() == 0
        kept = sentinel.conf.read_text().splitlines()
        assert [line for line in lines if line not in kept] == []
        sentinel.start()
        assert sentinel.stop() == 0
    finally:
        sentinel.kill()


def test_files_are_included_and_what_they_say_stays_in_them(tmp_path: Path) -> None:
    sentinel = Sentinel(OURS, tmp_path / "sentinel")
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.conf").write_text(f"sentinel monitor one {HOST} 1 1\nrequirepass before\n")
    (parts / "2.conf").write_text("requirepass after\ntimeout 77\n")
    try:
        sentinel.start([f"include {parts}/*.conf"])
        with Connection(sentinel.port) as client:
            assert client.call("AUTH", "after") == b"OK"
            assert client.call("SENTINEL", "FLUSHCONFIG") == b"OK"
        text = sentinel.conf.read_text()
        assert f"include {parts}/*.conf" in text
        assert "after" not in text
        assert sentinel.stop() == 0
        sentinel.start()
        assert ask(sentinel.port, "SENTINEL", "MASTER", "one", password="after")
    finally:
        sentinel.kill()


def test_protected_mode_lets_in_who_comes_from_this_machine_alone(tmp_path: Path) -> None:
    """By the addresses of Redis: 127.0.0.2 is a stranger."""
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start(["protected-mode yes", "bind 127.0.0.1 127.0.0.2"])
        assert sentinel.ask("PING") == b"PONG"
        with contextlib.closing(socket_from("127.0.0.2", sentinel.port)) as stranger:
            assert stranger.makefile("rb").read().startswith(b"-DENIED Redis is running in prot")
        assert sentinel.stop() == 0
        sentinel.start(["protected-mode yes", "bind 127.0.0.1 127.0.0.2", "requirepass known"])
        with contextlib.closing(socket_from("127.0.0.2", sentinel.port)) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(100).startswith(b"-NOAUTH")
    finally:
        sentinel.kill()


def socket_from(source: str, port: int) -> socket.socket:
    return socket.create_connection((HOST, port), 5, (source, 0))


def test_too_many_clients_are_told(tmp_path: Path) -> None:
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start(["maxclients 2"])
        with Connection(sentinel.port) as first, Connection(sentinel.port) as second:
            # Those of the start may not be gone yet.
            until(lambda: first.call("PING") == second.call("PING") == b"PONG", 5)
            with Connection(sentinel.port) as third:
                assert "max number of clients reached" in str(third.receive())
    finally:
        sentinel.kill()


def test_a_client_that_leaves_too_much_unread_is_closed(tmp_path: Path) -> None:
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start(["client-output-buffer-limit normal 256kb 0 0"])
        with Connection(sentinel.port) as client:
            with contextlib.suppress(OSError):
                for _ in range(2000):
                    client.send("COMMAND")
            until(lambda: "overcoming of output buffer limits" in sentinel.log_tail(), 10)
        assert sentinel.ask("PING") == b"PONG"
    finally:
        sentinel.kill()


def test_connections_come_from_the_address_that_is_set(tmp_path: Path) -> None:
    instance = Instance(Engine.VALKEY, tmp_path / "instance")
    sentinel = Sentinel(OURS, tmp_path / "sentinel")
    try:
        instance.start()
        watch = f"sentinel monitor m {HOST} {instance.port} 1"
        sentinel.start(["bind-source-addr 127.0.0.9", watch])

        def sources() -> set[str]:
            clients = instance.ask("CLIENT", "LIST")
            assert isinstance(clients, bytes)
            ours = [line for line in clients.decode().splitlines() if "name=sentinel-" in line]
            return {re.findall(r" addr=([0-9.]+):", line)[0] for line in ours}

        until(lambda: sources() == {"127.0.0.9"}, 10, show=sentinel.log_tail)
    finally:
        sentinel.kill()
        instance.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="a user may raise no limit anyway")
@pytest.mark.parametrize(("limit", "is_enough"), [(200, True), (60, False)])
def test_a_low_limit_of_open_files_is_told(limit: int, is_enough: bool, tmp_path: Path) -> None:
    conf = tmp_path / "sentinel.conf"
    port = free_port()
    conf.write_text(f"port {port}\nbind {HOST}\n")
    line = ["setpriv", "--bounding-set=-sys_resource", "prlimit", f"--nofile={limit}:{limit}"]
    line += sentinel_command(OURS, conf)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            if is_enough:
                until(lambda: ask(port, "PING") == b"PONG", 10)
                process.terminate()
            text, _ = process.communicate(timeout=20)
        finally:
            process.kill()
    if is_enough:
        assert "You requested maxclients of 10000 requiring at least 10064 max file descr" in text
        assert f"Current maximum open files is {limit}. maxclients has been reduced to 136" in text
        assert process.returncode == 0
    else:
        assert "Your current 'ulimit -n' of 60 is not enough for the server to start." in text
        assert process.returncode == 1


def test_its_own_commands_are_called_as_it_is_told(tmp_path: Path) -> None:
    sentinel = Sentinel(OURS, tmp_path)
    try:
        sentinel.start(["rename-command SHUTDOWN leave-now", 'rename-command ROLE ""'])
        with Connection(sentinel.port) as client:
            for gone in ("SHUTDOWN", "ROLE"):
                client.send(gone)
                assert f"unknown command '{gone}'" in str(client.receive())
            client.send("Leave-Now")
            with pytest.raises(OSError, match="closed"):
                client.receive()
        assert sentinel.child is not None
        assert sentinel.child.wait(5) == 0
    finally:
        sentinel.kill()


@pytest.mark.parametrize(
    ("line", "text"),
    [("rename-command GET x", "No such command in rename-command"),
     ("rename-command PING AUTH", "Target command name already exists")],
)  # fmt: skip
def test_commands_that_cannot_be_renamed_are_refused_in_the_genuine_words(
    line: str, text: str, genuine: None, tmp_path: Path
) -> None:
    assert genuine_error(line, tmp_path) == text
    conf = tmp_path / "ours.conf"
    conf.write_text(f"port {free_port()}\n{line}\n")
    done = subprocess.run(
        sentinel_command(OURS, conf), capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert text in done.stdout
