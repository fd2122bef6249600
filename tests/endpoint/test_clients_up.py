"""`everfly up` gives clients one address, and tells it first."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from endpoint_process import needs_plane
from kinds import HOST
from processes import Child, free_port, until

pytestmark = [pytest.mark.integration, needs_plane]

LIMIT_S = 40.0


@dataclass
class Up:
    folder: Path
    endpoint_port: int = field(default_factory=free_port)
    children: list[Child] = field(default_factory=list)

    def start(self, *options: str) -> Child:
        """Start one primary, one replica and one Sentinel, and wait for what they print."""
        ports = [] if self.children else [str(free_port()), str(free_port())]
        places = ["--port", ports[0], "--sentinel-port", ports[1]] if ports else []
        child = Child(
            [
                *(sys.executable, "-m", "everfly", "up", "--engine", "valkey", "--plain"),
                *("--replicas", "0", "--sentinels", "1", "--dir", str(self.folder / "store")),
                *places,
                *options,
            ],
            self.folder / f"up-{len(self.children)}.log",
        )
        self.children.append(child)
        until(
            lambda: "Connect with redis-py" in child.log.read_text(), LIMIT_S, show=child.log_tail
        )
        return child

    def stop(self) -> None:
        self.children[-1].signal(signal.SIGTERM)
        assert self.children[-1].wait(LIMIT_S) == 0

    def endpoint(self) -> dict[str, object]:
        found = json.loads((self.folder / "store" / "deployment.json").read_text())["endpoint"]
        assert isinstance(found, dict), found
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    it = Up(tmp_path)
    yield it
    for child in it.children:
        child.kill()


def test_the_address_for_clients_comes_first_and_stays(up: Up) -> None:
    log = up.start("--endpoint-port", str(up.endpoint_port)).log.read_text()
    lines = [line for line in log.splitlines() if line.startswith("  ")]
    assert lines[0].split()[:2] == ["endpoint", f"{HOST}:{up.endpoint_port}"]
    assert "for clients" in lines[0]
    assert f'redis.Redis("{HOST}", {up.endpoint_port})' in log
    with redis.Redis(HOST, up.endpoint_port) as store:
        assert store.set("greeting", "hello")
    up.stop()
    up.start()
    assert up.endpoint()["port"] == up.endpoint_port
    with redis.Redis(HOST, up.endpoint_port) as store:
        assert store.get("greeting") == b"hello"
    up.stop()


def test_a_killed_endpoint_comes_back_at_its_address(up: Up) -> None:
    up.start("--endpoint-port", str(up.endpoint_port))
    pid = up.endpoint()["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    until(lambda: up.endpoint()["pid"] not in (None, pid), LIMIT_S, show=up.endpoint)
    with redis.Redis(HOST, up.endpoint_port) as store:
        until(store.ping, LIMIT_S, despite=(redis.RedisError,))
    up.stop()


def test_a_password_goes_through_the_endpoint(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    child = up.start("--endpoint-port", str(up.endpoint_port), "--password-file", str(file))
    with redis.Redis(HOST, up.endpoint_port) as store, pytest.raises(redis.AuthenticationError):
        store.get("x")
    with redis.Redis(HOST, up.endpoint_port, password="s3cret") as store:
        assert store.set("x", "1")
    assert "s3cret" not in child.log.read_text()
    log = tmp_path / "store" / "endpoint" / "log"
    assert "s3cret" not in log.read_text()
    up.stop()


def test_nobody_gets_an_endpoint_who_wants_none(up: Up) -> None:
    log = up.start("--no-endpoint").log.read_text()
    assert "for clients" not in log
    document = json.loads((up.folder / "store" / "deployment.json").read_text())
    assert document["endpoint"] is None
    up.stop()
