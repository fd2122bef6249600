"""Turn files that somebody replaces, such as mounted secrets, into a word that they changed.

What was seen is identity, size and time of what the paths lead to: a platform swaps a link, and
others write a new file in place of the old one. A file that is gone for a moment is no change.
"""

from collections.abc import Sequence
from pathlib import Path

Seen = tuple[int, int, int]


class FreshFiles:
    """Some files, as they were when they were last looked at."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Look at them for the first time. Blocks for as long as the disk takes."""
        self._paths = tuple(map(Path, paths))
        self._seen = {path: _look(path) for path in self._paths}

    def have_changed(self) -> bool:
        """Tell whether one changed since the last look. Blocks for as long as the disk takes."""
        is_changed = False
        for path in self._paths:
            now = _look(path)
            if now is not None and now != self._seen[path]:
                self._seen[path] = now
                is_changed = True
        return is_changed


def _look(path: Path) -> Seen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
