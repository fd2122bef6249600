"""Peers that answer by a script, for tests of what talks to them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from everfly.core.model import Address
from everfly.wire.resp import RequestParser, Value, encode_reply

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(serve: Serve) -> AsyncIterator[Address]:
    """Listen and run `serve` for each connection; nothing of it outlives the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        # Cancelled at the end of the block; the streams would report that as an error.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def says(*answers: bytes) -> Serve:
    """Answer the n-th chunk that arrives with the n-th answer, then stay silent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65_536)
            writer.write(answer)
        while await reader.read(65_536):
            pass

    return serve


def answers(replies: Mapping[str, Value]) -> Serve:
    """Answer each command by its first words, upper case; silence for all others."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = RequestParser()
        while data := await reader.read(65_536):
            parser.feed(data)
            while command := parser.next_command():
                words = [each.decode().upper() for each in command]
                for length in (2, 1):
                    name = " ".join(words[:length])
                    if name in replies:
                        writer.write(encode_reply(replies[name], 2))
                        break

    return serve
