"""What ours does better than a genuine Sentinel: each test holds for ours and fails for the other.

The genuine side is a strict xfail, so that a claim that is no claim any more is noticed.
"""

import contextlib
import signal
import stat
import threading
import time
from functools import partial

import pytest
from hiredis import ReplyError

from event_log import EventLog
from kinds import OURS, Kind, missing, needs_patience
from processes import Connection, until
from servers import Deployment, Instance

GENUINE = Kind.REDIS

pytestmark = [pytest.mark.compat, pytest.mark.slow]

BOTH = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(OURS, id="ours"),
        pytest.param(
            GENUINE,
            id="genuine",
            marks=[
                pytest.mark.skipif(bool(missing(GENUINE)), reason=missing(GENUINE) or ""),
                pytest.mark.skipif(bool(needs_patience()), reason=needs_patience()),
                pytest.mark.xfail(strict=True, reason="what genuine Sentinels do not do"),
            ],
        ),
    ],
)


def is_replica_of(instance: Instance, port: int) -> bool:
    """The instance says that it follows that port."""
    fields = instance.info()
    return fields.get("role") == "slave" and fields.get("master_port") == str(port)


@BOTH
def test_a_planned_failover_leaves_no_second_primary_to_write_to(kind: Kind) -> None:
    with Deployment(kinds=(kind,) * 3) as deployment:
        old = deployment.primary()
        deployment.sentinels[0].ask("SENTINEL", "FAILOVER", deployment.name)
        new = deployment.new_primary(old)
        until(partial(is_replica_of, old, new.port), 0.5, show=old.replication)


@BOTH
def test_a_planned_failover_loses_no_acknowledged_write(kind: Kind) -> None:
    with Deployment(kinds=(kind,) * 3) as deployment:
        old = deployment.primary()
        acknowledged = 0
        stopped = threading.Event()

        def write() -> None:
            nonlocal acknowledged
            with Connection(old.port, timeout_s=10.0) as connection:
                try:
                    while not stopped.is_set():
                        connection.call("INCR", "counter")
                        acknowledged += 1
                except (OSError, ReplyError):
                    return  # cut or refused: this client has to look for the new primary

        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: acknowledged > 500, 10.0)
        deployment.sentinels[0].ask("SENTINEL", "FAILOVER", deployment.name)
        new = deployment.new_primary(old)
        # A genuine Sentinel lets the client go on writing to the old one; ours has ended it.
        at_switch = acknowledged
        until(lambda: not writer.is_alive() or acknowledged > at_switch + 1_000, 10.0)
        stopped.set()
        writer.join()
        assert int(str(new.ask("GET", "counter"), "ascii")) >= acknowledged


@BOTH
def test_a_resumed_old_primary_is_demoted_within_half_a_second(kind: Kind) -> None:
    with Deployment(kinds=(kind,) * 3) as deployment:
        old = deployment.primary()
        old.signal(signal.SIGSTOP)
        new = deployment.new_primary(old)
        deployment_settled = partial(_all_switched, deployment, new)
        until(deployment_settled, 10.0, show=deployment.picture)
        old.signal(signal.SIGCONT)
        until(partial(is_replica_of, old, new.port), 0.5 + 0.3, show=old.replication)


def _all_switched(deployment: Deployment, new: Instance) -> bool:
    """No Sentinel is in a failover any more, and all name the new primary."""
    return all(
        sentinel.primary_port(deployment.name) == new.port
        and "failover_in_progress" not in sentinel.view(deployment.name)["flags"]
        for sentinel in deployment.sentinels
    )


@BOTH
def test_a_pause_of_all_sentinels_does_not_end_failover_for_ever(kind: Kind) -> None:
    with Deployment(kinds=(kind,) * 3, down_after=500) as deployment:
        for sentinel in deployment.sentinels:
            sentinel.ask("SENTINEL", "DEBUG", "tilt-period", "8000")
        old = deployment.primary()
        with EventLog([one.port for one in deployment.sentinels]) as log:
            for sentinel in deployment.sentinels:
                assert sentinel.child is not None
                sentinel.child.signal(signal.SIGSTOP)
            log.watch(time.monotonic() + 2.5)  # the pause itself; above 2 s it is TILT
            for sentinel in deployment.sentinels:
                assert sentinel.child is not None
                sentinel.child.signal(signal.SIGCONT)
            log.wait_for("+tilt", count=3)
            old.kill()
            log.wait_for("-tilt", count=3)
            deployment.new_primary(old, 10.0)


@BOTH
def test_a_primary_that_restarts_empty_does_not_wipe_its_replicas(kind: Kind) -> None:
    with Deployment(kinds=(kind,) * 3) as deployment:
        old = deployment.primary()
        old.ask("SET", "precious", "1")
        replicas = [one for one in deployment.group.instances if one is not old]
        until(lambda: all(one.ask("DBSIZE") == 1 for one in replicas), 5.0)
        old.kill()
        old.start(sync_delay_s=5)
        new = deployment.new_primary(old, 8.0)
        assert new.ask("DBSIZE") == 1


@BOTH
def test_a_file_with_a_difficult_password_can_be_started_again(kind: Kind) -> None:
    with Deployment(kinds=(kind,), quorum=1) as deployment:
        sentinel = deployment.sentinels[0]
        sentinel.ask("SENTINEL", "SET", deployment.name, "auth-pass", 'a b"c')
        assert sentinel.stop() == 0
        try:
            sentinel.start()
        except RuntimeError as error:
            pytest.fail(str(error).splitlines()[0])
        assert sentinel.saved("auth-pass") == [f'{deployment.name} a b"c']


@BOTH
def test_a_name_cannot_smuggle_a_line_into_the_file(kind: Kind) -> None:
    with Deployment(kinds=(kind,), quorum=1) as deployment:
        sentinel = deployment.sentinels[0]
        port = deployment.primary().port
        with contextlib.suppress(ReplyError):
            sentinel.ask("SENTINEL", "MONITOR", "x 127.0.0.1 1 1\nloglevel", "127.0.0.1", port, 1)
        assert "\nloglevel" not in sentinel.conf.read_text()


@BOTH
def test_a_private_file_stays_private(kind: Kind) -> None:
    with Deployment(kinds=(kind,), quorum=1) as deployment:
        sentinel = deployment.sentinels[0]
        sentinel.conf.chmod(0o600)
        sentinel.ask("SENTINEL", "FLUSHCONFIG")
        assert stat.S_IMODE(sentinel.conf.stat().st_mode) == 0o600
