"""Turn a Lease into the right to act, and its number of holders into a term that fences.

Rules: whoever holds the lease renews it every two seconds and acts only while the last renewal that
the API server confirmed *began* less than ten seconds ago; another one takes it only when it has
itself seen no renewal for fifteen seconds. Both measure with their own monotonic clock, so clocks
that differ do no harm. Every change of holder raises `leaseTransitions`; that is the term.

Source: the durations are those of the upstream operator (controller-runtime's defaults), so that
either can follow the other on one lease. Method: client-go, tools/leaderelection/leaderelection.go.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator.apiserver.api import LEASE, Api, Object, Refused

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long what may take, in seconds."""

    duration_s: float = 15.0
    """Without a renewal for this long, another one takes over."""
    deadline_s: float = 10.0
    """After which a holder stops to act: well before another one may begin."""
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants the lease."""

    identity: str
    """Of this process; no other one ever had it."""
    pod: str = ""
    """In which it runs, if that is known: in one pod one operator runs at a time."""


class Lease:
    """One candidate for a lease. `run` it until cancelled; ask `holds` before each deed."""

    def __init__(
        self,
        api: Api,
        place: tuple[str, str],
        candidate: Candidate,
        *,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace, self._name = place
        self.identity: Final = candidate.identity
        self._own_pod = candidate.pod
        self._times = times or LeaseTimes()
        self._clock = clock
        self._renewed_at: float | None = None
        self._seen: tuple[str, str, int] = ("", "", 0)
        self._seen_at = 0.0
        self._floor = 0
        self._try_now = asyncio.Event()
        self.term = 0
        """Of our holding; meaningless while we do not hold it."""

    @property
    def holds(self) -> bool:
        """Whether we may act now."""
        renewed_at = self._renewed_at
        return renewed_at is not None and self._clock() - renewed_at < self._times.deadline_s

    async def run(self) -> None:
        """Try to take and to keep the lease until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._times.deadline_s):
                    await self.attempt()
            except TimeoutError:
                log.warning("lease %s: no answer of the API server", self._name)
            except EverflyError as error:
                log.warning("lease %s: %s", self._name, error)
            self._try_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._times.retry_s):
                    await self._try_now.wait()

    def rise_above(self, term: int) -> None:
        """Take a term above one that is written somewhere: the lease was made anew since then.

        The next renewal writes it, and fails if somebody else holds the lease.
        """
        if self._floor <= term:
            self._floor = term + 1
            self._try_now.set()

    async def release(self) -> None:
        """Give the lease back, so that the next one need not wait. Raise Refused, Unavailable."""
        if not self.holds:
            return
        self._renewed_at = None
        lease = await self._api.get(LEASE, self._name, self._namespace)
        if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
            lease["spec"] |= {
                "holderIdentity": "",
                "leaseDurationSeconds": 1,
                "renewTime": _stamp(),
            }
            await self._api.replace(LEASE, self._namespace, lease)

    async def attempt(self) -> None:
        """Try once to take or to keep the lease. Raise Refused, Unavailable."""
        began = self._clock()
        lease = await self._api.get(LEASE, self._name, self._namespace)
        if lease is None:
            await self._create(began)
            return
        spec = lease.get("spec") or {}
        self._note(spec, began)
        holder = spec.get("holderIdentity") or ""
        if self._own_pod and holder.rpartition("_")[0] == self._own_pod and holder != self.identity:
            # The platform starts a container anew only after the former process has ended.
            holder = ""
        if holder not in ("", self.identity) and began - self._seen_at < self._times.duration_s:
            self._lose()
            return
        transitions = int(spec.get("leaseTransitions") or 0)
        if holder != self.identity:
            transitions += 1
            spec["acquireTime"] = _stamp()
        transitions = max(transitions, self._floor)
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._times.duration_s),
            "renewTime": _stamp(),
            "leaseTransitions": transitions,
        }
        lease["spec"] = spec
        try:
            await self._api.replace(LEASE, self._namespace, lease)
        except Refused as error:
            if error.code != httpx2.codes.CONFLICT:
                raise
            return  # somebody was faster; the next look tells who
        self._win(began, transitions)

    async def _create(self, began: float) -> None:
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._times.duration_s),
            "acquireTime": _stamp(),
            "renewTime": _stamp(),
            "leaseTransitions": 1,
        }
        manifest: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            await self._api.create(LEASE, self._namespace, manifest)
        except Refused as error:
            if error.code != httpx2.codes.CONFLICT:
                raise
            return
        self._win(began, 1)

    def _note(self, spec: Object, now: float) -> None:
        seen = (
            str(spec.get("holderIdentity") or ""),
            str(spec.get("renewTime") or ""),
            int(spec.get("leaseTransitions") or 0),
        )
        if seen != self._seen:
            self._seen, self._seen_at = seen, now

    def _win(self, began: float, term: int) -> None:
        if self._renewed_at is None:
            log.info("lease %s: held by %s, term %d", self._name, self.identity, term)
        self._renewed_at, self.term = began, term

    def _lose(self) -> None:
        if self._renewed_at is not None:
            log.warning("lease %s: lost to %s", self._name, self._seen[0])
        self._renewed_at = None


class NoLease:
    """The right to act where there is only one operator (`--leader-elect` is not given)."""

    holds: Final = True

    def __init__(self) -> None:
        self.term = 0

    def rise_above(self, term: int) -> None:
        """Go on in the term that is written: nobody else is there to be fenced off."""
        self.term = max(self.term, term)

    async def run(self) -> None:
        """Do nothing until cancelled."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing."""


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
