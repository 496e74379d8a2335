"""`/@connections` on the admin address: look at open sockets, push a message to one, close one.

There only where a front end's settings ask for it, since it is the one thing on that address that changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from protogw.control.answers import answer
from protogw.errors import GatewayError
from protogw.frontends.connections import Connection

PATH = "/@connections"
MAX_PUSH = 1 << 20
"""Bytes of a pushed message."""

Held = Callable[[], Mapping[str, Connection]]


class ConnectionViews:
    """The handlers; `held` are those open now, by id."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self._list)
        router.add_get(PATH + "/{id}", self._show)
        router.add_post(PATH + "/{id}", self._push)
        router.add_delete(PATH + "/{id}", self._close)

    async def _list(self, _: web.Request) -> web.Response:
        return answer({"connections": [one.describe() for one in self._held().values()]})

    async def _show(self, request: web.Request) -> web.Response:
        return answer(self._found(request).describe())

    async def _push(self, request: web.Request) -> web.Response:
        connection = self._found(request)
        data = await request.read()
        if not data:
            return answer({"error": "the body is the message, and there is none"}, 400)
        try:
            # A body of no type is text too: that is what who types a command means.
            binary = request.headers.get("content-type", "").startswith("application/octet-stream")
            message = data if binary else data.decode()
        except UnicodeDecodeError:
            return answer({"error": "the body is not UTF-8: application/octet-stream sends bytes"}, 400)
        try:
            await connection.push(message)
        except GatewayError as error:
            return answer({"error": error.message}, 409)
        return answer({"pushed": len(data)})

    async def _close(self, request: web.Request) -> web.Response:
        self._found(request).dismiss()
        return answer({"closed": request.match_info["id"]})

    def _found(self, request: web.Request) -> Connection:
        connection = self._held().get(request.match_info["id"])
        if connection is None:
            raise web.HTTPNotFound(reason="no such connection")
        return connection
