"""Say what a chore is: it looks at a data store, does what is due, and reports to people.

Rules: `tend` is called about once in two seconds with the newest work, and at once when something
changed; it returns within seconds (long work is begun in one call and looked after in later ones);
it does nothing when nothing is due, without asking anybody; it may raise EverflyError, which is
logged and repeated; what it must remember over a restart of the operator is in the cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from everfly.core.plan import Decision
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.deeds import Scene
from everfly.operator.manifest import Json, objects, text
from everfly.operator.wishes.spec import Spec


@dataclass(frozen=True, slots=True)
class Work:
    """What a chore looks at."""

    scene: Scene
    spec: Spec
    decision: Decision


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition for the status: there from the first report on, true or not."""

    kind: str
    is_true: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What people should know. Nothing in it may change while nothing happens."""

    problems: tuple[str, ...] = ()
    """What is wrong with the spec or in the way, for the condition `Valid`."""
    conditions: tuple[Condition, ...] = ()
    fields: Mapping[str, Json] = field(default_factory=dict)
    """Fields of the status, by name. Each has one chore that writes it."""
    settled: Mapping[str, bool] = field(default_factory=dict)
    """Incarnation -> whether it counts as of the newest revision, where a chore judges that."""


def has_condition(store: StoreSight, kind: str) -> bool:
    """Tell whether the status has a condition: it stays as it was until something else is said."""
    return any(text(each, "type") == kind for each in objects(store.status, "conditions"))


class Chore(Protocol):
    """One thing to see to, of one data store."""

    async def tend(self, work: Work) -> Report:
        """Do what is due. Raise EverflyError; it is then called again."""
        ...
