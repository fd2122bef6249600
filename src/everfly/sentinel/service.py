"""Turn durable state and settings into the parts of a Sentinel, wired together, and run them.

    clients, peers ──► Listener ──► commands ──────► Driver ──► Machine
    instances, peers ──► LinkPool ─────────────────►   │
                            ▲                          ▼
                            └─────────────────────── Executor ──► StateFile, Scripts, PubSub, log

Rules: one task group owns every task; nothing is watched before the port is ours and the state is
known to be writable; the end goes the other way round.
"""

import asyncio
import gc
import logging
import os
import random
import secrets
import signal
from dataclasses import dataclass, replace
from typing import Final

from everfly.core.machine import Machine
from everfly.core.model import Address
from everfly.core.notices import Level, Notice
from everfly.core.snapshot import DurableState, GroupState
from everfly.errors import LocalError, SettingsError, Unavailable
from everfly.runtime.driver import Driver
from everfly.runtime.executor import Executor, Outlets
from everfly.runtime.link import LinkPool, Shell
from everfly.runtime.listener import Listener
from everfly.runtime.log import NOTICE, VERBOSE
from everfly.runtime.ports import NoticeSink
from everfly.runtime.pubsub import PubSub
from everfly.runtime.recorder import Beginning, Plan, RecordedMachine
from everfly.runtime.resolver import Resolver, is_literal
from everfly.runtime.systemd import tell_supervisor
from everfly.runtime.tls import Tls
from everfly.sentinel.access import access_of
from everfly.sentinel.commands.desk import Parts
from everfly.sentinel.commands.table import make_sentinel_commands
from everfly.sentinel.everfly_toml import EverflySettings
from everfly.sentinel.exposure import Exposure
from everfly.sentinel.info_cache import GroupInfoCache
from everfly.sentinel.link_settings import SentinelLinkSettings, told_port
from everfly.sentinel.metrics import Sources
from everfly.sentinel.opening import limits_of, open_doors, tls_of, warn_of_open_door
from everfly.sentinel.scripts import Scripts
from everfly.sentinel.state_file import Loaded, StateFile

log = logging.getLogger(__name__)

GARBAGE_THRESHOLDS: Final = (10_000, 20, 10)
"""Objects made before a collection, and collections before one of the next generation. A busy turn
makes thousands, nearly none of them in cycles; the usual 700 would interrupt it again and again."""

FLUSH_LIMIT_S: Final = 3.0
"""How long the last write may take at the end; a healthy disk takes milliseconds."""

CRASH_STATUS: Final = 99
"""Exit status of a simulated failure. Source: `sentinelSimFailureCrash`, redis/src/sentinel.c."""

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
        event, payload = notice.event, notice.payload
        fields = {"event": event.wire, "group": notice.group, "payload": payload}
        log.log(_LOG_LEVELS[event.level], "%s %s", event.wire, payload, extra=fields)


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one running Sentinel."""

    driver: Driver
    executor: Executor
    links: LinkPool
    listener: Listener
    tls: Tls | None
    scripts: Scripts
    resolver: Resolver
    state_file: StateFile
    exposure: Exposure
    machine: Machine | RecordedMachine


def serve_until_stopped(loaded: Loaded, ours: EverflySettings | None = None) -> None:
    """Run a Sentinel until SIGTERM, SIGINT or SHUTDOWN. `ours`: what Redis has no words for.

    Raises SettingsError for what a person can mend (the port is in use, the state cannot be
    saved), LocalError for a fault of ours.
    """
    try:
        asyncio.run(_serve(loaded, ours or EverflySettings()))
    except BaseException as caught:
        error = _first(caught)
        if isinstance(error, SettingsError | LocalError | KeyboardInterrupt):
            raise error from None
        log.critical("BUG: nobody expected this", exc_info=error)
        raise LocalError(f"unexpected: {error!r}") from caught


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _serve(loaded: Loaded, ours: EverflySettings) -> None:
    stopped = asyncio.Event()
    resolver = Resolver()
    state = loaded.state
    if loaded.settings.resolve_hostnames:
        state = await _resolved(state, resolver)
    async with asyncio.TaskGroup() as tasks:
        service = _assemble(replace(loaded, state=state), ours, tasks, resolver, stopped)
        running: list[asyncio.Task[None]] = []
        try:
            # Before anybody can see that we run: who stops us then must get an orderly end.
            _handle_signals(stopped)
            await open_doors(service.listener, loaded.conf, service.tls)
            await service.exposure.start(_sources(service, state), tasks, resolver)
            if loaded.is_first_start:
                _save_first(service.state_file, state)
            running += [
                tasks.create_task(service.executor.run(), name="executor"),
                tasks.create_task(service.driver.run(), name="driver"),
            ]
            log.warning("Running mode=sentinel, port=%d.", service.listener.port)
            log.warning("Sentinel ID is %s", state.me)
            service.driver.start(service.executor)
            tell_supervisor("READY=1")
            # What lives as long as the process need not be looked at by each garbage collection.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GARBAGE_THRESHOLDS)
            await stopped.wait()
            log.warning("User requested shutdown...")
            await _save_last(service)
        finally:
            await _stop(service)
            for task in running:
                task.cancel()


def _assemble(
    loaded: Loaded,
    ours: EverflySettings,
    tasks: asyncio.TaskGroup,
    resolver: Resolver,
    stopped: asyncio.Event,
) -> Service:
    settings, policy = loaded.settings, ours.policy
    machine = _machine_of(loaded, ours)
    driver = Driver(machine)
    tls = tls_of(loaded.conf)
    tls_of_links = tls if loaded.conf.is_yes("tls-replication") else None
    source_host = loaded.conf.text("bind-source-addr")
    link_settings = SentinelLinkSettings(settings, source_host, tls_of_links)
    links = LinkPool(loaded.state.me, Shell(driver.submit, tasks, resolver, link_settings))
    pubsub = PubSub()
    exposure = Exposure(loaded.state.me, driver, ours)
    told: tuple[NoticeSink, ...] = (NoticeLog(), pubsub, *exposure.sinks)

    def tell(notice: Notice) -> None:
        for sink in told:
            sink.on_notice(notice)

    scripts = Scripts(settings, policy, tell, tasks)
    access = access_of(loaded.conf, settings.compat)
    warn_of_open_door(loaded, is_open=access.users.default.is_open)
    state_file = StateFile(loaded.path, loaded.conf, settings, access.user_lines)
    outlets = Outlets(
        state_file,
        (*told, scripts),
        scripts.reconfigure_clients,
        lambda: os._exit(CRASH_STATUS),
        exposure.explained,
    )
    executor = Executor(links, driver, outlets)
    parts = Parts(
        me=loaded.state.me,
        brain=driver,
        settings=settings,
        policy=policy,
        pubsub=pubsub,
        resolver=resolver,
        hellos=links.names,
        info_cache=GroupInfoCache(driver, links.infos),
        scripts=scripts,
        access=access,
        shut_down=stopped.set,
    )
    listener = Listener(limits_of(loaded), lambda owner: make_sentinel_commands(parts, owner))
    return Service(
        driver, executor, links, listener, tls, scripts, resolver, state_file, exposure, machine
    )


def _machine_of(loaded: Loaded, ours: EverflySettings) -> Machine | RecordedMachine:
    """Return the core, recorded where that is wanted."""
    seed = secrets.randbits(64)
    beginning = Beginning(loaded.state, told_port(loaded.conf), seed, ours.policy)
    machine = Machine(
        beginning.state,
        port=beginning.port,
        dice=random.Random(seed),  # noqa: S311 - spreads attempts in time, guards nothing
        policy=beginning.policy,
    )
    if ours.record is None:
        return machine
    plan = Plan(ours.record, ours.record_limit_mb << 20, loaded.settings.secrets)
    return RecordedMachine(beginning, machine, plan)


def _sources(service: Service, state: DurableState) -> Sources:
    return Sources(
        state.me,
        service.driver,
        service.executor,
        service.links,
        service.listener,
        service.scripts,
    )


def _save_first(state_file: StateFile, state: DurableState) -> None:
    """Save the fresh id: a Sentinel that forgets who it is would vote twice.

    Blocks the event loop, so that nobody is told the id before it is saved.
    """
    try:
        state_file.write_now(state)
    except Unavailable as error:
        raise SettingsError(
            f"WARNING: Sentinel was not able to save the new configuration on disk!!!: {error}. "
            "It must be able to replace its file (one that is mounted by itself into a container "
            "cannot be replaced: mount its folder). Exiting..."
        ) from error
    log.log(NOTICE, "Sentinel new configuration saved on disk")


def _handle_signals(stopped: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def stop(name: str) -> None:
        log.warning("Received %s scheduling shutdown...", name)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _save_last(service: Service) -> None:
    """Decide no more, and save what was decided."""
    tell_supervisor("STOPPING=1")
    service.driver.stop()
    try:
        async with asyncio.timeout(FLUSH_LIMIT_S):
            if not await service.executor.flush():
                log.warning("WARNING: the last changes are not on disk")
    except TimeoutError:
        log.warning("WARNING: the disk did not answer: the last changes may not be on it")


async def _stop(service: Service) -> None:
    """End all that has to do with others; also after a start that failed, or a fault."""
    service.driver.stop()
    await service.exposure.stop()
    await service.listener.stop()
    service.scripts.close()
    service.links.close()
    if isinstance(service.machine, RecordedMachine):
        service.machine.recorder.close("the Sentinel ended")
    await service.resolver.close()


async def _resolved(state: DurableState, resolver: Resolver) -> DurableState:
    """Return the state with the IPs of its names, as far as they can be had now."""
    hosts = {
        address.host
        for group in state.groups
        for address in (group.primary, *group.replicas, *(peer for peer, _ in group.peers))
        if not is_literal(address.host)
    }
    answers = await asyncio.gather(*map(resolver.resolve, hosts), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, Unavailable):
            log.warning("%s", answer)
        elif isinstance(answer, BaseException):
            raise answer

    def known(address: Address) -> Address:
        if is_literal(address.host):
            return address
        return replace(address, ip=resolver.resolve_now(address.host) or "")

    def known_group(group: GroupState) -> GroupState:
        return replace(
            group,
            primary=known(group.primary),
            replicas=tuple(map(known, group.replicas)),
            peers=tuple((known(peer), run_id) for peer, run_id in group.peers),
        )

    return replace(state, groups=tuple(map(known_group, state.groups)))
