"""The choice of a new primary: who may be chosen, and who is preferred."""

from dataclasses import dataclass, replace
from functools import cmp_to_key

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everfly.core.candidate import choose, why_unfit
from everfly.core.model import Address, GroupName, InstanceReport, Instant, LinkId, Millis, Role
from everfly.core.policy import GroupSettings, Policy
from everfly.core.records import Group, Instance

NOW = Instant(100_000)
POLICY = Policy()
RUN_IDS = st.sampled_from(["", *("0123456789abcdefABCDEF"[i] * 4 for i in range(22))])


def group() -> Group:
    made = Group(GroupName("cache"), GroupSettings(2, Millis(1_000), Millis(60_000)))
    made.primary = Instance(made, Address("10.0.0.1", 6379), Role.PRIMARY, Instant(0))
    made.primary.s_down_since = Instant(99_000)
    made.primary.commands.ok_pong_at = Instant(98_000)
    return made


def add_replica(to: Group, port: int, report: InstanceReport, run_id: str = "") -> Instance:
    """Add a replica that may be promoted."""
    replica = Instance(to, Address("10.0.0.2", port), Role.REPLICA, Instant(0))
    for number, link in enumerate((replica.commands, replica.channel)):
        link.id = LinkId(2 * port + number)
        link.is_up = True
        link.ok_pong_at = NOW
    replica.commands.owes_since = None
    replica.info_at = NOW
    replica.report = report
    replica.run_id = run_id
    to.replicas[replica.address] = replica
    return replica


@dataclass(frozen=True)
class Traits:
    """What a replica's rank depends on."""

    priority: int
    offset: int | None
    run_id: str


TRAITS = st.builds(Traits, st.integers(0, 3), st.one_of(st.none(), st.integers(0, 3)), RUN_IDS)


def genuine_order(a: Traits, b: Traits) -> int:
    """Compare as `compareSlavesForPromotion` of redis/src/sentinel.c (7.0.15) does."""
    if a.priority != b.priority:
        return a.priority - b.priority
    if (a.offset or 0) != (b.offset or 0):
        return -1 if (a.offset or 0) > (b.offset or 0) else 1
    if not a.run_id and not b.run_id:
        return 0
    if not a.run_id:
        return 1
    if not b.run_id:
        return -1
    x, y = a.run_id.lower(), b.run_id.lower()
    return (x > y) - (x < y)


@given(st.lists(TRAITS, max_size=8))
def test_the_best_is_the_one_that_genuine_sentinels_would_choose(replicas: list[Traits]) -> None:
    of = group()
    made: dict[Address, Traits] = {}
    for port, traits in enumerate(replicas, 7000):
        report = InstanceReport(role=Role.REPLICA, priority=traits.priority, offset=traits.offset)
        made[add_replica(of, port, report, traits.run_id).address] = traits
    best = choose(of, NOW, POLICY).best
    eligible = [traits for traits in replicas if traits.priority != 0]
    if not eligible:
        assert best is None
        return
    assert best is not None
    first = min(eligible, key=cmp_to_key(genuine_order))
    assert genuine_order(made[best.address], first) == 0


@given(st.lists(TRAITS, max_size=8))
def test_every_replica_gets_a_line_the_fit_ones_in_order_first(replicas: list[Traits]) -> None:
    of = group()
    for port, traits in enumerate(replicas, 7000):
        add_replica(of, port, InstanceReport(priority=traits.priority, offset=traits.offset))
    choice = choose(of, NOW, POLICY)
    kinds = [fact.split(" ", 1)[1].split(":")[0] for fact in choice.facts]
    fit = sum(traits.priority != 0 for traits in replicas)
    assert kinds == ["chosen"] * (fit > 0) + ["fit"] * (fit - 1) + ["rejected"] * (
        len(replicas) - fit
    )
    assert len({fact.split(" ")[0] for fact in choice.facts}) == len(replicas)
    if choice.best is not None:
        assert choice.facts[0].startswith(str(choice.best.address))


@pytest.mark.parametrize("since", [None, 0, 5_000])
def test_a_good_pong_may_be_five_ping_periods_old(since: int | None) -> None:
    replica = add_replica(group(), 7000, InstanceReport(role=Role.REPLICA))
    replica.commands.ok_pong_at = Instant(NOW - (since or 0))
    assert why_unfit(replica, NOW, POLICY) is None
    replica.commands.ok_pong_at = Instant(NOW - 5_001)
    assert why_unfit(replica, NOW, POLICY) == "last good PONG 5001 ms ago (limit 5000 ms)"


@pytest.mark.parametrize(("is_down", "limit"), [(True, 5_000), (False, 30_000)])
def test_info_may_be_older_while_the_primary_is_up(is_down: bool, limit: int) -> None:
    of = group()
    if not is_down:
        of.primary.s_down_since = None
    replica = add_replica(of, 7000, InstanceReport(role=Role.REPLICA))
    replica.info_at = Instant(NOW - limit)
    assert why_unfit(replica, NOW, POLICY) is None
    replica.info_at = Instant(NOW - limit - 1)
    assert why_unfit(replica, NOW, POLICY) == f"no INFO within {limit} ms"


def test_a_replica_that_was_never_heard_is_not_promoted() -> None:
    replica = add_replica(group(), 7000, InstanceReport())
    replica.info_at = None
    assert why_unfit(replica, NOW, POLICY) == "no INFO within 5000 ms"


def test_a_link_down_time_is_measured_from_when_the_primary_was_last_seen() -> None:
    # 10 x down-after before the last PONG at 98 s.
    report = InstanceReport(role=Role.REPLICA, primary_link_down_for=Millis(12_000))
    replica = add_replica(group(), 7000, report)
    assert why_unfit(replica, NOW, POLICY) is None
    replica.report = replace(report, primary_link_down_for=Millis(12_001))
    assert why_unfit(replica, NOW, POLICY) == ("without its primary for 12001 ms (limit 12000 ms)")


@pytest.mark.parametrize("which", ["commands", "channel"])
def test_a_replica_needs_both_links(which: str) -> None:
    replica = add_replica(group(), 7000, InstanceReport(role=Role.REPLICA))
    (replica.commands if which == "commands" else replica.channel).is_up = False
    assert why_unfit(replica, NOW, POLICY) == "not connected"


def test_a_replica_that_is_down_is_not_promoted() -> None:
    replica = add_replica(group(), 7000, InstanceReport(role=Role.REPLICA))
    replica.s_down_since = Instant(NOW - 5)
    assert why_unfit(replica, NOW, POLICY) == "subjectively down for 5 ms"


def test_announced_or_not_is_no_filter() -> None:
    replica = add_replica(group(), 7000, InstanceReport(role=Role.REPLICA, is_announced=False))
    assert why_unfit(replica, NOW, POLICY) is None
