"""Turn the fields that say where snapshots are into frozen values, and those into paths.

Rules: a place is one of a volume claim and a bucket; a path never holds what Dragonfly would take
for a pattern.
"""

import re
from dataclasses import dataclass
from typing import Final

from everfly.operator.manifest import JsonObject, part, text, without_empty
from everfly.operator.wishes.fields import Fields

MOUNT: Final = "/backup"
"""Where a ferry sees the volume."""
SUMMARY: Final = "summary"
"""Dragonfly replaces this word wherever it stands in a path to find the other files of a snapshot.
Source: `FileSnapshotStorage::LoadPaths`, dragonfly/src/server/detail/snapshot_storage.cc (1.40)."""

_URI: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_.=-]+)*/?")
_ENDPOINT: Final = re.compile(r"(http://)?[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")
_DIRECTORY: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_BASENAME: Final = re.compile(r"[A-Za-z0-9_:-]{1,200}")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Volume:
    """A volume claim of the namespace."""

    claim: str
    directory: str = ""
    """Below the root of the volume; empty: the root itself."""


@dataclass(frozen=True)
class Bucket:
    """A place in a cloud's object store."""

    uri: str
    """`s3://BUCKET/PREFIX`, without a slash at its end."""
    secret: str = ""
    """Its keys become environment: AWS_ACCESS_KEY_ID and the like. Empty: the pod's own identity.
    """
    endpoint: str = ""
    """HOST:PORT of a store that is not Amazon's, with `http://` before it where it has no TLS."""


Place = Volume | Bucket


@dataclass(frozen=True)
class Snapshot:
    """One snapshot somewhere."""

    place: Place
    basename: str


@dataclass(frozen=True)
class RestoreWish:
    """With which data a data store is to begin: a backup of its namespace, or a snapshot."""

    backup: str = ""
    snapshot: Snapshot | None = None


def folder_of(place: Place) -> str:
    """Return `--dir` of a ferry."""
    if isinstance(place, Bucket):
        return place.uri
    return f"{MOUNT}/{place.directory}" if place.directory else MOUNT


def path_of(snapshot: Snapshot) -> str:
    """Return the file by which a ferry finds a snapshot."""
    return f"{folder_of(snapshot.place)}/{snapshot.basename}-{SUMMARY}.dfs"


def told(snapshot: Snapshot) -> str:
    """Return where a snapshot is, for people."""
    place = snapshot.place
    if isinstance(place, Bucket):
        return f"{place.uri}/{snapshot.basename}"
    path = f"{place.directory}/{snapshot.basename}" if place.directory else snapshot.basename
    return f"{place.claim}:{path}"


def place_fields(place: Place) -> dict[str, JsonObject]:
    """Return the field by which a place is named."""
    if isinstance(place, Bucket):
        bucket = {"uri": place.uri, "secretName": place.secret, "endpoint": place.endpoint}
        return {"s3": without_empty(bucket)}
    volume = {"claimName": place.claim, "directory": place.directory}
    return {"volume": without_empty(volume)}


def place_in(value: JsonObject) -> Place | None:
    """Return the place that a status names, or None."""
    bucket, volume = part(value, "s3"), part(value, "volume")
    if uri := text(bucket, "uri"):
        return Bucket(uri, text(bucket, "secretName"), text(bucket, "endpoint"))
    if claim := text(volume, "claimName"):
        return Volume(claim, text(volume, "directory"))
    return None


def read_place(fields: Fields) -> Place:
    """Return the one place that the fields `volume` and `s3` name; problems are noted."""
    volume, bucket = fields.part("volume"), fields.part("s3")
    if (volume is None) is (bucket is None):
        fields.problems.add(fields.path, "needs one of volume and s3")
        return Volume("")
    return _volume(volume) if volume is not None else _bucket(bucket or fields)


def _volume(fields: Fields) -> Volume:
    claim, directory = fields.text("claimName"), fields.text("directory").strip("/")
    if not _NAME.fullmatch(claim):
        fields.problems.add(f"{fields.path}.claimName", f"must name a claim, is {claim!r}")
    is_plain = not directory or (
        _DIRECTORY.fullmatch(directory) is not None and not {".", ".."} & set(directory.split("/"))
    )
    if not is_plain or SUMMARY in directory:
        problem = f"must be a plain path without `{SUMMARY}` in it, is {directory!r}"
        fields.problems.add(f"{fields.path}.directory", problem)
    return Volume(claim, directory)


def _bucket(fields: Fields) -> Bucket:
    uri = fields.text("uri").rstrip("/")
    if not _URI.fullmatch(uri) or SUMMARY in uri:
        problem = f"must be s3://BUCKET/PREFIX without `{SUMMARY}` in it, is {uri!r}"
        fields.problems.add(f"{fields.path}.uri", problem)
    endpoint = fields.text("endpoint").removeprefix("https://")
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        problem = f"must be HOST:PORT or http://HOST:PORT, is {endpoint!r}"
        fields.problems.add(f"{fields.path}.endpoint", problem)
    return Bucket(uri, fields.text("secretName"), endpoint)


def read_restore(fields: Fields) -> RestoreWish:
    """Return what `restoreFrom` names; problems are noted."""
    named = [each for each in ("backup", "volume", "s3") if fields.has(each)]
    if len(named) != 1:
        fields.problems.add(fields.path, "needs one of backup, volume and s3")
        return RestoreWish()
    if named == ["backup"]:
        backup = fields.text("backup")
        if not _NAME.fullmatch(backup):
            fields.problems.add(f"{fields.path}.backup", f"must name a backup, is {backup!r}")
        return RestoreWish(backup)
    part_of = fields.part(named[0])
    basename = part_of.text("basename") if part_of is not None else ""
    if not _BASENAME.fullmatch(basename) or SUMMARY in basename:
        problem = f"must be a name without `-{SUMMARY}.dfs`, is {basename!r}"
        fields.problems.add(f"{fields.path}.{named[0]}.basename", problem)
    return RestoreWish(snapshot=Snapshot(read_place(fields), basename))
