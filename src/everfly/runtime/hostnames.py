"""Turn hosts in hellos and reports into addresses with an IP, before the core compares them.

Rules: without a name in it a value passes at once; with names that were resolved lately too; else
it waits for the resolver, in a task. A hello with a name that cannot be resolved says nothing; from
a report only what cannot be resolved is left out.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from everfly.core.model import Address, Hello, InstanceReport
from everfly.errors import Unavailable
from everfly.runtime.resolver import Resolver, is_literal

WAITING_MAX: Final = 1_000
"""Values that wait for a name server; more are let go as unresolvable."""


class Hostnames:
    """Adds IPs to addresses. `is_enabled`: whether names are resolved at all just now."""

    def __init__(
        self, resolver: Resolver, tasks: asyncio.TaskGroup, is_enabled: Callable[[], bool]
    ) -> None:
        self._resolver = resolver
        self._tasks = tasks
        self._is_enabled = is_enabled
        self._waiting = 0

    def resolve_hello(self, hello: Hello, then: Callable[[Hello | None], None]) -> None:
        """Call `then` with the hello as it is to be believed, or None; at once where possible."""

        def go_on() -> None:
            sender, primary = self._known(hello.sender), self._known(hello.primary)
            if sender is None or primary is None:
                then(None)
            else:
                then(replace(hello, sender=sender, primary=primary))

        if not has_names(hello.sender, hello.primary):
            then(hello)
        else:
            self._when_known((hello.sender.host, hello.primary.host), go_on)

    def resolve_report(
        self, report: InstanceReport, then: Callable[[InstanceReport], None]
    ) -> None:
        """Call `then` with the report as it is to be believed; at once where possible."""

        def go_on() -> None:
            found = (self._known(replica) for replica in report.replicas)
            replicas = tuple(replica for replica in found if replica is not None)
            primary = report.primary and (self._known(report.primary) or report.primary)
            then(replace(report, replicas=replicas, primary=primary))

        addresses = report.replicas if report.primary is None else (report.primary,)
        if not has_names(*addresses):
            then(report)
        else:
            self._when_known((address.host for address in addresses), go_on)

    def _known(self, address: Address) -> Address | None:
        if is_literal(address.host):
            return address
        ip = self._resolver.resolve_now(address.host) if self._is_enabled() else None
        return replace(address, ip=ip) if ip else None

    def _when_known(self, hosts: Iterable[str], go_on: Callable[[], None]) -> None:
        missing = [host for host in hosts if self._resolver.resolve_now(host) is None]
        if not missing or not self._is_enabled() or self._waiting >= WAITING_MAX:
            go_on()
            return
        self._waiting += 1
        self._tasks.create_task(self._resolve(missing, go_on), name="resolve hosts")

    async def _resolve(self, hosts: list[str], go_on: Callable[[], None]) -> None:
        try:
            for host in hosts:
                try:
                    await self._resolver.resolve(host)
                except Unavailable:
                    continue  # `go_on` sees that it is not known.
        finally:
            self._waiting -= 1
        go_on()


def has_names(*addresses: Address) -> bool:
    """Return whether a host of these is a name, not an IP address."""
    return not all(is_literal(address.host) for address in addresses)
