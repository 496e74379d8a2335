"""What is offered as REST, as an OpenAPI document: a public validator takes it, and it says what the front end does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from protogw.descriptors import from_graphql
from protogw.descriptors.about import About
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load
from protogw.descriptors.json_schema import references
from protogw.descriptors.model import Schema
from protogw.descriptors.numbers import Numbers
from protogw.errors import Code, Status
from protogw.frontends.base import Bounds
from protogw.frontends.rest import Rest, RestSettings
from protogw.frontends.rest.errors import body, record
from protogw.resources import protos
from protogw.wire.protojson import JsonOptions

HEAD = """
syntax = "proto3";
package t.v1;
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/api/field_info.proto";
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
"""

THINGS = """
// Keeps things. Many of them.
service Things {
  // Looks one up. It may be old.
  rpc Get(Key) returns (Thing) { option (google.api.http) = {
    get: "/v1/{name=kinds/*/things/*}" additional_bindings { get: "/v1/things/{number}" } }; }
  rpc Put(PutRequest) returns (Thing) { option (google.api.http) = {
    put: "/v1/things/{number}" body: "thing" }; }
  rpc Rename(Key) returns (Thing) { option deprecated = true;
    option (google.api.http) = { post: "/v1/{name=kinds/*/things/*}:rename" body: "*" response_body: "at" }; }
  rpc Find(Query) returns (stream Thing) { option (google.api.http) = { get: "/v1/find/{path=**}" }; }
  rpc Load(stream Thing) returns (google.protobuf.Empty) {
    option (google.api.http) = { custom: { kind: "*" path: "/v1/load" } body: "*" }; }
  rpc Raw(google.api.HttpBody) returns (google.api.HttpBody) {
    option (google.api.http) = { post: "/v1/raw" body: "*" }; }
  rpc Plain(Key) returns (Thing);
  rpc Odd(Key) returns (Thing) { option (google.api.http) = { custom: { kind: "PURGE" path: "/v1/odd" } }; }
}
message Key { string name = 1 [(google.api.field_behavior) = REQUIRED]; int64 number = 2; }
message PutRequest { int64 number = 1; Thing thing = 2 [(google.api.field_behavior) = REQUIRED]; bool dry_run = 3; }
// Where a thing stands.
enum State { STATE_UNSPECIFIED = 0;
  // Is there.
  READY = 1; GONE = 2 [deprecated = true]; }
message Thing {
  // What it is called.
  string name = 1;
  int64 big_number = 2;
  uint32 small = 3;
  double ratio = 4;
  bytes raw = 5;
  State state = 6;
  repeated State states = 7;
  map<int32, Thing> parts = 8;
  oneof owner { string person = 9; int32 team = 10; }
  google.protobuf.Timestamp at = 11 [(google.api.field_behavior) = OUTPUT_ONLY];
  google.protobuf.Duration lasts = 12;
  google.protobuf.FieldMask mask = 13;
  google.protobuf.Struct object = 14;
  google.protobuf.Value any_value = 15;
  google.protobuf.ListValue list = 16;
  google.protobuf.Any detail = 17;
  google.protobuf.Int64Value wrapped = 18;
  google.protobuf.NullValue nothing = 19;
  string secret = 20 [(google.api.field_behavior) = INPUT_ONLY];
  string id = 21 [(google.api.field_info).format = UUID4, deprecated = true];
  optional bool maybe = 22;
  Nested nested = 23 [json_name = "NESTED"];
  message Nested { repeated string words = 1; Thing up = 2; }
}
message Query { string path = 1; State state = 2; repeated int32 numbers = 3; map<string, string> labels = 4;
  Thing.Nested nested = 5; google.protobuf.Timestamp after = 6; oneof by { string a = 7; string b = 8; }
  google.protobuf.Struct object = 9; Query again = 10; string told = 11 [(google.api.field_behavior) = OUTPUT_ONLY]; }
"""


def schema_of(text: str, folder: Path, options: JsonOptions | None = None, name: str = "a.proto") -> Schema:
    (folder / name).write_text(text if text.lstrip().startswith(("syntax", "edition")) else HEAD + text)
    return load([folder / name], options=options or JsonOptions())


def described(
    *schemas: Schema, options: JsonOptions | None = None, **settings: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document of these schemas' services, which a public validator has accepted, and what is not in it."""
    catalog = Catalog.merge(schemas)
    front_end = Rest(RestSettings(**settings), Bounds())
    front_end.offer(catalog)
    about = About(
        title="Things",
        version="1",
        json=dict.fromkeys(catalog.services, options) if options else {},
        services=frozenset(catalog.services),
    )
    document = front_end.document(about)
    assert isinstance(document.content, dict)
    validate(document.content)
    assert front_end.document(about).content == document.content
    components = document.content["components"]
    for target in references(document.content):
        _, _, kind, name = target.split("/")
        assert name in components[kind]
    return document.content, document.omitted


@pytest.fixture
def things(tmp_path: Path) -> dict[str, Any]:
    return described(schema_of(THINGS, tmp_path))[0]


def named(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in operation["parameters"]}


def test_the_sample_library_is_described_whole() -> None:
    document, omitted = described(load([protos() / "protogw/demo/library.proto"]))
    assert omitted == ()
    assert sorted(document["paths"]) == [
        "/v1/books",
        "/v1/books:import",
        "/v1/books:recommend",
        "/v1/genres",
        "/v1/isbn/{isbn}",
        "/v1/shelves",
        "/v1/shelves/{shelf}",
        "/v1/shelves/{shelf}/books",
        "/v1/shelves/{shelf}/books/{book}",
        "/v1/shelves/{shelf}/books/{book}/cover",
        "/v1/shelves/{shelf}/books/{book}:move",
        "/v1/shelves/{shelf}/books:stream",
        "/v1/shelves/{shelf}/books:watch",
    ]


def test_every_wildcard_of_a_path_is_a_parameter(things: dict[str, Any]) -> None:
    get = things["paths"]["/v1/kinds/{kind}/things/{thing}"]["get"]
    assert named(get)["kind"] == {
        "name": "kind",
        "in": "path",
        "required": True,
        "description": "A part of `name`, which is `kinds/{kind}/things/{thing}`.",
        "schema": {"type": "string", "minLength": 1},
    }
    assert named(things["paths"]["/v1/things/{number}"]["get"])["number"]["schema"]["format"] == "int64"
    find = named(things["paths"]["/v1/find/{path}"]["get"])["path"]
    assert "Any number of path segments" in find["description"]
    assert find["schema"] == {"type": "string"}


def test_what_path_and_body_leave_over_is_given_in_the_query(things: dict[str, Any]) -> None:
    find = named(things["paths"]["/v1/find/{path}"]["get"])
    names = list(find)
    assert names[:8] == ["path", "state", "numbers", "labels", "after", "a", "b", "nested.words"]
    assert {name.rpartition(".")[0] for name in names[8:]} == {"nested.up"}
    assert find["numbers"]["explode"] is True
    assert find["labels"]["style"] == "deepObject"
    assert find["labels"]["schema"] == {"type": "object", "additionalProperties": {"type": "string"}}
    assert find["state"]["schema"] == {"$ref": "#/components/schemas/t.v1.State"}
    assert find["a"]["description"] == "At most one of `a`, `b`."
    assert list(named(things["paths"]["/v1/things/{number}"]["put"])) == ["number", "dryRun"]


def test_fields_that_only_a_deeper_look_would_reach_are_told_of(things: dict[str, Any]) -> None:
    description = things["paths"]["/v1/find/{path}"]["get"]["description"]
    assert "More may be given in the query: `again`" in description


def test_a_body_does_not_ask_again_for_what_the_path_gives(things: dict[str, Any]) -> None:
    rename = things["paths"]["/v1/kinds/{kind}/things/{thing}:rename"]["post"]
    assert rename["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/t.v1.Things.Rename-Body"
    }
    assert list(things["components"]["schemas"]["t.v1.Things.Rename-Body"]["properties"]) == ["number"]
    assert "required" not in things["components"]["schemas"]["t.v1.Things.Rename-Body"]


def test_a_body_that_is_demanded_is_required(things: dict[str, Any]) -> None:
    body = things["paths"]["/v1/things/{number}"]["put"]["requestBody"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/t.v1.Thing"}
    assert "application/x-protobuf" in body["content"]


def test_a_selected_field_is_the_reply_and_null_when_it_has_no_empty_value(things: dict[str, Any]) -> None:
    rename = things["paths"]["/v1/kinds/{kind}/things/{thing}:rename"]["post"]
    content = rename["responses"]["200"]["content"]
    assert list(content) == ["application/json"]
    assert content["application/json"]["schema"]["oneOf"][1] == {"type": "null"}
    assert rename["deprecated"] is True


def test_streams_are_arrays_lines_and_events(things: dict[str, Any]) -> None:
    reply = things["paths"]["/v1/find/{path}"]["get"]["responses"]["200"]["content"]
    items = {"anyOf": [{"$ref": "#/components/schemas/t.v1.Thing"}, {"$ref": "#/components/schemas/StreamError"}]}
    assert reply["application/json"]["schema"] == {"type": "array", "items": items}
    assert reply["application/x-ndjson"]["x-item-schema"] == items
    assert reply["text/event-stream"]["x-item-schema"] == {"anyOf": [items["anyOf"][0]]}
    load = things["paths"]["/v1/load"]["post"]["requestBody"]["content"]
    assert load["application/json"]["schema"]["type"] == "array"
    assert "application/x-ndjson" in load


def test_raw_bodies_are_of_any_type(things: dict[str, Any]) -> None:
    raw = things["paths"]["/v1/raw"]["post"]
    assert raw["requestBody"]["content"] == {"*/*": {}}
    assert raw["responses"]["200"]["content"] == {"*/*": {}}


def test_a_method_without_a_binding_has_its_own_path(things: dict[str, Any]) -> None:
    plain = things["paths"]["/t.v1.Things/Plain"]["post"]
    assert plain["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/t.v1.Key"}
    assert plain["x-grpc-method"] == "t.v1.Things/Plain"


def test_what_openapi_cannot_say_is_told(tmp_path: Path) -> None:
    document, omitted = described(schema_of(THINGS, tmp_path))
    assert omitted == ("t.v1.Things/Odd: PURGE /v1/odd: OpenAPI has no method PURGE",)
    assert "Any HTTP method does." in document["paths"]["/v1/load"]["post"]["description"]


def test_paths_that_openapi_does_not_tell_apart_share_their_parameters(tmp_path: Path) -> None:
    text = """
    message M { string a = 1; string b = 2; }
    service S {
      rpc One(M) returns (M) { option (google.api.http) = { get: "/v1/{a}" }; }
      rpc Two(M) returns (M) { option (google.api.http) = { delete: "/v1/{b}" }; }
      rpc Rest(M) returns (M) { option (google.api.http) = { get: "/v1/{b=**}" }; }
    }"""
    document, omitted = described(schema_of(text, tmp_path))
    assert list(document["paths"]) == ["/v1/{a}"]
    gives_b, a = document["paths"]["/v1/{a}"]["delete"]["parameters"]
    assert (gives_b["name"], gives_b["in"], gives_b["description"]) == ("a", "path", "Gives `b`.")
    assert (a["name"], a["in"]) == ("a", "query")
    assert omitted == ("t.v1.S/Rest: GET /v1/{b=**}: OpenAPI does not tell it from GET /v1/{a}",)


def test_types_are_written_as_their_json_is(things: dict[str, Any]) -> None:
    thing = things["components"]["schemas"]["t.v1.Thing"]
    properties = thing["properties"]
    assert properties["name"] == {"type": "string", "description": "What it is called."}
    assert properties["bigNumber"]["type"] == "string"
    assert properties["small"] == {"type": "integer", "format": "uint32", "minimum": 0}
    assert properties["ratio"]["oneOf"][1]["enum"] == ["NaN", "Infinity", "-Infinity"]
    assert properties["raw"] == {"type": "string", "contentEncoding": "base64"}
    assert properties["states"] == {"type": "array", "items": {"$ref": "#/components/schemas/t.v1.State"}}
    assert properties["parts"] == {
        "type": "object",
        "propertyNames": {"pattern": "^-?[0-9]+$"},
        "additionalProperties": {"$ref": "#/components/schemas/t.v1.Thing"},
    }
    assert properties["at"] == {"type": "string", "format": "date-time", "readOnly": True}
    assert properties["secret"] == {"type": "string", "writeOnly": True}
    assert properties["id"] == {"type": "string", "format": "uuid", "deprecated": True}
    assert properties["nothing"] == {"type": "null"}
    assert properties["NESTED"] == {"$ref": "#/components/schemas/t.v1.Thing.Nested"}
    assert things["components"]["schemas"]["t.v1.State"] == {
        "type": "string",
        "enum": ["STATE_UNSPECIFIED", "READY", "GONE"],
        "description": "Where a thing stands.\n\n- `READY`: Is there.\n- `GONE` (deprecated)",
    }


def test_at_most_one_member_of_a_oneof_is_valid(things: dict[str, Any]) -> None:
    components = {"components": things["components"]}
    schema = {**components, "$ref": "#/components/schemas/t.v1.Thing"}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({})
    assert validator.is_valid({"person": "x"})
    assert validator.is_valid({"team": 1})
    assert not validator.is_valid({"person": "x", "team": 1})


def test_examples_fit_their_schemas(things: dict[str, Any]) -> None:
    found = 0
    for item in things["paths"].values():
        for operation in item.values():
            replies = [one for one in operation["responses"].values() if "content" in one]
            for holder in [operation.get("requestBody", {}), *replies]:
                for media in holder.get("content", {}).values():
                    if "example" in media:
                        schema = {"components": things["components"], **media["schema"]}
                        Draft202012Validator(schema).validate(media["example"])
                        found += 1
    assert found > 8


def test_json_options_are_what_the_document_says(tmp_path: Path) -> None:
    options = JsonOptions(names="proto", enums="number")
    document, _ = described(schema_of(THINGS, tmp_path, options), options=options)
    schemas = document["components"]["schemas"]
    assert "big_number" in schemas["t.v1.Thing"]["properties"]
    assert schemas["t.v1.State"]["enum"] == [0, 1, 2]
    assert schemas["t.v1.State"]["type"] == "integer"
    assert "dry_run" in named(document["paths"]["/v1/things/{number}"]["put"])


def test_written_defaults_are_required_of_replies_alone(tmp_path: Path) -> None:
    options = JsonOptions(emit_defaults=True)
    schema = schema_of(THINGS, tmp_path, options)
    document, _ = described(schema, options=options)
    schemas = document["components"]["schemas"]
    required = schemas["t.v1.Thing"]["required"]
    assert {"name", "bigNumber", "states", "parts", "state"} <= set(required)
    assert not {"maybe", "person", "at", "NESTED"} & set(required)
    assert "required" not in schemas["t.v1.Thing-Input"]
    assert "t.v1.State-Input" not in schemas
    validator = Draft202012Validator({"components": document["components"], "$ref": "#/components/schemas/t.v1.Thing"})
    validator.validate(json.loads(schema.types["t.v1.Thing"].codec.to_json(b"")))


@pytest.mark.parametrize("style", ["google", "aip193", "problem"])
def test_errors_are_in_the_listeners_style(style: str, tmp_path: Path) -> None:
    document, _ = described(schema_of(THINGS, tmp_path), errors=style)
    ((media_type, media),) = document["components"]["responses"]["Error"]["content"].items()
    assert (media_type == "application/problem+json") is (style == "problem")
    written = body(style, Status(Code.NOT_FOUND, "gone"), 404, lambda name: None)  # type: ignore[arg-type]
    Draft202012Validator({"components": document["components"], **media["schema"]}).validate(json.loads(written))
    stream_error = {"components": document["components"], "$ref": "#/components/schemas/StreamError"}
    Draft202012Validator(stream_error).validate(json.loads(record(style, written)))  # type: ignore[arg-type]


def test_an_empty_reply_may_be_no_content(tmp_path: Path) -> None:
    document, _ = described(schema_of(THINGS, tmp_path), empty_status=204)
    assert document["paths"]["/v1/load"]["post"]["responses"]["204"] == {"description": "OK, without a body."}


def test_proto2_says_what_is_required_and_what_is_there_by_default(tmp_path: Path) -> None:
    text = """
    syntax = "proto2";
    package old;
    enum E { A = 1; B = 2; }
    message M { required string a = 1; optional int32 b = 2 [default = 7]; optional E c = 3 [default = B];
      optional double d = 4 [default = -inf]; optional bytes e = 5 [default = "\\001"]; optional group G = 6 {
      optional bool on = 1 [default = true]; } }
    service S { rpc Do(M) returns (M); }
    """
    document, _ = described(schema_of(text, tmp_path))
    message = document["components"]["schemas"]["old.M"]
    assert message["required"] == ["a"]
    assert {name: one.get("default") for name, one in message["properties"].items()} == {
        "a": None,
        "b": 7,
        "c": "B",
        "d": "-Infinity",
        "e": "AQ==",
        "g": None,
    }
    assert document["components"]["schemas"]["old.M.G"]["properties"]["on"]["default"] is True


def test_equal_names_of_different_types_are_told_apart(tmp_path: Path) -> None:
    first = schema_of(
        'syntax = "proto3"; package p; message M { N n = 1; } message N { string s = 1; } message Error {}'
        "service A { rpc Do(M) returns (Error); }",
        tmp_path,
    )
    second = schema_of(
        'syntax = "proto3"; package p; message M { N n = 1; } message N { int32 i = 1; }'
        "service B { rpc Do(M) returns (M); }",
        tmp_path,
        name="b.proto",
    )
    third = schema_of(
        'syntax = "proto3"; message Error {} service A { rpc Do(Error) returns (Error); }', tmp_path, name="c.proto"
    )
    document, _ = described(first, second, third)
    schemas = document["components"]["schemas"]
    assert schemas["p.M"]["properties"]["n"] == {"$ref": "#/components/schemas/p.N"}
    assert schemas["p.M-2"]["properties"]["n"] == {"$ref": "#/components/schemas/p.N-2"}
    body = document["paths"]["/p.B/Do"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/p.M-2"}
    assert "Error" in schemas
    assert document["components"]["responses"]["Error"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Error-2"
    }
    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert ids == ["A_Do", "B_Do", "A_Do_2"]


def test_a_service_without_a_proto_is_described_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text(
        """
        type Query { shelf(kind: Kind, id: ID!): Shelf! any: Any }
        enum Kind { OPEN "Not for all." closed @deprecated }
        type Shelf { id: ID! kind: Kind books: [[String!]] }
        type Book { title: String! }
        union Any = Shelf | Book
        """
    )
    document, _ = described(from_graphql.load([tmp_path / "a.graphql"], upstream="shelves", numbers=Numbers()))
    schemas = document["components"]["schemas"]
    assert schemas["shelves.Kind"] == {
        "type": "string",
        "enum": ["OPEN", "closed"],
        "description": "- `closed`: Not for all. (deprecated)",
    }
    assert schemas["shelves.Shelf"]["properties"]["kind"]["anyOf"][0] == {"$ref": "#/components/schemas/shelves.Kind"}
    body = document["paths"]["/shelves.Shelves/Shelf"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/shelves.ShelfRequest"}
    assert schemas["shelves.ShelfRequest"]["required"] == ["id"]
