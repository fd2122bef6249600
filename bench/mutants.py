"""Turn the table of deliberate mistakes, `mutants.txt`, into changes of the core as it is imported.

A simulator that finds nothing proves something only if it would have found something. Each mutant
breaks one promise of the core; `bench/mutations.py` shows which seed and which rule catch it.

Rules: a change is a text that must occur exactly once in its module, and what takes its place;
where the source has moved on it is a MutantError that names mutant and module, never a mutant that
changes nothing; a mutated core is never cached, and lives in a process of its own.
"""

import importlib.abc
import importlib.machinery
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final

TABLE: Final = Path(__file__).parent / "mutants.txt"
CORE: Final = Path(__file__).parent.parent / "src" / "everfly" / "core"
_HEAD: Final = re.compile(r"([a-z0-9-]+): (.+)")


class MutantError(Exception):
    """The source does not match a mutant any more."""


@dataclass(frozen=True, slots=True)
class Change:
    """One replacement in one module of the core."""

    module: str
    """`election`: everfly.core.election."""
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One deliberate mistake."""

    name: str
    breaks: str
    """The promise that it breaks, in words."""
    changes: tuple[Change, ...]


def read_mutants(path: Path = TABLE) -> tuple[Mutant, ...]:
    """Read the table. Raises MutantError that names the line."""
    found: list[Mutant] = []
    name, breaks, changes = "", "", list[_Lines]()
    for number, line in enumerate([*path.read_text().splitlines(), "end: end"], 1):
        head = _HEAD.fullmatch(line)
        if head is not None:
            if name:
                found.append(Mutant(name, breaks, tuple(one.change() for one in changes)))
            name, breaks, changes = head[1], head[2], []
        elif line.startswith("@ "):
            changes.append(_Lines(line[2:]))
        elif line[:1] in {" ", "-", "+"} and changes:
            changes[-1].add(line)
        elif line and not line.startswith("#"):
            raise MutantError(f"{path.name}, line {number}: it is no part of a mutant: {line!r}")
    return tuple(found)


@dataclass(slots=True)
class _Lines:
    """The lines of one change, as they are read."""

    module: str
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        sign, text = line[0], line[1:]
        if sign in " -":
            self.old.append(text)
        if sign in " +":
            self.new.append(text)

    def change(self) -> Change:
        return Change(self.module, _text(self.old), _text(self.new))


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


class _MutatingLoader(importlib.machinery.SourceFileLoader):
    """Loads a module with changes, and never from a cache."""

    def __init__(self, name: str, path: str, change: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = change

    def get_code(self, fullname: str) -> object:  # type: ignore[override]  # it is a code object
        """Return the code of the changed source."""
        path = self.get_filename(fullname)
        text = changed_source(self._mutant, fullname.rpartition(".")[2], Path(path).read_text())
        return compile(text, path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the core that a mutant changes."""

    def __init__(self, change: Mutant) -> None:
        self._mutant = change
        self._modules = {f"everfly.core.{one.module}" for one in change.changes}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a changed module; None: as ever."""
        if fullname not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            raise MutantError(f"{self._mutant.name}: there is no module {fullname}")
        spec.loader = _MutatingLoader(fullname, spec.origin, self._mutant)
        return spec


def changed_source(change: Mutant, module: str, text: str) -> str:
    """Return the source of a module with the changes of a mutant. Raises MutantError."""
    for one in change.changes:
        if one.module != module:
            continue
        count = text.count(one.old)
        if count != 1:
            raise MutantError(
                f"mutant {change.name}: core/{module}.py has its text {count} times, not once; "
                f"the source has moved on: bring the mutant up to date. Its text:\n{one.old}"
            )
        text = text.replace(one.old, one.new)
    return text


def install(change: Mutant) -> None:
    """Have the core imported with these changes. Call before anything of it is imported."""
    loaded = [name for name in sys.modules if name.startswith("everfly.core")]
    if loaded:
        raise MutantError(f"{loaded[0]} is imported already: a mutant would change nothing")
    sys.meta_path.insert(0, _Finder(change))
