"""Run programs of this machine from the event loop, with a limit of time for each."""

import asyncio
import contextlib
import os
import signal
from typing import Final

COMMAND_S: Final = 30.0
"""Setting up a namespace takes milliseconds; a loaded machine may take seconds."""


class CommandError(Exception):
    """A program ended with a status that is not 0, or did not end in time."""


async def run(*command: str, within_s: float = COMMAND_S) -> str:
    """Return what it printed. Raise CommandError when it fails or takes longer."""
    status, output = await attempt(*command, within_s=within_s)
    if status != 0:
        raise CommandError(f"{' '.join(command)[:300]}: status {status}: {output.strip()[-500:]}")
    return output


async def attempt(*command: str, within_s: float = COMMAND_S) -> tuple[int, str]:
    """Return exit status and output. A program that takes longer is killed: status 124."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(within_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return 124, f"not within {within_s:g} s"
    finally:
        # Also when this task is cancelled. What it started itself may hold the pipe open.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace")
