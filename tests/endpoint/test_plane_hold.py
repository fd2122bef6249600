"""Over a change of primary clients see nothing but time, or are told the truth."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from kinds import Engine, Kind, missing
from planes import WITHIN_S, Endpoint, error_text, instance, is_silent, replies
from processes import Connection, until
from servers import Group, Instance

pytestmark = pytest.mark.integration

LONG_MS = 60_000
"""A budget that no test uses up."""


@pytest.fixture(
    params=[
        Engine.VALKEY,
        pytest.param(
            Engine.REDIS,
            marks=pytest.mark.skipif(bool(missing(Kind.REDIS)), reason=missing(Kind.REDIS)),
        ),
    ],
    ids=["valkey", "redis"],
)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Instance, Instance]]:
    """Two primaries that know nothing of each other: what is where shows who got it."""
    engine = request.param
    with instance(tmp_path / "one", engine) as one, instance(tmp_path / "two", engine) as two:
        yield one, two


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    running = Group(tmp_path, replicas=1)
    try:
        running.start()
        yield running
    finally:
        running.kill()


def promote(group: Group) -> Instance:
    """Make the replica the primary and the primary its replica."""
    old, new = group.instances
    new.ask("REPLICAOF", "NO", "ONE")
    old.ask("REPLICAOF", "127.0.0.1", new.port)
    until(lambda: old.follows(new.port), WITHIN_S, show=old.replication)
    return new


def test_held_commands_go_on_in_their_order(pair: tuple[Instance, Instance]) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("RPUSH", "list", "before")
        token = endpoint.plane.hold("test", LONG_MS)
        assert endpoint.plane.drained(1000)
        for number in range(300):
            client.send("RPUSH", "list", number)
        endpoint.wait_for("held", 1)
        assert is_silent(client, 0.05)
        assert one.ask("LLEN", "list") == 1
        assert endpoint.follow(two, 2)
        assert endpoint.plane.release(token)
        assert replies(client, 300) == list(range(1, 301))
        held = two.ask("LRANGE", "list", "0", "-1")
        assert held == [str(number).encode() for number in range(300)]
        assert endpoint.stat("state") == "open"


def test_a_hold_waits_for_what_is_under_way(pair: tuple[Instance, Instance]) -> None:
    one, _ = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("PING")
        one.signal(SIGSTOP)
        try:
            client.send("SET", "key", "1")
            until(lambda: endpoint.stat("in_flight") == 1, WITHIN_S)
            endpoint.plane.hold("test", LONG_MS)
            assert not endpoint.plane.drained(50)
        finally:
            one.signal(SIGCONT)
        assert endpoint.plane.drained(5000)
        assert client.receive() == b"OK"
        assert endpoint.plane.release()


def test_a_hold_ends_by_itself_when_its_budget_is_used_up(
    pair: tuple[Instance, Instance],
) -> None:
    with Endpoint(pair[0]) as endpoint, endpoint.connect() as client:
        token = endpoint.plane.hold("test", 100)
        assert client.call("PING") == b"PONG"
        assert not endpoint.plane.release(token)
        assert endpoint.stat("longest_hold_ms") >= 100
        assert {"hold-began", "hold-ended"} <= set(endpoint.notices())


def test_after_the_window_held_commands_are_answered_by_loading(
    pair: tuple[Instance, Instance],
) -> None:
    with (
        Endpoint(pair[0], hold={"window_ms": 150}) as endpoint,
        endpoint.connect() as client,
        endpoint.connect() as other,
    ):
        client.call("PING")
        endpoint.plane.no_primary("test")
        for _ in range(3):
            client.send("INCR", "count")
        for reply in replies(client, 3):
            assert error_text(reply) == "LOADING everfly: no primary within 150 ms, try again"
        other.send("GET", "count")
        assert error_text(other.receive()).startswith("LOADING everfly")
        assert "window-over" in endpoint.notices()
        endpoint.follow(pair[0], 1)
        assert client.call("INCR", "count") == 1


def test_a_lower_epoch_never_wins(pair: tuple[Instance, Instance]) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        assert endpoint.follow(two, 7)
        assert not endpoint.follow(one, 6)
        client.call("SET", "key", "two")
        assert endpoint.stat("epoch") == 7
        assert two.ask("GET", "key") == b"two"


def test_a_change_of_primary_under_load_loses_and_doubles_nothing(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    stop = threading.Event()

    def count(endpoint: Endpoint, name: str) -> int:
        """Count up one key as fast as it goes and return how often it was answered."""
        answered = 0
        with endpoint.connect() as client:
            while not stop.is_set():
                for _ in range(5):
                    client.send("INCR", name)
                assert all(isinstance(reply, int) for reply in replies(client, 5))
                answered += 5
        return answered

    with Endpoint(one) as endpoint, ThreadPoolExecutor(8) as pool:
        names = [f"count-{number}" for number in range(8)]
        try:
            counters = {name: pool.submit(count, endpoint, name) for name in names}
            for epoch, target in enumerate([two, one] * 5, start=2):
                served = endpoint.stat("replies")
                endpoint.wait_for("replies", served + 100)
                endpoint.plane.hold("test", LONG_MS)
                assert endpoint.plane.drained(5000)
                assert endpoint.follow(target, epoch)
                assert endpoint.plane.release()
        finally:
            stop.set()
        for name, counter in counters.items():
            answered = counter.result(WITHIN_S)
            found = [it.ask("GET", name) for it in pair]
            assert sum(int(each) for each in found if isinstance(each, bytes)) == answered
        assert endpoint.stat("ambiguous") == 0


def test_what_a_demoted_primary_refuses_is_executed_by_the_new_one(group: Group) -> None:
    old, new = group.instances
    with Endpoint(old) as endpoint, endpoint.connect() as client, endpoint.connect() as other:
        client.call("SET", "count", "0")
        other.call("PING")
        until(lambda: new.ask("GET", "count") == b"0", WITHIN_S)
        promote(group)
        for _ in range(50):
            client.send("INCR", "count")
        other.send("GET", "count")
        endpoint.wait_for("refused_hidden", 1)
        assert "primary-refusing" in endpoint.notices()
        endpoint.follow(new, 2)
        assert replies(client, 50) == list(range(1, 51))
        assert isinstance(other.receive(), bytes)
        assert new.ask("GET", "count") == b"50"


def test_a_write_without_an_answer_is_ambiguous_and_not_repeated(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("SET", "count", "0")
        one.signal(SIGSTOP)
        client.send("INCR", "count")
        until(lambda: endpoint.stat("in_flight") == 1, WITHIN_S)
        one.kill()
        assert error_text(client.receive()).startswith("AMBIGUOUS everfly")
        client.send("INCR", "later")
        endpoint.follow(two, 2)
        assert client.receive() == 1
        assert two.ask("GET", "count") is None
        assert endpoint.stat("ambiguous") == 1
        assert "ambiguous" in endpoint.notices()


def test_a_read_without_an_answer_is_asked_again(pair: tuple[Instance, Instance]) -> None:
    one, two = pair
    two.ask("SET", "key", "two")
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("SET", "key", "one")
        one.signal(SIGSTOP)
        client.send("GET", "key")
        until(lambda: endpoint.stat("in_flight") == 1, WITHIN_S)
        one.kill()
        endpoint.follow(two, 2)
        assert client.receive() == b"two"


def test_an_ambiguous_write_may_close_the_client_instead(pair: tuple[Instance, Instance]) -> None:
    one, _ = pair
    with Endpoint(one, on_ambiguous="close") as endpoint, endpoint.connect() as client:
        client.call("SET", "count", "0")
        one.signal(SIGSTOP)
        client.send("INCR", "count")
        until(lambda: endpoint.stat("in_flight") == 1, WITHIN_S)
        one.kill()
        with pytest.raises(ConnectionError):
            client.receive()


def test_an_instance_that_restarts_is_used_again_without_a_word_from_the_control(
    pair: tuple[Instance, Instance],
) -> None:
    one, _ = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("SET", "key", "1")
        one.kill()
        client.send("SET", "key", "2")
        endpoint.wait_for("held", 1)
        one.start()
        assert client.receive() == b"OK"
        assert {"primary-lost", "primary-refused", "primary-back"} <= set(endpoint.notices())


def test_a_primary_that_the_control_gave_up_is_not_tried(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("PING")
        endpoint.plane.no_primary("it is being failed over")
        client.send("SET", "key", "1")
        endpoint.wait_for("held", 1)
        assert is_silent(client, 0.2)
        endpoint.follow(two, 2)
        assert client.receive() == b"OK"
        assert one.ask("GET", "key") is None


def test_a_blocking_command_goes_on_waiting_at_the_new_primary(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client, endpoint.connect() as timed:
        client.send("BLPOP", "list", "0")
        timed.send("BLPOP", "nothing", "2")
        began = time.monotonic()
        until(lambda: one.info()["blocked_clients"] == "2", WITHIN_S)
        endpoint.plane.hold("test", LONG_MS)
        assert endpoint.plane.drained(5000)
        assert one.info()["blocked_clients"] == "0"
        endpoint.follow(two, 2)
        endpoint.plane.release()
        until(lambda: two.info()["blocked_clients"] == "2", WITHIN_S)
        two.ask("RPUSH", "list", "element")
        assert client.receive() == [b"list", b"element"]
        assert timed.receive() is None
        assert 1.9 < time.monotonic() - began < WITHIN_S
        assert endpoint.stat("blocking_resumed") == 2


def test_a_transaction_that_was_begun_is_executed_whole_at_the_new_primary(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        assert client.call("MULTI") == b"OK"
        assert client.call("INCR", "count") == b"QUEUED"
        endpoint.plane.hold("test", LONG_MS)
        assert endpoint.plane.drained(5000)
        client.send("INCR", "count")
        client.send("EXEC")
        endpoint.follow(two, 2)
        endpoint.plane.release()
        assert replies(client, 2) == [b"QUEUED", [1, 2]]
        assert one.ask("GET", "count") is None
        assert two.ask("GET", "count") == b"2"


def test_a_watch_does_not_outlive_its_primary(pair: tuple[Instance, Instance]) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("WATCH", "key")
        endpoint.follow(two, 2)
        client.call("MULTI")
        client.call("SET", "key", "1")
        assert client.call("EXEC") is None
        assert two.ask("GET", "key") is None
        client.call("MULTI")
        client.call("SET", "key", "1")
        assert client.call("EXEC") == [b"OK"]


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_subscriptions_are_renewed_in_silence(
    pair: tuple[Instance, Instance], protocol: str
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as subscriber:
        subscriber.call("HELLO", protocol)
        subscriber.send("SUBSCRIBE", "news")
        subscriber.send("PSUBSCRIBE", "w*")
        assert len(replies(subscriber, 2)) == 2
        endpoint.follow(two, 2)
        until(lambda: two.ask("PUBLISH", "news", "hello") == 1, WITHIN_S)
        until(lambda: two.ask("PUBLISH", "weather", "rain") == 1, WITHIN_S)
        assert replies(subscriber, 2) == [
            [b"message", b"news", b"hello"],
            [b"pmessage", b"w*", b"weather", b"rain"],
        ]


def test_a_session_is_the_same_at_the_new_primary(pair: tuple[Instance, Instance]) -> None:
    one, two = pair
    for each in pair:
        each.ask("ACL", "SETUSER", "ann", "on", ">secret", "~*", "+@all")
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("HELLO", "3", "AUTH", "ann", "secret", "SETNAME", "worker")
        client.call("SELECT", "3")
        endpoint.follow(two, 2)
        client.call("SET", "key", "1")
        assert client.call("ACL", "WHOAMI") == b"ann"
        assert client.call("CLIENT", "GETNAME") == b"worker"
        client.call("HSET", "hash", "field", "value")
        assert client.call("HGETALL", "hash") == {b"field": b"value"}
    assert two.info()["db3"].startswith("keys=2")


def test_a_session_that_the_new_primary_does_not_accept_is_closed(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    one.ask("ACL", "SETUSER", "ann", "on", ">secret", "~*", "+@all")
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("AUTH", "ann", "secret")
        endpoint.follow(two, 2)
        client.send("SET", "key", "1")
        with pytest.raises(ConnectionError):
            client.receive()
        # It must not run as the default user.
        assert two.ask("GET", "key") is None


def test_clients_with_tracking_are_told_to_forget_what_they_cached(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as client:
        client.call("HELLO", "3")
        client.call("CLIENT", "TRACKING", "ON")
        client.call("GET", "cached")
        endpoint.follow(two, 2)
        assert client.receive() == [b"invalidate", None]
        assert client.call("GET", "cached") is None
        two.ask("SET", "cached", "new")
        assert client.receive() == [b"invalidate", [b"cached"]]


def test_connections_to_an_old_primary_are_closed_at_once(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one) as endpoint, endpoint.connect() as plain, endpoint.connect() as busy:
        plain.call("PING")
        busy.send("BLPOP", "list", "0")
        until(lambda: one.info()["blocked_clients"] == "1", WITHIN_S)
        endpoint.follow(two, 2)
        until(lambda: one.info()["connected_clients"] == "1", WITHIN_S)
        assert plain.call("PING") == b"PONG"


def test_hundreds_of_sessions_move_with_few_connects_at_once(
    pair: tuple[Instance, Instance],
) -> None:
    one, two = pair
    with Endpoint(one, hold={"release_concurrency": 4}) as endpoint:
        clients = [endpoint.connect() for _ in range(300)]
        for number, client in enumerate(clients):
            client.call("CLIENT", "SETNAME", f"client-{number}")
            client.call("SELECT", number % 16)
            client.call("MULTI")
            client.call("INCR", "count")
        endpoint.plane.hold("test", LONG_MS)
        assert endpoint.plane.drained(5000)
        for client in clients:
            client.send("EXEC")
        endpoint.follow(two, 2)
        endpoint.plane.release()
        for number, client in enumerate(clients):
            assert isinstance(client.receive(), list)
            assert client.call("CLIENT", "GETNAME") == f"client-{number}".encode()
            client.close()
        assert sum(int(at(two, database) or 0) for database in range(16)) == 300
        assert all(at(one, database) is None for database in range(16))


def at(instance: Instance, database: int) -> bytes | None:
    """Return the count of one database."""
    with Connection(instance.port) as connection:
        connection.call("SELECT", database)
        count = connection.call("GET", "count")
        assert count is None or isinstance(count, bytes)
        return count
