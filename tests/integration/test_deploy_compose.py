"""The documented topology in `deploy/` works: its very command lines, as processes of this machine.

Nothing is read from `deploy/` but through one documented substitution:

- the network `172.31.250.` becomes a random `127.A.B.` (all of 127.0.0.0/8 is this machine, so the
  addresses stay distinct and the ports stay as they are);
- a path inside a container becomes the folder that `volumes` mounts there: a folder of `deploy/`
  for a bind mount, a temporary folder for a named volume;
- `everfly` is the one of this environment (or what `kinds.OURS` says); `dragonfly` is
  `EVERFLY_DRAGONFLY`, or else a double of it; and once more Valkey, with the flags translated
  (`VALKEY_FLAGS`): an unknown flag fails the test.
"""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from kinds import OURS, Engine, engine_binary, sentinel_command
from processes import Child, Connection, until

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
NETWORK: Final = "172.31.250."
NAME: Final = "default-primary"
READY_S: Final = 30.0
CONVERTED_S: Final = 30.0
DOUBLE: Final = Path(__file__).resolve().parents[1] / "doubles" / "dragonfly.py"
DRAGONFLY: Final = os.environ.get("EVERFLY_DRAGONFLY", "") or shutil.which("dragonfly")
ENGINES: Final = {
    "dragonfly" if DRAGONFLY else "dragonfly-double": (
        [DRAGONFLY] if DRAGONFLY else [sys.executable, str(DOUBLE)]
    ),
    "valkey-with-translated-flags": [],
}

VALKEY_FLAGS: Final = {
    "bind": "bind",
    "port": "port",
    "dir": "dir",
    "dbfilename": "dbfilename",
    "maxmemory": "maxmemory",
    "replicaof": "replicaof",
    "replica_announce_ip": "replica-announce-ip",
    # Valkey has no such thing:
    "logtostderr": None,
    "proactor_threads": None,
    "break_replication_on_master_restart": None,
}

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# seeded alike in every worker otherwise
DICE: Final = random.SystemRandom()


@dataclass
class Service:
    """One service of the compose file, as a process."""

    name: str
    definition: dict[str, Any]
    network: str
    folder: Path
    engine: list[str]
    """What stands in for `dragonfly`; empty: Valkey with the flags translated."""
    child: Child | None = None

    def local(self, text: str) -> str:
        """Carry out the substitution of addresses and paths."""
        for volume in self.definition["volumes"]:
            source, target = volume.split(":")[:2]
            is_bind = source.startswith(".")
            there = DEPLOY / source if is_bind else self.folder
            text = re.sub(rf"(?<![\w/]){re.escape(target)}\b", str(there.resolve()), text)
        return text.replace(NETWORK, self.network)

    @property
    def address(self) -> str:
        return self.local(self.definition["networks"]["everfly"]["ipv4_address"])

    @property
    def port(self) -> int:
        return 26379 if self.name.startswith("sentinel") else 6379

    def command(self) -> list[str]:
        line = [*self.definition.get("entrypoint", []), *self.definition["command"]]
        if line[0] == "dragonfly":
            line = [*self.engine, *line[1:]] if self.engine else valkey_line(line[1:])
        return [self.local(word) for word in line]

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        conf = self.folder / "sentinel.conf"
        if self.name.startswith("sentinel") and not conf.exists():
            # The addresses in the shipped file must be substituted too: what the container's
            # command would copy is copied here first, and its `test -e` finds it.
            shipped = Path(self.local("/etc/everfly/sentinel.conf")).read_text()
            conf.write_text(self.local(shipped))
        path = f"{self.folder.parent / 'bin'}:{os.environ['PATH']}"
        log = self.folder / "output.log"
        self.child = Child(self.command(), log, directory=self.folder, environment={"PATH": path})

    def ask(self, *words: str) -> object:
        with Connection(self.port, host=self.address) as connection:
            return connection.call(*words)

    def role(self) -> list[Any]:
        reply = self.ask("ROLE")
        assert isinstance(reply, list), reply
        return reply

    def is_synced_replica(self) -> bool:
        role = self.role()
        # The words of Valkey, and those of Dragonfly.
        return role[0] == b"slave" and role[3] in (b"connected", b"online", b"stable_sync")

    def is_healthy(self) -> bool:
        """The health check of the compose file succeeds."""
        kind, *line = self.definition["healthcheck"]["test"]
        assert kind == "CMD"
        # `$$` is how a compose file writes `$`.
        words = [self.local(word.replace("$$", "$")) for word in line]
        done = subprocess.run(words, timeout=5, capture_output=True, check=False)
        return done.returncode == 0


def valkey_line(flags: Sequence[str]) -> list[str]:
    """Turn Dragonfly's flags into a command line of Valkey."""
    words = [engine_binary(Engine.VALKEY)]
    for flag in flags:
        key, _, value = flag.removeprefix("--").partition("=")
        if translated := VALKEY_FLAGS[key]:
            words += [f"--{translated}", *(value.split(":") if key == "replicaof" else [value])]
    return words


def install_everfly(folder: Path) -> None:
    """Make `everfly sentinel FILE` in that folder the kind of Sentinel that is tested."""
    words = sentinel_command(OURS, Path("FILE"))
    line = " ".join('"$2"' if word == "FILE" else shlex.quote(word) for word in words)
    folder.mkdir()
    program = folder / "everfly"
    program.write_text(f"#!/bin/sh\nexec {line}\n")
    program.chmod(0o755)


class Composition:
    """All services of the compose file, running."""

    def __init__(self, folder: Path, engine: list[str]) -> None:
        install_everfly(folder / "bin")
        network = f"127.{DICE.randint(1, 254)}.{DICE.randint(1, 254)}."
        definition = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
        self.services = {
            name: Service(name, service, network, folder / name, engine)
            for name, service in definition["services"].items()
        }
        self.instances = [self.services[f"dragonfly-{number}"] for number in range(3)]
        self.sentinels = [self.services[f"sentinel-{number}"] for number in range(3)]

    def start(self) -> None:
        started: set[str] = set()
        while waiting := [each for each in self.services.values() if each.name not in started]:
            for service in waiting:
                if started.issuperset(service.definition.get("depends_on", [])):
                    service.start()
                    started.add(service.name)

    def picture(self) -> str:
        """Return who is healthy and what the Sentinels answer, for messages."""
        health = {name: service.is_healthy() for name, service in self.services.items()}
        return f"healthy: {health}; the Sentinels answer {self.answers()}"

    def stop(self) -> None:
        for service in self.services.values():
            if service.child:
                service.child.kill()
                sys.stderr.write(service.child.log_tail() + "\n")  # shown when the test fails

    def is_ready(self) -> bool:
        """All are healthy and in sync; every Sentinel knows two replicas and two Sentinels."""
        for sentinel in self.sentinels:
            reply = sentinel.ask("SENTINEL", "MASTER", NAME)
            assert isinstance(reply, list), reply
            view = dict(zip(reply[::2], reply[1::2], strict=True))
            known = view[b"flags"], view[b"num-slaves"], view[b"num-other-sentinels"]
            if known != (b"master", b"2", b"2"):
                return False
        synced = sum(instance.is_synced_replica() for instance in self.instances)
        return synced == 2 and all(service.is_healthy() for service in self.services.values())

    def answers(self) -> set[str]:
        """Return the addresses that the Sentinels give to clients."""
        replies = [
            sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME) for sentinel in self.sentinels
        ]
        return {reply[0].decode() for reply in replies if isinstance(reply, list)}

    def successor(self, old: Service) -> Service | None:
        """All Sentinels answer one other instance, which is a primary."""
        for instance in self.instances:
            if instance is not old and self.answers() == {instance.address}:
                return instance if instance.role()[0] == b"master" else None
        return None


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def composition(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Composition]:
    running = Composition(tmp_path, request.param)
    try:
        running.start()
        until(running.is_ready, READY_S, show=running.picture)
        yield running
    finally:
        running.stop()


def is_replica_of(instance: Service, primary: Service) -> bool:
    """The instance follows the primary, connected and in sync."""
    return instance.is_synced_replica() and instance.role()[1] == primary.address.encode()


def test_the_documented_topology_survives_its_primary(composition: Composition) -> None:
    old = composition.instances[0]
    assert composition.answers() == {old.address}
    assert old.ask("SET", "kept", "yes") == b"OK"
    assert old.ask("WAIT", "2", "5000") == 2
    assert old.child is not None
    old.child.signal(signal.SIGKILL)
    old.child.kill()
    assert not old.is_healthy()
    new = until(partial(composition.successor, old), READY_S, show=composition.picture)
    assert new is not None
    assert new.ask("GET", "kept") == b"yes"
    assert new.ask("SET", "after", "yes") == b"OK"
    [third] = [each for each in composition.instances if each not in (old, new)]
    until(partial(is_replica_of, third, new), READY_S, show=third.role)
    # `docker compose up` starts the dead one with its first command line: as a primary.
    old.start()
    until(partial(is_replica_of, old, new), CONVERTED_S, show=composition.picture)
    assert old.ask("GET", "after") == b"yes"
    until(composition.is_ready, READY_S, show=composition.picture)
    assert composition.answers() == {new.address}


def test_the_shipped_files_agree_with_each_other() -> None:
    definition = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = definition["services"]
    addresses = [each["networks"]["everfly"]["ipv4_address"] for each in services.values()]
    assert len(set(addresses)) == 6
    assert all(address.startswith(NETWORK) for address in addresses)
    for number in range(3):
        lines = (DEPLOY / f"sentinel-{number}" / "sentinel.conf").read_text().splitlines()
        own = services[f"sentinel-{number}"]["networks"]["everfly"]["ipv4_address"]
        primary = services["dragonfly-0"]["networks"]["everfly"]["ipv4_address"]
        assert [line for line in lines if line and not line.startswith("#")] == [
            "port 26379",
            f"bind {own}",
            "dir /data",
            f"sentinel monitor {NAME} {primary} 6379 2",
            f"sentinel down-after-milliseconds {NAME} 1000",
            f"sentinel failover-timeout {NAME} 2000",
            f"sentinel parallel-syncs {NAME} 1",
            f"sentinel announce-ip {own}",
        ]


def test_the_peers_script_never_fails_and_names_what_is_missing(tmp_path: Path) -> None:
    # With nothing on PATH but what the script itself needs, every peer is missing and there is
    # no apt-get: it must say so, and go on.
    for program in ("bash", "id"):
        found = shutil.which(program)
        assert found
        (tmp_path / program).symlink_to(found)
    done = subprocess.run(
        [tmp_path / "bash", DEPLOY / "test-peers.sh"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    packages = [
        *("redis-server", "redis-sentinel", "redis-tools"),
        *("iproute2", "util-linux", "openssl"),
    ]
    assert [line.split()[1] for line in lines] == packages
