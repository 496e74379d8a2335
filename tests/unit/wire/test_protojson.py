"""The ProtoJSON mapping, one rule a test; the fuzz tests compare it whole with json_format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protogw.descriptors.model import Schema
from protogw.errors import InvalidRequest
from protogw.wire.protojson import JsonOptions
from tests.support.oracle import Oracle, compiled

KIT = """
syntax = "proto3";
package kit;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

message All {
  int32 int32_value = 1;
  int64 int64_value = 2;
  uint32 uint32_value = 3;
  uint64 uint64_value = 4;
  float float_value = 5;
  double double_value = 6;
  bool bool_value = 7;
  string string_value = 8;
  bytes bytes_value = 9;
  Colour colour = 10;
  All child = 11;
  optional int32 maybe = 12;
  repeated int32 numbers = 13;
  repeated All children = 14;
  repeated Colour colours = 15;
  repeated float floats = 16;
  map<string, string> texts = 17;
  map<int64, All> by_id = 18;
  map<bool, Colour> by_flag = 19;
  map<uint32, float> by_number = 20;
  oneof choice { string first_choice = 21; All second_choice = 22; google.protobuf.NullValue nothing = 23; }
  google.protobuf.Any any = 30;
  repeated google.protobuf.Any anys = 31;
  google.protobuf.Timestamp time = 32;
  google.protobuf.Duration span = 33;
  google.protobuf.FieldMask mask = 34;
  google.protobuf.Struct struct = 35;
  google.protobuf.Value value = 36;
  google.protobuf.ListValue list = 37;
  google.protobuf.FloatValue wrapped_float = 38;
  google.protobuf.Int64Value wrapped_int64 = 39;
  google.protobuf.Empty empty = 40;
  string renamed = 41 [json_name = "other-name"];
  map<string, google.protobuf.Any> any_map = 42;
}
enum Colour { option allow_alias = true; NONE = 0; RED = 1; ROT = 1; BLUE = 2; NEGATIVE = -1; }
message Plain { string id = 1; }
message Flat {
  int32 int32_value = 1;
  sint64 sint64_value = 2;
  fixed32 fixed32_value = 3;
  double double_value = 4;
  float float_value = 5;
  bool bool_value = 6;
  string string_value = 7;
  bytes bytes_value = 8;
  Colour colour = 9;
  Flat child = 10;
  repeated int64 numbers = 11;
  repeated Flat children = 12;
  oneof choice { string first_choice = 13; Flat second_choice = 14; }
  google.protobuf.Timestamp time = 15;
  google.protobuf.Duration span = 16;
  google.protobuf.Int64Value wrapped = 17;
}
"""

PROTO2 = """
syntax = "proto2";
package kit2;
message Old {
  required int32 id = 1;
  optional string name = 2 [default = "x\\"y"];
  optional int64 big = 3 [default = -5];
  optional double ratio = 4 [default = inf];
  optional Level level = 5 [default = HIGH];
  optional bytes raw = 6 [default = "\\x01\\x02"];
  optional group Extra = 7 { optional int32 deep = 1; }
  optional float part = 8 [default = 0.1];
  extensions 100 to max;
}
enum Level { LOW = 0; HIGH = 1; }
message More { optional int32 size = 1; oneof o { int32 a = 2; int32 b = 3; } }
extend Old {
  optional int32 weight = 100;
  repeated More more = 101;
}
message Set { option message_set_wire_format = true; extensions 4 to max; }
extend Set { optional More in_set = 1000; }
"""

EDITION = """
edition = "2023";
package kit3;
message New {
  int32 tracked = 1;
  int32 plain = 2 [features.field_presence = IMPLICIT];
  New inner = 3 [features.message_encoding = DELIMITED];
  repeated int32 spread = 4 [features.repeated_field_encoding = EXPANDED];
  Shut shut = 5;
}
enum Shut { option features.enum_type = CLOSED; A = 0; B = 1; }
"""


@pytest.fixture(scope="module")
def kit() -> Schema:
    return compiled(KIT)


@pytest.fixture(scope="module")
def oracle(kit: Schema) -> Oracle:
    return Oracle(kit.descriptor_set)


def read(text: str | bytes, schema: Schema | None = None, name: str = "kit.All") -> bytes:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return (schema or compiled(KIT)).types[name].codec.from_json(data)


def again(text: str, **options: Any) -> Any:
    """What the JSON reads and prints as."""
    codec = compiled(KIT, JsonOptions(**options)).types["kit.All"].codec
    return json.loads(codec.to_json(codec.from_json(text.encode())))


def refusal(text: str | bytes, schema: Schema | None = None, name: str = "kit.All") -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(text, schema, name)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"int32Value":-2147483648}',
        '{"int64Value":"-9223372036854775808"}',
        '{"uint64Value":"18446744073709551615"}',
        '{"floatValue":0.1}',
        '{"floatValue":3.4028234663852886e+38}',
        '{"doubleValue":1e-320}',
        '{"doubleValue":"NaN"}',
        '{"floatValue":"-Infinity"}',
        '{"boolValue":true}',
        '{"stringValue":"\\u0000é😀\\u2028\\"\\\\"}',
        '{"bytesValue":"AQL/"}',
        '{"colour":"BLUE"}',
        '{"colour":77}',
        '{"maybe":0}',
        '{"child":{}}',
        '{"children":[{},{"int32Value":1}]}',
        '{"texts":{"":"","a b":"c"}}',
        '{"byId":{"-1":{},"9007199254740993":{"maybe":1}}}',
        '{"byFlag":{"true":"RED","false":"NONE"}}',
        '{"byNumber":{"7":0.1}}',
        '{"firstChoice":""}',
        '{"secondChoice":{}}',
        '{"nothing":null}',
        '{"time":"0001-01-01T00:00:00Z"}',
        '{"time":"2026-01-31T12:00:00.000001Z"}',
        '{"span":"-0.000000001s"}',
        '{"mask":"a,bC.dE"}',
        '{"struct":{"a":[null,1.5,"x",{"b":true}]}}',
        '{"value":null}',
        '{"list":[[],{}]}',
        '{"wrappedFloat":0.1}',
        '{"wrappedInt64":"0"}',
        '{"empty":{}}',
        '{"other-name":"x"}',
        '{"any":{"@type":"type.googleapis.com/kit.Plain","id":"x"}}',
        '{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}',
        '{"any":{"@type":"type.googleapis.com/google.protobuf.FloatValue","value":0.1}}',
        '{"any":{"@type":"type.googleapis.com/kit.All","floatValue":0.1,"byNumber":{"1":0.3}}}',
        '{"any":{}}',
    ],
)
def test_what_is_canonical_prints_as_it_was_read(text: str, oracle: Oracle) -> None:
    data = read(text)
    assert json.loads(compiled(KIT).types["kit.All"].codec.to_json(data)) == json.loads(text)
    assert oracle.parse("kit.All", text).SerializeToString(deterministic=True) == oracle.type("kit.All").FromString(
        data
    ).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{"int32_value":"1e2"}', {"int32Value": 100}),
        ('{"int32Value":1.0}', {"int32Value": 1}),
        ('{"int64Value":5}', {"int64Value": "5"}),
        ('{"doubleValue":"1.5"}', {"doubleValue": 1.5}),
        ('{"bytesValue":"-_8"}', {"bytesValue": "+/8="}),
        ('{"colour":2}', {"colour": "BLUE"}),
        ('{"colour":"ROT"}', {"colour": "RED"}),
        ('{"time":"2026-01-01T01:00:00+01:00"}', {"time": "2026-01-01T00:00:00Z"}),
        ('{"span":"1.5000s"}', {"span": "1.500s"}),
        ('{"numbers":null,"child":null,"colour":null,"texts":null,"time":null}', {}),
        ('{"renamed":"x"}', {"other-name": "x"}),
        ('{"firstChoice":"a","secondChoice":null}', {"firstChoice": "a"}),
        ('{"int32Value":0,"stringValue":"","numbers":[]}', {}),
        (' \n{ "int32Value"\t:\r\n1 } ', {"int32Value": 1}),
        ('{"int32\\u0056alue":1}', {"int32Value": 1}),
    ],
)
def test_other_forms_are_read_too(text: str, canonical: Any) -> None:
    assert again(text) == canonical


def test_output_options() -> None:
    text = '{"int64Value":"0","colour":1,"byFlag":{"true":"BLUE"},"renamed":"x"}'
    assert again(text, enums="number") == {"colour": 1, "byFlag": {"true": 2}, "other-name": "x"}
    assert again(text, names="proto") == {"colour": "RED", "by_flag": {"true": "BLUE"}, "renamed": "x"}
    filled = again("{}", emit_defaults=True)
    assert filled["int64Value"] == "0"
    assert filled["numbers"] == []
    assert filled["texts"] == {}
    assert "maybe" not in filled
    assert "child" not in filled
    assert "time" not in filled


def test_unknown_fields_are_dropped_when_told_to() -> None:
    ignoring = JsonOptions(unknown_fields="ignore")
    codec = compiled(KIT, ignoring).types["kit.All"].codec
    assert codec.from_json(b'{"nope":{"a":[1]},"colour":"NOPE","child":{"x":1},"int32Value":1}') == b"\x08\x01\x5a\x00"
    strict = compiled(KIT).types["kit.All"].codec
    assert strict.lenient.from_json(b'{"nope":1}') == b""
    assert strict.lenient is strict.lenient.lenient


def test_floats_are_printed_with_the_digits_they_have(oracle: Oracle) -> None:
    codec = compiled(KIT).types["kit.All"].codec
    for value in (0.1, 1 / 3, 16777216.0, 123456789.0, 1e-45, 3.4e38, 1e10, 7.0, -2.5e-7, -0.0):
        message = oracle.type("kit.All")(float_value=value, floats=[value], wrapped_float={"value": value})
        assert json.loads(codec.to_json(message.SerializeToString())) == json.loads(oracle.print(message))


@pytest.mark.parametrize("text", ["3.4028235e38", '"3.4028235e38"', "3.4028234663852886e38"])
def test_the_largest_float_is_read_from_its_short_form(text: str) -> None:
    most = 3.4028234663852886e38
    assert again(f'{{"floatValue":{text},"floats":[-{text.strip(chr(34))}],"int64Value":"9007199254740993"}}') == {
        "floatValue": most,
        "floats": [-most],
        "int64Value": "9007199254740993",
    }
    assert refusal('{"floatValue":3.4028236e38}') == "floatValue: expected float, got 3.4028236e+38"


def test_doubles_keep_all_their_digits() -> None:
    assert again('{"doubleValue":0.30000000000000004,"floatValue":0.1}') == {
        "doubleValue": 0.30000000000000004,
        "floatValue": 0.1,
    }


def test_the_first_name_of_an_alias_is_printed() -> None:
    assert again('{"colours":[1,"ROT",0]}') == {"colours": ["RED", "RED", "NONE"]}


def test_an_any_keeps_the_type_url_that_it_came_with(oracle: Oracle) -> None:
    inner = '{"@type":"example.com/x/kit.All","any":{"@type":"a/kit.Plain","id":"x"}}'
    for frame in ('{"any":%s}', '{"anys":[%s]}', '{"anyMap":{"k":%s}}', '{"any_map":{"k":%s}}'):
        text = frame % inner
        assert oracle.type("kit.All").FromString(read(text)) == oracle.parse("kit.All", text)


def test_an_any_in_an_any_keeps_its_type_url() -> None:
    text = '{"any":{"@type":"a/google.protobuf.Any","value":{"@type":"b/kit.Plain","id":"x"}}}'
    assert again(text) == json.loads(text)


def test_an_any_holds_googles_error_details_though_the_schema_has_none() -> None:
    text = '{"any":{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}}'
    assert again(text) == json.loads(text)


def test_proto2_defaults_groups_and_extensions() -> None:
    codec = compiled(PROTO2).types["kit2.Old"].codec
    text = b'{"id":0,"extra":{"deep":1},"[kit2.weight]":5,"[kit2.more]":[{"size":1}]}'
    data = codec.from_json(text)
    assert json.loads(codec.to_json(data)) == json.loads(text)
    assert b"\x3b\x08\x01\x3c" in data  # start and end group, not a length


def test_editions_features() -> None:
    codec = compiled(EDITION).types["kit3.New"].codec
    text = b'{"tracked":0,"inner":{"tracked":1},"spread":[1,2]}'
    data = codec.from_json(text)
    assert json.loads(codec.to_json(data)) == json.loads(text)
    assert b"\x1b\x08\x01\x1c" in data
    assert b"\x20\x01\x20\x02" in data
    assert codec.from_json(b'{"plain":0}') == b""
    said = refusal('{"shut":7}', compiled(EDITION), "kit3.New")
    assert said == "shut: expected a name or number of kit3.Shut, got 7"
    assert json.loads(codec.to_json(b"\x28\x07")) == {}


def test_message_sets_are_refused_rather_than_written_wrongly() -> None:
    assert refusal('{"[kit2.in_set]":{}}', compiled(PROTO2), "kit2.Set") == (
        "[kit2.in_set]: message sets have no JSON form"
    )


# --- what is said of bad JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"int64Value":"abc"}', 'int64Value: expected int64, got "abc"'),
        ('{"int32_value":2147483648}', "int32_value: expected int32, got 2147483648"),
        ('{"uint32Value":-1}', "uint32Value: expected uint32, got -1"),
        ('{"int32Value":1.5}', "int32Value: expected int32, got 1.5"),
        ('{"floatValue":1e39}', "floatValue: expected float, got 1e+39"),
        ('{"doubleValue":"nan"}', 'doubleValue: expected double, got "nan"'),
        ('{"boolValue":"true"}', 'boolValue: expected true or false, got "true"'),
        ('{"stringValue":5}', "stringValue: expected string, got 5"),
        ('{"bytesValue":"*"}', 'bytesValue: expected base64 text, got "*"'),
        ('{"colour":"GREEN"}', 'colour: expected a name or number of kit.Colour, got "GREEN"'),
        ('{"child":[]}', "child: expected an object, got []"),
        ('{"child":{"child":{"maybe":{}}}}', "child.child.maybe: expected int32, got {}"),
        ('{"numbers":1}', "numbers: expected a list, got 1"),
        ('{"numbers":[1,2,"x",4]}', 'numbers[2]: expected int32, got "x"'),
        ('{"numbers":[null]}', "numbers[0]: expected int32, got null"),
        ('{"children":[{},{"int32Value":"x"}]}', 'children[1].int32Value: expected int32, got "x"'),
        ('{"children":[null]}', "children[0]: expected an object, got null"),
        ('{"texts":[]}', "texts: expected an object, got []"),
        ('{"texts":{"a":1}}', 'texts["a"]: expected string, got 1'),
        ('{"byId":{"x":{}}}', 'byId["x"]: expected a key of type int64'),
        ('{"byId":{"1":{"maybe":"x"}}}', 'byId["1"].maybe: expected int32, got "x"'),
        ('{"byFlag":{"yes":1}}', 'byFlag["yes"]: expected a key of type bool'),
        ('{"time":"yesterday"}', 'time: expected an RFC 3339 time such as "2026-01-31T12:00:00Z", got "yesterday"'),
        ('{"span":"1"}', 'span: expected a duration such as "1.5s", got "1"'),
        ('{"mask":"a_b"}', 'mask: expected field paths such as "name,shelf.theme", got "a_b"'),
        ('{"struct":[]}', "struct: expected an object, got []"),
        ('{"wrappedInt64":{}}', "wrappedInt64: expected int64, got {}"),
        ('{"any":{"id":1}}', "any.@type: expected a type URL, got null"),
        ('{"any":{"@type":"x/nope.Nope"}}', 'any.@type: unknown type "x/nope.Nope"'),
        ('{"any":{"@type":"x/kit.Plain","id":1}}', "any.id: expected string, got 1"),
        ('{"any":{"@type":"x/kit.Plain","x":1}}', "any.x: no such field in kit.Plain"),
        ('{"colur":1}', 'colur: no such field in kit.All; did you mean "colour"?'),
        ('{"child":{"zzzz":1}}', "child.zzzz: no such field in kit.All"),
        ("[]", "the message: expected an object, got []"),
        ("null", "the message: expected an object, got null"),
        ('{"[kit.nope]":1}', "[kit.nope]: no such field in kit.All"),
    ],
)
def test_the_field_and_what_was_expected_are_named(text: str, said: str) -> None:
    assert refusal(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"int32Value":1,"int32Value":1}', "int32Value: given twice"),
        ('{"int32Value":1,"int32_value":1}', 'int32_value: given twice, also as "int32Value"'),
        ('{"int32Value":1,"int32\\u0056alue":1}', "int32Value: given twice"),
        ('{"int32Value" :1,"int32Value":1}', "int32Value: given twice"),
        ('{"int32\\u005fvalue":1,"int32Value":1}', 'int32Value: given twice, also as "int32_value"'),
        ('{"children":[{},{"maybe":1,"maybe":2}]}', "children[1].maybe: given twice"),
        ('{"texts":{"a":"1","a":"2"}}', "texts.a: given twice"),
        ('{"struct":{"x":[{"a":1,"a":2}]}}', "struct.x[0].a: given twice"),
        ('{"any":{"@type":"a/kit.Plain","@type":"a/kit.Plain"}}', "any.@type: given twice"),
        (
            '{"any":{"@type":"a/kit.All","maybe":1,"child":{"int32Value":1,"int32_value":2}}}',
            'any.child.int32_value: given twice, also as "int32Value"',
        ),
        (
            '{"firstChoice":"","secondChoice":{}}',
            'secondChoice: only one field of the oneof "choice" may be set, and "firstChoice" is',
        ),
        (
            '{"byId":{"1":{"first_choice":"","secondChoice":{}}}}',
            'byId["1"].secondChoice: only one field of the oneof "choice" may be set, and "first_choice" is',
        ),
        (
            '{"anys":[{"@type":"a/kit.All","firstChoice":"","secondChoice":{}}]}',
            'anys[0].secondChoice: only one field of the oneof "choice" may be set, and "firstChoice" is',
        ),
        ('{"renamed":"","other-name":""}', 'other-name: given twice, also as "renamed"'),
    ],
)
def test_what_is_said_twice_is_refused(text: str, said: str) -> None:
    assert refusal(text) == said


def test_two_of_a_oneof_in_an_extension_are_refused() -> None:
    said = refusal('{"id":1,"[kit2.more]":[{"a":1,"b":2}]}', compiled(PROTO2), "kit2.Old")
    assert 'only one field of the oneof "o" may be set' in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "invalid JSON at line 1, column 1"),
        ('{"int32Value":1,}', "invalid JSON at line 1, column 1"),
        ('{\n"a": }', "invalid JSON at line 2, column 6"),
        ("{}{}", "invalid JSON at line 1, column 3: Extra data"),
        ("\ufeff{}", "invalid JSON: starts with a byte order mark"),
        ('{"stringValue":"a\x00"}', "invalid JSON at line 1, column 18"),
        (b'{"stringValue":"\xff"}', "invalid JSON: not UTF-8 at byte 16"),
        ('{"stringValue":"\ud800"}', "invalid JSON: not UTF-8 at byte 16"),
        ('{"doubleValue":NaN}', "invalid JSON: NaN is not a JSON number"),
        ('{"int32Value":01}', "invalid JSON at line 1"),
        ("{'a':1}", "invalid JSON at line 1"),
        ('{"int32Value":1}\x00', "invalid JSON at line 1, column 17"),
        ('{"stringValue":"\\ud800"}', "invalid JSON at line 1, column 23: unexpected end of hex escape"),
        ('{"value":' + "1" * 400 + "}", "value: number out of the range of double"),
        ('{"struct":{"a":[-1e999]}}', "struct.a[0]: number out of the range of double"),
        ('{"doubleValue":1e999}', "doubleValue: number out of the range of double"),
        ('{"int64Value":' + "1" * 10_000 + "}", "int64Value: number out of the range of double"),
        ('{"int64Value":"' + "1" * 10_000 + '"}', 'int64Value: expected int64, got "111'),
    ],
)
def test_broken_json_is_refused_with_its_place(text: str | bytes, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize("depth", [101, 500, 2_000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ('{"child":', "}"),
        ('{"value":[', "]}"),
        ('{"struct":{"a":', "}}"),
        ("[", "]"),
        ('{"int32Value":[', "]}"),
        ('{"time":{"a":', "}}"),
        ('{"numbers":{"a":', "}}"),
    ],
)
def test_depth_is_bounded(opening: str, closing: str, depth: int) -> None:
    inner = "{}" if opening.endswith(":") else ""
    assert refusal(opening * depth + inner + closing * depth)


def test_a_hundred_levels_are_read() -> None:
    assert read('{"child":' * 98 + "{}" + "}" * 98)


def test_a_deep_value_of_the_wrong_type_does_not_end_the_process() -> None:
    for text in ("[" * 100_000, '{"int32Value":' + "[" * 100_000 + "]" * 100_000 + "}"):
        assert "nested" in refusal(text)


def test_a_million_members_are_read_in_linear_time() -> None:
    members = ",".join(f'"k{n}":"v"' for n in range(200_000))
    assert len(read(f'{{"texts":{{{members}}}}}')) > 200_000
    assert refusal(f"{{{members}}}") == (
        "kit.All: cannot decode kit.All from JSON: key: 'k0' is unknown"  # too long a text to search for the place
    )


# --- what is said of bad protobuf -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\xff", b"\x5a\x05a", b"\x07\x00", b"\x0b", b"\x0c", b"\x42\x01\xff", b"\x08" + b"\xff" * 11],
    ids=["no value", "no tag", "short", "field 0", "open group", "end group", "utf-8", "long varint"],
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"kit\.All: not valid protobuf"):
        compiled(KIT).types["kit.All"].codec.to_json(data)


def test_a_message_that_has_no_json_form_names_the_field(oracle: Oracle) -> None:
    codec = compiled(KIT).types["kit.All"].codec
    for message, said in [
        ({"children": [{}, {"time": {"seconds": 10**12}}]}, r"children\[1\]\.time: timestamp seconds out of range"),
        ({"by_id": {7: {"span": {"nanos": 2 * 10**9}}}}, r"byId\[7\]\.span: duration nanos"),
        ({"any": {"type_url": "x/nope.Nope", "value": b""}}, r"any: any.*not in the type registry"),
    ]:
        with pytest.raises(InvalidRequest, match=said):
            codec.to_json(oracle.type("kit.All")(**message).SerializeToString())


def test_deep_binary_is_refused_and_does_not_end_the_process(oracle: Oracle) -> None:
    deep = oracle.type("kit.All")()
    at = deep
    for _ in range(150):
        at = at.child
        at.maybe = 1
    data = deep.SerializeToString()
    codec = compiled(KIT).types["kit.All"].codec
    for bad in (data, b"\xa3\x06" * 100_000 + b"\xa4\x06" * 100_000):
        with pytest.raises(InvalidRequest):
            codec.to_json(bad)
