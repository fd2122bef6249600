"""Which program a Sentinel speaks like: texts, numbers of commands, and what clients look for.

What peers say to each other is the same in all of them.
"""

from enum import Enum


class Compat(Enum):
    """A program; the values are those of `everfly sentinel --compat`."""

    REDIS_7_0 = "redis-7.0"
    REDIS_7_4 = "redis-7.4"
    VALKEY_8 = "valkey-8"

    @property
    def version(self) -> str:
        """Return the version that clients are told, by which they choose what to do."""
        return {
            Compat.REDIS_7_0: "7.0.15",
            Compat.REDIS_7_4: "7.4.1",
            Compat.VALKEY_8: "8.1.8",
        }[self]

    @property
    def server(self) -> str:
        """Return what HELLO says of the server."""
        return "valkey" if self.is_valkey else "redis"

    @property
    def is_valkey(self) -> bool:
        """Tell whether it is Valkey, which has words of its own for roles."""
        return self is Compat.VALKEY_8

    @property
    def is_recent(self) -> bool:
        """Tell whether it has what Redis 7.2 brought, as Valkey has too."""
        return self is not Compat.REDIS_7_0
