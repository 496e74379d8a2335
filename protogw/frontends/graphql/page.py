"""GraphiQL: the page that a browser gets at the endpoint, and its two assets. Nothing of it comes from elsewhere."""

from __future__ import annotations

import functools
import gzip
import hashlib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from protogw.frontends.graphql.refusals import BAD_REQUEST, refused
from protogw.wire.content import preferences
from protogw.wire.http import Header

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange

_ASSETS = Path(__file__).with_name("assets")
_TYPES: Mapping[bytes, bytes] = {
    b"graphiql.js": b"text/javascript; charset=utf-8",
    b"graphiql.css": b"text/css; charset=utf-8",
}
ASSETS = tuple(_TYPES)
"""The names of the assets."""

_SAFE: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Scripts run from this origin alone. What GraphiQL's dialogs put into the page as style elements is let through."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>GraphiQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{base}graphiql.css">
<style>html, body, #graphiql {{ height: 100%; margin: 0 }}</style>
</head>
<body>
<div id="graphiql">Loading…</div>
<script src="{base}graphiql.js" data-endpoint="{endpoint}"></script>
</body>
</html>
"""


class Page:
    """The page of one endpoint; `below` is the path under which its assets are."""

    def __init__(self, endpoint: str, below: str) -> None:
        self._html = _PAGE.format(base=escape(below), endpoint=escape(endpoint)).encode()
        self._below = below.encode()

    def send(self, exchange: Exchange) -> None:
        """Answer with the page."""
        head = ((b"content-type", b"text/html; charset=utf-8"), (b"vary", b"accept"), *_SAFE)
        exchange.respond(200, (*head, (b"content-security-policy", _POLICY)), self._html)

    def asset(self, exchange: Exchange) -> None:
        """Answer with the asset that the request is for; raises Refused when it does something else with it."""
        name = exchange.head.path.removeprefix(self._below)
        if exchange.head.method not in (b"GET", b"HEAD"):
            allow = ((b"allow", b"GET, HEAD"),)
            raise refused(BAD_REQUEST, "only GET is served here", http=405, headers=allow)
        content_type = _TYPES[name]
        data, tag = _asset(name.decode())
        fields: tuple[Header, ...] = ((b"etag", tag), (b"cache-control", b"no-cache"), (b"vary", b"accept-encoding"))
        if exchange.head.get(b"if-none-match") == tag:
            exchange.respond(304, fields)
            return
        fields = ((b"content-type", content_type), *fields, *_SAFE)
        takes = preferences(exchange.head.get(b"accept-encoding") or b"")
        if any(one.range in (b"gzip", b"*") and one.quality > 0 for one in takes):
            exchange.respond(200, (*fields, (b"content-encoding", b"gzip")), data)
        else:
            exchange.respond(200, fields, gzip.decompress(data))


@functools.cache
def _asset(name: str) -> tuple[bytes, bytes]:
    """An asset, gzipped, and its entity tag."""
    data = (_ASSETS / f"{name}.gz").read_bytes()
    return data, b'"%b"' % hashlib.sha256(data).hexdigest()[:16].encode()
