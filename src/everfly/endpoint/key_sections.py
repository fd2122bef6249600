"""Say what a setting of an endpoint is, and gather settings under a title."""

from dataclasses import dataclass, field
from typing import Final

from everfly.runtime.setting_forms import Form, Value
from everfly.runtime.setting_table import Key

PREFIX: Final = "EVERFLY_ENDPOINT"
"""Of variables: a Sentinel on the same machine has words of the same names."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of an endpoint, and where it goes."""

    key: Key
    is_live: bool = False
    """Whether a reload takes it over."""
    plane: str = ""
    """Where in the data plane's configuration it stands, such as `hold.window_ms`; empty: it is
    for the control alone."""


@dataclass(slots=True)
class Section:
    """Settings that belong together, in the order in which they were added."""

    title: str
    settings: list[Setting] = field(default_factory=list)

    def add(self, name: str, form: Form, default: Value, why: str, *, to: str = "") -> None:
        """Add one that only a restart takes over; `to`: its place in the data plane's part."""
        self.settings.append(Setting(Key(name, form, default, why, prefix=PREFIX), plane=to))

    def add_live(self, name: str, form: Form, default: Value, why: str) -> None:
        """Add one that a reload takes over."""
        key = Key(name, form, default, why, prefix=PREFIX)
        self.settings.append(Setting(key, is_live=True))
