"""Ours and genuine Sentinels in one quorum: whoever leads, all end up with the same truth."""

import signal
import time
from functools import partial

import pytest

from event_log import EventLog
from kinds import HOST, OURS, Kind, missing
from processes import Connection, until
from servers import Deployment, Instance, Sentinel

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.timeout(300)]

MIXES = [
    (OURS, Kind.REDIS, Kind.REDIS),
    (OURS, Kind.VALKEY, Kind.VALKEY),
    (OURS, OURS, Kind.REDIS),
    (OURS, OURS, Kind.VALKEY),
    (OURS, Kind.REDIS, Kind.VALKEY),
]
QUORUM_REACHED = b"OK 3 usable Sentinels. Quorum and failover authorization can be reached"
CONVERTED_WITHIN_S = 30.0
"""A genuine Sentinel waits 8 s (four hello periods) and for the next INFO (10 s) before it
demotes a primary that came back: redis/src/sentinel.c (7.0.15), SENTINEL_INFO_PERIOD."""


@pytest.fixture(params=MIXES, ids=lambda kinds: "+".join(kind.value for kind in kinds))
def kinds(request: pytest.FixtureRequest) -> tuple[Kind, ...]:
    mix: tuple[Kind, ...] = request.param
    for kind in mix:
        if reason := missing(kind):
            pytest.skip(reason)
    return mix


def one_of_each(sentinels: list[Sentinel]) -> list[Sentinel]:
    return list({sentinel.kind: sentinel for sentinel in sentinels}.values())


def let_lead(deployment: Deployment, leader: Sentinel | None) -> None:
    """Make `leader` sure of a failure alone, well before the others, who then vote for it.

    With None, nobody is: a busy machine must not cause a failover that nobody asked for.
    """
    for sentinel in deployment.sentinels:
        down_after, quorum = (1000, 1) if sentinel is leader else (3000, 2)
        settings = ("down-after-milliseconds", down_after, "quorum", quorum)
        assert sentinel.ask("SENTINEL", "SET", deployment.name, *settings) == b"OK"


def hellos(instance: Instance, senders: set[str]) -> dict[str, list[str]]:
    """Return the next hello of each sender, as fields, as a subscriber of the instance sees it."""
    found: dict[str, list[str]] = {}
    with Connection(instance.port, timeout_s=10.0) as connection:
        connection.call("SUBSCRIBE", "__sentinel__:hello")
        while set(found) != senders:
            message = connection.receive()
            assert isinstance(message, list), message
            fields = message[2].decode().split(",")
            if fields[2] in senders:
                found[fields[2]] = fields
    return found


def assert_agreement(deployment: Deployment, primary: Instance) -> None:
    """Assert that all name this primary in one epoch, in answers, on the wire and on disk."""
    ports = {sentinel.run_id(): sentinel.port for sentinel in deployment.sentinels}

    def told() -> bool:
        """All hellos carry the same epochs and the same primary."""
        said = hellos(primary, set(ports))
        assert {run_id: int(fields[1]) for run_id, fields in said.items()} == ports
        return len({tuple(fields[3:]) for fields in said.values()}) == 1

    until(told, 10.0, show=lambda: hellos(primary, set(ports)))
    _, _, _, epoch, name, host, port, config_epoch = hellos(primary, set(ports)).popitem()[1]
    assert (name, host, int(port)) == (deployment.name, HOST, primary.port)
    for sentinel in deployment.sentinels:
        assert sentinel.view(deployment.name)["config-epoch"] == config_epoch
        assert sentinel.primary_port(deployment.name) == primary.port
        assert sentinel.saved("current-epoch") == [epoch]
        assert sentinel.saved("config-epoch") == [f"{deployment.name} {config_epoch}"]
        monitor = sentinel.saved("monitor")[0]
        assert monitor.startswith(f"{deployment.name} {HOST} {primary.port} ")
        assert sentinel.ask("SENTINEL", "CKQUORUM", deployment.name) == QUORUM_REACHED


def test_every_peer_learns_the_others_by_hello(kinds: tuple[Kind, ...]) -> None:
    with Deployment(kinds=kinds) as deployment:
        places = {(each.run_id(), str(each.port)) for each in deployment.sentinels}
        for sentinel in deployment.sentinels:
            known = {(peer["runid"], peer["port"]) for peer in sentinel.peers(deployment.name)}
            assert known == places - {(sentinel.run_id(), str(sentinel.port))}
        assert_agreement(deployment, deployment.group.instances[0])


def test_each_side_leads_a_failover_that_the_others_follow(kinds: tuple[Kind, ...]) -> None:
    ports = []
    with Deployment(kinds=kinds) as deployment:
        ports = [sentinel.port for sentinel in deployment.sentinels]
        with EventLog(ports) as log:
            for leader in one_of_each(deployment.sentinels):
                let_lead(deployment, leader)
                old = deployment.primary()
                start = time.monotonic()
                old.signal(signal.SIGKILL)
                new = deployment.new_primary(old)
                switches = log.wait_for("+switch-master", count=3, start=start)
                let_lead(deployment, None)
                text = f"{deployment.name} {HOST} {old.port} {HOST} {new.port}"
                assert [event.payload for event in switches] == [text] * 3
                assert {event.port for event in switches} == set(ports)
                elected = [event.port for event in log.of("+elected-leader", start)]
                assert elected == [leader.port], log.since(start)
                old.kill()
                old.start(follow=new.port)
                deployment.settle()
                assert_agreement(deployment, new)


def test_a_killed_primary_comes_back_as_a_replica(kinds: tuple[Kind, ...]) -> None:
    with (
        Deployment(kinds=kinds) as deployment,
        EventLog(sentinel.port for sentinel in deployment.sentinels) as log,
    ):
        # Two genuine Sentinels that see a failure in the same tick may fail over twice.
        let_lead(deployment, deployment.sentinels[0])
        old = deployment.primary()
        old.signal(signal.SIGKILL)
        old.kill()
        new = deployment.new_primary(old)
        log.wait_for("+switch-master", count=3)
        let_lead(deployment, None)
        start = time.monotonic()
        old.start()
        assert old.is_primary()
        until(partial(old.follows, new.port), CONVERTED_WITHIN_S, show=old.replication)
        deployment.settle()
        assert log.of("+switch-master", start) == []
        assert_agreement(deployment, new)


def test_a_group_with_a_password_is_failed_over(kinds: tuple[Kind, ...]) -> None:
    with Deployment(kinds=kinds, password="correct-horse") as deployment:
        let_lead(deployment, deployment.sentinels[0])
        old = deployment.primary()
        old.signal(signal.SIGKILL)
        new = deployment.new_primary(old)
        [third] = [each for each in deployment.group.instances if each not in (old, new)]
        until(partial(third.follows, new.port), CONVERTED_WITHIN_S, show=third.replication)
        for sentinel in deployment.sentinels:
            assert sentinel.saved("auth-pass") == [f"{deployment.name} correct-horse"]
            assert sentinel.child is not None
            assert "correct-horse" not in sentinel.child.log_tail()


def _accepts_failover(sentinel: Sentinel, name: str) -> bool:
    """A Sentinel takes SENTINEL FAILOVER."""
    return sentinel.ask("SENTINEL", "FAILOVER", name) == b"OK"


def test_each_side_carries_out_a_forced_failover(kinds: tuple[Kind, ...]) -> None:
    with (
        Deployment(kinds=kinds) as deployment,
        EventLog(sentinel.port for sentinel in deployment.sentinels) as log,
    ):
        for leader in one_of_each(deployment.sentinels):
            old = deployment.primary()
            start = time.monotonic()
            # A genuine one has no INFO of the replicas yet right after a switch, and refuses.
            until(partial(_accepts_failover, leader, deployment.name), 15.0, show=log.__str__)
            new = deployment.new_primary(old)
            log.wait_for("+switch-master", count=3, start=start)
            until(partial(old.follows, new.port), CONVERTED_WITHIN_S, show=old.replication)
