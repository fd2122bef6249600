"""With durable replies a write that was answered is known to as many replicas as was asked for."""

from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest

from planes import Endpoint, error_text, replies
from servers import Group

pytestmark = pytest.mark.integration

REFUSED = "NOREPLICAS everfly"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    running = Group(tmp_path, replicas=1)
    try:
        running.start()
        yield running
    finally:
        running.kill()


def test_writes_are_answered_when_a_replica_has_them(group: Group) -> None:
    primary, replica = group.instances
    with Endpoint(primary, acks={"replicas": 1}) as endpoint, endpoint.connect() as client:
        for number in range(200):
            client.send("SET", f"key-{number}", number)
            client.send("GET", f"key-{number}")
        for number in range(200):
            assert replies(client, 2) == [b"OK", str(number).encode()]
        assert replica.ask("DBSIZE") == 200
        assert endpoint.stat("acked_writes") == 200
        # Many writes share one question.
        asked = primary.ask("INFO", "commandstats")
        assert isinstance(asked, bytes)
        waits = next(line for line in asked.splitlines() if line.startswith(b"cmdstat_wait:"))
        assert int(waits.split(b"calls=")[1].split(b",")[0]) < 200


def test_a_write_that_no_replica_confirms_is_refused(group: Group) -> None:
    primary, replica = group.instances
    acks = {"replicas": 1, "timeout_ms": 100}
    with Endpoint(primary, acks=acks) as endpoint, endpoint.connect() as client:
        assert client.call("SET", "key", "1") == b"OK"
        replica.signal(SIGSTOP)
        try:
            client.send("SET", "key", "2")
            client.send("GET", "key")
            assert error_text(client.receive()).startswith(REFUSED)
            assert client.receive() == b"2"
            # What was not executed needs no replica.
            client.send("LPUSH", "key", "element")
            assert error_text(client.receive()).startswith("WRONGTYPE")
        finally:
            replica.signal(SIGCONT)
        assert endpoint.stat("unacked_writes") == 1
        assert "not-durable" in endpoint.notices()


def test_a_write_that_no_replica_confirms_may_pass_where_that_is_set(group: Group) -> None:
    primary, replica = group.instances
    acks = {"replicas": 1, "timeout_ms": 100, "otherwise": "degrade"}
    with Endpoint(primary, acks=acks) as endpoint, endpoint.connect() as client:
        replica.signal(SIGSTOP)
        try:
            assert client.call("SET", "key", "1") == b"OK"
        finally:
            replica.signal(SIGCONT)
        assert endpoint.stat("unacked_writes") == 1
        assert "not-durable" in endpoint.notices()


def test_a_transaction_is_confirmed_as_one_write(group: Group) -> None:
    primary, replica = group.instances
    acks = {"replicas": 1, "timeout_ms": 100}
    with Endpoint(primary, acks=acks) as endpoint, endpoint.connect() as client:
        for word in (("SET", "a", "1"), ("MULTI",), ("INCR", "a"), ("INCR", "a"), ("EXEC",)):
            client.send(*word)
        assert replies(client, 5) == [b"OK", b"OK", b"QUEUED", b"QUEUED", [2, 3]]
        assert replica.ask("GET", "a") == b"3"
        replica.signal(SIGSTOP)
        try:
            client.send("MULTI")
            client.send("INCR", "a")
            client.send("EXEC")
            assert replies(client, 2) == [b"OK", b"QUEUED"]
            assert error_text(client.receive()).startswith(REFUSED)
        finally:
            replica.signal(SIGCONT)
