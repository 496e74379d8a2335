"""What the admin address shows where several workers serve: each one's own views, and all of them together.

A worker has its whole admin address on a socket of its own. `/workers/0/upstreams` is worker 0's; `/upstreams` is every
worker's, by number, and what is sent to change something is sent to all; `/metrics` is every worker's as one text, each
sample with the worker that it is of.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import ClientError, web

from protogw.control.answers import HEADERS, answer

if TYPE_CHECKING:
    from aiohttp import ClientSession

PATH = "/workers/"
TIMEOUT_S = 5.0

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?( .*)\Z")
_ABOUT = re.compile(r"# (?:HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) ")


class WorkerViews:
    """The handlers; `sockets` are the workers that serve now, by number, each with the path of its socket."""

    path = ""
    """All of them: what may be changed, each worker says itself."""

    def __init__(self, sockets: Callable[[], Mapping[int, str]]) -> None:
        self._sockets = sockets

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Call it last: it answers for every path that nothing else does."""
        router.add_route("*", PATH + "{worker:[0-9]{1,5}}/{path:.*}", self._one)
        router.add_get("/schema", self._first)
        router.add_get("/schema/{name}", self._first)
        router.add_get("/metrics", self._metrics)
        router.add_route("*", "/{path:.*}", self._all)

    async def _one(self, request: web.Request) -> web.Response:
        socket = self._sockets().get(int(request.match_info["worker"]))
        if socket is None:
            raise web.HTTPNotFound(reason="no such worker serves now")
        return _given(*await _ask(socket, request.method, "/" + request.match_info["path"], request))

    async def _first(self, request: web.Request) -> web.Response:
        """All offer the same: the first that serves answers."""
        for socket in self._sockets().values():
            return _given(*await _ask(socket, "GET", request.path, request))
        raise web.HTTPServiceUnavailable(reason="no worker serves now")

    async def _all(self, request: web.Request) -> web.Response:
        found = await self._everybody(request)
        # What one worker holds (an open connection), the others know nothing of.
        status = min((status for status, _, _ in found.values()), default=503)
        return answer(
            {"workers": {str(index): _read(status, body) for index, (status, _, body) in found.items()}}, status
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        found = await self._everybody(request)
        texts = {index: body.decode() for index, (status, _, body) in found.items() if status == 200}
        if not texts:
            raise web.HTTPNotFound
        kind = next(kind for status, kind, _ in found.values() if status == 200)
        return web.Response(body=merged(texts).encode(), headers={**HEADERS, "content-type": kind})

    async def _everybody(self, request: web.Request) -> dict[int, tuple[int, str, bytes]]:
        sockets = self._sockets()
        method, path = request.method, request.path
        answers = await asyncio.gather(*(_ask(socket, method, path, request) for socket in sockets.values()))
        return dict(zip(sockets, answers, strict=True))


async def _ask(socket: str, method: str, path: str, request: web.Request) -> tuple[int, str, bytes]:
    """A worker's answer: status, content type, body. A worker that is gone answers 503."""
    body = await request.read() if request.body_exists else None
    headers = {name: request.headers[name] for name in ("content-type", "accept") if name in request.headers}
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            _session(socket) as session,
            session.request(
                method, f"http://localhost{path}", params=request.query, data=body, headers=headers
            ) as found,
        ):
            return found.status, found.headers.get("content-type", "application/json"), await found.read()
    except (ClientError, OSError, TimeoutError):
        return 503, "application/json", b'{"error":"the worker does not answer"}\n'


def _session(socket: str) -> ClientSession:
    from aiohttp import ClientSession, DummyCookieJar, UnixConnector

    return ClientSession(connector=UnixConnector(path=socket), cookie_jar=DummyCookieJar())


def _given(status: int, kind: str, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, headers={**HEADERS, "content-type": kind})


def _read(status: int, body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return {"error": f"status {status}"} if status >= 400 else body.decode(errors="replace")


def merged(texts: Mapping[int, str]) -> str:
    """Several workers' metrics in Prometheus' text format as one: families together, samples with a `worker`."""
    about: dict[str, dict[str, None]] = {}
    samples: dict[str, list[str]] = {}
    for index, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("#"):
                found = _ABOUT.match(line)
                if found is not None:
                    family = found[1]
                    about.setdefault(family, {})[line] = None
                continue
            sample = _SAMPLE.match(line)
            if sample is None:
                continue
            name, labels, rest = sample.groups()
            if not (family and name.startswith(family)):
                family = name
            label = f'worker="{index}"'
            samples.setdefault(family, []).append(f"{name}{{{label}{',' + labels if labels else ''}}}{rest}")
    lines: list[str] = []
    for family in {**about, **samples}:
        # The first worker's words for it, where they differ.
        told: set[str] = set()
        for line in about.get(family, ()):
            word = line[2:6]
            if word not in told:
                told.add(word)
                lines.append(line)
        lines += samples.get(family, [])
    ended = any(text.rstrip().endswith("# EOF") for text in texts.values())
    return "\n".join(lines) + ("\n# EOF\n" if ended else "\n")
