"""Keep the processes of a deployment running: look, decide (`plan`), do, and again.

It looks twice a second and whenever a process ends. Nothing it does waits for an instance longer
than a picture takes, so a frozen one delays it by a second and stops nothing. What it decided is
said once in words a person can use (`Notice`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, assert_never

from everfly.core.model import Role
from everfly.errors import EverflyError
from everfly.local.members import Crew, Member, monotonic
from everfly.local.plan import (
    EndGrace,
    InstanceFact,
    Observation,
    SentinelFact,
    StartEndpoint,
    StartPrimary,
    StartReplica,
    StartSentinel,
    Step,
    Wait,
    next_steps,
    patience,
)
from everfly.observe.observer import Observer
from everfly.observe.picture import GroupPicture
from everfly.runtime.client import Credentials
from everfly.runtime.process import describe_exit

LOOK_EVERY_S: Final = 0.5
NOTICES_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the supervisor decided or saw."""

    at: datetime
    text: str


class Supervisor:
    """Brings members back. `run` it as a task; `picture` is what it saw last."""

    def __init__(self, crew: Crew, on_change: Callable[[], None]) -> None:
        """`on_change` is called after the set of processes changed."""
        settings = crew.settings
        self._crew = crew
        self._on_change = on_change
        self._patience = patience(settings.down_after_ms, settings.failover_timeout_ms)
        self._observer = Observer(
            settings.sentinel_addresses,
            settings.group,
            credentials=Credentials(settings.password),
        )
        self._wake = asyncio.Event()
        self._waits: dict[str, str] = {}
        self.picture = GroupPicture(group=settings.group)
        """What was seen last."""
        self.notices: deque[Notice] = deque(maxlen=NOTICES_MAX)
        """What happened lately, oldest first."""
        self.on_notice: Callable[[Notice], None] | None = None
        """Called with each notice as it is made."""

    async def run(self) -> None:
        """Look, decide and do until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self.look()
                for step in next_steps(self._observation(), self._patience):
                    await self._do(step)
                try:
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            await self._observer.close()

    async def look(self) -> GroupPicture:
        """Ask everybody now and return the picture."""
        self.picture = await self._observer.picture()
        return self.picture

    def wake(self) -> None:
        """Look now instead of in a moment."""
        self._wake.set()

    def note_exit(self, member: Member) -> None:
        """Take it that the process of a member ended."""
        assert member.process is not None, "a member that never ran cannot end"
        status = member.process.exit_status
        how = describe_exit(status) if status is not None else "unknown status"
        self.note(f"{member} ended: {how}")
        self.wake()

    def note(self, text: str) -> None:
        """Tell people something."""
        notice = Notice(datetime.now(UTC), text)
        self.notices.append(notice)
        if self.on_notice is not None:
            self.on_notice(notice)

    def _observation(self) -> Observation:
        picture = self.picture
        meant = Counter(
            view.primary.run_id
            for view in picture.sentinels
            if view.primary is not None and view.primary.address == picture.primary
        )
        run_id, count = meant.most_common(1)[0] if meant else ("", 0)
        return Observation(
            now=monotonic(),
            instances=tuple(self._instance_fact(each) for each in self._crew.instances),
            sentinels=tuple(map(_process_fact, self._crew.sentinels)),
            primary=picture.primary,
            primary_run_id=run_id if count * 2 > len(self._crew.sentinels) else "",
            endpoint=None if self._crew.endpoint is None else _process_fact(self._crew.endpoint),
        )

    def _instance_fact(self, member: Member) -> InstanceFact:
        view = self.picture.instance(member.address)
        is_seen = view is not None and view.is_reachable and member.is_running
        report = view.report if view is not None and is_seen else None
        return InstanceFact(
            name=member.name,
            address=member.address,
            is_running=member.is_running,
            is_supervised=member.is_supervised,
            may_start_at=member.may_start_at,
            down_since=member.down_since,
            can_take_over=report is not None
            and report.role is Role.REPLICA
            and not report.is_syncing,
            has_data=self._crew.home.has_data(member.name),
            run_id=report.run_id if report is not None else "",
            has_grace=member.has_grace,
            histories=frozenset({report.history, report.history_before} - {""})
            if report is not None
            else frozenset(),
            offset=(report.offset or 0) if report is not None else 0,
        )

    async def _do(self, step: Step) -> None:
        member = self._crew.named(step.name)
        if isinstance(step, Wait):
            # The same reason with another number of seconds is no news.
            if self._waits.get(member.name) != step.why.partition(":")[0]:
                self._waits[member.name] = step.why.partition(":")[0]
                self.note(f"{member} stays down: {step.why}")
            return
        if not isinstance(step, EndGrace) and member.is_running:
            return  # started by somebody else while an earlier step was done
        self._waits.pop(member.name, None)
        try:
            await self._carry_out(step, member)
        except EverflyError as error:
            member.note_exit()
            self.note(f"{member} cannot be brought back now: {error}")

    async def _carry_out(
        self,
        step: StartReplica | StartPrimary | StartSentinel | StartEndpoint | EndGrace,
        member: Member,
    ) -> None:
        crew = self._crew
        match step:
            case StartReplica():
                await crew.start_instance(member, step.primary)
                self.note(f"{member} is started as a replica of {step.primary}")
            case StartPrimary():
                await crew.start_instance(member, None)
                self.note(f"{member} is started as the primary: {step.why}")
            case StartSentinel():
                await crew.start_sentinel(member, self.picture.primary or member.address)
                self.note(f"{member} is started again")
            case StartEndpoint():
                await crew.start_endpoint()
                self.note(f"{member} is started again")
            case EndGrace():
                await crew.end_grace(member)
                return
            case _:
                assert_never(step)
        self._on_change()


def _process_fact(member: Member) -> SentinelFact:
    return SentinelFact(
        name=member.name,
        is_running=member.is_running,
        is_supervised=member.is_supervised,
        may_start_at=member.may_start_at,
    )
