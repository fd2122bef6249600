"""Make the keys of one cluster, and the file by which an administrator reaches it."""

import base64
import json
import subprocess
from pathlib import Path
from typing import Final

from .kubelet.network import GATEWAY

ADMIN_TOKEN: Final = "everfly-tests"


def make_credentials(keys: Path, kubeconfig: Path, port: int) -> None:
    """Write the API server's certificate, the key of service account tokens, and the file."""
    names = f"subjectAltName=IP:127.0.0.1,IP:{GATEWAY},DNS:localhost,DNS:kubernetes.default.svc"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", "/CN=everfly-tests", "-addext", names,
        "-keyout", str(keys / "api.key"), "-out", str(keys / "api.crt"),
    )  # fmt: skip
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
             str(keys / "accounts.key"))  # fmt: skip
    (keys / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
    certificate = (keys / "api.crt").read_bytes()
    kubeconfig.write_text(kubeconfig_text(certificate, port, ADMIN_TOKEN))


def kubeconfig_text(certificate: bytes, port: int, token: str) -> str:
    """Return a kubeconfig (JSON is YAML) for whoever has this token."""
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(certificate).decode(),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
