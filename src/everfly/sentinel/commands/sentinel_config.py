"""SENTINEL CONFIG, DEBUG and SIMULATE-FAILURE: settings of this Sentinel as a whole.

Source: `sentinelConfigSetCommand`, `sentinelSetDebugConfigParameters`, `sentinelCommand`,
redis/src/sentinel.c (7.0.15).
"""

from collections.abc import Callable, Iterable
from typing import Final

from everfly.core.inputs import AnnouncementChanged, FailureSimulationRequested, PolicyChanged
from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.sentinel.commands.arguments import (
    PATTERN_TOO_LONG,
    clean_text,
    lower,
    to_glob,
    to_integer,
)
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.sentinel_changes import ask
from everfly.sentinel.settings import Settings
from everfly.wire.resp import ErrorReply, Value, to_bytes, to_text

USAGE: Final = ErrorReply(
    "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported."
)

DEBUG_FIELDS: Final = {
    "INFO-PERIOD": "info_period",
    "PING-PERIOD": "ping_period",
    "ASK-PERIOD": "ask_period",
    "PUBLISH-PERIOD": "publish_period",
    "DEFAULT-DOWN-AFTER": "default_down_after",
    "DEFAULT-FAILOVER-TIMEOUT": "default_failover_timeout",
    "TILT-TRIGGER": "tilt_trigger",
    "TILT-PERIOD": "tilt_period",
    "SLAVE-RECONF-TIMEOUT": "replica_reconf_timeout",
    "MIN-LINK-RECONNECT-PERIOD": "min_link_reconnect_period",
    "ELECTION-TIMEOUT": "election_timeout",
    "SCRIPT-MAX-RUNTIME": "script_max_runtime",
    "SCRIPT-RETRY-DELAY": "script_retry_delay",
}
"""What SENTINEL DEBUG calls the fields of `Policy`, in the order in which it shows them."""


def config(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL CONFIG GET pattern | SENTINEL CONFIG SET option value."""
    del client
    match lower(command[2]), len(command):
        case "get", 4:
            return _get(desk.settings, command[3])
        case "set", 5:
            return Later(_set(desk, command[3], command[4]))
        case _:
            return USAGE


def _get(settings: Settings, pattern: bytes) -> Outcome:
    glob = to_glob(pattern, ignore_case=True)
    if glob is None:
        return PATTERN_TOO_LONG
    values = values_of(settings)
    return {name: value for name, value in values.items() if glob.matches(to_bytes(name))}


def values_of(settings: Settings) -> dict[str, Value]:
    """Return what SENTINEL CONFIG shows of the settings."""
    return {
        "resolve-hostnames": "yes" if settings.resolve_hostnames else "no",
        "announce-hostnames": "yes" if settings.announce_hostnames else "no",
        "announce-ip": settings.announce_ip,
        "announce-port": str(settings.announce_port),
        "sentinel-user": settings.sentinel_user,
        "sentinel-pass": settings.sentinel_pass,
    }


async def _set(desk: Desk, option_word: bytes, value: bytes) -> Answer:
    option = lower(option_word)
    apply = SETTERS.get(option)
    if apply is None:
        return ErrorReply(f"ERR Invalid argument '{to_text(option_word)}' to SENTINEL CONFIG SET")
    async with desk.change_lock:
        text = clean_text(value)
        if text is None or not apply(desk.settings, text):
            return invalid_value(option_word, value)
        return await announce_change(desk, (option,))


def invalid_value(option: bytes, value: bytes) -> ErrorReply:
    """Return the answer to a value that an option cannot have."""
    return ErrorReply(
        f"ERR Invalid value '{to_text(value)}' to SENTINEL CONFIG SET '{to_text(option)}'"
    )


async def announce_change(desk: Desk, options: Iterable[str]) -> Answer:
    """Let the core know of changed settings, and return the answer when they are on disk."""
    settings = desk.settings
    drops_peer_links = not {"sentinel-user", "sentinel-pass"}.isdisjoint(options)
    return await ask(
        desk,
        lambda token: AnnouncementChanged(
            token,
            announce_host=settings.announce_ip,
            announce_port=settings.announce_port,
            shows_hostnames=settings.announce_hostnames,
            drops_peer_links=drops_peer_links,
        ),
    )


def _set_resolve_hostnames(settings: Settings, text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        return False
    settings.resolve_hostnames = text.lower() == "yes"
    return True


def _set_announce_hostnames(settings: Settings, text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        return False
    settings.announce_hostnames = text.lower() == "yes"
    return True


def _set_announce_ip(settings: Settings, text: str) -> bool:
    """Empty: announce the local address of each connection again."""
    if " " in text or "," in text or len(text) > 255:
        return False  # No hello could carry it.
    settings.announce_ip = text
    return True


def _set_announce_port(settings: Settings, text: str) -> bool:
    port = to_integer(to_bytes(text))
    if port is None or not 0 <= port < 65536:
        return False
    settings.announce_port = port
    return True


def _set_user(settings: Settings, text: str) -> bool:
    settings.sentinel_user = text
    return True


def _set_pass(settings: Settings, text: str) -> bool:
    settings.sentinel_pass = text
    return True


SETTERS: Final[dict[str, Callable[[Settings, str], bool]]] = {
    "resolve-hostnames": _set_resolve_hostnames,
    "announce-hostnames": _set_announce_hostnames,
    "announce-ip": _set_announce_ip,
    "announce-port": _set_announce_port,
    "sentinel-user": _set_user,
    "sentinel-pass": _set_pass,
}


def debug(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL DEBUG [parameter milliseconds ...]: show or change the tunables of the core.

    Not atomic: parameters before a wrong one stay changed.
    """
    del client
    if len(command) == 2:
        values: dict[str, Value] = {
            shown: str(getattr(desk.policy, name)) for shown, name in DEBUG_FIELDS.items()
        }
        return values
    changes, fault = _read_debug(command[2:])
    if not changes and fault is not None:
        return fault
    return Later(_change_policy(desk, changes, fault))


def _read_debug(words: list[bytes]) -> tuple[tuple[tuple[str, int], ...], ErrorReply | None]:
    changes: list[tuple[str, int]] = []
    fault = None
    for at in range(0, len(words), 2):
        option = to_text(words[at])
        name = DEBUG_FIELDS.get(option.upper())
        if name is None or at + 1 == len(words):
            fault = ErrorReply(
                f"ERR Unknown option or number of arguments for SENTINEL DEBUG '{option}'"
            )
            break
        number = to_integer(words[at + 1])
        if number is None or number < 1:
            value = to_text(words[at + 1])
            fault = ErrorReply(f"ERR Invalid argument '{value}' for SENTINEL DEBUG '{option}'")
            break
        changes.append((name, number))
    return tuple(changes), fault


async def _change_policy(
    desk: Desk, changes: tuple[tuple[str, int], ...], fault: ErrorReply | None
) -> Answer:
    answer = await ask(desk, lambda token: PolicyChanged(token, changes))
    return answer if fault is None else fault


def simulate_failure(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL SIMULATE-FAILURE mode ...: die at a bad moment, to see what the others do."""
    del client
    words = [lower(word) for word in command[2:]]
    known = []
    for word in words:
        if word not in ("crash-after-election", "crash-after-promotion"):
            break
        known.append(word)
    desk.dies_after_election = "crash-after-election" in known
    desk.dies_after_promotion = "crash-after-promotion" in known
    rest = words[len(known) :]
    answer: Answer | None = None
    if rest:
        is_help = rest[0] == "help"
        answer = (
            ["crash-after-election", "crash-after-promotion"]
            if is_help
            else ErrorReply("ERR Unknown failure simulation specified")
        )
    return Later(_simulate(desk, answer))


async def _simulate(desk: Desk, answer: Answer | None) -> Answer:
    result = await ask(
        desk,
        lambda token: FailureSimulationRequested(
            token,
            crash_after_election=desk.dies_after_election,
            crash_after_promotion=desk.dies_after_promotion,
        ),
    )
    return result if answer is None else answer
