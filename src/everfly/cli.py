"""Turn the command line into one of the programs of Everfly.

A program is imported when it is asked for: `everfly sentinel` must answer within half a second, so
it must not wait for what only tables and live views need.
"""

import os
import sys
from importlib import import_module
from typing import Any, Final

import click

from everfly import __version__

PROGRAMS: Final = {
    "up": "everfly.local.commands:up",
    "status": "everfly.observe.commands:status",
    "events": "everfly.observe.commands:events",
    "drill": "everfly.drill.commands:drill",
    "sentinel": "everfly.sentinel.command_line:sentinel",
    "endpoint": "everfly.endpoint.command_line:endpoint",
    "switchover": "everfly.endpoint.switchover_command:switchover",
    "sim": "everfly.sim.commands:sim",
    "operator": "everfly.operator.commands.main:operator",
    "k8s": "everfly.front.command_line:k8s",
}
"""Name on the command line -> module and its click command."""

EXTRAS: Final = {
    "cronsim": "operator",
    "lightkube": "operator",
    "httpx2": "operator",
    "yaml": "operator",
}
"""Module that only some programs need -> the extra of the package that brings it."""


class Programs(click.Group):
    """Commands that are imported when they are used.

    Called by the name of a Sentinel (a link `redis-sentinel`, or `everfly-sentinel`) it is one.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line."""
        if parent is None and sys.argv and is_sentinel_name(sys.argv[0]):
            is_about_version = args in (["--version"], ["-v"])
            args = ["--version"] if is_about_version else ["sentinel", *args]
        return super().make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return all names."""
        return list(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return a command, imported now, or None when there is none of that name."""
        place = PROGRAMS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        try:
            command = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            extra = EXTRAS.get(error.name or "")
            if extra is None:
                raise
            raise click.UsageError(
                f"`everfly {cmd_name}` needs {error.name}: pip install 'everfly[{extra}]'"
            ) from error
        assert isinstance(command, click.Command)
        return command


def is_sentinel_name(path: str) -> bool:
    """Tell whether a program of this name is to be a Sentinel at once.

    Source: `checkForSentinelMode`, redis/src/server.c (7.0.15).
    """
    return os.path.basename(path).endswith("-sentinel")  # noqa: PTH119 - a word, not a file


@click.group(cls=Programs)
@click.version_option(__version__, package_name="everfly")
def main() -> None:
    """Keep a Dragonfly, Valkey or Redis data store always on."""
