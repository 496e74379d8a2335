"""Arguments → the request message: each GraphQL value becomes what its proto field holds."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson
from graphql import GraphQLEnumType, GraphQLInputObjectType, get_named_type

from protogw.descriptors.model import Field, Kind, Schema, Type
from protogw.descriptors.to_graphql_model import GraphqlOffer, Member, Part, RootField
from protogw.descriptors.to_graphql_scalars import ANYTHING, EMPTY, LONG, TEXTS
from protogw.descriptors.well_known import WRAPPERS
from protogw.errors import InvalidRequest
from protogw.frontends.graphql.bound import Bound

Convert: TypeAlias = Callable[[Any], Any]
"""A value as GraphQL has it → as the message's constructor takes it; raises InvalidRequest."""

_LARGEST_FLOAT = 3.4028235677973366e38
"""Beyond it a float is infinite (ProtoJSON refuses such a number as well)."""
_WHOLE = re.compile(r"-?[0-9]{1,20}\Z")
_VALUE = "google.protobuf.Value"


class Requests:
    """How the requests of a schema's root fields are built."""

    def __init__(self, offer: GraphqlOffer, bound: Bound) -> None:
        self._offer = offer
        self._bound = bound
        self._inputs: dict[str, Convert] = {}

    def builder(self, root: RootField) -> Callable[[Mapping[str, Any]], bytes]:
        """What makes the request's bytes of a field's arguments; raises InvalidRequest naming the argument."""
        types = {"query": "query_type", "mutation": "mutation_type", "subscription": "subscription_type"}
        object_type = getattr(self._offer.schema, types[root.root])
        arguments = object_type.fields[root.name].args
        message = root.method.input
        fill = self._filled(root.arguments, {name: one.type for name, one in arguments.items()}, message, root.schema)
        made = self._bound.messages(root.schema).of(message.name)

        def build(values: Mapping[str, Any]) -> bytes:
            if not values:
                return b""
            try:
                data: bytes = made(**fill(values)).SerializeToString()
            except (TypeError, ValueError) as error:
                raise InvalidRequest(f"an argument does not fit its type: {error}") from error
            except RecursionError:
                raise InvalidRequest("an argument is nested too deeply") from None
            return data

        return build

    def _filled(
        self, members: Mapping[str, Member], types: Mapping[str, Any], message: Type, schema: Schema
    ) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """GraphQL values by name → proto values by field name. Nulls say nothing, as in ProtoJSON."""
        converts: dict[str, tuple[str, Convert, bool]] = {}
        choices: dict[str, dict[str, tuple[str, Convert, bool]]] = {}
        for name, member in members.items():
            if member.part is Part.ONEOF:
                branches = get_named_type(types[name]).fields
                choices[name] = {
                    one: (field.name, self._value(field, branches[one].type, schema), _keeps_null(field))
                    for one, field in member.branches.items()
                }
            elif member.field is not None:
                convert = self._field(member.field, types[name], message, schema)
                converts[name] = (member.field.name, convert, _keeps_null(member.field))

        def fill(values: Mapping[str, Any]) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for name, value in values.items():
                known = converts.get(name)
                if known is None:
                    choice = choices.get(name)
                    if choice is None or value is None:
                        continue
                    ((name, value),) = value.items()
                    known = choice[name]
                field, convert, keeps_null = known
                if value is None and not keeps_null:
                    continue
                try:
                    made = convert(value)
                except InvalidRequest as error:
                    raise InvalidRequest(f"{name}: {error.message}") from error
                except (TypeError, ValueError, OverflowError) as error:
                    raise InvalidRequest(f"{name}: {error}") from error
                if made is not None:
                    found[field] = made
            return found

        return fill

    def _field(self, field: Field, type_: Any, message: Type, schema: Schema) -> Convert:
        if field.map_key is None:
            one = self._value(field, type_, schema)
            if not field.repeated:
                return one
            return lambda values: [one(value) for value in values]
        if isinstance(get_named_type(type_), GraphQLInputObjectType):
            return self._entries(field, get_named_type(type_), schema)
        made, codec = self._bound.messages(schema).of(message.name), message.codec.canonical
        return lambda value: getattr(
            made.FromString(codec.field_from_json(field.name, orjson.dumps(value))), field.name
        )

    def _entries(self, field: Field, entry: GraphQLInputObjectType, schema: Schema) -> Convert:
        one = self._value(field, entry.fields["value"].type, schema)

        def convert(entries: Any) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for item in entries:
                key = item["key"]
                if key in found:
                    raise InvalidRequest(f"the key {str(key)[:100]} is there twice")
                found[key] = one(item.get("value"))
            return found

        return convert

    def _value(self, field: Field, type_: Any, schema: Schema) -> Convert:
        """One value of a field, whether it has one, a list or a map of them."""
        kind = field.kind
        if kind is Kind.ENUM:
            named = get_named_type(type_)
            assert isinstance(named, GraphQLEnumType)
            return self._offer.enums[named.name].numbers.__getitem__
        if kind not in (Kind.MESSAGE, Kind.GROUP):
            return _SCALARS.get(kind, _as_it_is)
        return self._message(field, type_, schema)

    def _message(self, field: Field, type_: Any, schema: Schema) -> Convert:
        name = field.type_name
        made = self._bound.messages(schema).of(name)
        if (wrapped := WRAPPERS.get(name)) is not None:
            inner = _SCALARS.get(wrapped, _as_it_is)
            return lambda value: made(value=inner(value))
        if name in TEXTS:

            def read(text: str) -> Any:
                message = made()
                message.FromJsonString(text)
                return message

            return read
        if name == EMPTY:
            return lambda value: made() if value else None
        if name in ANYTHING:
            codec = self._bound.type_of(schema, name).codec.canonical
            return lambda value: made.FromString(codec.from_json(orjson.dumps(value)))
        return self._input(get_named_type(type_))

    def _input(self, type_: Any) -> Convert:
        """Of an input object; made on first use, since a type may hold itself."""
        name: str = type_.name
        structure = self._offer.structures[name]
        made = self._bound.messages(structure.schema).of(structure.type.name)

        def convert(value: Any) -> Any:
            fill = self._inputs.get(name)
            if fill is None:
                types = {one: field.type for one, field in type_.fields.items()}
                fill = self._inputs[name] = self._filled(structure.members, types, structure.type, structure.schema)
            return made(**fill(value))

        return convert


def _as_it_is(value: Any) -> Any:
    return value


def _bytes(value: str) -> bytes:
    """Base64, standard or URL-safe, padded or not."""
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("not base64") from error


def _whole(value: Any) -> int:
    if isinstance(value, str) and _WHOLE.match(value) is None:
        raise InvalidRequest("not a whole number")
    return int(value)


def _float(value: float) -> float:
    if abs(value) > _LARGEST_FLOAT:
        raise InvalidRequest("out of range for a float")
    return value


_SCALARS: Mapping[Kind, Convert] = {
    Kind.BYTES: _bytes,
    Kind.FLOAT: _float,
    # With 64-bit numbers as String, what is in them is for us to read.
    **dict.fromkeys(LONG, _whole),
}


def _keeps_null(field: Field) -> bool:
    """Whether null is a value of the field: google.protobuf.Value has one."""
    return field.type_name == _VALUE and not field.repeated and field.map_key is None
