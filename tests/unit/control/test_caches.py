"""`/cache` on the admin address: what is held, and having it forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from protogw.control.admin import Admin
from protogw.control.caches import CacheViews
from protogw.stores.base import StoreError
from protogw.stores.entries import Wanted
from tests.support.caching import Kept, call
from tests.unit.control.test_admin import get


class Down:
    def describe(self) -> dict[str, object]:
        return {"store": "shared"}

    async def purge(self, wanted: Wanted) -> int:
        raise StoreError("no answer within 0.25 s")


@pytest.fixture
async def kept() -> Kept:
    made = Kept(ttl="1m")
    await made.ask(call())
    return made


@pytest.fixture
async def admin(kept: Kept) -> AsyncIterator[Admin]:
    views = CacheViews({"kept": kept.policy, "other": Kept().policy})
    made = Admin("127.0.0.1", 0, lambda: {"ready": True}, {}, more=[views])
    await made.start()
    yield made
    await made.stop()


async def test_what_is_held_is_told(admin: Admin) -> None:
    assert "/cache" in (await get(admin, "/"))[1]["paths"]
    status, said = await get(admin, "/cache")
    assert (status, said["kept"]["entries"], said["other"]["entries"]) == (200, 1, 0)


async def test_all_is_forgotten_or_what_is_meant(admin: Admin, kept: Kept) -> None:
    assert await get(admin, "/cache/purge?policy=other", method="POST") == (200, {"purged": {"other": 0}})
    assert (await get(admin, "/cache/purge?tag=x", method="POST"))[1] == {"purged": {"kept": 0, "other": 0}}
    found = await get(admin, "/cache/purge?policy=kept&name=kit.v1.Echo/*", method="POST")
    assert found == (200, {"purged": {"kept": 1}})
    assert await kept.texts([call()]) == ["2"]
    assert (await get(admin, "/cache/purge", method="POST"))[1] == {"purged": {"kept": 1, "other": 0}}


async def test_what_nobody_has_is_an_error(admin: Admin) -> None:
    assert (await get(admin, "/cache/purge?policy=x", method="POST"))[0] == 404
    assert (await get(admin, "/cache/purge?nam=x", method="POST"))[0] == 400
    assert (await get(admin, "/cache/purge"))[0] == 405
    assert (await get(admin, "/cache", method="POST"))[0] == 405


async def test_pages_of_other_sites_purge_nothing(admin: Admin, kept: Kept) -> None:
    for fields in ({"Origin": "https://evil.test"}, {"Sec_Fetch_Site": "cross-site"}, {"Host": "evil.test"}):
        assert (await get(admin, "/cache/purge", method="POST", **fields))[0] in (403, 421)
    assert await kept.texts([call()]) == ["1"]


async def test_a_store_that_is_down_is_said() -> None:
    admin = Admin("127.0.0.1", 0, lambda: {"ready": True}, {}, more=[CacheViews({"far": Down()})])
    await admin.start()
    found = await get(admin, "/cache/purge", method="POST")
    assert found == (503, {"purged": {}, "failed": {"far": "no answer within 0.25 s"}})
    await admin.stop()
