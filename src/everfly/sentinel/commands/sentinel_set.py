"""SENTINEL SET: one option after the other, as far as they are right.

Not atomic, as ever: what stands before a wrong option stays, and is saved before the error is told.
Source: `sentinelSetCommand`, redis/src/sentinel.c (7.0.15).
"""

import os
from dataclasses import dataclass, field, replace
from typing import Final

from everfly.core.inputs import SettingsChanged
from everfly.core.model import GroupName, Millis
from everfly.core.policy import GroupSettings
from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.sentinel.commands.arguments import SAVE_FAILED, clean_text, lower, to_integer
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.sentinel_changes import ask
from everfly.sentinel.commands.sentinel_queries import NO_SUCH_GROUP, view_of
from everfly.sentinel.settings import GroupExtras
from everfly.wire.resp import ErrorReply, to_text

MASK: Final = "******"
"""What a notice shows of a secret."""
COMMAND_CHARS_MAX: Final = 128
"""Of a command's name, old or new."""

SCRIPTS_DENIED: Final = ErrorReply(
    "ERR Reconfiguration of scripts path is denied for security reasons. Check the "
    "deny-scripts-reconfig configuration directive in your Sentinel configuration"
)
NOT_EXECUTABLE: Final = {
    "notification-script": ErrorReply(
        "ERR Notification script seems non existing or non executable"
    ),
    "client-reconfig-script": ErrorReply(
        "ERR Client reconfiguration script seems non existing or non executable"
    ),
}


@dataclass(slots=True)
class _Change:
    """What has been set so far."""

    settings: GroupSettings
    extras: GroupExtras
    denies_scripts: bool
    told: list[tuple[str, str]] = field(default_factory=list)
    drops_links: bool = False


def set_(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL SET name option value [option value ...]."""
    del client
    return Later(_set(desk, command))


async def _set(desk: Desk, command: list[bytes]) -> Answer:
    async with desk.change_lock:
        view = view_of(desk, command[2])
        if view is None:
            return NO_SUCH_GROUP
        extras = desk.settings.group_for_change(view.name)
        change = _Change(replace(view.settings), extras, desk.settings.deny_scripts_reconfig)
        fault = _apply_all(desk, change, command[3:])
        saved = await _enter(desk, view.name, change) if change.told else None
        if saved is SAVE_FAILED or saved is NO_SUCH_GROUP or fault is None:
            return saved
        return fault


async def _enter(desk: Desk, group: GroupName, change: _Change) -> Answer:
    return await ask(
        desk,
        lambda token: SettingsChanged(
            token, group, change.settings, tuple(change.told), drops_links=change.drops_links
        ),
    )


def _known_as(option: str, desk: Desk) -> str:
    """Return our name of an option; Valkey has another one for one of them, and takes both."""
    if desk.settings.compat.is_valkey and option == "primary-reboot-down-after-period":
        return "master-reboot-down-after-period"
    return option


def _apply_all(desk: Desk, change: _Change, words: list[bytes]) -> ErrorReply | None:
    """Apply options until one is wrong; return what is wrong with it."""
    at = 0
    while at < len(words):
        option = _known_as(lower(words[at]), desk)
        width = 2 if option == "rename-command" else 1
        values = words[at + 1 : at + 1 + width]
        shown = to_text(words[at])
        if option not in _OPTIONS or len(values) < width:
            return ErrorReply(
                f"ERR Unknown option or number of arguments for SENTINEL SET '{shown}'"
            )
        fault = _apply(change, option, values)
        if isinstance(fault, bytes):
            return ErrorReply(f"ERR Invalid argument '{to_text(fault)}' for SENTINEL SET '{shown}'")
        if fault is not None:
            return fault
        is_secret = option == "auth-pass" and values != [b""]
        change.told.append((shown, MASK if is_secret else " ".join(map(to_text, values))))
        at += 1 + width
    return None


def _apply(change: _Change, option: str, values: list[bytes]) -> ErrorReply | bytes | None:
    """Apply one option; return the value that is wrong, or an answer that says more."""
    text = clean_text(values[0])
    if text is None:
        return values[0]
    if option in _NUMBERS:
        attribute, allowed = _NUMBERS[option]
        number = to_integer(values[0])
        if number is None or number not in allowed:
            return values[0]
        setattr(change.settings, attribute, Millis(number))
        return None
    extras = change.extras
    match option:
        case "auth-pass":
            extras.auth_pass = text
            change.drops_links = True
        case "auth-user":
            extras.auth_user = text
            change.drops_links = True
        case "rename-command":
            return _rename(extras, values)
        case _:
            return _set_script(change, option, text)
    return None


def _set_script(change: _Change, option: str, path: str) -> ErrorReply | None:
    if change.denies_scripts:
        return SCRIPTS_DENIED
    if path and not os.access(path, os.X_OK):
        return NOT_EXECUTABLE[option]
    if option == "notification-script":
        change.extras.notification_script = path
    else:
        change.extras.client_reconfig_script = path
    return None


def _rename(extras: GroupExtras, values: list[bytes]) -> bytes | None:
    """Remember what a command is called on this group's instances; its own name forgets it."""
    names = []
    for value in values:
        name = clean_text(value)
        if not name or " " in name or len(name) > COMMAND_CHARS_MAX:
            return value
        names.append(name)
    old, new = names
    extras.renamed_commands.pop(old.upper(), None)
    if old.upper() != new.upper():
        extras.renamed_commands[old.upper()] = new
    return None


_NUMBERS: Final = {
    "down-after-milliseconds": ("down_after", range(1, 2**63)),
    "failover-timeout": ("failover_timeout", range(1, 2**63)),
    "parallel-syncs": ("parallel_syncs", range(1, 2**31)),
    "quorum": ("quorum", range(1, 2**31)),
    "master-reboot-down-after-period": ("reboot_down_after", range(2**63)),
}
"""Field of `GroupSettings`, and its values. Where they end at 2**31, Redis goes on but keeps only
the lower 32 bits."""

_OPTIONS: Final = frozenset(
    {*_NUMBERS, *NOT_EXECUTABLE, "auth-pass", "auth-user", "rename-command"}
)
