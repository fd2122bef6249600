"""Turn the message by which Sentinels find each other into a `Hello`, and back.

    ip,port,run id,current epoch,group,primary's ip,primary's port,config epoch

Eight fields and no escapes, so a name with a comma cannot travel. Everybody who may publish on an
instance can send one: each field is checked before anything believes it.
Source: `sentinelSendHello`, `sentinelProcessHelloMessage`, redis/src/sentinel.c (7.0.15).
"""

import re
from functools import lru_cache
from typing import Final

from everfly.core.model import Address, Epoch, GroupName, Hello, RunId
from everfly.errors import LocalError, RemoteError
from everfly.wire.resp_values import to_bytes, to_text

CHANNEL: Final = b"__sentinel__:hello"

PAYLOAD_BYTES_MAX: Final = 46 + 1024
"""No Sentinel sends more: `payload` in `sentinelSendHello`, redis/src/sentinel.c (7.0.15)."""
RUN_ID_CHARS_MAX: Final = 64
"""A Sentinel's has 40 hexadecimal digits; others are accepted, as there, but bounded."""
EPOCH_MAX: Final = 2**63 - 1
"""Half of what the wire can hold: an epoch can then always be raised, and fits a signed integer."""
HOST_CHARS_MAX: Final = 255
HELLOS_MAX: Final = 20_000
"""Remembered hellos of others: 2,000 groups with five Sentinels each, before and after a change.
Each is a few hundred bytes."""

_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_EPOCH = re.compile(r"[0-9]{1,19}", re.ASCII)
_RUN_ID = re.compile(rf"[^\x00-\x20\x7f,]{{1,{RUN_ID_CHARS_MAX}}}")
_HOST = re.compile(rf"[^\x00-\x20\x7f,]{{1,{HOST_CHARS_MAX}}}")
_NAME = re.compile(r"[^\x00-\x1f\x7f,]+")


def parse_hello(payload: bytes) -> Hello:
    """Return what a Sentinel says of itself and of a group; raise RemoteError when it is no hello.

    Stricter than Redis, which takes any number for a port and an epoch.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise RemoteError(f"a hello of {len(payload)} bytes is above {PAYLOAD_BYTES_MAX}")
    fields = to_text(payload).split(",")
    if len(fields) != 8:
        raise RemoteError(f"a hello has {len(fields)} fields instead of 8: {payload[:200]!r}")
    host, port, run_id, current_epoch, name, primary_host, primary_port, config_epoch = fields
    return Hello(
        sender=Address(_checked(_HOST, host, "address"), _to_port(port)),
        sender_run_id=RunId(_checked(_RUN_ID, run_id, "run id")),
        current_epoch=_to_epoch(current_epoch),
        group=GroupName(_checked(_NAME, name, "group name")),
        primary=Address(_checked(_HOST, primary_host, "primary's address"), _to_port(primary_port)),
        config_epoch=_to_epoch(config_epoch),
    )


@lru_cache(maxsize=HELLOS_MAX)
def read_hello(payload: bytes) -> Hello:
    """Return what `parse_hello` does, and the very same value for the same message.

    Sentinels say the same every two seconds, on every channel and to each other.
    """
    return parse_hello(payload)


def format_hello(hello: Hello) -> bytes:
    """Return the message; raise LocalError for one that nobody could read."""
    payload = to_bytes(
        f"{hello.sender.host},{hello.sender.port},{hello.sender_run_id},{hello.current_epoch},"
        f"{hello.group},{hello.primary.host},{hello.primary.port},{hello.config_epoch}"
    )
    try:
        is_same = parse_hello(payload) == hello
    except RemoteError as error:
        raise LocalError(f"cannot say hello for group {hello.group!r}: {error}") from None
    if not is_same:
        raise LocalError(f"cannot say hello for group {hello.group!r}: {payload!r} is ambiguous")
    return payload


def _checked(pattern: re.Pattern[str], text: str, what: str) -> str:
    if pattern.fullmatch(text) is None:
        raise RemoteError(f"a hello has the {what} {text[:80]!r}")
    return text


def _to_port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > 65535:
        raise RemoteError(f"a hello has the port {text[:80]!r}, not one of 1 to 65535")
    return int(text)


def _to_epoch(text: str) -> Epoch:
    if _EPOCH.fullmatch(text) is None or int(text) > EPOCH_MAX:
        raise RemoteError(f"a hello has the epoch {text[:80]!r}, not one of 0 to {EPOCH_MAX}")
    return Epoch(int(text))
