"""Turn `everfly endpoint` into a running endpoint."""

import os
import sys
from collections.abc import Callable

import click

from everfly.endpoint.keys import SETTINGS
from everfly.errors import SettingsError


def _with_flags(command: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(SETTINGS):
        key = setting.key
        words = f"{key.why} Allowed: {key.form.allowed}. Default: {_shown(key.default)}."
        command = click.option(key.flag, key.name, default=None, help=words)(command)
    return click.option(
        "--settings",
        default=None,
        help="A file with these, in TOML; see docs/endpoint-settings.md.",
    )(command)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value in ("", ()) else str(value)


@click.command(short_help="Run the stable address that follows the primary.")
@_with_flags
def endpoint(settings: str | None, **told: str | None) -> None:
    """Give clients one address that always leads to the primary.

    Commands are forwarded to the primary that the Sentinels name; while there is none they wait.
    Lists are written with commas. Everything may also stand in variables (EVERFLY_ENDPOINT_LISTEN)
    or in the file of --settings; passwords and tokens stand in files of their own.
    """
    # Not at the top: the rest of the command line must not pay for the event loop.
    from everfly.endpoint.app import run  # noqa: PLC0415
    from everfly.endpoint.settings import EndpointSettings, load_settings  # noqa: PLC0415
    from everfly.runtime.log import set_up  # noqa: PLC0415

    flags = {name: value for name, value in told.items() if value is not None}

    def load() -> EndpointSettings:
        return load_settings(settings or "", flags, os.environ)

    try:
        found = load()
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    set_up("", "notice", found.text("log_format"))
    sys.exit(run(found, load))
