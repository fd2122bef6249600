"""Let a Service lead to all that serve, and say where pods cannot be given names.

A pod that has a role carries a label for that Service, because a selector cannot ask for any role;
the label goes in the same request as the role. Rules: nothing is written where the Service is not
wanted, nor while every pod is labelled as it should be.
"""

from typing import Final

from everfly.operator import names
from everfly.operator.apiserver.api import POD, Patch
from everfly.operator.apiserver.events import WARNING
from everfly.operator.apiserver.sight import PodSight, StoreSight
from everfly.operator.chores.chore import Report, Work
from everfly.operator.deeds import Tools
from everfly.operator.resources.owner import Owner
from everfly.operator.resources.services import pods_service_name

UNNAMED: Final = (
    "services.headless: pods keep having no names of their own, because serviceName of a "
    "StatefulSet cannot be changed; delete it with `kubectl delete statefulset {name} "
    "--cascade=orphan`, then it is made again, and each pod has its name from its next start on"
)


class ServiceLabels:
    """Labels pods, and remembers what it has told."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._told = ""

    async def tend(self, work: Work) -> Report:
        """Label those that serve. Raise Refused, Unavailable."""
        wanted, store = work.spec.extras.services, work.scene.store
        if wanted.leads_to_all:
            for name in work.scene.pods:
                pod = self._tools.inventory.pods.get((store.namespace, name))
                if pod is not None and pod.serves != bool(pod.role):
                    await self._label(store, pod)
        if wanted.names_pods:
            self._tell_unnamed(store)
        return Report()

    async def _label(self, store: StoreSight, pod: PodSight) -> None:
        value = names.SERVES if pod.role else None
        change = {"metadata": {"uid": pod.uid, "labels": {names.LABEL_SERVES: value}}}
        item = await self._tools.api.patch(POD, pod.name, store.namespace, change, Patch.MERGE)
        self._tools.inventory.pods.put(item)

    def _tell_unnamed(self, store: StoreSight) -> None:
        found = self._tools.inventory.sets.get((store.namespace, store.name))
        if found is None or self._told == found.uid:
            return
        owner = Owner(store.name, store.namespace, store.uid)
        if found.fixed.get("serviceName") != pods_service_name(owner):
            message = UNNAMED.format(name=store.name)
            self._tools.events.tell(store, WARNING, "ImmutableField", message)
        self._told = found.uid
