"""CLIENT TRACKING and its relatives: remembered and shown, though there are no keys to track.

Source: `clientCommand`, redis/src/networking.c; redis/src/tracking.c (7.0.15).
"""

from typing import Final

from everfly.runtime.client_connection import ClientConnection, Outcome, Tracking
from everfly.sentinel.commands.arguments import NOT_AN_INTEGER, SYNTAX_ERROR, lower, to_integer
from everfly.sentinel.commands.connection import DONE
from everfly.sentinel.commands.desk import Desk
from everfly.wire.resp import ErrorReply, Unordered, Value, to_text

PREFIXES_MAX: Final = 100
PREFIX_BYTES_MAX: Final = 4_096
"""Both: of one client. Redis has no limits; here they are kept for show."""


def tracking(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT TRACKING ON | OFF [REDIRECT id] [BCAST] [PREFIX p ...] [OPTIN] [OPTOUT] [NOLOOP]."""
    request = _read(desk, command[3:])
    if isinstance(request, ErrorReply):
        return request
    wanted, modes = request
    match lower(command[2]):
        case "off":
            client.tracking = Tracking()
            return DONE
        case "on":
            pass
        case _:
            return SYNTAX_ERROR
    fault = _conflict(client.tracking, wanted, modes)
    if fault is not None:
        return fault
    old = client.tracking
    if wanted.is_broadcast:
        new = wanted.prefixes or ([] if old.prefixes else [b""])
        wanted.prefixes = [*old.prefixes, *(each for each in new if each not in old.prefixes)]
        if len(wanted.prefixes) > PREFIXES_MAX:
            return ErrorReply(f"ERR a client may have {PREFIXES_MAX} prefixes")
    wanted.is_on = True
    client.tracking = wanted
    return DONE


def caching(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT CACHING YES | NO."""
    del desk
    mode = client.tracking.mode
    if not client.tracking.is_on:
        return ErrorReply(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN "
            "or OPTOUT mode enabled"
        )
    match lower(command[2]):
        case "yes":
            if mode != "optin":
                return ErrorReply(
                    "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."
                )
            client.tracking.caching = "yes"
        case "no":
            if mode != "optout":
                return ErrorReply(
                    "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."
                )
            client.tracking.caching = "no"
        case _:
            return SYNTAX_ERROR
    return DONE


def getredir(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT GETREDIR."""
    del desk, command
    return client.tracking.redirect if client.tracking.is_on else -1


def trackinginfo(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """CLIENT TRACKINGINFO."""
    del command
    state = client.tracking
    is_broken = bool(state.redirect) and state.redirect not in desk.listener.clients
    facts = {
        "on" if state.is_on else "off": True,
        "bcast": state.is_broadcast,
        state.mode: bool(state.mode),
        f"caching-{state.caching}": bool(state.caching),
        "noloop": state.is_loop_free,
        "broken_redirect": state.is_on and is_broken,
    }
    answer: dict[str, Value] = {
        "flags": Unordered([flag for flag, holds in facts.items() if holds]),
        "redirect": state.redirect if state.is_on else -1,
        "prefixes": list(state.prefixes),
    }
    return answer


def _read(desk: Desk, words: list[bytes]) -> tuple[Tracking, set[str]] | ErrorReply:
    """Return what is asked for, and all modes that were named: only one of them can be."""
    wanted = Tracking()
    modes: set[str] = set()
    at = 0
    while at < len(words):
        option = lower(words[at])
        has_value = at + 1 < len(words)
        at += 1
        match option:
            case "redirect" if has_value:
                target = _read_redirect(desk, wanted, words[at])
                if isinstance(target, ErrorReply):
                    return target
                wanted.redirect = target
                at += 1
            case "prefix" if has_value:
                if len(words[at]) > PREFIX_BYTES_MAX or len(wanted.prefixes) >= PREFIXES_MAX:
                    return ErrorReply(
                        f"ERR {PREFIXES_MAX} prefixes of {PREFIX_BYTES_MAX} bytes are the limit"
                    )
                wanted.prefixes.append(words[at])
                at += 1
            case "bcast":
                wanted.is_broadcast = True
            case "noloop":
                wanted.is_loop_free = True
            case "optin" | "optout":
                modes.add(option)
                wanted.mode = option
            case _:
                return SYNTAX_ERROR
    return wanted, modes


def _read_redirect(desk: Desk, wanted: Tracking, word: bytes) -> int | ErrorReply:
    if wanted.redirect:
        return ErrorReply("ERR A client can only redirect to a single other client")
    number = to_integer(word)
    if number is None:
        return NOT_AN_INTEGER
    if number not in desk.listener.clients:
        return ErrorReply("ERR The client ID you want redirect to does not exist")
    return number


def _conflict(old: Tracking, wanted: Tracking, modes: set[str]) -> ErrorReply | None:
    """Return why the wanted mode cannot be, alone or after the old one."""
    if wanted.prefixes and not wanted.is_broadcast:
        return ErrorReply("ERR PREFIX option requires BCAST mode to be enabled")
    if old.is_on and old.is_broadcast is not wanted.is_broadcast:
        return ErrorReply(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and "
            "then re-enabling it with a different mode."
        )
    if wanted.is_broadcast and wanted.mode:
        return ErrorReply("ERR OPTIN and OPTOUT are not compatible with BCAST")
    if len(modes) == 2:
        return ErrorReply("ERR You can't specify both OPTIN mode and OPTOUT mode")
    if {old.mode, wanted.mode} == {"optin", "optout"}:
        return ErrorReply(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
            "then re-enabling it with a different mode."
        )
    return _overlap(old.prefixes, wanted.prefixes)


def _overlap(old: list[bytes], new: list[bytes]) -> ErrorReply | None:
    """Return which prefix begins with another one. Source: `checkPrefixCollisionsOrReply`."""
    for at, prefix in enumerate(new):
        for others, which in (
            (old, "an existing prefix"),
            (new[at + 1 :], "another provided prefix"),
        ):
            for other in others:
                if prefix != other and (prefix.startswith(other) or other.startswith(prefix)):
                    return ErrorReply(
                        f"ERR Prefix '{to_text(prefix)}' overlaps with {which} '{to_text(other)}'. "
                        "Prefixes for a single client must not overlap."
                    )
    return None
