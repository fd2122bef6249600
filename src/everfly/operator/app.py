"""Turn settings into a running operator: one keeper for each resource, until it is told to end.

Rules: the operator that holds the lease acts; the others look and probe, so that whoever follows
knows all at once. A keeper that fails is started again and harms no other one. At the end the lease
is given back, so that the next one need not wait for it to run out.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from lightkube import KubeConfig
from lightkube.core.exceptions import ConfigError

from everfly import __version__
from everfly.errors import EverflyError, SettingsError
from everfly.operator import names
from everfly.operator.apiserver.api import Api
from everfly.operator.apiserver.caches import Key
from everfly.operator.apiserver.events import Events
from everfly.operator.apiserver.inventory import Inventory
from everfly.operator.apiserver.lease import Candidate, Lease, NoLease
from everfly.operator.apiserver.terms import LeaseLike
from everfly.operator.backups.office import Backups
from everfly.operator.deeds import Tools
from everfly.operator.keeper import Keeper
from everfly.operator.metrics import Metrics
from everfly.operator.resources import Around
from everfly.operator.settings import Bind, Settings, new_identity
from everfly.operator.witness import Witness
from everfly.runtime.http import Handler, HttpServer, Request, Response, text_response

log = logging.getLogger(__name__)

RESTART_S: Final = 1.0
RELEASE_S: Final = 3.0
"""What giving the lease back may take at the end."""


def kubeconfig_of(settings: Settings) -> KubeConfig:
    """Return how the API server is reached. Raise SettingsError."""
    try:
        if settings.kubeconfig:
            return KubeConfig.from_file(settings.kubeconfig)
        return KubeConfig.from_env()
    except (ConfigError, OSError) as error:
        raise SettingsError(f"no way to the API server: {error}; give --kubeconfig") from error


def watched_namespaces(settings: Settings, config: KubeConfig) -> tuple[str, ...]:
    """Return the namespaces to watch; empty: all. Raise SettingsError."""
    if not settings.watches_current:
        return settings.namespaces
    try:
        chosen = config.get()
    except ConfigError as error:
        raise SettingsError(f"--watch-current-namespace: {error}") from error
    if chosen is None:
        raise SettingsError("--watch-current-namespace: the kubeconfig has no current context")
    return (chosen.namespace,)


class Operator:
    """One operator. `run` it until it is cancelled."""

    def __init__(self, settings: Settings) -> None:
        config = kubeconfig_of(settings)
        self._settings = settings
        self._api = Api(config)
        self._events = Events(self._api)
        namespaces = watched_namespaces(settings, config)
        self._inventory = Inventory(self._api, namespaces, self._wake)
        self._lease: LeaseLike = NoLease()
        self._witness: Witness | None = None
        if settings.elects_leader:
            home = settings.own_namespace or self._api.namespace
            candidate = Candidate(new_identity(settings.own_pod), settings.own_pod)
            self._lease = Lease(self._api, (home, names.LEASE_NAME), candidate)
            me = (settings.own_pod or candidate.identity, settings.own_host)
            self._witness = Witness(self._api, home, me, self._lease, self._living)
        self._around = Around(
            default_image=settings.image,
            endpoint_image=settings.endpoint_image,
            sentinels=settings.sentinels,
            metrics_namespace=settings.metrics_namespace,
            operator_namespace=settings.own_namespace,
        )
        self._keepers: dict[Key, tuple[Keeper, asyncio.Task[None]]] = {}
        self._fresh: asyncio.Queue[Key] = asyncio.Queue()
        tools = Tools(self._api, self._inventory, self._events, self._lease)
        self._backups = Backups(tools, self._around, namespaces)
        self._metrics = Metrics(self._lease, self._living, self._backups.metrics)

    def _living(self) -> Iterable[tuple[Key, Keeper]]:
        return [(key, keeper) for key, (keeper, _) in self._keepers.items()]

    def _wake(self, key: Key) -> None:
        """Something about a data store changed, or there is a new one."""
        found = self._keepers.get(key)
        if found is not None:
            found[0].wake()
        elif self._inventory.stores.get(key) is not None:
            self._fresh.put_nowait(key)

    async def run(self) -> None:
        """Work until cancelled."""
        servers: list[HttpServer] = []
        log.info("everfly operator %s begins", __version__)
        try:
            async with asyncio.TaskGroup() as tasks:
                for bind, handler in (
                    (self._settings.metrics, self._metrics.answer),
                    (self._settings.health, self._answer_health),
                ):
                    if bind is not None:
                        servers.append(await _listening(handler, bind))
                tasks.create_task(self._events.run())
                tasks.create_task(self._inventory.run())
                tasks.create_task(self._lease.run())
                if self._witness is not None:
                    tasks.create_task(self._witness.run())
                tasks.create_task(self._backups.run(), name="backups")
                await self._inventory.wait_synced()
                while True:
                    key = await self._fresh.get()
                    if key not in self._keepers and self._inventory.stores.get(key) is not None:
                        self._begin(key, tasks)
        finally:
            for each in servers:
                await each.stop()
            with contextlib.suppress(EverflyError, TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._lease.release()
            await self._api.close()

    def _begin(self, key: Key, tasks: asyncio.TaskGroup) -> None:
        statements = tuple if self._witness is None else self._witness.statements
        tools = Tools(self._api, self._inventory, self._events, self._lease, statements)
        keeper = Keeper(key, tools, self._around)
        task = tasks.create_task(self._keep(key, keeper), name=f"keeper of {key[0]}/{key[1]}")
        self._keepers[key] = keeper, task

    async def _keep(self, key: Key, keeper: Keeper) -> None:
        try:
            await keeper.run()
        except Exception:
            # Whatever it is, other data stores must not pay for it.
            log.exception("the keeper of %s/%s failed; it begins anew", *key)
            await asyncio.sleep(RESTART_S)
        finally:
            self._keepers.pop(key, None)
        if self._inventory.stores.get(key) is not None:
            self._fresh.put_nowait(key)

    async def _answer_health(self, request: Request) -> Response:
        # As the upstream operator: one that waits for the lease is well, and ready to take over.
        if request.path == "/healthz":
            return text_response(HTTPStatus.OK, "ok")
        if request.path == "/readyz":
            if self._inventory.stores.is_synced:
                return text_response(HTTPStatus.OK, "ok")
            return text_response(HTTPStatus.SERVICE_UNAVAILABLE, "nothing was seen yet")
        return text_response(HTTPStatus.NOT_FOUND, "there is /healthz and /readyz")


async def _listening(handler: Handler, bind: Bind) -> HttpServer:
    server = HttpServer(handler)
    await server.start(bind.host or "0.0.0.0", bind.port)  # noqa: S104 - as the flag says
    return server


async def run_until_told(settings: Settings) -> None:
    """Run an operator until SIGTERM or SIGINT. Raise SettingsError, Unavailable."""
    operator = Operator(settings)
    running = asyncio.create_task(operator.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
