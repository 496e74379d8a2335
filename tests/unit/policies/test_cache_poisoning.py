"""Nothing that one client sends changes what another is given: each attempt by name."""

from __future__ import annotations

import pytest

from protogw.call import Call, Encoding, Payload
from protogw.wire.http import Peer, RequestHead
from tests.support.caching import Kept, call, get

FRESH = ("cache-control", "max-age=60")
PLAIN = get("/page?a=1")

ATTEMPTS: dict[str, Call] = {
    "another host": get("/page?a=1", host="evil.test"),
    "a host with a port": get("/page?a=1", host="gw.test:8080"),
    "a host in capitals": get("/page?a=1", host="GW.TEST"),
    "a cloaked parameter": get("/page?a=1;a=2"),
    "a parameter of the path": get("/page;x?a=1"),
    "another order": get("/page?b=2&a=1"),
    "an encoded letter": get("/p%61ge?a=1"),
    "an encoded query": get("/page?%61=1"),
    "an empty parameter": get("/page?a=1&"),
    "a trailing slash": get("/page/?a=1"),
    "an original URL": get("/page?a=1", ("x-original-url", "/admin")),
    "a rewritten URL": get("/page?a=1", ("x-rewrite-url", "/admin")),
    "another method": get("/page?a=1", ("x-http-method-override", "POST")),
    "a forwarded host": get("/page?a=1", ("x-forwarded-host", "evil.test")),
    "a forwarded scheme": get("/page?a=1", ("x-forwarded-scheme", "http")),
    "a forwarded prefix": get("/page?a=1", ("x-forwarded-prefix", "//evil.test")),
    "the twin of a forwarded host": get("/page?a=1", ("x_forwarded_host", "evil.test")),
    "a cookie": get("/page?a=1", ("cookie", "lang=evil")),
    "an origin": get("/page?a=1", ("origin", "https://evil.test")),
    "a language": get("/page?a=1", ("accept-language", "xx")),
    "what it accepts": get("/page?a=1", ("accept", "application/xml")),
    "a caller": get("/page?a=1", who="mallory"),
    "TLS": get("/page?a=1", peer=Peer("192.0.2.1", 1, tls=True)),
    "what a proxy says": get("/page?a=1", peer=Peer("192.0.2.1", 1, forwarded=((b"x-forwarded-host", b"other.test"),))),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_what_reaches_the_service_is_in_the_key(attempt: Call) -> None:
    kept = Kept(FRESH)
    assert await kept.texts([attempt, PLAIN, attempt]) == ["body 1", "body 2", "body 1"]


FIELDS = [name for name, attempt in ATTEMPTS.items() if attempt.metadata.pairs and name != "a cookie"]


@pytest.mark.parametrize("name", FIELDS)
async def test_what_is_in_no_key_does_not_reach_the_service(name: str) -> None:
    kept = Kept(FRESH, vary=[])
    assert await kept.texts([ATTEMPTS[name], PLAIN]) == ["body 1", "body 1"]
    assert kept.service.asked[0][0].pairs == ()


def _of_host(host: str, peer: Peer | None = None) -> Call:
    made = call("{}")
    assert made.head is not None
    made.head = RequestHead(b"POST", made.head.path, b"", host.encode(), (), 20)
    made.peer = peer or made.peer
    return made


async def test_a_methods_answer_for_another_host_or_scheme_is_another() -> None:
    """Services of methods are told the host and scheme too, in X-Forwarded-Host and X-Forwarded-Proto."""
    said = ((b"x-forwarded-for", b"192.0.2.9"), (b"x-forwarded-host", b"other.test"))
    kept = Kept(FRESH)
    evil, secure, proxied, again = [
        _of_host("evil.test"),
        _of_host("gw.test", Peer("192.0.2.1", 1, tls=True)),
        _of_host("gw.test", Peer("192.0.2.1", 1, forwarded=said)),
        _of_host("gw.test", Peer("192.0.2.77", 1)),
    ]
    assert await kept.texts([evil, call("{}"), secure, proxied, again]) == ["1", "2", "3", "4", "2"]


async def test_paths_that_were_changed_on_the_way_are_told_apart() -> None:
    kept = Kept(FRESH)
    made = []
    for path in (b"/a", b"/b", b"/a"):
        made.append(get("/page"))
        made[-1].attributes = {"path": path}
    assert await kept.texts([*made, get("/page")]) == ["body 1", "body 2", "body 1", "body 3"]


async def test_a_query_that_no_method_reads_tells_no_calls_apart() -> None:
    kept = Kept(FRESH)
    with_key = call("{}", verb="GET")
    with_key.attributes = {"query": b""}
    assert await kept.texts([with_key, call("{}")]) == ["1", "1"]


@pytest.mark.parametrize(
    "attempt",
    [
        get("/page?a=1", body=b"a=2"),
        get("/page?a=1", ("range", "bytes=0-0")),
        get("/page?a=1", ("authorization", "Bearer x")),
        get("/page?a=1", verb="POST"),
        get("/page?a=1", verb="PURGE"),
    ],
    ids=["a body", "a range", "an authorization", "a POST", "a PURGE"],
)
async def test_what_is_not_a_plain_get_leaves_nothing_and_is_given_nothing(attempt: Call) -> None:
    kept = Kept(FRESH)
    assert await kept.texts([attempt, PLAIN, attempt, PLAIN]) == ["body 1", "body 2", "body 3", "body 2"]


async def test_an_upgrade_is_not_cached() -> None:
    kept = Kept(FRESH)
    upgrade = get()
    assert upgrade.head is not None
    upgrade.head.upgrade = b"websocket"
    assert await kept.texts([upgrade, get(), upgrade]) == ["body 1", "body 2", "body 3"]


async def test_keys_are_not_joined_ambiguously() -> None:
    kept = Kept(FRESH)
    found = await kept.texts(
        [
            call("{}", ("a", "b"), ("c", "d")),
            call("{}", ("a", "bc"), ("d", "")),
            call("{}", ("ab", "c"), ("", "d")),
            call("{}", ("a", "b"), ("a", "b")),
            call("{}", ("a", "b")),
        ]
    )
    assert found == ["1", "2", "3", "4", "5"]


async def test_a_method_and_plain_http_never_share() -> None:
    kept = Kept(FRESH, calls={"kit.v1.Echo/Look": "1m"})
    assert await kept.texts([call("{}"), get("/kit.v1.Echo/Look"), call("{}")]) == ["1", "body 2", "1"]


async def test_unknown_fields_of_a_message_are_in_the_key() -> None:
    kept = Kept(FRESH)
    odd = call("{}")
    assert odd.payload is not None
    odd.payload = Payload(b"\xf8\x3f\x01", Encoding.PROTO, odd.payload.codec)
    assert await kept.texts([odd, call("{}")]) == ["1", "2"]


async def test_what_the_service_is_asked_is_what_the_key_says() -> None:
    kept = Kept(FRESH)
    odd = call('{"number":1,"text":"x"}')
    await kept.ask(odd)
    payload = kept.service.asked[0][1]
    assert payload is not None
    assert payload.data == b"\x0a\x01x\x10\x01"
    assert odd.payload is not payload
