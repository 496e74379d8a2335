"""GraphiQL as browsers get it."""

from __future__ import annotations

import gzip

from tests.support.graphql import Service, ask, front, request

BROWSER = [("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")]


async def test_a_browser_gets_a_page_that_needs_nothing_from_elsewhere() -> None:
    exchange = await ask(front(path="/api/graphql"), request("GET /api/graphql", b"", BROWSER), Service())
    page = exchange.body.decode()
    assert (exchange.status, exchange.get("content-type")) == (200, "text/html; charset=utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert 'src="/api/graphql/graphiql.js" data-endpoint="/api/graphql"' in page
    policy = exchange.get("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy


async def test_the_assets_come_packed_or_plain_and_only_once() -> None:
    for name, kind in (("graphiql.js", "text/javascript"), ("graphiql.css", "text/css")):
        line = f"GET /graphql/{name}"
        packed = await ask(front(), request(line, b"", [("accept-encoding", "gzip, br")]), Service())
        plain = await ask(front(), request(line), Service())
        assert gzip.decompress(packed.body) == plain.body
        assert (packed.get("content-encoding"), plain.get("content-encoding")) == ("gzip", None)
        assert (plain.get("content-type") or "").startswith(kind)
        again = await ask(front(), request(line, b"", [("if-none-match", plain.get("etag") or "")]), Service())
        assert (again.status, again.body) == (304, b"")


async def test_the_page_can_be_turned_off() -> None:
    graphql = front(graphiql=False)
    assert (await ask(graphql, request("GET /graphql", b"", BROWSER), Service())).status == 400
    assert not graphql.accepts(request("GET /graphql/graphiql.js").head)
