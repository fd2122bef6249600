"""Client libraries and command-line tools that know Sentinel work with ours as they are."""

import asyncio
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final

import pytest
import redis.asyncio.sentinel
import redis.sentinel
import valkey.asyncio.sentinel
import valkey.sentinel

from kinds import HOST, OURS
from processes import POLL_S, Child, until
from servers import Deployment, Instance

pytestmark = pytest.mark.compat

CLIENT_ERRORS: Final = (redis.RedisError, valkey.ValkeyError)
CLIENT_TIMEOUT_S: Final = 0.5
FAILOVER_S: Final = 15.0
COMMAND_LINES: Final = ("redis-cli", "valkey-cli")


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with Deployment(kinds=(OURS,) * 3) as ready:
        yield ready


def places(deployment: Deployment) -> list[tuple[str, int]]:
    return [(HOST, sentinel.port) for sentinel in deployment.sentinels]


def others(deployment: Deployment, primary: Instance) -> list[tuple[str, int]]:
    return sorted((HOST, each.port) for each in deployment.group.instances if each is not primary)


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)
def test_a_blocking_client_writes_again_after_a_failover(
    deployment: Deployment, library: object
) -> None:
    module = library.sentinel  # type: ignore[attr-defined]  # one of two modules of equal shape
    sentinel = module.Sentinel(places(deployment), socket_timeout=CLIENT_TIMEOUT_S)
    old = deployment.primary()
    assert sentinel.discover_master(deployment.name) == (HOST, old.port)
    assert sorted(sentinel.discover_slaves(deployment.name)) == others(deployment, old)
    with (
        closing(sentinel.master_for(deployment.name, socket_timeout=CLIENT_TIMEOUT_S)) as writer,
        closing(sentinel.slave_for(deployment.name, socket_timeout=CLIENT_TIMEOUT_S)) as reader,
    ):
        assert writer.set("color", "blue")
        until(lambda: reader.get("color") == b"blue", FAILOVER_S, despite=CLIENT_ERRORS)
        old.signal(signal.SIGKILL)
        until(lambda: writer.set("color", "green"), FAILOVER_S, despite=CLIENT_ERRORS)
        until(lambda: reader.get("color") == b"green", FAILOVER_S, despite=CLIENT_ERRORS)
        new = deployment.new_primary(old)
        assert sentinel.discover_master(deployment.name) == (HOST, new.port)
        assert new.ask("GET", "color") == b"green"
    with pytest.raises(module.MasterNotFoundError):
        sentinel.discover_master("unknown")
    for client in sentinel.sentinels:
        client.close()


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)
async def test_an_asyncio_client_writes_again_after_a_failover(
    deployment: Deployment, library: object
) -> None:
    module = library.asyncio.sentinel  # type: ignore[attr-defined]  # as above
    sentinel = module.Sentinel(places(deployment), socket_timeout=CLIENT_TIMEOUT_S)
    old = deployment.primary()
    assert await sentinel.discover_master(deployment.name) == (HOST, old.port)
    assert sorted(await sentinel.discover_slaves(deployment.name)) == others(deployment, old)
    writer = sentinel.master_for(deployment.name, socket_timeout=CLIENT_TIMEOUT_S)
    reader = sentinel.slave_for(deployment.name, socket_timeout=CLIENT_TIMEOUT_S)

    async def until_true(ask: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(FAILOVER_S):
            while True:
                with suppress(*CLIENT_ERRORS):
                    if await ask():
                        return
                await asyncio.sleep(POLL_S)

    async def reads(value: bytes) -> bool:
        return bool(await reader.get("color") == value)

    assert await writer.set("color", "blue")
    await until_true(partial(reads, b"blue"))
    old.signal(signal.SIGKILL)
    await until_true(partial(writer.set, "color", "green"))
    await until_true(partial(reads, b"green"))
    new = await asyncio.to_thread(deployment.new_primary, old)
    assert await sentinel.discover_master(deployment.name) == (HOST, new.port)
    assert new.ask("GET", "color") == b"green"
    for client in (writer, reader, *sentinel.sentinels):
        await client.aclose()


def test_the_sentinel_calls_of_redis_py_understand_the_replies(deployment: Deployment) -> None:
    name = deployment.name
    # Its annotations name the union of all replies of both protocols.
    client: Any
    with closing(redis.Redis(HOST, deployment.sentinels[0].port, decode_responses=True)) as client:
        assert client.ping()
        primary = deployment.primary()
        assert client.sentinel_get_master_addr_by_name(name) == (HOST, primary.port)
        assert client.sentinel_masters()[name]["port"] == primary.port
        state = client.sentinel_master(name)
        assert state["is_master"]
        assert (state["num-slaves"], state["num-other-sentinels"], state["quorum"]) == (2, 2, 2)
        replicas = [(HOST, each["port"]) for each in client.sentinel_slaves(name)]
        assert sorted(replicas) == others(deployment, primary)
        peers = [(HOST, each["port"]) for each in client.sentinel_sentinels(name)]
        assert sorted(peers) == sorted(places(deployment)[1:])
        assert client.sentinel_set(name, "parallel-syncs", "2")
        assert client.sentinel_master(name)["parallel-syncs"] == 2
        assert client.sentinel_flushconfig()
        assert client.info("sentinel")["sentinel_masters"] == 1
        assert client.client_id() > 0
        assert client.acl_whoami() == "default"


@pytest.fixture(params=COMMAND_LINES)
def command_line(request: pytest.FixtureRequest) -> str:
    program: str | None = shutil.which(request.param)
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    return program


def test_a_command_line_client_asks_a_sentinel(deployment: Deployment, command_line: str) -> None:
    port = str(deployment.sentinels[0].port)

    def answer(*words: str) -> list[str]:
        done = subprocess.run(
            [command_line, "-p", port, *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=FAILOVER_S,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    primary = deployment.primary()
    masters = answer("sentinel", "masters")
    assert masters[:6] == ["name", deployment.name, "ip", HOST, "port", str(primary.port)]
    fields = [HOST, str(primary.port)]
    assert answer("sentinel", "get-master-addr-by-name", deployment.name) == fields
    assert "redis_mode:sentinel" in "\n".join(answer("info"))
    assert answer("-3", "sentinel", "master", deployment.name)[0] == f"name {deployment.name}"
    assert answer("--json", "-3", "role") == [f'["sentinel",["{deployment.name}"]]']
    assert answer("config", "get", "port")[0].startswith("ERR unknown command 'config'")


def test_a_command_line_client_subscribes(deployment: Deployment, command_line: str) -> None:
    sentinel = deployment.sentinels[0]
    log = deployment.folder / "subscriber.log"
    child = Child([command_line, "-p", str(sentinel.port), "psubscribe", "*"], log)
    try:
        until(lambda: "psubscribe" in log.read_text(), FAILOVER_S, show=child.log_tail)
        sentinel.ask("SENTINEL", "SET", deployment.name, "parallel-syncs", "2")
        until(lambda: "parallel-syncs 2" in log.read_text(), FAILOVER_S, show=child.log_tail)
        port = deployment.primary().port
        expected = ["pmessage", "*", "+set"]
        expected.append(f"master {deployment.name} {HOST} {port} parallel-syncs 2")
        assert log.read_text().splitlines()[-4:] == expected
    finally:
        child.kill()


class Terminal:
    """A program on a pseudo-terminal: what a person types and sees."""

    def __init__(self, command: list[str]) -> None:
        # A plain terminal that asks nothing back, wide enough that no line wraps.
        environment = os.environ | {"TERM": "dumb", "COLUMNS": "200"}
        self._fd, inner = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner, env=environment, process_group=0
        )
        os.close(inner)
        self._seen = ""

    def expect(self, pattern: str) -> str:
        """Return what appeared up to the pattern."""
        deadline = time.monotonic() + FAILOVER_S
        while (found := re.search(pattern, self._seen)) is None:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} did not appear in {self._seen!r}"
            self._seen += os.read(self._fd, 65_536).decode(errors="replace")
        text, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return text

    def type(self, line: str) -> None:
        os.write(self._fd, f"{line}\n".encode())

    def end(self) -> int:
        return self._process.wait(FAILOVER_S)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


def test_a_command_line_client_is_interactive(deployment: Deployment, command_line: str) -> None:
    # At its start it asks COMMAND DOCS (and falls back to its own tables when that fails).
    port = deployment.sentinels[0].port
    with closing(Terminal([command_line, "-p", str(port)])) as terminal:
        prompt = rf"{HOST}:{port}> $"
        terminal.expect(prompt)
        terminal.type("ping")
        assert "PONG" in terminal.expect(prompt)
        terminal.type(f"sentinel ckquorum {deployment.name}")
        assert "OK 3 usable Sentinels" in terminal.expect(prompt)
        terminal.type("help sentinel failover")
        seen = re.sub(r"\x1b\[[0-9;]*m", "", terminal.expect(prompt))
        assert "SENTINEL FAILOVER master-name" in seen
        terminal.type("quit")
        assert terminal.end() == 0
