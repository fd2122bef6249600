"""Orders to instances over a link: changes of role, take-overs, pauses of writes."""

import pytest

from everfly.core.effects import Reconfigure, TakeOver
from everfly.core.inputs import PauseAnswered, Reconfigured, TakeOverAnswered
from everfly.core.model import Address, Epoch, Millis
from link_bench import GROUP, HELLO, ONE, SETNAME, TWO, LinkSettings, bench
from loopback import Answers, bulk, scripted_instance
from shell_doubles import until

TRANSACTION = [
    [b"CONFIG", b"REWRITE"],
    [b"CLIENT", b"KILL", b"TYPE", b"normal"],
    [b"CLIENT", b"KILL", b"TYPE", b"pubsub"],
    [b"EXEC"],
]


async def test_an_order_is_a_transaction_that_cuts_the_clients() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.answer = transacting(b"*4\r\n+OK\r\n-ERR no config file\r\n:1\r\n:0\r\n")
        it.pool.reconfigure(Reconfigure(ONE, GROUP, HELLO.primary, None, Epoch(1)))
        follow = Address("db", 6380, "10.0.0.8")
        it.pool.reconfigure(Reconfigure(ONE, GROUP, HELLO.primary, follow, Epoch(1)))
        it.pool.end_turn()
        assert await it.told(2) == [Reconfigured(ONE), Reconfigured(ONE)]
        assert instance.visit.commands[1:] == [
            [b"MULTI"], [b"SLAVEOF", b"NO", b"ONE"], *TRANSACTION,
            [b"MULTI"], [b"SLAVEOF", b"10.0.0.8", b"6380"], *TRANSACTION,
        ]  # fmt: skip


async def test_an_order_speaks_the_dialect_of_the_engine_also_after_a_reconnection() -> None:
    async with scripted_instance() as instance, bench() as it:
        instance.answer = lambda command: (
            bulk(b"redis_version:7.4.0\r\ndragonfly_version:df-v1.40.0\r\nrole:slave\r\n")
            if command == [b"INFO"]
            else b"+OK\r\n"
        )
        await it.open(instance)
        it.pool.ask_info(ONE)
        it.pool.end_turn()
        await it.told(2)
        it.pool.disconnect(ONE)
        await it.open(instance, link=TWO)
        it.take()
        instance.answer = transacting(b"*1\r\n+OK\r\n")
        it.pool.reconfigure(Reconfigure(TWO, GROUP, HELLO.primary, None, Epoch(1)))
        it.pool.end_turn()
        assert await it.told(1) == [Reconfigured(TWO)]
        assert instance.visits[1].commands[1:] == [
            [b"MULTI"], [b"SLAVEOF", b"NO", b"ONE"], [b"EXEC"]
        ]  # fmt: skip


def transacting(outcome: bytes, *, queued: bytes = b"+QUEUED\r\n") -> Answers:
    def answer(command: list[bytes]) -> bytes:
        match command[0]:
            case b"MULTI":
                return b"+OK\r\n"
            case b"EXEC":
                return outcome
            case b"SLAVEOF":
                return queued
            case _:
                return b"+QUEUED\r\n"

    return answer


@pytest.mark.parametrize(
    ("queued", "outcome", "error"),
    [
        (b"+QUEUED\r\n", b"*2\r\n-READONLY no\r\n+OK\r\n", "READONLY no"),
        (b"-NOPERM no\r\n", b"-EXECABORT discarded\r\n", "NOPERM no"),
        (b"+QUEUED\r\n", b"-LOADING busy\r\n", "LOADING busy"),
        (b"+QUEUED\r\n", b"$-1\r\n", "unexpected reply to EXEC: None"),
    ],
)
async def test_a_refused_order_tells_why(queued: bytes, outcome: bytes, error: str) -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.answer = transacting(outcome, queued=queued)
        it.pool.reconfigure(Reconfigure(ONE, GROUP, HELLO.primary, None, Epoch(1)))
        it.pool.end_turn()
        assert await it.told(1) == [Reconfigured(ONE, error)]


async def test_a_pause_holds_writes_for_a_time_and_is_ended() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        it.pool.pause_writes(ONE, Millis(6_000))
        it.pool.resume_writes(ONE)
        it.pool.end_turn()
        assert await it.told(2) == [
            PauseAnswered(ONE, is_paused=True),
            PauseAnswered(ONE, is_paused=False),
        ]
        assert instance.visit.commands[1:] == [
            [b"CLIENT", b"PAUSE", b"6000", b"WRITE"],
            [b"CLIENT", b"UNPAUSE"],
        ]


async def test_a_take_over_goes_out_under_its_name_in_the_group() -> None:
    settings = LinkSettings(renamed={"REPLTAKEOVER": "rt1"})
    async with scripted_instance() as instance, bench(settings) as it:
        await it.open(instance)
        it.take()
        it.pool.take_over(TakeOver(ONE, GROUP, HELLO.primary, Epoch(1), Millis(5_000)))
        it.pool.end_turn()
        assert await it.told(1) == [TakeOverAnswered(ONE)]
        assert instance.visit.commands[1:] == [[b"rt1", b"5"]]


async def test_a_refused_hand_over_tells_why() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        instance.answer = lambda _: b"-NOPERM no\r\n"
        it.pool.pause_writes(ONE, Millis(6_000))
        it.pool.resume_writes(ONE)
        it.pool.take_over(TakeOver(ONE, GROUP, HELLO.primary, Epoch(1), Millis(5_000)))
        it.pool.end_turn()
        assert await it.told(3) == [
            PauseAnswered(ONE, is_paused=True, error="NOPERM no"),
            PauseAnswered(ONE, is_paused=False, error="NOPERM no"),
            TakeOverAnswered(ONE, "NOPERM no"),
        ]


async def test_a_link_that_is_no_more_hands_nothing_over() -> None:
    async with scripted_instance() as instance, bench() as it:
        await it.open(instance)
        it.take()
        it.pool.disconnect(ONE)
        it.pool.pause_writes(ONE, Millis(6_000))
        it.pool.resume_writes(ONE)
        it.pool.take_over(TakeOver(ONE, GROUP, HELLO.primary, Epoch(1), Millis(5_000)))
        it.pool.end_turn()
        await until(lambda: instance.visit.has_ended)
        assert instance.visit.commands == [SETNAME]
        assert it.take() == []
