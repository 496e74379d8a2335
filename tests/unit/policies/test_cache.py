"""The cache: what is kept and for how long, who shares it, and what happens while it is fetched."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Encoding, Metadata, Payload, Reply, Unchanged
from protogw.errors import Code, Forbidden, GatewayError, Status, Unreachable
from protogw.policies.cache import CacheSettings
from protogw.policies.cache_flights import Flights, Landed
from protogw.stores.entries import Entry, Wanted
from protogw.wire.http import ResponseHead
from protogw.wire.sieve import Sieve
from tests.support import rpc
from tests.support.caching import Clock, Kept, call, fields, get, pieces, text

FRESH = ("cache-control", "max-age=60")


# ---- what is kept


async def test_an_answer_is_given_again_while_it_is_fresh() -> None:
    kept = Kept(FRESH)
    assert await kept.texts([call(), call()]) == ["1", "1"]
    kept.clock.now += 59
    assert await kept.texts([call()]) == ["1"]
    kept.clock.now += 2
    assert await kept.texts([call()]) == ["2"]


async def test_what_a_service_says_nothing_of_is_kept_as_long_as_the_config_says() -> None:
    assert await Kept().texts([call(), call()]) == ["1", "2"]
    kept = Kept(ttl="10s")
    assert await kept.texts([call(), call()]) == ["1", "1"]
    kept.clock.now += 10
    assert await kept.texts([call()]) == ["2"]


async def test_only_calls_without_side_effects_are_kept_unless_the_config_names_them() -> None:
    assert await Kept(ttl="1m").texts([call(method=rpc.UNARY)] * 2) == ["1", "2"]
    named = Kept(calls={"kit.v1.Echo/Unary": "1m"})
    assert await named.texts([call(method=rpc.UNARY)] * 2) == ["1", "1"]
    every = Kept(calls={"kit.v1.Echo/*": "1m", "kit.v1.Echo/Unary": "5s"})
    assert await every.texts([call(method=rpc.UNARY)] * 2) == ["1", "1"]
    every.clock.now += 6
    assert await every.texts([call(method=rpc.UNARY)]) == ["2"]


async def test_streams_are_never_kept() -> None:
    kept = Kept(calls={"kit.v1.Echo/*": "1m"})
    assert await kept.texts([call(method=rpc.DOWN)] * 2) == ["1", "2"]
    assert kept.policy.fit([rpc.DOWN], True) == []
    named = Kept(calls={"kit.v1.Echo/Down": "1m"})
    assert named.policy.fit([rpc.DOWN], True) == [
        "calls.kit.v1.Echo/Down: kit.v1.Echo/Down is a server stream, and streams are not cached"
    ]


async def test_a_method_that_nobody_offers_is_a_fault_once_all_is_known() -> None:
    kept = Kept(calls={"kit.v1.Echo/Lok": "1m"})
    assert kept.policy.fit([rpc.LOOK], False) == []
    assert kept.policy.fit([rpc.LOOK], True) == [
        'calls.kit.v1.Echo/Lok: there is no such method where this policy is used; did you mean "kit.v1.Echo/Look"?'
    ]


@pytest.mark.parametrize(
    "said",
    [
        [("cache-control", "no-store")],
        [("cache-control", "private, max-age=60")],
        [("cache-control", 'private="x-user", max-age=60')],
        [("cache-control", "no-cache")],
        [("cache-control", "max-age=0")],
        [("cache-control", 'max-age="')],
        [FRESH, ("set-cookie", "a=b")],
        [FRESH, ("vary", "*")],
        [("expires", "0")],
        [FRESH, ("age", "60")],
    ],
    ids=lambda said: "; ".join(f"{name}: {value}" for name, value in said),
)
async def test_what_must_not_be_kept_is_not(said: list[tuple[str, str]]) -> None:
    assert await Kept(*said, ttl="1h").texts([call(), call()]) == ["1", "2"]
    assert await Kept(*said, ttl="1h").texts([get(), get()]) == ["body 1", "body 2"]


async def test_failures_are_not_kept_unless_the_config_says_so() -> None:
    def missing() -> Reply:
        return Reply(status=Status(Code.NOT_FOUND, "no such thing"))

    kept = Kept(ttl="1h")
    kept.service.answer = missing
    assert [(await kept.ask(call())).status.code for _ in range(2)] == [Code.NOT_FOUND] * 2
    assert kept.service.count == 2
    kept = Kept(ttl="1h", negative_ttl="5s")
    kept.service.answer = missing
    assert [(await kept.ask(call())).status.message for _ in range(2)] == ["no such thing"] * 2
    assert kept.service.count == 1
    kept.clock.now += 6
    await kept.ask(call())
    assert kept.service.count == 2
    kept.service.answer = lambda: Reply(status=Status(Code.UNAVAILABLE))
    kept.clock.now += 6
    assert [(await kept.ask(call())).status.code for _ in range(2)] == [Code.UNAVAILABLE] * 2
    assert kept.service.count == 4


@pytest.mark.parametrize(("status", "count"), [(200, 1), (301, 1), (206, 2), (302, 2), (404, 2), (500, 2)])
async def test_of_plain_http_only_whole_successes_are_kept(status: int, count: int) -> None:
    kept = Kept(ttl="1h")
    kept.service.answer = lambda: Reply(head=ResponseHead(status, ()), payload=Payload(b"x", Encoding.RAW))
    for _ in range(2):
        await kept.ask(get())
    assert kept.service.count == count


async def test_what_is_too_large_goes_on_as_it_comes() -> None:
    kept = Kept(max_entry=2048)

    def large() -> Reply:
        return Reply(head=ResponseHead(200, rpc.headers([FRESH])), payloads=pieces([b"a" * 1500, b"b" * 1500, b"c"]))

    kept.service.answer = large
    for _ in range(2):
        reply = await kept.ask(get())
        assert reply.payloads is not None
        body = b"".join([piece.data async for piece in reply.payloads])
        assert body == b"a" * 1500 + b"b" * 1500 + b"c"
    assert kept.service.count == 2
    kept.service.answer = lambda: Reply(head=ResponseHead(200, rpc.headers([FRESH])), payloads=pieces([b"a", b"b"]))
    assert [text(await kept.ask(get("/small"))) for _ in range(2)] == ["ab", "ab"]
    assert kept.service.count == 3


async def test_a_stream_of_events_is_not_waited_for() -> None:
    kept = Kept(ttl="1h")
    head = ResponseHead(200, rpc.headers([("content-type", "text/event-stream; charset=utf-8")]))
    kept.service.answer = lambda: Reply(head=head, payloads=pieces([b"data: 1\n\n"]))
    assert (await kept.ask(get())).payloads is not None


async def test_a_body_shorter_than_it_says_is_not_kept() -> None:
    kept = Kept(ttl="1h")
    head = ResponseHead(200, rpc.headers([("content-length", "10")]))
    kept.service.answer = lambda: Reply(head=head, payloads=pieces([b"abc"]))
    await kept.ask(get())
    await kept.ask(get())
    assert kept.service.count == 2


# ---- who shares


async def test_one_message_written_in_several_ways_is_one_entry() -> None:
    kept = Kept(FRESH)
    again = call()
    again.payload = Payload(b"\x10\x00\x0a\x01x", Encoding.PROTO, rpc.LOOK.input.codec)
    assert await kept.texts([call('{"text":"x","number":"0"}'), call('{"number":0, "text":"x"}'), again]) == ["1"] * 3


async def test_maps_are_one_whatever_their_order() -> None:
    kept = Kept(FRESH)
    calls = [call('{"seen":{"a":"1","b":"2"}}'), call('{"seen":{"b":"2","a":"1"}}'), call('{"seen":{"a":"2","b":"1"}}')]
    assert await kept.texts(calls) == ["1", "1", "2"]


async def test_each_caller_has_their_own_unless_answers_are_public() -> None:
    calls = [("a", "1"), ("b", "2"), ("", "3"), ("a", "1"), ("", "3"), ("\ud800", "4"), ("?", "5"), ("\ud800", "4")]
    assert await Kept(FRESH).texts([call(who=who) for who, _ in calls]) == [found for _, found in calls]
    assert await Kept(FRESH, public=True).texts([call(who=who) for who, _ in calls]) == ["1"] * 8


async def test_an_authorization_that_nobody_looked_at_is_not_cached() -> None:
    token = ("authorization", "Bearer x")
    assert await Kept(FRESH).texts([call("{}", token), call("{}", token), call("{}")]) == ["1", "2", "3"]
    assert await Kept(FRESH).texts([get("/", token), get("/", token)]) == ["body 1", "body 2"]
    assert await Kept(FRESH).texts([call("{}", token, who="a"), call("{}", token, who="a")]) == ["1", "1"]
    other = ("authorization", "Bearer y")
    assert await Kept(FRESH).texts([call("{}", token, who="a"), call("{}", other, who="a")]) == ["1", "2"]
    public = Kept(FRESH, public=True)
    assert await public.texts([call("{}", token), call("{}", other), call("{}")]) == ["1"] * 3
    assert public.service.asked[0][0].get(b"authorization") == b"Bearer x"


async def test_metadata_tells_answers_apart_and_what_clients_say_of_themselves_does_not() -> None:
    kept = Kept(FRESH)
    found = await kept.texts(
        [
            call("{}", ("x-tenant", "a"), ("user-agent", "grpc"), ("traceparent", "00-1")),
            call("{}", ("user-agent", "curl"), ("x-tenant", "a"), ("referer", "/"), ("sec-fetch-mode", "cors")),
            call("{}", ("x-tenant", "b")),
        ]
    )
    assert found == ["1", "1", "2"]
    sent = kept.service.asked[0][0]
    assert sent.pairs == ((b"x-tenant", b"a"), (b"traceparent", b"00-1"))


async def test_with_vary_the_service_gets_no_other_metadata() -> None:
    kept = Kept(FRESH, vary="x-tenant")
    calls = [("a", "de"), ("a", "fr"), ("b", "de")]
    found = await kept.texts([call("{}", ("x-tenant", one), ("accept-language", two)) for one, two in calls])
    assert found == ["1", "1", "2"]
    assert kept.service.asked[0][0].pairs == ((b"x-tenant", b"a"),)


async def test_what_varies_by_a_field_outside_the_key_is_not_kept() -> None:
    agents = [get("/", ("user-agent", "a")), get("/", ("user-agent", "a"))]
    assert await Kept(FRESH).texts(agents) == ["body 1"] * 2
    assert await Kept(FRESH, ("vary", "Accept, User-Agent")).texts(agents) == ["body 1", "body 2"]
    assert await Kept(FRESH, ("vary", "user-agent"), vary="user-agent").texts(agents) == ["body 1"] * 2


@pytest.mark.parametrize(
    "name", ["user-agent", "Referer", "X-Request-Id", "X-Forwarded-For", "accept, X-Real-IP", "forwarded"]
)
async def test_what_varies_by_a_field_that_this_client_lacks_is_not_kept_either(name: str) -> None:
    asked = [get("/"), get("/", ("user-agent", "a"))]
    assert await Kept(FRESH, ("vary", name)).texts(asked) == ["body 1", "body 2"]


async def test_what_varies_by_who_asks_is_not_kept_for_all() -> None:
    asked = [get("/"), get("/", ("cookie", "a=1"))]
    for name in ("cookie", "authorization"):
        assert await Kept(FRESH, ("vary", name), public=True).texts(asked) == ["body 1", "body 2"]


async def test_a_cookie_that_is_named_tells_public_answers_apart() -> None:
    asked = [get("/", ("cookie", one)) for one in ("a=1", "a=2", "a=1")]
    assert await Kept(FRESH, public=True, vary="cookie").texts(asked) == ["body 1", "body 2", "body 1"]


async def test_codings_are_two_however_they_are_written() -> None:
    kept = Kept(FRESH)
    ways = ["gzip, deflate, br", "gzip", "br;q=1, *;q=0.1", "br", "identity", "gzip;q=0, *"]
    found = await kept.texts([get("/", ("accept-encoding", way)) for way in ways])
    assert found == ["body 1"] * 3 + ["body 2"] * 3


# ---- what clients ask for


async def test_clients_are_heeded_where_the_config_says_so() -> None:
    kept = Kept(FRESH, client_directives=True)
    assert await kept.texts([call(), call("{}", ("cache-control", "no-cache"))]) == ["1", "2"]
    assert await kept.texts([call("{}"), call('{"text":"x"}', ("pragma", "no-cache")), call()]) == ["2", "3", "3"]
    kept.clock.now += 30
    assert await kept.texts([call('{"text":"x"}', ("cache-control", "max-age=40"))]) == ["3"]
    assert await kept.texts([call('{"text":"x"}', ("cache-control", "max-age=20"))]) == ["4"]
    assert await kept.texts([call('{"text":"x"}', ("cache-control", "no-store")), call()]) == ["5", "4"]
    with pytest.raises(GatewayError) as caught:
        await kept.ask(call('{"text":"y"}', ("cache-control", "only-if-cached")))
    assert caught.value.http_status == 504
    assert await Kept(FRESH).texts([call(), call('{"text":"x"}', ("cache-control", "no-cache"))]) == ["1", "1"]


async def test_a_client_that_holds_the_answer_is_told_so() -> None:
    kept = Kept(FRESH)
    etag = fields(await kept.ask(call(verb="GET")))[b"etag"].decode()
    assert etag.startswith('W/"')
    held = await kept.ask(call('{"text":"x"}', ("if-none-match", f'"other", {etag}'), verb="GET"))
    assert isinstance(held, Unchanged)
    assert held.payload is not None
    assert not isinstance(await kept.ask(call('{"text":"x"}', ("if-none-match", etag))), Unchanged)
    assert not isinstance(await kept.ask(call('{"text":"x"}', ("if-none-match", '"no"'), verb="GET")), Unchanged)


async def test_plain_http_is_answered_304() -> None:
    kept = Kept(FRESH, ("etag", '"v1"'), ("content-type", "text/plain"))
    assert text(await kept.ask(get("/", ("if-none-match", '"v0"')))) == "body 1"
    assert kept.service.asked[0][0].get(b"if-none-match") is None
    reply = await kept.ask(get("/", ("if-none-match", 'W/"v1"')))
    assert reply.head is not None
    assert reply.head.status == 304
    assert fields(reply)[b"etag"] == b'"v1"'
    assert b"content-type" not in fields(reply)
    assert kept.service.count == 1


async def test_plain_http_gets_an_etag_where_the_service_gave_none() -> None:
    kept = Kept(FRESH)
    etag = fields(await kept.ask(get()))[b"etag"].decode()
    assert etag.startswith('W/"')
    reply = await kept.ask(get("/page", ("if-none-match", etag)))
    assert reply.head is not None
    assert (reply.head.status, fields(reply)[b"etag"].decode(), kept.service.count) == (304, etag, 1)
    assert b"etag" not in fields(await Kept(FRESH, etag=False).ask(get()))


async def test_a_condition_holds_for_what_is_not_kept_too() -> None:
    kept = Kept(("etag", '"v1"'), ("cache-control", "no-store"))
    reply = await kept.ask(get("/", ("if-none-match", '"v1"')))
    assert reply.head is not None
    assert reply.head.status == 304


async def test_a_date_as_a_condition() -> None:
    kept = Kept(FRESH, ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"))
    statuses = []
    for since in ("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:59 GMT", "nonsense"):
        reply = await kept.ask(get("/", ("if-modified-since", since)))
        assert reply.head is not None
        statuses.append(reply.head.status)
    assert statuses == [304, 200, 200]


@pytest.mark.parametrize("name", ["range", "if-match", "if-unmodified-since"])
async def test_requests_for_a_part_or_under_a_condition_go_to_the_service(name: str) -> None:
    kept = Kept(FRESH)
    assert await kept.texts([get(), get("/page", (name, "bytes=0-1")), get()]) == ["body 1", "body 2", "body 1"]
    assert kept.service.asked[1][0].get(name.encode()) == b"bytes=0-1"


async def test_head_is_answered_from_what_get_left_and_leaves_nothing() -> None:
    kept = Kept(FRESH)
    assert await kept.texts([get(verb="HEAD"), get(verb="HEAD"), get(), get(verb="HEAD")]) == [
        "body 1",
        "body 2",
        "body 3",
        "body 3",
    ]
    assert await kept.texts([get(verb="POST"), get(verb="OPTIONS")]) == ["body 4", "body 5"]


# ---- what an answer says


async def test_an_answer_tells_its_age_and_where_it_is_from() -> None:
    kept = Kept(FRESH, ("age", "5"), ("x-lead", "a"), ("x-request-id", "1"), ("ratelimit-remaining", "3"))
    first = fields(await kept.ask(call()))
    kept.clock.now += 10
    second = fields(await kept.ask(call()))
    assert (first[b"x-cache"], second[b"x-cache"]) == (b"miss", b"hit")
    assert (first[b"age"], second[b"age"]) == (b"5", b"15")
    assert second[b"x-lead"] == b"a"
    assert not {b"x-request-id", b"ratelimit-remaining"} & set(second)
    assert b"x-cache" not in fields(await Kept(FRESH, report=False).ask(call()))


async def test_trailers_are_kept_too() -> None:
    kept = Kept(ttl="1m")
    message = Payload(b"", Encoding.PROTO, rpc.LOOK.output.codec)
    kept.service.answer = lambda: Reply(payload=message, trailers=Metadata(((b"x-trail", b"t"),)))
    await kept.ask(call())
    assert (await kept.ask(call())).trailers.pairs == ((b"x-trail", b"t"),)


@given(
    st.text(), st.integers(-(2**63), 2**63 - 1), st.binary(), st.lists(st.text()), st.dictionaries(st.text(), st.text())
)
def test_a_kept_answer_is_the_answer(
    word: str, number: int, data: bytes, tags: list[str], seen: dict[str, str]
) -> None:
    made = rpc.LOOK.output.message(text=word, number=number, data=data, tags=tags, seen=seen)
    codec = rpc.LOOK.output.codec
    written = made.SerializeToString()

    async def compare() -> None:
        for payload in (
            Payload(written, Encoding.PROTO, codec),
            Payload(codec.to_json(written), Encoding.JSON, codec.lenient),
        ):
            kept = Kept(ttl="1m")
            kept.service.answer = lambda payload=payload: Reply(payload=payload)
            for _ in range(2):
                found = (await kept.ask(call())).payload
                assert found is not None
                assert (found.data, found.encoding) == (payload.data, payload.encoding)
                assert (found.json(), rpc.LOOK.output.message.FromString(found.proto())) == (payload.json(), made)
            assert kept.service.count == 1

    asyncio.run(compare())


# ---- while it is fetched


async def seen(kept: Kept, count: int) -> None:
    while kept.service.count < count:  # noqa: ASYNC110 — its own loop's next turns are all that it takes
        await asyncio.sleep(0)


async def started(tasks: int, kept: Kept, count: int = 1, **settings: Any) -> list[asyncio.Task[Reply]]:
    made = [asyncio.ensure_future(kept.ask(call(**settings))) for _ in range(tasks)]
    await seen(kept, count)
    for _ in range(5):
        await asyncio.sleep(0)
    return made


async def test_a_hundred_who_ask_at_once_are_one_call() -> None:
    kept = Kept(FRESH)
    kept.service.gate = asyncio.Event()
    tasks = await started(100, kept)
    kept.service.gate.set()
    assert {text(reply) for reply in await asyncio.gather(*tasks)} == {"1"}
    assert kept.service.count == 1


async def test_when_the_one_who_asks_goes_away_the_next_asks() -> None:
    kept = Kept(FRESH)
    kept.service.gate = asyncio.Event()
    tasks = await started(5, kept)
    tasks[0].cancel()
    await seen(kept, 2)
    tasks[2].cancel()
    kept.service.gate.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [text(one) for one in found if isinstance(one, Reply)] == ["2"] * 3
    assert kept.service.count == 2
    assert len(kept.policy._flights) == 0


async def test_what_cannot_be_kept_is_asked_for_by_each_at_once() -> None:
    kept = Kept(("cache-control", "private"))
    kept.service.gate = asyncio.Event()
    tasks = await started(10, kept)
    assert kept.service.count == 1
    kept.service.gate.set()
    assert len({text(reply) for reply in await asyncio.gather(*tasks)}) == 10
    kept.service.gate = asyncio.Event()
    later = await started(10, kept, 20)
    assert kept.service.count == 20
    kept.service.gate.set()
    await asyncio.gather(*later)


async def test_a_failure_of_the_service_is_everybodys_and_a_refusal_is_ones_own() -> None:
    for error, count in ((Unreachable("gone"), 1), (Forbidden("not you"), 4)):
        kept = Kept(FRESH)
        kept.service.gate = asyncio.Event()
        kept.service.answer = error
        tasks = await started(4, kept)
        kept.service.gate.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [type(error)] * 4
        assert kept.service.count == count


@pytest.mark.parametrize(("status", "count"), [(401, 2), (403, 2), (431, 2), (404, 5)])
async def test_who_is_refused_by_the_service_of_public_answers_is_so_alone(status: int, count: int) -> None:
    """Else whoever sends a false token could have everybody who waits ask by themselves, and for five seconds more."""
    kept = Kept(FRESH, public=True)
    kept.service.gate = asyncio.Event()
    kept.service.answer = lambda: Reply(head=ResponseHead(status, ()), payload=Payload(b"no", Encoding.RAW))
    bad = asyncio.ensure_future(kept.ask(get("/page", ("authorization", "Bearer x"))))
    await seen(kept, 1)
    others = [asyncio.ensure_future(kept.ask(get("/page"))) for _ in range(4)]
    for _ in range(5):
        await asyncio.sleep(0)
    gate, kept.service.gate = kept.service.gate, asyncio.Event()
    gate.set()
    assert text(await bad) == "no"
    kept.service.answer = None
    await seen(kept, count)
    kept.service.gate.set()
    assert len({text(reply) for reply in await asyncio.gather(*others)}) == count - 1
    assert kept.service.count == count


async def test_who_has_waited_long_enough_asks_alone() -> None:
    flights = Flights(0.001)
    assert await flights.join(b"k") is None
    assert await flights.join(b"k") == Landed(None, None)
    flights.land(b"k", None)


# ---- purging


async def test_answers_are_purged_by_method_by_tag_or_all() -> None:
    kept = Kept(FRESH, ("surrogate-key", "shelf-1 books"), calls={"kit.v1.Echo/Unary": "1m"})
    ask = [call(), call(method=rpc.UNARY), get("/a/b")]
    await kept.texts(ask)
    assert await kept.policy.purge(Wanted(name="kit.v1.Echo/Look")) == 1
    assert await kept.texts(ask) == ["4", "2", "body 3"]
    assert await kept.policy.purge(Wanted(name="/a/*", tag="books")) == 1
    assert await kept.policy.purge(Wanted(tag="book")) == 0
    assert await kept.policy.purge(Wanted(tag="shelf-1")) == 2
    assert await kept.policy.purge(Wanted()) == 0
    assert b"surrogate-key" not in fields(await kept.ask(call()))


async def test_what_was_on_its_way_when_all_was_purged_is_not_kept() -> None:
    kept = Kept(FRESH)
    kept.service.gate = asyncio.Event()
    (task,) = await started(1, kept)
    await kept.policy.purge(Wanted())
    kept.service.gate.set()
    assert text(await task) == "1"
    assert await kept.texts([call()]) == ["2"]


# ---- settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"calls": {"Echo": "1m"}}, "is not a method"),
        ({"calls": {"a.B/C": "soon"}}, "is not a duration"),
        ({"vary": "x tenant"}, "is not the name of a field"),
        ({"store": "memcached://x"}, "pattern"),
        ({"max_entry": "1GiB"}, "less than or equal"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CacheSettings.model_validate(settings)


async def test_what_another_has_written_into_the_store_is_no_answer() -> None:
    page = Entry(name="/page", body=b"evil", encoding="raw", status=200, made_s=Clock.now, fresh_s=60.0)
    message = Entry(name="kit.v1.Echo/Look", body=b"", encoding="proto", made_s=Clock.now, fresh_s=60.0)
    for asked, wrong in ((call(), page), (call(), replace(message, name="a.B/C")), (get(), message)):
        kept = Kept(FRESH, store=Written(wrong))
        assert (await kept.ask(asked)).payload is not None
        assert kept.service.count == 1


class Written:
    """A store in which another has written one entry under every key."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    async def get(self, key: bytes) -> Entry | None:
        return self._entry

    async def put(self, key: bytes, entry: Entry) -> None: ...

    async def remove(self, key: bytes) -> None: ...

    async def purge(self, wanted: Wanted) -> int:
        return 0

    async def close(self) -> None: ...


async def test_where_replies_come_from_is_counted() -> None:
    kept = Kept(FRESH)
    await kept.texts([call(), call(), call()])
    assert kept.tools.told("cache_replies") == {("miss",): 1, ("hit",): 2}


async def test_what_lacks_fields_for_one_caller_is_not_kept() -> None:
    """Neither for callers who are told in another way, nor for those who wait for the same."""

    def cut() -> Reply:
        reply = Reply(payload=Payload(b"{}", Encoding.JSON, rpc.UNARY.output.codec))
        reply.withheld = (Sieve(),)
        return reply

    kept = Kept(ttl="1h")
    kept.service.answer = cut
    for _ in range(2):
        await kept.ask(call())
    assert kept.service.count == 2
