"""The address for readers leads to replicas in sync, and elsewhere only as it is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kinds import HOST
from planes import WITHIN_S, Endpoint, error_text
from processes import until
from servers import Group, Instance

pytestmark = pytest.mark.integration

READERS = {"kind": "replicas"}


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    running = Group(tmp_path_factory.mktemp("reading"), replicas=2)
    try:
        running.start()
        for number, each in enumerate(running.instances):
            each.ask("CONFIG", "SET", "proc-title-template", f"instance-{number}")
        yield running
    finally:
        running.kill()


def listed(*replicas: Instance, zone: str = "", lag: int = 0) -> list[tuple[str, int, str, int]]:
    return [(HOST, each.port, zone, lag) for each in replicas]


def port_of(endpoint: Endpoint) -> int:
    """Return the port of the instance that answers a new reader."""
    with endpoint.connect() as client:
        info = client.call("INFO", "server")
        assert isinstance(info, bytes)
        line = next(line for line in info.splitlines() if line.startswith(b"tcp_port:"))
        return int(line.split(b":")[1])


def test_readers_are_spread_over_the_replicas(group: Group) -> None:
    primary, one, two = group.instances
    with Endpoint(primary, listener=READERS, workers=1) as endpoint:
        endpoint.plane.set_replicas(listed(one, two))
        assert {port_of(endpoint) for _ in range(4)} == {one.port, two.port}
        assert endpoint.stat("read_from_replicas") == 4
        with endpoint.connect() as client:
            client.send("SET", "key", "1")
            assert error_text(client.receive()).startswith("READONLY")


def test_replicas_of_the_own_zone_come_first_and_lagging_ones_never(group: Group) -> None:
    primary, one, two = group.instances
    read = {"zone": "a", "lag_max_bytes": 1000}
    with Endpoint(primary, listener=READERS, read=read, workers=1) as endpoint:
        endpoint.plane.set_replicas(listed(one, zone="a") + listed(two, zone="b"))
        assert {port_of(endpoint) for _ in range(3)} == {one.port}
        endpoint.plane.set_replicas(listed(one, zone="a", lag=1001) + listed(two, zone="b"))
        assert {port_of(endpoint) for _ in range(3)} == {two.port}


def test_without_a_replica_readers_fall_back_to_the_primary_and_return(group: Group) -> None:
    primary, one, _ = group.instances
    with Endpoint(primary, listener=READERS, workers=1) as endpoint, endpoint.connect() as client:
        assert port_of(endpoint) == primary.port
        client.call("PING")
        endpoint.plane.set_replicas(listed(one))
        assert port_of(endpoint) == one.port

        def has_moved() -> bool:
            """A reader that was connected has moved to the replica."""
            client.send("SET", "key", "1")
            return "READONLY" in str(client.receive())

        until(has_moved, WITHIN_S)


def test_without_a_replica_readers_are_refused_where_that_is_set(group: Group) -> None:
    primary, one, _ = group.instances
    with (
        Endpoint(primary, listener=READERS, read={"fallback": "refuse"}) as endpoint,
        endpoint.connect() as client,
    ):
        client.send("GET", "key")
        assert error_text(client.receive()).startswith("NOREPLICAS everfly")
        endpoint.plane.set_replicas(listed(one))
        assert client.call("GET", "nothing") is None


def test_a_read_that_a_dying_replica_owes_is_answered_by_another(
    group: Group, tmp_path: Path
) -> None:
    primary, one, _ = group.instances
    dying = Instance(one.engine, tmp_path / "dying")
    try:
        dying.start(follow=primary.port)
        until(lambda: dying.follows(primary.port), WITHIN_S)
        with (
            Endpoint(primary, listener=READERS, workers=1) as endpoint,
            endpoint.connect() as client,
        ):
            endpoint.plane.set_replicas(listed(dying))
            assert client.call("GET", "nothing") is None
            dying.kill()
            endpoint.plane.set_replicas(listed(dying, one))
            for _ in range(10):
                assert client.call("GET", "nothing") is None
            assert "replica-lost" in endpoint.notices()
    finally:
        dying.kill()


def test_readers_need_no_primary(group: Group) -> None:
    primary, one, _ = group.instances
    with Endpoint(primary, listener=READERS) as endpoint, endpoint.connect() as client:
        endpoint.plane.no_primary("it is being failed over")
        client.send("GET", "nothing")
        endpoint.wait_for("held", 1)
        endpoint.plane.set_replicas(listed(one))
        assert client.receive() is None
