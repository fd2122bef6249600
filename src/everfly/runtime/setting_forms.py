"""Turn texts and TOML values into checked values of settings.

Rules: a value has one form, whether it comes from the file, a variable or a flag; what does not fit
is a ValueError that says what came, which the caller completes with where and what is allowed.
"""

import ipaddress
import math
from dataclasses import dataclass
from typing import Final, Protocol

LOOPBACK: Final = "127.0.0.1"
PORT_MAX: Final = 65_535
UNIX: Final = "unix:/"
ADDRESSES_MAX: Final = 32
NETWORKS_MAX: Final = 256
PATTERN_CHARS_MAX: Final = 128
PATTERNS_MAX: Final = 64
TEXT_CHARS_MAX: Final = 4_096

_YES: Final = frozenset({"yes", "true", "on", "1"})
_NO: Final = frozenset({"no", "false", "off", "0"})


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Value = str | bool | float | tuple[str, ...] | tuple[HostPort, ...] | HostPort | None
"""What a setting may be."""


class Form(Protocol):
    """What values of one setting look like."""

    @property
    def allowed(self) -> str:
        """Say what is allowed, for people."""
        ...

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        ...

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        ...


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """A host and a port; a port alone is one of the loopback address; an empty text is nothing."""

    allowed: str = '"HOST:PORT" or "PORT" (then on 127.0.0.1), port 0 to 65535'

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        return self.from_text(_text(value))

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        if not text:
            return ""
        return _host_port(text)


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """Say what is allowed, for people."""
        return " or ".join(f'"{word}"' for word in self.words)

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        return self.from_text(_text(value))

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        if text not in self.words:
            raise ValueError(f"{text!r} is none of its words")
        return text


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    allowed: str = "true or false (outside the file also yes or no)"

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        if not isinstance(value, bool):
            raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - see module
        return value

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        word = text.lower()
        if word not in _YES | _NO:
            raise ValueError(f"{text!r} is neither true nor false")
        return word in _YES


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration, whole or not."""

    least: float
    most: float

    @property
    def allowed(self) -> str:
        """Say what is allowed, for people."""
        return f"a number of seconds, {self.least:g} to {int(self.most)}"

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is no number")  # noqa: TRY004 - see module
        if not (math.isfinite(value) and self.least <= value <= self.most):
            raise ValueError(f"{value!r} is out of range")
        return value

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is no number") from None
        return self.from_toml(value)


@dataclass(frozen=True, slots=True)
class Text:
    """Any text on one line. What came is not repeated: it may be a secret."""

    allowed: str = "a text on one line, not empty"

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        if not isinstance(value, str):
            raise ValueError("it is no text")  # noqa: TRY004 - see module
        return self.from_text(value)

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        if not text or len(text) > TEXT_CHARS_MAX or not text.isprintable():
            raise ValueError(f"it is empty, over {TEXT_CHARS_MAX} characters, or not on one line")
        return text


@dataclass(frozen=True, slots=True)
class Listeners:
    """Where to listen: addresses, and paths of Unix sockets where those are allowed."""

    has_unix: bool = True

    @property
    def allowed(self) -> str:
        """Say what is allowed, for people."""
        unix = ' or "unix:/PATH"' if self.has_unix else ""
        return f'up to {ADDRESSES_MAX} of "HOST:PORT", "PORT" (then on {LOOPBACK}){unix}'

    def from_toml(self, value: object) -> Value:
        """Return checked texts. Raises ValueError."""
        return tuple(self._checked(each) for each in _texts(value, ADDRESSES_MAX))

    def from_text(self, text: str) -> Value:
        """Return checked texts from a list with commas. Raises ValueError."""
        return self.from_toml(_split(text))

    def _checked(self, text: str) -> str:
        if self.has_unix and text.startswith(UNIX) and text.isprintable():
            return text
        return str(_host_port(text))


@dataclass(frozen=True, slots=True)
class Places:
    """Whom to connect to: addresses with a port, or with a usual one."""

    usual_port: int

    @property
    def allowed(self) -> str:
        """Say what is allowed, for people."""
        usual = f' or "HOST" (then port {self.usual_port})'
        return f'up to {ADDRESSES_MAX} of "HOST:PORT"{usual}'

    def from_toml(self, value: object) -> Value:
        """Return places. Raises ValueError."""
        return tuple(self._place(each) for each in _texts(value, ADDRESSES_MAX))

    def from_text(self, text: str) -> Value:
        """Return places from a list with commas. Raises ValueError."""
        return self.from_toml(_split(text))

    def _place(self, text: str) -> HostPort:
        has_port = not text.endswith("]") if text.startswith("[") else ":" in text
        found = _host_port(text if has_port else f"{text}:{self.usual_port}")
        if not found.port or text.startswith(":"):
            raise ValueError(f"{text!r} is nowhere to connect to")
        return found


@dataclass(frozen=True, slots=True)
class Networks:
    """IP addresses and networks."""

    allowed: str = f'up to {NETWORKS_MAX} addresses or networks, like "10.0.0.0/8"'

    def from_toml(self, value: object) -> Value:
        """Return them in their usual form. Raises ValueError."""
        found = []
        for each in _texts(value, NETWORKS_MAX):
            try:
                found.append(str(ipaddress.ip_network(each)))
            except ValueError as error:
                raise ValueError(f"{each!r} is neither an address nor a network") from error
        return tuple(found)

    def from_text(self, text: str) -> Value:
        """Return them from a list with commas. Raises ValueError."""
        return self.from_toml(_split(text))


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of something."""

    least: int
    most: int
    unit: str = ""

    @property
    def allowed(self) -> str:
        """Say what is allowed, for people."""
        unit = f" of {self.unit}" if self.unit else ""
        return f"a whole number{unit}, {self.least} to {self.most}"

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is no whole number")  # noqa: TRY004 - see module
        if not self.least <= value <= self.most:
            raise ValueError(f"{value!r} is out of range")
        return value

    def from_text(self, text: str) -> Value:
        """Return a checked value. Raises ValueError."""
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise ValueError(f"{text!r} is no whole number")
        return self.from_toml(int(text))


@dataclass(frozen=True, slots=True)
class Globs:
    """Patterns of events."""

    allowed: str = f'a list of 1 to {PATTERNS_MAX} patterns, like ["+switch-master", "*down"]'

    def from_toml(self, value: object) -> Value:
        """Return a checked value. Raises ValueError."""
        if not isinstance(value, list) or not 1 <= len(value) <= PATTERNS_MAX:
            raise ValueError("it is no such list")
        for pattern in value:
            if not isinstance(pattern, str) or not 1 <= len(pattern) <= PATTERN_CHARS_MAX:
                raise ValueError(f"{pattern!r} is no pattern of 1 to {PATTERN_CHARS_MAX} letters")
        return tuple(value)

    def from_text(self, text: str) -> Value:
        """Return a checked value from patterns between commas. Raises ValueError."""
        return self.from_toml(text.split(","))


def _host_port(text: str) -> HostPort:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= PORT_MAX):
        raise ValueError(f"{text!r} has no port at its end")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f"{text!r} is no address: IPv6 goes in brackets, like [::1]:9121")
    return HostPort(host.strip("[]") or LOOPBACK, int(port))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _texts(value: object, most: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{value!r} is no list of texts")
    if len(value) > most:
        raise ValueError(f"{len(value)} are too many")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text in quotes")  # noqa: TRY004 - see module
    return value
