"""Turn volume claims into what counts of them, and wanted claim templates into what is to happen.

A claim of a StatefulSet is called TEMPLATE-SET-NUMBER. Rules: disks grow, and a kind of disk can be
added; what would lose data or cannot be done (smaller, another class, away) is refused, with the
reason, and the rest is done all the same. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from everfly.operator import names
from everfly.operator.apiserver.api import Object
from everfly.operator.manifest import Json, JsonObject, objects, part, text
from everfly.operator.wishes.quantity import bytes_of

HISTORY: Final = "everfly.dev/history"
"""On a claim: whose data it held when its pod was last seen in order."""
_CONDITIONS: Final = ("Resizing", "FileSystemResizePending", "ControllerResizeError")
_NUMBER: Final = re.compile(r"-(\d{1,9})$")


@dataclass(frozen=True, slots=True)
class ClaimSight:
    """What counts of a volume claim."""

    name: str
    uid: str
    app: str
    storage_class: str
    asked: int
    """Bytes."""
    given: int
    """Bytes; 0: it is bound to no volume yet."""
    troubles: tuple[str, ...]
    """What is said about a change of its size under way."""
    is_terminating: bool
    owners: tuple[str, ...]
    """The uids of those with whom it goes."""
    history: str


def claim_sight(item: Object) -> ClaimSight:
    """Return what counts of a volume claim."""
    metadata, spec, status = item["metadata"], part(item, "spec"), part(item, "status")
    return ClaimSight(
        name=metadata["name"],
        uid=metadata["uid"],
        app=(metadata.get("labels") or {}).get(names.LABEL_APP, ""),
        storage_class=text(spec, "storageClassName"),
        asked=storage_of(spec),
        given=bytes_of(part(status, "capacity").get("storage")) or 0,
        troubles=tuple(
            f"{text(each, 'type')} {text(each, 'message')}".strip()
            for each in objects(status, "conditions")
            if text(each, "type") in _CONDITIONS and text(each, "status") == "True"
        ),
        is_terminating="deletionTimestamp" in metadata,
        owners=tuple(each["uid"] for each in metadata.get("ownerReferences") or ()),
        history=(metadata.get("annotations") or {}).get(HISTORY, ""),
    )


def storage_of(spec: JsonObject) -> int:
    """Return how many bytes the spec of a claim asks for; 0 where it does not say."""
    return bytes_of(part(spec, "resources", "requests").get("storage")) or 0


def claim_name(template: str, pod: str) -> str:
    """Return the name of the claim of a pod."""
    return f"{template}-{pod}"


def number_of(claim: str, template: str, store: str) -> int | None:
    """Return the number of the pod whose claim it is, or None where it is none of the store's."""
    prefix = f"{template}-{store}"
    found = _NUMBER.fullmatch(claim.removeprefix(prefix)) if claim.startswith(prefix) else None
    return None if found is None else int(found[1])


@dataclass
class ClaimChange:
    """What becomes of the claim templates of a StatefulSet."""

    templates: list[JsonObject] = field(default_factory=list)
    """What they can become."""
    grown: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """What cannot be done, and why."""

    @property
    def is_any(self) -> bool:
        """Whether there is something to do."""
        return bool(self.grown or self.added)


def change_of(wanted: list[JsonObject], existing: list[JsonObject]) -> ClaimChange:
    """Return how to come from the templates that exist, with defaults filled in, to the wanted."""
    change = ClaimChange()
    new = {_name(each): each for each in wanted}
    for template in existing:
        name = _name(template)
        asked = new.pop(name, None)
        if asked is None:
            change.refused.append(f"{name} cannot be taken away")
            change.templates.append(template)
        else:
            change.templates.append(_grown(change, name, template, asked))
    change.added += list(new)
    change.templates += list(new.values())
    return change


def _name(template: JsonObject) -> str:
    return text(template, "metadata", "name")


def _grown(change: ClaimChange, name: str, template: JsonObject, wanted: JsonObject) -> JsonObject:
    before, after = part(template, "spec"), part(wanted, "spec")
    size, grown = storage_of(before), storage_of(after)
    if wrong := [key for key in _without_size(after) if not _is_same(key, after, before)]:
        change.refused.append(f"{name}: {', '.join(wrong)} cannot be changed")
        return template
    if grown < size:
        change.refused.append(
            f"{name}: {grown} bytes are less than {size}, and disks do not shrink"
        )
        return template
    if grown == size:
        return template
    change.grown.append(name)
    requests = {**part(before, "resources", "requests"),
                "storage": part(after, "resources", "requests")["storage"]}  # fmt: skip
    resources = {**part(before, "resources"), "requests": requests}
    return {**template, "spec": {**before, "resources": resources}}


def _without_size(spec: JsonObject) -> Mapping[str, Json]:
    return {key: value for key, value in spec.items() if key != "resources"}


def _is_same(key: str, wanted: JsonObject, found: JsonObject) -> bool:
    return _is_within(wanted[key], found.get(key))


def _is_within(wanted: Json, found: Json) -> bool:
    """Tell whether all that is wanted is found; the API server fills in the rest."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _is_within(value, found.get(key)) for key, value in wanted.items()
        )
    return wanted == found


def are_grown(
    change: ClaimChange, claims: list[ClaimSight], store: str, numbers: frozenset[int]
) -> bool:
    """Tell whether the disks of all pods that exist have their new size."""
    sizes = {_name(each): storage_of(part(each, "spec")) for each in change.templates}
    return all(
        claim.given >= sizes[template]
        for template in change.grown
        for claim in claims
        if number_of(claim.name, template, store) in numbers
    )
