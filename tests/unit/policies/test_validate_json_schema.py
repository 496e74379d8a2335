"""What a JSON Schema asks of values is asked by `validate`: of every keyword, as the jsonschema library sees it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from protogw.call import Encoding, Payload
from protogw.descriptors.model import Method, Spelling
from protogw.errors import InvalidRequest
from protogw.policies.message_checks import Checks, Known
from protogw.policies.validate import Validate, ValidateSettings
from tests.support.openapi import body, document, operation, schema_of

PATTERNS = ("^[a-c]+$", "b", "^(ab|c)*$", r"^\d{2,3}$", "[^a]", "^.{2}$", "a{2}", "^$|x")
TAGS = {"type": "array", "maxItems": 1, "items": {"type": "string"}}
WORDS = st.text("abcx01é\U0001f600\n", max_size=5)


def checks(method: Method) -> Checks:
    return Checks(method.input, Known())


def fault(method: Method, value: Any, made: Checks | None = None) -> str:
    """What is wrong with the value as the request's body; nothing if it is as its schema says."""
    payload = Payload(orjson.dumps(value), Encoding.JSON, method.input.codec)
    try:
        (made or checks(method)).check(payload)
    except InvalidRequest as error:
        return error.message
    return ""


def member(schema: Any, *values: Any, schemas: dict[str, Any] | None = None) -> list[str]:
    """What is wrong with each of the values of a member."""
    method = body({"type": "object", "properties": {"it": schema}}, schemas)
    made = checks(method)
    return [fault(method, {"it": value}, made) for value in values]


def unsaid(schema: Any, schemas: dict[str, Any] | None = None) -> list[str]:
    """What of a member's schema is said not to be enforced, without where the document is."""
    method = body({"type": "object", "properties": {"it": schema}}, schemas)
    return [said.partition(": ")[2].rpartition("properties.it")[2] for said in checks(method).unsaid]


# ---- against the library


@st.composite
def bounded(draw: st.DrawFn, names: tuple[str, str], values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Some of two bounds, which leave something."""
    low, high = sorted((draw(values), draw(values)))
    return {name: bound for name, bound in zip(names, (low, high), strict=True) if draw(st.booleans())}


@st.composite
def numbers(draw: st.DrawFn, kind: str) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    steps = st.integers(-8, 8) if kind == "integer" else st.integers(-16, 16).map(lambda n: n / 2)
    made = {"type": kind, **draw(bounded(("minimum", "maximum"), steps))}
    if draw(st.booleans()):
        made |= draw(bounded(("exclusiveMinimum", "exclusiveMaximum"), st.integers(-9, 9).map(lambda n: n + 0.5)))
    if draw(st.booleans()):
        made["multipleOf"] = draw(st.sampled_from((1, 2, 3, 0.5, 1.5)))
    low = max(made.get("minimum", -99), made.get("exclusiveMinimum", -99))
    if low >= min(made.get("maximum", 99), made.get("exclusiveMaximum", 99)) - 1:
        made = {"type": kind}
    return made, steps


@st.composite
def scalars(draw: st.DrawFn) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    """The schema of a scalar, and values of its type."""
    kind = draw(st.sampled_from(("string", "integer", "number", "boolean", "const", "enum")))
    if kind in ("integer", "number"):
        return draw(numbers(kind))
    if kind == "boolean":
        return {"type": "boolean"}, st.booleans()
    if kind == "const":
        return {"const": draw(WORDS)}, WORDS
    if kind == "enum":
        return {"type": "string", "enum": ["a", "b", "x"]}, st.sampled_from(("a", "b", "x", "c"))
    made = {"type": "string", **draw(bounded(("minLength", "maxLength"), st.integers(0, 4)))}
    if draw(st.booleans()):
        made["pattern"] = draw(st.sampled_from(PATTERNS))
    return made, WORDS


@st.composite
def values(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    kind = draw(st.sampled_from(("scalar", "scalar", "nullable", "list", "map", "object", "union")))
    if kind == "list":
        schema, inner = draw(scalars())
        made = {"type": "array", "items": schema, **draw(bounded(("minItems", "maxItems"), st.integers(0, 3)))}
        if draw(st.booleans()):
            made["uniqueItems"] = True
        return made, st.lists(inner, max_size=4)
    if kind == "map":
        schema, inner = draw(scalars())
        made = {"type": "object", "additionalProperties": schema}
        made |= draw(bounded(("minProperties", "maxProperties"), st.integers(0, 3)))
        return made, st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
    if kind == "object" and depth:
        return draw(objects(depth - 1))
    if kind == "union":
        (text, texts), (number, some) = ({"type": "string", "maxLength": 2}, WORDS), draw(numbers("integer"))
        return {draw(st.sampled_from(("anyOf", "oneOf"))): [text, number]}, texts | some
    schema, inner = draw(scalars())
    if kind == "nullable":
        return {"anyOf": [schema, {"type": "null"}]}, inner | st.none()
    return schema, inner


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    members = {name: draw(values(depth)) for name in draw(st.lists(st.sampled_from("pqr"), unique=True, max_size=3))}
    made = {
        "type": "object",
        "properties": {name: schema for name, (schema, _) in members.items()},
        "required": [name for name in members if draw(st.booleans())],
        "additionalProperties": False,
    }
    return made, st.fixed_dictionaries({}, optional={name: inner for name, (_, inner) in members.items()})


def as_protobuf_has_it(schema: dict[str, Any], value: Any) -> Any:
    """The value with what a message cannot tell apart made one: an empty list and none, null and none."""
    if schema.get("type") != "object" or not isinstance(value, dict) or "properties" not in schema:
        return value
    found = {}
    for name, inner in schema["properties"].items():
        many = inner.get("type") == "array" or ("additionalProperties" in inner and "properties" not in inner)
        nullable = "anyOf" in inner and {"type": "null"} in inner["anyOf"]
        empty: Any = [] if inner.get("type") == "array" else {}
        if name in schema["required"]:
            if name in value or many or nullable:
                found[name] = value.get(name, empty if many else None)
        elif name in value and not (many and not value[name]):
            found[name] = value[name]
        if name in found:
            found[name] = as_protobuf_has_it(inner, found[name])
    return found


@settings(max_examples=60)
@given(st.data())
def test_the_verdict_is_that_of_the_jsonschema_library(data: st.DataObject) -> None:
    schema, inner = data.draw(objects())
    method = body(schema)
    made = checks(method)
    assert made.unsaid == ()
    for _ in range(3):
        value = data.draw(inner)
        same = Draft202012Validator(schema).is_valid(as_protobuf_has_it(schema, value))
        assert (fault(method, value, made) == "") == same, (schema, value)


# ---- keyword by keyword


def test_lengths_count_characters_and_not_bytes() -> None:
    found = member(
        {"type": "string", "minLength": 2, "maxLength": 3}, "é", "éé", "\U0001f600\U0001f600\U0001f600", "abcd"
    )
    assert found == ["it: must be at least 2 characters", "", "", "it: must be at most 3 characters"]


def test_a_pattern_may_be_found_anywhere() -> None:
    assert member({"type": "string", "pattern": r"\d"}, "a1b", "ab") == ["", "it: does not match regex pattern `[0-9]`"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("email", "a@b.test", "a@"),
        ("uuid", "123e4567-e89b-42d3-a456-426614174000", "123e4567"),
        ("ipv4", "192.0.2.1", "192.0.2.256"),
        ("ipv6", "2001:db8::1", "2001:zz::1"),
        ("hostname", "shop.test", "a b"),
        ("uri", "https://shop.test/a", "no uri"),
        ("uri-reference", "/a?b", "a b"),
        ("date", "2026-01-31", "31.1.2026"),
        ("time", "12:00:00Z", "noon"),
        ("date-time", "2026-01-31T12:00:00.5+01:00", "2026-01-31"),
        ("date-time", "2026-01-31T12:00:00", "2026-13-31T12:00:00Z"),
    ],
)
def test_formats_with_one_meaning_are_asked_for(name: str, good: str, bad: str) -> None:
    first, second = member({"type": "string", "format": name}, good, bad)
    assert first == ""
    assert second.startswith("it: ")


def test_a_format_that_only_describes_asks_nothing() -> None:
    assert member({"type": "string", "format": "password"}, "x") == [""]


@pytest.mark.parametrize("name", ["int32", "int64", "uint32", "uint64"])
def test_bounds_beyond_an_integer_leave_what_it_can_hold(name: str) -> None:
    schema = {"type": "integer", "format": name, "minimum": -(10**30), "exclusiveMaximum": 7.5, "multipleOf": 3}
    assert member(schema, 6) == [""]
    assert member(schema, 9) != [""]
    assert member(schema, 7) == ["it: must be a multiple of 3"]


def test_the_dialect_of_openapi_3_0_has_open_bounds() -> None:
    schema = {"type": "number", "minimum": 1, "exclusiveMinimum": True, "maximum": 2, "exclusiveMaximum": False}
    assert [bool(said) for said in member(schema, 1, 1.5, 2)] == [True, False, False]


def test_a_multiple_is_one_but_for_what_floating_point_loses() -> None:
    schema = {"type": "number", "multipleOf": 0.01}
    assert [bool(said) for said in member(schema, 0.07, -19.99, 1e9 + 0.25, 0.075, 0.011, 1e200)] == [
        *(False, False, False),
        *(True, True),
        False,
    ]


def test_bounds_that_leave_nothing_are_told_and_not_enforced() -> None:
    schema = {"type": "integer", "minimum": 5, "maximum": 4}
    assert member(schema, 1) == [""]
    assert unsaid(schema)[0].startswith(".minimum leaves no number")


def test_null_is_as_good_as_a_value_and_a_default() -> None:
    nullable = {"anyOf": [{"type": "string", "minLength": 3}, {"type": "null"}]}
    assert member(nullable, None, "abc", "ab") == ["", "", "it: must be at least 3 characters"]
    holes = {"type": "array", "items": {"type": ["integer", "null"], "minimum": 5}}
    assert member(holes, [None, 5], [4]) == ["", "it[0]: must be greater than or equal to 5"]


def test_alternatives_ask_what_each_asks() -> None:
    schema = {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 10}]}
    assert [bool(said) for said in member(schema, "abc", 10, "abcd", 9)] == [False, False, True, True]


def test_what_stands_beside_alternatives_and_references_holds_too() -> None:
    beside = {"anyOf": [{"type": "string"}, {"type": "integer"}], "minLength": 2, "minimum": 5}
    assert [bool(said) for said in member(beside, "ab", 5, "a", 4)] == [False, False, True, True]
    name = {"Name": {"type": "string", "maxLength": 4}}
    reference = {"$ref": "#/components/schemas/Name", "minLength": 2}
    assert [bool(said) for said in member(reference, "abc", "a", "abcde", schemas=name)] == [False, True, True]
    both = {"allOf": [{"$ref": "#/components/schemas/Name"}, {"pattern": "^a"}, {"maxLength": 3, "pattern": "c$"}]}
    found = member(both, "abc", "bbc", "abb", "abcc", schemas=name)
    assert [bool(said) for said in found] == [False, True, True, True]


def test_a_member_that_is_described_twice_is_as_both_say() -> None:
    schema = {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string", "minLength": 2}}},
            {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}},
        ]
    }
    assert [bool(said) for said in member(schema, {"a": "ab"}, {"a": "a"}, {"a": "abcd"})] == [False, True, True]


def test_the_branch_that_a_tag_names_is_checked() -> None:
    def tagged(name: str, most: int) -> dict[str, Any]:
        members = {"kind": {"const": name}, "name": {"type": "string", "maxLength": most}}
        return {"type": "object", "required": ["kind"], "properties": members}

    schema = {"oneOf": [tagged("cat", 3), tagged("dog", 5)]}
    cat, dog = {"kind": "cat", "name": "abcd"}, {"kind": "dog", "name": "abcd"}
    assert [bool(said) for said in member(schema, cat, dog)] == [True, False]
    assert unsaid(schema) == []


def test_who_chooses_a_branch_need_not_say_its_tag_as_well() -> None:
    cat = {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "cat"}, "lives": {}}}
    dog = {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "dog"}, "bark": {}}}
    method = body({"type": "object", "properties": {"it": {"oneOf": [cat, dog]}}})
    branch = next(iter(method.input.types["shop.DoBodyIt"].fields))
    for value, wrong in (({}, False), ({"kind": "cat"}, False), ({"kind": "dog"}, True)):
        data = method.input.message(it={branch: value}).SerializeToString()
        payload = Payload(data, Encoding.PROTO, method.input.codec)
        if wrong:
            with pytest.raises(InvalidRequest, match="must equal `cat`"):
                checks(method).check(payload)
        else:
            checks(method).check(payload)


def test_fields_are_called_as_the_client_knows_them() -> None:
    named = {"type": "object", "properties": {"theName": {"type": "string", "maxLength": 1}}}
    rest = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": named}
    branch = {"oneOf": [named, {"type": "string"}]}
    members = {
        "myPets": {"type": "array", "items": branch},
        "grid": {"type": "array", "items": {"type": "array", "items": named}},
        "more": rest,
    }
    method = body({"type": "object", "properties": members})
    made = checks(method)

    def said(value: Any, spelling: Spelling) -> str:
        with pytest.raises(InvalidRequest) as caught:
            made.check(Payload(orjson.dumps(value), Encoding.JSON, method.input.codec), spelling)
        return caught.value.message.partition(": ")[0]

    bad = {"theName": "ab"}
    expected = [
        ({"myPets": ["x", bad]}, "my_pets[1].option1.the_name", "myPets[1].option1.theName", "myPets[1].theName"),
        ({"grid": [[], [bad]]}, "grid[1].items[0].the_name", "grid[1].items[0].theName", "grid[1][0].theName"),
        (
            {"more": {"a": 1, "b": bad}},
            'more.additional_properties["b"].the_name',
            'more.additionalProperties["b"].theName',
            'more["b"].theName',
        ),
    ]
    for value, *paths in expected:
        assert [said(value, spelling) for spelling in (Spelling.PROTO, Spelling.JSON, Spelling.OWN)] == paths


def test_a_branch_that_is_only_guessed_is_not_held_against_anyone() -> None:
    short = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}
    schema = {"anyOf": [short, {"type": "object", "properties": {"name": {"type": "string"}, "x": {}}}]}
    assert member(schema, {"name": "abcd"}) == [""]
    assert unsaid(schema) == [": what is asked of alternatives without a discriminator is not enforced"]
    same = {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "string", "pattern": "^aa$"}]}
    assert member(same, "aa", "a") == ["", ""]
    assert unsaid(same) == [": what is asked of alternatives that are one in a proto is not enforced"]


def test_free_objects_have_as_many_members_as_is_said() -> None:
    schema = {"type": "object", "minProperties": 1, "maxProperties": 2}
    assert [bool(said) for said in member(schema, {}, {"a": 1}, {"a": 1, "b": 2, "c": 3})] == [True, False, True]


def test_what_the_members_beside_an_objects_own_are_is_checked() -> None:
    schema = {
        "type": "object",
        "properties": {"id": {"type": "integer"}},
        "additionalProperties": {"type": "string", "maxLength": 2},
    }
    assert [bool(said) for said in member(schema, {"id": 1, "x": "ab"}, {"id": 1, "x": "abc"})] == [False, True]


def test_a_list_as_the_whole_body_may_be_too_short() -> None:
    content = {"application/json": {"schema": {"type": "array", "minItems": 1, "items": {"type": "integer"}}}}
    method = operation({"requestBody": {"required": True, "content": content}})
    assert fault(method, {"body": [1]}) == ""
    assert fault(method, {"body": []}) == "body: must contain at least 1 item(s)"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (
            {"type": "string", "pattern": "^(?!x)"},
            ".pattern looks ahead or behind, which RE2 does not: it is not enforced",
        ),
        (
            {"type": "string", "format": "byte", "maxLength": 8},
            ".maxLength is not enforced of bytes: it speaks of their base64",
        ),
        ({"minLength": 3}, ".minLength is not enforced of values of any type"),
        ({"type": "string", "not": {"const": "x"}}, ".not is not enforced"),
        ({"type": "array", "contains": {"const": 1}, "items": {"type": "integer"}}, ".contains is not enforced"),
        (
            {"type": "array", "uniqueItems": True, "items": {"type": "object", "properties": {"a": {}}}},
            ".uniqueItems is only enforced of lists of text, numbers and enums",
        ),
        ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, ".minProperties is not enforced"),
        ({"type": "object", "properties": {"a": {}}, "if": {"required": ["a"]}}, ".if is not enforced"),
        ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}, ".anyOf is not enforced"),
        ({"type": "string", "enum": ["a", "b"], "pattern": "a"}, ".pattern is not enforced"),
        ({"enum": [[1], {}]}, ": values that are lists or objects are not compared"),
    ],
)  # fmt: skip
def test_what_is_not_enforced_is_told_with_its_place(schema: Any, said: str) -> None:
    assert unsaid(schema) == [said]


def test_the_policy_tells_what_is_not_enforced_of_the_methods_that_it_is_around() -> None:
    told = {"type": "string", "pattern": r"\bword"}
    method = body({"type": "object", "properties": {"it": told}})
    found = Validate(ValidateSettings()).fit([method], True)
    assert len(found) == 1
    assert found[0].startswith("request: ")
    assert found[0].endswith(
        "properties.it.pattern asks for the edge of a word (\\b), which means more than one thing: it is not enforced"
    )
    assert Validate(ValidateSettings(request="off")).fit([method], True) == []
    many = {f"m{number}": told for number in range(60)}
    found = Validate(ValidateSettings()).fit([body({"type": "object", "properties": many})], True)
    assert found[50:] == ["and 10 more of a schema's demands are not enforced"]


def test_parameters_are_checked_and_those_that_are_required_must_come() -> None:
    method = operation(
        {
            "parameters": [
                {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 3}},
                {"name": "limit", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 0}},
                {"name": "tags", "in": "query", "schema": TAGS},
            ]
        },
        "/pets/{id}",
        "get",
    )  # fmt: skip

    def said(**values: Any) -> str:
        payload = Payload(method.input.message(**values).SerializeToString(), Encoding.PROTO, method.input.codec)
        try:
            checks(method).check(payload)
        except InvalidRequest as error:
            return error.message
        return ""

    assert said(id="a", limit=0) == ""
    assert said(id="a") == "limit: value is required"
    assert said(id="abcd", limit=0, tags=["a", "b"]) == (
        "id: must be at most 3 characters; tags: must contain no more than 1 item(s)"
    )


def test_a_document_without_bounds_costs_nothing() -> None:
    method = schema_of(document({"/x": {"get": {"operationId": "get"}}})).services["shop.Shop"].methods["Get"]
    made = checks(method)
    assert (made.any, made.unsaid) == (False, ())


def test_a_ring_of_very_many_types_is_a_fault_where_it_is_too_long_to_check() -> None:
    def ring(many: int) -> Method:
        schemas = {
            f"T{place}": {
                "type": "object",
                "properties": {"a": {"minLength": 2, "type": "string"}, "n": ref(f"T{(place + 1) % many}")},
            }
            for place in range(many)
        }
        return body(ref("T0"), schemas)

    def ref(name: str) -> dict[str, str]:
        return {"$ref": f"#/components/schemas/{name}"}

    method = ring(100)
    assert fault(method, {"a": "xx", "n": {"n": {"a": "x"}}}) == "n.n.a: must be at least 2 characters"
    (said,) = Validate(ValidateSettings(reply="off")).fit([ring(1200)], True)
    assert "cannot be compiled" in said
