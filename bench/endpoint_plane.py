"""Run one data plane in this process until it is told to end: the subject of `endpoint.py`.

    endpoint_plane.py PORT PRIMARY_PORT WORKERS

The control around it (`everfly endpoint`) takes no part in the traffic, so it is left out.
"""

import signal
import sys

from everfly_endpoint import Plane

HOST = "127.0.0.1"


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    port, primary, workers = map(int, sys.argv[1:])
    ends = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    plane = Plane({"listeners": [{"address": f"{HOST}:{port}"}], "workers": workers})
    plane.start()
    plane.set_primary(HOST, primary, 1)
    signal.sigwait(ends)
    plane.stop()


if __name__ == "__main__":
    main()
