"""A quorum that speaks TLS with everybody: genuine Sentinels, Redis instances, and ours."""

import dataclasses
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from kinds import HOST, OURS, Engine, Kind, missing
from processes import ask, free_port, until
from servers import Deployment, Instance, Sentinel, Shape
from tls_files import OPENSSL, Authority, Pair, ask_tls

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(not OPENSSL, reason="makes its certificates with the program openssl"),
]


class TlsInstance(Instance):
    """An instance whose only port is a TLS port."""

    authority: Authority
    own: Pair

    def start_as_left(self) -> None:
        lines = [f"tls-port {self.port}", "tls-replication yes", *self.authority.lines(self.own)]
        text = self.conf.read_text()
        self.conf.write_text(text.replace(f"port {self.port}\n", "\n".join(["port 0", *lines, ""])))
        super().start_as_left()

    def ask(self, *args: str | bytes | int) -> object:
        words = [word.decode() if isinstance(word, bytes) else word for word in args]
        return ask_tls(self.port, self.authority.context(self.own), *words)

    def info(self) -> dict[str, str]:
        reply = self.ask("INFO", "everything")
        assert isinstance(reply, bytes)
        return dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)


@dataclasses.dataclass
class TlsSentinel(Sentinel):
    """A Sentinel that calls others with TLS only. Its plain port is for the test alone."""

    tls_port: int = dataclasses.field(default_factory=free_port)
    tls_lines: Sequence[str] = ()

    def start(self, lines: Sequence[str] | None = None) -> None:
        own = [f"tls-port {self.tls_port}", "tls-replication yes", *self.tls_lines]
        super().start(None if lines is None else [*own, *lines])


class TlsDeployment(Deployment):
    """As a deployment, and everything between its processes is encrypted."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.authority = Authority(self.folder / "authority")
        for number, plain in enumerate(self.group.instances):
            instance = TlsInstance(plain.engine, plain.folder, plain.port)
            instance.authority = self.authority
            instance.own = self.authority.issue(f"instance-{number}")
            self.group.instances[number] = instance
        self.tls_sentinels = [
            TlsSentinel(
                each.kind, each.folder, each.port,
                tls_lines=self.authority.lines(self.authority.issue(f"sentinel-{number}")),
            )
            for number, each in enumerate(self.sentinels)
        ]  # fmt: skip
        self.sentinels = [*self.tls_sentinels]


@pytest.fixture(params=[(OURS, Kind.REDIS, Kind.REDIS), (OURS, OURS, Kind.REDIS)],
                ids=lambda kinds: "+".join(kind.value for kind in kinds))  # fmt: skip
def deployment(request: pytest.FixtureRequest) -> Iterator[TlsDeployment]:
    if reason := missing(Kind.REDIS):
        pytest.skip(reason)
    shape = Shape(kinds=request.param, engine=Engine.REDIS)
    with TlsDeployment(shape) as deployment:
        assert isinstance(deployment, TlsDeployment)
        yield deployment


def test_a_killed_primary_is_failed_over_and_comes_back_as_a_replica(
    deployment: TlsDeployment,
) -> None:
    tls_ports = {each.tls_port for each in deployment.tls_sentinels}
    for sentinel in deployment.tls_sentinels:
        told = {int(peer["port"]) for peer in sentinel.peers(deployment.name)}
        assert told == tls_ports - {sentinel.tls_port}
    ours = deployment.sentinels[0]
    assert ours.ask("SENTINEL", "SET", deployment.name, "quorum", 1) == b"OK"
    old = deployment.primary()
    old.signal(signal.SIGKILL)
    old.kill()
    new = deployment.new_primary(old)
    old.start()
    until(partial(old.follows, new.port), 30.0, show=old.replication)
    deployment.settle()


def test_no_byte_of_a_link_is_readable(deployment: TlsDeployment) -> None:
    """All ports of instances, and those that hellos tell, refuse who does not encrypt."""
    ports = [each.port for each in deployment.group.instances]
    ports += [each.tls_port for each in deployment.tls_sentinels]
    for port in ports:
        with pytest.raises(OSError, match=r"closed|reset"):
            ask(port, "PING")


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[tuple[TlsInstance, TlsSentinel]]:
    """A Redis, and a Sentinel of ours that is to watch it and does not run yet."""
    if reason := missing(Kind.REDIS):
        pytest.skip(reason)
    instance = TlsInstance(Engine.REDIS, tmp_path / "instance")
    instance.authority = Authority(tmp_path / "authority")
    instance.own = instance.authority.issue("instance")
    sentinel = TlsSentinel(OURS, tmp_path / "sentinel")
    try:
        instance.start()
        yield instance, sentinel
    finally:
        sentinel.kill()
        instance.kill()


@pytest.mark.parametrize("who", ["we distrust it", "it distrusts us"])
def test_a_wrong_authority_is_no_connection_and_is_told(
    who: str, lonely: tuple[TlsInstance, TlsSentinel], tmp_path: Path
) -> None:
    instance, sentinel = lonely
    others = Authority(tmp_path / "others")
    lines = others.lines(others.issue("sentinel"))
    if who == "it distrusts us":
        lines[-1] = f"tls-ca-cert-file {instance.authority.ca}"
    sentinel.tls_lines = lines
    watch = [f"sentinel monitor m {HOST} {instance.port} 1"]
    sentinel.start([*watch, "sentinel down-after-milliseconds m 500"])
    until(lambda: "s_down" in sentinel.view("m")["flags"], 10, show=sentinel.log_tail)
    text = sentinel.log_tail()
    reason = "certificate verify failed" if who == "we distrust it" else "unknown ca"
    said = [line for line in text.splitlines() if f"Link to {HOST}:{instance.port}: TLS: " in line]
    assert len(said) == 1, "it is told once, not at each attempt"
    assert reason in said[0]


def test_links_have_a_certificate_of_their_own_where_that_is_set(
    lonely: tuple[TlsInstance, TlsSentinel], tmp_path: Path
) -> None:
    instance, sentinel = lonely
    others = Authority(tmp_path / "others")
    both = tmp_path / "both.crt"
    both.write_text(others.ca.read_text() + instance.authority.ca.read_text())
    own, link = others.issue("face"), instance.authority.issue("link", password="a secret")
    sentinel.tls_lines = [
        *others.lines(own)[:2],
        f"tls-ca-cert-file {both}",
        f"tls-client-cert-file {link.cert}",
        f"tls-client-key-file {link.key}",
        'tls-client-key-file-pass "a secret"',
        "tls-auth-clients no",
    ]
    sentinel.start([f"sentinel monitor m {HOST} {instance.port} 1"])
    until(lambda: sentinel.view("m")["flags"] == "master", 10, show=sentinel.log_tail)
    assert "a secret" not in sentinel.log_tail()
    with socket.create_connection((HOST, sentinel.tls_port), timeout=5) as raw:
        trusting = others.context()
        with trusting.wrap_socket(raw) as client:
            assert isinstance(client, ssl.SSLSocket)
            found = client.getpeercert()
            assert found
            assert found["subject"][-1][0][1] == "face"
