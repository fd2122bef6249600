"""Turn the newest work into done chores, one after the other, beside the loop that fails over.

Rules: only the newest work counts; a chore that fails or hangs holds up other chores of its data
store for a bounded time and nothing else; nothing is done once the lease is lost or the data store
is paused; what was reported last is reported until the chore says something else.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from everfly.errors import EverflyError
from everfly.operator.chores.chore import Chore, Report, Work
from everfly.operator.deeds import Tools
from everfly.operator.manifest import Json

log = logging.getLogger(__name__)

CHORE_S: Final = 20.0
"""What one chore may take at a time."""


class Chores:
    """The chores of one data store. `run` them until cancelled; `post` the newest work."""

    def __init__(self, tools: Tools, chores: tuple[Chore, ...], wake: Callable[[], None]) -> None:
        self._lease = tools.lease
        self._chores = chores
        self._wake = wake
        self._work: Work | None = None
        self._posted = asyncio.Event()
        self._reports: dict[int, Report] = {}
        self.failures = 0

    def post(self, work: Work) -> None:
        """Have the chores look at this. Returns at once."""
        self._work = work
        self._posted.set()

    def report(self) -> Report:
        """Return what all chores reported last, as one."""
        reports = [self._reports[index] for index in sorted(self._reports)]
        fields: dict[str, Json] = {}
        settled: dict[str, bool] = {}
        for each in reports:
            fields.update(each.fields)
            settled.update(each.settled)
        return Report(
            tuple(problem for each in reports for problem in each.problems),
            tuple(condition for each in reports for condition in each.conditions),
            fields,
            settled,
        )

    async def run(self) -> None:
        """Tend until cancelled."""
        while True:
            await self._posted.wait()
            self._posted.clear()
            before = self.report()
            for index, chore in enumerate(self._chores):
                await self._tend(index, chore)
            if self.report() != before:
                self._wake()

    async def _tend(self, index: int, chore: Chore) -> None:
        work = self._work
        if work is None or not self._lease.holds or work.scene.view.intent.is_paused:
            return
        store = work.scene.store
        name = type(chore).__name__
        try:
            async with asyncio.timeout(CHORE_S):
                self._reports[index] = await chore.tend(work)
        except TimeoutError:
            self.failures += 1
            log.warning(
                "%s/%s: %s took over %d s and goes on later",
                store.namespace, store.name, name, CHORE_S,
            )  # fmt: skip
        except EverflyError as error:
            self.failures += 1
            log.warning("%s/%s: %s: %s", store.namespace, store.name, name, error)
        except Exception:
            # A mistake of ours in a chore must not take the failover loop down with it.
            self.failures += 1
            log.exception("%s/%s: %s failed", store.namespace, store.name, name)
