"""The translator to REST, for operations of an OpenAPI document: what is sent, and what is made of replies."""

from __future__ import annotations

import base64
import re
from typing import Any

import orjson
import pytest
from protogw_translators.to_rest import ToRest
from protogw_translators.to_rest_styles import in_cookie, in_header, in_path, in_query, text

from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import BadUpstream, Code, InvalidRequest
from protogw.wire.http import Peer
from tests.support.openapi import body, operation
from tests.support.upstream import JSON, Connection, Stream

PEER = Peer("192.0.2.1", 5)


def call(method: Method, value: Any, *, metadata: Metadata = NO_METADATA, how: str = "proto") -> Call:
    """A call with this message, given in the service's own JSON; it travels as protobuf, or as either JSON."""
    codec = method.input.codec
    data = orjson.dumps(value)
    if how == "native":
        payload = Payload(data, Encoding.JSON, codec)
    elif how == "protojson":
        payload = Payload(data, Encoding.JSON, codec.canonical)
    else:
        payload = Payload(codec.from_json(data), Encoding.PROTO, codec)
    return Call(method, metadata, front_end="rest", peer=PEER, started=0.0, payload=payload)


async def sent(method: Method, value: Any, **more: Any) -> Stream:
    options = {key: more.pop(key) for key in ("base_path",) if key in more}
    stream = Stream(200, JSON, b"{}")
    await ToRest("shop:80", user_agent="gw/1", **options).send(call(method, value, **more), Connection(stream))
    return stream


async def reply(method: Method, status: int, fields: Any, data: bytes) -> Reply:
    return await ToRest("shop:80").send(call(method, {}), Connection(Stream(status, fields, data)))


def parameter(name: str, place: str, schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {"type": "string"} if schema is None else schema, **more}


def header(stream: Stream, name: str) -> list[str]:
    found = re.findall(rf"\r\n{name}: ([^\r]*)", stream.head_bytes.decode("latin-1"))
    return [str(one) for one in found]


LIST = ["blue", "black,brown", "a b"]
OBJECT = {"R": 100, "G": "x&y"}


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("simple", False, 5, "5"),
        ("simple", False, "a/b?", "a%2Fb%3F"),
        ("simple", False, LIST, "blue,black%2Cbrown,a%20b"),
        ("simple", False, OBJECT, "R,100,G,x%26y"),
        ("simple", True, OBJECT, "R=100,G=x%26y"),
        ("label", False, "blue", ".blue"),
        ("label", False, LIST, ".blue,black%2Cbrown,a%20b"),
        ("label", True, LIST, ".blue.black%2Cbrown.a%20b"),
        ("label", False, OBJECT, ".R,100,G,x%26y"),
        ("label", True, OBJECT, ".R=100.G=x%26y"),
        ("matrix", False, "", ";color"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, LIST, ";color=blue,black%2Cbrown,a%20b"),
        ("matrix", True, LIST, ";color=blue;color=black%2Cbrown;color=a%20b"),
        ("matrix", False, OBJECT, ";color=R,100,G,x%26y"),
        ("matrix", True, OBJECT, ";R=100;G=x%26y"),
    ],
)
def test_styles_in_a_path(style: str, explode: bool, value: Any, written: str) -> None:
    assert in_path(style, explode, "color", value) == written


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("form", True, "a b&c", "color=a%20b%26c"),
        ("form", True, "", "color="),
        ("form", True, None, ""),
        ("form", True, LIST, "color=blue&color=black%2Cbrown&color=a%20b"),
        ("form", False, LIST, "color=blue,black%2Cbrown,a%20b"),
        ("form", False, [], ""),
        ("form", True, OBJECT, "R=100&G=x%26y"),
        ("form", False, OBJECT, "color=R,100,G,x%26y"),
        ("form", True, {"R": None, "G": [1, 2]}, "G=1&G=2"),
        ("spaceDelimited", False, LIST, "color=blue%20black%2Cbrown%20a%20b"),
        ("spaceDelimited", False, OBJECT, "color=R%20100%20G%20x%26y"),
        ("pipeDelimited", False, LIST, "color=blue%7Cblack%2Cbrown%7Ca%20b"),
        ("deepObject", True, OBJECT, "color%5BR%5D=100&color%5BG%5D=x%26y"),
        (
            "deepObject",
            True,
            {"a": {"b": [1, 2]}, "c": [{"d": True}]},
            "color%5Ba%5D%5Bb%5D%5B%5D=1&color%5Ba%5D%5Bb%5D%5B%5D=2&color%5Bc%5D%5B0%5D%5Bd%5D=true",
        ),
    ],
)
def test_styles_in_a_query(style: str, explode: bool, value: Any, written: str) -> None:
    assert "&".join(in_query(style, explode, "color", value)) == written


def test_reserved_characters_stay_where_they_are_allowed_but_for_those_that_end_a_value() -> None:
    assert in_query("form", True, "q", "a/b?c:d&e=f#g+h", reserved=True) == ["q=a/b?c:d%26e%3Df%23g%2Bh"]


def test_an_object_that_is_nested_too_deeply_for_a_query_is_refused() -> None:
    value: Any = 1
    for _ in range(40):
        value = {"a": value}
    with pytest.raises(InvalidRequest, match="nested too deeply for a query"):
        in_query("deepObject", True, "q", value)


def test_values_in_headers_and_cookies() -> None:
    assert in_header(False, "x", ["a", 1, True]) == "a,1,true"
    assert in_header(False, "x", OBJECT) == "R,100,G,x&y"
    assert in_header(True, "x", OBJECT) == "R=100,G=x&y"
    assert in_cookie(True, "c", "a;b c") == ["c=a%3Bb%20c"]
    assert in_cookie(False, "c", ["a", "b"]) == ["c=a,b"]
    assert in_cookie(True, "c", ["a", "b"]) == ["c=a", "c=b"]
    assert in_cookie(True, "c", {"a": 1}) == ["a=1"]
    assert in_cookie(False, "c", {"a": 1}) == ["c=a,1"]
    for bad in ("a\r\nx: y", "\n", "ü", "a\0", " a", "a "):
        with pytest.raises(InvalidRequest, match="x: a header field cannot hold this text"):
            in_header(False, "x", bad)


@pytest.mark.parametrize(("value", "shown"), [(1.0, "1"), (1.5, "1.5"), (2**63, "9223372036854775808"), (True, "true")])
def test_numbers_as_text(value: Any, shown: str) -> None:
    assert text(value) == shown


async def test_parameters_go_where_they_belong() -> None:
    method = operation(
        {
            "parameters": [
                parameter("id", "path", {"type": "integer"}),
                parameter("status", "query", {"type": "array", "items": {"enum": ["on", "sold-out"]}}),
                parameter("where", "query", {"type": "object", "properties": {"a": {"type": "integer"}}},
                          style="deepObject"),
                {"name": "raw", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                parameter("X-Trace", "header"),
                parameter("sid", "cookie"),
            ]
        },
        "/pets/{id}/x",
        "get",
    )  # fmt: skip
    value = {"id": 0, "status": ["sold-out", "on"], "where": {"a": 1}, "raw": {"b": [1]}, "X-Trace": "t", "sid": "s;"}
    metadata = Metadata(((b"cookie", b"other=1"), (b"x-trace", b"theirs"), (b"accept-language", b"de")))
    stream = await sent(method, value, metadata=metadata)
    query = "status=sold-out&status=on&where%5Ba%5D=1&raw=%7B%22b%22%3A%5B1%5D%7D"
    assert stream.line == f"GET /pets/0/x?{query}"
    assert header(stream, "x-trace") == ["t"]
    assert header(stream, "cookie") == ["other=1; sid=s%3B"]
    assert header(stream, "accept-language") == ["de"]
    stream = await sent(method, {"id": 7}, metadata=metadata)
    assert stream.line == "GET /pets/7/x"
    assert header(stream, "x-trace") == ["theirs"]


async def test_no_message_sets_a_field_that_only_the_gateway_writes() -> None:
    method = operation({"parameters": [parameter("X-User", "header"), parameter("X_User", "header")]})
    stream = Stream(200, JSON, b"{}")
    to_rest = ToRest("shop:80")
    to_rest.guard(frozenset((b"x-user",)))
    asked = call(method, {"X-User": "eve", "X_User": "eve"}, metadata=Metadata(((b"x-user", b"ann"),)))
    await to_rest.send(asked, Connection(stream))
    assert header(stream, "x-user") == ["ann"]
    assert header(stream, "x_user") == []


@pytest.mark.parametrize("value", ["", "..", ".", "a\\b", "\0"])
async def test_a_path_that_reads_as_another_is_refused(value: str) -> None:
    method = operation({"parameters": [parameter("id", "path")]}, "/pets/{id}", "get")
    with pytest.raises(InvalidRequest, match="id"):
        await sent(method, {"id": value})


async def test_paths_keep_what_is_fixed_in_them() -> None:
    method = operation({"parameters": [parameter("a", "path"), parameter("b", "path"), parameter("q", "query")]},
                       "/x y/{a}.{b}?beta=true", "get", servers=[{"url": "/v1"}])  # fmt: skip
    assert (await sent(method, {"a": "1", "b": "ü"})).line == "GET /v1/x%20y/1.%C3%BC?beta=true"
    assert (await sent(method, {"a": "1", "b": "2", "q": "z"})).line == "GET /v1/x%20y/1.2?beta=true&q=z"
    assert (await sent(method, {"a": "1", "b": "2"}, base_path="/v2")).line == "GET /v2/x%20y/1.2?beta=true"


PET = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "n": {"type": "string"}}}


async def test_a_body_of_the_services_own_json_passes_untouched() -> None:
    method = body(PET)
    stream = await sent(method, {"id": 5, "unknown": 1}, how="native")
    assert (stream.line, stream.body) == ("POST /do", b'{"id":5,"unknown":1}')
    assert header(stream, "content-type") == ["application/json"]


async def test_a_body_in_protojson_or_protobuf_becomes_the_services_own() -> None:
    method = body(PET)
    assert (await sent(method, {"id": "5"}, how="protojson")).body == b'{"id":5}'
    assert (await sent(method, {"n": "x"})).body == b'{"n":"x","id":0}'
    with pytest.raises(InvalidRequest, match="unknown"):
        await sent(method, {"unknown": 1}, how="protojson")


async def test_a_body_beside_parameters() -> None:
    method = operation(
        {
            "parameters": [parameter("dry", "query", {"type": "boolean"})],
            "requestBody": {"content": {"application/merge-patch+json": {"schema": {"type": "array", "items": PET}}}},
        }
    )
    stream = await sent(method, {"dry": False, "body": [{"id": 1}]})
    assert (stream.line, stream.body) == ("POST /do?dry=false", b'[{"id":1}]')
    assert header(stream, "content-type") == ["application/merge-patch+json"]


async def test_a_form_is_written_by_its_encoding() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "address": {"type": "object", "properties": {"city": {"type": "string"}}},
            "meta": {"type": "object", "additionalProperties": {"type": "integer"}},
            "json": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
    encoding = {
        "tags": {"explode": False},
        "meta": {"style": "deepObject", "explode": True},
        "json": {"contentType": "application/json"},
    }
    content = {"application/x-www-form-urlencoded": {"schema": schema, "encoding": encoding}}
    method = operation({"requestBody": {"content": content}})
    value = {"name": "a b&=", "tags": ["x", "y"], "address": {"city": "K"}, "meta": {"k": 1}, "json": {"a": 1}}
    stream = await sent(method, value)
    assert stream.body == (b"name=a%20b%26%3D&tags=x,y&city=K&meta%5Bk%5D=1&json=%7B%22a%22%3A1%7D")
    assert header(stream, "content-type") == ["application/x-www-form-urlencoded"]


async def test_a_multipart_form_has_a_part_for_each_value() -> None:
    schema = {
        "type": "object",
        "properties": {
            'a"b': {"type": "string"},
            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "image": {"type": "string", "format": "binary"},
            "count": {"type": "integer"},
            "meta": {"type": "object", "properties": {"x": {"type": "integer"}}},
        },
    }
    content = {
        "multipart/form-data": {"schema": schema, "encoding": {"image": {"contentType": "image/png, image/gif"}}}
    }
    method = operation({"requestBody": {"content": content}})
    data = base64.b64encode(b"\0\r\n--").decode()
    stream = await sent(method, {'a"b': "x", "files": [data, data], "image": data, "count": 5, "meta": {"x": 1}})
    boundary = header(stream, "content-type")[0].removeprefix("multipart/form-data; boundary=")
    assert stream.body is not None
    parts = stream.body.split(f"--{boundary}".encode())
    file = b'\r\ncontent-disposition: form-data; name="%s"; filename="%s"\r\ncontent-type: %s\r\n\r\n\0\r\n--\r\n'
    assert parts[1:-1] == [
        b'\r\ncontent-disposition: form-data; name="a%22b"\r\n\r\nx\r\n',
        file % (b"files", b"files", b"application/octet-stream"),
        file % (b"files", b"files", b"application/octet-stream"),
        file % (b"image", b"image", b"image/png"),
        b'\r\ncontent-disposition: form-data; name="count"\r\n\r\n5\r\n',
        b'\r\ncontent-disposition: form-data; name="meta"\r\ncontent-type: application/json\r\n\r\n{"x":1}\r\n',
    ]
    assert parts[-1] == b"--\r\n"


async def test_raw_bytes_keep_the_content_type_that_they_are_given() -> None:
    method = operation({"requestBody": {"content": {"image/png": {}}}, "parameters": [parameter("q", "query")]})
    stream = await sent(method, {"q": "1", "body": {"data": "AP8="}})
    assert (stream.line, stream.body, header(stream, "content-type")) == ("POST /do?q=1", b"\0\xff", ["image/png"])
    stream = await sent(method, {"body": {"data": "AP8=", "contentType": "image/gif"}})
    assert header(stream, "content-type") == ["image/gif"]
    stream = await sent(method, {"body": {"data": "AP8=", "contentType": "a\r\nx: y"}})
    assert header(stream, "content-type") == ["image/png"]
    stream = await sent(method, {})
    assert (stream.body, header(stream, "content-type")) == (b"", [])
    method = operation({"requestBody": {"content": {"text/plain": {}}}})
    assert (await sent(method, {"data": "aGk="})).body == b"hi"


async def test_what_is_asked_for_is_what_the_document_says() -> None:
    vendor = {"200": {"content": {"application/vnd.shop+json": {"schema": PET}}}}
    assert header(await sent(operation({"responses": vendor}), {}), "accept") == ["application/vnd.shop+json"]
    images = {"200": {"content": {"image/png": {}, "image/gif": {}}}}
    assert header(await sent(operation({"responses": images}), {}), "accept") == ["image/png, image/gif"]
    assert header(await sent(operation({}), {}), "accept") == ["application/json"]


async def test_replies_are_read_by_their_content_type() -> None:
    method = body({"type": "array", "items": PET})
    found = await reply(method, 200, JSON, b'[{"id":1,"more":2}]')
    assert found.payload is not None
    assert (found.payload.encoding, found.payload.data) == (Encoding.JSON, b'[{"id":1,"more":2}]')
    assert orjson.loads(method.output.codec.canonical.to_json(found.payload.proto())) == {"items": [{"id": "1"}]}
    found = await reply(method, 204, (), b"")
    assert found.payload is not None
    assert found.payload.json() == b"[]"
    with pytest.raises(BadUpstream, match="not JSON"):
        await reply(method, 200, (("content-type", "text/html"),), b"<p>")
    raw = operation({"responses": {"200": {"content": {"text/plain": {}}}}})
    found = await reply(raw, 200, (("content-type", "text/plain"),), b"hi")
    assert found.payload is not None
    assert orjson.loads(found.payload.json()) == {"contentType": "text/plain", "data": "aGk="}


async def test_an_error_is_mapped_by_meaning_with_its_body_as_a_detail() -> None:
    problem = (("content-type", "application/problem+json"),)
    found = await reply(body(PET), 409, problem, b'{"title":"taken","detail":"there is one"}')
    assert (found.status.code, found.status.message) == (Code.ALREADY_EXISTS, "there is one")
    assert found.status.details[0].type_url.endswith("google.api.HttpBody")
    found = await reply(body(PET), 422, JSON, b'{"detail":[{"loc":["body","id"],"msg":"bad"}]}')
    assert found.status.code is Code.INVALID_ARGUMENT
    assert b'"loc"' in found.status.details[0].value
