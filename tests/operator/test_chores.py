"""Chores run beside the loop that fails over, and only where this operator may act."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from everfly.core.group_view import GroupView, Intent
from everfly.core.plan import Decision
from everfly.errors import Unavailable
from everfly.operator.apiserver.lease import NoLease
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.chores.chore import Chore, Condition, Report, Work
from everfly.operator.chores.runner import Chores
from everfly.operator.deeds import Scene
from everfly.operator.wishes.spec import read_spec

LIMIT_S = 5.0


def _work(*, is_paused: bool = False) -> Work:
    store = StoreSight("default", "cache", "1", "1", 1, False, {}, {}, {})
    view = GroupView((), intent=Intent(is_paused=is_paused))
    return Work(Scene(store, view, {}, ()), read_spec({}), Decision(()))


class _Step:
    """Reports, or raises, what it is given, and tells that it was called."""

    def __init__(self, outcome: Report | Exception) -> None:
        self.outcome = outcome
        self.calls: asyncio.Queue[Work] = asyncio.Queue()

    async def tend(self, work: Work) -> Report:
        """Tell of the call."""
        self.calls.put_nowait(work)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@contextlib.asynccontextmanager
async def _running(
    *chores: Chore, lease: Any = None
) -> AsyncIterator[tuple[Chores, asyncio.Event]]:
    woken = asyncio.Event()
    tools: Any = SimpleNamespace(lease=lease or NoLease())
    made = Chores(tools, chores, woken.set)
    task = asyncio.create_task(made.run())
    try:
        yield made, woken
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _next(step: _Step) -> Work:
    async with asyncio.timeout(LIMIT_S):
        return await step.calls.get()


async def test_a_report_that_changed_wakes_the_loop_and_is_told_until_the_next() -> None:
    said = Report(("spec.x: is wrong",), (Condition("Rotated", is_true=True, reason="Done"),))
    step = _Step(said)
    async with _running(step) as (chores, woken):
        chores.post(_work())
        async with asyncio.timeout(LIMIT_S):
            await woken.wait()
        assert chores.report() == said


async def test_a_chore_that_fails_holds_up_no_other_and_is_called_again() -> None:
    for error in (Unavailable("away"), ZeroDivisionError()):
        bad, good = _Step(error), _Step(Report())
        async with _running(bad, good) as (chores, _):
            for _ in range(2):
                chores.post(_work())
                await _next(bad)
                await _next(good)
        assert chores.failures >= 2


async def test_a_failing_chore_keeps_its_last_report() -> None:
    step = _Step(Report(("known",)))
    async with _running(step) as (chores, woken):
        chores.post(_work())
        async with asyncio.timeout(LIMIT_S):
            await woken.wait()
        await _next(step)
        step.outcome = Unavailable("away")
        chores.post(_work())
        await _next(step)
        assert chores.report().problems == ("known",)


class _Lease:
    """Tells that it was asked."""

    def __init__(self, *, holds: bool) -> None:
        self.is_held = holds
        self.asked: asyncio.Queue[None] = asyncio.Queue()

    @property
    def holds(self) -> bool:
        """Whether we may act."""
        self.asked.put_nowait(None)
        return self.is_held


@pytest.mark.parametrize(("holds", "is_paused"), [(False, False), (True, True)])
async def test_nothing_is_done_without_the_lease_or_while_paused(
    *, holds: bool, is_paused: bool
) -> None:
    lease, step = _Lease(holds=holds), _Step(Report())
    async with _running(step, lease=lease) as (chores, _):
        chores.post(_work(is_paused=is_paused))
        async with asyncio.timeout(LIMIT_S):
            await lease.asked.get()
        lease.is_held = True
        allowed = _work()
        chores.post(allowed)
        assert await _next(step) is allowed
        assert step.calls.empty()
