"""The newest copy of each object wins, whoever brought it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from lightkube import KubeConfig
from lightkube.config.models import Cluster, User

from everfly.operator.apiserver.api import POD, Api
from everfly.operator.apiserver.caches import Cache, Key, Selection

KEY: Key = ("n", "p")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An API server that is never asked."""
    nowhere = Cluster(server="http://127.0.0.1:9")
    api = Api(KubeConfig.from_one(cluster=nowhere, user=User(token="nobody")))
    yield api
    await api.close()


def item(version: int | str, uid: str = "u", value: int = 0) -> dict[str, Any]:
    metadata = {"namespace": "n", "name": "p", "uid": uid, "resourceVersion": str(version)}
    return {"metadata": metadata, "value": value}


class Noted:
    def __init__(self, api: Api) -> None:
        self.seen: list[tuple[Key, int]] = []
        self.cache: Cache[int] = Cache(
            api, Selection(POD, ()), lambda each: int(each["value"]), self._note
        )

    def _note(self, key: Key, value: int) -> None:
        self.seen.append((key, value))


def test_an_older_word_does_not_undo_what_we_wrote(api: Api) -> None:
    noted = Noted(api)
    noted.cache.put(item(5, value=1))
    noted.cache.put(item(4, value=2))
    assert noted.cache.get(KEY) == 1
    noted.cache.put(item(6, value=3))
    assert noted.cache.get(KEY) == 3
    assert noted.seen == [(KEY, 1), (KEY, 3)]


def test_a_change_that_does_not_count_wakes_nobody(api: Api) -> None:
    noted = Noted(api)
    noted.cache.put(item(5, value=1))
    noted.cache.put(item(6, value=1))
    assert noted.seen == [(KEY, 1)]


def test_an_object_made_anew_counts_whatever_its_version(api: Api) -> None:
    noted = Noted(api)
    noted.cache.put(item(9, "old", value=1))
    noted.cache.put(item(3, "new", value=2))
    assert noted.cache.get(KEY) == 2


def test_what_is_gone_is_told_once(api: Api) -> None:
    noted = Noted(api)
    noted.cache.put(item(9, value=1))
    noted.cache.forget(KEY)
    noted.cache.forget(KEY)
    assert noted.cache.get(KEY) is None
    assert noted.seen == [(KEY, 1), (KEY, 1)]


def test_nothing_is_synced_before_it_was_listed(api: Api) -> None:
    noted = Noted(api)
    assert not noted.cache.is_synced
