"""Who may act, measured with clocks that the test moves, on a real API server."""

import asyncio
from dataclasses import dataclass

from controlplane.cluster import Cluster
from lightkube import KubeConfig

from everfly.operator.apiserver.api import LEASE, Api
from everfly.operator.apiserver.lease import Candidate, Lease, LeaseTimes, NoLease

NAME = "test-lease"


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def api_of(cluster: Cluster) -> Api:
    return Api(KubeConfig.from_file(cluster.kubeconfig))


def lease_of(api: Api, namespace: str, who: str, clock: Clock, pod: str = "") -> Lease:
    return Lease(api, (namespace, NAME), Candidate(who, pod), clock=clock)


async def term_written(api: Api, namespace: str) -> int:
    item = await api.get(LEASE, NAME, namespace)
    assert item is not None
    term = item["spec"]["leaseTransitions"]
    assert isinstance(term, int)
    return term


async def test_the_first_gets_it_and_the_second_waits_until_it_saw_no_renewal_for_long(
    cluster: Cluster, namespace: str
) -> None:
    api = api_of(cluster)
    try:
        first_clock, second_clock = Clock(), Clock(5_000_000.0)  # clocks need not agree
        first = lease_of(api, namespace, "first", first_clock)
        second = lease_of(api, namespace, "second", second_clock)
        await first.attempt()
        await second.attempt()
        assert (first.holds, second.holds) == (True, False)
        second_clock.now += 14.9
        await second.attempt()
        assert not second.holds
        await first.attempt()  # a renewal begins the wait anew
        second_clock.now += 1
        await second.attempt()
        assert not second.holds
        second_clock.now += 15.1
        await second.attempt()
        assert second.holds
        assert second.term == first.term + 1
        await first.attempt()
        assert not first.holds
    finally:
        await api.close()


async def test_a_holder_stops_before_another_may_begin(cluster: Cluster, namespace: str) -> None:
    times = LeaseTimes()
    assert times.deadline_s < times.duration_s
    api = api_of(cluster)
    try:
        clock = Clock()
        lease = lease_of(api, namespace, "me", clock)
        await lease.attempt()
        clock.now += times.deadline_s - 0.1
        assert lease.holds
        clock.now += 0.2
        assert not lease.holds
        await lease.attempt()
        assert lease.holds
    finally:
        await api.close()


async def test_two_who_want_it_at_once_do_not_both_get_it(cluster: Cluster, namespace: str) -> None:
    api = api_of(cluster)
    try:
        clock = Clock()
        many = [lease_of(api, namespace, f"n{number}", clock) for number in range(8)]
        await asyncio.gather(*(each.attempt() for each in many))
        assert sum(each.holds for each in many) == 1
        await asyncio.gather(*(each.attempt() for each in many if not each.holds))
        clock.now += 16
        await asyncio.gather(*(each.attempt() for each in many))
        assert sum(each.holds for each in many) <= 1
    finally:
        await api.close()


async def test_a_new_process_in_the_same_pod_takes_it_back_at_once_in_a_new_term(
    cluster: Cluster, namespace: str
) -> None:
    api = api_of(cluster)
    try:
        old = lease_of(api, namespace, "pod-a_1", Clock(), "pod-a")
        await old.attempt()
        new = lease_of(api, namespace, "pod-a_2", Clock(), "pod-a")
        await new.attempt()
        assert new.holds
        assert new.term == old.term + 1
        stranger = lease_of(api, namespace, "pod-b_1", Clock(), "pod-b")
        await stranger.attempt()
        assert not stranger.holds
    finally:
        await api.close()


async def test_a_lease_that_was_given_back_is_free(cluster: Cluster, namespace: str) -> None:
    api = api_of(cluster)
    try:
        first = lease_of(api, namespace, "first", Clock())
        await first.attempt()
        await first.release()
        assert not first.holds
        second = lease_of(api, namespace, "second", Clock())
        await second.attempt()
        assert second.holds
        await first.release()  # not its own any more
        assert await term_written(api, namespace) == second.term
    finally:
        await api.close()


async def test_a_term_rises_above_what_is_written_elsewhere(
    cluster: Cluster, namespace: str
) -> None:
    api = api_of(cluster)
    try:
        lease = lease_of(api, namespace, "me", Clock())
        await lease.attempt()
        lease.rise_above(41)
        await lease.attempt()
        assert lease.term == 42
        assert await term_written(api, namespace) == 42
    finally:
        await api.close()


def test_one_operator_alone_goes_on_in_the_term_that_is_written() -> None:
    nobody = NoLease()
    nobody.rise_above(3)
    assert nobody.holds
    assert nobody.term == 3
