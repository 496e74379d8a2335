"""Which changes of an offer break its clients, and how each is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.changes import breaking
from protogw.descriptors.from_proto import load

BEFORE = """
syntax = "proto3";
package t;
import "google/api/annotations.proto";
service S {
  rpc Get(Key) returns (Thing) { option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = { get: "/v1/{name=things/*}" additional_bindings { get: "/v1/old/{name}" } }; }
  rpc Put(Thing) returns (Thing) { option (google.api.http) = { put: "/v1/things" body: "*" }; }
  rpc Watch(Key) returns (stream Thing);
}
message Key { string name = 1; }
enum State { UNKNOWN = 0; READY = 1; GONE = 2; }
message Thing {
  string name = 1;
  int32 count = 2;
  repeated string words = 3;
  State state = 4;
  Part part = 5;
  map<string, Part> parts = 6;
  string a_b = 7;
  oneof choice { string one = 8; string two = 9; }
  string three = 10;
}
message Part { int64 weight = 1; Part inside = 2; }
"""

CASES = [
    ("service S {", "service T {", ["t.S: the service is gone"]),
    ("rpc Watch(Key) returns (stream Thing);", "", ["t.S/Watch: the method is gone"]),
    ("(stream Thing)", "(Thing)", ["t.S/Watch: was a server stream call, is a unary call"]),
    (
        "option idempotency_level = NO_SIDE_EFFECTS;",
        "",
        ["t.S/Get: is no longer said to be without side effects, so that GET requests are refused"],
    ),
    (
        'additional_bindings { get: "/v1/old/{name}" }',
        "",
        ["t.S/Get: GET /v1/old/{name} is gone"],
    ),
    (
        "rpc Watch(Key) returns (stream Thing);",
        'rpc Watch(Key) returns (stream Thing) { option (google.api.http) = { get: "/v1/watch" }; }',
        ["t.S/Watch: POST /t.S/Watch is gone"],
    ),
    (
        'put: "/v1/things" body: "*"',
        'put: "/v1/things" body: "part"',
        ["t.S/Put: PUT /v1/things: its body was the whole message, is part"],
    ),
    (
        'body: "*"',
        'body: "*" response_body: "part"',
        ["t.S/Put: PUT /v1/things: its response_body was none, is part"],
    ),
    ("rpc Put(Thing)", "rpc Put(Key)", ["t.S/Put: takes t.Key, took t.Thing"]),
    ("message Key { string name = 1; }", "message Key { string name = 2; }", ["t.Key.name: its number was 1, is 2"]),
    ("  int32 count = 2;\n", "", ["t.Thing.count: the field (2) is gone"]),
    (
        "  int32 count = 2;",
        "  int32 total = 2;",
        ["t.Thing.count: is called total", "t.Thing.count: was count in JSON, is total"],
    ),
    ("int32 count = 2;", "int64 count = 2;", ["t.Thing.count: was int32, is int64"]),
    ("repeated string words", "string words", ["t.Thing.words: was repeated string, is string"]),
    (
        "map<string, Part> parts",
        "map<int32, Part> parts",
        ["t.Thing.parts: was map<string, t.Part>, is map<int32, t.Part>"],
    ),
    ("map<string, Part> parts", "repeated Part parts", ["t.Thing.parts: was map<string, t.Part>, is repeated t.Part"]),
    ("string a_b = 7;", 'string a_b = 7 [json_name = "x"];', ["t.Thing.a_b: was aB in JSON, is x"]),
    ("READY = 1; ", "", ["t.State.READY: the value (1) is gone"]),
    ("READY = 1;", "DONE = 1;", ["t.State.READY: is called DONE"]),
    ("READY = 1;", "READY = 3;", ["t.State.READY: its number was 1, is 3"]),
    ("int64 weight = 1;", "string weight = 1;", ["t.Part.weight: was int64, is string"]),
    ("Part part = 5;", "Key part = 5;", ["t.Thing.part: was t.Part, is t.Key"]),
    (
        "string two = 9; }\n  string three = 10;",
        "string two = 9; string three = 10; }",
        [
            "t.Thing.one: was in a oneof with two, is in a oneof with three, two",
            "t.Thing.two: was in a oneof with one, is in a oneof with one, three",
            "t.Thing.three: was in no oneof with others, is in a oneof with one, two",
        ],
    ),
]

HARMLESS = [
    ("message Key { string name = 1; }", "message Key { string name = 1; string more = 2; }"),
    ("GONE = 2;", "GONE = 2; BACK = 3;"),
    ("service S {", "service New { rpc X(Key) returns (Key); }\nservice S {"),
    ("rpc Watch", "rpc More(Key) returns (Key);\n  rpc Watch"),
    ('get: "/v1/{name=things/*}"', 'get: "/v1/things/{name}"'),
    ('get: "/v1/old/{name}"', 'custom: { kind: "*" path: "/v1/old/{name}" }'),
    ("oneof choice {", "oneof renamed {"),
    ("string two = 9; }", "string two = 9; string new = 20; }"),
    ("  string name = 1;\n", "  optional string name = 1;\n"),
    ("message Part {", "// Said better.\nmessage Part {"),
]


def catalog(text: str, folder: Path, name: str) -> Catalog:
    (folder / name).mkdir()
    (folder / name / "t.proto").write_text(text)
    return Catalog.merge([load([folder / name / "t.proto"])])


def broken(before: str, after: str, folder: Path) -> list[str]:
    return [str(one) for one in breaking(catalog(before, folder, "old"), catalog(after, folder, "new"))]


@pytest.mark.parametrize(("written", "now", "told"), CASES)
def test_a_change_that_breaks_clients_is_told(written: str, now: str, told: list[str], tmp_path: Path) -> None:
    assert BEFORE.count(written) >= 1
    assert broken(BEFORE, BEFORE.replace(written, now, 1), tmp_path) == told


@pytest.mark.parametrize(("written", "now"), HARMLESS)
def test_a_change_that_breaks_nobody_is_not_told(written: str, now: str, tmp_path: Path) -> None:
    assert BEFORE.count(written) >= 1
    assert broken(BEFORE, BEFORE.replace(written, now, 1), tmp_path) == []


def test_a_path_that_calls_another_method_is_told(tmp_path: Path) -> None:
    after = BEFORE.replace('get: "/v1/old/{name}"', 'get: "/v1/older"').replace(
        "rpc Watch",
        'rpc Old(Key) returns (Thing) { option (google.api.http) = { get: "/v1/old/{name}" }; }\n  rpc Watch',
    )
    assert broken(BEFORE, after, tmp_path) == ["t.S/Get: GET /v1/old/{name} calls t.S/Old"]


def test_two_fields_that_change_places_are_both_told(tmp_path: Path) -> None:
    after = BEFORE.replace("string name = 1;\n  int32 count = 2;", "int32 count = 1;\n  string name = 2;")
    assert broken(BEFORE, after, tmp_path) == [
        "t.Thing.name: its number was 1, is 2",
        "t.Thing.count: its number was 2, is 1",
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("optional int32 x = 1;", "required int32 x = 1;", ["p.M.x: is required"]),
        ("required int32 x = 1;", "optional int32 x = 1;", ["p.M.x: is no longer required"]),
        ("", "required int32 x = 1;", ["p.M.x: is new, and required"]),
        ("optional group G = 1 {}", "optional N g = 1;", ["p.M.g: was group p.M.G, is p.N"]),
    ],
)
def test_what_proto2_requires_is_compared(before: str, after: str, told: list[str], tmp_path: Path) -> None:
    text = 'syntax = "proto2"; package p; message N {} message M { %s } service S { rpc Do(M) returns (M); }'
    assert broken(text % before, text % after, tmp_path) == told


def test_types_that_no_call_reaches_may_change(tmp_path: Path) -> None:
    more = BEFORE + "message Unused { string x = 1; }\n"
    assert broken(more, BEFORE, tmp_path) == []
