"""What people set for one Sentinel and the core has no use for: names, secrets, scripts, limits.

One mutable object, read from `sentinel.conf` at start by `state_file`, changed by SENTINEL SET and
SENTINEL CONFIG SET, and merged into the file at each write. Rules: a change takes effect for what
happens after it; whoever changes it also enters an input into the core, whose `Persist` writes it.
Secrets are kept out of `repr`, so that they cannot reach a log or a traceback.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from everfly.core.model import GroupName
from everfly.sentinel.compat import Compat

MAXCLIENTS: Final = 10_000
"""Default of `maxclients`. Source: redis/src/config.c (7.0.15)."""
TCP_KEEPALIVE_S: Final = 300
"""Default of `tcp-keepalive`. Source: as above."""


@dataclass(slots=True)
class GroupExtras:
    """The shell's part of one group's settings. An empty text means "not set"."""

    notification_script: str = ""
    """Absolute or relative path; runs for every notice of level WARNING about this group."""
    client_reconfig_script: str = ""
    """Runs when clients have to move to another primary."""
    auth_user: str = ""
    """Who we are on this group's instances; empty: the default user."""
    auth_pass: str = field(default="", repr=False)
    """Empty: no AUTH is sent."""
    renamed_commands: dict[str, str] = field(default_factory=dict)
    """Upper-case command (`CONFIG`) -> what this group's instances call it, in its own case."""

    def command_name(self, command: str) -> str:
        """Return what this group's instances call `command` (any case)."""
        return self.renamed_commands.get(command.upper(), command)


@dataclass(slots=True)
class Settings:
    """The shell's settings of one Sentinel. An empty text means "not set"."""

    announce_ip: str = ""
    """Host or IP that hellos carry; empty: the local address of each connection."""
    announce_port: int = 0
    """0: the port it listens on."""
    resolve_hostnames: bool = False
    """Names are accepted where an address is asked for."""
    announce_hostnames: bool = False
    """Names are shown to clients instead of IPs where one is known."""
    sentinel_user: str = ""
    """Who we are on peers; empty: the default user."""
    sentinel_pass: str = field(default="", repr=False)
    """Empty: `requirepass` is what peers are told."""
    requirepass: str = field(default="", repr=False)
    """What our own clients must know; empty: nothing."""
    deny_scripts_reconfig: bool = True
    """SENTINEL SET may not change scripts."""
    loglevel: str = "notice"
    """`debug`, `verbose`, `notice`, `warning` or `nothing`."""
    maxclients: int = MAXCLIENTS
    timeout_s: int = 0
    """Idle clients are closed after this many seconds; 0: never. Pub/sub clients never are."""
    tcp_keepalive_s: int = TCP_KEEPALIVE_S
    """0: the kernel's own."""
    tcp_backlog: int = 511
    """Default of `tcp-backlog`. Source: redis/src/config.c (7.0.15)."""
    is_protected: bool = False
    """`protected-mode`: while the default user has no password, nobody comes in but from this
    machine. Off for a Sentinel unless it is asked for."""
    bind: tuple[str, ...] = ("*", "-::*")
    """Addresses it listens on, as INFO shows them."""
    renamed_commands: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Our own commands (`rename-command`): the usual name, and the one that clients must know;
    empty: nobody may call it. Like a password, such a name is for those who know it."""
    config_file: str = ""
    """Absolute path of the state file, as INFO shows it."""
    compat: Compat = Compat.REDIS_7_0
    """The program whose texts clients get; it does not change while this one runs."""
    groups: dict[GroupName, GroupExtras] = field(default_factory=dict)
    """Only groups that have something set need an entry; see `group`."""

    def group(self, name: GroupName) -> GroupExtras:
        """Return a group's part for reading; all defaults where nothing was ever set."""
        return self.groups.get(name) or GroupExtras()

    def group_for_change(self, name: GroupName) -> GroupExtras:
        """Return a group's part for changing, made when there is none."""
        return self.groups.setdefault(name, GroupExtras())

    def peer_credentials(self) -> tuple[str, str]:
        """Return user and password for AUTH on peers; no password: send no AUTH.

        Without `sentinel-pass` all Sentinels are taken to share one `requirepass`.
        Source: `sentinelSendAuthIfNeeded`, redis/src/sentinel.c (7.0.15).
        """
        if self.sentinel_pass:
            return self.sentinel_user, self.sentinel_pass
        return "", self.requirepass

    def secrets(self) -> tuple[str, ...]:
        """Return all words here that nobody else may read, the longest first.

        For who writes down texts of others, who may repeat what we told them.
        """
        words = [self.sentinel_pass, self.requirepass, *(new for _, new in self.renamed_commands)]
        for group in self.groups.values():
            words += [group.auth_pass, *group.renamed_commands.values()]
        return tuple(sorted({word for word in words if word}, key=len, reverse=True))

    def copy_of_scalars(self) -> "Settings":
        """Return a copy to try changes on; groups are shared."""
        return replace(self)

    def keep_only(self, groups: Mapping[GroupName, object]) -> None:
        """Forget the parts of groups that are not in `groups` any more."""
        for name in [name for name in self.groups if name not in groups]:
            del self.groups[name]
