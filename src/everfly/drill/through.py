"""Break a deployment under many clients of its endpoint, and say what these saw.

What must be: a switch-over costs nobody an error and nobody more than a short wait; when the
primary dies or freezes, no read fails, what was not sent waits and succeeds, a write whose reply
was lost is answered by AMBIGUOUS and nothing else, nothing is carried out twice, and nobody waits
longer than the change itself takes. Writes that a killed primary acknowledged and no replica had
are lost, unless the endpoint was told to wait for replicas (`acks`).
"""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from everfly.drill.crowd import Crowd, Load, audited
from everfly.drill.mixed import Seen
from everfly.drill.run import WELL_AFTER_S, WELL_BEFORE_S, until_well
from everfly.drill.stage import Stage
from everfly.endpoint.admin_client import Json, ask
from everfly.errors import RemoteError, SettingsError, Unavailable

SETTLE_S: Final = (0.5, 1.5)
"""Under load before each fault, random, so that none meets the Sentinels' periods at one phase."""

HEARD_S: Final = 5.0
LOOK_S: Final = 0.01
FROZEN_ON_S: Final = (0.0, 1.0)

SWITCHOVER_MS_MAX: Final = 150.0
"""The longest that a client may wait for a reply during a switch-over."""
AFTER_CHANGE_MS_MAX: Final = 50.0
"""The longest that it may wait after the endpoint knows the new primary."""

_DICE: Final = random.SystemRandom()

Say = Callable[[str], None]


class Passing(Enum):
    """What is done, by its name on the command line."""

    SWITCHOVER = "switchover"
    KILL_PRIMARY = "kill-primary"
    FREEZE_PRIMARY = "freeze-primary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One change of primary."""

    old: str
    new: str
    change_ms: float
    """From its beginning until commands went to the new primary."""
    longest_ms: float
    """The longest that any client waited for a reply."""
    standstill_ms: float
    """The longest that the drill itself could not run, which waits may seem longer by."""
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Through:
    """All changes of one drill."""

    passing: Passing
    engine: str
    clients: int
    passages: tuple[Passage, ...]
    seen: Seen
    problems: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether everything was as it must be."""
        return not self.problems and not any(each.problems for each in self.passages)


async def pass_through(
    stage: Stage, passing: Passing, times: int, say: Say, load: Load | None = None
) -> Through:
    """Do something to the primary, so many times in a row, under one crowd. Raises EverflyError."""
    layout = stage.layout
    if layout.endpoint is None or layout.endpoint_admin is None:
        raise SettingsError(
            "this deployment has no endpoint to go through; start it with `everfly up --endpoint`"
        )
    found = (await until_well(stage, WELL_BEFORE_S))[1]
    if found:
        raise Unavailable(f"the deployment is not well, so nothing was broken: {'; '.join(found)}")
    passages = []
    async with Crowd(layout.endpoint, layout.credentials, load) as crowd:
        say(f"{len(crowd.clients)} clients work through {layout.endpoint}")
        for number in range(1, times + 1):
            passage = await _pass(stage, passing, crowd)
            passages.append(passage)
            say(
                f"{number} of {times}: {passage.old} -> {passage.new}, changed in "
                f"{passage.change_ms:.0f} ms, longest wait {passage.longest_ms:.0f} ms"
            )
            for problem in passage.problems:
                say(f"not as it must be: {problem}")
            found = (await until_well(stage, WELL_AFTER_S))[1]
            if found:
                raise Unavailable(f"it did not become well again: {'; '.join(found)}")
            if number < times and passing is not Passing.SWITCHOVER:
                # Only then may the Sentinels fail over again.
                await asyncio.sleep(2 * layout.failover_timeout_ms / 1000)
        await asyncio.sleep(_DICE.uniform(*SETTLE_S))
        await crowd.stop()
        seen = await _audit(stage, crowd)
    return Through(
        passing=passing,
        engine=layout.engine,
        clients=len(crowd.clients),
        passages=tuple(passages),
        seen=seen,
        problems=_problems(passing, seen),
    )


async def _audit(stage: Stage, crowd: Crowd) -> Seen:
    primary = (await stage.picture()).primary
    if primary is None:
        raise Unavailable("nobody knows the primary, so what became of the writes cannot be seen")
    return await audited(crowd, primary, stage.layout.credentials, is_kept=stage.is_kept)


async def _pass(stage: Stage, passing: Passing, crowd: Crowd) -> Passage:
    admin = stage.layout.endpoint_admin
    assert admin is not None, "looked for at the beginning"
    before = await _status(str(admin))
    old = _name(stage, before)
    await asyncio.sleep(_DICE.uniform(*SETTLE_S))
    crowd.forget_waits()
    began = time.monotonic()
    problems: list[str] = []
    if passing is Passing.SWITCHOVER:
        change_ms, problem = await _switch_over(str(admin))
        problems += [problem] if problem else []
    else:
        number = signal.SIGKILL if passing is Passing.KILL_PRIMARY else signal.SIGSTOP
        stage.send_signal(old, number)
        try:
            change_ms = await _until_changed(stage, str(admin), before, began)
            if passing is Passing.FREEZE_PRIMARY:
                await asyncio.sleep(_DICE.uniform(*FROZEN_ON_S))
        finally:
            if passing is Passing.FREEZE_PRIMARY:
                with contextlib.suppress(Unavailable):  # it may have ended otherwise
                    stage.send_signal(old, signal.SIGCONT)
    changed_at = time.monotonic()
    if not await crowd.until_heard(changed_at, HEARD_S):
        problems.append(f"some subscribers heard nothing for {HEARD_S:g} s after the change")
    longest_ms = crowd.seen().longest_s * 1000
    standstill_ms = crowd.standstill_s * 1000
    limit_ms = SWITCHOVER_MS_MAX
    if passing is not Passing.SWITCHOVER:
        limit_ms = change_ms + AFTER_CHANGE_MS_MAX
    if longest_ms > limit_ms + standstill_ms:
        problems.append(
            f"a client waited {longest_ms:.0f} ms; at most {limit_ms:.0f} were promised, and the "
            f"drill itself stood still for {standstill_ms:.0f} ms"
        )
    return Passage(
        old=old,
        new=_name(stage, await _status(str(admin))),
        change_ms=change_ms,
        longest_ms=longest_ms,
        standstill_ms=standstill_ms,
        problems=tuple(problems),
    )


async def _switch_over(admin: str) -> tuple[float, str]:
    """Return how long commands were held, and why it failed if it did."""
    told = await asyncio.to_thread(ask, admin, "", "POST", "/switchover", {})
    while told.get("state") == "running":
        steps = told.get("steps")
        count = len(steps) if isinstance(steps, list) else 0
        told = await asyncio.to_thread(ask, admin, "", "GET", f"/switchover?after={count}")
    held = told.get("held_ms")
    why = "" if told.get("state") == "done" else str(told.get("reason") or told.get("error"))
    return float(held) if isinstance(held, int | float) else 0.0, why


async def _until_changed(stage: Stage, admin: str, before: Json, began: float) -> float:
    """Return how long it took until the endpoint sent commands to another primary, in ms."""
    layout = stage.layout
    limit_s = (2 * layout.down_after_ms + 4 * layout.failover_timeout_ms) / 1000 + 10
    while True:
        told = await _status(admin)
        asked_at = time.monotonic()
        since = told.get("changed_s_ago")
        if told.get("switches") != before.get("switches") and isinstance(since, int | float):
            return (asked_at - since - began) * 1000
        if asked_at - began > limit_s:
            raise Unavailable(f"the endpoint found no new primary within {limit_s:g} s")
        await asyncio.sleep(LOOK_S)


async def _status(admin: str) -> Json:
    told = await asyncio.to_thread(ask, admin, "", "GET", "/status")
    if "primary" not in told:
        raise RemoteError(f"the endpoint at {admin} shows no status: {told}")
    return told


def _name(stage: Stage, status: Json) -> str:
    at = status["primary"]
    names = {str(address): name for name, address in stage.layout.instances.items()}
    return names.get(str(at), str(at))


def _problems(passing: Passing, seen: Seen) -> tuple[str, ...]:
    """Return what clients saw that must not be."""
    problems = [f"{count} commands were answered by {name}" for name, count in seen.errors.items()]
    if seen.doubled:
        problems.append(f"{seen.doubled} writes were carried out twice")
    if passing is Passing.SWITCHOVER:
        if seen.lost:
            problems.append(f"{seen.lost} acknowledged writes were lost")
        if seen.ambiguous:
            problems.append(f"{seen.ambiguous} writes were answered by AMBIGUOUS")
    return tuple(problems)
