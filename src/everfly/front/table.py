"""Turn the commands of a Sentinel into those of the front: what makes no sense here says why.

The rows are the Sentinel's, so that COMMAND and ACL rules are the same; only handlers differ.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from everfly.core.model import GroupName, Hello, Millis, RunId
from everfly.core.policy import Policy
from everfly.errors import Unavailable
from everfly.runtime.client_connection import ClientConnection, Outcome
from everfly.runtime.listener import Commands, Listener
from everfly.runtime.ports import Brain, ScriptView
from everfly.runtime.pubsub import PubSub
from everfly.sentinel.acl.control import AccessControl
from everfly.sentinel.commands import info as sentinel_info
from everfly.sentinel.commands import sentinel_config, sentinel_config_many
from everfly.sentinel.commands.arguments import lower
from everfly.sentinel.commands.desk import Desk, Parts
from everfly.sentinel.commands.dispatch import SentinelCommands
from everfly.sentinel.commands.registry import Handler, Registry, Spec
from everfly.sentinel.commands.table import table_of
from everfly.sentinel.compat import Compat
from everfly.sentinel.settings import Settings
from everfly.wire.resp import ErrorReply, to_bytes

Standing = Callable[[], dict[str, object]]
"""Fields of INFO about the watch of the API server."""

SECTION: Final = "kubernetes"

_GROUPS: Final = (
    "groups are Dragonfly resources here: create, change or delete one instead (kubectl)"
)
_SETTINGS: Final = "settings of this front are flags of its command: change its Deployment"
_NO_QUORUM: Final = "the operator decides here, and there are no votes"
_REASONS: Final = {
    "sentinel|monitor": _GROUPS,
    "sentinel|remove": _GROUPS,
    "sentinel|set": _GROUPS,
    "sentinel|reset": "nothing is remembered that could be forgotten: all of it is in Kubernetes",
    "sentinel|flushconfig": "there is no file: all of it is in Kubernetes",
    "sentinel|debug": _SETTINGS,
    "sentinel|simulate-failure": _SETTINGS,
    "sentinel|is-master-down-by-addr": _NO_QUORUM,
    "sentinel|is-primary-down-by-addr": _NO_QUORUM,
    "publish": "this front takes no hellos: it is no peer of Sentinels",
    "shutdown": "Kubernetes looks after this process: delete its pod instead",
}


def front_table(compat: Compat, standing: Standing) -> Registry:
    """Return the commands of the front."""
    table = table_of(compat)
    specs = [_row(spec, standing) for spec in table.specs.values()]
    unlisted = [(name, _row(spec, standing)) for name, spec in table.unlisted.items()]
    return Registry(specs, unlisted)


def _row(spec: Spec, standing: Standing) -> Spec:
    if reason := _REASONS.get(spec.name):
        return replace(spec, handler=_refusal(spec.name, reason))
    if spec.name == "sentinel|config" and spec.handler is not None:
        return replace(spec, handler=_reading(spec.handler))
    if spec.name == "info":
        return replace(spec, handler=_info(standing))
    return spec


def _refusal(name: str, reason: str) -> Handler:
    answer = ErrorReply(f"ERR {name.replace('|', ' ').upper()} has no meaning here: {reason}")

    def refuse(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
        del desk, client, command
        return answer

    return refuse


def _reading(handler: Handler) -> Handler:
    """Let SENTINEL CONFIG GET through alone."""
    assert handler in (sentinel_config.config, sentinel_config_many.config_many)
    refuse = _refusal("sentinel|config set", _SETTINGS)

    def config(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
        if lower(command[2]) == "set":
            return refuse(desk, client, command)
        return handler(desk, client, command)

    return config


def _info(standing: Standing) -> Handler:
    """Add a section to INFO: whether what is told is of now."""

    def info(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
        text = sentinel_info.info(desk, client, command)
        assert isinstance(text, bytes)
        wanted = {lower(word) for word in command[1:]}
        if wanted and not wanted & {SECTION, "all", "default", "everything"}:
            return text
        lines = ["# Kubernetes", *(f"{key}:{value}" for key, value in standing().items())]
        section = to_bytes("".join(f"{line}\r\n" for line in lines))
        return b"\r\n".join(part for part in (text, section) if part)

    return info


def make_front_commands(parts: Parts, standing: Standing, listener: Listener) -> Commands:
    """Return the commands of a front for one listener."""
    table = front_table(parts.settings.compat, standing)
    return SentinelCommands(Desk(parts, listener, table))


def parts_of(
    me: RunId, brain: Brain, pubsub: PubSub, access: AccessControl, settings: Settings
) -> Parts:
    """Return what the commands talk to."""
    nobody = Nobody()
    return Parts(
        me=me,
        brain=brain,
        settings=settings,
        policy=Policy(),
        pubsub=pubsub,
        resolver=nobody,
        hellos=nobody,
        info_cache=nobody,
        scripts=nobody,
        access=access,
        shut_down=lambda: None,  # no command leads here
    )


@dataclass(frozen=True, slots=True)
class Nobody:
    """What a Sentinel has and the front has none of: scripts, INFO of instances, names, hellos."""

    def pending(self) -> tuple[ScriptView, ...]:
        """Return no scripts."""
        return ()

    def cached_info(self, group: GroupName) -> tuple[tuple[Millis, bytes | None], ...]:
        """Return no INFO: the front asks no instances."""
        del group
        return ()

    def resolve_now(self, host: str) -> str | None:
        """Return nothing: addresses of pods are IPs."""
        del host
        return None

    async def resolve(self, host: str) -> str:
        """Find nothing, for the same reason. Raises Unavailable."""
        raise Unavailable(f"{host} is no IP address, and pods have nothing else")

    def resolve_hello(self, hello: Hello, then: Callable[[Hello | None], None]) -> None:
        """Believe no hello."""
        del hello
        then(None)
