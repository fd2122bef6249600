"""Turn what keepers know into the text that Prometheus scrapes."""

from collections.abc import Callable, Iterable
from http import HTTPStatus

from everfly.core.diagnosis import Kind as Finding
from everfly.core.group_view import GroupView
from everfly.core.upkeep import is_stable
from everfly.operator.apiserver.caches import Key
from everfly.operator.apiserver.terms import LeaseLike
from everfly.operator.keeper import Keeper
from everfly.operator.status import phase_of
from everfly.runtime.http import Request, Response, text_response
from everfly.wire.exposition import CONTENT_TYPE, Family, Histogram, Kind

_STORE = ("namespace", "name")

IS_LEADER = Family("everfly_operator_leader", Kind.GAUGE, "1 while this operator may act.")
TERM = Family("everfly_operator_term", Kind.GAUGE, "Term of the lease that is held.")
PHASE = Family(
    "everfly_operator_store_phase",
    Kind.GAUGE,
    "1 for the phase of a data store.",
    (*_STORE, "phase"),
)
INSTANCES = Family("everfly_operator_instances", Kind.GAUGE, "Instances that exist.", _STORE)
STABLE = Family(
    "everfly_operator_instances_stable",
    Kind.GAUGE,
    "Instances that do all that their role asks.",
    _STORE,
)
FINDINGS = Family(
    "everfly_operator_findings", Kind.GAUGE, "What is wrong, by its name.", (*_STORE, "finding")
)
EPOCH = Family(
    "everfly_operator_epoch", Kind.GAUGE, "How often the primary was changed, ever.", _STORE
)
STEPS = Family(
    "everfly_operator_steps_total", Kind.COUNTER, "Steps that were carried out.", (*_STORE, "step")
)
FAILED = Family(
    "everfly_operator_failed_looks_total", Kind.COUNTER, "Looks that ended in an error.", _STORE
)
SPELL = Family(
    "everfly_operator_without_primary_seconds",
    Kind.HISTOGRAM,
    "How long data stores were without a primary in service.",
)
_LIMITS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """What there is to scrape."""

    def __init__(
        self,
        lease: LeaseLike,
        keepers: Callable[[], Iterable[tuple[Key, Keeper]]],
        more: Callable[[], str] = str,
    ) -> None:
        self._lease = lease
        self._more = more
        self._keepers = keepers
        self._spells = Histogram(_LIMITS)

    async def answer(self, request: Request) -> Response:
        """Answer a scrape."""
        if request.path != "/metrics":
            return text_response(HTTPStatus.NOT_FOUND, "metrics are at /metrics")
        return Response(HTTPStatus.OK, CONTENT_TYPE, (self.text() + self._more()).encode())

    def text(self) -> str:
        """Return all metrics."""
        keepers = list(self._keepers())
        parts = [
            IS_LEADER.head(),
            IS_LEADER.sample(int(self._lease.holds)),
            TERM.head(),
            TERM.sample(self._lease.term if self._lease.holds else 0),
        ]
        views = [(key, keeper.view) for key, keeper in keepers if keeper.view is not None]
        for family, measure in (
            (INSTANCES, lambda view: len(view.members)),
            (STABLE, _stable),
            (EPOCH, lambda view: view.record.epoch),
        ):
            parts.append(family.head())
            parts += [family.sample(measure(view), *key) for key, view in views]
        parts.append(PHASE.head())
        parts += [PHASE.sample(1, *key, phase_of(view)) for key, view in views]
        parts.append(FINDINGS.head())
        for key, keeper in keepers:
            found = keeper.decision.findings if keeper.decision is not None else ()
            if keeper.view is not None and keeper.view.intent.is_hibernated:
                found = ()  # what sleeps because it was told to lacks nothing
            for kind in sorted({each.kind.value for each in found} - {Finding.HEALTHY.value}):
                count = sum(each.kind.value == kind for each in found)
                parts.append(FINDINGS.sample(count, *key, kind))
        parts += self._counts(keepers)
        return "".join(parts)

    def _counts(self, keepers: list[tuple[Key, Keeper]]) -> list[str]:
        parts = [STEPS.head()]
        for key, keeper in keepers:
            parts += [
                STEPS.sample(count, *key, step)
                for step, count in sorted(keeper.tally.steps.items())
            ]
        parts.append(FAILED.head())
        parts += [FAILED.sample(keeper.tally.failed_looks, *key) for key, keeper in keepers]
        for _, keeper in keepers:
            for spell in keeper.tally.spells_s:
                self._spells.add(spell)
            keeper.tally.spells_s.clear()
        parts += [SPELL.head(), SPELL.buckets(self._spells)]
        return parts


def _stable(view: GroupView) -> int:
    return sum(is_stable(view, each) for each in view.members)
