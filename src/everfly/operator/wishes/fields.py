"""Read typed values out of the JSON of a resource, and collect what is wrong with it.

Each reader returns a value of its type whatever it finds; what does not fit is noted with the path
of the field, so that a person sees all problems of a resource at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from everfly.operator.manifest import Json, JsonObject

T = TypeVar("T")

PORT_MAX: Final = 65_535


@dataclass
class Problems:
    """What is wrong with a resource, in the order in which it was found."""

    found: list[str] = field(default_factory=list)

    def add(self, path: str, what: str) -> None:
        """Note a problem of the field at a path."""
        self.found.append(f"{path}: {what}")


@dataclass(frozen=True)
class Fields:
    """A mapping at a path, and where to note what is wrong with it."""

    value: JsonObject
    path: str
    problems: Problems

    def _of(self, name: str, kind: type[T] | tuple[type, ...], word: str, default: T) -> T:
        found = self.value.get(name)
        if found is None:
            return default
        # A truth is a number to Python, and none to Kubernetes.
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            self.problems.add(f"{self.path}.{name}", f"must be {word}, is {found!r}")
            return default
        return found  # type: ignore[return-value]  # one of the kinds, as just seen

    def has(self, name: str) -> bool:
        """Tell whether the field is there."""
        return self.value.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        return self._of(name, str, "a text", default)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a truth."""
        return self._of(name, bool, "true or false", default)

    def integer(self, name: str, default: int = 0, *, least: int = 0, most: int = 2**31 - 1) -> int:
        """Return a whole number within bounds, both of them allowed."""
        found = self._of(name, int, "a whole number", default)
        if not least <= found <= most:
            self.problems.add(f"{self.path}.{name}", f"must be {least}..{most}, is {found}")
            return default
        return found

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of some words; the first where nothing is said."""
        found = self.text(name) or choices[0]
        if found not in choices:
            words = " or ".join(choices)
            self.problems.add(f"{self.path}.{name}", f"must be {words}, is {found!r}")
            return choices[0]
        return found

    def number_or_percentage(self, name: str) -> int | str | None:
        """Return what Kubernetes calls IntOrString."""
        found: Json = self.value.get(name)
        if found is None or (isinstance(found, int | str) and not isinstance(found, bool)):
            return found
        self.problems.add(f"{self.path}.{name}", f"must be a number or a percentage: {found!r}")
        return None

    def part(self, name: str) -> "Fields | None":
        """Return the mapping of that name, or None when it is not there."""
        found = self.object(name)
        return None if found is None else Fields(found, f"{self.path}.{name}", self.problems)

    def object(self, name: str) -> JsonObject | None:
        """Return a mapping as it is: a type of Kubernetes that goes into a manifest unread."""
        found: Json = self.value.get(name)
        if found is None or isinstance(found, Mapping):
            return found
        self.problems.add(f"{self.path}.{name}", f"must be an object, is {found!r}")
        return None

    def list_of(self, name: str, is_fit: Callable[[Json], bool], word: str) -> Sequence[Json]:
        """Return the fit items of a list."""
        found: Json = self.value.get(name)
        if found is None:
            return ()
        if isinstance(found, str) or not isinstance(found, Sequence):
            self.problems.add(f"{self.path}.{name}", f"must be a list of {word}, is {found!r}")
            return ()
        for index, each in enumerate(found):
            if not is_fit(each):
                self.problems.add(f"{self.path}.{name}[{index}]", f"must be {word}, is {each!r}")
        return tuple(each for each in found if is_fit(each))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        found = self.list_of(name, lambda each: isinstance(each, str), "a text")
        return tuple(each for each in found if isinstance(each, str))

    def objects(self, name: str) -> tuple[JsonObject, ...]:
        """Return a list of mappings, as they are."""
        found = self.list_of(name, lambda each: isinstance(each, Mapping), "an object")
        return tuple(each for each in found if isinstance(each, Mapping))

    def named(self, name: str) -> tuple[JsonObject, ...]:
        """Return a list of objects that have a name each, as containers and volumes do."""
        found = self.objects(name)
        for index, each in enumerate(found):
            if not isinstance(each.get("name"), str) or not each.get("name"):
                self.problems.add(f"{self.path}.{name}[{index}].name", "is required")
        return tuple(each for each in found if isinstance(each.get("name"), str))

    def strings(self, name: str) -> Mapping[str, str]:
        """Return a mapping of texts to texts, as labels and annotations are."""
        found = self.object(name) or {}
        for key, each in found.items():
            if not isinstance(each, str):
                self.problems.add(f"{self.path}.{name}[{key!r}]", f"must be a text, is {each!r}")
        return {key: each for key, each in found.items() if isinstance(each, str)}
