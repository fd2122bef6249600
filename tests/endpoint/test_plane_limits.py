"""No client takes more than its share, and none is in the way of others."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from planes import WITHIN_S, Endpoint, error_text, instance, is_closed, is_silent, replies, send_raw
from processes import Connection, until
from servers import Instance

pytestmark = pytest.mark.integration

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("limits")) as running:
        yield running


def test_clients_beyond_the_limit_are_told_so(primary: Instance) -> None:
    with Endpoint(primary, limits={"connections": 3}) as endpoint:
        clients = [endpoint.connect() for _ in range(3)]
        assert [client.call("PING") for client in clients] == [b"PONG"] * 3
        with endpoint.connect() as fourth:
            assert error_text(fourth.receive()) == "ERR max number of clients reached"
            assert is_closed(fourth)
        clients.pop().close()
        until(lambda: endpoint.plane.connections() == 2, WITHIN_S)
        with endpoint.connect() as next_one:
            assert next_one.call("PING") == b"PONG"
        assert endpoint.stat("connections_refused") == 1
        assert "limit" in endpoint.notices()
        for client in clients:
            client.close()


def test_clients_of_one_address_are_counted_together(primary: Instance) -> None:
    with Endpoint(primary, limits={"connections_per_address": 1}) as endpoint:
        with endpoint.connect() as one:
            assert one.call("PING") == b"PONG"
            with endpoint.connect() as two:
                assert "max number of clients" in error_text(two.receive())
        until(lambda: endpoint.plane.connections() == 0, WITHIN_S)
        with endpoint.connect() as three:
            assert three.call("PING") == b"PONG"


def test_a_first_command_must_be_whole_in_time_however_it_trickles_in(primary: Instance) -> None:
    with (
        Endpoint(primary, limits={"handshake_ms": 500}) as endpoint,
        endpoint.connect() as slow,
        endpoint.connect() as spare,
        endpoint.connect() as honest,
    ):
        assert honest.call("PING") == b"PONG"

        def is_given_up() -> bool:
            """The endpoint closes a client that sends a byte now and then."""
            try:
                send_raw(slow, b"*" if not sent else b"1")
            except ConnectionError:
                return True
            sent.append(1)
            return not is_silent(slow, 0.05)

        sent: list[int] = []
        until(is_given_up, WITHIN_S)
        # A spare connection of a pool has begun nothing, and may wait for its turn.
        assert spare.call("PING") == b"PONG"
        assert honest.call("PING") == b"PONG"


def test_a_command_that_stops_in_the_middle_ends_the_connection(primary: Instance) -> None:
    with Endpoint(primary, limits={"partial_ms": 200}) as endpoint, endpoint.connect() as client:
        assert client.call("PING") == b"PONG"
        send_raw(client, b"*2\r\n$4\r\nECHO\r\n$100\r\nabc")
        assert is_closed(client)


def test_idle_clients_are_closed_and_waiting_ones_are_not(primary: Instance) -> None:
    with Endpoint(primary, limits={"idle_ms": 1000}) as endpoint, ExitStack() as clients:
        # Each says what it wants as soon as it is there: waiting for its turn would be idling.
        subscriber = clients.enter_context(endpoint.connect())
        subscriber.call("SUBSCRIBE", "news")
        blocked = clients.enter_context(endpoint.connect())
        blocked.send("BLPOP", "idle-list", "0")
        idle = clients.enter_context(endpoint.connect())
        assert idle.call("PING") == b"PONG"
        assert is_closed(idle)
        assert primary.ask("PUBLISH", "news", "hello") == 1
        assert subscriber.receive() == [b"message", b"news", b"hello"]
        primary.ask("RPUSH", "idle-list", "element")
        assert blocked.receive() == [b"idle-list", b"element"]


def test_a_command_that_is_too_big_is_refused_at_its_header(primary: Instance) -> None:
    with (
        Endpoint(primary, limits={"request_bytes": 65_536}) as endpoint,
        endpoint.connect() as client,
    ):
        send_raw(client, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n")
        assert error_text(client.receive()) == "ERR Protocol error: invalid bulk length"
        assert is_closed(client)


def test_who_does_not_read_a_flood_of_messages_is_closed(primary: Instance) -> None:
    with (
        Endpoint(
            primary, limits={"client_output_bytes": MIB, "total_output_bytes": 64 * MIB}
        ) as endpoint,
        endpoint.connect() as deaf,
        endpoint.connect() as other,
    ):
        other.call("SET", "big", b"x" * MIB)
        # Over a shared connection nobody is made to wait: what does not fit ends the client.
        for _ in range(64):
            deaf.send("GET", "big")
        endpoint.wait_for("connections_closed_by_limit", 1)
        assert other.call("PING") == b"PONG"


def test_clients_that_have_not_logged_in_have_small_limits(tmp_path: Path) -> None:
    with (
        instance(tmp_path, password="secret") as guarded,
        Endpoint(guarded, workers=1) as endpoint,
        endpoint.connect() as stranger,
        endpoint.connect() as client,
    ):
        stranger.send("PING")
        assert error_text(stranger.receive()).startswith("NOAUTH")
        send_raw(stranger, b"*2\r\n$4\r\nECHO\r\n$100000\r\n")
        expected = "ERR Protocol error: unauthenticated bulk length"
        assert error_text(stranger.receive()) == expected
        assert is_closed(stranger)
        assert client.call("AUTH", "secret") == b"OK"
        assert client.call("ECHO", b"x" * 100_000) == b"x" * 100_000


def proxied(source: str, port: int) -> bytes:
    """Return a PROXY protocol v2 header for a client of that address."""
    addresses = socket.inet_aton(source) + socket.inet_aton("10.0.0.1")
    body = addresses + struct.pack("!HH", port, 6379)
    return b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(body)) + body


def test_behind_a_balancer_clients_are_known_by_their_own_addresses(primary: Instance) -> None:
    listener = {"proxy_protocol_from": ["127.0.0.0/8"]}
    with Endpoint(primary, listener=listener, limits={"connections_per_address": 1}) as endpoint:
        with endpoint.connect() as one, endpoint.connect() as two, endpoint.connect() as again:
            send_raw(one, proxied("192.0.2.1", 1000)[:20])
            send_raw(one, proxied("192.0.2.1", 1000)[20:] + b"PING\r\n")
            assert one.receive() == b"PONG"
            send_raw(two, proxied("192.0.2.2", 1000) + b"PING\r\n")
            assert two.receive() == b"PONG"
            send_raw(again, proxied("192.0.2.1", 1001) + b"PING\r\n")
            assert is_closed(again)
        with endpoint.connect() as bare:
            send_raw(bare, b"*1\r\n$4\r\nPING\r\n")
            assert is_closed(bare)


def test_a_unix_socket_serves_like_a_port(primary: Instance, tmp_path: Path) -> None:
    path = tmp_path / "endpoint.sock"
    listeners = [{"address": "127.0.0.1:0"}, {"address": f"unix:{path}"}]
    with Endpoint(primary, listeners=listeners) as endpoint:
        client = Connection(endpoint.port)
        client.socket.close()
        client.socket = socket.socket(socket.AF_UNIX)
        client.socket.settimeout(WITHIN_S)
        client.socket.connect(str(path))
        with client:
            for number in range(1000):
                client.send("ECHO", number)
            assert replies(client, 1000) == [str(number).encode() for number in range(1000)]
            assert endpoint.stat("connections_by_listener")[f"unix:{path}"] == 1


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"listeners": []}, "listeners"),
        ({"listeners": [{"address": "nowhere"}]}, "nowhere"),
        ({"listeners": [{"address": "127.0.0.1:0", "tls": True}]}, "tls"),
        ({"listeners": [{"address": "127.0.0.1:0"}], "hold": {"windw_ms": 1}}, "hold.windw_ms"),
        ({"listeners": [{"address": "127.0.0.1:0"}], "workers": "two"}, "workers"),
        ({"listeners": [{"address": "127.0.0.1:0"}], "on_ambiguous": "retry"}, "on_ambiguous"),
        ({"listeners": [{"address": "127.0.0.1:0"}], "acks": {}}, "acks.replicas"),
    ],
)
def test_a_configuration_that_cannot_be_names_its_key(config: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Endpoint(None, **config)


def test_an_address_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        endpoint = Endpoint(None, listeners=[{"address": address}])
        with pytest.raises(OSError, match=address):
            endpoint.plane.start()
