"""Turn the settings of a Sentinel into what links ask: who we are, what commands are called."""

import ssl

from everfly.core.model import GroupName
from everfly.runtime.tls import Tls
from everfly.sentinel.settings import Settings
from everfly.wire.sentinel_conf import SentinelConf


def told_port(conf: SentinelConf) -> int:
    """Return the port that others are told, unless `announce-port` says another.

    Source: `sentinelSendHello`, redis/src/sentinel.c (7.0.15).
    """
    has_tls = conf.is_yes("tls-replication") and conf.tls_port
    return conf.tls_port if has_tls else conf.port


class SentinelLinkSettings:
    """The settings as links see them (`runtime.link.LinkSettings`), always as of now."""

    def __init__(self, settings: Settings, source_host: str, tls: Tls | None = None) -> None:
        """`tls`: how all links are encrypted; None: they are not."""
        self._settings = settings
        self._source_host = source_host
        self._tls = tls

    @property
    def resolves_hostnames(self) -> bool:
        """Whether names are resolved."""
        return self._settings.resolve_hostnames

    @property
    def shows_hostnames(self) -> bool:
        """Whether others are told names where we have them."""
        return self._settings.announce_hostnames

    @property
    def source_host(self) -> str:
        """The local address that connections come from (`bind-source-addr`)."""
        return self._source_host

    def credentials(self, group: GroupName | None) -> tuple[str, str]:
        """Return user and password for a group's instances, or for peers (None)."""
        if group is None:
            return self._settings.peer_credentials()
        extras = self._settings.group(group)
        return extras.auth_user, extras.auth_pass

    def command_name(self, group: GroupName | None, command: str) -> str:
        """Return what a group's instances call a command (upper case)."""
        if group is None:
            return command
        extras = self._settings.groups.get(group)
        return command if extras is None else extras.renamed_commands.get(command, command)

    def tls(self, group: GroupName | None) -> ssl.SSLContext | None:
        """Return how to encrypt every link (`tls-replication`), or None."""
        del group
        return self._tls.for_links() if self._tls is not None else None
