"""Wait until the endpoints of a data store hold commands, before its primary hands over.

An endpoint learns from the Sentinel front that nobody is the primary, some milliseconds after the
label went. A command that it sends in between may be cut off with the old primary, and nobody could
say whether it was executed. Rules: the wait has a limit, because an endpoint that hangs must not
keep the primary; what cannot be asked is not waited for.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Final

import httpx2

from everfly.errors import EverflyError
from everfly.operator.apiserver.api import POD, Api
from everfly.operator.apiserver.sight import StoreSight
from everfly.operator.manifest import part, text
from everfly.operator.resources.endpoint import PROBES_PORT, endpoint_labels
from everfly.operator.resources.owner import Owner

log = logging.getLogger(__name__)

HOLD_S: Final = 1.0
"""An endpoint holds after about ten milliseconds; a busy machine takes a few hundred."""
ASK_S: Final = 0.3
AGAIN_S: Final = 0.01


def has_endpoint(store: StoreSight) -> bool:
    """Tell whether an endpoint is wanted in front of a data store."""
    return part(store.spec, "everfly", "endpoint").get("enabled") is True


async def until_held(api: Api, store: StoreSight) -> None:
    """Return when all endpoints hold, or after a second."""
    try:
        async with asyncio.timeout(HOLD_S):
            places = await _places(api, store)
            async with httpx2.AsyncClient(timeout=ASK_S, trust_env=False) as client:
                await asyncio.gather(*(_until_holding(client, each) for each in places))
    except TimeoutError:
        log.warning(
            "%s/%s: an endpoint does not hold within %.0f s; the hand-over goes on",
            store.namespace, store.name, HOLD_S,
        )  # fmt: skip
    except EverflyError as error:
        log.warning("%s/%s: its endpoints: %s", store.namespace, store.name, error)


async def _places(api: Api, store: StoreSight) -> list[str]:
    owner = Owner(store.name, store.namespace, store.uid)
    labels = {key: str(value) for key, value in endpoint_labels(owner).items()}
    pods, _ = await api.list(POD, store.namespace, labels)
    return [ip for each in pods if (ip := text(each, "status", "podIP"))]


async def _until_holding(client: httpx2.AsyncClient, ip: str) -> None:
    host = f"[{ip}]" if ":" in ip else ip
    while True:
        try:
            answer = await client.get(f"http://{host}:{PROBES_PORT}/readyz")
        except httpx2.HTTPError:
            return  # it is starting, or ending, or somebody is between us: it cannot be asked
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return
        await asyncio.sleep(AGAIN_S)
