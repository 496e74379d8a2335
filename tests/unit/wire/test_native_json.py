"""The service's own JSON ⇄ protobuf: what is written otherwise than ProtoJSON, each way, and what is refused where."""

from __future__ import annotations

import orjson
import pytest

from protogw.descriptors.model import Codec, Kind, Schema
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.shapes import Branch, MessageShape, Union
from protogw.descriptors.synthesize import VALUE, Drafts, EnumDraft, FieldDraft, MessageDraft, ValueDraft, synthesize
from protogw.errors import InvalidRequest
from protogw.wire.native_json import NativeCodec
from protogw.wire.protojson import DEFAULT, JsonOptions, MessageCodec


def field(member: str, kind: Kind = Kind.STRING, **more: object) -> FieldDraft:
    return FieldDraft(member=member, kind=kind, **more)  # type: ignore[arg-type]


def held(member: str, holds: str, **more: object) -> FieldDraft:
    return field(member, Kind.MESSAGE, holds=holds, **more)


def schema(options: JsonOptions = DEFAULT) -> Schema:
    drafts = Drafts()
    drafts.enums["status"] = EnumDraft(
        name="Status", values=[ValueDraft(written=one) for one in ("sold-out", 7, True, 1.5)]
    )
    drafts.messages = {
        "plain": MessageDraft(name="Plain", fields=[field("name"), field("age", Kind.INT32, presence=True)]),
        "holder": MessageDraft(name="Holder", fields=[held("plain", "plain"), held("pet", "pet")]),
        "pet": MessageDraft(
            name="Pet",
            fields=[
                field("id", Kind.INT64),
                field("ids", Kind.UINT64, repeated=True),
                field("byName", Kind.INT64, mapped=True),
                field("status", Kind.ENUM, holds="status", presence=True),
                field("all", Kind.ENUM, holds="status", repeated=True),
                field("owner", presence=True),
                field("notes", repeated=True),
                held("grid", "row", repeated=True),
                held("any", VALUE),
                held("friends", "pet", repeated=True),
                held("pick", "pick"),
                held("more", "pick", mapped=True),
            ],
            shape=MessageShape(
                numbers=frozenset(("id", "ids", "byName")),
                always=frozenset(("id", "ids")),
                nulls=frozenset(("owner",)),
                sparse=frozenset(("notes", "byName")),
                rest="more",
            ),
        ),
        "row": MessageDraft(
            name="Row",
            fields=[field("items", Kind.INT64, repeated=True)],
            shape=MessageShape(wraps="items", numbers=frozenset(("items",))),
        ),
        "cat": MessageDraft(name="Cat", fields=[field("kind"), field("lives", Kind.INT32, presence=True)]),
        "dog": MessageDraft(name="Dog", fields=[field("bark", presence=True)]),
        "pick": MessageDraft(
            name="Pick",
            fields=[
                held("cat", "cat", oneof=True),
                held("dog", "dog", oneof=True),
                field("text", oneof=True),
                field("number", Kind.INT64, oneof=True),
                held("row", "row", oneof=True),
            ],
            shape=MessageShape(
                numbers=frozenset(("number",)),
                union=Union(
                    tag="kind",
                    branches=(
                        Branch(key="cat", tags=("cat", "kitten"), known=frozenset(("kind", "lives"))),
                        Branch(key="dog", tags=("dog",), known=frozenset(("bark",))),
                        Branch(key="text", json_types=("string",)),
                        Branch(key="number", json_types=("number",)),
                        Branch(key="row", json_types=("array",)),
                    ),
                ),
            ),
        ),
        "guess": MessageDraft(
            name="Guess",
            fields=[held("plain", "plain", oneof=True), held("dog", "dog", oneof=True), held("cat", "cat", oneof=True)],
            shape=MessageShape(
                union=Union(
                    branches=(
                        Branch(key="plain", required=("name",), known=frozenset(("name", "age"))),
                        Branch(key="dog", known=frozenset(("bark",))),
                        Branch(key="cat", known=frozenset(("kind", "lives"))),
                    )
                )
            ),
        ),
    }
    return synthesize(drafts, upstream="shop", numbers=Numbers(), options=options)


SCHEMA = schema()


def codec(name: str) -> Codec:
    return SCHEMA.types[f"shop.{name}"].codec


def both(name: str, native: object) -> object:
    """What comes back of native JSON through protobuf."""
    one = codec(name)
    return orjson.loads(one.to_json(one.from_json(orjson.dumps(native))))


def canonical(name: str, native: object) -> object:
    one = codec(name)
    return orjson.loads(one.canonical.to_json(one.from_json(orjson.dumps(native))))


def fault(name: str, native: object, *, lenient: bool = False) -> str:
    one = codec(name).lenient if lenient else codec(name)
    with pytest.raises(InvalidRequest) as raised:
        one.from_json(native if isinstance(native, bytes) else orjson.dumps(native))
    return raised.value.message


def test_a_type_that_needs_nothing_has_the_protojson_codec_itself() -> None:
    assert isinstance(codec("Plain"), MessageCodec)
    assert codec("Plain").canonical is codec("Plain")
    assert isinstance(codec("Holder"), NativeCodec)
    assert repr(codec("Holder")) == "<NativeCodec shop.Holder>"


def test_64_bit_integers_are_numbers_alone_in_lists_and_in_maps() -> None:
    native = {"id": 2**53 + 1, "ids": [2**64 - 1, 0], "byName": {"a": -5}, "owner": None}
    assert both("Pet", native) == native
    assert canonical("Pet", native) == {
        "id": str(2**53 + 1),
        "ids": [str(2**64 - 1), "0"],
        "byName": {"a": "-5"},
    }


@pytest.mark.parametrize(("written", "name"), [("sold-out", "STATUS_SOLD_OUT"), (7, "STATUS_7"), (True, "STATUS_TRUE")])
def test_an_enum_is_written_as_the_service_writes_it(written: object, name: str) -> None:
    native = {"id": 0, "ids": [], "owner": None, "status": written, "all": [written]}
    assert both("Pet", native) == native
    assert canonical("Pet", native) == {"status": name, "all": [name]}


def test_values_that_are_equal_in_python_only_are_told_apart() -> None:
    assert "all[0]: expected a value of shop.Status" in fault("Pet", {"all": [1]})
    assert "status: expected a value of shop.Status" in fault("Pet", {"status": 7.0})
    assert "status: expected a value of shop.Status" in fault("Pet", {"status": {}})


def test_an_enum_value_that_is_not_known_is_none_of_them_to_the_lenient() -> None:
    one = codec("Pet").lenient
    assert orjson.loads(one.canonical.to_json(one.from_json(b'{"status":"new"}'))) == {"status": "STATUS_UNSPECIFIED"}
    assert orjson.loads(one.to_json(one.from_json(b'{"status":"new","all":["new"]}'))) == {
        "id": 0,
        "ids": [],
        "all": [None],
        "owner": None,
    }


def test_what_is_required_is_written_though_it_is_empty() -> None:
    assert orjson.loads(codec("Pet").to_json(b"")) == {"id": 0, "ids": [], "owner": None}


def test_null_within_a_list_is_the_default_and_within_a_map_nothing() -> None:
    assert canonical("Pet", {"notes": ["a", None], "byName": {"a": None, "b": 1}}) == {
        "notes": ["a", ""],
        "byName": {"b": "1"},
    }


def test_a_list_within_a_list_is_one() -> None:
    native = {"id": 0, "ids": [], "owner": None, "grid": [[1, 2], [], [3]]}
    assert both("Pet", native) == native
    assert both("Row", [1, 2]) == [1, 2]
    assert codec("Row").to_json(b"") == b"[]"
    assert codec("Row").from_json(b"null") == b""


def test_members_that_are_no_fields_go_into_the_map_for_them() -> None:
    native = {"id": 1, "ids": [], "owner": None, "x": "text", "y": 5, "z": [7]}
    assert both("Pet", native) == native
    assert canonical("Pet", native) == {
        "id": "1",
        "more": {"x": {"text": "text"}, "y": {"number": "5"}, "z": {"row": {"items": ["7"]}}},
    }


def test_what_is_free_in_form_has_whole_numbers_written_whole() -> None:
    native = {"id": 0, "ids": [], "owner": None, "any": {"a": [1, 1.5, None, {"b": 2**60}]}}
    assert (
        codec("Pet")
        .to_json(codec("Pet").from_json(orjson.dumps(native)))
        .endswith(b'"any":{"a":[1,1.5,null,{"b":1.152921504606847e+18}]},"id":0,"ids":[],"owner":null}')
    )


@pytest.mark.parametrize(
    ("native", "branch"),
    [
        ({"kind": "cat", "lives": 9}, "cat"),
        ({"kind": "kitten", "lives": 9}, "cat"),
        ({"kind": "dog", "bark": "loud"}, "dog"),
        ("x", "text"),
        ("", "text"),
        (0, "number"),
        ([1], "row"),
        ([], "row"),
    ],
)
def test_a_union_is_its_branch(native: object, branch: str) -> None:
    assert both("Pick", native) == native
    found = canonical("Pick", native)
    assert isinstance(found, dict)
    assert list(found) == [branch]


def test_a_union_without_a_branch_is_null() -> None:
    assert codec("Pick").to_json(b"") == b"null"
    assert codec("Pick").from_json(b"null") == b""


def test_a_tag_or_a_value_that_no_branch_has_is_refused_but_to_the_lenient_nothing() -> None:
    assert fault("Pick", {"kind": "fish"}) == "kind: fits none of the alternatives that the schema has"
    assert fault("Pick", True) == "fits none of the alternatives that the schema has"
    assert codec("Pick").lenient.from_json(b'{"kind":"fish"}') == b""


@pytest.mark.parametrize(
    ("native", "branch"),
    [
        ({"name": "a"}, "plain"),
        ({"bark": "a"}, "dog"),
        ({"lives": 1}, "cat"),
        ({"kind": "a", "lives": 1}, "cat"),
    ],
)
def test_without_a_tag_the_branch_that_knows_the_most_of_it_is_taken(native: object, branch: str) -> None:
    found = canonical("Guess", native)
    assert isinstance(found, dict)
    assert list(found) == [branch]


def test_a_fault_is_named_by_its_place() -> None:
    assert fault("Pet", {"friends": [{}, {"status": "x"}]}) == "friends[1].status: expected a value of shop.Status"
    assert fault("Holder", {"pet": {"id": "x"}}).startswith("pet.id: ")
    assert fault("Pet", {"grid": [[1], ["a"]]}).startswith("grid[1]")
    assert fault("Pet", b'{"id":1,"id":2}') == "id: given twice"
    assert fault("Pet", b'{"friends":[{"x":true}]}').startswith('friends[0]["x"]: fits none')
    assert fault("Holder", {"nosuch": 1}) == "nosuch: no such field in shop.Holder"
    assert "line 1" in fault("Pet", b'{"id":')


def test_unknown_members_are_dropped_by_the_lenient() -> None:
    assert codec("Holder").lenient.from_json(b'{"nosuch":1}') == b""
    assert codec("Holder").lenient.lenient is codec("Holder").lenient
    ignoring = schema(JsonOptions(unknown_fields="ignore")).types["shop.Holder"].codec
    assert ignoring.lenient is ignoring


def test_nesting_is_bounded_both_ways() -> None:
    deep = b'{"friends":[' * 150 + b"]}" * 150
    assert "nested too deeply" in fault("Pet", deep)
    assert "nested too deeply" in fault("Pet", b"[" * 100_000)
    data = b""
    for _ in range(99):
        size = len(data)
        data = b"\x52" + (bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))) + data
    with pytest.raises(InvalidRequest, match="deep"):
        codec("Holder").to_json(b"\x12" + bytes((len(data) & 127 | 128, len(data) >> 7)) + data)


def test_one_field_alone() -> None:
    one = codec("Pet")
    data = one.field_from_json("status", b'"sold-out"')
    assert one.field_to_json("status", data) == b'"sold-out"'
    assert one.field_to_json("grid", one.field_from_json("grid", b"[[1],[]]")) == b"[[1],[]]"
    assert one.field_to_json("by_name", b"") == b"{}"
    assert one.field_to_json("owner", one.field_from_json("owner", b'"me"')) == b'"me"'
    with pytest.raises(InvalidRequest, match=r"^all\[1\]: expected a value of"):
        one.field_from_json("all", b'["sold-out","x"]')
    with pytest.raises(InvalidRequest, match="line 1"):
        one.field_from_json("all", b"[")
    with pytest.raises(KeyError):
        one.field_to_json("nosuch", b"")


def test_paths_are_those_of_the_fields() -> None:
    assert codec("Pet").present_paths(b'{"id":1,"x":"text"}') == ["id", "more"]
    assert codec("Holder").present_paths(b'{"plain":{"age":1}}') == ["plain.age"]


def test_the_upstreams_options_are_about_protojson_alone() -> None:
    other = schema(JsonOptions(emit_defaults=True, enums="number", names="proto")).types["shop.Pet"].codec
    data = other.from_json(b'{"byName":{"a":1},"status":7}')
    assert orjson.loads(other.to_json(data)) == {"id": 0, "ids": [], "owner": None, "byName": {"a": 1}, "status": 7}
    assert orjson.loads(other.canonical.to_json(data))["by_name"] == {"a": "1"}
    assert orjson.loads(other.canonical.to_json(data))["status"] == 2


def test_what_no_alternative_fits_leaves_a_map_and_is_empty_in_a_list() -> None:
    lenient = codec("Pet").lenient
    data = lenient.from_json(b'{"x":true,"y":5,"all":["new",null]}')
    assert orjson.loads(lenient.to_json(data)) == {"id": 0, "ids": [], "y": 5, "all": [None, None], "owner": None}
    assert lenient.from_json(lenient.to_json(data)) == data
