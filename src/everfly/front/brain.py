"""Turn watches of the API server into what a Sentinel's commands ask for: names, views, addresses.

It decides nothing: the operator does. Rules: what is told is what was seen last, also while the API
server is away, which then counts as TILT (it only watches); a name never means another data store
than before, so a bare name is known only where one namespace is served; whoever asks for a failover
asks the operator, by the annotation that people use.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx2

from everfly.core.effects import Accepted, Refusal, Refused, Result
from everfly.core.group_view import GroupPolicy
from everfly.core.inputs import FailoverRequested, Input
from everfly.core.model import Address, Epoch, GroupName, InstanceReport, Millis, RunId, Token
from everfly.core.notices import Event, Notice
from everfly.core.policy import GroupSettings
from everfly.core.snapshot import DurableState, GroupView, InstanceView, LinkView
from everfly.core.successor import ANYBODY
from everfly.errors import EverflyError
from everfly.front.faces import pod_face, store_face
from everfly.front.picture import Instance, Picture, PodFace, StoreFace, picture_of
from everfly.front.tidings import place_of, tidings
from everfly.operator import names
from everfly.operator.apiserver.api import DRAGONFLY, POD, Api, Patch
from everfly.operator.apiserver.api import Refused as ApiRefused
from everfly.operator.apiserver.caches import Cache, Key, Selection
from everfly.operator.apiserver.inventory import OUR_LABELS
from everfly.runtime.ports import NoticeSink

log = logging.getLogger(__name__)

TILT_AFTER_S: Final = 3.0
"""Of lost watches: one that breaks and is made again at once is everyday life."""
TILT_LOOK_S: Final = 0.5
TAKEN_UP_S: Final = 5.0
"""For the operator to take a switchover up: it looks at once when a resource changes."""
GROUP_SETTINGS: Final = GroupSettings(
    quorum=1, down_after=GroupPolicy().silent_after, failover_timeout=Millis(180_000)
)
"""How long the operator waits for a silent primary; the rest as Sentinel shows it by default."""

_LINK_UP: Final = LinkView(True, 0, 1, Millis(0), Millis(0), Millis(0))
_LINK_DOWN: Final = LinkView(False, 0, 1, Millis(0), Millis(0), Millis(0))


@dataclass(slots=True)
class _Known:
    """A data store as it was seen last, and since when (monotonic, s) what holds."""

    picture: Picture
    changed_at: float
    down_since: dict[str, float]
    """IP -> since when clients are not led there."""


class FrontBrain:
    """Implements `runtime.ports.Brain`. `run` it until it is cancelled."""

    def __init__(
        self, me: RunId, api: Api, namespaces: tuple[str, ...], sinks: tuple[NoticeSink, ...]
    ) -> None:
        self._me = me
        self._api = api
        self._namespaces = namespaces
        self._sinks = sinks
        self._known: dict[Key, _Known] = {}
        self._pods_of: dict[Key, dict[Key, PodFace]] = {}
        self._app_of: dict[Key, Key] = {}
        self._is_told = False
        self._tilt_told = False
        self._seen = asyncio.Event()
        self._tokens = 0
        self.stores: Cache[StoreFace] = Cache(
            api, Selection(DRAGONFLY, namespaces), store_face, lambda key, _: self._look(key)
        )
        self.pods: Cache[PodFace] = Cache(
            api, Selection(POD, namespaces, OUR_LABELS), pod_face, self._note_pod
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.stores.run(), name="watch of data stores")
            tasks.create_task(self.pods.run(), name="watch of pods")
            await self.wait_synced()
            # What was there at the start is no news.
            self._is_told = True
            await self._watch_tilt()

    async def wait_synced(self) -> None:
        """Return when everything was seen once."""
        await self.stores.wait_synced()
        await self.pods.wait_synced()

    @property
    def is_synced(self) -> bool:
        """Whether everything was seen once."""
        return self.stores.is_synced and self.pods.is_synced

    @property
    def lost_for_s(self) -> float:
        """How long something is not watched any more; 0: all is."""
        return max(self.stores.lost_for_s, self.pods.lost_for_s)

    @property
    def unserved(self) -> int:
        """How many groups have no primary in service."""
        return sum(not each.picture.primary.serves for each in self._known.values())

    # What commands ask (`runtime.ports.Brain`).

    def group_names(self) -> tuple[GroupName, ...]:
        """All groups, by name; one that never had a primary is none yet."""
        return tuple(self._listed(key) for key in sorted(self._known))

    def group_view(self, name: GroupName) -> GroupView | None:
        """Return a frozen picture of a group as of now, or None."""
        key = self._key(name)
        known = self._known.get(key) if key is not None else None
        if known is None:
            return None
        picture = known.picture
        primary = self._view(name, known, picture.primary, None)
        address = Address(picture.primary.ip, names.DATA_PORT)
        is_tilted = self.tilt_for is not None
        return GroupView(
            name=name,
            primary=primary,
            current_address=address,
            settings=GROUP_SETTINGS,
            config_epoch=Epoch(picture.epoch),
            failover_state="wait_promotion" if picture.is_moving else None,
            replicas=tuple(self._view(name, known, each, address) for each in picture.replicas),
            peers=(),
            usable_sentinels=0 if is_tilted else 1,
            can_reach_quorum=not is_tilted,
            can_authorize=not is_tilted,
        )

    def current_address(self, name: GroupName) -> Address | None:
        """Where clients of a group should go; None: there is no primary in service.

        A Sentinel goes on naming the one before. Here that is somebody whom clients must not write
        to, and libraries treat "nobody" as they treat a Sentinel that cannot help: they try again.
        """
        key = self._key(name)
        known = self._known.get(key) if key is not None else None
        if known is None or not known.picture.primary.serves:
            return None
        return Address(known.picture.primary.ip, names.DATA_PORT)

    @property
    def tilt_for(self) -> Millis | None:
        """How long it goes on with what it knew, because the API server is away; None: it sees."""
        lost_s = self.lost_for_s
        return Millis(int(lost_s * 1000)) if lost_s > TILT_AFTER_S else None

    def durable_state(self) -> DurableState:
        """Return what must survive: nothing, for all of it is in the cluster."""
        return DurableState(self._me)

    def submit(self, fact: Input) -> None:
        """Refuse: no command of the front enters facts."""
        raise AssertionError(f"nobody decides on {fact!r} here")

    async def request(self, make: Callable[[Token], Input]) -> Result:
        """Carry out what somebody asks for: of all requests only a failover can be asked here."""
        self._tokens += 1
        wish = make(Token(self._tokens))
        assert isinstance(wish, FailoverRequested), f"{wish!r} is refused by the table of commands"
        key = self._key(wish.group)
        known = self._known.get(key) if key is not None else None
        if key is None or known is None:
            return Refused(Refusal.NO_SUCH_GROUP)
        if known.picture.is_moving:
            return Refused(Refusal.FAILOVER_IN_PROGRESS)
        pod = ANYBODY
        if wish.to is not None:
            host, port = wish.to.host, wish.to.port
            found = [each.name for each in known.picture.replicas if each.ip == host]
            if not found or port != names.DATA_PORT:
                return Refused(Refusal.NO_GOOD_REPLICA, f"{wish.to} is no replica of {wish.group}")
            pod = found[0]
        return await self._switch(key, pod)

    # A switchover.

    async def _switch(self, key: Key, pod: str) -> Result:
        before = self.stores.get(key)
        if before is None:
            return Refused(Refusal.NO_SUCH_GROUP)
        namespace, name = key
        try:
            await self._ask_operator(key, pod)
        except ApiRefused as error:
            if error.code != httpx2.codes.FORBIDDEN:
                return Refused(Refusal.NO_HAND_OVER, str(error))
            return Refused(
                Refusal.NO_HAND_OVER,
                "this front has no right to ask for one (chart: sentinelFront.allowSwitchover); "
                f"use `everfly k8s -n {namespace} switchover {name}`",
            )
        except EverflyError as error:
            return Refused(Refusal.NO_HAND_OVER, str(error))
        try:
            async with asyncio.timeout(TAKEN_UP_S):
                while (now := self.stores.get(key)) is not None:
                    if now.epoch > before.epoch:
                        return Accepted()
                    if now.switch_to != pod:
                        why = f"the operator refused; the events of {name} say why"
                        return Refused(Refusal.NO_GOOD_REPLICA, why)
                    await self._seen.wait()
        except TimeoutError:
            return await self._withdraw(key)
        return Refused(Refusal.NO_SUCH_GROUP)

    async def _ask_operator(self, key: Key, pod: str | None) -> None:
        change = {"metadata": {"annotations": {names.SWITCH_TO: pod}}}
        item = await self._api.patch(DRAGONFLY, key[1], key[0], change, Patch.MERGE)
        self.stores.put(item)

    async def _withdraw(self, key: Key) -> Result:
        """Take a wish back that nobody took up: it must not come true in the middle of a night."""
        words = f"no operator took it up within {TAKEN_UP_S:g} s; is it running, or is it paused?"
        try:
            await self._ask_operator(key, None)
        except EverflyError as error:
            words = f"{words} The wish could not be taken back: {error}"
        return Refused(Refusal.NO_HAND_OVER, words)

    # What the watches tell.

    def _note_pod(self, key: Key, pod: PodFace) -> None:
        store = (key[0], pod.app)
        before = self._app_of.pop(key, None)
        if before is not None:
            self._pods_of[before].pop(key, None)
        if self.pods.get(key) is not None:
            self._app_of[key] = store
            self._pods_of.setdefault(store, {})[key] = pod
        for each in {store, before or store}:
            if not self._pods_of.get(each):
                self._pods_of.pop(each, None)
            self._look(each)

    def _look(self, key: Key) -> None:
        """See what changed about a data store, and tell it."""
        store, known = self.stores.get(key), self._known.get(key)
        before = known.picture if known is not None else None
        after = None
        if store is not None:
            after = picture_of(store, self._pods_of.get(key, {}).values(), before)
        self._wake()
        if after == before:
            return
        if after is None:
            self._known.pop(key, None)
        else:
            self._known[key] = _known(after, known)
        if self._is_told:
            for name in self._names(key):
                for notice in tidings(name, before, after):
                    self._tell(notice)

    def _wake(self) -> None:
        seen, self._seen = self._seen, asyncio.Event()
        seen.set()

    def _tell(self, notice: Notice) -> None:
        for sink in self._sinks:
            sink.on_notice(notice)

    async def _watch_tilt(self) -> None:
        while True:
            is_tilted = self.tilt_for is not None
            if is_tilted != self._tilt_told:
                self._tilt_told = is_tilted
                event = Event.TILT if is_tilted else Event.UNTILT
                words = "#tilt mode entered" if is_tilted else "#tilt mode exited"
                self._tell(Notice(event, None, None, words))
            await asyncio.sleep(TILT_LOOK_S)

    # Names.

    @property
    def _is_single(self) -> bool:
        return len(self._namespaces) == 1

    def _listed(self, key: Key) -> GroupName:
        return GroupName(key[1] if self._is_single else "/".join(key))

    def _names(self, key: Key) -> tuple[GroupName, ...]:
        """Return all names that clients may know a data store by: events come under each."""
        full = GroupName("/".join(key))
        return (GroupName(key[1]), full) if self._is_single else (full,)

    def _key(self, name: GroupName) -> Key | None:
        namespace, slash, bare = name.partition("/")
        if slash:
            return namespace, bare
        return (self._namespaces[0], name) if self._is_single else None

    # Views.

    def _view(
        self, name: GroupName, known: _Known, instance: Instance, primary: Address | None
    ) -> InstanceView:
        now = time.monotonic()
        since = known.down_since.get(instance.ip)
        down_for = None if instance.serves else _millis(now - (since or now))
        is_primary = primary is None
        flags = [
            ("s_down", not instance.serves),
            ("o_down", is_primary and not instance.serves),
            ("master", is_primary),
            ("slave", not is_primary),
            # Nothing is seen while the API server is away, and clients of ours may ask another one.
            ("disconnected", not instance.serves or self.tilt_for is not None),
            ("failover_in_progress", is_primary and known.picture.is_moving),
        ]
        return InstanceView(
            address=Address(instance.ip, names.DATA_PORT),
            name=name if is_primary else place_of(instance),
            run_id=instance.run_id,
            flags=tuple(flag for flag, holds in flags if holds),
            link=_LINK_UP if instance.serves else _LINK_DOWN,
            s_down_for=down_for,
            o_down_for=down_for if is_primary else None,
            info_ago=_millis(now - known.changed_at),
            role_reported="master" if is_primary else "slave",
            role_reported_for=_millis(now - known.changed_at),
            report=InstanceReport(
                run_id=instance.run_id, primary=primary, primary_link_up=instance.serves
            ),
        )


def _known(picture: Picture, before: _Known | None) -> _Known:
    now = time.monotonic()
    since = before.down_since if before is not None else {}
    instances = (picture.primary, *picture.replicas)
    return _Known(
        picture, now, {each.ip: since.get(each.ip, now) for each in instances if not each.serves}
    )


def _millis(seconds: float) -> Millis:
    return Millis(int(seconds * 1000))
