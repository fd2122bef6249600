import asyncio
import contextlib
import selectors
import socket
from collections.abc import Callable
from functools import partial

import pytest

from everfly.core.effects import Accepted, Effect, SendPing
from everfly.core.inputs import (
    ChannelHeard,
    FlushRequested,
    HelloHeard,
    Input,
    Ponged,
    TimerExpired,
)
from everfly.core.model import Address, Epoch, GroupName, Hello, Instant, LinkId, RunId, Token
from everfly.errors import LocalError, Unavailable
from everfly.runtime.driver import LATE_MS, QUEUE_MAX, Driver
from shell_doubles import RecordedEffects, ScriptedMachine, turns

LINK = LinkId(1)
HELLO = Hello(
    Address("127.0.0.1", 1), RunId("b" * 40), Epoch(0), GroupName("g"),
    Address("127.0.0.1", 2), Epoch(0),
)  # fmt: skip


def loop_clock() -> Instant:
    return Instant(int(asyncio.get_running_loop().time() * 1000))


async def test_facts_are_decided_in_the_order_in_which_they_came_and_sent_in_one_turn() -> None:
    machine = ScriptedMachine(decide=lambda _: [SendPing(LINK)])
    driver, effects = Driver(machine), RecordedEffects()
    driver.start(effects)
    before = effects.turns
    facts = [Ponged(LinkId(number), "PONG") for number in range(50)]
    for fact in facts:
        driver.submit(fact)
    await turns()
    assert machine.facts == facts
    assert effects.done == [SendPing(LINK)] * 50
    assert effects.turns == before + 1
    driver.stop()


async def test_facts_that_come_before_the_start_are_decided_on_after_it() -> None:
    machine = ScriptedMachine(first=[SendPing(LINK)])
    driver, effects = Driver(machine), RecordedEffects()
    driver.submit(ChannelHeard(LINK))
    await turns()
    assert machine.facts == []
    driver.start(effects)
    await turns()
    assert (effects.done, machine.facts) == ([SendPing(LINK)], [ChannelHeard(LINK)])
    driver.stop()


@pytest.mark.looptime
async def test_the_timer_fires_at_the_deadline_and_not_before() -> None:
    machine = ScriptedMachine(deadline=Instant(500))

    def decide(_: Input) -> list[Effect]:
        machine.deadline = Instant(1700) if len(machine.steps) == 1 else None
        return []

    machine.decide = decide
    driver = Driver(machine, clock=loop_clock)
    driver.start(RecordedEffects())
    await asyncio.sleep(5)
    assert machine.steps == [(500, TimerExpired()), (1700, TimerExpired())]
    driver.stop()


@pytest.mark.looptime
async def test_a_deadline_that_moved_away_is_not_told_early() -> None:
    machine = ScriptedMachine(deadline=Instant(100))

    def decide(fact: Input) -> list[Effect]:
        machine.deadline = Instant(900) if isinstance(fact, ChannelHeard) else None
        return []

    machine.decide = decide
    driver = Driver(machine, clock=loop_clock)
    driver.start(RecordedEffects())
    driver.submit(ChannelHeard(LINK))
    await asyncio.sleep(5)
    assert machine.steps == [(0, ChannelHeard(LINK)), (900, TimerExpired())]
    driver.stop()


@pytest.mark.looptime
async def test_a_deadline_that_moved_nearer_is_met() -> None:
    machine = ScriptedMachine(deadline=Instant(10_000))

    def decide(fact: Input) -> list[Effect]:
        machine.deadline = Instant(50) if isinstance(fact, ChannelHeard) else None
        return []

    machine.decide = decide
    driver = Driver(machine, clock=loop_clock)
    driver.start(RecordedEffects())
    driver.submit(ChannelHeard(LINK))
    await asyncio.sleep(1)
    assert machine.steps == [(0, ChannelHeard(LINK)), (50, TimerExpired())]
    driver.stop()


class StoppedInSelect(selectors.DefaultSelector):
    """Waits like the kernel for a process that is stopped (SIGSTOP) while it waits.

    When it goes on after its deadline the interrupted wait reports nothing, although sockets are
    readable: that is found by the next look only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stop_once: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.stop_once is None or timeout == 0:
            return super().select(timeout)
        stop, self.stop_once = self.stop_once, None
        stop()
        return []


def test_what_arrived_while_we_slept_is_decided_on_before_the_timer() -> None:
    selector = StoppedInSelect()
    # Not a Runner: it would take away the loop that pytest-asyncio keeps for its own use.
    loop = asyncio.SelectorEventLoop(selector)
    with contextlib.closing(loop):
        loop.run_until_complete(_sleep_over_a_deadline(selector))


async def _sleep_over_a_deadline(selector: StoppedInSelect) -> None:
    loop = asyncio.get_running_loop()
    slept_ms = 0

    def clock() -> Instant:
        return Instant(loop_clock() + slept_ms)

    machine = ScriptedMachine(deadline=Instant(clock() + 20))
    done = asyncio.Event()

    def decide(fact: Input) -> list[Effect]:
        if isinstance(fact, TimerExpired):
            machine.deadline = None
            done.set()
        return []

    machine.decide = decide
    driver = Driver(machine, clock=clock)
    ours, theirs = socket.socketpair()
    with contextlib.closing(theirs):
        transport, _ = await loop.create_connection(lambda: Submitting(driver), sock=ours)

        def sleep() -> None:
            nonlocal slept_ms
            theirs.send(b"late\n")
            slept_ms = 20 + 10 * LATE_MS
            # The loop's own timer is due as well when the process goes on.
            end = loop.time() + 0.03
            while loop.time() < end:
                pass

        driver.start(RecordedEffects())
        selector.stop_once = sleep
        async with asyncio.timeout(5):
            await done.wait()
        assert machine.facts == [Ponged(LINK, "late"), TimerExpired()]
        driver.stop()
        transport.close()
        await asyncio.sleep(0)


class Submitting(asyncio.Protocol):
    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def data_received(self, data: bytes) -> None:
        self._driver.submit(Ponged(LINK, data.decode().strip()))


async def test_a_full_queue_drops_hellos_and_counts_them_but_never_requests() -> None:
    machine = ScriptedMachine()
    driver = Driver(machine)
    for _ in range(QUEUE_MAX + 5):
        driver.submit(HelloHeard(None, HELLO))
    driver.submit(ChannelHeard(LINK))
    asking = asyncio.ensure_future(driver.request(FlushRequested))
    driver.submit(Ponged(LINK, "PONG"))
    await turns()
    driver.start(RecordedEffects())
    await turns()
    assert driver.dropped == 6
    assert len(machine.facts) == QUEUE_MAX + 2
    assert {type(fact) for fact in machine.facts[QUEUE_MAX:]} == {FlushRequested, Ponged}
    driver.stop()
    with pytest.raises(Unavailable):
        await asking


async def test_a_request_returns_its_own_answer() -> None:
    machine = ScriptedMachine()
    driver = Driver(machine)
    driver.start(RecordedEffects())
    first = asyncio.ensure_future(driver.request(FlushRequested))
    second = asyncio.ensure_future(driver.request(FlushRequested))
    await turns()
    tokens = [fact.token for fact in machine.facts if isinstance(fact, FlushRequested)]
    driver.refuse(tokens[0], "disk full")
    driver.resolve(tokens[1], Accepted())
    assert await second == Accepted()
    with pytest.raises(Unavailable, match="disk full"):
        await first
    driver.stop()


async def test_the_answer_to_somebody_who_left_is_harmless() -> None:
    machine = ScriptedMachine()
    driver = Driver(machine)
    driver.start(RecordedEffects())
    asking = asyncio.ensure_future(driver.request(FlushRequested))
    await turns()
    asking.cancel()
    await turns()
    driver.resolve(Token(1), Accepted())
    assert asking.cancelled()
    driver.stop()


async def test_a_fault_in_a_step_ends_everything_and_says_on_which_fact(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = ScriptedMachine()

    def decide(fact: Input) -> list[Effect]:
        if fact == Ponged(LINK, "bad"):
            raise ZeroDivisionError
        return []

    machine.decide = decide
    driver = Driver(machine)
    driver.start(RecordedEffects())
    running = asyncio.ensure_future(driver.run())
    asking = asyncio.ensure_future(driver.request(FlushRequested))
    await turns()
    driver.submit(Ponged(LINK, "bad"))
    driver.submit(Ponged(LINK, "after"))
    with pytest.raises(LocalError, match=r"Ponged.*bad"):
        await running
    with pytest.raises(Unavailable):
        await asking
    with pytest.raises(Unavailable):
        await driver.request(FlushRequested)
    assert Ponged(LINK, "after") not in machine.facts
    assert "ZeroDivisionError" in caplog.text


async def test_stop_ends_run_and_decides_no_more() -> None:
    machine = ScriptedMachine(deadline=Instant(0))

    def decide(_: Input) -> list[Effect]:
        machine.deadline = None
        return []

    machine.decide = decide
    driver = Driver(machine, clock=partial(Instant, 1))
    driver.start(RecordedEffects())
    await turns()
    decided = len(machine.steps)
    driver.stop()
    async with asyncio.timeout(1):
        await driver.run()
    driver.submit(ChannelHeard(LINK))
    await turns()
    assert len(machine.steps) == decided == 1
