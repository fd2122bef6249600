"""Turn what an operator that waits for the lease sees into a word that the acting one may count on.

Both ask every instance. The one that waits says in the Lease `everfly-witness`, beside the lease of
the operators, which primaries gave it no answer, and for how long. Rules:

* nothing is written while every primary answers; while one does not, two small writes a second;
* the acting operator reads it only while a primary does not answer itself;
* a word counts for two seconds, and its age is what the reader can prove with its own clock;
* whoever speaks from the same machine, or does not say from which, is not a second observer;
* of a group of which the speaker reaches nobody it says nothing: its own network may be broken;
  nor of a primary whose writes it sees a replica apply.

How the age is proved: a speaker numbers its words, and thinks of the next one only after the API
server has confirmed the last one. Whoever asked at time T and was shown number N, and is later
shown N + 2 or a higher one, knows that this was thought of after T: N + 1 was not there at T yet.
After a write whose fate is not known a speaker begins to count anew, under another name.
"""

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

from everfly.core.diagnosis import is_fed
from everfly.core.group_view import GroupView, Statement
from everfly.core.model import Instant, Millis
from everfly.errors import EverflyError
from everfly.operator.apiserver.api import LEASE, Api, Object, Refused
from everfly.operator.apiserver.caches import Key
from everfly.operator.apiserver.terms import LeaseLike
from everfly.operator.manifest import JsonObject, objects, text
from everfly.operator.names import ANNOTATION_SILENT, WITNESS_NAME
from everfly.operator.probe import now_ms

log = logging.getLogger(__name__)

SPEAK_AFTER_MS: Final = 1_000
"""Of silence, one question that got no answer. Early, so that the count is under way when it
matters."""
STEP_S: Final = 0.25
"""Between two looks at our own keepers, which cost nobody anything."""
WORD_S: Final = 0.5
"""Between two words while a primary is silent."""
HEAR_S: Final = 0.4
"""Between two questions for words while a primary is silent."""
FRESH_MS: Final = 2_000
REQUEST_S: Final = 2.0
"""Limit of a request: a word that takes longer is of no use to anybody."""
REFUSED_S: Final = 30.0
"""After which rights that we lack are tried again."""
SAID_MAX: Final = 256
"""Primaries in one word; those that fell silent last, because the others are known by then."""
TEXT_MAX: Final = 64 * 1024
SPEAKERS_MAX: Final = 8
LOOKS_MAX: Final = 32
"""Answers that are remembered of each speaker: more than are given while a word is fresh."""


class Watching(Protocol):
    """What a keeper shows. Implemented by `keeper.Keeper`."""

    view: GroupView | None

    def wake(self) -> None:
        """Look at once."""
        ...


@dataclass(frozen=True, slots=True)
class Word:
    """What one observer says at one moment."""

    speech: str
    """Names a run of words that are numbered without a gap."""
    number: int
    witness: str
    host: str
    said: tuple[tuple[str, Millis], ...] = ()
    """Incarnations of primaries, and how long each of them gave no answer."""


def silence_of(view: GroupView, now: Instant) -> tuple[str, Millis] | None:
    """Return the primary's incarnation and how long it is silent; None: it is not, or who knows."""
    primary = view.primary
    if primary is None or primary.contact.failing_since is None:
        return None
    others = view.others(primary.name)
    if not any(each.is_reachable for each in others):
        return None
    if any(is_fed(view, each, primary, now) for each in others):
        return None
    return primary.incarnation, Millis(now - primary.contact.failing_since)


def silences(views: Iterable[GroupView], now: Instant) -> tuple[tuple[str, Millis], ...]:
    """Return the silent primaries of all groups, the last one to fall silent first."""
    found = [each for each in (silence_of(view, now) for view in views) if each is not None]
    found = [each for each in found if each[1] >= SPEAK_AFTER_MS]
    return tuple(sorted(found, key=lambda each: each[1])[:SAID_MAX])


def encode(word: Word) -> str:
    """Return a word as text."""
    said = [{"incarnation": name, "silentMs": span} for name, span in word.said]
    return json.dumps(
        {
            "speech": word.speech, "number": word.number,
            "witness": word.witness, "host": word.host, "silent": said,
        },
        separators=(",", ":"),
    )  # fmt: skip


def decode(value: str) -> Word | None:
    """Return the word in a text; None: it is none of ours."""
    if not value or len(value) > TEXT_MAX:
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    number = found.get("number") if isinstance(found, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    said = []
    for each in objects(found, "silent")[:SAID_MAX]:
        span = each.get("silentMs")
        if isinstance(span, int) and not isinstance(span, bool) and text(each, "incarnation"):
            said.append((text(each, "incarnation"), Millis(span)))
    witness, host, speech = text(found, "witness"), text(found, "host"), text(found, "speech")
    return Word(speech, number, witness, host, tuple(said)) if speech and witness else None


def word_of(item: JsonObject | None) -> Word | None:
    """Return the word in an object of the API server."""
    return (
        None if item is None else decode(text(item, "metadata", "annotations", ANNOTATION_SILENT))
    )


@dataclass
class _Heard:
    word: Word
    looks: deque[tuple[Instant, int]] = field(default_factory=lambda: deque(maxlen=LOOKS_MAX))
    """When it was asked, and which number was shown."""

    def as_of(self) -> Instant | None:
        """Return after when the newest word was surely thought of; None: who knows."""
        before = [at for at, number in self.looks if number <= self.word.number - 2]
        return max(before, default=None)


class Hearing:
    """What the acting operator heard. `host` is its own machine; empty: not known."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._heard: dict[str, _Heard] = {}

    def note(self, word: Word | None, asked_at: Instant) -> bool:
        """Take in what an answer shows to a question of that time. Return whether it is new."""
        if word is None or not word.host or word.host == self._host or not self._host:
            return False
        heard = self._heard.pop(word.speech, None) or _Heard(word)
        is_new = not heard.looks or word.number > heard.word.number
        if word.number >= heard.word.number:
            heard.word = word
        heard.looks.append((asked_at, word.number))
        self._heard[word.speech] = heard
        while len(self._heard) > SPEAKERS_MAX:
            del self._heard[next(iter(self._heard))]
        return is_new

    def statements(self, now: Instant) -> tuple[Statement, ...]:
        """Return what counts now."""
        found = []
        for heard in self._heard.values():
            as_of = heard.as_of()
            if as_of is not None and now - as_of <= FRESH_MS:
                word = heard.word
                found += [Statement(word.witness, name, span) for name, span in word.said]
        return tuple(found)


class Witness:
    """One operator as a witness while it waits, and as a listener while it acts. `run` it."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        me: tuple[str, str],
        lease: LeaseLike,
        keepers: Callable[[], Iterable[tuple[Key, Watching]]],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name, self._host = me
        self._lease = lease
        self._keepers = keepers
        self._hearing = Hearing(self._host)
        self._speech = secrets.token_hex(8)
        self._number = 0
        self._trouble = ""

    def statements(self) -> tuple[Statement, ...]:
        """Return what another observer says now of primaries, as far as it counts."""
        return self._hearing.statements(now_ms())

    async def run(self) -> None:
        """Bear witness, or hear it, until cancelled."""
        if not self._host:
            log.info("NODE_NAME is not given: this operator neither is a witness nor hears one")
            await asyncio.Event().wait()
        while True:
            pause = STEP_S
            try:
                async with asyncio.timeout(REQUEST_S):
                    pause = await (self._hear() if self._lease.holds else self._speak())
                self._trouble = ""
            except (EverflyError, TimeoutError) as error:
                self._begin_anew()
                self._tell(str(error) or f"no answer within {REQUEST_S:g} s")
                if isinstance(error, Refused):
                    pause = REFUSED_S
            await asyncio.sleep(pause)

    def _begin_anew(self) -> None:
        self._speech, self._number = secrets.token_hex(8), 0

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("lease %s: no witness: %s", WITNESS_NAME, trouble)

    async def _speak(self) -> float:
        views = [each.view for _, each in self._keepers() if each.view is not None]
        said = silences(views, now_ms())
        if not said:
            return STEP_S
        self._number += 1
        word = Word(self._speech, self._number, self._name, self._host, said)
        await self._api.apply(
            LEASE, WITNESS_NAME, self._namespace, self._manifest(word), force=True
        )
        return WORD_S

    def _manifest(self, word: Word) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": WITNESS_NAME,
                "namespace": self._namespace,
                "annotations": {ANNOTATION_SILENT: encode(word)},
            },
            "spec": {
                "holderIdentity": self._name,
                # For people; nobody compares it with a clock.
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }

    async def _hear(self) -> float:
        waiting = [each for _, each in self._keepers() if _asks(each.view)]
        if not waiting:
            return STEP_S
        asked_at = now_ms()
        item = await self._api.get(LEASE, WITNESS_NAME, self._namespace)
        if self._hearing.note(word_of(item), asked_at):
            for each in waiting:
                each.wake()
        return HEAR_S


def _asks(view: GroupView | None) -> bool:
    """Tell whether a word of somebody else could change what becomes of a group."""
    if view is None or view.primary is None or len(view.members) < 2:
        return False
    return view.primary.contact.failing_since is not None
