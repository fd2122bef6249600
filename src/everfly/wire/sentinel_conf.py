"""Turn the text of a `sentinel.conf` into a `SentinelConf`, by the rules of Redis.

Lines of Sentinel are applied in three passes, so their order in the file does not matter: what
holds for the whole Sentinel, then the groups, then what belongs to a group. Of repeated settings
the last counts. Numbers are read as C's `atoi` does; texts of errors are those of Redis.
Source: `loadSentinelConfigFromQueue`, `sentinelHandleConfiguration`, redis/src/sentinel.c (7.0.15).

Looser than Redis where Redis cannot read back what it wrote itself: a replica that stands both as
`known-slave` and as `known-replica`, and a group that an included file names and the rewritten file
too. Stricter where nothing good could come of it: epochs above 2^63 - 1, control characters in
names.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn

from everfly.core.model import Epoch, Millis
from everfly.errors import SettingsError
from everfly.wire.literal_ip import literal_ip
from everfly.wire.resp_requests import split_args
from everfly.wire.resp_values import to_bytes, to_text
from everfly.wire.sentinel_conf_directives import REPEATED, DirectiveError, to_directive
from everfly.wire.sentinel_conf_model import (
    EPOCH_MAX,
    ConfigError,
    Directive,
    GroupConf,
    KnownReplica,
    KnownSentinel,
    SentinelConf,
    quoted,
)

__all__ = ["ConfigError", "Directive", "GroupConf", "KnownReplica", "KnownSentinel",
           "SentinelConf", "overrides", "parse"]  # fmt: skip

Includes = Callable[[str], Sequence[tuple[str, str]]]
"""From the pattern of an `include` to pairs (path, text), sorted; raises SettingsError."""

INCLUDE_DEPTH_MAX: Final = 16
"""Deeper is a file that includes itself."""

_GENERAL = """
announce-ip announce-port deny-scripts-reconfig sentinel-user sentinel-pass current-epoch myid
resolve-hostnames announce-hostnames
"""
GENERAL_OPTIONS: Final = frozenset(_GENERAL.split())
"""Options that hold for the whole Sentinel; the others name a group."""
ALIASES: Final = {
    "known-slave": "known-replica",
    "primary-reboot-down-after-period": "master-reboot-down-after-period",
}
"""Older and newer names of the same option."""

OPTIONS: Final = {
    "announce-ip": (2, 2), "announce-port": (2, 2), "deny-scripts-reconfig": (2, 2),
    "sentinel-user": (2, 2), "sentinel-pass": (2, 2), "current-epoch": (2, 2), "myid": (2, 2),
    "resolve-hostnames": (2, 2), "announce-hostnames": (2, 2), "monitor": (5, 5),
    "down-after-milliseconds": (3, 3), "failover-timeout": (3, 3), "parallel-syncs": (3, 3),
    "notification-script": (3, 3), "client-reconfig-script": (3, 3), "auth-pass": (3, 3),
    "auth-user": (3, 3), "master-reboot-down-after-period": (3, 3), "config-epoch": (3, 3),
    "leader-epoch": (3, 3), "known-replica": (4, 4), "known-sentinel": (4, 5),
    "rename-command": (4, 4),
}  # fmt: skip
"""How many words an option and its values are."""

_ATOI = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,40})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Line:
    path: str
    number: int
    text: str
    args: tuple[str, ...]
    """Of a line of Sentinel: the option and its values."""
    depth: int

    def fail(self, message: str) -> NoReturn:
        raise ConfigError(self.path, self.number, self.text, message)


@dataclass(slots=True)
class _Reader:
    """What has been read so far."""

    includes: Includes | None
    is_executable: Callable[[str], bool] | None
    directives: list[Directive] = field(default_factory=list)
    queue: list[_Line] = field(default_factory=list)
    conf: SentinelConf = field(default_factory=SentinelConf)
    groups: dict[str, GroupConf] = field(default_factory=dict)
    origins: dict[tuple[str, ...], _Line] = field(default_factory=dict)
    """The line that named a group, a replica or a Sentinel first."""


def parse(
    text: str,
    path: str,
    includes: Includes | None = None,
    is_executable: Callable[[str], bool] | None = None,
) -> SentinelConf:
    """Return what a file says, with what it includes; raise ConfigError at the first wrong line.

    `path` names the file in errors. Without `includes` a line that includes is an error. Without
    `is_executable` scripts are not looked for, and the caller does.
    """
    reader = _Reader(includes, is_executable)
    _read(reader, text, path, depth=0)
    general = [line for line in reader.queue if line.args[0] in GENERAL_OPTIONS]
    monitor = [line for line in reader.queue if line.args[0] == "monitor"]
    early = GENERAL_OPTIONS | {"monitor"}
    rest = [line for line in reader.queue if line.args[0] not in early]
    for lines, apply in ((general, _apply_general), (monitor, _apply_monitor), (rest, _apply_rest)):
        for line in lines:
            if not _is_known(line.args):
                line.fail("Unrecognized sentinel configuration statement.")
            try:
                apply(reader, line)
            except ConfigError:
                raise
            except SettingsError as error:
                line.fail(str(error))
    return replace(
        reader.conf, directives=tuple(reader.directives), groups=tuple(reader.groups.values())
    )


def overrides(argv: Sequence[str]) -> str:
    """Return the lines that the arguments behind the file's name stand for.

    `--port 5000 --sentinel announce-ip 1.2.3.4` sets two; append them to the file's text. What
    follows a name is its value, even when it begins with dashes; `--sentinel` alone says nothing.
    Source: `main`, redis/src/server.c (7.0.15).
    """
    lines: list[list[str]] = []
    must_be_value = False
    for argument in argv:
        is_name = argument.startswith("--") and not (
            must_be_value and lines[-1][0].lower() not in ("sentinel", "save")
        )
        if is_name:
            words = split_args(to_bytes(argument[2:])) or [b""]
            lines.append([argument[2:]])
            # "--port 5000" in one argument is a whole line.
            must_be_value = len(words) == 1
        elif lines:
            lines[-1].append(quoted(argument))
            must_be_value = False
        else:
            raise SettingsError(
                f"{argument!r} follows the file but is no option; write --name value"
            )
    for line in lines:
        if line == ["save"]:
            line.append('""')
    return "".join(" ".join(line) + "\n" for line in lines)


def _read(reader: _Reader, text: str, path: str, depth: int) -> None:
    for number, raw in enumerate(text.split("\n"), start=1):
        stripped = raw.strip(" \t\r\n")
        if not stripped or stripped.startswith("#"):
            continue
        line = _Line(path, number, stripped, (), depth)
        split = split_args(to_bytes(stripped))
        if split is None:
            line.fail("Unbalanced quotes in configuration line")
        args = [to_text(arg) for arg in split]
        if not args:
            continue
        if args[0].lower() != "sentinel":
            _read_directive(reader, line, args)
        elif len(args) > 1:
            option = args[1].lower()
            words = (ALIASES.get(option, option), *args[2:])
            reader.queue.append(replace(line, args=words))


def _read_directive(reader: _Reader, line: _Line, args: list[str]) -> None:
    try:
        directive = to_directive(args, is_included=line.depth > 0)
    except DirectiveError as error:
        line.fail(str(error))
    if directive.name not in REPEATED:
        reader.directives = [old for old in reader.directives if old.name != directive.name]
    reader.directives.append(directive)
    if directive.name == "include":
        if reader.includes is None or line.depth >= INCLUDE_DEPTH_MAX:
            line.fail("Files cannot be included here, or include each other for ever.")
        for path, text in reader.includes(directive.args[0]):
            _read(reader, text, path, line.depth + 1)


def _is_known(args: tuple[str, ...]) -> bool:
    least, most = OPTIONS.get(args[0], (0, 0))
    return least <= len(args) <= most


def _apply_general(reader: _Reader, line: _Line) -> None:
    option, value = line.args
    conf = reader.conf
    match option:
        case "myid":
            if len(to_bytes(value)) != 40:
                line.fail("Malformed Sentinel id in myid option.")
            conf = replace(conf, my_id=value)
        case "current-epoch":
            conf = replace(conf, current_epoch=max(conf.current_epoch, _to_epoch(line, value)))
        case "announce-ip":
            conf = replace(conf, announce_ip=value or conf.announce_ip)
        case "announce-port":
            conf = replace(conf, announce_port=_atoi(value))
        case "sentinel-user":
            conf = replace(conf, sentinel_user=value or conf.sentinel_user)
        case "sentinel-pass":
            conf = replace(conf, sentinel_pass=value or conf.sentinel_pass)
        case "deny-scripts-reconfig":
            conf = replace(conf, deny_scripts_reconfig=_to_yes(line, value, "options"))
        case "resolve-hostnames":
            conf = replace(conf, resolve_hostnames=_to_yes(line, value, "option"))
        case _:
            conf = replace(conf, announce_hostnames=_to_yes(line, value, "option"))
    reader.conf = conf


def _apply_monitor(reader: _Reader, line: _Line) -> None:
    _, name, host, port, quorum_text = line.args
    quorum = _atoi(quorum_text)
    if quorum <= 0:
        line.fail("Quorum must be 1 or greater.")
    _claim(reader, line, ("group", name), "Duplicate master name.")
    group = GroupConf(name, *_to_address(reader, line, host, port), quorum)
    reader.groups[name] = group


def _apply_rest(reader: _Reader, line: _Line) -> None:
    group = reader.groups.get(line.args[1])
    if group is None:
        line.fail("No such master with specified name.")
    if len(line.args) == 3:
        group = _with_setting(reader, line, group)
    else:
        group = _with_known(reader, line, group)
    reader.groups[group.name] = group


def _with_setting(reader: _Reader, line: _Line, group: GroupConf) -> GroupConf:
    option, _, value = line.args
    match option:
        case "down-after-milliseconds":
            return replace(group, down_after=_to_period(line, value))
        case "failover-timeout":
            return replace(group, failover_timeout=_to_period(line, value))
        case "parallel-syncs":
            return replace(group, parallel_syncs=_atoi(value))
        case "notification-script":
            _check_script(reader, line, "Notification script")
            return replace(group, notification_script=value)
        case "client-reconfig-script":
            _check_script(reader, line, "Client reconfiguration script")
            return replace(group, client_reconfig_script=value)
        case "auth-pass":
            return replace(group, auth_pass=value)
        case "auth-user":
            return replace(group, auth_user=value)
        case "master-reboot-down-after-period":
            if _atoi(value) < 0:
                line.fail("negative time parameter.")
            return replace(group, reboot_down_after=Millis(_atoi(value)))
        case _:
            return _with_epoch(reader, line, group)


def _with_epoch(reader: _Reader, line: _Line, group: GroupConf) -> GroupConf:
    epoch = _to_epoch(line, line.args[2])
    if line.args[0] == "leader-epoch":
        return replace(group, leader_epoch=epoch)
    newest = max(epoch, reader.conf.current_epoch)
    reader.conf = replace(reader.conf, current_epoch=newest)
    return replace(group, config_epoch=epoch)


def _with_known(reader: _Reader, line: _Line, group: GroupConf) -> GroupConf:
    match line.args:
        case ("rename-command", _, old, new):
            message = "Same command renamed multiple times with rename-command."
            _claim(reader, line, ("command", group.name, old.lower()), message)
            others = tuple(
                pair for pair in group.renamed_commands if pair[0].lower() != old.lower()
            )
            return replace(group, renamed_commands=(*others, (old, new)))
        case ("known-replica", _, host, port):
            replica = KnownReplica(*_to_address(reader, line, host, port))
            key = ("replica", group.name, replica.host, str(replica.port))
            if not _claim(reader, line, key, "Duplicate hostname and port for replica."):
                return group
            return replace(group, replicas=(*group.replicas, replica))
        case ("known-sentinel", _, host, port, run_id):
            peer = KnownSentinel(*_to_address(reader, line, host, port), run_id)
            _claim(reader, line, ("peer", group.name, run_id), "Duplicate runid for sentinel.")
            peers = tuple(known for known in group.sentinels if known.run_id != run_id)
            return replace(group, sentinels=(*peers, peer))
        case _:
            # The form of Sentinels before 2.8.13, without a run id, says nothing of use.
            return group


def _claim(reader: _Reader, line: _Line, key: tuple[str, ...], message: str) -> bool:
    """Return whether nothing claimed this before; fail where Redis may not be forgiven for it."""
    first = reader.origins.setdefault(key, line)
    if first is line:
        return True
    is_own_leftover = first.depth != line.depth or (
        key[0] == "replica" and first.text.split()[1].lower() != line.text.split()[1].lower()
    )
    if not is_own_leftover:
        line.fail(message)
    return False


def _check_script(reader: _Reader, line: _Line, what: str) -> None:
    if reader.is_executable is not None and not reader.is_executable(line.args[2]):
        line.fail(f"{what} seems non existing or non executable.")


def _to_address(reader: _Reader, line: _Line, host: str, port: str) -> tuple[str, int]:
    number = _atoi(port)
    if not 0 <= number <= 65535:
        line.fail("Invalid port number.")
    ip = literal_ip(host)
    if ip is None and (not host or not reader.conf.resolve_hostnames):
        line.fail("Can't resolve instance hostname.")
    return ip or host, number


def _to_yes(line: _Line, value: str, noun: str) -> bool:
    if value.lower() not in ("yes", "no"):
        line.fail(f"Please specify yes or no for the {line.args[0]} {noun}.")
    return value.lower() == "yes"


def _to_period(line: _Line, value: str) -> Millis:
    period = _atoi(value)
    if period <= 0:
        line.fail("negative or zero time parameter.")
    return Millis(period)


def _to_epoch(line: _Line, value: str) -> Epoch:
    found = _ATOI.match(value)
    epoch = int(found.group(1)) if found else 0
    if not 0 <= epoch <= EPOCH_MAX:
        line.fail(f"An epoch must be between 0 and {EPOCH_MAX}.")
    return Epoch(epoch)


def _atoi(value: str) -> int:
    """Return what C's `atoi` makes of a text on 64 bit Linux: `strtol`, cut to 32 bits."""
    found = _ATOI.match(value)
    number = max(-(2**63), min(2**63 - 1, int(found.group(1)))) if found else 0
    return (number + 2**31) % 2**32 - 2**31
