"""OpenAPI documents become services: names, shapes, rules, bindings, and faults with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from protogw.descriptors.from_openapi import load
from protogw.descriptors.model import HttpRule, Idempotency, Kind, SchemaError
from protogw.descriptors.numbers import Numbers, parse
from protogw.descriptors.openapi_binding import Operation
from tests.support.openapi import document, operation, schema_of

JSON_PET = {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}
PET = {"Pet": {"type": "object", "properties": {"id": {"type": "integer"}}}}


def bound(found: Any) -> Operation:
    assert isinstance(found.binding, Operation)
    return found.binding


def faults(folder: Path, text: str, name: str = "api.yaml") -> tuple[str, ...]:
    (folder / name).write_text(text)
    with pytest.raises(SchemaError) as raised:
        load([folder / name], upstream="shop", numbers=Numbers())
    return tuple(fault.removeprefix(f"{folder}/") for fault in raised.value.faults)


def test_operations_are_methods_of_one_service() -> None:
    schema = schema_of(
        document(
            {
                "/pets": {
                    "get": {"operationId": "list-pets", "summary": "All pets.", "tags": ["pets"]},
                    "post": {"operationId": "list_pets", "deprecated": True},
                    "trace": {},
                },
                "/pets/{petId}/tags": {"get": {}, "delete": {}, "head": {}, "put": {}, "patch": {}},
                "x-more": {},
            },
            info={"title": "Shop", "description": "Sells pets."},
        )
    )
    service = schema.services["shop.Shop"]
    assert service.doc == "Shop\n\nSells pets."
    assert {name: method.idempotency for name, method in service.methods.items()} == {
        "ListPets": Idempotency.NO_SIDE_EFFECTS,
        "ListPets2": Idempotency.UNKNOWN,
        "GetPetsByPetIdTags": Idempotency.NO_SIDE_EFFECTS,
        "PutPetsByPetIdTags": Idempotency.IDEMPOTENT,
        "DeletePetsByPetIdTags": Idempotency.IDEMPOTENT,
        "HeadPetsByPetIdTags": Idempotency.NO_SIDE_EFFECTS,
        "PatchPetsByPetIdTags": Idempotency.UNKNOWN,
    }
    assert service.methods["ListPets"].doc == "All pets.\n\nTags: pets"
    assert service.methods["ListPets2"].deprecated
    assert service.methods["HeadPetsByPetIdTags"].http == ()


def test_parameters_are_fields_and_the_path_is_offered() -> None:
    method = operation(
        {
            "parameters": [
                {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}},
                {"name": "limit", "in": "query", "schema": {"type": "integer", "format": "int32"}},
                {"name": "limit", "in": "header", "required": True, "schema": {"type": "string"}},
                {
                    "name": "filter",
                    "in": "query",
                    "style": "deepObject",
                    "explode": True,
                    "schema": {"type": "object", "properties": {"a": {"type": "string"}}},
                },
                {"name": "where", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                {
                    "name": "ids",
                    "in": "query",
                    "explode": False,
                    "allowReserved": True,
                    "schema": {"type": "array", "items": {"type": "string"}},
                },
                {"name": "sid", "in": "cookie", "schema": {"type": "string"}},
                {"name": "any", "in": "query", "schema": {}},
                {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                {"name": "Transfer-Encoding", "in": "header", "schema": {"type": "string"}},
                {"name": "a b", "in": "header", "schema": {"type": "string"}},
            ],
        },
        "/pets/{petId}",
        "get",
    )
    assert method.http == (HttpRule(verb="GET", template="/pets/{pet_id}"),)
    fields = method.input.fields
    assert list(fields) == ["pet_id", "limit", "limit_2", "filter", "where", "ids", "sid", "any"]
    assert (fields["pet_id"].kind, fields["pet_id"].has_presence) == (Kind.INT64, False)
    assert (fields["limit"].kind, fields["limit"].has_presence) == (Kind.INT32, True)
    assert (fields["limit_2"].has_presence, fields["limit_2"].required) == (True, True)
    assert fields["any"].kind is Kind.STRING
    found = {(one.place, one.name): one for one in bound(method).parameters}
    assert found["query", "filter"].style == "deepObject"
    assert found["query", "where"].json
    assert (found["query", "ids"].explode, found["query", "ids"].reserved) == (False, True)
    assert found["header", "limit"].member == "limit_2"
    assert len(found) == 8


def test_parameters_of_the_path_are_those_of_each_operation_unless_it_says_otherwise() -> None:
    item = {
        "parameters": [
            {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
            {"$ref": "#/components/parameters/Page"},
        ],
        "get": {"operationId": "do", "parameters": [{"name": "page", "in": "query", "schema": {"type": "integer"}}]},
    }
    tree = document({"/a/{id}/{other}": item})
    tree["components"]["parameters"] = {"Page": {"name": "page", "in": "query", "schema": {"type": "string"}}}
    method = schema_of(tree).services["shop.Shop"].methods["Do"]
    assert {name: one.kind for name, one in method.input.fields.items()} == {
        "id": Kind.INT64,
        "page": Kind.INT64,
        "other": Kind.STRING,
    }


def test_a_body_alone_is_the_request_and_beside_parameters_a_field_of_it() -> None:
    method = operation({"requestBody": {"content": JSON_PET}}, schemas=PET)
    assert (method.input.name, method.http[0].body) == ("shop.Pet", "*")
    method = operation(
        {"requestBody": {"content": JSON_PET}, "parameters": [{"name": "body", "in": "query"}]}, schemas=PET
    )
    assert (method.input.name, method.http[0].body) == ("shop.DoRequest", "body_2")
    assert method.input.fields["body_2"].json_name == "body_2"
    method = operation({"requestBody": {"content": {"application/json": {"schema": {"type": "array"}}}}})
    assert (method.input.name, method.http[0].body) == ("shop.DoRequest", "body")
    method = operation({"requestBody": {"content": {"image/png": {}}}})
    assert (method.input.name, method.http[0].body) == ("google.api.HttpBody", "*")


@pytest.mark.parametrize(
    ("content", "form", "media"),
    [
        ({"text/plain": {}, "application/json": {"schema": {}}}, "json", "application/json"),
        ({"application/vnd.a+json": {"schema": {"type": "object"}}}, "json", "application/vnd.a+json"),
        ({"*/*": {"schema": {"type": "object"}}}, "json", "application/json"),
        ({"*/*": {"schema": {"type": "string", "format": "binary"}}}, "raw", "application/octet-stream"),
        (
            {
                "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
                "multipart/form-data": {"schema": {}},
            },
            "form",
            "application/x-www-form-urlencoded",
        ),
        ({"multipart/form-data": {"schema": {"type": "object"}}}, "multipart", "multipart/form-data"),
        ({"text/plain": {"schema": {"type": "string"}}}, "raw", "text/plain"),
        ({"image/*": {}}, "raw", "application/octet-stream"),
    ],
)
def test_json_is_preferred_of_what_a_body_may_be(content: Any, form: str, media: str) -> None:
    body = bound(operation({"requestBody": {"content": content}})).body
    assert body is not None
    assert (body.form, body.media) == (form, media)


@pytest.mark.parametrize(
    ("responses", "output", "status"),
    [
        ({}, "google.protobuf.Empty", 200),
        ({"204": {}}, "google.protobuf.Empty", 204),
        ({"200": {}, "201": {"content": JSON_PET}}, "shop.Pet", 201),
        ({"202": {"content": {"text/plain": {}}}, "200": {}}, "google.api.HttpBody", 202),
        ({"2XX": {"content": JSON_PET}}, "shop.Pet", 200),
        ({"default": {"content": JSON_PET}}, "shop.Pet", 200),
        ({"404": {"content": JSON_PET}}, "google.protobuf.Empty", 200),
        ({"200": {"content": {"application/json": {"schema": {"type": "array"}}}}}, "shop.DoResponse", 200),
        ({"200": {"content": {"application/json": {}}}}, "shop.DoResponse", 200),
        ({"200": {"content": {"application/pdf": {}, "image/png": {}}}}, "google.api.HttpBody", 200),
        ({"200": {"content": {"bad\r\nx: y": {}, "a\x00": {}}}}, "google.protobuf.Empty", 200),
    ],
)
def test_the_reply_is_that_of_the_lowest_success_with_json(responses: Any, output: str, status: int) -> None:
    method = operation({"responses": responses}, schemas=PET)
    assert (method.output.name, method.http[0].success) == (output, status)


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ({"text/event-stream": {"schema": {"$ref": "#/components/schemas/Pet"}}}, "shop.Pet"),
        (
            {"application/x-ndjson": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}},
            "shop.Pet",
        ),
        ({"application/jsonl": {"itemSchema": {"$ref": "#/components/schemas/Pet"}}}, "shop.Pet"),
        ({"text/event-stream": {"schema": {"type": "string"}}}, "google.api.HttpBody"),
        ({"text/event-stream": {}}, "google.api.HttpBody"),
    ],
)
def test_streams_are_server_streams(content: Any, output: str) -> None:
    method = operation({"responses": {"200": {"content": content}}}, schemas=PET)
    assert method.server_streaming
    assert (method.output.name, bound(method).accept) == (output, next(iter(content)))


@pytest.mark.parametrize(
    ("servers", "path"),
    [
        ([{"url": "https://api.example/v3/"}], "/v3"),
        ([{"url": "/api"}, {"url": "/other"}], "/api"),
        ([{"url": "https://{host}/{base}", "variables": {"base": {"default": "b c"}}}], "/b%20c"),
        ([{"url": "https://api.example"}], ""),
        ([{"url": "."}], ""),
        ([], ""),
    ],
)
def test_the_servers_path_comes_before_all_paths(servers: Any, path: str) -> None:
    method = operation({}, "/a", "get", servers=servers)
    assert (method.http[0].template, bound(method).base_path) == (f"{path}/a", path)


def test_an_operations_own_server_wins() -> None:
    method = operation({"servers": [{"url": "/mine"}]}, "/a", "get", servers=[{"url": "/all"}])
    assert method.http[0].template == "/mine/a"


def test_a_key_in_the_query_is_a_parameter_of_who_asks_for_it() -> None:
    tree = document({"/a": {"get": {"operationId": "do"}, "put": {"operationId": "open", "security": []}}},
                    security=[{"key": []}])  # fmt: skip
    tree["components"]["securitySchemes"] = {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}
    methods = schema_of(tree).services["shop.Shop"].methods
    assert list(methods["Do"].input.fields) == ["api_key"]
    assert list(methods["Open"].input.fields) == []


@pytest.mark.parametrize(
    ("path", "templates"),
    [
        ("/a/", ["/a/"]),
        ("/a/{b}:go", ["/a/{b}:go"]),
        ("/a/{b}.{c}", []),
        ("/a b", []),
        ("/a?beta=true", ["/a"]),
    ],
)
def test_paths_that_templates_cannot_say_are_not_offered_as_rest(path: str, templates: list[str]) -> None:
    assert [rule.template for rule in operation({}, path, "get").http] == templates


def test_paths_that_differ_in_their_query_alone_are_offered_once() -> None:
    methods = schema_of(
        document({"/a?x=1": {"get": {}}, "/a?x=2": {"get": {}}, "/b": {"get": {}}, "/b?x": {"get": {}}})
    )
    offered = [rule.template for one in methods.services["shop.Shop"].methods.values() for rule in one.http]
    assert sorted(offered) == ["/a", "/b"]


def test_numbers_are_kept_across_documents_that_change() -> None:
    numbers = Numbers()
    schema_of(document({"/a": {"get": {"operationId": "do", "parameters": [{"name": "b", "in": "query"}]}}}), numbers)
    again = parse(numbers.text())
    parameters = [{"name": "a", "in": "query"}, {"name": "b", "in": "query"}]
    tree = document({"/a": {"get": {"operationId": "do", "parameters": parameters}}})
    method = schema_of(tree, again).services["shop.Shop"].methods["Do"]
    assert {one.name: one.number for one in method.input.fields.values()} == {"a": 2, "b": 1}


def test_documents_together_are_one_service(tmp_path: Path) -> None:
    for name in ("one", "two"):
        schemas = {"Pet": {"type": "object", "properties": {name: {"type": "string"}}}}
        tree = document({f"/{name}": {"get": {"responses": {"200": {"content": JSON_PET}}}}}, schemas)
        (tmp_path / f"{name}.json").write_text(json.dumps(tree))
    schema = load([tmp_path / "one.json", tmp_path / "two.json"], upstream="shop", numbers=Numbers())
    methods = schema.services["shop.Shop"].methods
    assert list(methods) == ["GetOne", "GetTwo"]
    assert [list(method.output.fields) for method in methods.values()] == [["one"], ["two"]]


def test_every_fault_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    text = """\
openapi: 3.0.3
paths:
  /a:
    get:
      parameters:
        - { in: query, name: x, style: nosuch, schema: {} }
  /b:
    get:
      responses:
        "200": { $ref: "#/nosuch" }
  c: {}
  /d: { $ref: "https://evil.example/d.yaml" }
  /e: { get: [] }
  /f:
    get: { parameters: [ { in: body, name: x } ] }
  /g:
    post:
      requestBody: { content: { application/json: { schema: { $ref: "../up.yaml" } } } }
  /h:
    servers: [ { url: "https://a/../b" } ]
    get: {}
"""
    expected = [
        "api.yaml:6: paths.\"/a\".get.parameters.0: a parameter in query has no style 'nosuch'",
        "api.yaml:10: paths.\"/b\".get.responses.200: '#/nosuch' leads nowhere",
        "api.yaml:11: paths.c: a path begins with /",
        "api.yaml:12: paths.\"/d\": 'https://evil.example/d.yaml' is on the network, where nothing is fetched from",
        'api.yaml:13: paths."/e".get: is no operation',
        "api.yaml:15: paths.\"/f\".get.parameters.0: a parameter is in path, query, header or cookie, not 'body'",
        'api.yaml:18: paths."/g".post.requestBody.content."application/json".schema: \'../up.yaml\' is outside of',
        "api.yaml:20: paths.\"/h\".servers.0: 'https://a/../b': ",
    ]
    for said, wanted in zip(faults(tmp_path, text), expected, strict=True):
        assert said.startswith(wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openapi: 2.0\npaths: {}", "api.yaml:1: openapi: 2.0 is not a version of OpenAPI that is read"),
        ("swagger: '2.0'", "api.yaml:1: None is not a version of OpenAPI that is read"),
        ("openapi: 3.1.0", "api.yaml:1: describes no operation under `paths`"),
        ("openapi: 3.1.0\npaths: []", "api.yaml:2: paths: is no mapping of paths"),
        ("[]", "api.yaml:1: None is not a version"),
        ("openapi: 3.1.0\npaths: {/a: {get: {parameters: [5]}}}", "is no parameter"),
        ("openapi: 3.1.0\npaths: {'/a/{}': {get: {}}}", "a variable of the path has no name"),
        ("openapi: 3.1.0\npaths: {/a: {get: {parameters: [{in: query, name: ''}]}}}", "cannot be a parameter's name"),
    ],
)
def test_what_is_no_document_of_openapi_is_a_fault(tmp_path: Path, text: str, said: str) -> None:
    assert said in faults(tmp_path, text)[0]


def test_many_operations_and_parameters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogw.descriptors.from_openapi.MAX_OPERATIONS", 3)
    with pytest.raises(SchemaError, match="is one operation more than 3"):
        schema_of(document({f"/{n}": {"get": {}} for n in range(5)}))
    parameters = [{"in": "query", "name": f"p{n}"} for n in range(1_001)]
    with pytest.raises(SchemaError, match="is one parameter more than 1000"):
        operation({"parameters": parameters})
