"""`/cache` on the admin address: what caches hold, and `POST /cache/purge`, which has them forget it.

There only where the config has a cache. The query says what is meant: `policy`, `name` (a method or a path, in which
`*` stands for anything), `tag`; all of it by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from protogw.control.answers import answer
from protogw.policies.base import Purged
from protogw.stores.base import StoreError
from protogw.stores.entries import Wanted

_KNOWN = frozenset(("policy", "name", "tag"))


class CacheViews:
    """The handlers; `caches` are the policies that keep answers, by name."""

    path = "/cache"

    def __init__(self, caches: Mapping[str, Purged]) -> None:
        self._caches = caches

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(self.path, self._list)
        router.add_post(self.path + "/purge", self._purge)

    async def _list(self, _: web.Request) -> web.Response:
        return answer({name: cache.describe() for name, cache in self._caches.items()})

    async def _purge(self, request: web.Request) -> web.Response:
        query = request.query
        unknown = sorted(set(query) - _KNOWN)
        if unknown:
            return answer({"error": f"{unknown[0]}: unknown; there are {', '.join(sorted(_KNOWN))}"}, 400)
        policy = query.get("policy")
        if policy is not None and policy not in self._caches:
            return answer({"error": f"there is no cache {policy}; there are {', '.join(self._caches)}"}, 404)
        wanted = Wanted(name=query.get("name", ""), tag=query.get("tag", ""))
        purged: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for name, cache in self._caches.items():
            if policy in (None, name):
                try:
                    purged[name] = await cache.purge(wanted)
                except StoreError as error:
                    failed[name] = str(error)
        return answer({"purged": purged, **({"failed": failed} if failed else {})}, 503 if failed else 200)
