"""Turn what a configuration says about clients into limits, certificates and open ports.

Source: `initServer`, `listenToPort`, redis/src/server.c (7.0.15), and its error texts.
"""

import logging
from pathlib import Path

from everfly.errors import SettingsError
from everfly.runtime.listener import Limits, Listener, OutputLimit
from everfly.runtime.tls import KeyPair, Tls, TlsSettings
from everfly.sentinel.state_file import Loaded
from everfly.wire.sentinel_conf import SentinelConf

log = logging.getLogger(__name__)


def tls_of(conf: SentinelConf) -> Tls | None:
    """Return how connections are encrypted; None when neither clients nor links are.

    Raises SettingsError when the files cannot be used.
    """
    if not conf.tls_port and not conf.is_yes("tls-replication"):
        return None
    try:
        return Tls(_tls_settings(conf))
    except SettingsError as error:
        log.warning("%s", error)
        raise SettingsError("Failed to configure TLS. Check logs for more info.") from error


def _tls_settings(conf: SentinelConf) -> TlsSettings:
    cert_on_links = conf.text("tls-client-cert-file")
    return TlsSettings(
        own=KeyPair(
            conf.text("tls-cert-file"), conf.text("tls-key-file"), conf.text("tls-key-file-pass")
        ),
        own_on_links=KeyPair(
            cert_on_links,
            conf.text("tls-client-key-file"),
            conf.text("tls-client-key-file-pass"),
        )
        if cert_on_links
        else None,
        ca_file=conf.text("tls-ca-cert-file"),
        ca_dir=conf.text("tls-ca-cert-dir"),
        auth_clients=conf.text("tls-auth-clients", "yes").lower(),
        has_links=conf.is_yes("tls-replication"),
        protocols=conf.text("tls-protocols"),
        ciphers=conf.text("tls-ciphers"),
        ciphersuites=conf.text("tls-ciphersuites"),
        dh_params_file=conf.text("tls-dh-params-file"),
        prefers_server_ciphers=conf.is_yes("tls-prefer-server-ciphers"),
    )


def limits_of(loaded: Loaded) -> Limits:
    """Return what clients may take."""
    settings, conf = loaded.settings, loaded.conf
    limits = Limits(
        maxclients=settings.maxclients,
        timeout_s=settings.timeout_s,
        tcp_keepalive_s=settings.tcp_keepalive_s,
        tcp_backlog=settings.tcp_backlog,
    )
    for kind, (hard, soft, soft_s) in conf.output_limits().items():
        # Redis knows no end where it is 0; ours is what a machine can bear.
        most = hard or limits.normal_output.hard
        limit = OutputLimit(most, min(soft or most, most), soft_s)
        if kind == "normal":
            limits.normal_output = limit
        elif kind == "pubsub":
            limits.pubsub_output = limit
    return limits


async def open_doors(listener: Listener, conf: SentinelConf, tls: Tls | None) -> None:
    """Listen wherever the configuration says. Raises SettingsError when that cannot be done."""
    socket_path = conf.text("unixsocket")
    if conf.port:
        try:
            await listener.start(conf.bind, conf.port)
        except SettingsError as error:
            log.warning("Warning: %s", error)
            raise SettingsError(f"Failed listening on port {conf.port} (TCP), aborting.") from error
    if conf.tls_port and tls is not None:
        try:
            listener.start_tls(conf.bind, conf.tls_port, tls)
        except SettingsError as error:
            log.warning("Warning: %s", error)
            raise SettingsError(
                f"Failed listening on port {conf.tls_port} (TLS), aborting."
            ) from error
    if socket_path:
        mode = conf.text("unixsocketperm")
        await listener.start_unix(Path(socket_path), int(mode, 8) if mode else None)
    if not (conf.port or conf.tls_port or socket_path):
        raise SettingsError(
            "Configured to not listen anywhere, exiting. Set port, tls-port or unixsocket."
        )


def warn_of_open_door(loaded: Loaded, *, is_open: bool) -> None:
    """Log it when anybody who reaches a port may move primaries.

    `is_open`: everybody is the default user without a password.
    """
    conf = loaded.conf
    is_local = all(bind.lstrip("-").startswith(("127.", "::1")) for bind in conf.bind)
    is_certain = not conf.port and conf.text("tls-auth-clients", "yes").lower() == "yes"
    if is_local or is_certain or conf.is_yes("protected-mode") or not is_open:
        return
    log.warning(
        "WARNING: no password is set and this Sentinel listens on %s: whoever reaches port %d can "
        "move your primaries (a Sentinel has no protected mode unless `protected-mode yes` is set)",
        " ".join(conf.bind),
        conf.port or conf.tls_port,
    )
