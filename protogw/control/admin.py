"""The admin address: is it alive, is it ready, and what does it do right now. Shows no secret,
and changes nothing but what settings give into its hand: connections, the weights of routes to several upstreams, and
what other parts add (`Views`).

It listens on loopback by default. Browsers are kept out: a page of another site may reach 127.0.0.1 under a name of its
own (DNS rebinding), so the Host must be an address, localhost or the name listened on, and a foreign Origin is refused.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

from protogw.control.answers import HEADERS, answer
from protogw.control.connections import MAX_PUSH, PATH, ConnectionViews, Held
from protogw.control.deliveries import PATH as ROUTES
from protogw.control.deliveries import DeliveryViews, Steered

View: TypeAlias = Callable[[], Any]
Readiness: TypeAlias = Callable[[], Mapping[str, Any]]
"""What stands between the gateway and being ready; `ready` says whether anything does."""


class Documents(Protocol):
    """Texts that describe what is offered, made when they are first asked for."""

    def names(self) -> Sequence[str]:
        """The documents that there are now."""
        ...

    async def read(self, name: str, listener: str | None) -> tuple[str, bytes]:
        """The media type and the text of a document, of one listener where that matters; raises KeyError saying why
        there is none."""
        ...


class Views(Protocol):
    """Further pages, of which some change something: all of them below one path."""

    path: str

    def add_to(self, router: web.UrlDispatcher) -> None: ...


Texts: TypeAlias = Mapping[str, Callable[[str], Awaitable[tuple[str, bytes]]]]
"""Pages that are no JSON, by name: asked with the client's Accept, each says its content type and its text."""

_PROBES = frozenset(("/healthz", "/readyz"))
"""Answered whatever the Host is: orchestrators probe under names of their own, and there is nothing to learn."""


class Admin:
    """Serves `/healthz`, `/readyz`, each view under its name as JSON, and documents below `/schema`."""

    def __init__(
        self,
        host: str,
        port: int,
        ready: Readiness,
        views: Mapping[str, View],
        documents: Documents | None = None,
        connections: Held | None = None,
        deliveries: Callable[[], Sequence[Steered]] | None = None,
        more: Sequence[Views] = (),
        texts: Texts | None = None,
        *,
        path: str = "",
    ) -> None:
        """`connections` are those that may be looked at, pushed to and closed, `deliveries` the routes whose weights
        may be set; None where there are none of either. With `path` it is served on a socket of that name instead."""
        self._more = tuple(more)
        self._host = host
        self._port = port
        self._ready = ready
        self._views = dict(views)
        self._documents = documents
        self._connections = connections
        self._path = path
        self._deliveries = deliveries
        self._texts = dict(texts or {})
        self._runner: web.AppRunner | None = None
        self._socket: socket.socket | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound; the port is the kernel's choice if 0 was asked for."""
        if self._socket is None:
            return self._host, self._port
        name = self._socket.getsockname()
        return name[0], name[1]

    async def start(self) -> None:
        """Bind and serve; raises OSError with a text to show."""
        app = web.Application(
            middlewares=[self._guard],
            client_max_size=MAX_PUSH if self._connections is not None or self._more else 1024,
        )
        app.router.add_get("/", self._index)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        for name, view in self._views.items():
            app.router.add_get(f"/{name}", _shown(view))
        for name, text in self._texts.items():
            app.router.add_get(f"/{name}", _told(text))
        if self._documents is not None:
            app.router.add_get("/schema", _listed(self._documents))
            app.router.add_get("/schema/{name}", _read(self._documents))
        if self._connections is not None:
            ConnectionViews(self._connections).add_to(app.router)
        if self._deliveries is not None:
            DeliveryViews(self._deliveries).add_to(app.router)
        for views in self._more:
            views.add_to(app.router)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        if self._path:
            # Another life of the same worker may have left its own.
            Path(self._path).unlink(missing_ok=True)  # noqa: ASYNC240 (once, at the start)
            await web.UnixSite(self._runner, self._path, backlog=64).start()
            return
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            self._socket = bound = socket.socket(family, socket.SOCK_STREAM)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setblocking(False)
            bound.bind((self._host, self._port))
            await web.SockSite(self._runner, bound, backlog=64).start()
        except OSError as error:
            await self.stop()
            what = f"admin: cannot listen on {self._host}:{self._port}: {error.strerror or error}"
            raise OSError(error.errno, what) from error

    async def stop(self) -> None:
        """Close the address and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._socket is not None:
            self._socket.close()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        changes = (self._connections is not None and request.path.startswith(PATH + "/")) or (
            self._deliveries is not None and request.path.startswith(ROUTES + "/") and request.method == "POST"
        )
        changes = changes or any(request.path.startswith(views.path + "/") for views in self._more)
        if request.method not in ("GET", "HEAD") and not changes:
            return answer({"error": "only GET is offered"}, 405, {"allow": "GET, HEAD"})
        if request.path not in _PROBES:
            if not self._names_us(request.host):
                return answer({"error": "this host name is not served here"}, 421)
            origin = request.headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != request.host:
                return answer({"error": "pages of other origins are refused"}, 403)
            if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return answer({"error": "pages of other sites are refused"}, 403)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return answer({"error": error.reason.lower()}, error.status)

    def _names_us(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        if name == "localhost" or name == self._host.lower():
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _index(self, _: web.Request) -> web.Response:
        more = ["/schema"] if self._documents is not None else []
        if self._connections is not None:
            more.append(PATH)
        if self._deliveries is not None:
            more.append(ROUTES)
        more.extend(views.path for views in self._more)
        names = (*self._texts, *self._views)
        return answer({"paths": ["/healthz", "/readyz", *(f"/{name}" for name in names), *more]})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=HEADERS)

    async def _readyz(self, _: web.Request) -> web.Response:
        state = self._ready()
        return answer(state, 200 if state["ready"] else 503)


def _shown(view: View) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(_: web.Request) -> web.Response:
        return answer(view())

    return show


def _told(text: Callable[[str], Awaitable[tuple[str, bytes]]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(request: web.Request) -> web.Response:
        content_type, body = await text(",".join(request.headers.getall("accept", ())))
        return web.Response(body=body, headers={**HEADERS, "content-type": content_type})

    return show


def _listed(documents: Documents) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(_: web.Request) -> web.Response:
        return answer({"paths": [f"/schema/{name}" for name in documents.names()]})

    return show


def _read(documents: Documents) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(request: web.Request) -> web.Response:
        try:
            media_type, text = await documents.read(request.match_info["name"], request.query.get("listener"))
        except KeyError as error:
            return answer({"error": error.args[0]}, 404)
        return web.Response(body=text, content_type=media_type, headers=HEADERS)

    return show
