"""Hold what a `sentinel.conf` says as immutable values, and write values so that they read back."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from everfly.core.model import Epoch, Millis
from everfly.errors import SettingsError
from everfly.wire.resp_values import to_bytes

DOWN_AFTER_DEFAULT: Final = Millis(30_000)
FAILOVER_TIMEOUT_DEFAULT: Final = Millis(180_000)
PARALLEL_SYNCS_DEFAULT: Final = 1
"""These three: `sentinel_default_*`, redis/src/sentinel.c (7.0.15)."""
PORT_DEFAULT: Final = 26379
EPOCH_MAX: Final = 2**63 - 1
"""Half of what Redis can hold: an epoch can then always be raised."""

_UNITS: Final = {
    "": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3,
}  # fmt: skip
_MEMORY = re.compile(r"([0-9]{1,18})([kmg]?b?)", re.ASCII | re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NEEDS_QUOTES = re.compile(r"[\x00-\x20\x7f\"'\\\ud800-\udfff]")
_NEEDS_ESCAPE = re.compile(r"[\x00-\x1f\x7f\"\\\ud800-\udfff]")
_SECRET = re.compile(
    r"(?i)^(\s*(?:requirepass|masterauth|primaryauth|tls-(?:client-)?key-file-pass|user\s+\S+"
    r"|sentinel\s+(?:auth-pass\s+\S+|sentinel-pass))\s+)\S.*"
)


class ConfigError(SettingsError):
    """A line of a configuration file is wrong; nobody starts with half a configuration.

    `line` is hidden behind stars where it holds a secret.
    """

    def __init__(self, path: str, number: int, line: str, message: str) -> None:
        self.path = path
        self.number = number
        self.line = _SECRET.sub(r"\1******", line)
        self.message = message
        super().__init__(f"{path}, line {number}, '{self.line}': {message}")

    def fatal_text(self, version: str) -> str:
        """Return what goes to stderr before exit 1, as Redis of that version writes it."""
        return (
            f"\n*** FATAL CONFIG FILE ERROR (Redis {version}) ***\n"
            f"Reading the configuration file, at line {self.number}\n"
            f">>> '{self.line}'\n{self.message}\n"
        )


def quoted(value: str) -> str:
    r"""Write a value between double quotes; control characters and bytes of no text as `\xHH`."""
    return f'"{_NEEDS_ESCAPE.sub(_escape, value)}"'


def written(value: str) -> str:
    """Write a value so that `split_args` reads it back: plain where that is enough."""
    return value if value and not _NEEDS_QUOTES.search(value) else quoted(value)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    if character in '"\\':
        return "\\" + character
    return "".join(f"\\x{byte:02x}" for byte in to_bytes(character))


def refuse_control(what: str, value: str) -> None:
    """Raise SettingsError for a value that could end its line or hide in a log."""
    if _CONTROL.search(value):
        raise SettingsError(f"the {what} {value!r} has a control character; choose another")


def _refuse_nul(what: str, value: str) -> None:
    if "\0" in value:
        raise SettingsError(f"the {what} has a NUL character, which no engine can read back")


def to_memory(text: str) -> int | None:
    """Return the bytes that a size like `32mb` stands for, or None. Source: `memtoull` (7.0.15)."""
    found = _MEMORY.fullmatch(text)
    return int(found[1]) * _UNITS[found[2].lower()] if found else None


@dataclass(frozen=True, slots=True)
class Directive:
    """One line that every engine knows, such as `port 26379`; the name in small letters."""

    name: str
    args: tuple[str, ...] = field(repr=False)  # May hold a password.
    is_included: bool = False
    """It stands in another file, by way of `include`."""


@dataclass(frozen=True, slots=True)
class KnownReplica:
    """A replica that was seen in the group."""

    host: str
    port: int

    def __post_init__(self) -> None:
        refuse_control("host of a replica", self.host)


@dataclass(frozen=True, slots=True)
class KnownSentinel:
    """A peer that was seen watching the group."""

    host: str
    port: int
    run_id: str

    def __post_init__(self) -> None:
        refuse_control("host of a Sentinel", self.host)
        refuse_control("run id of a Sentinel", self.run_id)


@dataclass(frozen=True, slots=True)
class GroupConf:
    """One group: settings, and what is remembered of it. Empty text means "not set"."""

    name: str
    host: str
    port: int
    quorum: int
    down_after: Millis = DOWN_AFTER_DEFAULT
    failover_timeout: Millis = FAILOVER_TIMEOUT_DEFAULT
    parallel_syncs: int = PARALLEL_SYNCS_DEFAULT
    notification_script: str = ""
    client_reconfig_script: str = ""
    auth_pass: str = field(default="", repr=False)
    auth_user: str = ""
    reboot_down_after: Millis = Millis(0)
    """0: a restarted primary is no reason to act."""
    config_epoch: Epoch = Epoch(0)
    leader_epoch: Epoch = Epoch(0)
    replicas: tuple[KnownReplica, ...] = ()
    sentinels: tuple[KnownSentinel, ...] = ()
    renamed_commands: tuple[tuple[str, str], ...] = ()
    """Pairs (command as everybody calls it, its name in this group)."""

    def __post_init__(self) -> None:
        """Refuse what could not be written into a file and read back as the same."""
        refuse_control("group name", self.name)
        refuse_control("host of a primary", self.host)
        for what, value in (
            ("notification script", self.notification_script),
            ("client reconfiguration script", self.client_reconfig_script),
            ("password of a group", self.auth_pass),
            ("user of a group", self.auth_user),
            *(("renamed command", name) for pair in self.renamed_commands for name in pair),
        ):
            _refuse_nul(what, value)


@dataclass(frozen=True, slots=True)
class SentinelConf:
    """A whole `sentinel.conf` with what it includes: effective values, groups in order."""

    directives: tuple[Directive, ...] = ()
    """What every engine knows, in order; the last of repeated ones, but all of `user` and such."""
    my_id: str = ""
    """Empty until the first start chose one."""
    current_epoch: Epoch = Epoch(0)
    announce_ip: str = ""
    announce_port: int = 0
    deny_scripts_reconfig: bool = True
    resolve_hostnames: bool = False
    announce_hostnames: bool = False
    sentinel_user: str = ""
    sentinel_pass: str = field(default="", repr=False)
    groups: tuple[GroupConf, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be written into a file and read back as the same."""
        refuse_control("id of this Sentinel", self.my_id)
        refuse_control("announced address", self.announce_ip)
        _refuse_nul("user for Sentinels", self.sentinel_user)
        _refuse_nul("password for Sentinels", self.sentinel_pass)

    def group(self, name: str) -> GroupConf | None:
        """Return the group of that name; names differ by case."""
        return next((group for group in self.groups if group.name == name), None)

    def args(self, name: str) -> tuple[str, ...] | None:
        """Return the arguments of a directive, or None when no line sets it."""
        found = None
        for directive in self.directives:
            if directive.name == name:
                found = directive.args
        return found

    def text(self, name: str, default: str = "") -> str:
        """Return the only argument of a directive."""
        args = self.args(name)
        return args[0] if args else default

    def number(self, name: str, default: int) -> int:
        """Return the argument of a directive that holds a number; `parse` has checked it."""
        return int(self.text(name) or default)

    def is_yes(self, name: str, *, default: bool = False) -> bool:
        """Return the argument of a directive that holds yes or no."""
        args = self.args(name)
        return args[0].lower() == "yes" if args else default

    @property
    def port(self) -> int:
        """Return where to listen without TLS; 0: nowhere."""
        return self.number("port", PORT_DEFAULT)

    @property
    def tls_port(self) -> int:
        """Return where to listen with TLS; 0: nowhere."""
        return self.number("tls-port", 0)

    @property
    def bind(self) -> tuple[str, ...]:
        """Return the addresses to listen on; one that begins with `-` may be missing."""
        args = self.args("bind")
        return ("*", "-::*") if args is None else args

    def output_limits(self) -> dict[str, tuple[int, int, int]]:
        """Return hard and soft bytes and soft seconds for each class of clients that is limited."""
        found = {}
        for directive in self.directives:
            if directive.name == "client-output-buffer-limit":
                columns = (directive.args[at::4] for at in range(4))
                for kind, hard, soft, soft_s in zip(*columns, strict=True):
                    sizes = (to_memory(hard) or 0, to_memory(soft) or 0)
                    found[kind.lower()] = (*sizes, int(soft_s))
        return found

    @property
    def users(self) -> tuple[tuple[str, ...], ...]:
        """Return the arguments of each `user` line: a name and its rules."""
        return tuple(line.args for line in self.directives if line.name == "user")

    def with_directive(self, name: str, *args: str) -> "SentinelConf":
        """Return a copy in which one line sets this directive."""
        return self._with(name, [Directive(name, args)])

    def with_users(self, users: Iterable[tuple[str, ...]]) -> "SentinelConf":
        """Return a copy with these `user` lines and no others."""
        return self._with("user", [Directive("user", args) for args in users])

    def with_group(self, group: GroupConf) -> "SentinelConf":
        """Return a copy in which the group of that name is this one; a new one comes last."""
        if self.group(group.name) is None:
            return replace(self, groups=(*self.groups, group))
        groups = tuple(group if old.name == group.name else old for old in self.groups)
        return replace(self, groups=groups)

    def without_group(self, name: str) -> "SentinelConf":
        """Return a copy without the group of that name."""
        return replace(self, groups=tuple(group for group in self.groups if group.name != name))

    def _with(self, name: str, lines: list[Directive]) -> "SentinelConf":
        others = (line for line in self.directives if line.name != name)
        return replace(self, directives=(*others, *lines))
