"""The translator to GraphQL: what is sent, and what is made of whole replies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from protogw_translators import TRANSLATORS
from protogw_translators.to_graphql import ToGraphql

from protogw.call import Encoding, Payload
from protogw.errors import BadUpstream, Code, InvalidRequest, NotOffered, UpstreamReset
from tests.support import catalog, shop
from tests.support.catalog import answer, call, message, send
from tests.support.upstream import Connection, Stream

BOOK = {"id": "1", "title": "t", "genre": None, "author": {"id": "a", "name": "n", "value": None, "mentor": None}}
WHOLE = {**BOOK, "reviews": None, "value": 3}


async def asked(made: Any, **options: Any) -> dict[str, Any]:
    """The GraphQL request that a call becomes."""
    stream = answer({"data": {}, "errors": [{"message": "no"}]})
    await send(made, stream, **options)
    assert stream.body is not None
    found: dict[str, Any] = orjson.loads(stream.body)
    return found


async def failed(stream: Stream, name: str = "Book", **fields: Any) -> BadUpstream:
    with pytest.raises(BadUpstream) as caught:
        await send(call(name, **(fields or {"id": "1"})), stream)
    return caught.value


async def status(result: Any, http: int = 200, **options: Any) -> Any:
    _, reply = await send(call("Book", id="1"), answer(result, http, **options))
    assert reply.payload is None
    return reply.status


def test_it_is_in_the_table() -> None:
    assert TRANSLATORS["graphql"] is ToGraphql
    assert (ToGraphql.kind, ToGraphql.transport, ToGraphql.default_schema) == ("graphql", "http/1.1", "introspection")
    assert ToGraphql.takes_path


# --- requests ---------------------------------------------------------------------------------------------------------


async def test_a_call_is_posted_as_a_document_with_its_arguments_as_variables() -> None:
    stream = answer({"data": {"book": WHOLE}})
    await send(call("Book", id="1", metadata={"authorization": "Bearer x"}), stream)
    assert stream.line == "POST /graphql"
    assert stream.get("host") == "catalog:4000"
    assert stream.get("content-type") == "application/json"
    assert stream.get("accept") == "application/graphql-response+json, application/json;q=0.9"
    assert stream.get("authorization") == "Bearer x"
    assert stream.get("x-forwarded-for") == "192.0.2.7"
    assert stream.body is not None
    request = orjson.loads(stream.body)
    assert request.keys() == {"query", "operationName", "variables"}
    assert (request["operationName"], request["variables"]) == ("Book", {"id": "1"})
    assert request["query"].startswith("query Book($id: ID!) { book(id: $id) { id title genre author { id name ")


async def test_the_path_of_the_address_is_asked() -> None:
    stream, _ = await send(call("Count"), answer({"data": {"count": 1}}), base_path="/api/v2")
    assert stream.line == "POST /api/v2"


async def test_variables_are_in_the_services_own_json() -> None:
    new = {"title": "t", "by": {"many": {"items": ["a", "b"]}}, "copies": 0, "genres": ["GENRE_FICTION"]}
    request = await asked(call("AddBook", input=new))
    assert request["query"].startswith("mutation AddBook($input: NewBook!) { addBook(input: $input) {")
    assert request["variables"] == {
        "input": {"title": "t", "by": {"many": ["a", "b"]}, "copies": 0, "genres": ["FICTION"]}
    }


async def test_an_argument_with_a_default_may_be_absent() -> None:
    request = await asked(call("Books"))
    assert "($first: Int, $filter: Filter, $tags: [String!])" in request["query"]
    assert request["variables"] == {}


async def test_json_of_a_client_passes_as_it_is() -> None:
    stream = answer({"data": {"books": []}})
    await send(call("Books", b'{ "first" : 1,"filter":{"genre":"FACT","and":[{"author":"\xc3\xa9"}]}}'), stream)
    assert stream.body is not None
    assert b'"variables":{ "first" : 1,"filter":{"genre":"FACT","and":[{"author":"\xc3\xa9"}]}}}' in stream.body


async def test_protojson_of_a_client_becomes_the_services_own() -> None:
    made = call("Books")
    method = catalog.METHODS["Books"]
    made.payload = Payload(b'{"filter":{"genre":"GENRE_FACT"}}', Encoding.JSON, method.input.codec.canonical)
    assert (await asked(made))["variables"] == {"filter": {"genre": "FACT"}}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"id":"1"},"query":"mutation { drop }"', "invalid JSON"),
        (b'{"id":"1"}, "variables": {"id":"2"}', "invalid JSON"),
        (b'{"id":', "invalid JSON"),
        (b"[]", "catalog.BookRequest: expected an object"),
        (b'"x"', "catalog.BookRequest: expected an object"),
        (b'{"id":"1","ids":["2"]}', "ids: no such field in catalog.BookRequest"),
    ],
)
async def test_json_of_a_client_cannot_leave_its_place(body: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        await send(call("Book", body))


async def test_the_document_of_a_method_is_made_once() -> None:
    made = catalog.translator()
    for _ in range(2):
        await made.send(call("Count"), Connection(answer({"data": {"count": 1}})))
    assert len(made._plans) == 1


async def test_a_method_of_another_kind_of_schema_is_refused_by_name() -> None:
    made = call("Count", method=shop.METHODS["Search"], json={})
    with pytest.raises(NotOffered, match="something else than a GraphQL schema"):
        await send(made)
    made = call("Count", method=shop.METHODS["Sync"], json={})
    with pytest.raises(NotOffered, match="bidi, and its service speaks GraphQL"):
        await send(made)


# --- data -------------------------------------------------------------------------------------------------------------


async def test_the_data_of_a_result_is_the_reply_byte_for_byte() -> None:
    book = orjson.dumps(WHOLE, option=orjson.OPT_INDENT_2)
    for body in (b'{"data":{"book":%b }\n}' % book, b'{ "data" : {"book":%b}, "extensions": {}}' % book):
        _, reply = await send(call("Book", id="1"), answer(body))
        assert reply.payload is not None
        assert orjson.loads(reply.payload.json()) == WHOLE
        assert reply.payload.json() == book or body[1:2] == b" "
        found = message("Book", reply.payload.proto())
        assert (found.title, found.author.name, found.value) == ("t", "n", 3)
        assert not found.HasField("genre")
        assert reply.status.code is Code.OK
    _, reply = await send(call("Books"), answer(b'{"data":{"books" : [] }\n}'))
    assert reply.payload is not None
    assert reply.payload.json() == b'{"books" : [] }'


async def test_a_result_with_extensions_is_its_data() -> None:
    _, reply = await send(call("Count"), answer({"extensions": {"cost": 1}, "data": {"count": 7}}))
    assert reply.payload is not None
    assert reply.payload.json() == b'{"count":7}'


async def test_a_null_that_may_be_is_an_absent_field() -> None:
    _, reply = await send(call("Ratio"), answer({"data": {"ratio": None}}))
    assert reply.payload is not None
    assert not message("RatioResponse", reply.payload.proto()).HasField("ratio")


async def test_an_object_that_is_not_there_is_not_found() -> None:
    _, reply = await send(call("Book", id="1"), answer({"data": {"book": None}}))
    assert reply.payload is None
    assert (reply.status.code, reply.status.message) == (Code.NOT_FOUND, "book is null")


async def test_what_has_another_type_under_one_name_gets_its_name_back() -> None:
    author = {"__typename": "Author", "id": "a", "name": "n", "value__Author": "v", "mentor": None, "books": []}
    stream = answer({"data": {"search": [author, {"__typename": "Book", **WHOLE}]}})
    _, reply = await send(call("Search", text="x"), stream)
    assert reply.payload is not None
    found = message("SearchResponse", reply.payload.proto())
    assert [hit.WhichOneof("kind") for hit in found.search] == ["author", "book"]
    assert (found.search[0].author.value, found.search[1].book.value) == ("v", 3)
    assert b"value__Author" not in reply.payload.json()


async def test_lists_of_lists_and_null_items_are_read() -> None:
    _, reply = await send(call("Matrix"), answer({"data": {"matrix": [[1, 2], None, []]}}))
    assert reply.payload is not None
    found = message("MatrixResponse", reply.payload.proto())
    assert [list(row.items) for row in found.matrix] == [[1, 2], [], []]


async def test_custom_scalars_are_what_they_are_said_to_be_or_any_json() -> None:
    _, reply = await send(call("Huge"), answer({"data": {"huge": 2**60 + 1}}))
    assert reply.payload is not None
    assert message("HugeResponse", reply.payload.proto()).huge == 2**60 + 1
    _, reply = await send(call("Now"), answer({"data": {"now": {"at": [1]}}}))
    assert reply.payload is not None
    assert message("NowResponse", reply.payload.proto()).now.struct_value["at"][0] == 1


async def test_data_with_errors_is_a_reply_that_tells_of_them() -> None:
    error = {"message": "no réviews", "path": ["book", "reviews"], "extensions": {"code": "FORBIDDEN"}}
    _, reply = await send(call("Book", id="1"), answer({"data": {"book": WHOLE}, "errors": [error]}))
    assert reply.payload is not None
    told = reply.metadata.get(b"graphql-errors")
    assert told is not None
    assert told == reply.trailers.get(b"graphql-errors")
    assert told.isascii()
    assert orjson.loads(told) == [error]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "want"),
    [
        ("UNAUTHENTICATED", Code.UNAUTHENTICATED),
        ("FORBIDDEN", Code.PERMISSION_DENIED),
        ("BAD_USER_INPUT", Code.INVALID_ARGUMENT),
        ("NOT_FOUND", Code.NOT_FOUND),
        ("GRAPHQL_VALIDATION_FAILED", Code.UNIMPLEMENTED),
        ("INTERNAL_SERVER_ERROR", Code.INTERNAL),
        ("RESOURCE_EXHAUSTED", Code.RESOURCE_EXHAUSTED),
        ("DATA_LOSS", Code.DATA_LOSS),
        ("OK", Code.UNKNOWN),
        ("SOMETHING_ELSE", Code.UNKNOWN),
    ],
)
async def test_the_code_of_an_error_is_the_status(code: str, want: Code) -> None:
    found = await status({"data": {"book": None}, "errors": [{"message": "no", "extensions": {"code": code}}]})
    assert (found.code, found.message) == (want, "no")


@pytest.mark.parametrize(
    ("http", "want"),
    [(400, Code.INVALID_ARGUMENT), (401, Code.UNAUTHENTICATED), (404, Code.NOT_FOUND), (500, Code.INTERNAL)],
)
async def test_without_a_code_the_http_status_is_what_counts(http: int, want: Code) -> None:
    assert (await status({"errors": [{"message": "no"}]}, http)).code is want
    assert (await status({"errors": [{"message": "no"}]}, http, content_type="application/json")).code is want


async def test_an_http_status_that_the_error_names_counts() -> None:
    error = {"message": "no", "extensions": {"http": {"status": 403}}}
    assert (await status({"data": None, "errors": [error]})).code is Code.PERMISSION_DENIED


async def test_the_errors_are_kept_as_details() -> None:
    error = {"message": "no", "path": ["book", "author", 0], "extensions": {"code": "NOT_FOUND", "x": "é"}}
    found = await status({"data": None, "errors": [error, {"message": "and"}]})
    assert found.message == "no; and"
    info, body = found.details
    assert info.type_url == "type.googleapis.com/google.rpc.ErrorInfo"
    assert b"NOT_FOUND" in info.value
    assert b"book.author[0]" in info.value
    assert body.type_url == "type.googleapis.com/google.api.HttpBody"
    assert orjson.loads(body.value[body.value.index(b"[") :]) == [error, {"message": "and"}]


async def test_an_error_that_holds_a_whole_status_is_that_status() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "r"}
    extensions = {"code": "ABORTED", "status": {"code": 10, "details": [detail]}}
    found = await status({"data": None, "errors": [{"message": "no", "extensions": extensions}]})
    assert (found.code, found.message) == (Code.ABORTED, "no")
    assert [one.type_url for one in found.details] == ["type.googleapis.com/google.rpc.ErrorInfo"]
    extensions["status"] = {"code": 0}
    assert (await status({"data": None, "errors": [{"message": "no", "extensions": extensions}]})).code is Code.ABORTED


async def test_many_and_large_errors_are_bounded() -> None:
    errors = [{"message": "x" * 5000, "path": ["a"] * 1000, "extensions": {"code": "NOT_FOUND"}}] * 9
    found = await status({"errors": errors})
    assert found.code is Code.NOT_FOUND
    assert len(found.message) <= 2100
    assert sum(len(detail.value) for detail in found.details) < 6000


@pytest.mark.parametrize("errors", [[None], [1, "x", []], [{}], [{"message": 5, "path": {}, "extensions": []}]])
async def test_errors_that_are_none_are_errors_all_the_same(errors: Any) -> None:
    found = await status({"data": {"book": None}, "errors": errors})
    assert found.code is Code.UNKNOWN
    assert found.message


async def test_an_http_error_that_is_no_result_is_read_as_any_services() -> None:
    for body in (b"<html>Bad gateway</html>", b'{"errors": "x"', b""):
        found = await status(body, 503, content_type="text/html" if body[:1] == b"<" else "application/json")
        assert found.code is Code.UNAVAILABLE


# --- hostile replies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("book", "says"),
    [
        ({**WHOLE, "title": None}, "data.book.title is null, which it may not be"),
        ({**WHOLE, "title": 5}, "data.book.title is not text"),
        ({**WHOLE, "value": True}, "data.book.value is not a 32-bit integer"),
        ({**WHOLE, "value": 2**31}, "data.book.value is not a 32-bit integer"),
        ({**WHOLE, "genre": 1}, "data.book.genre is not a name"),
        ({**WHOLE, "reviews": {}}, "data.book.reviews is not a list"),
        ({**WHOLE, "reviews": [{"stars": 1, "text": None, "by": None}, None]}, r"data.book.reviews\[1\] is null"),
        ({**WHOLE, "author": []}, "data.book.author is not an object"),
        (
            {name: value for name, value in WHOLE.items() if name != "author"},
            "data.book has no author, which was asked",
        ),
        ([], "data.book is not an object"),
        ("x", "data.book is not an object"),
    ],
)
async def test_a_result_that_breaks_the_schema_is_no_reply(book: Any, says: str) -> None:
    error = await failed(answer({"data": {"book": book}}))
    assert error.status.code is Code.INTERNAL
    with pytest.raises(BadUpstream, match=says):
        raise error


@pytest.mark.parametrize("typename", [None, "Publisher", "book", 5, ["Book"], {}])
async def test_an_object_of_a_type_that_it_cannot_be_is_no_reply(typename: Any) -> None:
    hit = {"__typename": typename, **WHOLE}
    assert "__typename" in (await failed(answer({"data": {"search": [hit]}}), "Search", text="x")).message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"data":null}',
        b'{"data":[]}',
        b'{"data":{}}',
        b'{"data":{"count":null}}',
        b'{"data":{"count":1}',
        b'{"data":{"count":1}}x',
        b'{"data":{"count":1},"errors":{}}',
        b'{"data":{"count":1},"errors":"x"}',
        b'{"data":null,"errors":[]}',
        b"\xff",
    ],
)
async def test_what_is_no_result_is_no_reply(body: bytes) -> None:
    await failed(answer(body), "Count", json={})


async def test_a_page_in_place_of_a_result_is_named() -> None:
    error = await failed(answer(b"<html></html>", 200, "text/html; charset=utf-8"))
    assert "text/html" in error.message
    assert "content type is ''" in (await failed(answer(b'{"data":{"book":null}}', 200, ""))).message


async def test_a_redirect_is_not_followed() -> None:
    assert "redirect" in (await failed(answer(b"", 302))).message


async def test_a_result_over_the_limit_is_given_up() -> None:
    stream = answer(b"x" * (catalog.LIMIT + 1))
    error = await failed(stream)
    assert error.status.code is Code.RESOURCE_EXHAUSTED
    assert stream.cancelled.is_set()


async def test_a_result_that_is_cut_short_is_an_error() -> None:
    with pytest.raises(UpstreamReset):
        await send(call("Count"), Stream(200, (), b'{"data"', cut=UpstreamReset("gone")))
