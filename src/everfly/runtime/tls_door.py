"""Turn connections to a TLS port into clients, once they have shaken hands.

Rules: each handshake has a limit of time, and only so many are under way: one more puts an end to
the oldest, which is stuck, so that silent strangers keep nobody out. Each starts with the
certificates of that moment. One connection is accepted in a turn of the event loop, so that a
flood of handshakes, each of which costs a millisecond, holds nobody up.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from everfly.runtime.log import VERBOSE
from everfly.runtime.tls import Tls, reason_of_tls

log = logging.getLogger(__name__)

HANDSHAKE_LIMIT_S: Final = 5.0
"""A handshake takes three messages; a lost one is sent again after a second."""
HANDSHAKES_MAX: Final = 256
"""Under way at a time, at each address."""
GOODBYE_LIMIT_S: Final = 1.0
"""How long the other side may take to agree to the end."""
PAUSE_S: Final = 1.0
"""After the system had no descriptor left for a new connection."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TlsDoor:
    """Accepts from a listening socket, which is its own from now on, until `close`."""

    def __init__(
        self, listening: socket.socket, tls: Tls, make_client: Callable[[], asyncio.Protocol]
    ) -> None:
        self._listening = listening
        self._tls = tls
        self._make_client = make_client
        self._loop = asyncio.get_running_loop()
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """In the order of their coming."""
        self._accepting = self._loop.create_task(self._accept(), name="accept TLS")

    async def close(self) -> None:
        """Free the port and give up the handshakes; clients stay."""
        tasks = [self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listening.close()

    async def _accept(self) -> None:
        while True:
            try:
                raw, _ = await self._loop.sock_accept(self._listening)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    log.warning("A connection to the TLS port cannot be accepted: %s", error)
                    await asyncio.sleep(PAUSE_S)
                else:
                    await asyncio.sleep(0)
                continue
            if len(self._handshakes) >= HANDSHAKES_MAX:
                oldest = next(iter(self._handshakes))
                del self._handshakes[oldest]
                oldest.cancel()
            task = self._loop.create_task(self._shake_hands(raw), name="TLS handshake")
            self._handshakes[task] = None
            task.add_done_callback(partial(self._on_done, raw))
            # `sock_accept` gives nobody else a turn while more are waiting.
            await asyncio.sleep(0)

    def _on_done(self, raw: socket.socket, done: asyncio.Task[None]) -> None:
        self._handshakes.pop(done, None)
        if done.cancelled():
            # One that never began has no transport that would close it.
            raw.close()

    async def _shake_hands(self, raw: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._make_client,
                raw,
                ssl=self._tls.for_clients(),
                ssl_handshake_timeout=HANDSHAKE_LIMIT_S,
                ssl_shutdown_timeout=GOODBYE_LIMIT_S,
            )
        except OSError as error:
            log.log(VERBOSE, "Error accepting a client connection: %s", reason_of_tls(error))
