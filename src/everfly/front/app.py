"""Turn settings into a running front, and SIGTERM into an orderly end.

Rules: no port is open before everything was seen once, so that clients of a front that just starts
ask another one; it is ready from then on, also while the API server is away, for what it knows is
better than nothing. Exit status 1 for what a person can mend, and for a fault of ours.
"""

import asyncio
import contextlib
import logging
import secrets
import signal
from http import HTTPStatus
from typing import Final

from everfly import __version__
from everfly.core.model import RunId
from everfly.core.notices import Level, Notice
from everfly.errors import EverflyError
from everfly.front.brain import FrontBrain
from everfly.front.metrics import FrontMetrics
from everfly.front.settings import FrontSettings
from everfly.front.table import make_front_commands, parts_of
from everfly.operator.apiserver.api import Api
from everfly.operator.app import kubeconfig_of
from everfly.operator.settings import Bind
from everfly.operator.settings import Settings as OperatorSettings
from everfly.runtime.http import HttpServer, Request, Response, text_response
from everfly.runtime.listener import Commands, Limits, Listener
from everfly.runtime.log import NOTICE, VERBOSE
from everfly.runtime.pubsub import PubSub
from everfly.sentinel.acl.control import AccessControl, AccessSettings
from everfly.sentinel.commands.table import dialect_of
from everfly.sentinel.daemon import allow_descriptors
from everfly.sentinel.settings import Settings

log = logging.getLogger(__name__)

LINKS: Final = 16
"""Connections to the API server, and those of probes and scrapers."""
EVERYWHERE: Final = ("*", "-::*")
"""All addresses of this machine; those of IPv6 where there are any."""
_LOG_LEVELS: Final = {
    Level.DEBUG: logging.DEBUG,
    Level.VERBOSE: VERBOSE,
    Level.NOTICE: NOTICE,
    Level.WARNING: logging.WARNING,
}


class NoticeLog:
    """Writes each notice into the log."""

    def on_notice(self, notice: Notice) -> None:
        """Log it, at its level."""
        level = _LOG_LEVELS[notice.event.level]
        log.log(level, "%s %s", notice.event.wire, notice.payload)


class Front:
    """One front. `serve` until it is cancelled."""

    def __init__(self, settings: FrontSettings) -> None:
        """Take the settings. Raises SettingsError."""
        self._settings = settings
        me = RunId(secrets.token_hex(20))
        self._api = Api(kubeconfig_of(OperatorSettings(kubeconfig=settings.kubeconfig)))
        self._pubsub = PubSub()
        sinks = (NoticeLog(), self._pubsub)
        self._brain = FrontBrain(me, self._api, settings.namespaces, sinks)
        binds = _hosts(settings.bind or settings.tls_bind)
        limits = Limits(maxclients=allow_descriptors(settings.maxclients, LINKS))
        self._access = AccessControl(
            dialect_of(settings.compat),
            AccessSettings(requirepass=settings.password, file=settings.acl_file),
        )
        shown = Settings(bind=binds, compat=settings.compat)
        self._parts = parts_of(me, self._brain, self._pubsub, self._access, shown)
        self._listener = Listener(limits, self._commands)
        self._metrics = FrontMetrics(self._brain, self._listener)
        self._http = HttpServer(self._respond)

    def _commands(self, listener: Listener) -> Commands:
        return make_front_commands(self._parts, self._standing, listener)

    def _standing(self) -> dict[str, object]:
        """Say whether what is told is of now."""
        lost_s = self._brain.lost_for_s
        return {
            "kubernetes_watch": "lost" if lost_s else "ok",
            "kubernetes_watch_lost_seconds": int(lost_s),
            "kubernetes_namespaces": ",".join(self._settings.namespaces) or "*",
            "kubernetes_groups_without_primary": self._brain.unserved,
        }

    async def serve(self) -> None:
        """Serve until cancelled. Raises SettingsError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                health = self._settings.health
                if health is not None:
                    await self._http.start(health.host or "0.0.0.0", health.port)  # noqa: S104 - as the flag says
                tasks.create_task(self._brain.run(), name="watch")
                where = ", ".join(self._settings.namespaces) or "all namespaces"
                log.warning("Everfly front version=%s for %s: looking around", __version__, where)
                await self._brain.wait_synced()
                await self._open()
                await asyncio.get_running_loop().create_future()
        finally:
            await self._listener.stop()
            await self._http.stop()
            await self._api.close()

    async def _open(self) -> None:
        settings = self._settings
        if settings.bind is not None:
            await self._listener.start(_hosts(settings.bind), settings.bind.port)
        if settings.tls_bind is not None and settings.tls is not None:
            hosts = _hosts(settings.tls_bind)
            self._listener.start_tls(hosts, settings.tls_bind.port, settings.tls)
        if self._access.users.default.is_open:
            log.warning("WARNING: no password is set: whoever reaches this front may ask it")
        count = len(self._brain.group_names())
        log.warning("Ready: %d groups, port %d", count, self._listener.port)

    async def _respond(self, request: Request) -> Response:
        match request.path:
            case "/healthz":
                return text_response(HTTPStatus.OK, "ok")
            case "/readyz" if self._listener.port:
                return text_response(HTTPStatus.OK, "ok")
            case "/readyz":
                return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "not all was seen yet")
            case "/metrics":
                return self._metrics.response()
            case _:
                words = "there is /healthz, /readyz and /metrics"
                return text_response(HTTPStatus.NOT_FOUND, words)


def _hosts(bind: Bind | None) -> tuple[str, ...]:
    return EVERYWHERE if bind is None or not bind.host else (bind.host,)


def run(settings: FrontSettings) -> int:
    """Run a front until it is told to stop; return the exit status of this process."""
    try:
        asyncio.run(_serve(settings))
    except BaseException as caught:
        error = caught
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, EverflyError):
            log.warning("%s. Exiting...", error)
            return 1
        log.critical("BUG: nobody expected this", exc_info=error)
        return 1
    log.warning("The front has ended, bye bye...")
    return 0


async def _serve(settings: FrontSettings) -> None:
    serving = asyncio.create_task(Front(settings).serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
