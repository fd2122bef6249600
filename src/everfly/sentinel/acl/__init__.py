"""Who may do what at a Sentinel's port: users, passwords, and rules for commands and channels.

Pure but for `file` and `control`: rules and words in, users and verdicts out.
Source: redis/src/acl.c (7.0.15).
"""

from everfly.sentinel.acl.categories import CATEGORIES, CommandNames, Dialect
from everfly.sentinel.acl.control import AccessControl
from everfly.sentinel.acl.rules import User
from everfly.sentinel.acl.selectors import Denial, Reason
from everfly.sentinel.acl.users import DEFAULT_USER, Users

__all__ = [
    "CATEGORIES",
    "DEFAULT_USER",
    "AccessControl",
    "CommandNames",
    "Denial",
    "Dialect",
    "Reason",
    "User",
    "Users",
]
