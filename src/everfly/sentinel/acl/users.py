"""Hold all users by name, and tell who somebody is and what they may do.

Rules: `default` is always there, and everybody is it until they say otherwise; a change is made as
a whole or not at all; passwords are compared in constant time.
"""

import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from everfly.sentinel.acl.categories import Dialect
from everfly.sentinel.acl.rules import User, hash_of, merged, shown
from everfly.sentinel.acl.selectors import HAS_SPACE, Denial, Reason, RuleError
from everfly.wire.resp import to_bytes

DEFAULT_USER: Final = "default"
USERS_MAX: Final = 10_000
"""A Sentinel has a handful. Redis has no limit."""
NAME_BYTES_MAX: Final = 4_096
"""Of a user; each line of CLIENT LIST carries it."""

_NOBODY: Final = Denial(Reason.COMMAND)


class Users:
    """All users."""

    def __init__(self, dialect: Dialect) -> None:
        """Begin with a `default` who may do everything, without a password."""
        self.dialect: Final = dialect
        self._users: dict[str, User] = {}
        self.replace([])

    @property
    def default(self) -> User:
        """Return who everybody is at first."""
        return self._users[DEFAULT_USER]

    @property
    def needs_password(self) -> bool:
        """Tell whether new connections have to prove who they are."""
        return not (self.default.is_open and self.default.is_on)

    def get(self, name: str) -> User | None:
        """Return the user of that name; names differ by case."""
        return self._users.get(name)

    def all(self) -> list[User]:
        """Return all, by the bytes of their names."""
        return sorted(self._users.values(), key=lambda user: to_bytes(user.name))

    def set_default_password(self, password: str) -> None:
        """Let `default` have this password alone; empty: none is needed."""
        self.default.apply("resetpass")
        self.default.apply(f">{password}" if password else "nopass")

    def staged(self, name: str, words: Sequence[str]) -> User:
        """Return what a user, new or not, becomes by rules, without changing anything.

        Raises RuleError, whose text is the answer to ACL SETUSER.
        """
        rules = merged(words)
        known = self._users.get(name)
        user = known.copy() if known is not None else User.new(name, self.dialect)
        for rule in rules:
            try:
                user.apply(rule)
            except RuleError as error:
                raise RuleError(f"Error in ACL SETUSER modifier '{shown(rule)}': {error}") from None
        if known is None and len(self._users) >= USERS_MAX:
            raise RuleError(f"There may be {USERS_MAX} users")
        return user

    def put(self, user: User) -> None:
        """Add a user, or take it in place of the one of that name."""
        self._users[user.name] = user

    def remove(self, name: str) -> bool:
        """Remove a user but `default`; tell whether there was one."""
        assert name != DEFAULT_USER
        return self._users.pop(name, None) is not None

    def replace(self, users: Iterable[User]) -> None:
        """Hold these users and no others, with an open `default` if there is none among them."""
        self._users = {DEFAULT_USER: open_default(self.dialect)}
        self._users |= {user.name: user for user in users}

    def knows(self, name: str, password: bytes) -> bool:
        """Tell whether one becomes this user by this password."""
        user = self._users.get(name)
        # Hash for nobody too: how long it takes must not tell who exists.
        digest = hash_of(password).encode()
        known = [] if user is None else user.passwords
        matches = [hmac.compare_digest(digest, each.encode()) for each in known]
        return user is not None and user.is_on and (user.is_open or any(matches))

    def check(
        self, name: str, command: str, words: Sequence[bytes], *, needs_no_auth: bool
    ) -> Denial | None:
        """Return why a user may not run a command, if so; see `Selector.check`.

        Source: `ACLCheckAllUserCommandPerm`, redis/src/acl.c (7.0.15).
        """
        user = self._users.get(name)
        if user is None:
            return _NOBODY
        worst: Denial | None = None
        for selector in user.selectors:
            denial = selector.check(command, words, needs_no_auth=needs_no_auth)
            if denial is None:
                return None
            if worst is None or (denial.reason, denial.position) > (worst.reason, worst.position):
                worst = denial
        return worst


def open_default(dialect: Dialect) -> User:
    """Return the `default` of a Sentinel whose file says nothing of users."""
    user = User.new(DEFAULT_USER, dialect)
    for rule in ("+@all", "~*", "&*", "on", "nopass"):
        user.apply(rule)
    return user


def is_valid_name(name: str) -> bool:
    """Tell whether a user may have this name."""
    return not HAS_SPACE.search(name) and len(to_bytes(name)) <= NAME_BYTES_MAX
