"""Clients of a TLS port: who comes in, with which certificates, and what a wrong file says."""

import contextlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from kinds import HOST
from processes import Child, Connection, ask, free_port, until
from tls_files import OPENSSL, Authority, Pair, TlsConnection, ask_tls

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not OPENSSL, reason="makes its certificates with the program openssl"),
]
START_S = 10.0
RELOADED_WITHIN_S = 5.0
"""Files are looked at once a second."""


class Served:
    """A Sentinel with a TLS port, and the authority of its certificate."""

    def __init__(self, folder: Path, authority: Authority, own: Pair) -> None:
        self.folder = folder
        self.authority = authority
        self.own = own
        self.port = free_port()
        self.conf = folder / "sentinel.conf"
        self.child: Child | None = None

    def start(self, *lines: str) -> None:
        head = ["port 0", f"tls-port {self.port}", f"bind {HOST}", f"dir {self.folder}"]
        self.conf.write_text("\n".join([*head, *self.authority.lines(self.own), *lines]) + "\n")
        self.child = Child(
            [sys.executable, "-X", "dev", "-m", "everfly", "sentinel", str(self.conf)],
            self.folder / "log",
        )
        until(self.listens, START_S, show=self.log)

    def listens(self) -> bool:
        """The TLS port takes connections."""
        with socket.create_connection((HOST, self.port), timeout=2):
            return True

    def ping(self, pair: Pair | None = None) -> object:
        return ask_tls(self.port, self.authority.context(pair), "PING")

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> int:
        assert self.child is not None
        self.child.signal(signal.SIGTERM)
        return self.child.wait(START_S)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    authority = Authority(tmp_path / "authority")
    served = Served(tmp_path, authority, authority.issue("sentinel"))
    yield served
    if served.child is not None:
        served.child.kill()


def test_a_client_with_a_certificate_comes_in_and_others_do_not(
    served: Served, tmp_path: Path
) -> None:
    served.start()
    mine = served.authority.issue("client")
    assert served.ping(mine) == b"PONG"
    with pytest.raises(OSError, match=r"(?i)certificate.required|closed|reset"):
        served.ping()
    others = Authority(tmp_path / "others")
    stranger = served.authority.context()
    stranger.load_cert_chain(others.issue("stranger").cert, others.folder / "stranger.key")
    with pytest.raises(OSError, match=r"(?i)unknown.ca|closed|reset"):
        ask_tls(served.port, stranger, "PING")
    with pytest.raises(ssl.SSLCertVerificationError):
        ask_tls(served.port, others.context(), "PING")
    with pytest.raises(OSError, match=r"closed|reset"):
        ask(served.port, "PING")
    assert served.stop() == 0
    assert "Traceback" not in served.log()
    assert "Warning: " not in served.log(), "also development mode has nothing to complain about"


@pytest.mark.parametrize("word", ["no", "optional"])
def test_a_certificate_may_be_left_out_where_that_is_set(word: str, served: Served) -> None:
    served.start(f"tls-auth-clients {word}")
    assert served.ping() == b"PONG"
    assert served.ping(served.authority.issue("client")) == b"PONG"


def test_an_optional_certificate_is_checked_when_there_is_one(
    served: Served, tmp_path: Path
) -> None:
    served.start("tls-auth-clients optional")
    others = Authority(tmp_path / "others")
    stranger = served.authority.context()
    stranger.load_cert_chain(others.issue("stranger").cert, others.folder / "stranger.key")
    with pytest.raises(OSError, match=r"(?i)unknown.ca|closed|reset"):
        ask_tls(served.port, stranger, "PING")


def test_unchanged_clients_connect(served: Served) -> None:
    served.start(f"sentinel monitor m {HOST} {free_port()} 1")
    mine = served.authority.issue("client")
    with contextlib.closing(
        redis.Redis(
            HOST,
            served.port,
            ssl=True,
            ssl_ca_certs=str(served.authority.ca),
            ssl_certfile=str(mine.cert),
            ssl_keyfile=str(mine.key),
            ssl_check_hostname=False,
        )
    ) as client:
        assert client.ping()
        assert client.sentinel_get_master_addr_by_name("m")[0] == HOST.encode()
        with client.pubsub() as pubsub:
            pubsub.subscribe("+set")
            assert pubsub.get_message(timeout=5)["type"] == "subscribe"
            client.execute_command("SENTINEL SET", "m", "quorum", "2")
            message = pubsub.get_message(timeout=5)
            assert message["type"] == "message"


def test_redis_cli_connects(served: Served) -> None:
    redis_cli = shutil.which("redis-cli")
    if redis_cli is None:
        pytest.skip("redis-cli is not installed: run deploy/test-peers.sh as root")
    served.start("tls-protocols TLSv1.2")
    mine = served.authority.issue("client")
    line = [redis_cli, "-h", HOST, "-p", str(served.port), "--tls", "--cacert", served.authority.ca]
    line += ["--cert", mine.cert, "--key", mine.key, "ROLE"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.startswith("sentinel"), done


@pytest.mark.parametrize(
    ("lines", "version"),
    [([], "TLSv1.3"), (["tls-protocols TLSv1.2"], "TLSv1.2"),
     (['tls-protocols "TLSv1.2 TLSv1.3"'], "TLSv1.3")],
)  # fmt: skip
def test_the_versions_are_those_that_are_set(
    lines: list[str], version: str, served: Served
) -> None:
    served.start("tls-auth-clients no", *lines)
    with contextlib.closing(TlsConnection(served.port, served.authority.context())) as client:
        assert client.version == version
        assert client.call("PING") == b"PONG"


def test_the_ciphers_are_those_that_are_set(served: Served) -> None:
    name = "ECDHE-ECDSA-AES256-GCM-SHA384"
    served.start("tls-auth-clients no", "tls-protocols TLSv1.2", f"tls-ciphers {name}",
                 "tls-prefer-server-ciphers yes", "tls-session-caching no")  # fmt: skip
    with contextlib.closing(TlsConnection(served.port, served.authority.context())) as client:
        chosen = client.socket.cipher()
        assert chosen is not None
        assert chosen[0] == name
    context = served.authority.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with pytest.raises(OSError, match=r"(?i)handshake|closed|reset|eof"):
        ask_tls(served.port, context, "PING")


def test_certificates_are_replaced_while_it_runs_and_broken_ones_are_not_taken(
    served: Served,
) -> None:
    served.start("tls-auth-clients no")

    def subject() -> str:
        with contextlib.closing(TlsConnection(served.port, served.authority.context())) as client:
            assert client.call("PING") == b"PONG"
            return client.subject

    with contextlib.closing(TlsConnection(served.port, served.authority.context())) as early:
        assert subject() == "sentinel"
        served.own.cert.write_text("no certificate")
        until(lambda: subject() and "the old ones stay" in served.log(), RELOADED_WITHIN_S)
        assert subject() == "sentinel"
        fresh = served.authority.issue("renewed")
        fresh.key.replace(served.own.key)
        fresh.cert.replace(served.own.cert)
        until(lambda: subject() == "renewed", RELOADED_WITHIN_S, show=served.log)
        assert early.call("PING") == b"PONG", "a connection outlives its certificates"
    assert served.log().count("The TLS files have changed: new connections use the new ones") == 1


def test_strangers_who_say_nothing_keep_nobody_out(served: Served) -> None:
    """300 silent ones are more than may shake hands at a time."""
    served.start("tls-auth-clients no")
    with contextlib.ExitStack() as silent:
        for _ in range(300):
            silent.enter_context(socket.create_connection((HOST, served.port), timeout=2))
        assert served.ping() == b"PONG"
    with socket.create_connection((HOST, served.port), timeout=20) as one:
        assert one.recv(1) == b"", "it is closed when it takes too long"


def test_both_ports_serve_at_a_time(served: Served) -> None:
    plain = free_port()
    served.start("tls-auth-clients no", f"port {plain}")
    assert served.ping() == ask(plain, "PING") == b"PONG"
    with Connection(plain) as client:
        text = client.call("INFO", "server")
        assert isinstance(text, bytes)
        assert b"tcp_port:%d\r\n" % plain in text


def test_an_encrypted_key_is_opened_and_its_password_stays_secret(served: Served) -> None:
    served.own = served.authority.issue("locked", password="open-sesame")
    served.start("tls-auth-clients no", "tls-key-file-pass open-sesame")
    assert served.ping() == b"PONG"
    assert served.stop() == 0
    assert "open-sesame" not in served.log()
    assert "tls-key-file-pass open-sesame" in served.conf.read_text()


WRONG = {
    "no certificate": ([], "No tls-cert-file configured!"),
    "no key": (["tls-cert-file {own}.crt"], "No tls-key-file configured!"),
    "no authority": (
        ["tls-cert-file {own}.crt", "tls-key-file {own}.key"],
        "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when",
    ),
    "certificate is gone": (
        ["{all}", "tls-cert-file /nowhere.crt"],
        "Failed to load certificate: /nowhere.crt: No such file",
    ),
    "key is gone": (
        ["{all}", "tls-key-file /nowhere.key"],
        "Failed to load private key: /nowhere.key: No such file",
    ),
    "key of another": (
        ["{all}", "tls-key-file {other}.key"],
        "{own}.crt with private key {other}.key: key values mismatch",
    ),
    "certificate is none": (
        ["{all}", "tls-cert-file {own}.key"],
        "Failed to load certificate: {own}.key",
    ),
    "authority is gone": (
        ["{all}", "tls-ca-cert-file /nowhere.crt"],
        "Failed to configure CA certificate(s) file/directory: /nowhere.crt: No such file",
    ),
    "authority is none": (
        ["{all}", "tls-ca-cert-file {own}.key"],
        "Failed to configure CA certificate(s) file/directory: {own}.key: ",
    ),
    "folder is gone": (
        ["{all}", "tls-ca-cert-dir /nowhere"],
        "Failed to configure CA certificate(s) file/directory: /nowhere: ",
    ),
    "version": (["{all}", "tls-protocols SSLv3"], "Invalid tls-protocols specified. Use a "),
    "ciphers": (["{all}", "tls-ciphers foo"], "Failed to configure ciphers: foo"),
    "parameters": (
        ["{all}", "tls-dh-params-file {own}.crt"],
        "{own}.crt: failed to read DH params",
    ),
    "password": (
        ["{all}", "tls-cert-file {locked}.crt", "tls-key-file {locked}.key",
         "tls-key-file-pass wrong-secret"],
        "{locked}.crt with private key {locked}.key: ",
    ),
    "no password": (
        ["{all}", "tls-cert-file {locked}.crt", "tls-key-file {locked}.key"],
        "the key is encrypted: check the password",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("tls") / "authority")
    for name, password in (("own", ""), ("other", ""), ("locked", "sesame")):
        authority.issue(name, password)
    return authority


@pytest.mark.parametrize("links", [False, True], ids=["port", "links"])
@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(
    what: str, links: bool, authority: Authority, tmp_path: Path
) -> None:
    lines, expected = WRONG[what]
    folder = authority.folder
    places = {name: str(folder / name) for name in ("own", "other", "locked")}
    places["all"] = "\n".join(authority.lines(Pair(folder / "own.crt", folder / "own.key")))
    own = f"port {free_port()}\ntls-replication yes" if links else f"port 0\ntls-port {free_port()}"
    text = "\n".join([own, f"bind {HOST}", *lines, ""]).format(**places)
    conf = tmp_path / "sentinel.conf"
    conf.write_text(text)
    ended = subprocess.run(
        [sys.executable, "-m", "everfly", "sentinel", str(conf)],
        capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 1, ended
    assert expected.format(**places) in ended.stdout
    assert re.search(r"# Failed to configure TLS\. Check logs for more info\.\n", ended.stdout)
    assert "wrong-secret" not in ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert conf.read_text() == text


def test_a_choice_that_python_cannot_make_is_told(served: Served) -> None:
    served.start("tls-auth-clients no", "tls-ciphersuites TLS_AES_256_GCM_SHA384")
    if hasattr(ssl.SSLContext, "set_ciphersuites"):
        assert "tls-ciphersuites has no effect" not in served.log()
    else:
        assert "tls-ciphersuites has no effect: this Python cannot" in served.log()
    assert served.ping() == b"PONG"
