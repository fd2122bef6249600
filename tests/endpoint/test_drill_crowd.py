"""The clients of a drill: they see what is, and notice what must not be."""

import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from rich.console import Console

from everfly.core.model import Address
from everfly.drill.crowd import Crowd, Load, audited
from everfly.drill.mixed import Consuming, Mixed, Pipeline, Producing, Seen, Transaction
from everfly.drill.through import Passage, Passing, Through
from everfly.drill.through_text import render_through, through_to_json
from everfly.errors import Unavailable
from everfly.runtime.client import Client, Credentials
from kinds import HOST
from processes import free_port
from servers import Deployment
from shell_doubles import until

LIMIT_S = 20.0
ROUNDS = 3
NOBODY = Credentials()


@asynccontextmanager
async def crowd_of_20() -> AsyncIterator[tuple[Crowd, Address]]:
    with Deployment(kinds=(), replicas=0) as deployment:
        address = Address(HOST, deployment.group.instances[0].port)
        async with Crowd(address, NOBODY, Load(20)) as crowd:
            yield crowd, address


async def some_rounds(crowd: Crowd) -> None:
    def have_worked() -> bool:
        """Each has done some rounds."""
        return all(
            each.seen.rounds >= ROUNDS or each.seen.messages >= ROUNDS for each in crowd.clients
        )

    await until(have_worked, LIMIT_S)


@pytest.mark.integration
async def test_nothing_is_wrong_where_nothing_happens() -> None:
    async with crowd_of_20() as (crowd, address):
        await some_rounds(crowd)
        await crowd.stop()
        seen = await audited(crowd, address, NOBODY, is_kept=True)
        assert (seen.lost, seen.doubled, seen.ambiguous, seen.aborted) == (0, 0, 0, 0)
        assert not seen.errors
        assert seen.writes > 20 * ROUNDS
        assert min(seen.reads, seen.messages) > 0
        assert 0 < seen.longest_s < LIMIT_S
        async with await Client.connect(address) as client:
            assert await client.call("DBSIZE") == 0, "what was written is removed"


def first(crowd: Crowd, kind: type[Mixed]) -> Mixed:
    return next(each for each in crowd.clients if isinstance(each, kind))


TAMPERED: list[tuple[Callable[[Crowd], tuple[str, ...]], str, int]] = [
    (lambda crowd: ("DECRBY", first(crowd, Pipeline).key, "3"), "lost", 3),
    (lambda crowd: ("INCRBY", first(crowd, Pipeline).key, "2"), "doubled", 2),
    (lambda crowd: ("DEL", first(crowd, Transaction).key), "lost", ROUNDS),
]


@pytest.mark.integration
@pytest.mark.parametrize(("tamper", "what", "least"), TAMPERED)
async def test_what_somebody_else_changes_is_noticed(
    tamper: Callable[[Crowd], tuple[str, ...]], what: str, least: int
) -> None:
    async with crowd_of_20() as (crowd, address):
        await some_rounds(crowd)
        await crowd.stop()
        async with await Client.connect(address) as client:
            await client.call(*tamper(crowd))
        seen = await audited(crowd, address, NOBODY, is_kept=False)
        assert getattr(seen, what) >= least
        assert seen.lost * seen.doubled == 0, "one of them alone"


@pytest.mark.integration
async def test_what_is_popped_twice_or_vanishes_is_noticed() -> None:
    async with crowd_of_20() as (crowd, address):
        await some_rounds(crowd)
        await crowd.stop()
        producer, consumer = first(crowd, Producing), first(crowd, Consuming)
        assert isinstance(producer, Producing)
        assert isinstance(consumer, Consuming)
        consumer.taken.append(consumer.taken[0])
        producer.last += 1
        seen = await audited(crowd, address, NOBODY, is_kept=False)
        assert (seen.lost, seen.doubled) == (1, 1)
        assert consumer.missing == [producer.last]


@pytest.mark.integration
async def test_a_killed_store_is_errors_and_not_silence() -> None:
    with Deployment(kinds=(), replicas=0) as deployment:
        instance = deployment.group.instances[0]
        async with Crowd(Address(HOST, instance.port), NOBODY, Load(10)) as crowd:
            instance.kill()
            await until(lambda: crowd.seen().errors["connection"] > 0, LIMIT_S)


async def test_clients_that_cannot_begin_are_told_before_anything_is_broken() -> None:
    crowd = Crowd(Address(HOST, free_port()), NOBODY, Load(10), begin_s=0.2)
    with pytest.raises(Unavailable, match="nothing was broken"):
        await crowd.__aenter__()


def through(**changes: object) -> Through:
    passage = Passage(
        old="a", new="b", change_ms=12.0, longest_ms=34.0, standstill_ms=1.0, problems=()
    )
    given: dict[str, object] = {
        "passing": Passing.SWITCHOVER,
        "engine": "valkey 9.1.2",
        "clients": 200,
        "passages": (passage,),
        "seen": Seen(writes=7),
        "problems": (),
    }
    return Through(**(given | changes))  # type: ignore[arg-type]  # its fields


def test_the_result_is_shown_and_is_json() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_through(through()))
    text = console.export_text()
    assert "switchover, 1 times, under 200 clients of the endpoint; valkey 9.1.2" in text
    assert "12 / 12 / 12  ms until commands went to the new primary" in text
    assert "everything was as it must be" in text
    told = json.loads(json.dumps(through_to_json(through(problems=("bad",)))))
    assert told["passed"] is False
    assert told["seen"]["writes"] == 7
    assert told["changes"][0]["longest_wait_ms"] == 34.0
