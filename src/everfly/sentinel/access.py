"""Turn what a configuration says of users into the access control of a Sentinel.

A `user` line that stands in an included file stays there: see `AccessControl.user_lines`.
"""

from everfly.sentinel.acl.control import AccessControl, AccessSettings
from everfly.sentinel.acl.log import LENGTH
from everfly.sentinel.commands.table import dialect_of
from everfly.sentinel.compat import Compat
from everfly.wire.sentinel_conf import SentinelConf


def access_of(conf: SentinelConf, compat: Compat) -> AccessControl:
    """Return who may do what. Blocks for as long as an ACL file takes.

    Raises SettingsError for a wrong rule, or a wrong file.
    """
    allows_channels = conf.text("acl-pubsub-default", "resetchannels").lower() == "allchannels"
    settings = AccessSettings(
        user_lines=conf.users,
        included_names=frozenset(
            line.args[0] for line in conf.directives if line.name == "user" and line.is_included
        ),
        requirepass=conf.text("requirepass"),
        file=conf.text("aclfile"),
        log_length=conf.number("acllog-max-len", LENGTH),
    )
    return AccessControl(dialect_of(compat, allows_channels=allows_channels), settings)
