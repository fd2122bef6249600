"""Whatever clients say to an instance, they may say to the endpoint."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from planes import (
    WITHIN_S,
    Endpoint,
    error_text,
    instance,
    is_closed,
    receive_raw,
    replies,
    send_raw,
)
from processes import until
from servers import Instance

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("forwarding")) as running:
        yield running


@pytest.fixture
def endpoint(primary: Instance) -> Iterator[Endpoint]:
    primary.ask("FLUSHALL")
    with Endpoint(primary) as running:
        yield running


def test_a_command_is_answered_by_the_primary(endpoint: Endpoint, primary: Instance) -> None:
    with endpoint.connect() as client:
        assert client.call("SET", "key", "value") == b"OK"
        assert client.call("GET", "key") == b"value"
    assert primary.ask("GET", "key") == b"value"


def test_a_pipeline_is_answered_in_its_order(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        for number in range(5000):
            client.send("ECHO", number)
        assert replies(client, 5000) == [str(number).encode() for number in range(5000)]


def test_every_client_of_a_shared_connection_gets_its_own_replies(endpoint: Endpoint) -> None:
    clients = [endpoint.connect() for _ in range(50)]
    for turn in range(20):
        for name, client in enumerate(clients):
            client.send("ECHO", f"{name}-{turn}")
    for name, client in enumerate(clients):
        assert replies(client, 20) == [f"{name}-{turn}".encode() for turn in range(20)]
        client.close()


def test_plain_clients_share_few_connections(endpoint: Endpoint, primary: Instance) -> None:
    clients = [endpoint.connect() for _ in range(40)]
    for client in clients:
        assert client.call("PING") == b"PONG"
    # One for each of the two workers, and the one that asks.
    assert int(primary.info()["connected_clients"]) <= 3
    for client in clients:
        client.close()


@pytest.mark.parametrize("size", [1024, 65_536, 70_000, 4 * 1024 * 1024])
def test_values_of_any_size_pass_unchanged_both_ways(endpoint: Endpoint, size: int) -> None:
    value = os.urandom(size)
    with endpoint.connect() as client, endpoint.connect() as other:
        assert client.call("SET", "big", value) == b"OK"
        for _ in range(3):
            got = other.call("GET", "big")
            assert isinstance(got, bytes)
            assert hashlib.sha256(got).digest() == hashlib.sha256(value).digest()


def test_a_request_that_comes_byte_by_byte_is_one_request(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\nv2\r\nGET k\r\n":
            send_raw(client, bytes([byte]))
        assert replies(client, 2) == [b"OK", b"v\r\nv2"]


def test_resp3_replies_come_as_resp3(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        hello = client.call("HELLO", "3")
        assert isinstance(hello, dict)
        assert hello[b"proto"] == 3
        client.call("HSET", "hash", "field", "value")
        assert client.call("HGETALL", "hash") == {b"field": b"value"}
    with endpoint.connect() as other:
        # The protocol of one client is not that of another.
        assert other.call("HGETALL", "hash") == [b"field", b"value"]


def test_each_client_has_its_own_database_and_name(endpoint: Endpoint) -> None:
    with endpoint.connect() as one, endpoint.connect() as two:
        assert one.call("SELECT", "5") == b"OK"
        assert one.call("CLIENT", "SETNAME", "one") == b"OK"
        assert one.call("SET", "key", "five") == b"OK"
        assert two.call("GET", "key") is None
        assert one.call("GET", "key") == b"five"
        assert one.call("CLIENT", "GETNAME") == b"one"
        assert two.call("CLIENT", "GETNAME") is None


def test_a_transaction_is_executed_whole(endpoint: Endpoint) -> None:
    with endpoint.connect() as client, endpoint.connect() as other:
        assert client.call("MULTI") == b"OK"
        assert client.call("INCR", "count") == b"QUEUED"
        assert other.call("GET", "count") is None
        assert client.call("INCR", "count") == b"QUEUED"
        assert client.call("EXEC") == [1, 2]
        assert client.call("MULTI") == b"OK"
        assert client.call("INCR", "count") == b"QUEUED"
        assert client.call("DISCARD") == b"OK"
        assert other.call("GET", "count") == b"2"


def test_a_watched_key_that_changes_aborts_the_transaction(endpoint: Endpoint) -> None:
    with endpoint.connect() as client, endpoint.connect() as other:
        client.call("SET", "key", "1")
        assert client.call("WATCH", "key") == b"OK"
        other.call("SET", "key", "2")
        client.call("MULTI")
        client.call("SET", "key", "3")
        assert client.call("EXEC") is None
        assert client.call("GET", "key") == b"2"


def test_a_blocking_command_waits_and_blocks_nobody_else(endpoint: Endpoint) -> None:
    with endpoint.connect() as waiting, endpoint.connect() as other:
        waiting.send("BLPOP", "list", "30")
        assert other.call("PING") == b"PONG"
        assert other.call("RPUSH", "list", "element") == 1
        assert waiting.receive() == [b"list", b"element"]
        assert waiting.call("BLPOP", "list", "0.01") is None


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_messages_reach_subscribers(endpoint: Endpoint, protocol: str) -> None:
    with endpoint.connect() as subscriber, endpoint.connect() as publisher:
        subscriber.call("HELLO", protocol)
        subscriber.send("SUBSCRIBE", "news", "weather")
        assert replies(subscriber, 2) == [[b"subscribe", b"news", 1], [b"subscribe", b"weather", 2]]
        subscriber.send("PSUBSCRIBE", "n*")
        assert subscriber.receive() == [b"psubscribe", b"n*", 3]
        assert publisher.call("PUBLISH", "news", "hello") == 2
        assert replies(subscriber, 2) == [
            [b"message", b"news", b"hello"],
            [b"pmessage", b"n*", b"news", b"hello"],
        ]
        subscriber.send("UNSUBSCRIBE")
        assert len(replies(subscriber, 2)) == 2
        subscriber.send("PUNSUBSCRIBE")
        assert subscriber.receive() == [b"punsubscribe", b"n*", 0]
        assert subscriber.call("GET", "nothing") is None


def test_scripts_run_and_are_remembered(endpoint: Endpoint) -> None:
    with endpoint.connect() as client, endpoint.connect() as other:
        digest = client.call("SCRIPT", "LOAD", "return {KEYS[1], ARGV[1]}")
        assert isinstance(digest, bytes)
        assert other.call("EVALSHA", digest, "1", "k", "a") == [b"k", b"a"]
        assert client.call("EVAL", "return redis.call('INCR', KEYS[1])", "1", "n") == 1
        client.send("EVALSHA", "0" * 40, "0")
        assert error_text(client.receive()).startswith("NOSCRIPT")


def test_tracking_tells_the_client_what_changed(endpoint: Endpoint) -> None:
    with endpoint.connect() as client, endpoint.connect() as other:
        client.call("HELLO", "3")
        assert client.call("CLIENT", "TRACKING", "ON") == b"OK"
        assert client.call("GET", "cached") is None
        other.call("SET", "cached", "new")
        assert client.receive() == [b"invalidate", [b"cached"]]


def test_replies_that_are_switched_off_do_not_come(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        client.send("CLIENT", "REPLY", "OFF")
        client.send("SET", "silent", "1")
        client.send("CLIENT", "REPLY", "ON")
        assert client.receive() == b"OK"
        client.send("CLIENT", "REPLY", "SKIP")
        client.send("INCR", "silent")
        assert client.call("GET", "silent") == b"2"


@pytest.mark.parametrize(
    "command",
    [
        ("MONITOR",),
        ("REPLICAOF", "NO", "ONE"),
        ("SHUTDOWN",),
        ("PSYNC", "?", "-1"),
        ("DEBUG", "SLEEP", "0"),
        ("FAILOVER",),
    ],
)
def test_what_would_harm_the_group_is_refused(endpoint: Endpoint, command: tuple[str, ...]) -> None:
    with endpoint.connect() as client:
        client.send(*command)
        assert command[0] in error_text(client.receive())
        assert client.call("PING") == b"PONG"


def test_debug_passes_where_it_is_allowed(primary: Instance) -> None:
    with Endpoint(primary, allow_debug=True) as endpoint, endpoint.connect() as client:
        # The instance's own answer: it does not allow it.
        client.send("DEBUG", "SLEEP", "0")
        assert "everfly" not in error_text(client.receive())


def test_an_unknown_command_gets_the_instances_own_error(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        client.send("NOSUCHCOMMAND", "argument")
        assert error_text(client.receive()).startswith("ERR unknown command 'NOSUCHCOMMAND'")
        assert client.call("PING") == b"PONG"


def test_a_breach_of_the_protocol_is_answered_and_ends_the_connection(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        send_raw(client, b"PING\r\n*1\r\n+PING\r\n")
        assert client.receive() == b"PONG"
        assert error_text(client.receive()) == "ERR Protocol error: expected '$', got '+'"
        assert is_closed(client)


def test_a_client_that_closes_its_half_still_gets_its_replies(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        for number in range(100):
            client.send("ECHO", number)
        client.socket.shutdown(socket.SHUT_WR)
        assert replies(client, 100) == [str(number).encode() for number in range(100)]
        assert is_closed(client)


def test_quit_is_answered_after_what_came_before_it(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        client.send("ECHO", "last")
        client.send("QUIT")
        client.send("ECHO", "never")
        assert replies(client, 2) == [b"last", b"OK"]
        assert is_closed(client)


def test_a_slow_reader_of_big_replies_delays_nobody(endpoint: Endpoint) -> None:
    with endpoint.connect() as slow, endpoint.connect() as other:
        other.call("SET", "big", b"x" * (1024 * 1024))
        for _ in range(64):
            slow.send("GET", "big")
        for number in range(200):
            assert other.call("ECHO", number) == str(number).encode()
        expected = 64 * len(b"$1048576\r\n" + b"x" * (1024 * 1024) + b"\r\n")
        assert len(receive_raw(slow, expected)) == expected
        assert slow.call("PING") == b"PONG"


def test_transactions_in_a_row_use_one_connection(endpoint: Endpoint) -> None:
    with endpoint.connect() as client:
        for number in range(50):
            client.send("MULTI")
            client.send("INCR", "count")
            client.send("EXEC")
            assert replies(client, 3) == [b"OK", b"QUEUED", [number + 1]]
            assert client.call("GET", "count") == str(number + 1).encode()
        assert endpoint.stat("upstreams_opened") == 1


def test_a_login_costs_no_connection_that_is_not_used_on(endpoint: Endpoint) -> None:
    for number in range(10):
        with endpoint.connect() as client:
            client.call("CLIENT", "SETINFO", "LIB-NAME", "library")
            client.call("SELECT", "1")
            client.call("SET", "key", number)
            assert client.call("GET", "key") == str(number).encode()
            # Own ones become shared ones, one a worker, or are closed.
            until(lambda: endpoint.stat("upstreams_own") == 0, WITHIN_S)
            assert endpoint.stat("upstreams_shared") <= 2


def test_a_client_that_is_gone_leaves_no_connection_behind(
    endpoint: Endpoint, primary: Instance
) -> None:
    with endpoint.connect() as client:
        client.send("BLPOP", "list", "0")
        until(lambda: primary.info()["blocked_clients"] == "1", WITHIN_S)
    until(lambda: primary.info()["blocked_clients"] == "0", WITHIN_S)
    until(lambda: endpoint.plane.connections() == 0, WITHIN_S)


def test_users_act_with_their_own_rights(tmp_path: Path) -> None:
    with (
        instance(tmp_path, password="first") as guarded,
        Endpoint(guarded) as endpoint,
        endpoint.connect() as stranger,
        endpoint.connect() as admin,
        endpoint.connect() as reader,
    ):
        stranger.send("GET", "key")
        assert error_text(stranger.receive()).startswith("NOAUTH")
        assert admin.call("AUTH", "first") == b"OK"
        admin.call("ACL", "SETUSER", "reader", "on", ">second", "~*", "+get", "+ping")
        assert admin.call("SET", "key", "1") == b"OK"
        assert reader.call("AUTH", "reader", "second") == b"OK"
        assert reader.call("GET", "key") == b"1"
        with pytest.raises(hiredis.ReplyError, match="NOPERM"):
            reader.call("SET", "key", "2")
        stranger.send("AUTH", "wrong")
        assert error_text(stranger.receive()).startswith("WRONGPASS")
        stranger.send("GET", "key")
        assert error_text(stranger.receive()).startswith("NOAUTH")
        assert admin.call("GET", "key") == b"1"
