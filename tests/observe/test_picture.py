from dataclasses import replace

from everfly.core.model import Address, InstanceReport, Role
from everfly.observe.picture import (
    GroupPicture,
    InstanceView,
    KnownInstance,
    SentinelView,
    majority,
)

A, B, C = (Address("10.0.0.1", 7000 + number) for number in range(3))
SENTINELS = tuple(Address("10.0.0.9", 26379 + number) for number in range(3))


def sentinel(number: int, primary: Address = A) -> SentinelView:
    return SentinelView(
        address=SENTINELS[number],
        run_id=f"{number:040x}",
        primary=KnownInstance(address=primary, flags=frozenset({"master"})),
        client_address=primary,
        replicas=tuple(KnownInstance(address=each) for each in (A, B, C) if each != primary),
        peers=tuple(each for each in SENTINELS if each != SENTINELS[number]),
        quorum=2,
    )


def replica(address: Address, primary: Address = A) -> InstanceView:
    report = InstanceReport(role=Role.REPLICA, primary=primary, primary_link_up=True)
    return InstanceView(address=address, report=report)


HEALTHY = GroupPicture(
    group="g",
    sentinels=tuple(sentinel(number) for number in range(3)),
    instances=(
        InstanceView(address=A, report=InstanceReport(role=Role.PRIMARY)),
        replica(B),
        replica(C),
    ),
)


def with_sentinel(number: int, **changes: object) -> GroupPicture:
    views = list(HEALTHY.sentinels)
    views[number] = replace(views[number], **changes)  # type: ignore[arg-type]  # its fields
    return replace(HEALTHY, sentinels=tuple(views))


def with_instance(number: int, view: InstanceView) -> GroupPicture:
    views = list(HEALTHY.instances)
    views[number] = view
    return replace(HEALTHY, instances=tuple(views))


def test_a_group_without_faults_is_healthy() -> None:
    assert HEALTHY.problems == ()
    assert HEALTHY.is_healthy
    assert HEALTHY.primary == A


def test_the_primary_is_whom_more_than_half_of_all_name() -> None:
    assert majority([A, A, B]) == A
    assert majority([A, None, None]) is None
    assert majority([A, B]) is None
    assert majority([]) is None


def test_a_silent_sentinel_counts_against_a_majority() -> None:
    picture = with_sentinel(0, client_address=None, error="timed out")
    assert picture.primary == A
    assert picture.problems == (f"the Sentinel {SENTINELS[0]} does not answer: timed out",)


def test_no_sentinel_at_all_is_one_problem() -> None:
    silent = tuple(SentinelView(address=each, error="refused") for each in SENTINELS)
    picture = replace(HEALTHY, sentinels=silent)
    assert not picture.is_reachable
    assert len(picture.problems) == 1
    assert "no Sentinel answers" in picture.problems[0]


def test_a_replica_without_its_primary_is_a_problem() -> None:
    down = replace(replica(B), report=replace(replica(B).report, primary_link_up=False))
    assert with_instance(1, down).problems == (f"the replica {B} has no link to its primary",)


def test_a_replica_of_somebody_else_is_a_problem() -> None:
    assert with_instance(1, replica(B, C)).problems == (f"the replica {B} follows {C}",)


def test_a_second_primary_is_a_problem_unless_it_is_being_promoted() -> None:
    second = InstanceView(address=B, report=InstanceReport(role=Role.PRIMARY))
    assert with_instance(1, second).problems == (f"{B} says that it is a primary too",)
    promoted = replace(second, flags=frozenset({"promoted"}))
    assert with_instance(1, promoted).problems == ()


def test_a_primary_without_any_replica_in_sync_is_a_problem() -> None:
    alone = replace(HEALTHY, instances=HEALTHY.instances[:1])
    assert alone.problems == ("no replica is in sync: there is nobody to fail over to",)


def test_a_primary_that_is_called_down_is_a_problem_with_its_weight() -> None:
    down = KnownInstance(address=A, flags=frozenset({"master", "s_down", "o_down"}))
    picture = with_sentinel(1, primary=down, failover_state="wait_promotion")
    assert picture.problems == (
        "1 of 3 Sentinels call the primary down, enough to fail over",
        "a failover is running (wait_promotion)",
    )


def test_a_sentinel_that_answers_another_address_is_a_problem() -> None:
    picture = with_sentinel(2, client_address=B)
    assert picture.problems == (f"the Sentinel {SENTINELS[2]} still answers {B}",)


def test_a_lost_quorum_is_a_problem_in_the_words_of_the_sentinel() -> None:
    picture = with_sentinel(0, quorum_trouble="NOQUORUM 1 usable Sentinels.")
    assert "NOQUORUM" in picture.problems[0]


def test_an_unreachable_primary_is_the_first_problem() -> None:
    picture = with_instance(0, InstanceView(address=A, error="Connection refused"))
    assert picture.problems[0] == f"the primary {A} does not answer: Connection refused"
