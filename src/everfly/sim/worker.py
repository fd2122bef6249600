"""How a process begins that runs worlds for another one.

It imports nothing of the core, so that it can still say from where that is imported.
"""

import signal
from pathlib import Path

from everfly.compiled import overlay


def begin(compiled: Path | None) -> None:
    """Run the same code as the process that people see, and leave Ctrl-C to that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if compiled is not None:
        overlay.enter(compiled)
