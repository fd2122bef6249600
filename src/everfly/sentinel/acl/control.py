"""Turn the part of a configuration that is about users into the one access control of a process.

Either an ACL file or lines of the configuration say who there is, never both. `requirepass` is the
password of a `default` that no line tells of; beside an ACL file it means nothing, as ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from everfly.errors import SettingsError
from everfly.sentinel.acl.categories import Dialect
from everfly.sentinel.acl.file import implied_default, read_users, users_of_lines
from everfly.sentinel.acl.log import LENGTH, AclLog
from everfly.sentinel.acl.rules import User
from everfly.sentinel.acl.users import DEFAULT_USER, Users

BOTH: Final = (
    "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path "
    "is invalid. This setup is very likely to lead to configuration errors and security holes, "
    "please define either an ACL file or declare users directly in your redis.conf, but not both."
)
"""Source: `ACLLoadUsersAtStartup`, redis/src/acl.c (7.0.15)."""


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """What a configuration says of users."""

    user_lines: Sequence[Sequence[str]] = field(default=(), repr=False)
    """A name and rules each."""
    included_names: frozenset[str] = frozenset()
    """Whose lines stand in another file, which is not rewritten."""
    requirepass: str = field(default="", repr=False)
    file: str = ""
    """Of ACL rules (`aclfile`); empty: there is none."""
    log_length: int = LENGTH


class AccessControl:
    """Who there is, and what was refused."""

    def __init__(self, dialect: Dialect, settings: AccessSettings | None = None) -> None:
        """Read the users; blocks when they are in a file. Raises SettingsError."""
        settings = settings or AccessSettings()
        self.users: Final = Users(dialect)
        self.log: Final = AclLog(settings.log_length)
        self.file: Final = Path(settings.file) if settings.file else None
        self._settings: Final = settings
        if self.file is not None and settings.user_lines:
            raise SettingsError(BOTH)
        if self.file is None:
            users = {DEFAULT_USER: implied_default(settings.requirepass, dialect)}
            users_of_lines(settings.user_lines, users, dialect)
            self.users.replace(users.values())
            return
        try:
            self.users.replace(read_users(self.file, dialect))
        except SettingsError as error:
            raise SettingsError(f"Aborting Redis startup because of ACL errors: {error}") from error

    def user_lines(self) -> list[tuple[str, ...]]:
        """Return the `user` lines that a rewritten configuration needs, as names and rules.

        None when an ACL file holds the users. None for a `default` that `requirepass` describes: a
        second copy of a password would outlive a change of the first. None for users of an included
        file: a second line about one would keep every engine from starting.
        """
        if self.file is not None:
            return []
        implied = implied_default(self._settings.requirepass, self.users.dialect).described()
        return [
            (user.name, *user.described().split(" "))
            for user in self.users.all()
            if user.name not in self._settings.included_names
            and not (user.name == DEFAULT_USER and self._without_sanitizing(user) == implied)
        ]

    def _without_sanitizing(self, user: User) -> str:
        """Describe a user but for a flag without effect, which reading its line may have set."""
        plain = user.copy()
        plain.sanitizes = self.users.dialect.sanitizes
        return plain.described()


def pubsub_victims(old: User, new: User) -> "RevokedChannels | None":
    """Return which subscriptions of a user its new rules forbid; None when they forbid none.

    Source: `getUpcomingChannelList`, redis/src/acl.c (7.0.15).
    """
    if any(selector.allows_all_channels for selector in new.selectors):
        return None
    allowed = {name: glob for each in new.selectors for name, glob in each.channels.items()}
    had_all = any(selector.allows_all_channels for selector in old.selectors)
    had = {name for selector in old.selectors for name in selector.channels}
    return None if not had_all and had <= allowed.keys() else RevokedChannels(new)


@dataclass(frozen=True, slots=True)
class RevokedChannels:
    """The rules by which some subscriptions of a user end."""

    new: User

    def concerns(self, channels: Sequence[bytes], patterns: Sequence[bytes]) -> bool:
        """Tell whether a connection with these subscriptions has one that is forbidden now."""
        return any(
            not any(
                selector.may_hear(name, is_pattern=is_pattern) for selector in self.new.selectors
            )
            for names, is_pattern in ((patterns, True), (channels, False))
            for name in names
        )
