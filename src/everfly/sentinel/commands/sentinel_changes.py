"""SENTINEL subcommands that change what is watched: requests that enter the core as inputs.

Each is answered when its effect is durable, and holds back the client's next commands until then.
Source: `sentinelCommand`, redis/src/sentinel.c (7.0.15).
"""

import socket
from collections.abc import Callable
from typing import Final

from everfly.core.effects import Accepted, Counted, Refusal, Refused
from everfly.core.inputs import (
    FailoverRequested,
    FlushRequested,
    Input,
    MonitorRequested,
    RemoveRequested,
    ResetRequested,
)
from everfly.core.model import Address, GroupName, Token
from everfly.core.policy import GroupSettings
from everfly.errors import Unavailable
from everfly.runtime.client_connection import Answer, ClientConnection, Later, Outcome
from everfly.sentinel.commands.arguments import (
    PATTERN_TOO_LONG,
    SAVE_FAILED,
    clean_text,
    lower,
    to_glob,
    to_integer,
)
from everfly.sentinel.commands.connection import DONE
from everfly.sentinel.commands.desk import Desk
from everfly.sentinel.commands.sentinel_queries import NO_SUCH_GROUP
from everfly.wire.resp import ErrorReply, to_bytes, to_text

NAME_CHARS_MAX: Final = 255
"""Of a group: it has to fit into a hello with all the rest."""
QUORUM_MAX: Final = 2**31 - 1

BAD_NAME: Final = ErrorReply(
    f"ERR Invalid master name: it needs 1 to {NAME_CHARS_MAX} characters of UTF-8 without commas "
    "and control characters"
)
BAD_HOST: Final = ErrorReply("ERR Invalid IP address or hostname specified")
BAD_PORT: Final = ErrorReply("ERR Invalid port number.")

REFUSALS: Final = {
    Refusal.NO_SUCH_GROUP: NO_SUCH_GROUP,
    Refusal.DUPLICATE_GROUP: ErrorReply("ERR Duplicate master name."),
    Refusal.FAILOVER_IN_PROGRESS: ErrorReply("INPROG Failover already in progress"),
    Refusal.NO_GOOD_REPLICA: ErrorReply("NOGOODSLAVE No suitable replica to promote"),
}


async def ask(desk: Desk, make: Callable[[Token], Input]) -> Answer:
    """Enter a request and return its answer as clients know it."""
    try:
        result = await desk.brain.request(make)
    except Unavailable:
        return SAVE_FAILED
    match result:
        case Accepted():
            return DONE
        case Refused(Refusal.NO_HAND_OVER, reason):
            return ErrorReply(f"ERR switchover refused, nothing has changed: {reason}")
        case Refused(Refusal.NO_GOOD_REPLICA, reason) if reason:
            return ErrorReply(f"NOGOODSLAVE {reason}")
        case Refused(why):
            return REFUSALS[why]
        case Counted(count):
            return count
        case _:
            raise AssertionError(f"{result!r} answers no request of this kind")


def monitor(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL MONITOR name host port quorum."""
    del client
    _, _, name, host, port_word, quorum_word = command
    quorum, port = to_integer(quorum_word), to_integer(port_word)
    if quorum is None or quorum > QUORUM_MAX:
        return ErrorReply("ERR Invalid quorum")
    if port is None:
        return ErrorReply("ERR Invalid port")
    if quorum < 1:
        return ErrorReply("ERR Quorum must be 1 or greater.")
    group = clean_text(name)
    if not group or len(group) > NAME_CHARS_MAX or "," in group:
        return BAD_NAME
    return Later(_monitor(desk, GroupName(group), (host, port), quorum))


async def _monitor(desk: Desk, group: GroupName, place: tuple[bytes, int], quorum: int) -> Answer:
    address = await _located(desk, *place)
    if isinstance(address, ErrorReply):
        return address
    async with desk.change_lock:
        is_new = desk.brain.current_address(group) is None
        if is_new:
            desk.settings.groups.pop(group, None)
        settings = GroupSettings(
            quorum, desk.policy.default_down_after, desk.policy.default_failover_timeout
        )
        return await ask(desk, lambda token: MonitorRequested(token, group, address, settings))


async def _located(desk: Desk, host: bytes, port: int) -> Address | ErrorReply:
    """Return where `host` and `port` lead, or what is wrong with them."""
    text = clean_text(host)
    if not text or " " in text:
        return BAD_HOST
    ip = _numeric(text)
    if ip is None:
        if not desk.settings.resolve_hostnames:
            return BAD_HOST
        try:
            ip = await desk.resolver.resolve(text)
        except Unavailable:
            return BAD_HOST
        place = Address(text, port, ip)
    else:
        place = Address(ip, port)
    # Redis takes port 0 too, on which nothing can listen.
    return place if 0 < port < 65536 else BAD_PORT


def _numeric(host: str) -> str | None:
    """Return an IP address in its usual form, also one in an old form (`127.1`), or None."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0])


def remove(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL REMOVE name."""
    del client
    return Later(_remove(desk, GroupName(to_text(command[2]))))


async def _remove(desk: Desk, group: GroupName) -> Answer:
    async with desk.change_lock:
        answer = await ask(desk, lambda token: RemoveRequested(token, group))
        if desk.brain.current_address(group) is None:
            desk.settings.groups.pop(group, None)
        return answer


def reset(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL RESET pattern: the number of groups that it fits."""
    del client
    glob = to_glob(command[2])
    if glob is None:
        return PATTERN_TOO_LONG
    groups = tuple(name for name in desk.brain.group_names() if glob.matches(to_bytes(name)))
    if not groups:
        return 0
    return Later(ask(desk, lambda token: ResetRequested(token, groups)))


def failover(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL FAILOVER name: without asking anybody else."""
    del client
    group = GroupName(to_text(command[2]))
    return Later(ask(desk, lambda token: FailoverRequested(token, group)))


def switchover(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL SWITCHOVER name [host port]: hand over without loss, or change nothing.

    Everfly's own. Answers OK once it has begun, an error that names the obstacle when it cannot
    begin; one that is given up later is told as `-failover-abort-...`. `host port` names the
    replica to promote. It is listed nowhere (COMMAND, HELP), where clients compare, and whoever may
    FAILOVER may SWITCHOVER.
    """
    del client
    group = GroupName(to_text(command[2]))
    to = None
    if len(command) == 5:
        port = to_integer(command[4])
        if port is None or not 0 < port < 65536:
            return BAD_PORT
        host = clean_text(command[3])
        if not host:
            return BAD_HOST
        to = Address(host, port)
    elif len(command) != 3:
        return ErrorReply("ERR SENTINEL SWITCHOVER takes a name, or a name, a host and a port")
    return Later(
        ask(desk, lambda token: FailoverRequested(token, group, is_switchover=True, to=to))
    )


def failover_or_switchover(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL FAILOVER name [COORDINATED]: the second form is that of Valkey 9, for any Valkey.

    Here every failover that somebody asks for is a switchover: the primary stops taking writes and
    hands over where it can, so both mean the same.
    """
    if [lower(word) for word in command[3:]] not in ([], ["coordinated"]):
        return ErrorReply("ERR wrong number of arguments for 'sentinel|failover' command")
    return failover(desk, client, command)


def flushconfig(desk: Desk, client: ClientConnection, command: list[bytes]) -> Outcome:
    """SENTINEL FLUSHCONFIG."""
    del client, command
    return Later(ask(desk, FlushRequested))
