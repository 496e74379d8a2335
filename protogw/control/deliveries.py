"""`/routes` on the admin address: how calls are shared between upstreams, and new weights while calls run.

What can be set is bounded by the config: only routes that have several upstreams, and only those upstreams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from aiohttp import web

from protogw.control.answers import answer

PATH = "/routes"


class Steered(Protocol):
    """A route whose calls are shared."""

    name: str

    def shown(self) -> Mapping[str, Any]:
        """How it stands."""
        ...

    def steer(self, weights: Mapping[str, int]) -> None:
        """Have these weights from now on; raises ValueError when they cannot be."""
        ...


class DeliveryViews:
    """The handlers; `routes` are those there are now."""

    def __init__(self, routes: Callable[[], Sequence[Steered]]) -> None:
        self._routes = routes

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self._list)
        router.add_get(PATH + "/{name}", self._show)
        router.add_post(PATH + "/{name}/weights", self._weigh)

    async def _list(self, _: web.Request) -> web.Response:
        return answer({one.name: one.shown() for one in self._routes()})

    async def _show(self, request: web.Request) -> web.Response:
        return answer(self._found(request).shown())

    async def _weigh(self, request: web.Request) -> web.Response:
        route = self._found(request)
        # A page of another site can send plain text unasked, but not this type.
        if request.content_type != "application/json":
            return answer({"error": "the body is application/json: an object of upstreams and their weights"}, 415)
        try:
            weights = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            return answer({"error": "the body is not JSON"}, 400)
        if not isinstance(weights, dict) or not weights:
            return answer({"error": "the body is an object of upstreams and their weights"}, 400)
        try:
            route.steer(weights)
        except ValueError as error:
            return answer({"error": str(error)}, 400)
        return answer(route.shown())

    def _found(self, request: web.Request) -> Steered:
        name = request.match_info["name"]
        found = next((one for one in self._routes() if one.name == name), None)
        if found is None:
            raise web.HTTPNotFound(reason="no such route")
        return found
