"""TLS on both sides of the data plane, and certificates that change while it runs."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinds import HOST, Engine, Kind, engine_binary, missing
from planes import WITHIN_S, Endpoint, instance, receive_raw
from processes import Child, free_port, until
from servers import Instance
from tls_files import OPENSSL, Authority, Pair, TlsConnection, _openssl, ask_tls

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not OPENSSL, reason="openssl is not installed"),
]


# The embedded Valkey is built without TLS.
needs_redis = pytest.mark.skipif(bool(missing(Kind.REDIS)), reason=missing(Kind.REDIS))


def issue(authority: Authority, name: str) -> Pair:
    """Return a certificate of version 3 for a name and this machine, as TLS libraries want it."""
    pair = authority.issue(name)
    extensions = authority.folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName=DNS:{name},IP:{HOST}\n")
    _openssl("x509", "-req", "-in", authority.folder / f"{name}.csr", "-CA", authority.ca,
             "-CAkey", authority.folder / "ca.key", "-CAcreateserial", "-days", 2,
             "-extfile", extensions, "-out", pair.cert)  # fmt: skip
    return pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("tls")) as running:
        yield running


def test_clients_speak_tls(primary: Instance, authority: Authority) -> None:
    own = issue(authority, "endpoint")
    tls = {"certificate": str(own.cert), "key": str(own.key)}
    with Endpoint(primary, listener={"tls": True}, tls=tls) as endpoint:
        with contextlib.closing(TlsConnection(endpoint.port, authority.context())) as client:
            assert client.version == "TLSv1.3"
            value = b"x" * 3_000_000
            assert client.call("SET", "big", value) == b"OK"
            assert client.call("GET", "big") == value
            for number in range(2000):
                client.send("ECHO", number)
            for number in range(2000):
                assert client.receive() == str(number).encode()
        until(lambda: endpoint.plane.connections() == 0, WITHIN_S)
        assert endpoint.stat("tls_handshakes") == 1
        with endpoint.connect() as plain:
            plain.send("PING")
            # An alert, which is no RESP.
            assert receive_raw(plain, 1) == b"\x15"
        endpoint.wait_for("tls_failures", 1)


def test_clients_must_show_a_certificate_where_that_is_asked_for(
    primary: Instance, authority: Authority, tmp_path: Path
) -> None:
    own, theirs = issue(authority, "endpoint"), issue(authority, "client")
    stranger = issue(Authority(tmp_path / "strangers"), "client")
    tls = {"certificate": str(own.cert), "key": str(own.key), "client_ca": str(authority.ca)}
    with Endpoint(primary, listener={"tls": True}, tls=tls) as endpoint:
        assert ask_tls(endpoint.port, authority.context(theirs), "PING") == b"PONG"
        for pair in (None, stranger):
            with pytest.raises(OSError):  # noqa: PT011 - an alert or a closed connection
                ask_tls(endpoint.port, authority.context(pair), "PING")
        assert endpoint.stat("tls_failures") == 2


def test_a_balancers_header_comes_before_tls(primary: Instance, authority: Authority) -> None:
    own = issue(authority, "endpoint")
    tls = {"certificate": str(own.cert), "key": str(own.key)}
    listener = {"tls": True, "proxy_protocol_from": [HOST]}
    limits = {"connections_per_address": 1}
    with Endpoint(primary, listener=listener, tls=tls, limits=limits) as endpoint:
        clients = []
        for source in ("192.0.2.1", "192.0.2.2"):
            raw = socket.create_connection((HOST, endpoint.port), timeout=WITHIN_S)
            body = socket.inet_aton(source) + socket.inet_aton(HOST) + b"\x10\x00\x18\xeb"
            raw.sendall(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + body)
            clients.append(authority.context().wrap_socket(raw))
        for client in clients:
            client.sendall(b"PING\r\n")
            assert client.recv(7) == b"+PONG\r\n"
            client.close()


def test_a_new_certificate_is_used_for_new_connections_only(
    primary: Instance, authority: Authority
) -> None:
    own, other = issue(authority, "old"), issue(authority, "new")
    tls = {"certificate": str(own.cert), "key": str(own.key)}
    with Endpoint(primary, listener={"tls": True}, tls=tls) as endpoint:
        context = authority.context()
        with contextlib.closing(TlsConnection(endpoint.port, context)) as client:
            assert client.subject == "old"
            own.cert.write_bytes(b"not a certificate")
            with pytest.raises(OSError, match=r"old\.crt"):
                endpoint.plane.reload_tls()
            assert ask_tls(endpoint.port, context, "PING") == b"PONG"
            own.cert.write_bytes(other.cert.read_bytes())
            own.key.write_bytes(other.key.read_bytes())
            endpoint.plane.reload_tls()
            with contextlib.closing(TlsConnection(endpoint.port, context)) as later:
                assert later.subject == "new"
            assert client.call("PING") == b"PONG"


@contextlib.contextmanager
def tls_instance(folder: Path, authority: Authority, pair: Pair) -> Iterator[int]:
    """Run an instance that speaks only TLS and wants certificates; yield its port."""
    folder.mkdir()
    port = free_port()
    lines = ["port 0", f"tls-port {port}", f"bind {HOST}", f"dir {folder}", 'save ""']
    conf = folder / "instance.conf"
    conf.write_text("\n".join([*lines, *authority.lines(pair)]) + "\n")
    child = Child([engine_binary(Engine.REDIS), str(conf)], folder / "instance.log")
    try:
        context = authority.context(pair)
        until(lambda: ask_tls(port, context, "PING") == b"PONG", WITHIN_S, show=child.log_tail)
        yield port
    finally:
        child.kill()


@needs_redis
def test_instances_are_spoken_to_in_tls_and_their_certificates_are_checked(
    authority: Authority, tmp_path: Path
) -> None:
    own, theirs = issue(authority, "endpoint"), issue(authority, "instance")
    stranger = Authority(tmp_path / "strangers")
    impostor = issue(stranger, "instance")
    upstream = {"ca": str(authority.ca), "certificate": str(own.cert), "key": str(own.key)}
    with (
        tls_instance(tmp_path / "genuine", authority, theirs) as genuine,
        tls_instance(tmp_path / "impostor", stranger, impostor) as wrong,
        Endpoint(None, upstream_tls=upstream) as endpoint,
        endpoint.connect() as client,
    ):
        endpoint.plane.set_primary(HOST, wrong, 1)
        client.send("SET", "key", b"x" * 1_000_000)
        endpoint.wait_for("held", 1)
        assert ask_tls(wrong, stranger.context(impostor), "DBSIZE") == 0
        endpoint.plane.set_primary(HOST, genuine, 2)
        assert client.receive() == b"OK"
        assert client.call("GET", "key") == b"x" * 1_000_000
        assert any("TLS" in notice["text"] for notice in endpoint.plane.notices())


@needs_redis
def test_a_certificate_for_another_name_is_refused(authority: Authority, tmp_path: Path) -> None:
    theirs = issue(authority, "instance")
    upstream = {"ca": str(authority.ca), "certificate": str(theirs.cert), "key": str(theirs.key)}
    with tls_instance(tmp_path / "genuine", authority, theirs) as port:
        with (
            Endpoint(None, upstream_tls={**upstream, "name": "other"}) as endpoint,
            endpoint.connect() as client,
        ):
            endpoint.plane.set_primary(HOST, port, 1)
            client.send("PING")
            endpoint.wait_for("held", 1)
        with (
            Endpoint(None, upstream_tls={**upstream, "name": "instance"}) as endpoint,
            endpoint.connect() as client,
        ):
            endpoint.plane.set_primary(HOST, port, 1)
            assert client.call("PING") == b"PONG"


def test_a_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    tls = {"certificate": str(tmp_path / "nothing.crt"), "key": str(tmp_path / "nothing.key")}
    endpoint = Endpoint(None, listener={"tls": True}, tls=tls)
    with pytest.raises(OSError, match=r"nothing\.crt"):
        endpoint.plane.start()


def test_clients_may_speak_version_1_2_of_tls(primary: Instance, authority: Authority) -> None:
    own = issue(authority, "endpoint")
    tls = {"certificate": str(own.cert), "key": str(own.key)}
    with Endpoint(primary, listener={"tls": True}, tls=tls) as endpoint:
        context = authority.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with contextlib.closing(TlsConnection(endpoint.port, context)) as client:
            assert client.version == "TLSv1.2"
            assert client.call("PING") == b"PONG"
