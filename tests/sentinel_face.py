"""The port of a Sentinel without the rest of it: our listener and commands over a scripted brain.

`ScriptedBrain` stands at the `Brain` port: it has frozen views, carries out requests on them in the
simplest way, and remembers what entered.
"""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

from everfly.core.effects import Accepted, Counted, Refusal, Refused, Result, Vote
from everfly.core.inputs import (
    FailoverRequested,
    Input,
    MonitorRequested,
    PolicyChanged,
    RemoveRequested,
    ResetRequested,
    SettingsChanged,
    VoteRequested,
)
from everfly.core.model import (
    Address,
    Epoch,
    GroupName,
    Hello,
    InstanceReport,
    Millis,
    RunId,
    Token,
)
from everfly.core.policy import GroupSettings, Policy
from everfly.core.snapshot import DurableState, GroupView, InstanceView, LinkView, PeerView
from everfly.errors import Unavailable
from everfly.runtime.listener import Limits, Listener
from everfly.runtime.ports import ScriptView
from everfly.runtime.pubsub import PubSub
from everfly.sentinel.acl import AccessControl
from everfly.sentinel.acl.control import AccessSettings
from everfly.sentinel.commands import Parts, make_sentinel_commands
from everfly.sentinel.commands.table import dialect_of
from everfly.sentinel.settings import Settings

ME = RunId("e" * 40)

LINK = LinkView(
    is_connected=True,
    pending=0,
    shared_by=1,
    last_ping_sent_ago=Millis(0),
    last_ok_ping_ago=Millis(12),
    last_ping_reply_ago=Millis(12),
)


def instance_view(name: str, address: Address, report: InstanceReport, *flags: str) -> InstanceView:
    """Return a healthy instance."""
    return InstanceView(
        address=address,
        name=name,
        run_id=report.run_id,
        flags=flags,
        link=LINK,
        s_down_for=None,
        o_down_for=None,
        info_ago=Millis(345) if report.run_id else None,
        role_reported=flags[-1],
        role_reported_for=Millis(6789),
        report=report,
    )


def peer_view(address: Address, run_id: RunId) -> PeerView:
    """Return a healthy peer."""
    return PeerView(
        address=address,
        run_id=run_id,
        flags=("sentinel",),
        link=LINK,
        s_down_for=None,
        last_hello_ago=Millis(444),
        voted_leader=None,
        voted_leader_epoch=Epoch(0),
        says_down=False,
    )


def group_view(name: str, address: Address, quorum: int = 2) -> GroupView:
    """Return a group of a primary alone, of which nothing is known yet."""
    return GroupView(
        name=GroupName(name),
        primary=replace(
            instance_view(name, address, InstanceReport(), "master"),
            flags=("master", "disconnected"),
        ),
        current_address=address,
        settings=GroupSettings(quorum, Millis(30_000), Millis(180_000)),
        config_epoch=Epoch(0),
        failover_state=None,
        replicas=(),
        peers=(),
        usable_sentinels=1,
        can_reach_quorum=quorum <= 1,
        can_authorize=True,
    )


class ScriptedBrain:
    """Frozen views, and requests that change them; see the module."""

    def __init__(self, *views: GroupView) -> None:
        self.views = {view.name: view for view in views}
        self.inputs: list[Input] = []
        self.policy = Policy()
        self.disk_is_full = False
        self.votes: list[asyncio.Future[Vote]] = []
        """Answers to votes, in the order of asking, where a test wants to delay them."""
        self.tilt_for: Millis | None = None

    def group_names(self) -> tuple[GroupName, ...]:
        return tuple(self.views)

    def group_view(self, name: GroupName) -> GroupView | None:
        return self.views.get(name)

    def current_address(self, name: GroupName) -> Address | None:
        view = self.views.get(name)
        return None if view is None else view.current_address

    def durable_state(self) -> DurableState:
        return DurableState(ME)

    def submit(self, fact: Input) -> None:
        self.inputs.append(fact)

    async def request(self, make: Callable[[Token], Input]) -> Result:
        fact = make(Token(len(self.inputs)))
        self.inputs.append(fact)
        if self.disk_is_full:
            raise Unavailable("No space left on device")
        return await self._decide(fact)

    async def _decide(self, fact: Input) -> Result:
        match fact:
            case VoteRequested():
                if self.votes:
                    return await self.votes.pop(0)
                return Vote(is_down=False, leader=None, leader_epoch=Epoch(0))
            case MonitorRequested():
                if fact.group in self.views:
                    return Refused(Refusal.DUPLICATE_GROUP)
                self.views[fact.group] = group_view(fact.group, fact.primary, fact.settings.quorum)
            case ResetRequested():
                return Counted(len(fact.groups))
            case PolicyChanged():
                for name, value in fact.changes:
                    setattr(self.policy, name, value)
            case RemoveRequested() | FailoverRequested() | SettingsChanged():
                return self._decide_on_group(fact)
            case _:
                pass
        return Accepted()

    def _decide_on_group(
        self, fact: RemoveRequested | FailoverRequested | SettingsChanged
    ) -> Result:
        view = self.views.get(fact.group)
        if view is None:
            return Refused(Refusal.NO_SUCH_GROUP)
        match fact:
            case RemoveRequested():
                del self.views[fact.group]
            case FailoverRequested():
                return Refused(Refusal.NO_GOOD_REPLICA)
            case SettingsChanged():
                can_reach = fact.settings.quorum <= view.usable_sentinels
                self.views[fact.group] = replace(
                    view, settings=fact.settings, can_reach_quorum=can_reach
                )
        return Accepted()


@dataclass
class Surroundings:
    """The other ports: a resolver of given names, given INFO texts and scripts."""

    names: dict[str, str] = field(default_factory=dict)
    infos: dict[str, tuple[tuple[Millis, bytes | None], ...]] = field(default_factory=dict)
    scripts: tuple[ScriptView, ...] = ()
    shutdowns: int = 0

    def resolve_now(self, host: str) -> str | None:
        return self.names.get(host)

    async def resolve(self, host: str) -> str:
        if host not in self.names:
            raise Unavailable(f"Failed to resolve hostname '{host}'")
        return self.names[host]

    def resolve_hello(self, hello: Hello, then: Callable[[Hello | None], None]) -> None:
        then(hello)

    def cached_info(self, group: GroupName) -> tuple[tuple[Millis, bytes | None], ...]:
        return self.infos.get(group, ((Millis(0), None),))

    def pending(self) -> tuple[ScriptView, ...]:
        return self.scripts

    def shut_down(self) -> None:
        self.shutdowns += 1


@dataclass
class Face:
    """A running port."""

    brain: ScriptedBrain
    settings: Settings
    limits: Limits
    around: Surroundings
    pubsub: PubSub
    listener: Listener

    @property
    def port(self) -> int:
        return self.listener.port


def _access_of(settings: Settings) -> AccessControl:
    return AccessControl(
        dialect_of(settings.compat), AccessSettings(requirepass=settings.requirepass)
    )


@asynccontextmanager
async def face(
    *views: GroupView,
    settings: Settings | None = None,
    limits: Limits | None = None,
    me: RunId = ME,
    access: AccessControl | None = None,
) -> AsyncIterator[Face]:
    """Serve on a free port of the loopback interface until the block ends."""
    brain, around, pubsub = ScriptedBrain(*views), Surroundings(), PubSub()
    settings, limits = settings or Settings(), limits or Limits()
    parts = Parts(
        me=me,
        brain=brain,
        settings=settings,
        policy=brain.policy,
        pubsub=pubsub,
        resolver=around,
        hellos=around,
        info_cache=around,
        scripts=around,
        access=access or _access_of(settings),
        shut_down=around.shut_down,
    )
    listener = Listener(limits, lambda listener: make_sentinel_commands(parts, listener))
    await listener.start(["127.0.0.1"], 0)
    try:
        yield Face(brain, settings, limits, around, pubsub, listener)
    finally:
        async with asyncio.timeout(10):
            await listener.stop()


@contextmanager
def face_in_thread(*views: GroupView, me: RunId = ME) -> Iterator[Face]:
    """Serve from a thread of its own, for tests that block."""
    started: queue.Queue[tuple[Face, Callable[[], object]]] = queue.Queue()

    async def serve() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        async with face(*views, me=me) as served:
            started.put((served, lambda: loop.call_soon_threadsafe(end.set)))
            await end.wait()

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(asyncio.run, serve())
        served, stop = started.get(timeout=10)
        try:
            yield served
        finally:
            stop()
            work.result(timeout=20)
