"""Turn one instance's admin port into what it says of itself and how our questions fare.

Rules: one connection that stays, a short INFO a second (the admin port answers it in every state,
so a PING would say nothing more), the whole INFO when a process or a role is new and now and then;
a lost connection is asked again at once; each question has a limit, so that one that hangs delays
nobody but itself. Orders never use this connection: one that hangs would look like an instance that
does.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from everfly.core.group_view import Contact, Facts
from everfly.core.model import Address, Instant, Millis, Role
from everfly.engines import dialect
from everfly.errors import EverflyError, RemoteError
from everfly.operator.names import CLIENT_NAME
from everfly.runtime.client import Client
from everfly.wire.info import parse_fields, parse_info
from everfly.wire.resp import ErrorReply, Reply

ANSWER_S: Final = 1.0
"""Limit of a question: a healthy instance answers in a millisecond."""
PEACE_S: Final = 1.0
TROUBLE_S: Final = 0.5
"""Between questions while something is wrong with the group."""
REFUSED_S: Final = 0.1
"""Between questions to a port that was just found closed, for the first two seconds."""
REFUSED_SOON_MS: Final = 2_000
WHOLE_EVERY_MS: Final = 15_000
"""Between two whole INFO: how many keys there are need not be newer."""

_KEYS = re.compile(r"db[0-9]+")


def now_ms() -> Instant:
    """Return the monotonic clock, as the decisions read it."""
    return Instant(time.monotonic_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of an instance."""

    facts: Facts | None = None
    contact: Contact = Contact()
    link_down_since: Instant | None = None
    applied_at: Instant | None = None
    """When a replica was last seen to have applied more of its history than before."""


class Probe:
    """Asks one instance. `run` it until it is cancelled."""

    def __init__(self, address: Address, on_change: Callable[[], None]) -> None:
        self.address: Final = address
        self.reading = Reading()
        self.is_troubled = False
        """Set by whoever looks after the group: ask more often."""
        self._on_change = on_change
        self._wake = asyncio.Event()
        self._client: Client | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._whole_at: Instant | None = None
        self._is_connection_new = False
        self._details: dict[str, str] = {}
        self._began = Instant(0)
        self._asked = asyncio.Event()

    def poke(self) -> None:
        """Ask at once."""
        self._wake.set()

    async def refresh(self) -> None:
        """Return when a question that is asked from now on is answered, or has failed."""
        since = now_ms()
        self.poke()
        while self._began < since:
            self._asked.clear()
            await self._asked.wait()

    async def run(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                before = self.reading
                self._wake.clear()
                began = now_ms()
                await self._ask()
                self._began = began
                self._asked.set()
                if _differ(before, self.reading):
                    self._on_change()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s()):
                        await self._wake.wait()
        finally:
            await self._hang_up()

    def _pause_s(self) -> float:
        contact = self.reading.contact
        if contact.failing_since is not None and contact.is_refused:
            is_fresh = now_ms() - contact.failing_since < REFUSED_SOON_MS
            return REFUSED_S if is_fresh else TROUBLE_S
        is_troubled = self.is_troubled or contact.failing_since is not None
        return TROUBLE_S if is_troubled else PEACE_S

    async def _ask(self) -> None:
        began = now_ms()
        try:
            client = await self._connected()
            wants_whole = self._whole_at is None or began - self._whole_at >= WHOLE_EVERY_MS
            info = ("INFO",) if wants_whole else ("INFO", "REPLICATION")
            reply = await client.call(*info, timeout_s=ANSWER_S)
            self._take(reply, began, is_whole=wants_whole)
        except EverflyError as error:
            await self._hang_up()
            self._note_failure(began, is_refused=_is_refusal(error))

    def _take(self, reply: Reply, began: Instant, *, is_whole: bool) -> None:
        if not isinstance(reply, bytes):
            text = reply.text if isinstance(reply, ErrorReply) else "no text"
            raise RemoteError(f"{self.address} answers INFO with {text}")
        fields = parse_info(reply)
        if is_whole:
            self._note_process(fields, began)
            self._details = {
                key: value
                for key, value in fields.items()
                if key in ("loading", "load_state") or _KEYS.fullmatch(key)
            }
            self._whole_at = began
        before = self.reading
        facts = facts_of({**self._details, **fields}, before.facts)
        if facts is None:
            raise RemoteError(f"{self.address} does not say its role")
        is_role_new = before.facts is None or before.facts.role is not facts.role
        if facts.is_loading or (is_role_new and not is_whole):
            self._whole_at = None
            self._wake.set()
        self.reading = Reading(
            facts,
            Contact(answered_at=began),
            self._link_down(facts, began),
            began if _has_applied(before.facts, facts) else before.applied_at,
        )

    def _note_process(self, fields: dict[str, str], began: Instant) -> None:
        """Forget what the instance said if another process may answer by now.

        It is the same one only if it was surely born before the last answer. An uptime is in whole
        seconds, so that a young process may be taken for another one; then it is merely asked anew.
        """
        uptime, answered_at = fields.get("uptime_in_seconds", ""), self.reading.contact.answered_at
        if not self._is_connection_new or answered_at is None or not uptime.isdigit():
            return
        self._is_connection_new = False
        if began - int(uptime) * 1000 > answered_at:
            self.reading = Reading(contact=self.reading.contact)

    def _link_down(self, facts: Facts, began: Instant) -> Instant | None:
        if facts.role is not Role.REPLICA or facts.is_link_up:
            return None
        since = self.reading.link_down_since
        if since is None:
            since = Instant(began - (facts.link_silent_for or 0))
        return since

    def _note_failure(self, began: Instant, *, is_refused: bool) -> None:
        contact = self.reading.contact
        since = began if contact.failing_since is None else contact.failing_since
        self.reading = replace(
            self.reading, contact=Contact(contact.answered_at, since, is_refused)
        )

    async def _connected(self) -> Client:
        if self._client is None:
            client = await Client.connect(self.address, timeout_s=ANSWER_S, name=CLIENT_NAME)
            self._client, self._whole_at = client, None
            self._is_connection_new = True
            self._watcher = asyncio.create_task(self._watch(client))
        return self._client

    async def _watch(self, client: Client) -> None:
        await client.wait_lost()
        self._wake.set()

    async def _hang_up(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        if self._client is not None:
            await self._client.close()
            self._client = None


def _differ(before: Reading, after: Reading) -> bool:
    """Tell whether anything changed that a decision could rest upon, but for times and offsets."""
    return _essence(before) != _essence(after)


def _essence(reading: Reading) -> object:
    facts = reading.facts
    if facts is not None:
        facts = replace(facts, offset=None, link_silent_for=None, keys=None)
    contact = reading.contact
    return facts, contact.is_reachable, contact.is_refused


def _has_applied(before: Facts | None, now: Facts) -> bool:
    # A copy that ends shows an offset at once: it was begun by what came before.
    return (
        before is not None
        and before.history == now.history
        and before.offset is not None
        and now.offset is not None
        and now.offset > before.offset
    )


def _is_refusal(error: EverflyError) -> bool:
    return isinstance(error.__cause__, ConnectionRefusedError)


def facts_of(fields: dict[str, str], before: Facts | None) -> Facts | None:
    """Translate INFO, given as field -> value; None when it says no role.

    `before` is what the same process said last: a primary that was a replica was promoted.
    """
    report = dialect.report(fields)
    if report.role is None:
        return None
    silent = fields.get("master_last_io_seconds_ago", "")
    is_replica = report.role is Role.REPLICA
    promoted_from = ""
    if before is not None and not is_replica:
        promoted_from = before.history if before.role is Role.REPLICA else before.promoted_from
    return Facts(
        role=report.role,
        history=report.history,
        offset=report.offset if is_replica else None,
        primary=report.primary,
        is_link_up=report.primary_link_up,
        link_silent_for=Millis(int(silent) * 1000) if silent.isdigit() else None,
        is_syncing=report.is_syncing,
        is_loading=_is_loading(fields),
        keys=_keys(fields),
        online_replicas=() if is_replica else _online(fields),
        promoted_from=promoted_from,
    )


def _is_loading(fields: dict[str, str]) -> bool:
    # Source: `isPodReady`, internal/controller/dragonfly_instance.go, dragonfly-operator (v1.6.1).
    return fields.get("loading", "0") not in ("", "0") or fields.get("load_state", "done") not in (
        "",
        "done",
    )


def _keys(fields: dict[str, str]) -> int | None:
    counts = [parse_fields(value) for key, value in fields.items() if _KEYS.fullmatch(key)]
    if not counts:
        return None
    return sum(int(each["keys"]) for each in counts if each.get("keys", "").isdigit())


def _online(fields: dict[str, str]) -> tuple[str, ...]:
    hosts = []
    for key, value in fields.items():
        if key.startswith("slave") and key[5:].isdigit():
            replica = parse_fields(value)
            if replica.get("state") == "online" and replica.get("ip"):
                hosts.append(replica["ip"])
    return tuple(sorted(hosts))
