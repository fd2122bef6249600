"""Ask the Sentinels and instances of a group at the same time, and make one picture of the answers.

Every question has a limit, and all are asked at once, so one hung process delays a picture by
`limit_s` twice (Sentinels, then instances) and never stops it. Connections are kept between
pictures; one that fails is dropped and made again for the next picture.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from everfly.core.model import Address, Role
from everfly.engines import dialect
from everfly.engines.redis import integer
from everfly.errors import EverflyError
from everfly.observe.picture import GroupPicture, InstanceView, KnownInstance, SentinelView
from everfly.observe.printable import printable
from everfly.runtime.client import Client, Credentials
from everfly.wire.info import parse_info
from everfly.wire.resp import ErrorReply, Reply, to_text

LIMIT_S: Final = 1.0
"""How long one process may take to answer; a healthy one takes a millisecond."""

INSTANCES_MAX: Final = 64
SENTINELS_MAX: Final = 32
"""Of one group, so that a Sentinel which claims thousands does not make us connect to them."""

Fields = Mapping[str, str]


class Observer:
    """Makes pictures of one group. Close it, or use `async with`."""

    def __init__(
        self,
        sentinels: Sequence[Address],
        group: str | None = None,
        *,
        credentials: Credentials | None = None,
        of_sentinels: Credentials | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Take the Sentinels to ask first (they name the others) and the name of the group.

        Without a name it is the only group that they watch. `credentials` are for instances.
        """
        self._sentinels = tuple(dict.fromkeys(sentinels))
        self._group = group
        self._credentials = credentials or Credentials()
        self._of_sentinels = of_sentinels
        self._limit_s = limit_s
        self._clients: dict[Address, Client] = {}
        self._one_at_a_time = asyncio.Lock()

    async def picture(self) -> GroupPicture:
        """Return the group as it is now. Raises nothing: what cannot be asked says why."""
        async with self._one_at_a_time:
            return await self._picture()

    async def _picture(self) -> GroupPicture:
        group = self._group
        if group is None:
            group, error = await self._only_group()
            if group is None:
                views = tuple(SentinelView(address=each) for each in self._sentinels)
                return GroupPicture(group="", sentinels=views, error=error)
        views = await self._views(self._sentinels, group)
        others = {peer: None for view in views for peer in view.peers}
        new = [each for each in others if each not in self._sentinels][:SENTINELS_MAX]
        if new:
            views += await self._views(new, group)
        known = _known_instances(views)
        answers = await asyncio.gather(*(self._fields_of(each) for each in known))
        told = dict(zip(known, answers, strict=True))
        instances = tuple(
            _instance_view(each, told, [view for view in views if view.is_reachable])
            for each in known
        )
        return GroupPicture(group=group, sentinels=views, instances=instances)

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        await asyncio.gather(*(each.close() for each in clients.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _only_group(self) -> tuple[str | None, str]:
        answers = await asyncio.gather(
            *(
                self._ask(each, [("SENTINEL", "MASTERS")], self._of_sentinels)
                for each in self._sentinels
            )
        )
        reached = [answer[0] for answer in answers if not isinstance(answer, str)]
        if not reached:
            why = next((answer for answer in answers if isinstance(answer, str)), "none was named")
            return None, f"no Sentinel answers: {why}"
        names = {each["name"]: None for reply in reached for each in _maps(reply) if "name" in each}
        if len(names) == 1:
            return next(iter(names)), ""
        if not names:
            return None, "the Sentinels watch no group"
        shown = ", ".join(printable(name) for name in sorted(names)[:10])
        return None, f"the Sentinels watch {len(names)} groups ({shown}); choose one with --name"

    async def _views(self, sentinels: Sequence[Address], group: str) -> tuple[SentinelView, ...]:
        return tuple(await asyncio.gather(*(self._view(each, group) for each in sentinels)))

    async def _view(self, sentinel: Address, group: str) -> SentinelView:
        questions = [
            ("SENTINEL", "MYID"),
            ("SENTINEL", "MASTER", group),
            ("SENTINEL", "REPLICAS", group),
            ("SENTINEL", "SENTINELS", group),
            ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", group),
            ("SENTINEL", "CKQUORUM", group),
        ]
        replies = await self._ask(sentinel, questions, self._of_sentinels)
        if isinstance(replies, str):
            return SentinelView(address=sentinel, error=replies)
        run_id, master, replicas, peers, client_address, quorum = replies
        if isinstance(run_id, ErrorReply):
            return SentinelView(address=sentinel, error=f"is no Sentinel: {printable(run_id.text)}")
        fields = _map(master)
        state = fields.get("failover-state", "")
        return SentinelView(
            address=sentinel,
            run_id=printable(_text(run_id)),
            primary=_known_instance(fields),
            client_address=_pair(client_address),
            config_epoch=integer(fields.get("config-epoch")) or 0,
            failover_state="" if state == "none" else printable(state),
            replicas=tuple(filter(None, map(_known_instance, _maps(replicas)))),
            peers=tuple(filter(None, map(_address, _maps(peers)))),
            quorum=integer(fields.get("quorum")) or 0,
            quorum_trouble=printable(quorum.text) if isinstance(quorum, ErrorReply) else "",
        )

    async def _fields_of(self, instance: Address) -> Fields | str:
        replies = await self._ask(instance, [("INFO",)], self._credentials)
        if isinstance(replies, str):
            return replies
        if isinstance(replies[0], ErrorReply):
            return printable(replies[0].text)
        return parse_info(replies[0]) if isinstance(replies[0], bytes) else "answers INFO strangely"

    async def _ask(
        self,
        address: Address,
        questions: Sequence[Sequence[str]],
        credentials: Credentials | None = None,
    ) -> list[Reply] | str:
        """Return the replies, or why there are none."""
        try:
            async with asyncio.timeout(self._limit_s):
                client = await self._client(address, credentials)
                return await client.transaction(questions, timeout_s=self._limit_s)
        except TimeoutError:
            reason = f"silent for {self._limit_s:g} s"
        except EverflyError as error:
            # Whoever shows the reason has said already who does not answer.
            text = str(error).removeprefix(f"{address} ").removeprefix("cannot be reached: ")
            reason = printable(re.sub(r"^does not answer \S+ within", "silent for", text))
        if address in self._clients:
            await self._clients.pop(address).close()
        return reason

    async def _client(self, address: Address, credentials: Credentials | None) -> Client:
        client = self._clients.get(address)
        if client is not None and client.is_usable:
            return client
        if client is not None:
            await client.close()
        self._clients[address] = await Client.connect(
            address, timeout_s=self._limit_s, credentials=credentials, name="everfly-observe"
        )
        return self._clients[address]


async def picture(
    sentinels: Sequence[Address],
    group: str | None = None,
    *,
    credentials: Credentials | None = None,
    limit_s: float = LIMIT_S,
) -> GroupPicture:
    """Return one picture of a group; see `Observer` for several."""
    async with Observer(sentinels, group, credentials=credentials, limit_s=limit_s) as observer:
        return await observer.picture()


def _known_instances(views: Sequence[SentinelView]) -> list[Address]:
    """Return every instance that any Sentinel names, by address: the order survives a failover."""
    known = [view.client_address for view in views]
    known += [view.primary.address for view in views if view.primary is not None]
    # Cut before sorting, so that too many replicas never displace a primary.
    known += [each.address for view in views for each in view.replicas]
    different = list(dict.fromkeys(each for each in known if each is not None))
    return sorted(different[:INSTANCES_MAX], key=_order)


def _order(address: Address) -> tuple[str, int]:
    return address.host, address.port


def _instance_view(
    address: Address, told: Mapping[Address, Fields | str], views: Sequence[SentinelView]
) -> InstanceView:
    known = [
        each
        for view in views
        for each in (view.primary, *view.replicas)
        if each is not None and each.address == address
    ]
    flags = frozenset[str]().union(*(each.flags for each in known))
    down = sum("s_down" in each.flags for each in known)
    fields = told[address]
    if isinstance(fields, str):
        return InstanceView(address=address, error=fields, flags=flags, down_in_eyes_of=down)
    report = dialect.report(fields)
    silent_s = integer(fields.get("master_last_io_seconds_ago"))
    return InstanceView(
        address=address,
        report=report,
        version=printable(dialect.version_of(fields)),
        zone=printable(fields.get("availability_zone", "")),
        lag=_lag(address, fields, told),
        silent_s=silent_s if silent_s is not None and silent_s >= 0 else None,
        flags=flags,
        down_in_eyes_of=down,
    )


def _lag(address: Address, fields: Fields, told: Mapping[Address, Fields | str]) -> int | None:
    report = dialect.report(fields)
    followed = told.get(report.primary) if report.primary is not None else None
    if report.role is not Role.REPLICA or followed is None or isinstance(followed, str):
        return None
    end = dialect.report(followed).offset
    if end is not None and report.offset is not None:
        return max(0, end - report.offset)
    # Dragonfly: the primary says how many journal entries each replica lacks.
    for name, value in followed.items():
        pairs = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
        if name.startswith("slave") and _address(pairs) == address:
            return integer(pairs.get("lag"))
    return None


def _known_instance(fields: Fields) -> KnownInstance | None:
    address = _address(fields)
    if address is None:
        return None
    flags = frozenset(map(printable, filter(None, fields.get("flags", "").split(","))))
    return KnownInstance(address=address, flags=flags, run_id=printable(fields.get("runid", "")))


def _address(fields: Fields) -> Address | None:
    port = integer(fields.get("port"))
    host = fields.get("ip", "")
    if not host or port is None or not 0 < port < 65_536:
        return None
    return Address(printable(host), port)


def _pair(reply: Reply) -> Address | None:
    match reply:
        case [bytes() as host, bytes() as port]:
            return _address({"ip": to_text(host), "port": to_text(port)})
        case _:
            return None


def _maps(reply: Reply) -> list[dict[str, str]]:
    return [_map(each) for each in reply] if isinstance(reply, list) else []


def _map(reply: Reply) -> dict[str, str]:
    if isinstance(reply, dict):
        return {_text(key): _text(value) for key, value in reply.items()}
    if not isinstance(reply, list):
        return {}
    return {_text(key): _text(value) for key, value in zip(reply[::2], reply[1::2], strict=False)}


def _text(reply: Reply) -> str:
    return to_text(reply) if isinstance(reply, bytes) else ""
