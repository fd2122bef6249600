"""Turn `spec.everfly.volumeRetention` into what becomes of disks that no pod uses any more.

volumeRetention:
  whenDeleted: Retain          or Delete: with the Dragonfly resource
  whenScaled: Retain           or Delete: with the pods that a smaller group no longer has
"""

from dataclasses import dataclass
from typing import Final

from everfly.operator.wishes.fields import Fields

CHOICES: Final = ("Retain", "Delete")


@dataclass(frozen=True)
class VolumeRetention:
    """Which disks go; none by default, as upstream."""

    goes_with_resource: bool = False
    goes_with_pod: bool = False


def read_retention(fields: Fields | None) -> VolumeRetention:
    """Return what the field says; problems are noted in it."""
    if fields is None:
        return VolumeRetention()
    return VolumeRetention(
        goes_with_resource=fields.one_of("whenDeleted", CHOICES) == "Delete",
        goes_with_pod=fields.one_of("whenScaled", CHOICES) == "Delete",
    )
