"""Turn a TOML file, the environment and flags into the values of a table of settings.

Rules: a flag wins over a variable, which wins over the file; a table of `Key` says what there is,
and help and documentation come from it; whatever is wrong is a SettingsError that names where,
which key and what is allowed, and never shows a secret. Unknown keys in the file are errors.
Unknown variables are none: other programs of Everfly have theirs, and Kubernetes adds
`EVERFLY_PORT` where a Service is called so.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.runtime.setting_forms import Form, Value

FILE_BYTES_MAX: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    name: str
    form: Form
    default: Value
    """None: it must be given."""
    why: str
    """What it does, and why the default is what it is."""
    policy_field: str = ""
    """Which field of `core.policy.Policy` it sets; empty: none."""
    prefix: str = "EVERFLY"
    """Of its variable: a program whose words are also another's has one of its own."""

    @property
    def variable(self) -> str:
        """Return its name in the environment."""
        return f"{self.prefix}_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Return its name on the command line."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class Told:
    """What people said, by where they said it."""

    path: str
    """Of the file; empty: there is none."""
    file: Mapping[str, object]
    flags: Mapping[str, str]
    """By the name of the key, without dashes."""
    environment: Mapping[str, str]

    def value_of(self, key: Key) -> Value:
        """Return the value of one setting, or its default. Raises SettingsError."""
        if key.name in self.flags:
            return checked(key, lambda: key.form.from_text(self.flags[key.name]), key.flag)
        if key.variable in self.environment:
            text = self.environment[key.variable]
            return checked(key, lambda: key.form.from_text(text), f"variable {key.variable}")
        if key.name in self.file:
            where = f"{self.path}: {key.name}"
            return checked(key, lambda: key.form.from_toml(self.file[key.name]), where)
        return key.default


def checked(key: Key, read: Callable[[], Value], where: str) -> Value:
    """Return what `read` does; its ValueError becomes a SettingsError that says what is allowed."""
    try:
        return read()
    except ValueError as error:
        raise SettingsError(f"{where}: {error}; allowed: {key.form.allowed}") from error


def read_toml(path: Path) -> dict[str, object]:
    """Return the content of a file. Raises SettingsError."""
    # Only who has such a file pays for the parser.
    import tomllib  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise SettingsError(f"settings file {path} has more than {FILE_BYTES_MAX} bytes")
    try:
        return tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from error


def refuse_unknown(told: Mapping[str, object], known: Sequence[str], where: str) -> None:
    """Raise SettingsError for a key that is none of `known`, with the one that it resembles."""
    for name in told:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise SettingsError(
                f"{where}: unknown key `{name}`: {hint}Known keys: {', '.join(known)}"
            )
