"""Turn `everfly k8s front` into a running front. It joins the operator's commands for people."""

import logging
import os
import sys
from typing import Any

import click

from everfly.errors import EverflyError
from everfly.operator.commands.main import k8s

_PLACE = "HOST:PORT or :PORT; 0: nowhere."


@k8s.command(short_help="Serve the Sentinel protocol in front of data stores.")
@click.option("--namespaces", default="", help="With commas; default: WATCH_NAMESPACE, else all.")
@click.option("--bind", default=":26379", show_default=True, help=_PLACE)
@click.option("--tls-bind", default="", help="The same, inside TLS.")
@click.option(
    "--health-probe-bind-address",
    "health",
    default=":8081",
    show_default=True,
    help="0: nowhere; also /metrics.",
)
@click.option("--password-file", default="", help="The password of the default user.")
@click.option("--acl-file", default="", help="Users and what they may do, as `aclfile` of Redis.")
@click.option("--tls-cert-file", default="", help="Our certificate with its chain.")
@click.option("--tls-key-file", default="", help="Its private key.")
@click.option("--tls-ca-cert-file", default="", help="Who signs certificates of clients.")
@click.option(
    "--tls-auth-clients", default="optional", type=click.Choice(["yes", "no", "optional"])
)
@click.option(
    "--compat",
    default="redis-7.0",
    show_default=True,
    type=click.Choice(["redis-7.0", "redis-7.4", "valkey-8"]),
    help="Whose texts clients get.",
)
@click.option("--maxclients", default=10_000, show_default=True, type=click.IntRange(min=1))
@click.option("--log-format", default="redis", type=click.Choice(["redis", "json"]))
@click.pass_context
def front(context: click.Context, /, log_format: str, **told: Any) -> None:
    """Tell Sentinel-aware clients where the primaries of Dragonfly resources are.

    Each resource is a group: NAME where one namespace is served, and NAMESPACE/NAME always. The
    front decides nothing: it tells whom the operator has put into service. Any number of them may
    run. Passwords stand in files.
    """
    # Not at the top: `everfly k8s` must not pay for what only this command needs.
    from everfly.front.app import run  # noqa: PLC0415
    from everfly.front.settings import Told, read_settings  # noqa: PLC0415
    from everfly.runtime.log import set_up  # noqa: PLC0415

    set_up("", "notice", log_format)
    # A line for each request would drown what is worth reading.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    kubeconfig, namespace = context.obj
    told["namespaces"] = told["namespaces"] or namespace or os.environ.get("WATCH_NAMESPACE", "")
    try:
        settings = read_settings(Told(kubeconfig=kubeconfig, **told))
    except EverflyError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    sys.exit(run(settings))
