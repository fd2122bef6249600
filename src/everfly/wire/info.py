"""Turn INFO and ROLE of an instance into fields: syntax alone.

What a field means, and for which engine, is not known here. Nothing raises: what is malformed or
cut off is left out, because an instance may say anything at any time.
"""

import re
from dataclasses import dataclass

from everfly.core.model import Address
from everfly.wire.resp_values import Reply, to_text

_NUMBER = re.compile(r"[0-9]{1,19}")
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class ReplicaOfRole:
    """A replica that a primary names in ROLE."""

    address: Address
    offset: int | None
    """None where the engine reports a state instead, as Dragonfly does."""
    state: str
    """Empty where the engine reports an offset instead."""


@dataclass(frozen=True, slots=True)
class PrimaryRole:
    """ROLE of a primary."""

    offset: int | None
    """None where the engine does not say, as Dragonfly."""
    replicas: tuple[ReplicaOfRole, ...]


@dataclass(frozen=True, slots=True)
class ReplicaRole:
    """ROLE of a replica."""

    primary: Address
    state: str
    """The word on the wire, such as `connect`, `connecting`, `sync`, `connected`, `online`."""
    offset: int | None


@dataclass(frozen=True, slots=True)
class SentinelRole:
    """ROLE of a Sentinel."""

    groups: tuple[str, ...]


def parse_info(text: bytes) -> dict[str, str]:
    """Return the fields of INFO; of a repeated field the last counts, as in a Sentinel.

    Section titles and lines without a colon are left out. A value keeps its spaces and colons.
    """
    lines = to_text(text).split("\r\n")
    # A list of pairs is the fastest way to a dict; a Sentinel reads a hundred and more a second.
    return dict([line.split(":", 1) for line in lines if ":" in line and line[0] != "#"])


def sections(text: bytes, *names: str) -> bytes:
    """Return only these sections of INFO; all of it when one of them is missing.

    A Sentinel needs a third of what a store says, and reads it a hundred times a second.
    """
    found = []
    for name in names:
        begin = text.find(b"# " + name.encode() + b"\r\n")
        if begin < 0:
            return text
        end = text.find(b"\r\n# ", begin)
        found.append(text[begin:] if end < 0 else text[begin:end])
    return b"\r\n".join(found)


def parse_fields(value: str) -> dict[str, str]:
    """Return the parts of a value such as `ip=10.0.0.7,port=6379,state=online`; the first counts.

    The old form `10.0.0.7,6379,online` gives the same names.
    Source: `sentinelRefreshInstanceInfo`, redis/src/sentinel.c (7.0.15).
    """
    parts = value.split(",")
    if "=" not in value:
        return dict(zip(("ip", "port", "state"), parts, strict=False)) if len(parts) > 1 else {}
    fields: dict[str, str] = {}
    for part in parts:
        name, equals, content = part.partition("=")
        if equals:
            fields.setdefault(name, content)
    return fields


def parse_role(reply: Reply) -> PrimaryRole | ReplicaRole | SentinelRole | None:
    """Return what ROLE says, in the form of any engine, or None when it is no answer to ROLE.

    Redis and Valkey: `[master, offset, [[ip, port, offset]]]`, `[slave, ip, port, state, offset]`;
    Dragonfly: `[master, [[ip, port, state]]]`, `[slave, ip, port, state]`.
    """
    match reply:
        case [b"master", list(replicas)]:
            return PrimaryRole(None, _to_replicas(replicas))
        case [b"master", offset, list(replicas)]:
            return PrimaryRole(_to_number(offset), _to_replicas(replicas))
        case [b"slave" | b"replica", host, port, bytes(state), *rest]:
            primary = _to_address(host, port)
            if primary is None:
                return None
            return ReplicaRole(primary, to_text(state), _to_number(rest[0]) if rest else None)
        case [b"sentinel", list(groups)]:
            return SentinelRole(tuple(to_text(name) for name in groups if isinstance(name, bytes)))
        case _:
            return None


def _to_replicas(replies: list[Reply]) -> tuple[ReplicaOfRole, ...]:
    replicas = []
    for reply in replies:
        match reply:
            case [host, port, last, *_]:
                address = _to_address(host, port)
                offset = _to_number(last)
                state = to_text(last) if offset is None and isinstance(last, bytes) else ""
                if address is not None:
                    replicas.append(ReplicaOfRole(address, offset, state))
    return tuple(replicas)


def _to_address(host: Reply, port: Reply) -> Address | None:
    number = _to_number(port)
    if not isinstance(host, bytes) or not host or number is None or not 0 < number <= _PORT_MAX:
        return None
    return Address(to_text(host), number)


def _to_number(reply: Reply) -> int | None:
    """Return a number that is not negative, given as an integer or as text."""
    if isinstance(reply, bytes) and _NUMBER.fullmatch(to_text(reply)):
        return int(reply)
    return reply if type(reply) is int and reply >= 0 else None
