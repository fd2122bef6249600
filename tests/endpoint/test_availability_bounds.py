"""Whether a group can be used, and why not, for load balancers: from values alone."""

import pytest

from everfly.core.model import Address, InstanceReport, Role
from everfly.endpoint.availability import Bound, Traffic, availability, parse_bound
from everfly.observe.picture import GroupPicture, InstanceView

P, R1, R2 = (Address("10.0.0.1", port) for port in (1, 2, 3))
OPEN = Traffic("open", str(P), "")


def replica(at: Address, lag: int | None, silent_s: int | None = 0) -> InstanceView:
    report = InstanceReport(role=Role.REPLICA, primary=P, primary_link_up=True)
    return InstanceView(address=at, report=report, lag=lag, silent_s=silent_s)


def picture(*replicas: InstanceView) -> GroupPicture:
    primary = InstanceView(address=P, report=InstanceReport(role=Role.PRIMARY))
    return GroupPicture(group="g", instances=(primary, *replicas))


@pytest.mark.parametrize(
    ("text", "bound"),
    [("0", Bound(0, False)), ("4096", Bound(4096, False)), ("5ms", Bound(5, True))],
)
def test_a_bound_is_bytes_or_a_time(text: str, bound: Bound) -> None:
    assert parse_bound(text) == bound


@pytest.mark.parametrize("text", ["", "-1", "1s", "1e3", "9" * 16, "ms", "\u0663"])
def test_another_bound_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lag must be"):
        parse_bound(text)


@pytest.mark.parametrize(
    ("traffic", "code"),
    [
        (OPEN, "ok"),
        (Traffic("open", "", "nobody"), "no-primary"),
        (Traffic("no-primary", str(P), ""), "no-primary"),
        (Traffic("holding", str(P), ""), "holding"),
    ],
)
def test_without_a_bound_it_is_whether_commands_are_answered(traffic: Traffic, code: str) -> None:
    found = availability(traffic, None, None)
    assert found.code == code
    assert found.is_available == (code == "ok")


@pytest.mark.parametrize(
    ("replicas", "bound", "code"),
    [
        ((replica(R1, 10), replica(R2, 5_000)), Bound(10, False), "ok"),
        ((replica(R1, 11), replica(R2, 5_000)), Bound(10, False), "lag"),
        ((), Bound(10, False), "no-replica"),
        ((replica(R1, None),), Bound(10, False), "unknown"),
        ((replica(R1, None, 1),), Bound(1_000, True), "ok"),
        ((replica(R1, None, 1),), Bound(999, True), "lag"),
        ((InstanceView(address=R1, error="gone"),), Bound(10, False), "no-replica"),
    ],
)
def test_with_a_bound_the_nearest_replica_counts(
    replicas: tuple[InstanceView, ...], bound: Bound, code: str
) -> None:
    found = availability(OPEN, picture(*replicas), bound)
    assert found.code == code
    assert found.is_available == (code == "ok")
    assert found.reason


def test_with_a_bound_and_nothing_seen_yet_nobody_knows() -> None:
    assert availability(OPEN, None, Bound(1, False)).code == "unknown"
