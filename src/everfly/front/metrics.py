"""Turn what a front knows into the text that Prometheus scrapes."""

from http import HTTPStatus
from typing import Final

from everfly.front.brain import FrontBrain
from everfly.runtime.http import Response
from everfly.runtime.listener import Listener
from everfly.wire.exposition import CONTENT_TYPE, Family, Kind

GROUPS: Final = Family("everfly_front_groups", Kind.GAUGE, "Groups that clients may ask for.")
UNSERVED: Final = Family(
    "everfly_front_groups_without_primary", Kind.GAUGE, "Groups without a primary in service."
)
LOST: Final = Family(
    "everfly_front_watch_lost_seconds",
    Kind.GAUGE,
    "How long the API server is not heard any more; 0: it is.",
)
CLIENTS: Final = Family("everfly_front_clients", Kind.GAUGE, "Clients that are connected.")
COMMANDS: Final = Family("everfly_front_commands_total", Kind.COUNTER, "Commands carried out.")
ERRORS: Final = Family(
    "everfly_front_error_replies_total", Kind.COUNTER, "Answers that are errors."
)
REJECTED: Final = Family(
    "everfly_front_rejected_connections_total", Kind.COUNTER, "Clients beyond the limit."
)
FAMILIES: Final = (GROUPS, UNSERVED, LOST, CLIENTS, COMMANDS, ERRORS, REJECTED)


class FrontMetrics:
    """What there is to scrape."""

    def __init__(self, brain: FrontBrain, listener: Listener) -> None:
        self._brain = brain
        self._listener = listener

    def response(self) -> Response:
        """Return the answer to a scrape."""
        traffic = self._listener.traffic
        numbers = (
            len(self._brain.group_names()),
            self._brain.unserved,
            self._brain.lost_for_s,
            len(self._listener.clients),
            traffic.commands,
            traffic.errors,
            traffic.rejected,
        )
        parts = [
            family.head() + family.sample(number)
            for family, number in zip(FAMILIES, numbers, strict=True)
        ]
        return Response(HTTPStatus.OK, CONTENT_TYPE, "".join(parts).encode())
