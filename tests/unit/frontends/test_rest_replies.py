"""What unary calls answer: JSON and its status, fields, compression, negotiation, and errors in three styles."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from protogw.call import Encoding, Metadata, Payload, Reply
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import HttpRule, Method
from protogw.descriptors.model import Service as ServiceModel
from protogw.errors import (
    BadUpstream,
    Code,
    DeadlineExceeded,
    Detail,
    GatewayError,
    InternalError,
    InvalidRequest,
    NotOffered,
    Overloaded,
    Status,
    Unreachable,
)
from protogw.frontends.base import Bounds
from protogw.frontends.rest import Rest, RestSettings
from protogw.wire.content import decompress
from protogw.wire.http_status import HTTP_STATUS
from tests.support.rest import SCHEMA, THING, Exchange, Service, ask, front, request, thing

REST = front()
LONG = thing(name="x" * 5_000).SerializeToString()


async def answer(service: Service, line: str = "GET /v1/things/1", headers: Any = (), rest: Rest = REST) -> Exchange:
    return await ask(rest, request(line, headers=headers), service)


def detail(made: Any) -> Detail:
    return Detail(f"type.googleapis.com/{made.DESCRIPTOR.full_name}", made.SerializeToString())


# ---- what is written


async def test_a_reply_is_json_with_its_metadata() -> None:
    metadata = Metadata(
        ((b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"content-type", b"x"), (b"connection", b"x-a, close"))
    )
    exchange = await answer(Service(metadata=Metadata(metadata.pairs[:3])))
    assert (exchange.status, json.loads(exchange.body)) == (200, {"id": "1"})
    assert exchange.headers == [(b"content-type", b"application/json"), (b"x-a", b"1"), (b"set-cookie", b"a=1")]


async def test_metadata_can_never_split_the_answer() -> None:
    exchange = await answer(Service(metadata=Metadata(((b"x-a", b"1\r\nx-b: 2"), (b"x-c", b"\0"), (b"x-d", b"ok")))))
    assert exchange.headers == [(b"content-type", b"application/json"), (b"x-d", b"ok")]


async def test_trailers_go_to_clients_that_take_them() -> None:
    trailers = Metadata(((b"x-t", b"1"),))
    assert (await answer(Service(trailers=trailers))).trailers == ()
    exchange = await answer(Service(trailers=trailers), headers={"te": "gzip, trailers;q=0.5"})
    assert exchange.trailers == ((b"x-t", b"1"),)


async def test_one_selected_field_of_any_kind() -> None:
    assert (await answer(Service(), "GET /v1/names/1?name=x")).body == b'"x"'
    assert (await answer(Service(), "GET /v1/names/1")).body == b'""'
    assert (await answer(Service(), "POST /v1/things/1/tags")).body == b"[]"


@pytest.mark.parametrize(("setting", "status", "body"), [(200, 200, b"{}"), (204, 204, b"")])
async def test_an_empty_reply(setting: Any, status: int, body: bytes) -> None:
    rest = front(empty_status=setting)
    exchange = await answer(Service(b""), "DELETE /v1/things/1", rest=rest)
    assert (exchange.status, exchange.body) == (status, body)
    assert exchange.get("content-type") == (None if status == 204 else "application/json")


def with_rules(*rules: HttpRule) -> Rest:
    """A front end whose one method has these bindings."""
    method = Method(service="x.Y", name="Z", input=THING, output=THING, http=rules)
    rest = Rest(RestSettings(), Bounds())
    service = ServiceModel(name="x.Y", methods={"Z": method})
    rest.offer(Catalog(services={"x.Y": service}, schemas={"x.Y": SCHEMA}))
    return rest


@pytest.mark.parametrize(("success", "body"), [(201, b'{"id":"1"}'), (204, b"")])
async def test_the_success_status_is_the_binding_s(success: int, body: bytes) -> None:
    rest = with_rules(HttpRule(verb="GET", template="/x/{id}", success=success))
    exchange = await answer(Service(), "GET /x/1", rest=rest)
    assert (exchange.status, exchange.body) == (success, body)


async def test_rules_that_cannot_be_served_are_told_and_the_others_stand() -> None:
    rest = with_rules(
        HttpRule(verb="GET", template="/x/{nope}"),
        HttpRule(verb="GET", template="/x/{tags}"),
        HttpRule(verb="GET", template="/x/{inner}"),
        HttpRule(verb="GET", template="/x/{"),
        HttpRule(verb="POST", template="/x", body="nope"),
        HttpRule(verb="POST", template="/x", body="inner.count"),
        HttpRule(verb="GET", template="/x", response_body="nope"),
        HttpRule(verb="GET", template="/x/{id}"),
        HttpRule(verb="GET", template="/x/{name}"),
    )
    assert [fault.removeprefix("x.Y/Z: ") for fault in rest.faults] == [
        "GET /x/{nope}: rest.v1.Thing.nope: unknown field",
        "GET /x/{tags}: rest.v1.Thing.tags: a path variable cannot be repeated",
        "GET /x/{inner}: rest.v1.Thing.inner: a rest.v1.Inner cannot be given as text",
        "GET /x/{: /x/{: a field name is missing at column 5",
        "POST /x: nope: unknown field of rest.v1.Thing; a body selector names a top-level field",
        "POST /x: inner.count: unknown field of rest.v1.Thing; a body selector names a top-level field",
        "GET /x: nope: unknown field of rest.v1.Thing; a body selector names a top-level field",
        "GET /x/{name} (x.Y/Z) never matches: GET /x/{id} (x.Y/Z) has the same path and verb and comes first",
    ]
    assert (await answer(Service(), "GET /x/1", rest=rest)).status == 200


async def test_json_from_the_upstream_is_passed_untouched() -> None:
    body = b'{ "id" : "1" }'
    reply = Reply(payload=Payload(body, Encoding.JSON, THING.codec))
    assert (await answer(Service(reply))).body == body


async def test_an_upstream_s_bytes_that_are_no_message_are_502() -> None:
    exchange = await answer(Service(b"\xff\xff"))
    assert exchange.status == 502
    assert json.loads(exchange.body)["code"] in (Code.INTERNAL, Code.UNKNOWN)
    assert (await answer(Service(b"\xff\xff"), "GET /v1/names/1")).status == 502


async def test_a_reply_without_a_message_is_our_fault() -> None:
    assert (await answer(Service(Reply()))).status == 500


# ---- negotiation


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        ("application/json", 200, "application/json"),
        ("text/html, */*;q=0.1", 200, "application/json"),
        ("application/x-protobuf", 200, "application/x-protobuf"),
        ("application/protobuf, application/json;q=0.9", 200, "application/x-protobuf"),
        ("application/*", 200, "application/json"),
        ("text/html", 406, "application/json"),
        ("text/event-stream", 406, "application/json"),
        ("application/json;q=0", 406, "application/json"),
    ],
)
async def test_accept_chooses_the_form(accept: str, status: int, content_type: str) -> None:
    service = Service()
    exchange = await answer(service, headers={"accept": accept})
    assert (exchange.status, exchange.get("content-type")) == (status, content_type)
    if content_type == "application/x-protobuf":
        assert thing(exchange.body).id == 1
    assert len(service.calls) == (status == 200)


async def test_a_selected_field_is_json_only() -> None:
    assert (await answer(Service(), "GET /v1/names/1", {"accept": "application/x-protobuf"})).status == 406


@pytest.mark.parametrize(
    ("accepted", "coding"), [("gzip, br;q=0.1", "gzip"), ("gzip, br", "br"), ("gzip, br, zstd", "zstd")]
)
async def test_large_replies_are_compressed_as_accepted(accepted: str, coding: str) -> None:
    exchange = await answer(Service(LONG), headers={"accept-encoding": accepted})
    assert (exchange.get("content-encoding"), exchange.get("vary")) == (coding, "accept-encoding")
    plain = decompress(exchange.body, coding.encode(), 10_000)
    assert json.loads(plain) == {"name": "x" * 5_000}


async def test_what_is_not_compressed() -> None:
    plain = {"accept-encoding": "gzip"}
    small = await answer(Service(), headers=plain)
    assert (small.get("content-encoding"), small.get("vary")) == (None, None)
    unwanted = await answer(Service(LONG))
    assert (unwanted.get("content-encoding"), unwanted.get("vary")) == (None, "accept-encoding")
    off = await answer(Service(LONG), headers=plain, rest=front(compression=False))
    assert off.get("content-encoding") is None
    kept = Metadata(((b"cache-control", b"no-transform"),))
    assert (await answer(Service(LONG, metadata=kept), headers=plain)).get("content-encoding") is None
    image = b"\x0a\x09image/png\x12\xd0\x0f" + b"x" * 2_000
    raw = await answer(Service(image), "POST /v1/raw", plain)
    assert (raw.get("content-encoding"), len(raw.body)) == (None, 2_000)


# ---- errors


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_every_code_has_its_status_and_body(code: Code) -> None:
    exchange = await answer(Service(status=Status(code, 'it "failed"\n\ud800')))
    assert exchange.status == HTTP_STATUS[code]
    assert json.loads(exchange.body) == {"code": code, "message": 'it "failed"\n?', "details": []}
    assert exchange.get("content-type") == "application/json"


async def test_the_aip193_style() -> None:
    exchange = await answer(Service(status=Status(Code.NOT_FOUND, "gone")), rest=front(errors="aip193"))
    assert json.loads(exchange.body) == {
        "error": {"code": 404, "message": "gone", "status": "NOT_FOUND", "details": []}
    }


async def test_the_problem_style() -> None:
    exchange = await answer(Service(status=Status(Code.CANCELLED, "gone")), rest=front(errors="problem"))
    assert exchange.get("content-type") == "application/problem+json"
    assert json.loads(exchange.body) == {
        "type": "about:blank",
        "title": "Client Closed Request",
        "status": 499,
        "detail": "gone",
        "code": "CANCELLED",
        "details": [],
    }


async def test_details_are_expanded_by_their_types_and_shown_as_bytes_without_one() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="id", description="bad")
    status = Status(
        Code.INVALID_ARGUMENT,
        "no",
        (
            detail(error_details_pb2.BadRequest(field_violations=[violation])),
            Detail("type.googleapis.com/rest.v1.Thing", thing(id=5).SerializeToString()),
            Detail("type.googleapis.com/who.Knows", b"\x01\x02"),
            Detail("type.googleapis.com/rest.v1.Thing", b"\xff"),
            detail(duration_pb2.Duration(seconds=3)),
        ),
    )
    exchange = await answer(Service(status=status))
    assert json.loads(exchange.body)["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": "id", "description": "bad"}],
        },
        {"@type": "type.googleapis.com/rest.v1.Thing", "id": "5"},
        {"@type": "type.googleapis.com/who.Knows", "value": "AQI="},
        {"@type": "type.googleapis.com/rest.v1.Thing", "value": "/w=="},
        {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"},
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("x"), 400),
        (NotOffered("x"), 404),
        (NotOffered("x", http_status=405, headers=((b"allow", b"GET"),)), 405),
        (DeadlineExceeded(), 504),
        (Unreachable("x"), 503),
        (BadUpstream("x"), 502),
        (Overloaded("x"), 503),
        (InternalError(), 500),
    ],
)
async def test_errors_of_the_gateway_s_own(error: GatewayError, status: int) -> None:
    exchange = await answer(Service(error))
    assert exchange.status == status
    assert json.loads(exchange.body)["code"] == error.status.code
    if status == 405:
        assert exchange.get("allow") == "GET"


async def test_unauthenticated_asks_for_credentials() -> None:
    status = Status(Code.UNAUTHENTICATED, "who\r\nare you")
    assert (await answer(Service(status=status))).get("www-authenticate") == "Bearer"
    own = Metadata(((b"www-authenticate", b'Basic realm="x"'),))
    assert (await answer(Service(status=status, metadata=own))).get("www-authenticate") == 'Basic realm="x"'


@pytest.mark.parametrize(
    ("seconds", "nanos", "after"), [(3, 0, "3"), (3, 1, "4"), (0, 200_000_000, "1"), (-1, 0, None), (0, 0, "0")]
)
@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE])
async def test_retry_info_becomes_retry_after(code: Code, seconds: int, nanos: int, after: str | None) -> None:
    made = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos))
    exchange = await answer(Service(status=Status(code, "", (detail(made),))))
    assert exchange.get("retry-after") == after


async def test_a_retry_info_that_does_not_parse_is_none() -> None:
    broken = Detail("type.googleapis.com/google.rpc.RetryInfo", b"\x0a\xff")
    exchange = await answer(Service(status=Status(Code.UNAVAILABLE, "", (broken,))))
    assert (exchange.status, exchange.get("retry-after")) == (503, None)


async def test_an_error_may_be_rendered_before_anything_is_known_of_the_request() -> None:
    exchange = request("GET /nowhere")
    REST.fail(exchange, NotOffered("x", http_status=404))
    assert exchange.status == 404


async def test_an_error_after_a_whole_answer_cuts_it() -> None:
    exchange = request("GET /v1/things/1")
    exchange.start(200, ())
    REST.fail(exchange, InternalError())
    assert exchange.aborted
