"""Name the shapes of Kubernetes objects as plain data, and read parts of them with care.

An object is what its JSON is: mappings, sequences, texts, numbers, truths, nothing. Nobody changes
one; whoever wants another builds another.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]


def part(value: JsonObject, *path: str) -> JsonObject:
    """Return the mapping at a path, empty where there is none."""
    for key in path:
        found = value.get(key)
        if not isinstance(found, Mapping):
            return {}
        value = found
    return value


def text(value: JsonObject, *path: str) -> str:
    """Return the text at a path, empty where there is none."""
    found = part(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else ""


def objects(value: JsonObject, *path: str) -> list[JsonObject]:
    """Return the mappings of the list at a path."""
    found = part(value, *path[:-1]).get(path[-1])
    if isinstance(found, str) or not isinstance(found, Sequence):
        return []
    return [each for each in found if isinstance(each, Mapping)]


def without_empty(value: JsonObject) -> dict[str, Json]:
    """Return the object without keys that are None, or an empty text, list or mapping.

    An absent field and an empty one are the same to the API server; absent ones claim no ownership.
    """
    return {
        key: each
        for key, each in value.items()
        if each is not None and not (isinstance(each, str | Sequence | Mapping) and not each)
    }
