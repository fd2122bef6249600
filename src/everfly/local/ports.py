"""Tell whether ports are free, who has them if not, and choose free ones."""

import random
import socket
from collections.abc import Collection, Iterable
from typing import Final

from everfly.errors import SettingsError

RANDOM_MIN: Final = 10_000
RANDOM_MAX: Final = 32_000
"""Below the ephemeral ports of Linux (32768 to 60999): no outgoing connection sits on the port of
an instance that is down for a moment, nor does a client that retries connect to itself."""

_TRIES: Final = 1_000
_DICE: Final = random.SystemRandom()


class PortInUse(SettingsError):  # noqa: N818 - it names a state, not a fault
    """Somebody else listens on a port that is wanted."""


def check_free(host: str, ports: Iterable[tuple[int, str]]) -> None:
    """Return when nobody listens on any of the ports; each comes with what it is wanted for.

    Raises PortInUse, which names the first that is in use, its owner if that can be known, and what
    to do. Raises SettingsError for a port that may not be used at all.
    """
    for port, purpose in ports:
        try:
            is_taken = not is_free(host, port)
        except PermissionError as error:
            raise SettingsError(
                f"port {port} for {purpose} needs more rights; choose one above 1023"
            ) from error
        if is_taken:
            options = (("Sentinel", "--sentinel-port"), ("endpoint", "--endpoint-port"))
            option = next((flag for word, flag in options if word in purpose), "--port")
            raise PortInUse(
                f"port {port} for {purpose} is in use{_owner(port)}; "
                f"stop that, or choose other ports with {option}"
            )


def is_free(host: str, port: int) -> bool:
    """Return whether a listener could be opened there now. Raises PermissionError, OSError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError:
            raise
        except OSError:
            return False
    return True


def random_free(host: str, count: int, others: Collection[int] = ()) -> list[int]:
    """Return that many different ports that are free now and none of `others`.

    Raises SettingsError if there are none.

    Another process may take one before it is used: whoever uses them tries again with others.
    """
    found: dict[int, None] = {}
    for _ in range(_TRIES):
        if len(found) == count:
            break
        port = _DICE.randint(RANDOM_MIN, RANDOM_MAX)
        if port not in others and is_free(host, port):
            found[port] = None
    if len(found) < count:
        raise SettingsError(f"fewer than {count} free ports between {RANDOM_MIN} and {RANDOM_MAX}")
    return list(found)


def _owner(port: int) -> str:
    try:
        import psutil  # noqa: PLC0415 - an extra: without it the owner stays unnamed
    except ImportError:
        return ""
    try:
        for connection in psutil.net_connections("tcp"):
            is_listener = connection.status == psutil.CONN_LISTEN
            address = connection.laddr
            if is_listener and address and address.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        pass  # other users' processes are not ours to see
    return ""
