"""Turn `everfly sentinel FILE` into a running Sentinel.

Rules: whatever follows FILE is a setting of Redis, as with `redis-sentinel`, but for Everfly's own
flags, which may stand on either side; Redis has no setting of these names.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import click

from everfly.errors import SettingsError
from everfly.sentinel.everfly_toml import KEYS, load_settings

_FLAGS: Final = {key.flag: key.name for key in KEYS} | {"--settings": "settings"}
"""Flag -> name of the setting."""


def _with_own_flags(command: Callable[..., None]) -> Callable[..., None]:
    for key in reversed(KEYS):
        words = f"{key.why} Allowed: {key.form.allowed}. Default: {_default(key.default)}."
        command = click.option(key.flag, key.name, default=None, help=words)(command)
    return click.option(
        "--settings",
        default=None,
        help="A file with these and with webhooks, in TOML; see docs/settings.md.",
    )(command)


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value == "" else str(value)


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Run a Sentinel, a drop-in for `redis-sentinel FILE`.",
)
@_with_own_flags
@click.argument("file", required=False, default="")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sentinel(file: str, options: tuple[str, ...], **own: str | None) -> None:
    """Watch groups and fail over, as `redis-sentinel FILE` does.

    FILE is a sentinel.conf; it also keeps the state, so it must be writable, and its folder too.
    Settings may follow it: `--port 5000 --sentinel announce-ip 192.0.2.1`. What only Everfly knows
    stands in none of it, but in these flags, in variables (EVERFLY_METRICS) or in a file of its
    own.
    """
    # Not at the top: the rest of the command line must not pay for the event loop.
    from everfly.sentinel.app import run  # noqa: PLC0415

    try:
        rest, told = split_options(options)
        told = {name: value for name, value in own.items() if value is not None} | told
        settings = load_settings(told.pop("settings", ""), told, os.environ)
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    sys.exit(run(file, rest, settings))


def split_options(options: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return what follows FILE without Everfly's own flags, and those by name.

    Raises SettingsError when one of them has no value.
    """
    rest: list[str] = []
    told: dict[str, str] = {}
    words = iter(options)
    for word in words:
        flag, has_value, value = word.partition("=")
        name = _FLAGS.get(flag)
        if name is None:
            rest.append(word)
        elif has_value:
            told[name] = value
        else:
            following = next(words, None)
            if following is None or following in _FLAGS:
                raise SettingsError(f"{flag} needs a value")
            told[name] = following
    return rest, told
