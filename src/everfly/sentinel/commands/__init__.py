"""The commands of a Sentinel's port: words in, answers out.

`make_sentinel_commands` makes them of the home's `Parts`, for one listener.
"""

from everfly.sentinel.commands.desk import Parts
from everfly.sentinel.commands.table import make_sentinel_commands

__all__ = ["Parts", "make_sentinel_commands"]
