"""Which process stands for which container image."""

import os
import sys
from pathlib import Path
from typing import Final

from controlplane.kubelet.settings import Image

DRAGONFLY: Final = "docker.dragonflydb.io/dragonflydb/dragonfly:v1.39.0"
MISSING: Final = "docker.dragonflydb.io/dragonflydb/dragonfly:missing"
"""An image that cannot be pulled."""
TOOLS: Final = "busybox:1"

_HERE: Final = Path(__file__).resolve().parent
_HEALTHCHECK: Final = """\
#!/bin/sh
# As the script of the image: asks, and does not look at the answer. Only bash opens connections.
exec bash -c '
exec 3<>"/dev/tcp/127.0.0.1/${HEALTHCHECK_PORT:-6379}" || exit 1
printf "PING\\r\\n" >&3
read -r -t 1 _ <&3
exit 0
'
"""

_NC: Final = f"""\
#!{sys.executable}
# As the image's nc is used: `nc -w SECONDS HOST PORT` sends what it reads and prints what it gets.
import socket, sys
seconds, host, port = float(sys.argv[2]), sys.argv[3], int(sys.argv[4])
try:
    with socket.create_connection((host, port), seconds) as link:
        link.sendall(sys.stdin.buffer.read())
        while data := link.recv(65536):
            sys.stdout.buffer.write(data)
except OSError:
    sys.exit(1)
"""


def images() -> list[Image]:
    """Return the table; a Dragonfly is the real one where EVERFLY_DRAGONFLY names it."""
    real = os.environ.get("EVERFLY_DRAGONFLY")
    double = [sys.executable, str(_HERE / "dragonfly_image.py")]
    small = {"DFLY_proactor_threads": "1", "DFLY_maxmemory": "256mb"}
    return [
        Image(
            pattern=r"/dragonfly:(?!missing)",
            entry=[real, "--logtostderr"] if real else double,
            folder="/data",
            environment=small if real else {},
            files={"/usr/local/bin/healthcheck.sh": _HEALTHCHECK, "/usr/local/bin/nc": _NC},
        ),
        Image(pattern=r"(^|/)everfly:", entry=[sys.executable, "-m", "everfly"]),
        Image(pattern=r"^busybox:", entry=[], args=["sleep", "infinity"]),
    ]
