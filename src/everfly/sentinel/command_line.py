"""Turn `everfly sentinel FILE` into a running Sentinel."""

import sys

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    short_help="Run a Sentinel, a drop-in for `redis-sentinel FILE`.",
)
@click.argument("file", required=False, default="")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def sentinel(file: str, options: tuple[str, ...]) -> None:
    """Watch groups and fail over, as `redis-sentinel FILE` does.

    FILE is a sentinel.conf; it also keeps the state, so it must be writable, and its folder too.
    Settings may follow it: `--port 5000 --sentinel announce-ip 192.0.2.1`.
    """
    # Not at the top: the rest of the command line must not pay for the event loop.
    from everfly.sentinel.app import run  # noqa: PLC0415

    sys.exit(run(file, options))
