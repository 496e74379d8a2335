"""What the REST side asks of a codec: one field in, one field out, and which fields a body sets."""

from __future__ import annotations

import json

import pytest

from protogw.errors import InvalidRequest
from protogw.wire.protojson import JsonOptions, MessageCodec
from tests.support.oracle import Oracle, compiled
from tests.unit.wire.test_protojson import EDITION, KIT, PROTO2


def codec(text: str = KIT, name: str = "kit.All", **options: str) -> MessageCodec:
    found = compiled(text, JsonOptions(**options)).types[name].codec  # type: ignore[arg-type]
    assert isinstance(found, MessageCodec)
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int64_value", '"5"'),
        ("string_value", '"a"'),
        ("child", '{"child":{"maybe":0}}'),
        ("numbers", "[1,2]"),
        ("children", "[{}]"),
        ("texts", '{"a":"b"}'),
        ("colour", '"BLUE"'),
        ("second_choice", "{}"),
        ("time", '"2026-01-01T00:00:00Z"'),
        ("value", "null"),
        ("renamed", '"x"'),
        ("float_value", "0.1"),
    ],
)
def test_a_field_goes_in_and_comes_out_alone(name: str, value: str) -> None:
    data = codec().field_from_json(name, value.encode())
    assert codec().field_to_json(name, data).decode() == value
    assert list(json.loads(codec().to_json(data)).values()) == [json.loads(value)]
    assert codec(names="proto").field_to_json(name, data).decode() == value


def test_a_field_is_printed_alone_though_defaults_are_printed_too() -> None:
    filling = compiled(KIT, JsonOptions(emit_defaults=True)).types["kit.All"].codec
    data = filling.from_json(b'{"texts":{"a":"b"},"child":{}}')
    assert filling.field_to_json("texts", data) == b'{"a":"b"}'
    assert json.loads(filling.field_to_json("child", data))["numbers"] == []


def test_only_the_field_asked_for_is_printed() -> None:
    data = codec().from_json(b'{"int32Value":1,"child":{"maybe":1},"texts":{"a":"b"},"secondChoice":{"maybe":2}}')
    assert codec().field_to_json("child", data) == b'{"maybe":1}'
    assert codec().field_to_json("second_choice", data) == b'{"maybe":2}'
    assert codec().field_to_json("int32_value", data) == b"1"


def test_a_field_is_joined_to_what_came_otherwise_by_concatenation(oracle_bytes: Oracle) -> None:
    joined = codec().field_from_json("child", b'{"maybe":1}') + codec().field_from_json("int32_value", b"7")
    assert oracle_bytes.type("kit.All").FromString(joined) == oracle_bytes.parse(
        "kit.All", '{"child":{"maybe":1},"int32Value":7}'
    )


@pytest.fixture
def oracle_bytes() -> Oracle:
    return Oracle(compiled(KIT).descriptor_set)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int32_value", "0"),
        ("int64_value", '"0"'),
        ("double_value", "0"),
        ("bool_value", "false"),
        ("string_value", '""'),
        ("bytes_value", '""'),
        ("colour", '"NONE"'),
        ("maybe", "0"),
        ("first_choice", '""'),
        ("numbers", "[]"),
        ("texts", "{}"),
        ("child", "{}"),
        ("time", "null"),
        ("wrapped_int64", "null"),
        ("struct", "{}"),
        ("list", "[]"),
        ("any", "{}"),
    ],
)
def test_an_absent_field_prints_as_its_default(name: str, value: str) -> None:
    assert codec().field_to_json(name, b"").decode() == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "0"),
        ("name", '"x\\"y"'),
        ("big", '"-5"'),
        ("ratio", '"Infinity"'),
        ("level", '"HIGH"'),
        ("raw", '"AQI="'),
        ("part", "0.1"),
        ("extra", "{}"),
    ],
)
def test_a_declared_default_counts(name: str, value: str) -> None:
    assert codec(PROTO2, "kit2.Old").field_to_json(name, b"").decode() == value


def test_enum_defaults_follow_the_options() -> None:
    assert codec(PROTO2, "kit2.Old", enums="number").field_to_json("level", b"") == b"1"
    assert codec(EDITION, "kit3.New").field_to_json("shut", b"") == b'"A"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('1,"int64Value":2', "invalid JSON at line 1, column 2: Extra data"),
        ("1}", "invalid JSON at line 1, column 2: Extra data"),
        ("", "invalid JSON at line 1, column 1"),
        ("1 2", "invalid JSON at line 1, column 3: Extra data"),
        ('"x"', 'int32Value: expected int32, got "x"'),
    ],
)
def test_no_other_field_can_ride_in_on_one(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec().field_from_json("int32_value", text.encode())
    assert str(caught.value).startswith(said)


def test_faults_inside_a_field_are_named_from_the_top() -> None:
    with pytest.raises(InvalidRequest, match=r"^child\.maybe: expected int32, got true$"):
        codec().field_from_json("child", b'{"maybe":true}')


def test_a_field_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        codec().field_from_json("nope", b"1")
    with pytest.raises(KeyError):
        codec().field_to_json("nope", b"")


def test_bytes_that_do_not_parse_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        codec().field_to_json("int32_value", b"\xff")


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("{}", []),
        ('{"int32Value":0,"string_value":""}', ["int32_value", "string_value"]),
        ('{"child":{"maybe":1,"child":{"int32Value":2}}}', ["child.maybe", "child.child.int32_value"]),
        ('{"child":{}}', ["child"]),
        ('{"child":null}', ["child"]),
        ('{"texts":{"a":"b"},"numbers":[],"children":[{"maybe":1}]}', ["texts", "numbers", "children"]),
        ('{"struct":{"a":1},"value":{"a":1},"any":{"@type":"x"},"time":"x"}', ["struct", "value", "any", "time"]),
        ('{"secondChoice":{"maybe":1},"other-name":"x"}', ["second_choice.maybe", "renamed"]),
        ('{"nope":1}', []),
        ("[]", []),
    ],
)
def test_the_paths_that_a_body_sets(text: str, paths: list[str]) -> None:
    assert codec().present_paths(text.encode()) == paths


@pytest.mark.parametrize("text", ["", "{", '{"a":1,"a":2}', "[" * 100_000])
def test_paths_of_what_is_not_json_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        codec().present_paths(text.encode())
