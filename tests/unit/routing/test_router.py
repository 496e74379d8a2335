"""The router: a method or a path finds its route; hosts, fields and order decide between several."""

from __future__ import annotations

import pytest

from protogw.call import NO_METADATA, Call, Reply
from protogw.errors import Code, NotOffered
from protogw.routing.route import Conditions, Rewrite, Route
from protogw.routing.router import HttpRoute, Router
from protogw.wire.http import Header, Peer, RequestHead
from protogw.wire.path_template import parse


class Sink:
    kind = "sink"

    def __init__(self, name: str) -> None:
        self.name = name

    async def send(self, call: Call) -> Reply:
        return Reply()


def http(path: str, name: str, *verbs: bytes, rewrite: str | None = None, **conditions: object) -> HttpRoute:
    template = parse(path)
    made = Conditions(**conditions) if conditions else None  # type: ignore[arg-type]
    rewritten = Rewrite(rewrite, None, template) if rewrite is not None else None
    return HttpRoute(template=template, verbs=verbs, route=Route(name, Sink(name), conditions=made, rewrite=rewritten))


def request(path: bytes, *headers: Header, method: bytes = b"GET", host: bytes = b"gw.test") -> Call:
    head = RequestHead(method, path, b"", host, headers, 11)
    return Call(None, NO_METADATA, front_end="http", peer=Peer("127.0.0.1", 1), started=0.0, head=head)


def route(router: Router, call: Call) -> str:
    return router.match(call).name


def test_the_most_specific_path_wins_whatever_the_order() -> None:
    router = Router({}, [http("/**", "all"), http("/a/*", "one"), http("/a/b", "exact")])
    assert [route(router, request(path)) for path in (b"/a/b", b"/a/c", b"/a/c/d", b"/")] == [
        "exact",
        "one",
        "all",
        "all",
    ]


def test_a_host_goes_before_a_host_pattern_and_that_before_none() -> None:
    router = Router(
        {},
        [
            http("/**", "any"),
            http("/**", "below", host="*.example.com"),
            http("/**", "www", host="www.example.com"),
        ],
    )
    for host, expected in [
        (b"www.example.com", "www"),
        (b"WWW.Example.com:8080", "www"),
        (b"www.example.com.", "www"),
        (b"api.example.com", "below"),
        (b"example.com", "any"),
        (b"evil-example.com", "any"),
    ]:
        assert route(router, request(b"/x", host=host)) == expected, host


def test_a_field_condition_that_does_not_fit_falls_through_to_the_next_route() -> None:
    router = Router({}, [http("/**", "all"), http("/legacy/**", "beta", headers={"x-beta": "1"})])
    assert route(router, request(b"/legacy/x", (b"x-beta", b"1"))) == "beta"
    assert route(router, request(b"/legacy/x")) == "all"
    assert route(router, request(b"/legacy/x", (b"x-beta", b"2"))) == "all"


def test_an_unknown_path_is_not_found_and_another_verb_names_those_allowed() -> None:
    router = Router({}, [http("/a", "a", b"GET", b"PUT")])
    with pytest.raises(NotOffered, match="/nothing") as missing:
        router.match(request(b"/nothing"))
    assert (missing.value.status.code, missing.value.http_status) == (Code.NOT_FOUND, 404)
    with pytest.raises(NotOffered, match="DELETE is not offered") as verb:
        router.match(request(b"/a", method=b"DELETE"))
    assert verb.value.http_status == 405
    allow = dict(verb.value.headers)[b"allow"]
    assert b"GET" in allow
    assert b"PUT" in allow


def test_a_rewrite_carries_the_rest_of_the_path_byte_for_byte() -> None:
    router = Router({}, [http("/legacy/**", "l", rewrite="/{**}"), http("/u/{id}/x", "u", rewrite="/users/{id}")])
    call = request(b"/legacy/a%20b/c")
    router.match(call)
    assert call.attributes == {"path": b"/a%20b/c"}
    call = request(b"/u/a%2Fb%20c/x")
    router.match(call)
    assert call.attributes == {"path": b"/users/a%2Fb%20c"}


def test_a_rewrite_of_an_unknown_variable_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"\{nope\} is not a variable of /a/\{id\} \(it has: \{id\}\)"):
        Rewrite("/{nope}", None, parse("/a/{id}"))


def test_a_hidden_route_is_reported() -> None:
    router = Router({}, [http("/a/{x}", "first"), http("/a/{y}", "second")])
    assert len(router.shadowed) == 1
    assert "second" in router.shadowed[0]
    assert "first" in router.shadowed[0]


def test_a_head_that_comes_again_is_not_looked_up_again_but_by_another_router() -> None:
    first, second = Router({}, [http("/a/*", "old")]), Router({}, [http("/a/b", "new")])
    shared = request(b"/a/b")
    assert [route(router, shared) for router in (first, first, second, first)] == ["old", "old", "new", "old"]
    nothing = Router({})
    with pytest.raises(NotOffered):
        nothing.match(shared)


def test_a_rewritten_path_is_made_for_every_request_of_a_shared_head() -> None:
    router = Router({}, [http("/a/{name}", "r", rewrite="/b/{name}")])
    shared = request(b"/a/x")
    for _ in range(3):
        call = Call(None, NO_METADATA, front_end="http", peer=shared.peer, started=0.0, head=shared.head)
        assert route(router, call) == "r"
        assert call.attributes == {"path": b"/b/x"}
