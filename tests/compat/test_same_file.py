"""A genuine Sentinel is replaced by ours on the same `sentinel.conf`, and ours by a genuine one."""

import signal

import pytest

from kinds import OURS, Kind, missing
from servers import Deployment, Sentinel

pytestmark = [pytest.mark.compat, pytest.mark.slow, pytest.mark.timeout(300)]

GENUINE = [Kind.REDIS, Kind.VALKEY]
STATE = ("myid", "monitor", "config-epoch", "leader-epoch", "current-epoch")
LISTS = ("known-replica", "known-sentinel", "down-after-milliseconds", "failover-timeout")
KEPT_FIELDS = (
    *("name", "ip", "port", "config-epoch", "num-slaves", "num-other-sentinels", "quorum"),
    *("down-after-milliseconds", "failover-timeout", "parallel-syncs"),
)


def fail_over(deployment: Deployment) -> None:
    """Kill the primary, wait for the next, and bring the killed one back as its replica."""
    old = deployment.primary()
    old.signal(signal.SIGKILL)
    new = deployment.new_primary(old)
    old.kill()
    old.start(follow=new.port)
    deployment.settle()


def kept(sentinel: Sentinel, name: str) -> dict[str, object]:
    """Return what must survive the change of the program: in its answers and in its file."""
    view = sentinel.view(name)
    places = [*sentinel.replicas(name), *sentinel.peers(name)]
    return {
        "run id": sentinel.run_id(),
        "view": {key: view[key] for key in KEPT_FIELDS},
        "known": sorted((place["ip"], place["port"]) for place in places),
        "file": {key: sorted(sentinel.saved(key)) for key in (*STATE, *LISTS)},
    }


@pytest.mark.parametrize("genuine", GENUINE, ids=lambda kind: kind.value)
@pytest.mark.parametrize("is_genuine_first", [True, False], ids=["to-ours", "to-genuine"])
def test_the_program_changes_and_the_sentinel_stays(genuine: Kind, is_genuine_first: bool) -> None:
    if reason := missing(genuine):
        pytest.skip(reason)
    before, after = (genuine, OURS) if is_genuine_first else (OURS, genuine)
    with Deployment(kinds=(before,) * 3) as deployment:
        fail_over(deployment)
        replaced, *others = deployment.sentinels
        state = kept(replaced, deployment.name)
        assert state["view"]["config-epoch"] != "0"  # type: ignore[index]  # the failover counted
        for kind in (after, before):
            assert replaced.stop() == 0
            replaced.kind = kind
            replaced.start()
            assert kept(replaced, deployment.name) == state
            deployment.settle()
            fail_over(deployment)
            for other in others:
                known = {peer["runid"] for peer in other.peers(deployment.name)}
                assert state["run id"] in known
                assert len(known) == len(others)
            state = kept(replaced, deployment.name)
