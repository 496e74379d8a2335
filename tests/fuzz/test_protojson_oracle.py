"""Generated schemas and messages: every codec against json_format, both ways, and against bytes and text at random."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protogw.descriptors.from_proto import load_descriptor_set
from protogw.descriptors.model import Codec
from protogw.errors import InvalidRequest
from protogw.wire.protojson import JsonOptions
from protogw.wire.protojson_check import Conflict, tree_of
from tests.support.oracle import Oracle, compiled
from tests.unit.wire.test_protojson import KIT

Proto = descriptor_pb2.FieldDescriptorProto
SCALARS = sorted(set(Proto.Type.values()) - {Proto.TYPE_GROUP, Proto.TYPE_MESSAGE, Proto.TYPE_ENUM})
KEYS = sorted(set(SCALARS) - {Proto.TYPE_DOUBLE, Proto.TYPE_FLOAT, Proto.TYPE_BYTES})
WELL_KNOWN = {
    module.DESCRIPTOR.name: [f".{message.full_name}" for message in module.DESCRIPTOR.message_types_by_name.values()]
    for module in (
        any_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
}
NAMES = st.sampled_from(
    ["id", "a_b", "long_field_name", "x1", "_lead", "trail_", "two__under", "Upper", "value", "a_1b"]
)
SYNTAXES = ("proto3", "proto2", "editions")

fast = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@st.composite
def schemas(draw: st.DrawFn) -> bytes:
    """A descriptor set whose type t.M uses every kind of field there is."""
    syntax = draw(st.sampled_from(SYNTAXES))
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", dependency=WELL_KNOWN)
    file.syntax = syntax
    if syntax == "editions":
        file.edition = descriptor_pb2.EDITION_2023
    enum = file.enum_type.add(name="E")
    for number, name in enumerate(("ZERO", "ONE", "TWO")):
        enum.value.add(name=name, number=number)
    message = file.message_type.add(name="M")
    message.oneof_decl.add(name="choice")
    used: set[str] = set()
    numbers = draw(st.lists(st.integers(1, 2000), min_size=1, max_size=8, unique=True))
    in_oneof = 0
    for number in numbers:
        name = draw(NAMES)
        json_name = name.replace("_", "").lower()
        if json_name in used:
            continue
        used.add(json_name)
        field = message.field.add(name=name, number=number)
        shape = draw(st.sampled_from(["one", "one", "optional", "oneof", "many", "map"]))
        if shape == "map":
            _map(draw, message, field)
            continue
        _hold(draw, field)
        field.label = Proto.LABEL_REPEATED if shape == "many" else Proto.LABEL_OPTIONAL
        if shape == "oneof":
            field.oneof_index = 0
            in_oneof += 1
        elif shape == "optional" and syntax == "proto3" and field.type != Proto.TYPE_MESSAGE:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")
        elif syntax == "editions" and field.type_name == ".t.M" and draw(st.booleans()):
            field.options.features.message_encoding = descriptor_pb2.FeatureSet.DELIMITED
    if not in_oneof:
        message.field.add(name="only", number=3000, label=1, type=Proto.TYPE_STRING, oneof_index=0)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


def _hold(draw: st.DrawFn, field: Proto) -> None:
    kind = draw(st.sampled_from(["scalar", "scalar", "scalar", "enum", "self", "known"]))
    if kind == "scalar":
        field.type = draw(st.sampled_from(SCALARS))
    elif kind == "enum":
        field.type, field.type_name = Proto.TYPE_ENUM, ".t.E"
    else:
        field.type = Proto.TYPE_MESSAGE
        known = [name for names in WELL_KNOWN.values() for name in names]
        field.type_name = ".t.M" if kind == "self" else draw(st.sampled_from(known))


def _map(draw: st.DrawFn, message: Any, field: Proto) -> None:
    camel = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
    entry = message.nested_type.add(name=camel)
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=draw(st.sampled_from(KEYS)))
    _hold(draw, entry.field.add(name="value", number=2, label=1))
    field.label, field.type, field.type_name = Proto.LABEL_REPEATED, Proto.TYPE_MESSAGE, f".t.M.{camel}"


# --- messages ---------------------------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_FLOAT = st.floats(width=32)
_VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: _FLOAT,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 2),
}


def scalar(draw: st.DrawFn, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return draw(st.binary(max_size=8))
    return draw(_TEXT if field.type == FieldDescriptor.TYPE_STRING else _VALUES[field.cpp_type])


def fill(draw: st.DrawFn, message: Any, depth: int) -> None:
    """Set some of the message's fields, to values that have a JSON form."""
    desc: Descriptor = message.DESCRIPTOR
    match desc.full_name:
        case "google.protobuf.Timestamp":
            message.seconds = draw(st.integers(-62135596800, 253402300799))
            message.nanos = draw(st.integers(0, 999_999_999))
        case "google.protobuf.Duration":
            sign = draw(st.sampled_from([1, -1]))
            message.seconds = sign * draw(st.integers(0, 315_576_000_000))
            message.nanos = sign * draw(st.integers(0, 999_999_999))
        case "google.protobuf.FieldMask":
            message.paths.extend(
                draw(st.lists(st.from_regex(r"[a-z]+(_[a-z]+)*(\.[a-z]+)?", fullmatch=True), max_size=3))
            )
        case "google.protobuf.Any":
            duration = duration_pb2.Duration(seconds=draw(st.integers(0, 5)))
            prefix = draw(st.sampled_from(["type.googleapis.com", "example.com/x"]))
            message.type_url, message.value = f"{prefix}/google.protobuf.Duration", duration.SerializeToString()
        case "google.protobuf.Struct" | "google.protobuf.ListValue" | "google.protobuf.Value":
            tree = draw(_JSON)
            if desc.name == "Struct":
                json_format.ParseDict({"k": tree}, message)
            elif desc.name == "ListValue":
                json_format.ParseDict([tree], message)
            else:
                json_format.ParseDict(tree, message)
        case _:
            for field in desc.fields:
                if draw(st.booleans()):
                    _set(draw, message, field, depth)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)


def _set(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    held = field.message_type
    if held is None:
        value = scalar(draw, field)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    elif held.GetOptions().map_entry:
        key = scalar(draw, held.fields_by_name["key"])
        value = held.fields_by_name["value"]
        if value.message_type is None:
            getattr(message, field.name)[key] = scalar(draw, value)
        elif depth:
            fill(draw, getattr(message, field.name)[key], depth - 1)
    elif depth:
        if field.is_repeated:
            fill(draw, getattr(message, field.name).add(), depth - 1)
        else:
            getattr(message, field.name).SetInParent()
            fill(draw, getattr(message, field.name), depth - 1)


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: numbers by value, NaN to itself."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def largest_float_is_exact(tree: Any) -> Any:
    """json_format prints the largest float in a form that it does not read itself; a codec prints it in full."""
    if isinstance(tree, dict):
        return {key: largest_float_is_exact(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [largest_float_is_exact(value) for value in tree]
    most = 3.4028234663852886e38
    return math.copysign(most, tree) if isinstance(tree, float) and abs(tree) == 3.4028235e38 else tree


@fast
@given(st.data(), schemas())
def test_messages_print_and_read_as_json_format_says(data: st.DataObject, descriptor_set: bytes) -> None:
    options = {
        "emit_defaults": data.draw(st.booleans()),
        "enums": data.draw(st.sampled_from(["name", "number"])),
        "names": data.draw(st.sampled_from(["json", "proto"])),
    }
    schema = load_descriptor_set(descriptor_set, JsonOptions(**options))
    codec = schema.types["t.M"].codec
    oracle = Oracle(schema.descriptor_set)
    message = oracle.type("t.M")()
    fill(data.draw, message, 2)
    printed = codec.to_json(message.SerializeToString())
    expected = oracle.print(
        message,
        always_print_fields_with_no_presence=options["emit_defaults"],
        use_integers_for_enums=options["enums"] == "number",
        preserving_proto_field_name=options["names"] == "proto",
    )
    tree = largest_float_is_exact(json.loads(expected))
    assert same(json.loads(printed), tree)

    for text in (printed, json.dumps(tree).encode(), json.dumps(tree, indent=1, ensure_ascii=False).encode()):
        read = oracle.type("t.M").FromString(codec.from_json(text))
        assert read == oracle.parse("t.M", text.decode())
        # Of NaN nothing is equal, so what was read is compared as it prints.
        assert same(json.loads(oracle.print(read)), json.loads(oracle.print(message)))


ODD_VALUES = r"""
    0 1 -1 1.0 1.5 1e2 1e400 0.1 9007199254740993 -2147483649 2147483648 9223372036854775808 18446744073709551616
    true false null "" "x" "1" "1.5" "1e2" "\u0020" "NaN" "Infinity" "-5" "AQI=" "AQ" "_-" "\u00e9" "\ud83d\ude00"
    [] [null] [1] ["1"] [{}] {} {"a":1} {"1":1} {"true":true} {"a":null} {"@type":"x/kit.Plain"}
    {"@type":"x/google.protobuf.Duration","value":"1s"} "2026-01-01T00:00:00Z" "1s" "a,b" "BLUE" 2
"""
ODD = st.sampled_from(ODD_VALUES.split())
FIELDS = sorted(compiled(KIT).types["kit.All"].fields)


def read_by_both(codec: Codec, oracle: Oracle, text: str) -> None:
    """Whatever the codec reads, json_format reads alike. (The codec is the stricter of the two: docs/protojson.md.)"""
    try:
        ours = codec.from_json(text.encode())
    except InvalidRequest:
        return
    message = oracle.type("kit.All").FromString(ours)
    assert message == oracle.parse("kit.All", text)


@fast
@given(st.lists(st.tuples(st.sampled_from(FIELDS), ODD), max_size=4))
def test_what_a_codec_reads_json_format_reads_alike(members: list[tuple[str, str]]) -> None:
    schema = compiled(KIT)
    text = "{" + ",".join(f'"{name}":{value}' for name, value in members) + "}"
    read_by_both(schema.types["kit.All"].codec, _kit_oracle(), text)


def _kit_oracle() -> Oracle:
    global _oracle
    if _oracle is None:
        _oracle = Oracle(compiled(KIT).descriptor_set)
    return _oracle


_oracle: Oracle | None = None


@fast
@given(st.binary(max_size=64))
def test_any_bytes_print_or_are_refused(data: bytes) -> None:
    try:
        printed = compiled(KIT).types["kit.All"].codec.to_json(data)
    except InvalidRequest:
        return
    _kit_oracle().type("kit.All").FromString(data)
    json.loads(printed)


# Flat has no maps: upb takes a map entry with anything unknown in it for unknown as a whole.
@fast
@given(st.data())
def test_damaged_messages_print_as_what_google_reads_of_them_or_are_refused(data: st.DataObject) -> None:
    message = _kit_oracle().type("kit.Flat")()
    fill(data.draw, message, 1)
    damaged = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    codec = compiled(KIT).types["kit.Flat"].codec
    try:
        printed = codec.to_json(bytes(damaged))
    except InvalidRequest:
        return
    expected = _kit_oracle().print(_kit_oracle().type("kit.Flat").FromString(bytes(damaged)))
    assert same(json.loads(printed), largest_float_is_exact(json.loads(expected)))


@fast
@given(st.data())
def test_damaged_json_is_read_as_json_format_reads_it_or_refused(data: st.DataObject) -> None:
    message = _kit_oracle().type("kit.All")()
    fill(data.draw, message, 1)
    text = list(_kit_oracle().print(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(st.sampled_from([*'{}[]",:\\ 0-e.nt_', "", '":', '"a":1,', "\ud800", "\x00"]))
    codec = compiled(KIT).types["kit.All"].codec
    damaged = "".join(text)
    try:
        ours = codec.from_json(damaged.encode("utf-8", "surrogatepass"))
    except InvalidRequest:
        return
    read = _kit_oracle().type("kit.All").FromString(ours)
    try:
        expected = _kit_oracle().parse("kit.All", damaged)
    except json_format.ParseError as error:
        if "Float value too" in str(error):  # what is nearest to the largest float
            return
        raise
    assert same(json.loads(_kit_oracle().print(read)), json.loads(_kit_oracle().print(expected)))


PIECES = st.sampled_from(
    ["a", "b", " ", ":", ",", "\\\\", '\\"', "\\u0022", "\\u0020", "\\u003a", "\\u003A", "\\u0061", "\\t", "{"]
)
STRINGS = st.lists(PIECES, max_size=4).map(lambda pieces: '"' + "".join(pieces) + '"')
SPACES = st.sampled_from(["", "", " ", "\n", "\t"])


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(STRINGS, SPACES, SPACES, inner).map(lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}{parts[3]}")
    return st.lists(member, max_size=4).map(lambda members: "{" + ",".join(members) + "}")


TEXTS = st.recursive(
    STRINGS | st.sampled_from(["1", "1.50", "1e2", "null"]),
    lambda inner: objects(inner) | st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
    max_leaves=12,
)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise KeyError
    return dict(pairs)


@settings(fast, max_examples=500)
@given(TEXTS)
def test_members_given_twice_are_always_found_and_never_imagined(text: str) -> None:
    try:
        expected = json.loads(text, object_pairs_hook=once)
    except KeyError:
        with pytest.raises(Conflict):
            tree_of(text.encode())
    else:
        assert tree_of(text.encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        r'{"a":1,"a":2,"b":"\"\u0020:"}',
        r'{"a":1,"a":2,"b":"\"\u003a"}',
        r'{"a":1,"a":2,"b":"\u0022:"}',
        r'{"a":1,"a" :2}',
        r'{"a":1,"\u0061":2,"b":"\":"}',
    ],
)
def test_no_text_in_a_string_hides_a_member_given_twice(text: str) -> None:
    with pytest.raises(Conflict):
        tree_of(text.encode())


@pytest.mark.parametrize("text", ['{"value":1}', '{"value":{}}'])
def test_the_oracle_agrees_on_a_plain_message(text: str) -> None:
    read_by_both(compiled(KIT).types["kit.All"].codec, _kit_oracle(), text)
