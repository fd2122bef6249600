"""Say where clients find the endpoint of a data store, and what is missing to it.

There is nothing else to do: its objects are written with all the others (`resources/endpoint.py`).
"""

from everfly.operator.chores.chore import Report, Work
from everfly.operator.resources import Around
from everfly.operator.resources.endpoint import endpoint_address, endpoint_problems
from everfly.operator.resources.owner import Owner


class EndpointAddress:
    """Keeps `status.endpoint`."""

    def __init__(self, around: Around) -> None:
        self._around = around

    async def tend(self, work: Work) -> Report:
        """Report the address, or that there is none."""
        if work.spec.extras.endpoint is None:
            return Report(fields={"endpoint": None})
        store = work.scene.store
        address = endpoint_address(Owner(store.name, store.namespace, store.uid))
        around = self._around
        problems = endpoint_problems(work.spec, around.endpoint_image, around.sentinels)
        return Report(problems, fields={"endpoint": address})
