"""Shut primaries down in a row: one failover, one epoch and one switch for each, never more."""

import os
import time
from typing import Final

import pytest

from event_log import EventLog
from kinds import HOST, OURS
from servers import Deployment

SHUTDOWNS: Final = int(os.environ.get("EVERFLY_SHUTDOWNS", "5"))
FAILOVER_TIMEOUT_MS: Final = 2000
LIMIT_S: Final = 60 + 20 * SHUTDOWNS


@pytest.mark.compat
@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S)
def test_each_shutdown_of_a_primary_causes_exactly_one_failover() -> None:
    with (
        Deployment(kinds=(OURS,) * 3, failover_timeout=FAILOVER_TIMEOUT_MS) as deployment,
        EventLog(sentinel.port for sentinel in deployment.sentinels) as log,
    ):
        ports = sorted(sentinel.port for sentinel in deployment.sentinels)
        for number in range(1, SHUTDOWNS + 1):
            old = deployment.primary()
            start = time.monotonic()
            old.shutdown()
            new = deployment.new_primary(old)
            log.wait_for("+switch-master", count=3, start=start)
            old.start(follow=new.port)
            deployment.settle()
            # A second attempt may start 2 x failover-timeout after the first: the next shutdown
            # must not hide it, so the watch over this one lasts longer than that.
            log.watch(start + 2 * FAILOVER_TIMEOUT_MS / 1000 + 1)
            switches = log.of("+switch-master", start)
            assert sorted(event.port for event in switches) == ports
            moved = f"{deployment.name} {HOST} {old.port} {HOST} {new.port}"
            assert {event.payload for event in switches} == {moved}
            assert len(log.of("+elected-leader", start)) == 1
            for sentinel in deployment.sentinels:
                assert sentinel.saved("current-epoch") == [str(number)]
                assert sentinel.view(deployment.name)["config-epoch"] == str(number)
