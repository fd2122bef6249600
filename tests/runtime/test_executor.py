import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from everfly.core.effects import (
    Accepted,
    Answer,
    Ask,
    Crash,
    Explain,
    Notify,
    PauseWrites,
    Persist,
    Reconfigure,
    ReconfigureClients,
    ResumeWrites,
    SendHello,
    SendPing,
    TakeOver,
    Vote,
)
from everfly.core.inputs import HelloSent, Reconfigured, TakeOverAnswered
from everfly.core.model import Address, Epoch, GroupName, Hello, LinkId, Millis, RunId, Token
from everfly.core.notices import Event, Notice
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState, GroupState
from everfly.runtime.executor import GATHER_S, RETRY_MIN_S, WAITING_MAX, Executor, Outlets
from shell_doubles import ME, Disk, RecordedLinks, RecordedRequests, turns

LINK = LinkId(1)
GROUP = GroupName("g")
PRIMARY = Address("127.0.0.1", 6379)
HELLO = Hello(
    Address("127.0.0.1", 1), RunId("b" * 40), Epoch(0), GROUP, PRIMARY, Epoch(0)
)  # fmt: skip
SAVE, SAVE_SOMETIME = Persist(is_urgent=True), Persist(is_urgent=False)


def answer(token: int) -> Answer:
    return Answer(Token(token), Accepted())


def state_with(config_epoch: int) -> DurableState:
    settings = GroupSettings(1, Millis(1000), Millis(1000))
    group = GroupState(GROUP, PRIMARY, settings, config_epoch=Epoch(config_epoch))
    return DurableState(ME, groups=(group,))


@dataclass
class Bench:
    executor: Executor
    links: RecordedLinks
    requests: RecordedRequests
    disk: Disk
    notices: list[Notice]
    ends: list[object]

    def do(self, *effects: object) -> None:
        self.executor.execute(list(effects))  # type: ignore[arg-type]
        self.executor.end_turn()

    @property
    def sent(self) -> list[object]:
        return [name for name, *_ in self.links.sent]

    def on_notice(self, notice: Notice) -> None:
        self.notices.append(notice)


@contextlib.asynccontextmanager
async def bench(state: DurableState | None = None) -> AsyncIterator[Bench]:
    links, requests, disk = RecordedLinks(), RecordedRequests(), Disk()
    if state is not None:
        requests.state = state
    ends: list[object] = []
    notices: list[Notice] = []

    class Sink:
        def on_notice(self, notice: Notice) -> None:
            notices.append(notice)

    outlets = Outlets(disk, (Sink(),), ends.append, lambda: ends.append("crash"))
    executor = Executor(links, requests, outlets)
    running = asyncio.ensure_future(executor.run())
    try:
        yield Bench(executor, links, requests, disk, notices, ends)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_must_be_durable_waits_for_the_disk_and_the_rest_does_not() -> None:
    async with bench() as it:
        it.disk.is_slow = True
        it.do(SAVE, SendHello(LINK, HELLO), SendPing(LINK), answer(1))
        await it.disk.begun()
        assert it.sent == ["ping"]
        assert it.requests.answers == {}
        it.disk.finish()
        await turns()
        assert it.sent == ["ping", "hello"]
        assert it.requests.answers == {1: Accepted()}


async def test_without_a_write_everything_starts_at_once_in_order() -> None:
    async with bench() as it:
        it.do(answer(1), SendHello(LINK, HELLO), Ask(LINK, GROUP, PRIMARY, Epoch(1), ME))
        assert it.sent == ["hello", "ask"]
        assert it.requests.answers == {1: Accepted()}


async def test_the_write_holds_what_was_decided_later_in_the_same_turn() -> None:
    async with bench() as it:
        it.executor.execute([SAVE])
        it.requests.state = state_with(7)
        it.executor.execute([SAVE, answer(1)])
        it.executor.end_turn()
        await turns()
        assert it.disk.written == [state_with(7)]
        assert it.requests.answers == {1: Accepted()}


async def test_writes_that_come_while_one_is_in_flight_become_one() -> None:
    async with bench() as it:
        it.disk.is_slow = True
        it.do(SAVE, answer(0))
        await it.disk.begun()
        for number in range(1, 20):
            it.do(SAVE, answer(number))
        it.disk.finish()
        await it.disk.begun()
        assert it.requests.answers == {0: Accepted()}
        it.disk.finish()
        await turns()
        assert len(it.disk.written) == 2
        assert set(it.requests.answers) == set(range(20))


@pytest.mark.looptime
async def test_nothing_waits_for_a_write_that_is_not_urgent_and_it_comes_in_time() -> None:
    async with bench() as it:
        it.do(SAVE_SOMETIME, SendHello(LINK, HELLO), answer(1))
        assert it.sent == ["hello"]
        assert it.requests.answers == {1: Accepted()}
        await asyncio.sleep(GATHER_S * 0.9)
        it.do(SAVE_SOMETIME)
        assert it.disk.written == []
        await asyncio.sleep(GATHER_S * 0.2)
        assert len(it.disk.written) == 1
        await asyncio.sleep(10 * GATHER_S)
        assert len(it.disk.written) == 1


@pytest.mark.looptime
async def test_a_write_that_is_not_urgent_goes_with_the_next_urgent_one() -> None:
    async with bench() as it:
        it.do(SAVE_SOMETIME)
        it.do(SAVE)
        await asyncio.sleep(10 * GATHER_S)
        assert len(it.disk.written) == 1


@pytest.mark.looptime
async def test_a_failed_write_refuses_requests_keeps_hellos_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench() as it:
        it.disk.failure = "No space left on device"
        it.do(SAVE, SendHello(LINK, HELLO), answer(1))
        await turns()
        assert it.requests.answers == {1: "No space left on device"}
        assert it.sent == []
        expected = (
            "WARNING: Sentinel was not able to save the new configuration on disk!!!: "
            "No space left on device"
        )
        assert [
            record.message for record in caplog.records if record.levelno >= logging.WARNING
        ] == [expected]
        it.disk.failure = ""
        await asyncio.sleep(RETRY_MIN_S * 1.1)
        assert it.sent == ["hello"]
        assert len(it.disk.written) == 1


async def test_a_vote_waits_for_the_disk_but_what_we_see_does_not() -> None:
    async with bench() as it:
        it.disk.failure = "No space left on device"
        seen = Vote(is_down=True, leader=None, leader_epoch=Epoch(0))
        vote = Vote(is_down=True, leader=ME, leader_epoch=Epoch(3))
        it.do(SAVE, Answer(Token(1), vote), Answer(Token(2), seen))
        assert it.requests.answers == {2: seen}
        await turns()
        assert it.requests.answers == {2: seen, 1: "No space left on device"}
        it.do(Answer(Token(3), seen))
        assert it.requests.answers[Token(3)] == seen


@pytest.mark.looptime
async def test_retries_of_a_failing_disk_become_rare() -> None:
    async with bench() as it:
        it.disk.failure = "Input/output error"
        it.do(SAVE)
        await asyncio.sleep(600)
        assert 20 < it.executor.write_failures < 35


@pytest.mark.looptime
async def test_while_the_disk_fails_requests_are_refused_at_once_and_changes_are_tried() -> None:
    async with bench() as it:
        it.disk.failure = "Read-only file system"
        it.do(SAVE, answer(1))
        await turns()
        it.do(answer(2))
        assert it.requests.answers == {1: "Read-only file system", 2: "Read-only file system"}
        it.disk.failure = ""
        it.do(SAVE, answer(3))
        await turns()
        assert it.requests.answers[Token(3)] == Accepted()


async def test_too_many_waiting_hellos_are_shed_and_answered() -> None:
    async with bench() as it:
        it.disk.is_slow = True
        it.do(SAVE, answer(1))
        await it.disk.begun()
        for number in range(WAITING_MAX + 10):
            it.do(SendHello(LinkId(number), HELLO))
        assert it.executor.waiting <= WAITING_MAX
        assert it.requests.facts[0] == HelloSent(LinkId(0))
        assert len(it.requests.facts) == it.executor.shed == WAITING_MAX - 1
        it.disk.finish()
        await turns()
        assert it.requests.answers == {1: Accepted()}
        assert it.links.sent[-1] == ("hello", WAITING_MAX + 9)


async def test_an_order_of_an_older_epoch_than_the_saved_one_is_not_sent() -> None:
    def order(epoch: int) -> Reconfigure:
        return Reconfigure(LINK, GROUP, PRIMARY, None, Epoch(epoch))

    async with bench(state_with(5)) as it:
        it.do(order(5), order(6))
        assert it.sent == ["reconfigure", "reconfigure"]
        it.do(order(4))
        assert it.sent == ["reconfigure", "reconfigure"]
        (fact,) = it.requests.facts
        assert isinstance(fact, Reconfigured)
        assert fact.error is not None
        assert "epoch 4 is older than 5" in fact.error
        # An order that waits for the disk meets the epoch that is saved meanwhile.
        it.requests.state = state_with(9)
        it.do(SAVE, order(8))
        await turns()
        assert it.sent == ["reconfigure", "reconfigure"]


async def test_a_take_over_of_an_older_epoch_than_the_saved_one_is_not_sent() -> None:
    def order(epoch: int) -> TakeOver:
        return TakeOver(LINK, GROUP, PRIMARY, Epoch(epoch), Millis(5_000))

    async with bench(state_with(5)) as it:
        it.do(order(5))
        assert it.sent == ["take over"]
        it.do(order(4))
        assert it.sent == ["take over"]
        (fact,) = it.requests.facts
        assert isinstance(fact, TakeOverAnswered)
        assert fact.link == LINK
        assert fact.error is not None
        assert "epoch 4 is older than 5" in fact.error


async def test_clients_wait_and_write_again_only_once_the_epoch_is_on_disk_and_in_order() -> None:
    async with bench() as it:
        it.disk.is_slow = True
        follow = Reconfigure(LINK, GROUP, PRIMARY, PRIMARY, Epoch(1))
        it.do(SAVE, PauseWrites(LINK, Millis(6_000)))
        it.do(follow, ResumeWrites(LINK))
        await it.disk.begun()
        assert it.sent == []
        it.disk.finish()
        await turns()
        assert it.links.sent == [
            ("pause", LINK, Millis(6_000)),
            ("reconfigure", LINK),
            ("resume", LINK),
        ]


async def test_the_end_writes_what_was_gathered() -> None:
    async with bench() as it:
        it.do(SAVE_SOMETIME)
        async with asyncio.timeout(1):
            assert await it.executor.flush()
        assert len(it.disk.written) == 1
        assert await it.executor.flush()
        assert len(it.disk.written) == 1


async def test_the_end_tells_that_the_last_write_failed() -> None:
    async with bench() as it:
        it.disk.failure = "Input/output error"
        it.do(SAVE_SOMETIME)
        async with asyncio.timeout(1):
            assert not await it.executor.flush()


async def test_a_crash_and_the_scripts_of_clients_wait_for_the_disk() -> None:
    async with bench() as it:
        it.disk.is_slow = True
        move = ReconfigureClients(GROUP, is_leader=True, old=PRIMARY, new=PRIMARY)
        it.do(SAVE, move, Crash())
        await it.disk.begun()
        assert it.ends == []
        it.disk.finish()
        await turns()
        assert it.ends == [move, "crash"]


async def test_notices_are_told_at_once_and_reasons_are_kept() -> None:
    async with bench() as it:
        it.disk.is_slow = True
        notice = Notice(Event.TILT, None, None, "#tilt mode entered")
        why = Explain(GROUP, "stand", ("it is my turn",))
        it.do(SAVE, Notify(notice), why)
        assert it.notices == [notice]
        assert [kept for _, kept in it.executor.history] == [why]
        await it.disk.begun()
        it.disk.finish()
        await turns()
