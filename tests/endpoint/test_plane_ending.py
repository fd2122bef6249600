"""A plane ends, or hands its listeners to another, without a client being refused."""

import os
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kinds import HOST
from planes import WITHIN_S, Endpoint, instance, is_closed
from processes import Connection, until
from servers import Instance

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with instance(tmp_path_factory.mktemp("ending")) as running:
        yield running


def test_a_plane_that_stops_lets_clients_finish_what_is_under_way(primary: Instance) -> None:
    with (
        Endpoint(primary) as endpoint,
        endpoint.connect() as busy,
        endpoint.connect() as idle,
        ThreadPoolExecutor(1) as pool,
    ):
        assert idle.call("PING") == b"PONG"
        busy.send("BLPOP", "ending-list", "0")
        until(lambda: primary.info()["blocked_clients"] == "1", WITHIN_S)
        stopped = pool.submit(endpoint.plane.stop, WITHIN_S)
        assert is_closed(idle)
        primary.ask("RPUSH", "ending-list", "element")
        assert busy.receive() == [b"ending-list", b"element"]
        assert is_closed(busy)
        stopped.result(WITHIN_S)
        assert endpoint.stat("state") == "stopped"
        assert endpoint.plane.connections() == 0
        with pytest.raises(ConnectionRefusedError):
            endpoint.connect()


def test_what_is_not_over_after_the_grace_is_cut_off(primary: Instance) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as busy:
        busy.send("BLPOP", "nothing", "0")
        until(lambda: primary.info()["blocked_clients"] == "1", WITHIN_S)
        endpoint.plane.stop(0.1)
        assert is_closed(busy)
        until(lambda: primary.info()["blocked_clients"] == "0", WITHIN_S)


@pytest.mark.parametrize("workers", [1, 3])
def test_another_plane_takes_the_listeners_over(primary: Instance, workers: int) -> None:
    with Endpoint(primary, workers=2) as old, old.connect() as client:
        assert client.call("PING") == b"PONG"
        fds = [os.dup(fd) for _, fd in old.plane.listener_fds()]
        listeners = [{"address": f"{HOST}:{old.port}", "fds": fds}]
        with Endpoint(primary, listeners=listeners, workers=workers) as new:
            old.plane.stop_accepting()
            for _ in range(50):
                with Connection(new.port, timeout_s=WITHIN_S) as fresh:
                    assert fresh.call("PING") == b"PONG"
            # Those that the old one has go on.
            assert client.call("PING") == b"PONG"
            # At most those that came before it stopped accepting are the old one's.
            assert new.stat("connections_total") + old.stat("connections_total") == 51
            assert old.plane.close_idle() >= 1
            assert is_closed(client)


def test_clients_that_asked_for_it_are_told_of_holds_and_moves(primary: Instance) -> None:
    with Endpoint(primary) as endpoint, endpoint.connect() as told, endpoint.connect() as other:
        told.call("HELLO", "3")
        other.call("HELLO", "3")
        told.send("CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "none")
        assert told.receive() == b"OK"
        assert endpoint.stat("handoff_clients") == 1
        token = endpoint.plane.hold("test", 60_000)
        assert told.receive()[0] == b"FAILING_OVER"  # type: ignore[index]
        endpoint.plane.release(token)
        assert told.receive()[0] == b"FAILED_OVER"  # type: ignore[index]
        endpoint.plane.stop_accepting()
        moving = told.receive()
        assert isinstance(moving, list)
        assert (moving[0], moving[3]) == (b"MOVING", None)
        assert told.call("PING") == b"PONG"
        assert other.call("PING") == b"PONG"


def test_notices_wake_who_waits_for_their_descriptor(primary: Instance) -> None:
    with Endpoint(primary) as endpoint:
        endpoint.plane.notices()
        fd = endpoint.plane.notice_fd()
        assert select.select([fd], [], [], 0)[0] == []
        endpoint.plane.hold("for a test", 60_000)
        assert select.select([fd], [], [], WITHIN_S)[0] == [fd]
        (notice,) = endpoint.plane.notices()
        assert (notice["kind"], notice["count"]) == ("hold-began", 1)
        assert "for a test" in notice["text"]
        assert select.select([fd], [], [], 0)[0] == []


def test_a_plane_that_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="not been started"):
        Endpoint().plane.stats()
