"""Turn a blocking call into something to await, on a thread that cannot hold up the end.

For the few calls that have no asynchronous form: names to addresses, and flushing a disk. Threads
of `concurrent.futures` are joined when the interpreter ends, so a hung DNS server or disk would
keep a stopped process alive; these threads are not.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(name: str, function: Callable[[], T]) -> T:
    """Return what `function` returns, or raise what it raises. Cancelling only stops the wait."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)  # type: ignore[arg-type]  # None only beside an error

    def work() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = function()
        except BaseException as caught:  # noqa: BLE001 - it is raised where it is awaited
            error = caught
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            return  # The loop has closed meanwhile: nobody waits any more.

    threading.Thread(target=work, name=name, daemon=True).start()
    return await outcome
