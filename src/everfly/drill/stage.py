"""Let a drill act on a deployment, whoever runs it: look at it, reach its parts, break them.

A stage is the deployment of a drill's own (`OwnStage`), the one of a running `everfly up`
(`RunningStage`), or one in network namespaces (`split_stage`). Parts are named as everywhere:
`instance-1`, `sentinel-2`.
"""

import abc
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from everfly.core.model import Address
from everfly.engines.command import EngineBinary
from everfly.errors import SettingsError, Unavailable
from everfly.local.deployment import Deployment
from everfly.local.members import Member
from everfly.observe.description import Description, Part, read_credentials, running_deployment
from everfly.observe.observer import Observer
from everfly.observe.picture import GroupPicture
from everfly.runtime.client import Client, Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Who is there."""

    group: str
    instances: Mapping[str, Address]
    """Name -> address."""
    sentinels: Mapping[str, Address]
    credentials: Credentials
    """Of the instances."""
    engine: str
    """For people, such as `valkey 9.1.0`."""
    down_after_ms: int
    failover_timeout_ms: int
    endpoint: Address | None = None
    """Where clients of the endpoint connect; None: there is none."""
    endpoint_admin: Address | None = None

    @property
    def names(self) -> dict[Address, str]:
        """Address -> name, of all parts."""
        return {at: name for each in (self.instances, self.sentinels) for name, at in each.items()}

    def name_of(self, address: Address | None) -> str | None:
        """Return the name of an instance by its address, or None."""
        return next((name for name, at in self.instances.items() if at == address), None)


class Stage(abc.ABC):
    """A deployment as a drill uses it."""

    is_kept: bool
    """Whether it outlives the drill, which then removes what it wrote."""

    @property
    @abc.abstractmethod
    def layout(self) -> Layout:
        """Who is there."""

    @abc.abstractmethod
    async def picture(self) -> GroupPicture:
        """Return the group as it is now, seen from where the clients are."""

    @abc.abstractmethod
    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part. Raises Unavailable when it does not run."""

    async def dial(self, address: Address, timeout_s: float, *, beside: bool = False) -> Client:
        """Connect to a part from where the clients are, or from beside it: past any partition.

        Raises Unavailable; SettingsError when the password is refused.
        """
        del beside  # nothing is between parts of one machine
        is_instance = self.layout.name_of(address) is not None
        credentials = self.layout.credentials if is_instance else None
        return await Client.connect(
            address, timeout_s=timeout_s, credentials=credentials, name="everfly-drill"
        )

    def leave_down(self, name: str) -> None:
        """Let nobody start a part again until `bring_back`, where that can be prevented."""
        del name  # whoever supervises it starts it when they see fit

    def bring_back(self, name: str) -> None:
        """Let a part be started again."""
        del name

    async def restart_empty(self, name: str) -> None:
        """Kill an instance and start it again at once, empty, as a primary."""
        raise _own_only(name)

    def cut(self) -> tuple[str, ...]:
        """Cut the minority side off; return who is on it, the primary first."""
        raise _own_only("the network")

    def heal(self) -> None:
        """Undo `cut`."""
        raise _own_only("the network")


class OwnStage(Stage):
    """A deployment of this process. Starting and stopping it is the caller's."""

    is_kept = False

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        settings = deployment.settings
        self._layout = Layout(
            group=settings.group,
            instances={each.name: each.address for each in deployment.instances},
            sentinels={each.name: each.address for each in deployment.sentinels},
            credentials=Credentials(settings.password),
            engine=str(settings.engine),
            down_after_ms=settings.down_after_ms,
            failover_timeout_ms=settings.failover_timeout_ms,
            endpoint=deployment.endpoint.address if deployment.endpoint else None,
            endpoint_admin=_admin(deployment.endpoint),
        )

    @property
    def layout(self) -> Layout:
        """Who is there."""
        return self._layout

    async def picture(self) -> GroupPicture:
        """Return the group as it is now."""
        return await self._deployment.picture()

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part."""
        member = self._deployment.named(name)
        if not member.is_running:
            raise Unavailable(f"{member} does not run")
        self._deployment.kill(member, number)

    def leave_down(self, name: str) -> None:
        """Keep our supervisor from starting it."""
        self._deployment.suspend_supervision(self._deployment.named(name))

    def bring_back(self, name: str) -> None:
        """Let our supervisor start it."""
        self._deployment.resume_supervision(self._deployment.named(name))

    async def restart_empty(self, name: str) -> None:
        """Kill an instance and start it again at once, empty, as a primary."""
        await self._deployment.restart_empty(self._deployment.named(name))


class RunningStage(Stage):
    """The deployment of another process. Close it, for its observer."""

    is_kept = True

    def __init__(self, directory: Path) -> None:
        """Raise Unavailable when no deployment runs in the directory."""
        self._directory = directory
        described = self._described()
        binary = EngineBinary(
            described.engine, Path(described.engine_binary), described.engine_version
        )
        self._layout = Layout(
            group=described.group,
            instances={each.name: each.address for each in described.instances},
            sentinels={each.name: each.address for each in described.sentinels},
            credentials=read_credentials(directory),
            engine=str(binary),
            down_after_ms=described.down_after_ms,
            failover_timeout_ms=described.failover_timeout_ms,
            endpoint=described.endpoint.address if described.endpoint else None,
            endpoint_admin=_admin(described.endpoint),
        )
        self._observer = Observer(
            tuple(self._layout.sentinels.values()),
            self._layout.group,
            credentials=self._layout.credentials,
        )

    def _described(self) -> Description:
        described = running_deployment(self._directory)
        if not Path(f"/proc/{described.supervisor_pid}").exists():
            raise Unavailable(
                f"the deployment in {self._directory} ended without a word "
                f"(its process {described.supervisor_pid} is gone); start it with `everfly up`"
            )
        return described

    @property
    def layout(self) -> Layout:
        """Who is there."""
        return self._layout

    async def picture(self) -> GroupPicture:
        """Return the group as it is now."""
        return await self._observer.picture()

    async def close(self) -> None:
        """Close the observer's connections."""
        await self._observer.close()

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a part, by the process id that its supervisor wrote down last."""
        described = self._described()
        parts = (*described.instances, *described.sentinels)
        pid = next((each.pid for each in parts if each.name == name), None)
        if pid is None:
            raise Unavailable(f"{name} in {self._directory} does not run")
        try:
            os.kill(pid, number)
        except ProcessLookupError as error:
            raise Unavailable(f"{name} in {self._directory} (pid {pid}) has ended") from error
        except PermissionError as error:
            raise SettingsError(
                f"{name} (pid {pid}) is another user's; run the drill as that user, or with --fresh"
            ) from error


def _own_only(what: str) -> SettingsError:
    return SettingsError(
        f"the drill may do this to {what} only in a deployment that it started itself; add --fresh"
    )


def _admin(endpoint: Member | Part | None) -> Address | None:
    if endpoint is None or endpoint.admin_port is None:
        return None
    return Address(endpoint.address.host, endpoint.admin_port)
