"""A failing disk, a genuine Sentinel, an endpoint, the ledger: they do what they are models of."""

from dataclasses import replace

import pytest

from everfly.core.effects import Accepted, Answer, Effect, SendHello, SendPing, Vote
from everfly.core.model import Address, Epoch, GroupName, Hello, LinkId, RunId, Token
from everfly.core.snapshot import DurableState
from everfly.sim.cluster import ENDPOINT, GROUP, Deployment, Shape
from everfly.sim.disk import RETRY_MS_MIN, WAITING_MAX, Disk, Outlets
from everfly.sim.endings import failover_bound
from everfly.sim.faults import Fault
from everfly.sim.genuine import SimGenuine
from everfly.sim.ledger import Ledger
from everfly.sim.mischief import Mischief
from everfly.sim.operators_hand import Operator
from everfly.sim.run import Plan, run_plan
from everfly.sim.world import World
from sim.sim_bench import Bench

ME = RunId("a" * 40)
HELLO = Hello(Address("10.0.0.2", 26379), ME, Epoch(1), GROUP, Address("10.0.0.1", 6379), Epoch(1))


class Writer:
    """A process with a disk."""

    def __init__(self) -> None:
        self.world = World(1)
        self.state = DurableState(ME)
        self.started: list[Effect] = []
        self.refused: list[Effect] = []
        self.disk = Disk(self.world, self.world.dice("disk"), self.state, (10, 10))
        self.disk.open(
            Outlets(lambda: self.state, self.started.append, self.refused.append, lambda do: do())
        )

    def decide(self, *effects: Effect) -> None:
        self.state = replace(self.state, current_epoch=Epoch(self.state.current_epoch + 1))
        self.disk.persist(is_urgent=True)
        for effect in effects:
            if not self.disk.holds(effect):
                self.started.append(effect)
        self.disk.end_turn()

    def wait(self, ms: int) -> None:
        self.world.run_until(self.world.now + ms)


VOTE = Answer(Token(1), Vote(is_down=True, leader=ME, leader_epoch=Epoch(1)))
OPINION = Answer(Token(2), Vote(is_down=True, leader=None, leader_epoch=Epoch(0)))
DONE = Answer(Token(3), Accepted())
GREETING = SendHello(LinkId(1), HELLO)
PING = SendPing(LinkId(1))


def test_a_vote_and_a_hello_wait_for_the_disk_and_nothing_else_does() -> None:
    writer = Writer()
    writer.decide(VOTE, GREETING, PING, OPINION)
    assert writer.started == [PING, OPINION]
    writer.wait(20)
    assert writer.started == [PING, OPINION, VOTE, GREETING]
    assert writer.disk.content == writer.state


def test_a_failed_write_refuses_votes_keeps_hellos_and_is_tried_again() -> None:
    writer = Writer()
    writer.disk.fails_until = 100
    writer.decide(VOTE, GREETING)
    writer.wait(20)
    assert writer.refused == [VOTE]
    assert writer.started == []
    # The disk has just refused this; it is not even asked to wait.
    assert writer.disk.holds(DONE)
    assert writer.refused == [VOTE, DONE]
    writer.wait(RETRY_MS_MIN + 20)
    assert writer.started == [GREETING]
    assert (writer.disk.writes, writer.disk.failures) == (1, 1)


def test_a_crash_leaves_the_old_state_or_the_new_one_whichever_was_on_disk() -> None:
    seen = set()
    for seed in range(30):
        writer = Writer()
        writer.disk.dice.seed(seed)
        writer.decide(VOTE)
        writer.disk.crash()
        writer.wait(50)
        assert writer.started == []
        seen.add(writer.disk.content.current_epoch)
    assert seen == {0, 1}


def test_what_waits_for_a_broken_disk_is_bounded() -> None:
    writer = Writer()
    writer.disk.fails_until = 10**9
    writer.decide()
    for _ in range(3 * WAITING_MAX):
        assert writer.disk.holds(GREETING)
    assert writer.disk.waiting_max <= WAITING_MAX
    assert len(writer.refused) >= WAITING_MAX


GENUINE = Shape(sentinels=3, genuine=3, down_after=1_000, failover_timeout=2_000)


@pytest.mark.parametrize("seed", range(4))
def test_three_genuine_sentinels_replace_a_killed_primary_as_slowly_as_they_do(seed: int) -> None:
    plan = Plan(seed, GENUINE, (Fault(8_000, "kill", "primary", 60_000),), liveness_ms=0)
    outcome = run_plan(plan)
    switched = [mark.at - 8_000 for mark in outcome.trace if mark.what.startswith("+switch")]
    assert len(switched) == 3
    # Measured with 7.0.15 at these settings: the first after 2.2 to 2.4 s, the leader last,
    # after 3.2 to 3.5 s.
    assert 1_900 < switched[0] < 2_700
    assert 2_900 < switched[-1] < 3_900


@pytest.mark.parametrize("seed", range(4))
def test_a_genuine_sentinel_and_ours_elect_one_leader_together(seed: int) -> None:
    shape = replace(GENUINE, genuine=1 + seed % 2)
    outcome = run_plan(Plan(seed, shape, (Fault(8_000, "kill", "primary", 60_000),)))
    assert outcome.violations == ()
    switched = {mark.who for mark in outcome.trace if mark.what.startswith("+switch")}
    assert len(switched) == 3


def test_a_genuine_sentinel_lets_a_returned_primary_take_writes_for_seconds() -> None:
    shape = replace(GENUINE, has_clients=False)
    plan = Plan(1, shape, (Fault(8_000, "pause", "primary", 6_000),), 40_000, 0)
    outcome = run_plan(plan)
    demoted = [
        mark.at
        for mark in outcome.trace
        if mark.who == "instance:6379" and mark.what.startswith("SLAVEOF")
    ]
    # 8 s after its first INFO as a replica, and then the next INFO has to come.
    assert 14_000 + 8_000 < demoted[0] < 14_000 + 8_000 + 11_000


def test_a_genuine_sentinel_votes_once_an_epoch() -> None:
    deployment = Deployment(World(1), GENUINE)
    deployment.start()
    deployment.world.run_until(5_000)
    sentinel = next(iter(deployment.sentinels.values()))
    assert isinstance(sentinel, SimGenuine)
    assert sentinel.mind is not None
    primary = sentinel.mind.primary.address
    first = sentinel.mind.vote(primary, Epoch(5), RunId("b" * 40))
    second = sentinel.mind.vote(primary, Epoch(5), RunId("c" * 40))
    assert first.leader == second.leader == RunId("b" * 40)
    sentinel.crash()
    sentinel.start()
    assert sentinel.mind.vote(primary, Epoch(5), RunId("c" * 40)).leader is None


def test_an_endpoint_holds_writes_while_there_is_no_primary_and_loses_none() -> None:
    world = World(3)
    deployment = Deployment(world, Shape())
    mischief = Mischief(deployment, Operator(deployment))
    mischief.schedule(Fault(8_000, "kill", "primary", 60_000))
    deployment.start()
    world.run_until(7_900)
    endpoint = deployment.endpoint
    assert endpoint is not None
    before = endpoint.primary
    world.run_until(8_600)
    answers: list[tuple[int, str | None]] = []
    write_id = deployment.ledger.attempt("test")
    endpoint.write(write_id, lambda error: answers.append((world.now, error)))
    world.run_until(8_900)
    assert answers == []
    world.run_until(13_000)
    assert [error for _, error in answers] == [None]
    assert endpoint.primary != before
    assert endpoint.primary is not None
    assert write_id in deployment.instances[endpoint.primary].log
    assert endpoint.address == ENDPOINT


def ledger() -> tuple[Bench, Ledger]:
    bench = Bench()
    return bench, Ledger(bench.world)


def test_a_write_that_had_not_reached_the_promoted_replica_may_be_lost() -> None:
    bench, book = ledger()
    primary, replica = bench.group()
    write_id = book.attempt("client")
    book.take(write_id, primary)
    book.acknowledge(write_id)
    assert book.excuse(write_id) is None
    bench.wait(10)
    book.note_promotion(replica)
    assert "had not reached" in (book.excuse(write_id) or "")


def test_a_write_that_the_promoted_replica_had_may_not_be_lost() -> None:
    bench, book = ledger()
    primary, replica = bench.group()
    write_id = book.attempt("client")
    bench.write(primary, write_id)
    book.take(write_id, primary)
    book.acknowledge(write_id)
    bench.wait(10)
    book.note_promotion(replica)
    assert book.lost(set()) == [write_id]
    assert book.lost({write_id}) == []
    assert book.excuse(write_id) is None


def test_a_write_at_a_replaced_primary_may_be_lost() -> None:
    bench, book = ledger()
    primary, replica = bench.group()
    book.note_promotion(replica)
    bench.wait(10)
    write_id = book.attempt("client")
    book.take(write_id, primary)
    assert "beside" in (book.excuse(write_id) or "")
    other = book.attempt("client")
    book.take(other, replica)
    assert book.excuse(other) is None


def test_a_slow_world_has_more_time_for_a_failover() -> None:
    quick = failover_bound(Shape())
    assert quick < 6_000
    assert failover_bound(Shape(latency_ms=(0, 80), disk_ms=(20, 400))) > quick + 5_000
    assert GroupName("x") != GROUP
