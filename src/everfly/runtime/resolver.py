"""Turn host names into IP addresses without ever holding up the event loop.

Rules: a literal address is its own answer, at once; answers and failures are remembered for a
short while; one lookup a name at a time, few in all, each with a limit. A lookup that fails leaves
the last good answer usable, because a name server that is down says nothing about the host.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from everfly.errors import Unavailable
from everfly.runtime.threads import in_thread
from everfly.wire.literal_ip import literal_ip

TTL_S: Final = 5.0
"""Names of containers move to new addresses within seconds; more often need nobody ask."""
NEGATIVE_TTL_S: Final = 1.0
LOOKUP_LIMIT_S: Final = 2.0
LOOKUPS_MAX: Final = 8
"""Threads at the same time. A name server that hangs holds each for up to half a minute."""
NAMES_MAX: Final = 4_096
"""Remembered names: above it the oldest go."""


@dataclass(frozen=True, slots=True)
class _Known:
    ip: str
    """Empty: it could not be resolved, and never could."""
    until: float
    """By the clock: then it is asked anew."""
    failure: str = ""


@lru_cache(NAMES_MAX)
def to_literal(host: str) -> str | None:
    """Return an IP address in its usual form, or None for what is none."""
    # The zone of an IPv6 address (`fe80::1%eth0`) may be any text, also one that breaks a file.
    return literal_ip(host) if host.isprintable() and " " not in host else None


def is_literal(host: str) -> bool:
    """Return whether this is an IP address already."""
    return to_literal(host) is not None


def look_up(host: str) -> str:
    """Return the first address of a name, blocking. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


class Resolver:
    """Names of instances and peers to IP addresses.

    `look_up` blocks, on a thread of its own, for as long as it likes: after `limit_s` nobody waits
    for it. `clock` counts seconds.
    """

    def __init__(
        self,
        look_up: Callable[[str], str] = look_up,
        *,
        clock: Callable[[], float] = time.monotonic,
        limit_s: float = LOOKUP_LIMIT_S,
    ) -> None:
        self._look_up = look_up
        self._clock = clock
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, _Known] = {}
        self._running: dict[str, asyncio.Task[str]] = {}
        self._slots = asyncio.Semaphore(LOOKUPS_MAX)

    def resolve_now(self, host: str) -> str | None:
        """Return the address as far as it is known at once, or None."""
        known = self._known.get(host)
        if known is None:
            return to_literal(host)
        return known.ip if known.ip and self._clock() < known.until else None

    async def resolve(self, host: str) -> str:
        """Return an IP address, IPv4 or IPv6 as the system prefers.

        Raises Unavailable when it has none, or the name server does not answer in time.
        """
        found = self.resolve_now(host)
        if found is not None:
            return found
        known = self._known.get(host)
        if known is not None and not known.ip and self._clock() < known.until:
            raise Unavailable(known.failure)
        task = self._running.get(host)
        if task is None:
            task = self._loop.create_task(self._ask(host), name=f"resolve {host}")
            self._running[host] = task
            task.add_done_callback(lambda _: self._running.pop(host, None))
        # Whoever gives up waiting must not take the answer away from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up all lookups."""
        running = tuple(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _ask(self, host: str) -> str:
        failure = f"Failed to resolve hostname '{host}': no answer within {self._limit_s:g} s"
        try:
            async with asyncio.timeout(self._limit_s):
                return self._remember(host, await self._in_slot(host))
        except TimeoutError:
            pass
        except (OSError, UnicodeError, ValueError) as error:
            # UnicodeError: a label that is too long for the DNS; ValueError: a zero character.
            failure = f"Failed to resolve hostname '{host}': {_reason(error)}"
        known = self._known.get(host)
        last_good = known.ip if known is not None else ""
        self._store(host, _Known(last_good, self._clock() + NEGATIVE_TTL_S, failure))
        if last_good:
            return last_good
        raise Unavailable(failure)

    async def _in_slot(self, host: str) -> str:
        await self._slots.acquire()
        # The slot is the thread's, which cannot be stopped, not that of whoever waits for it.
        work = self._loop.create_task(in_thread(f"resolve {host}", lambda: self._look_up(host)))
        work.add_done_callback(self._end_lookup)
        return await asyncio.shield(work)

    def _end_lookup(self, work: asyncio.Task[str]) -> None:
        self._slots.release()
        if not work.cancelled():
            work.exception()  # Seen, also where nobody waits for it any more.

    def _remember(self, host: str, ip: str) -> str:
        self._store(host, _Known(ip, self._clock() + TTL_S))
        return ip

    def _store(self, host: str, known: _Known) -> None:
        self._known.pop(host, None)
        self._known[host] = known
        while len(self._known) > NAMES_MAX:
            del self._known[next(iter(self._known))]


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
