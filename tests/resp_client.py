"""A RESP client for tests that run in the event loop of the port they talk to."""

import asyncio
import contextlib
from typing import Self

import hiredis

LIMIT_S = 10.0
"""For one answer. Milliseconds are usual; a loaded machine may take seconds."""


class RespClient:
    """One connection. Errors are returned, not raised."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parser = hiredis.Reader()

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):  # The other side was faster.
            await self._writer.wait_closed()

    def send(self, *words: str | bytes | int) -> None:
        self.send_bytes(hiredis.pack_command(words))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def sent(self) -> None:
        """Return when all that was sent is on its way."""
        async with asyncio.timeout(LIMIT_S):
            await self._writer.drain()

    async def receive(self) -> object:
        """Return the next reply. Raise EOFError when the connection ends."""
        async with asyncio.timeout(LIMIT_S):
            while (reply := self._parser.gets()) is False:
                self._parser.feed(await self._chunk())
        return reply

    async def ask(self, *words: str | bytes | int) -> object:
        self.send(*words)
        return await self.receive()

    async def rest(self) -> bytes:
        """Return all bytes until the other side closes."""
        chunks = []
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    chunks.append(await self._chunk())
                except EOFError:
                    return b"".join(chunks)

    async def _chunk(self) -> bytes:
        try:
            data = await self._reader.read(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError
        return data


async def until(condition, within_s: float = LIMIT_S) -> None:  # noqa: ANN001
    """Return when `condition()` holds; look once in each turn of the event loop."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - there is no event for what tests look at
            await asyncio.sleep(0)
