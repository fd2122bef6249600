"""Turn what enters and leaves the core into lines of a recording, and back.

A recording is one JSON value a line:

- the first line is an object, the head: what the core began with (`Head`);
- then an array for each step: `[at, "Kind", {field: value}]`, with the digest of what was decided
  when anything was; the first step is `Start`, where the core began to watch, or absent where the
  head carries a checkpoint;
- the last line is an object `{"end": why}`; without one the process was killed.

Rules: fields of steps that have their default are left out, so a recording outlives new fields; the
head has all of them, so it outlives new defaults; whatever does not fit is a ValueError; nothing is
believed that was not checked against the types of the core. A checkpoint is a pickle, read by a
reader that makes only values of the core: it cannot run anything.
"""

import base64
import io
import json
import pickle
import random
import types
import zlib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Final, Literal, NewType, Union, get_args, get_origin, get_type_hints

from everfly.core.effects import Effect
from everfly.core.inputs import Input
from everfly.core.machine import Machine
from everfly.core.model import Instant
from everfly.core.policy import Policy
from everfly.core.snapshot import DurableState

FORMAT: Final = 1
"""Raised when old readers could misunderstand."""

START: Final = "Start"
FAILED: Final = "failed"
"""In the place of a digest: the step raised, which is a bug of the core."""

CHECKPOINT_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of an unpacked checkpoint: thousands of groups need a tenth of it."""

Json = Any
"""What `json.loads` returns; checked before it is believed."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the core began with."""

    version: str
    """Of Everfly. Another one may decide otherwise."""
    began_at: str
    """Time of day at the first step, ISO 8601 in UTC."""
    began: Instant
    """The monotonic clock then, in ms."""
    port: int
    """Where the Sentinel listened."""
    seed: int
    """Of the core's dice."""
    policy: Policy
    state: DurableState
    """What it knew: run id, groups with their settings, replicas, peers. No secrets: the core has
    none."""
    checkpoint: str = field(default="", repr=False)
    """Empty: the recording goes from the start on. Otherwise the whole core as it was when this
    file was begun, because an older one was full."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the core."""

    at: Instant
    input: Input | None
    """None: the start."""
    digest: str
    """Of the effects; empty: there were none; `FAILED`: the step raised."""


@dataclass(frozen=True, slots=True)
class End:
    """Why the recording ended, in words."""

    why: str


KINDS: Final[dict[str, type]] = {kind.__name__: kind for kind in get_args(Input)}


def digest(effects: Sequence[Effect], secrets: Sequence[str] = ()) -> str:
    """Return a fingerprint of what was decided, without these words; empty for nothing."""
    if not effects:
        return ""
    return f"{zlib.crc32(without(repr(effects), secrets).encode()):08x}"


def without(text: str, secrets: Sequence[str]) -> str:
    """Return a text with secrets taken out."""
    for secret in secrets:
        text = text.replace(secret, "(secret)")
    return text


def head_line(head: Head) -> str:
    """Return the first line, without its end."""
    return _dumps({"everfly-recording": FORMAT, **_encode(head, is_full=True)})


def step_line(step: Step) -> str:
    """Return the line of a step, without its end."""
    kind = START if step.input is None else type(step.input).__name__
    parts: list[object] = [step.at, kind, {} if step.input is None else _encode(step.input)]
    if step.digest:
        parts.append(step.digest)
    return _dumps(parts)


def end_line(end: End) -> str:
    """Return the last line, without its end."""
    return _dumps({"end": end.why})


def parse_head(line: str) -> Head:
    """Read the first line. Raises ValueError."""
    value = _loads(line)
    if not isinstance(value, dict) or "everfly-recording" not in value:
        raise ValueError("it does not begin like a recording of `everfly sentinel --record`")
    found = value.pop("everfly-recording")
    if found != FORMAT:
        raise ValueError(f"it has format {found!r}, this program reads {FORMAT}")
    head = _decoder(Head)(value)
    assert isinstance(head, Head)
    return head


def parse_line(line: str) -> Step | End:
    """Read any other line. Raises ValueError."""
    match _loads(line):
        case {"end": str(why)}:
            return End(why)
        case [int(at), str(kind), dict(values), *rest] if len(rest) <= 1:
            found = rest[0] if rest else ""
            if not isinstance(found, str):
                raise ValueError(f"its digest is {found!r}, not a text")  # noqa: TRY004 - a file's
            return Step(Instant(at), _parse_input(kind, values), found)
        case _:
            raise ValueError("it is neither a step nor an end")


def _parse_input(kind: str, values: Json) -> Input | None:
    if kind == START:
        return None
    if kind not in KINDS:
        raise ValueError(f"this program knows no input {kind!r}")
    made: Input = _decoder(KINDS[kind])(values)
    return made


def pack(machine: Machine) -> str:
    """Return the whole core as a text. O(size)."""
    packed = zlib.compress(pickle.dumps(machine, protocol=5), 1)
    return base64.b85encode(packed).decode("ascii")


def unpack(text: str) -> Machine:
    """Return the core of a checkpoint. Raises ValueError."""
    try:
        inflating = zlib.decompressobj()
        data = inflating.decompress(base64.b85decode(text), CHECKPOINT_BYTES_MAX)
        machine = _CoreReader(io.BytesIO(data)).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"its checkpoint cannot be read: {error}") from error
    if not isinstance(machine, Machine):
        kind = type(machine).__name__
        raise ValueError(f"its checkpoint holds a {kind}, not a core")  # noqa: TRY004 - a file's
    return machine


class _CoreReader(pickle.Unpickler):
    """Makes values of the core's own classes, and dice; nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class that may be made. Raises UnpicklingError."""
        if (module, name) == ("random", "Random"):
            return random.Random
        if module.startswith("everfly.core.") and "." not in name:
            found = getattr(__import__(module, fromlist=[name]), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a core")


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _loads(line: str) -> Json:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error


# Values to JSON.


def _encode(value: Any, *, is_full: bool = False) -> Json:
    """Return JSON for a value; `is_full`: also what has its default now, which may change."""
    if value is None or isinstance(value, int | str | float):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple):
        return [_encode(each, is_full=is_full) for each in value]
    encoded = {}
    kind: Any = type(value)
    for name, default in _fields_of(kind):
        current = getattr(value, name)
        if is_full or default is MISSING or current != default:
            encoded[name] = _encode(current, is_full=is_full)
    return encoded


@cache
def _fields_of(kind: Any) -> tuple[tuple[str, object], ...]:
    return tuple((one.name, one.default) for one in fields(kind) if one.init)


# JSON to values.

_Decoder = Callable[[Json], Any]


@cache
def _decoder(hint: Any) -> _Decoder:
    """Return what makes a checked value of a type from JSON. Raises ValueError when called."""
    if isinstance(hint, NewType):
        return _decoder(hint.__supertype__)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return _optional(hint)
    if origin is tuple:
        return _tuple(arguments)
    if origin is Literal:
        return _literal(arguments)
    if hint in {int, str, bool, float}:
        return _plain(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass(hint)
    raise TypeError(f"no way to read a {hint}")


def _optional(hint: Any) -> _Decoder:
    others = [one for one in get_args(hint) if one is not type(None)]
    if len(others) != 1:
        raise TypeError(f"no way to tell the kinds of {hint} apart")
    inner = _decoder(others[0])
    return lambda value: None if value is None else inner(value)


def _tuple(arguments: tuple[Any, ...]) -> _Decoder:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        each = _decoder(arguments[0])

        def read_many(value: Json) -> tuple[Any, ...]:
            if not isinstance(value, list):
                raise ValueError(f"{value!r} is no list")  # noqa: TRY004 - a file's
            return tuple(each(one) for one in value)

        return read_many
    parts = tuple(_decoder(one) for one in arguments)

    def read_few(value: Json) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(parts):
            raise ValueError(f"{value!r} is no list of {len(parts)}")
        return tuple(part(one) for part, one in zip(parts, value, strict=True))

    return read_few


def _literal(allowed: tuple[Any, ...]) -> _Decoder:
    def read(value: Json) -> Any:
        if value not in allowed:
            raise ValueError(f"{value!r} is none of {allowed}")
        return value

    return read


def _plain(kind: type) -> _Decoder:
    def read(value: Json) -> Any:
        # True is an int to Python, and never one here.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{value!r} is no {kind.__name__}")
        return value

    return read


def _enum(kind: type[Enum]) -> _Decoder:
    def read(value: Json) -> Any:
        if not isinstance(value, str) or value not in kind.__members__:
            raise ValueError(f"{value!r} is no {kind.__name__}")
        return kind[value]

    return read


def _dataclass(kind: type) -> _Decoder:
    hints = get_type_hints(kind)
    known: dict[str, Field[Any]] = {one.name: one for one in fields(kind) if one.init}

    def read(value: Json) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is no {kind.__name__}")  # noqa: TRY004 - a file's
        unknown = value.keys() - known.keys()
        if unknown:
            raise ValueError(f"{kind.__name__} has no {min(unknown)!r} in this version")
        try:
            return kind(**{name: _decoder(hints[name])(one) for name, one in value.items()})
        except TypeError as error:
            raise ValueError(f"{kind.__name__} is incomplete: {error}") from error

    return read
