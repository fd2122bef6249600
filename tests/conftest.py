"""What holds for all tests."""

import asyncio
import os

# Plain Python is the truth. Where compiled code is compared with it, processes of their own run it.
os.environ["EVERFLY_COMPILED"] = "0"


def pytest_configure() -> None:
    """Leave no event loop to be made in passing.

    Whoever asks for "the" loop first gets a fresh one from the default policy, also pytest-asyncio
    before its own; nobody closes that one, and its garbage collection fails some later test.
    """
    asyncio.set_event_loop(None)
