"""Hand listening sockets from one endpoint process to the next, so that no client is refused.

    new: connect ─────────────────► old: who asks? (same user) ──► sockets (SCM_RIGHTS), belief
    new: serve, follow, ──"ready"──► old: stops accepting, closes this connection, drains, ends
    new: opens the door for the one after it

Rules: the socket is its owner's alone (mode 0600, and the user of who connects is looked at);
before "ready" the old one goes on as if nothing were, so a new one that fails to start harms
nobody; what arrives is looked at as if a stranger had sent it.
"""

import array
import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from everfly.core.model import Address
from everfly.endpoint.belief import Belief
from everfly.errors import RemoteError, SettingsError, Unavailable

log = logging.getLogger(__name__)

ADMIN: Final = "admin"
"""Stands before the admin address, among those of the data plane."""

FORMAT: Final = 1
MESSAGE_BYTES_MAX: Final = 65_536
SOCKETS_MAX: Final = 250
"""Linux passes 253 descriptors in one message (`SCM_MAX_FD`)."""

ANSWER_S: Final = 5.0
READY_S: Final = 60.0
"""How long a new process may take from the sockets to "ready"."""

_READY: Final = b"ready\n"
_CREDENTIALS: Final = struct.Struct("3i")
"""Process, user, group: `struct ucred` of Linux."""


@dataclass(slots=True)
class Inheritance:
    """What a process took over from the one before it."""

    sockets: dict[str, list[int]]
    """Configured address -> descriptors. Whoever uses one takes it out; the rest is closed."""
    belief: Belief | None
    _connection: socket.socket = field(repr=False)

    def take(self, address: str) -> list[int]:
        """Return the descriptors of an address, which are the caller's from now on."""
        return self.sockets.pop(address, [])

    def close_rest(self) -> None:
        """Close what nobody wanted."""
        for descriptors in self.sockets.values():
            for each in descriptors:
                os.close(each)
        self.sockets.clear()

    async def confirm(self) -> None:
        """Tell the old process to stop accepting; return when it has. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        self._connection.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_S):
                await loop.sock_sendall(self._connection, _READY)
                await loop.sock_recv(self._connection, 1)
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the process before us does not let go: {error}") from error
        finally:
            self._connection.close()

    def give_back(self) -> None:
        """Leave all to the old process, which goes on."""
        self.close_rest()
        self._connection.close()


def inherit(path: str) -> Inheritance | None:
    """Return what a process that serves at `path` hands over; None: there is none.

    Blocks for up to `ANSWER_S`. Raises SettingsError when one is there and hands over nothing.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    connection.settimeout(ANSWER_S)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise SettingsError(f"restart_socket {path}: {error.strerror or error}") from error
    try:
        data, descriptors, flags, _ = socket.recv_fds(
            connection, MESSAGE_BYTES_MAX, SOCKETS_MAX, socket.MSG_CMSG_CLOEXEC
        )
    except OSError as error:
        connection.close()
        raise SettingsError(
            f"restart_socket {path}: the process there hands nothing over: {error}; end it first"
        ) from error
    try:
        sockets, belief = _read(data, descriptors, flags)
    except ValueError as error:
        for each in descriptors:
            os.close(each)
        connection.close()
        raise SettingsError(
            f"restart_socket {path}: the process there is no endpoint that fits: {error}"
        ) from error
    return Inheritance(sockets, belief, connection)


def _read(
    data: bytes, descriptors: Sequence[int], flags: int
) -> tuple[dict[str, list[int]], Belief | None]:
    if flags & socket.MSG_CTRUNC:
        raise ValueError("not all sockets arrived")
    try:
        told = json.loads(data)
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']!r}, not {FORMAT}")
        addresses = [str(each) for each in told["addresses"]]
        belief = told["belief"]
        believed = None
        if belief is not None:
            host, port, epoch, order = belief
            believed = Belief(Address(str(host), int(port)), int(epoch), int(order))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if len(addresses) != len(descriptors):
        raise ValueError(f"{len(descriptors)} sockets for {len(addresses)} addresses")
    sockets: dict[str, list[int]] = {}
    for address, descriptor in zip(addresses, descriptors, strict=True):
        sockets.setdefault(address, []).append(descriptor)
    return sockets, believed


HandOut = Callable[[], tuple[Sequence[tuple[str, int]], Belief | None]]
"""Returns configured addresses, each with a descriptor that listens there, and whom we follow."""


class Door:
    """Where the next process asks for the sockets: `open`, then `until_taken`, then `close`."""

    def __init__(self, path: str) -> None:
        self._path: Final = Path(path)
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Listen, in place of a socket that an earlier process left. Raises SettingsError."""
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        raw.setblocking(False)
        # Nobody can connect before it has a name: so there is no moment with other rights.
        mask = os.umask(0o177)
        try:
            if self._path.is_socket():
                self._path.unlink()
            raw.bind(str(self._path))
            raw.listen(1)
        except OSError as error:
            raw.close()
            raise SettingsError(
                f"restart_socket {self._path}: {error.strerror or error}"
            ) from error
        finally:
            os.umask(mask)
        self._socket = raw

    def close(self, *, is_last: bool) -> None:
        """Stop listening; the last process takes the name away too."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        if is_last:
            self._path.unlink(missing_ok=True)

    async def until_taken(self, hand_out: HandOut) -> socket.socket:
        """Wait until a new process has taken over and is ready; return its connection.

        The caller closes it when it accepts no more. Those who fail are logged, and the next may
        try.
        """
        assert self._socket is not None, "it was opened"
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._socket)
            connection.setblocking(False)
            try:
                _check_user(connection)
                _hand_out(connection, *hand_out())
                async with asyncio.timeout(READY_S):
                    said = await loop.sock_recv(connection, len(_READY))
                if said == _READY:
                    return connection
                log.warning("A new process took the sockets and ended; this one goes on")
            except (OSError, TimeoutError, RemoteError) as error:
                log.warning("Handing over to a new process failed, this one goes on: %s", error)
            except asyncio.CancelledError:
                connection.close()
                raise
            connection.close()


def _check_user(connection: socket.socket) -> None:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    if user not in (os.getuid(), 0):
        raise RemoteError(f"user {user} may not have the sockets of user {os.getuid()}")


def _hand_out(
    connection: socket.socket, addresses: Sequence[tuple[str, int]], belief: Belief | None
) -> None:
    told: Mapping[str, object] = {
        "format": FORMAT,
        "addresses": [address for address, _ in addresses],
        "belief": None
        if belief is None
        else [belief.primary.host, belief.primary.port, belief.epoch, belief.order],
    }
    data = json.dumps(told).encode()
    if len(data) > MESSAGE_BYTES_MAX or len(addresses) > SOCKETS_MAX:
        raise RemoteError(f"{len(addresses)} listening sockets are too many to hand over")
    rights = array.array("i", [descriptor for _, descriptor in addresses])
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if addresses else []
    # An empty buffer of a fresh connection takes this in one piece.
    sent = connection.sendmsg([data], ancillary)
    if sent != len(data):
        raise RemoteError("the new process does not read")
