"""Say what links ask of the settings of a Sentinel."""

import ssl
from typing import Protocol

from everfly.core.model import GroupName


class LinkSettings(Protocol):
    """What people set that concerns links. Asked at each use, so that changes take effect."""

    @property
    def resolves_hostnames(self) -> bool:
        """Whether names are resolved."""
        ...

    @property
    def shows_hostnames(self) -> bool:
        """Whether others are told names where we have them."""
        ...

    @property
    def source_host(self) -> str:
        """The local address that connections come from; empty: the system chooses."""
        ...

    def credentials(self, group: GroupName | None) -> tuple[str, str]:
        """Return user and password for a group's instances, or for peers (None).

        No password: no AUTH; no user: the default one.
        """
        ...

    def command_name(self, group: GroupName | None, command: str) -> str:
        """Return what a group's instances call a command (upper case)."""
        ...

    def tls(self, group: GroupName | None) -> ssl.SSLContext | None:
        """Return how to encrypt links to a group's instances, or to peers; None: not at all."""
        ...
