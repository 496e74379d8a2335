"""Whatever is asked of whatever a service says, our plans come to what graphql-core's own execution comes to.

The oracle resolves every field out of google.protobuf's own JSON of the reply, so that neither the way a message is
read nor the way a selection is carried out is ours.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from graphql import GraphQLObjectType, GraphQLUnionType, execute_sync, get_named_type, parse, validate
from hypothesis import given, settings
from hypothesis import strategies as st

from protogw.call import Call, Encoding, Payload, Reply
from protogw.descriptors.to_graphql_model import Part
from protogw.errors import Code, Status
from protogw.wire.sieve import Cut, sieve_of
from tests.support import hello
from tests.support.graphql import Service, front, run

LIMITS = {
    "depth": 50,
    "aliases": 10_000,
    "root_fields": 1000,
    "tokens": 100_000,
    "cost": 1_000_000,
    "directives": 10_000,
}
GRAPHQL = front(limits={**LIMITS, "document": "4MiB"}, graphiql=False)
OFFER = GRAPHQL.served.offer
SCHEMA = OFFER.schema

# --- replies ----------------------------------------------------------------------------------------------------------

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_int32 = st.integers(-(1 << 31), (1 << 31) - 1)
_int64 = st.integers(-(1 << 63), (1 << 63) - 1)
_floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
_colours = st.sampled_from([0, 1, 2, 2, 7])
_times = st.builds(lambda seconds: {"seconds": seconds}, st.integers(-62_135_596_800, 253_402_300_799))
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | _texts,
    # One key at most: a Struct is a map, whose order two libraries need not share.
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=1),
    max_leaves=6,
)

_plain: dict[str, st.SearchStrategy[Any]] = {
    "id": _texts,
    "int32_value": _int32,
    "int64_value": _int64,
    "uint32_value": st.integers(0, (1 << 32) - 1),
    "uint64_value": st.integers(0, (1 << 64) - 1),
    "double_value": st.floats(),
    "float_value": _floats,
    "bool_value": st.booleans(),
    "bytes_value": st.binary(max_size=8),
    "colour": _colours,
    "maybe": _texts,
    "maybe_long": _int64,
    "words": st.lists(_texts, max_size=3),
    "longs": st.lists(_int64, max_size=3),
    "colours": st.lists(_colours, max_size=3),
    "counts": st.dictionaries(_texts, _int32, max_size=3),
    "colour_of": st.dictionaries(_int64, _colours, max_size=3),
    "at": _times,
    "within": st.builds(lambda seconds: {"seconds": seconds}, st.integers(-1000, 1000)),
    "mask": st.builds(lambda paths: {"paths": paths}, st.lists(st.sampled_from(["a", "b.c_d"]), max_size=2)),
    "wrapped_long": st.builds(lambda value: {"value": value}, _int64),
    "wrapped_text": st.builds(lambda value: {"value": value}, _texts),
    "wrapped_bytes": st.builds(lambda value: {"value": value}, st.binary(max_size=4)),
    "wrapped_double": st.builds(lambda value: {"value": value}, st.floats()),
    "empty": st.just({}),
    "nothing": st.just({}),
    "times": st.lists(_times, max_size=2),
    "blobs": st.lists(st.binary(max_size=4), max_size=2),
    "floats": st.lists(_floats, max_size=3),
}


def _things(inner: st.SearchStrategy[dict[str, Any]] | None) -> st.SearchStrategy[dict[str, Any]]:
    optional = dict(_plain)
    choices = [
        st.builds(lambda value: {"text": value}, _texts),
        st.builds(lambda value: {"picked": value}, _colours),
        st.builds(lambda value: {"long": value}, _int64),
        st.just({}),
    ]
    if inner is not None:
        optional["inner"] = inner
        optional["things"] = st.lists(inner, max_size=2)
        optional["thing_of"] = st.dictionaries(_texts, inner, max_size=2)
        choices.append(st.builds(lambda value: {"thing": value}, inner))
    fields = st.lists(st.sampled_from(sorted(optional)), max_size=8, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: optional[name] for name in names})
    )
    extra = st.fixed_dictionaries({}, optional={"anything": st.dictionaries(_texts, _json, max_size=1), "value": _json})
    return st.tuples(fields, st.one_of(choices), extra).map(lambda parts: {**parts[0], **parts[1], "#json": parts[2]})


things = _things(_things(_things(None)))


def message(fields: dict[str, Any]) -> Any:
    """The Thing of these fields."""
    plain = dict(fields)
    free = plain.pop("#json")
    for name in ("inner", "thing"):
        if name in plain:
            plain[name] = message(plain[name])
    if "things" in plain:
        plain["things"] = [message(one) for one in plain["things"]]
    if "thing_of" in plain:
        plain["thing_of"] = {key: message(one) for key, one in plain["thing_of"].items()}
    made = hello.Thing(**plain)
    json_format.ParseDict(free, made)
    return made


# --- documents --------------------------------------------------------------------------------------------------------


@st.composite
def selections(draw: st.DrawFn, type_: Any, depth: int, fragments: list[str]) -> str:
    """A selection set of an object or union, with whatever selections may have."""
    parts: list[str] = []
    for _ in range(draw(st.integers(1, 5))):
        condition = draw(
            st.sampled_from(["", "", "", " @include(if: $yes)", " @skip(if: $yes)", " @include(if: false)"])
        )
        shape = draw(st.sampled_from(["field", "field", "field", "inline", "spread"])) if depth else "field"
        if shape == "inline":
            below = draw(st.sampled_from([*type_.types, type_] if isinstance(type_, GraphQLUnionType) else [type_]))
            on = f" on {below.name}" if below is not type_ or draw(st.booleans()) else ""
            parts.append(f"...{on}{condition} {draw(selections(below, depth - 1, fragments))}")
        elif shape == "spread":
            name = f"F{len(fragments)}"
            fragments.append("")
            body = draw(selections(type_, depth - 1, fragments))
            fragments[int(name[1:])] = f"fragment {name} on {type_.name} {body}"
            parts.append(f"...{name}{condition}")
        else:
            parts.append(draw(fields(type_, depth, condition, fragments)))
    # Something is always asked for, whatever the conditions say.
    return "{ " + " ".join([*parts, "__typename"]) + " }"


@st.composite
def fields(draw: st.DrawFn, type_: Any, depth: int, condition: str, fragments: list[str]) -> str:
    if isinstance(type_, GraphQLUnionType):
        return f"__typename{condition}"
    names = [name for name, one in type_.fields.items() if depth or not _has_fields(one.type)]
    if not names:
        return f"__typename{condition}"
    name = draw(st.sampled_from(names))
    alias = f"a_{name}: " if draw(st.booleans()) else ""
    below = get_named_type(type_.fields[name].type)
    inner = f" {draw(selections(below, depth - 1, fragments))}" if _has_fields(below) else ""
    return f"{alias}{name}{condition}{inner}"


def _has_fields(type_: Any) -> bool:
    return isinstance(get_named_type(type_), (GraphQLObjectType, GraphQLUnionType))


@st.composite
def documents(draw: st.DrawFn) -> str:
    fragments: list[str] = []
    thing: Any = SCHEMA.type_map["Thing"]
    roots = [
        f'r{index}: getThing(id: "{draw(st.sampled_from("ab"))}") {draw(selections(thing, 4, fragments))}'
        for index in range(draw(st.integers(1, 3)))
    ]
    return f"query ($yes: Boolean! = true) {{ {' '.join(roots)} __typename @include(if: $yes) }} {' '.join(fragments)}"


# --- the oracle -------------------------------------------------------------------------------------------------------


class _Entry(dict[str, Any]):
    """A map's entry."""


def resolve(source: Any, info: Any) -> Any:
    """A field's value, out of the reply's JSON with all its defaults."""
    structure = OFFER.structures[info.parent_type.name]
    member = structure.members[info.field_name]
    if member.part is Part.NOTHING:
        return True
    hidden = source.get(HIDDEN, ())
    if member.part is Part.ONEOF:
        found = [field.json_name for field in member.branches.values() if field.json_name in source]
        if any(field.json_name in hidden for field in member.branches.values()) and not set(found) - set(hidden):
            raise ValueError("one of these is withheld")
        return source if found else None
    if member.part in (Part.KEY, Part.VALUE):
        return source[member.part.value]
    field = member.field
    assert field is not None
    if field.json_name in hidden:
        raise ValueError("withheld")
    value = source.get(field.json_name)
    if field.map_key is not None:
        number = field.map_key.value != "string"
        pairs = sorted(value.items(), key=lambda pair: int(pair[0]) if number else pair[0])
        return [_Entry(key=key, value=one) for key, one in pairs]
    if field.type_name == "google.protobuf.Empty" and value is not None:
        return True
    return value


def type_of(source: Any, info: Any, union: Any) -> str:
    members = OFFER.structures
    for type_ in union.types:
        (member,) = members[type_.name].members.values()
        assert member.field is not None
        if member.field.json_name in source:
            return str(type_.name)
    raise AssertionError("nothing of the oneof is set")


HIDDEN = "#withheld"


def hide(tree: Any, path: list[str]) -> None:
    """Mark the field of this path in a message's JSON, through lists and the values of maps."""
    if isinstance(tree, list):
        for one in tree:
            hide(one, path)
        return
    field = hello.SCHEMA.types["hello.v1.Thing"].field(path[0])
    assert field is not None
    if len(path) == 1:
        tree.setdefault(HIDDEN, set()).add(field.json_name)
    elif field.json_name in tree:
        below = tree[field.json_name]
        hide(list(below.values()) if field.map_key is not None else below, path[1:])


def hide_everywhere(tree: Any, name: str) -> None:
    hide(tree, [name])
    for holder in ("things", "inner", "thing"):
        if holder in tree:
            for one in tree[holder] if holder == "things" else [tree[holder]]:
                hide_everywhere(one, name)
    for one in tree.get("thingOf", {}).values():
        hide_everywhere(one, name)


def expected(document: str, reply: Any, variables: dict[str, Any], hidden: Sequence[str] = ()) -> Any:
    tree = json_format.MessageToDict(reply, always_print_fields_with_no_presence=True)
    for one in hidden:
        if "/" in one:
            hide_everywhere(tree, one.partition("/")[2])
        else:
            hide(tree, one.split("."))
    result = execute_sync(
        SCHEMA,
        parse(document),
        root_value=tree,
        variable_values=variables,
        field_resolver=lambda source, info, **_: source if info.parent_type.name == "Query" else resolve(source, info),
        type_resolver=type_of,
    )
    return result.data, sorted(str(error.path) for error in result.errors or ())


@settings(max_examples=60, deadline=None)
@given(documents(), things, st.booleans())
def test_a_query_comes_to_what_graphql_core_makes_of_it(document: str, thing: dict[str, Any], yes: bool) -> None:
    assert not validate(SCHEMA, parse(document))
    reply = message(thing)
    service = Service(GetThing=reply)
    variables = {"yes": yes}
    response = asyncio.run(run(document, service, variables=variables, graphql=GRAPHQL))
    data, paths = expected(document, reply, variables)
    assert json.dumps(response["data"]) == json.dumps(data)
    assert sorted(str(error["path"]) for error in response.get("errors", ())) == paths
    assert len({call.payload.data for call in service.calls if call.payload is not None}) == len(service.calls)


_steps = st.lists(st.sampled_from(["inner", "things", "thing_of", "thing"]), max_size=2)
_hidden = st.builds(
    lambda steps, name, everywhere: f"hello.v1.Thing/{name}" if everywhere else ".".join([*steps, name]),
    _steps,
    st.sampled_from([*_plain, "inner", "things", "thing_of", "text", "picked", "long", "thing", "anything", "value"]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(documents(), things, st.lists(_hidden, min_size=1, max_size=3))
def test_what_is_withheld_is_null_as_graphql_core_makes_it(
    document: str, thing: dict[str, Any], hidden: list[str]
) -> None:
    """Our plan sees a message that was cut, the oracle a whole one whose resolvers refuse."""
    reply = message(thing)
    sieve = sieve_of(
        hello.SCHEMA.types["hello.v1.Thing"],
        [Cut(path=one, why=Status(Code.PERMISSION_DENIED, one)) for one in hidden],
    )

    def cut(call: Call) -> Reply:
        assert call.method is not None
        made = Reply(payload=Payload(sieve.sift(reply.SerializeToString()), Encoding.PROTO, call.method.output.codec))
        made.withheld = (sieve,)
        return made

    response = asyncio.run(run(document, Service(GetThing=cut), variables={"yes": True}, graphql=GRAPHQL))
    data, paths = expected(document, reply, {"yes": True}, hidden)
    assert json.dumps(response["data"]) == json.dumps(data)
    told = [error["path"] for error in response.get("errors", ())]
    assert len({str(path) for path in told}) == len(told)
    # graphql-core stops at the first field of an object that must not be null; here the others are told of as well.
    assert set(paths) <= {str(path) for path in told}
    for path in told:
        at = data
        for step in path:
            at = at[step] if at is not None else None
        assert at is None


_inputs: st.SearchStrategy[Any] = st.deferred(
    lambda: st.fixed_dictionaries(
        {},
        optional={
            "id": _texts,
            "int32Value": _int32 | st.sampled_from([1 << 31, "1", 1.0, 1.5, True]),
            "int64Value": _int64 | _int64.map(str) | st.sampled_from([1 << 63, "x", "1_0", 2.0]),
            "uint64Value": st.integers(-1, 1 << 64),
            "floatValue": st.floats(allow_nan=False, allow_infinity=False) | _int32,
            "boolValue": st.booleans() | st.sampled_from(["true", 1]),
            "colour": st.sampled_from(["RED", "GREEN", "BLUE", 1, None]),
            "words": st.lists(_texts, max_size=2) | _texts | st.just([None]),
            "colours": st.lists(st.sampled_from(["RED", "PINK"]), max_size=2),
            "counts": st.lists(st.fixed_dictionaries({"key": _texts, "value": _int32}), max_size=2),
            "inner": _inputs | st.just(None),
            "things": st.lists(_inputs, max_size=2),
            "choice": st.sampled_from([{}, {"text": "a"}, {"text": "a", "long": 1}, {"text": None}, {"picked": "RED"}]),
            "anything": st.dictionaries(_texts, _json, max_size=2),
            "nope": _texts,
        },
    )
)


@settings(max_examples=60, deadline=None)
@given(_inputs)
def test_a_variable_is_taken_or_refused_as_graphql_core_does(value: Any) -> None:
    document = "mutation ($inner: ThingInput) { makeThing(inner: $inner) { __typename } }"
    service = Service(MakeThing=hello.Thing())
    response = asyncio.run(run(document, service, variables={"inner": value}, graphql=GRAPHQL))
    result = execute_sync(
        SCHEMA, parse(document), variable_values={"inner": value}, field_resolver=lambda *_, **__: None
    )
    refused = bool(result.errors)
    # What GraphQL takes may still be more than the message can hold: that is the field's error, and has a path.
    told = [error for error in response.get("errors", ()) if "path" not in error]
    assert bool(told) is refused, (response, result.errors)
    assert len(service.calls) <= (not refused)
