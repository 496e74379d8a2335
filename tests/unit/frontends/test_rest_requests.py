"""What requests become: paths, queries, bodies and fields → the message and the call."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from protogw.errors import Code, Status
from protogw.frontends.base import Bounds
from protogw.wire.content import compress
from protogw.wire.http import HTTP_2
from tests.support.rest import Exchange, Service, ask, front, message, request, thing

REST = front()
JSON = {"content-type": "application/json"}


async def send(
    line: str, body: bytes = b"", headers: Any = (), service: Service | None = None
) -> tuple[Exchange, Service]:
    service = service or Service()
    return await ask(REST, request(line, body, headers), service), service


async def received(line: str, body: bytes = b"", headers: Any = ()) -> Any:
    exchange, service = await send(line, body, headers)
    assert exchange.status == 200, exchange.body
    return service.thing


async def refusal(line: str, body: bytes = b"", headers: Any = (), status: int = 400) -> str:
    exchange, service = await send(line, body, headers)
    assert exchange.status == status, (exchange.status, exchange.body)
    assert not service.calls or not service.received
    error = json.loads(exchange.body)
    assert error["details"] == []
    message: str = error["message"]
    return message


# ---- the path


async def test_a_variable_fills_its_field() -> None:
    assert (await received("GET /v1/things/12")).id == 12


async def test_a_variable_over_one_segment_is_decoded_whole() -> None:
    made = await received("POST /v1/shelves/a%2Fb%20%C3%A9/things:import", b'{"id":1}')
    assert made.name == "a/b é"


async def test_a_variable_over_several_segments_keeps_encoded_slashes() -> None:
    assert (await received("GET /v1/files/a/b%2Fc%20d")).name == "a/b%2Fc d"


async def test_nested_enum_and_bool_variables() -> None:
    made = await received("GET /v1/kinds/BIG/true/-5")
    assert (made.kind, made.inner.flag, made.inner.count) == (1, True, -5)


async def test_a_custom_verb_suffix_belongs_to_the_route() -> None:
    assert (await received("GET /v1/things/12:peek")).id == 12


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/things/abc", 'id: expected int64, got "abc"'),
        ("/v1/things/1.0", "id: expected int64"),
        ("/v1/things/9223372036854775808", "id: expected int64"),
        ("/v1/things/+1", "id: expected int64"),
        ("/v1/things/1_0", "id: expected int64"),
        ("/v1/things/%D9%A1", "id: expected int64"),
        ("/v1/things/1" + "0" * 5_000, "id: expected int64"),
        ("/v1/kinds/HUGE/true/1", "kind: expected a value of rest.v1.Kind"),
        ("/v1/kinds/BIG/maybe/1", "inner.flag: expected bool"),
        ("/v1/files/a/%00", "path: an encoded NUL"),
        ("/v1/files/a/%2e%2e/b", "path: a dot segment"),
        ("/v1/files/a//b", "path: an empty segment"),
        ("/v1/files/a/%zz", "path: malformed percent-encoding"),
        ("/v1/files/a/%ff", "path: percent-encoded bytes that are not UTF-8"),
        ("/v1/files/..%2fadmin", "path: a dot segment"),
        ("/v1/files/%5c", "path: a backslash"),
    ],
)
async def test_a_path_that_does_not_fit_is_refused_by_name(path: str, words: str) -> None:
    said = await refusal(f"GET {path}")
    assert words in said
    assert len(said) < 250


async def test_an_unknown_path_is_not_accepted() -> None:
    for line in ("GET /", "GET /v2", "GET /v1/things/1/2", "GET *", "GET /v1/things/"):
        assert not REST.accepts(request(line).head)


async def test_a_known_path_under_another_verb_is_405_with_allow() -> None:
    exchange, service = await send("PATCH /v1/things")
    assert exchange.status == 405
    assert exchange.get("allow") == "OPTIONS, POST"
    assert not service.calls


async def test_options_tells_the_verbs() -> None:
    exchange, _ = await send("OPTIONS /v1/things/3")
    assert (exchange.status, exchange.body) == (204, b"")
    assert exchange.get("allow") == "DELETE, GET, HEAD, OPTIONS, PATCH, PURGE, PUT"


async def test_a_custom_kind_is_a_verb() -> None:
    exchange, service = await send("PURGE /v1/things/3", service=Service(b""))
    assert exchange.status == 200
    assert service.calls[0].method.name == "Purge"  # type: ignore[union-attr]


async def test_head_is_a_get_without_a_body() -> None:
    exchange, service = await send("HEAD /v1/things/3")
    assert (exchange.status, exchange.body, exchange.get("content-type")) == (200, b"", "application/json")
    assert service.thing.id == 3


async def test_a_method_without_annotation_is_offered_at_its_own_path() -> None:
    assert (await received("POST /rest.v1.Things/Plain", b'{"id":3}')).id == 3
    exchange, _ = await send("GET /rest.v1.Things/Plain")
    assert exchange.status == 405
    assert not REST.accepts(request("POST /rest.v1.Things/Get").head)


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        ("POST /rest.v1.Things/Plain", {"content-type": "application/grpc"}),
        ("POST /rest.v1.Things/Plain", {"content-type": "application/grpc-web+proto"}),
        ("POST /rest.v1.Things/Plain", {"content-type": "application/connect+json"}),
        ("POST /rest.v1.Things/Plain", {"content-type": "application/json", "connect-protocol-version": "1"}),
        ("GET /rest.v1.Things/Plain?connect=v1&encoding=json&message=%7B%7D", {}),
    ],
)
async def test_calls_of_other_protocols_at_that_path_are_left_alone(line: str, headers: dict[str, str]) -> None:
    assert not REST.accepts(request(line, headers=headers).head)


async def test_method_override_is_ignored_unless_enabled() -> None:
    line, headers = "POST /v1/things", {"x-http-method-override": "DELETE"}
    assert (await received(line, b"{}", headers)).id == 0
    enabled = front(method_override=True)
    service = Service(b"")
    await ask(enabled, request("POST /v1/things/3", b"", headers), service)
    assert service.calls[0].method.name == "Remove"  # type: ignore[union-attr]


# ---- who sets what


async def test_the_path_wins_over_the_body() -> None:
    made = await received("PUT /v1/things/7", b'{"id":"5","name":"x"}')
    assert (made.id, made.name) == (7, "x")


async def test_what_the_path_gives_may_not_come_in_the_query_too() -> None:
    assert "id: already given by the path or the body" in await refusal("GET /v1/things/7?id=8")


async def test_what_the_body_gives_may_not_come_in_the_query_too() -> None:
    said = await refusal("POST /v1/things/7/inner?inner.count=3", b"{}")
    assert "inner.count: already given by the path or the body" in said


async def test_with_the_whole_message_as_body_there_are_no_parameters() -> None:
    assert "name: unknown query parameter" in await refusal("POST /v1/things?name=x", b"{}")


async def test_the_rest_of_the_message_may_come_in_the_query_beside_a_body_field() -> None:
    exchange, service = await send("POST /v1/things/7/inner?name=x", b'{"count":3}', JSON)
    assert (exchange.status, exchange.body) == (200, b'{"count":3}')
    assert (service.thing.id, service.thing.name, service.thing.inner.count) == (7, "x", 3)


# ---- bodies


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON;charset="UTF-8"',
        "application/x+json",
    ],
)
async def test_json_bodies(content_type: str) -> None:
    headers = {"content-type": content_type} if content_type else {}
    assert (await received("POST /v1/things", b'{"name":"x"}', headers)).name == "x"


@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/protobuf"])
async def test_protobuf_bodies(content_type: str) -> None:
    headers = {"content-type": content_type}
    assert (await received("PUT /v1/things/7", thing(name="x").SerializeToString(), headers)).name == "x"
    inner = message("rest.v1.Inner", b"")
    inner.count = 4
    _, service = await send("POST /v1/things/7/inner", inner.SerializeToString(), headers)
    assert (service.thing.id, service.thing.inner.count) == (7, 4)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/json",
        "application/json; charset=latin1",
        "application/x-ndjson",
        "application/octet-stream",
        "nonsense",
    ],
)
async def test_other_content_types_are_refused(content_type: str) -> None:
    said = await refusal("POST /v1/things", b'{"name":"x"}', {"content-type": content_type}, status=415)
    assert said.startswith("content-type: ")


async def test_protobuf_is_no_body_for_a_field_that_is_no_message() -> None:
    said = await refusal("POST /v1/things/7/tags", b"x", {"content-type": "application/x-protobuf"}, status=415)
    assert "only application/json" in said


async def test_a_body_where_none_is_mapped_is_refused() -> None:
    assert "body: this method takes none" in await refusal("GET /v1/things/7", b"{}")
    exchange = await ask(REST, request("GET /v1/things/7", [b"{}"]), Service())
    assert exchange.status == 400
    exchange = await ask(REST, request("GET /v1/things/7", []), Service())
    assert exchange.status == 200


@pytest.mark.parametrize("line", ["POST /v1/things", "PUT /v1/things/7", "POST /v1/things/7/inner"])
async def test_an_empty_body_is_an_empty_message(line: str) -> None:
    exchange, service = await send(line, b"")
    assert exchange.status == 200
    assert not service.thing.name


async def test_a_body_field_may_be_a_list_or_a_message() -> None:
    exchange, service = await send("POST /v1/things/7/tags", b'["a","b"]', JSON)
    assert (list(service.thing.tags), exchange.body) == (["a", "b"], b'["a","b"]')


async def test_a_body_that_comes_in_pieces() -> None:
    service = Service()
    exchange = await ask(REST, request("POST /v1/things", [b'{"na', b'me":', b'"x"}'], JSON), service)
    assert (exchange.status, service.thing.name) == (200, "x")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON"),
        (b"[]", ""),
        (b'{"nope":1}', "nope"),
        (b'{"id":"abc"}', "id"),
        (b'{"id":1e999}', ""),
        (b'{"id":1,"id":2}', "id"),
        (b'{"small":-1}', "small"),
        (b'{"left":"a","right":2}', ""),
        (b'{"name":"\\ud800"}', ""),
        (b'{"name":"\xff"}', ""),
        (b"\xef\xbb\xbf{}", ""),
        (b"{}\0", ""),
        (b"{} {}", ""),
        (b'{"inner":' * 10_000, ""),
        (b'{"weight":' + b"9" * 10_000 + b"}", ""),
        (b"[" * 100_000, ""),
    ],
)
@pytest.mark.parametrize("line", ["POST /v1/things", "PUT /v1/things/7"])
async def test_json_that_does_not_fit_is_refused(line: str, body: bytes, words: str) -> None:
    assert words in await refusal(line, body, JSON)


async def test_a_body_over_the_limit_is_413() -> None:
    small = front(Bounds(body=10))
    for body in (b'{"name":"0123456789"}', [b'{"name":', b'"0123456789"}']):
        exchange = await ask(small, request("POST /v1/things", body, JSON), Service())
        assert (exchange.status, json.loads(exchange.body)["code"]) == (413, Code.RESOURCE_EXHAUSTED)


# ---- content coding


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "identity"])
async def test_encoded_bodies_are_decoded(coding: str) -> None:
    plain = b'{"name":"x"}'
    body = plain if coding == "identity" else compress(plain, coding.encode())
    assert (await received("POST /v1/things", body, {**JSON, "content-encoding": coding})).name == "x"


async def test_an_unknown_coding_is_415_with_those_offered() -> None:
    exchange, _ = await send("POST /v1/things", b"{}", {**JSON, "content-encoding": "deflate"})
    assert (exchange.status, exchange.get("accept-encoding")) == (415, "zstd, br, gzip")
    exchange, _ = await send("POST /v1/things", b"{}", [("content-encoding", "gzip"), ("content-encoding", "br")])
    assert exchange.status == 415


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_bomb_is_413(coding: str) -> None:
    small = front(Bounds(body=1 << 20))
    plain = b" " * (8 << 20) + b"{}"
    body = compress(plain, coding.encode())
    exchange = await ask(small, request("POST /v1/things", body, {**JSON, "content-encoding": coding}), Service())
    assert exchange.status == 413


# ---- PATCH and its mask


async def patched(line: str, body: bytes, headers: Any = JSON) -> Any:
    _, service = await send(line, body, headers, Service(b""))
    return message("rest.v1.UpdateRequest", service.received[0])


async def test_patch_derives_the_mask_from_the_body() -> None:
    body = b'{"weight":3,"inner":{"count":3,"deeper":{"flag":false}},"tags":[],"counts":{"a":1},"twoWords":""}'
    made = await patched("PATCH /v1/things/7", body)
    assert made.thing.name == "things/7"
    assert sorted(made.update_mask.paths) == [
        "counts",
        "inner.count",
        "inner.deeper.flag",
        "tags",
        "two_words",
        "weight",
    ]


async def test_a_mask_that_the_client_sends_is_kept() -> None:
    made = await patched("PATCH /v1/things/7?updateMask=twoWords,inner.count&dryRun=true", b'{"weight":3}')
    assert list(made.update_mask.paths) == ["two_words", "inner.count"]
    assert made.dry_run


async def test_no_mask_is_derived_from_protobuf() -> None:
    body = thing(weight=3.0).SerializeToString()
    made = await patched("PATCH /v1/things/7", body, {"content-type": "application/protobuf"})
    assert not made.HasField("update_mask")


# ---- google.api.HttpBody


async def test_a_raw_body_is_passed_as_it_is_both_ways() -> None:
    exchange, service = await send("POST /v1/raw", b"\0\xff", {"content-type": "image/png"})
    made = message("google.api.HttpBody", service.received[0])
    assert (made.content_type, made.data) == ("image/png", b"\0\xff")
    assert (exchange.get("content-type"), exchange.body) == ("image/png", b"\0\xff")


async def test_a_raw_body_may_be_a_field() -> None:
    exchange, service = await send("POST /v1/things/n/attachment", b"{}", {"content-type": "application/json"})
    made = message("rest.v1.AttachRequest", service.received[0])
    assert (made.name, made.file.content_type, made.file.data) == ("n", "application/json", b"{}")
    assert (exchange.get("content-type"), exchange.body) == ("application/json", b"{}")


@pytest.mark.parametrize("content_type", ["", "a\r\nx: y", "täxt"])
async def test_a_reply_s_content_type_is_never_written_unchecked(content_type: str) -> None:
    made = message("google.api.HttpBody")
    made.content_type, made.data = content_type, b"x"
    exchange, _ = await send("POST /v1/raw", b"x", service=Service(made.SerializeToString()))
    assert exchange.get("content-type") == "application/octet-stream"


async def test_a_reply_that_is_no_http_body_is_502() -> None:
    exchange, _ = await send("POST /v1/raw", b"x", service=Service(b"\x0a\xff"))
    assert exchange.status == 502


# ---- fields of the head


async def test_metadata_is_what_may_travel() -> None:
    _, service = await send(
        "GET /v1/things/1",
        headers=[
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=6.6.6.6"),
            ("connection", "x-secret"),
            ("x-secret", "1"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("grpc-internal", "1"),
            ("accept", "*/*"),
            ("x-bin", base64.b64encode(b"12").decode()),
        ],
    )
    assert service.calls[0].metadata.pairs == (
        (b"authorization", b"Bearer x"),
        (b"x-many", b"1"),
        (b"x-many", b"2"),
        (b"x-bin", b"MTI"),
    )


async def test_equal_fields_share_one_metadata() -> None:
    headers = {"x-a": "1"}
    await send("GET /v1/things/0", headers=headers)  # what came once is not kept
    _, first = await send("GET /v1/things/1", headers=headers)
    _, second = await send("GET /v1/things/2", headers=headers)
    _, other = await send("GET /v1/things/2", headers={"x-a": "2"})
    assert first.calls[0].metadata is second.calls[0].metadata
    assert other.calls[0].metadata is not first.calls[0].metadata


async def test_the_cache_of_fields_is_bounded() -> None:
    rest = front()
    for number in range(600):
        exchange = await ask(rest, request("GET /v1/things/1", headers={"x-a": str(number)}), service := Service())
        assert exchange.status == 200
        assert (b"x-a", str(number).encode()) in service.calls[0].metadata.pairs
    await ask(rest, request("GET /v1/things/1", headers={"x-a": "y" * 9_000}), Service())
    assert len(rest._facts._known) <= 256


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("grpc-timeout", "2S", 2.0),
        ("grpc-timeout", "150m", 0.15),
        ("x-server-timeout", "1.5", 1.5),
        ("x-server-timeout", "0", 0.0),
        ("x-other", "1", None),
    ],
)
async def test_deadlines(name: str, value: str, expected: float | None) -> None:
    _, service = await send("GET /v1/things/1", headers={name: value})
    assert service.calls[0].timeout == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grpc-timeout", "123456789S"),
        ("grpc-timeout", "5"),
        ("grpc-timeout", "-1S"),
        ("x-server-timeout", "-1"),
        ("x-server-timeout", "1e9"),
        ("x-server-timeout", "nan"),
        ("x-server-timeout", "soon"),
    ],
)
async def test_deadlines_that_are_none_are_refused_by_name(name: str, value: str) -> None:
    assert (await refusal("GET /v1/things/1", headers={name: value})).startswith(name)


async def test_equal_heads_on_one_connection_are_read_once() -> None:
    exchange = request("GET /v1/things/12?name=x", version=HTTP_2)
    service = Service()
    await ask(REST, exchange, service)
    again = Exchange(exchange.head)
    again.peer = exchange.peer
    await ask(REST, again, service)
    assert service.received[0] == service.received[1]
    assert exchange.body == again.body
    # A schema that changed in between is seen.
    REST.offer(front()._table.catalog)
    third = Exchange(exchange.head)
    third.peer = exchange.peer
    await ask(REST, third, service)
    assert third.status == 200


async def test_json_bodies_reach_an_upstream_that_takes_json_untouched() -> None:
    service = Service(status=Status(Code.UNKNOWN))
    body = b'{ "name" : "x" }'
    exchange = request("POST /v1/things", body, JSON)
    await ask(REST, exchange, service)
    payload = service.calls[0].payload
    assert payload is not None
    assert payload.data is body
