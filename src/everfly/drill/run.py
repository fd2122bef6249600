"""Carry out one run of a drill: wait until all is well, write, break, watch, wait, count."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from everfly.drill.clients import Clients, clients, reads, results
from everfly.drill.faults import NATURES, Fault
from everfly.drill.inject import Scene, inject
from everfly.drill.record import Mark, Record, Said, Span
from everfly.drill.stage import Layout, Stage
from everfly.drill.watch import Watch
from everfly.errors import Unavailable
from everfly.observe.picture import GroupPicture

WELL_BEFORE_S: Final = 30.0
WELL_AFTER_S: Final = 60.0
"""Plus the time for two tries to fail over. Genuine Sentinels need 20 s to bring a frozen primary
back; a large dataset takes its time too."""

SETTLE_S: Final = (1.0, 3.0)
"""Under load before the fault. Random, so that no run meets the Sentinels' periods (1 s, 2 s)
always at the same phase."""

AFTERMATH_S: Final = 1.5
"""Under load after all is well: a second failover that nobody asked for would come within it."""

_LOOK_S: Final = 0.05
_DICE: Final = random.SystemRandom()

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Aftermath:
    """How it ended. Times are monotonic seconds."""

    end: float
    well_at: float | None
    trouble: tuple[str, ...]
    new_primary: str | None


def trouble(picture: GroupPicture, layout: Layout) -> tuple[str, ...]:
    """Return what is not as it must be with the whole deployment; empty: all is well."""
    found = list(picture.problems)
    seen = {each.address for each in picture.instances}
    others = len(layout.instances) - 1, len(layout.sentinels) - 1
    found += [
        f"no Sentinel knows {name} ({address})"
        for name, address in layout.instances.items()
        if address not in seen
    ]
    for view in picture.sentinels:
        name = layout.names.get(view.address, str(view.address))
        if view.is_reachable and (len(view.replicas), len(view.peers)) != others:
            found.append(
                f"{name} knows {len(view.replicas)} replicas and {len(view.peers)} peers, "
                f"not {others[0]} and {others[1]}"
            )
    return tuple(found)


async def until_well(stage: Stage, within_s: float) -> tuple[float | None, tuple[str, ...]]:
    """Return (when all was well, nothing), or (None, what is not well) after so many seconds."""
    deadline = time.monotonic() + within_s
    while True:
        found = trouble(await stage.picture(), stage.layout)
        now = time.monotonic()
        if not found:
            return now, ()
        if now >= deadline:
            return None, found
        await asyncio.sleep(_LOOK_S)


async def carry_out(stage: Stage, fault: Fault, sentinel_kind: str, say: Say) -> Record:
    """Carry out one run and return what was seen. Raises EverflyError when it cannot be done."""
    layout = stage.layout
    primary = await _primary(stage)
    victim = _victim(fault, layout, primary)
    has_stubborn = NATURES[fault].has_stale_primary
    marks: list[Mark] = []
    async with Watch(stage) as watch, clients(stage, primary, with_stubborn=has_stubborn) as those:
        await _until_begun(watch, those, layout)
        say(f"{primary} is the primary; clients write and read")
        start = time.monotonic()
        await asyncio.sleep(_DICE.uniform(*SETTLE_S))
        began, began_at = time.monotonic(), datetime.now(UTC)

        def mark(text: str) -> None:
            marks.append(Mark((time.monotonic() - began) * 1000, text))
            say(text)

        scene = Scene(stage, watch, victim, began, mark)
        await inject(fault, scene)
        after = await _aftermath(scene, those, NATURES[fault].failovers, say)
        writes, unknown = await results(those, layout, began)
    return Record(
        fault=fault,
        engine=layout.engine,
        sentinel_kind=sentinel_kind,
        down_after_ms=layout.down_after_ms,
        group=layout.group,
        names=layout.names,
        instances=tuple(layout.instances),
        sentinels=tuple(layout.sentinels),
        victim=victim,
        old_primary=primary,
        new_primary=after.new_primary,
        began_at=began_at.isoformat(timespec="milliseconds"),
        start=(start - began) * 1000,
        end=(after.end - began) * 1000,
        well_at=None if after.well_at is None else (after.well_at - began) * 1000,
        trouble=after.trouble + unknown,
        marks=tuple(marks),
        said=_said(watch.said, start, after.end, began),
        spans=_spans(watch.changes, start, after.end, began),
        writes=writes[0],
        stubborn=writes[1] if has_stubborn else None,
        reads=reads(those.reader, began),
        standstill=watch.standstill_s * 1000,
    )


async def _primary(stage: Stage) -> str:
    found = (await until_well(stage, WELL_BEFORE_S))[1]
    if found:
        raise Unavailable(f"the deployment is not well, so nothing was broken: {'; '.join(found)}")
    name = stage.layout.name_of((await stage.picture()).primary)
    if name is None:
        raise Unavailable("the primary is no instance of this deployment; nothing was broken")
    return name


def _victim(fault: Fault, layout: Layout, primary: str) -> str:
    match fault:
        case Fault.KILL_REPLICA:
            others = [name for name in layout.instances if name != primary]
            if not others:
                raise Unavailable("the deployment has no replica to kill")
            return _DICE.choice(others)
        case Fault.KILL_SENTINEL:
            return _DICE.choice(list(layout.sentinels))
        case _:
            return primary


async def _until_begun(watch: Watch, those: Clients, layout: Layout) -> None:
    """Wait until every client works and every Sentinel is followed. Raises Unavailable."""
    deadline = time.monotonic() + WELL_BEFORE_S
    while not (those.have_begun and watch.following == set(layout.sentinels)):
        if time.monotonic() >= deadline:
            raise Unavailable(
                "the drill's own clients cannot work before the fault, so nothing was broken: "
                f"{those.writer.last_failure or 'a Sentinel cannot be followed'}"
            )
        await asyncio.sleep(_LOOK_S)


async def _aftermath(scene: Scene, those: Clients, failovers: int, say: Say) -> _Aftermath:
    """Wait until all is well again and stays so, and stop the clients."""
    stage = scene.stage
    if failovers:
        await scene.until_switched(stage.layout.sentinels)
    say("waiting until all is well again")
    well_at, found = await until_well(stage, WELL_AFTER_S + scene.patience_s)
    await asyncio.sleep(AFTERMATH_S)
    picture = await stage.picture()
    await those.stop()
    say(f"looking for {len(those.writer.acknowledged)} acknowledged writes")
    return _Aftermath(
        end=time.monotonic(),
        well_at=well_at,
        trouble=found or trouble(picture, stage.layout),
        new_primary=stage.layout.name_of(picture.primary),
    )


def _said(said: Sequence[Said], start: float, end: float, began: float) -> tuple[Said, ...]:
    return tuple(
        Said((each.at - began) * 1000, each.sentinel, each.channel, each.payload)
        for each in said
        if start <= each.at <= end
    )


def _spans(
    changes: Mapping[str, Sequence[tuple[float, str]]], start: float, end: float, began: float
) -> tuple[Span, ...]:
    spans = []
    for name, states in changes.items():
        ends = [at for at, _ in states[1:]] + [end]
        for (since, state), until in zip(states, ends, strict=True):
            first, last = max(since, start), min(until, end)
            if last > first:
                spans.append(Span(name, state, (first - began) * 1000, (last - began) * 1000))
    return tuple(spans)
