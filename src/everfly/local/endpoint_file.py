"""Write the settings with which the endpoint of a local deployment starts."""

import json

from everfly.local.settings import HOST, Settings
from everfly.observe.description import PASSWORD_FILE_NAME

GRACE_MS = 1_000
"""When the whole deployment ends, clients have nothing to wait for."""


def endpoint_text(settings: Settings) -> str:
    """Return the file, in TOML, whose strings are written as those of JSON."""
    port, admin_port = settings.endpoint_ports
    sentinels = [str(each) for each in settings.sentinel_addresses]
    values: dict[str, object] = {
        "listen": [f"{HOST}:{port}"],
        "admin": f"{HOST}:{admin_port}",
        "sentinels": sentinels,
        "name": settings.group,
        "restart_socket": "restart.sock",
        "grace_ms": GRACE_MS,
    }
    if settings.password:
        values["password_file"] = PASSWORD_FILE_NAME
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
