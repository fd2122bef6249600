"""Turn the site of an endpoint into its HTTP addresses: that of the admin, and one for probes.

Whoever reaches the second one learns whether the endpoint works and how much, and can change
nothing: probes of platforms and scrapers have no token, and come from other machines.
"""

import socket
from typing import Final

from everfly.endpoint.handover import ADMIN, Inheritance
from everfly.endpoint.settings import EndpointSettings
from everfly.endpoint.site import BODY_BYTES_MAX, Site
from everfly.errors import SettingsError
from everfly.runtime.http import HttpLimits, HttpServer
from everfly.runtime.setting_forms import HostPort

PROBES: Final = "probes"
"""What the sockets of the second address are called when they are handed over."""


class Pages:
    """Both addresses, or those that are wanted."""

    def __init__(self, site: Site, settings: EndpointSettings) -> None:
        self._admin = HttpServer(site.respond, HttpLimits(body_bytes=BODY_BYTES_MAX))
        self._probes = HttpServer(site.respond_to_anybody)
        self._wanted: tuple[tuple[str, HttpServer, HostPort | None], ...] = (
            (ADMIN, self._admin, settings.admin),
            (PROBES, self._probes, settings.probes),
        )

    async def start(self, inherited: Inheritance | None) -> None:
        """Serve, on sockets that were handed over where there are any. Raises SettingsError."""
        for name, server, place in self._wanted:
            if place is None:
                continue
            taken = inherited.take(f"{name} {place}") if inherited is not None else []
            if taken:
                await server.start_on([socket.socket(fileno=each) for each in taken])
                continue
            try:
                await server.start(place.host, place.port)
            except SettingsError as error:
                raise SettingsError(f"{name}: {error}; choose another address for it") from error

    async def stop(self) -> None:
        """Close both."""
        await self._admin.stop()
        await self._probes.stop()

    @property
    def sockets(self) -> list[tuple[str, int]]:
        """All listening sockets, for a successor."""
        return [
            (f"{name} {place}", each.fileno())
            for name, server, place in self._wanted
            if place is not None
            for each in server.sockets
        ]

    @property
    def admin_place(self) -> str:
        """Where the admin address is; empty: nowhere."""
        _, server, place = self._wanted[0]
        if place is None:
            return ""
        return (
            f"[{place.host}]:{server.port}" if ":" in place.host else f"{place.host}:{server.port}"
        )
