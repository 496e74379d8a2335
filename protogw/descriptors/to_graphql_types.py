"""GraphQL types for the messages and enums that some methods reach: first all names, then the types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
)

from protogw.descriptors.model import Enum, Field, Kind, Schema, Type
from protogw.descriptors.to_graphql_finite import Finite
from protogw.descriptors.to_graphql_model import EnumNames, GraphqlOptions, Member, Part, Structure
from protogw.descriptors.to_graphql_names import allocate, field_name, graphql_name, upper_camel
from protogw.descriptors.to_graphql_scalars import RESERVED, may_fail, scalar_of, well_known
from protogw.descriptors.to_graphql_variants import Variants

Role: TypeAlias = Literal["object", "input", "enum", "union", "branch", "choice", "entry", "entry input"]

DEPRECATED = "It is deprecated in the service's own schema."
_NOT_ENUM_VALUES = frozenset(("true", "false", "null"))
_MESSAGES = (Kind.MESSAGE, Kind.GROUP)
_NOTHING = Member(part=Part.NOTHING)


class Key(NamedTuple):
    """A GraphQL type to be: a message or enum in one role; `part` is the field or oneof that it is about, if any."""

    role: Role
    variant: str
    name: str
    part: str = ""


class Node(NamedTuple):
    """Where a Key's message or enum is described."""

    type: Type | None
    enum: Enum | None
    schema: Schema


class Types:
    """Collects what is reached by `reach_output` and `reach_input`; after `name` the types can be had."""

    def __init__(self, options: GraphqlOptions, variants: Variants, withheld: frozenset[str]) -> None:
        """`withheld` are fields of replies that are nullable since some callers do not get them (Catalog.withheld)."""
        self._options = options
        self._withheld = withheld
        self._variants = variants
        self._finite = Finite()
        self._nodes: dict[Key, Node] = {}
        self._names: dict[Key, str] = {}
        self._made: dict[Key, Any] = {}
        self.structures: dict[str, Structure] = {}
        self.enums: dict[str, EnumNames] = {}
        self.faults: list[str] = []

    # what is reached

    def reach_output(self, message: Type, schema: Schema) -> None:
        """Take in a method's reply type and all that it holds."""
        self._reach(message, schema, "object")

    def reach_input(self, message: Type, schema: Schema) -> None:
        """Take in all that a method's request type holds; its own fields are arguments."""
        for found in self._below(message, schema, "input"):
            self._walk(found)

    def _reach(self, message: Type, schema: Schema, role: Role) -> None:
        if not self._is_scalar(message.name):
            self._walk((self._key(role, message.name, schema), Node(message, None, schema)))

    def _walk(self, first: tuple[Key, Node]) -> None:
        waiting = [first]
        while waiting:
            key, node = waiting.pop()
            if key in self._nodes:
                continue
            self._nodes[key] = node
            if node.type is not None and key.role in ("object", "input"):
                waiting.extend(self._below(node.type, node.schema, key.role))

    def _below(self, message: Type, schema: Schema, role: Role) -> Iterator[tuple[Key, Node]]:
        """What a message's fields need, in the same direction."""
        output = role == "object"
        node = Node(message, None, schema)
        for field in message.fields.values():
            if field.oneof:
                yield self._key("union" if output else "choice", message.name, schema, field.oneof), node
                if output:
                    yield self._key("branch", message.name, schema, field.name), node
            if field.map_key is not None:
                if self._options.maps_as_json:
                    continue
                yield self._key("entry" if output else "entry input", message.name, schema, field.name), node
            if field.kind is Kind.ENUM:
                enum = schema.enums[field.type_name]
                yield self._key("enum", enum.name, schema), Node(None, enum, schema)
            elif field.kind in _MESSAGES and not self._is_scalar(field.type_name):
                below = schema.types[field.type_name]
                yield self._key(role, below.name, schema), Node(below, None, schema)

    def _key(self, role: Role, name: str, schema: Schema, part: str = "") -> Key:
        return Key(role, self._variants.of(name, schema), name, part)

    def _is_scalar(self, name: str) -> bool:
        return well_known(name, long_as_text=True) is not None

    # names

    def name(self) -> None:
        """Give every type its name."""
        wishes = {key: self._wishes(key, node) for key, node in self._nodes.items()}
        self._names, clashed = allocate(wishes, RESERVED)
        for key, name in clashed:
            what = f"{key.name}.{key.part}" if key.part else key.name
            self.faults.append(f"{what}: another type has its short name, so it is {name} in GraphQL")

    def _wishes(self, key: Key, node: Node) -> tuple[str, str]:
        package = key.name
        while (above := package.rpartition(".")[0]) in node.schema.types:
            package = above
        package = package.rpartition(".")[0]
        short = "".join(map(upper_camel, key.name.removeprefix(f"{package}.").split(".")))
        tail = upper_camel(key.part) if key.part else ""
        if key.role in ("input", "choice"):
            tail += "Input"
        elif key.role == "entry":
            tail += "Entry"
        elif key.role == "entry input":
            tail += "EntryInput"
        elif key.role == "branch":
            assert node.type is not None
            tail = upper_camel(node.type.fields[key.part].oneof) + tail
        return f"{short}{tail}", f"{upper_camel(package)}{short}{tail}"

    # the types

    def output(self, message: Type, schema: Schema) -> Any:
        """The type of a reply."""
        scalar = well_known(message.name, long_as_text=self._options.long_as_text)
        return scalar if scalar is not None else self._get(self._key("object", message.name, schema))

    def arguments(self, message: Type, schema: Schema) -> tuple[dict[str, GraphQLArgument], dict[str, Member]]:
        """A request's fields as arguments."""
        arguments: dict[str, GraphQLArgument] = {}
        members = self._members(message, schema)
        for name, member in members.items():
            type_, doc, deprecated = self._input_member(message, schema, member)
            arguments[name] = GraphQLArgument(type_, description=doc, deprecation_reason=deprecated)
        return arguments, members

    def _get(self, key: Key) -> Any:
        found = self._made.get(key)
        if found is None:
            make = {
                "object": self._object,
                "input": self._input,
                "enum": self._enum,
                "union": self._union,
                "branch": self._branch,
                "choice": self._choice,
                "entry": self._entry,
                "entry input": self._entry_input,
            }[key.role]
            found = self._made[key] = make(key, self._nodes[key])
        return found

    def _members(self, message: Type, schema: Schema, *, output: bool = False) -> dict[str, Member]:
        """A message's fields and oneofs by their GraphQL names, in order; a oneof stands where its first field does."""
        parts: dict[str, Member] = {}
        for field in message.fields.values():
            if not field.oneof:
                parts[f".{field.name}"] = Member(part=Part.FIELD, field=field)
            elif field.oneof not in parts:
                branches = [one for one in message.fields.values() if one.oneof == field.oneof]
                named = self._branches(message, schema, branches, output=output)
                parts[field.oneof] = Member(part=Part.ONEOF, oneof=field.oneof, branches=named)
        wishes = {key: _field_names(key, member) for key, member in parts.items()}
        names, clashed = allocate(wishes)
        for key, name in clashed:
            fault = f"{message.name}.{key.lstrip('.')}: another field has its name, so it is {name} in GraphQL"
            if fault not in self.faults:
                self.faults.append(fault)
        return {names[key]: member for key, member in parts.items()}

    def _branches(self, message: Type, schema: Schema, fields: list[Field], *, output: bool) -> dict[str, Field]:
        if output:
            return {self._names[self._key("branch", message.name, schema, one.name)]: one for one in fields}
        names, _ = allocate({one.name: _numbered(one) for one in fields})
        return {names[one.name]: one for one in fields}

    def _keep(self, name: str, node: Node, members: Mapping[str, Member]) -> None:
        assert node.type is not None
        self.structures[name] = Structure(type=node.type, schema=node.schema, members=members)

    def _object(self, key: Key, node: Node) -> GraphQLObjectType:
        assert node.type is not None
        message, schema, name = node.type, node.schema, self._names[key]
        members = self._members(message, schema, output=True) or {"_": _NOTHING}
        self._keep(name, node, members)

        def fields() -> dict[str, GraphQLField]:
            return {one: self._output_member(message, schema, member) for one, member in members.items()}

        return GraphQLObjectType(name, fields, description=node.type.doc or None)

    def _output_member(self, message: Type, schema: Schema, member: Member) -> GraphQLField:
        if member.part is Part.NOTHING:
            return GraphQLField(GraphQLBoolean, description="The type has no fields of its own: always true.")
        if member.part is Part.ONEOF:
            return GraphQLField(self._get(self._key("union", message.name, schema, member.oneof)))
        field = member.field
        assert field is not None
        deprecated = DEPRECATED if field.deprecated else None
        if field.map_key is not None and not self._options.maps_as_json:
            entry = self._get(self._key("entry", message.name, schema, field.name))
            type_: Any = GraphQLNonNull(GraphQLList(GraphQLNonNull(entry)))
        else:
            type_ = self._value(field, schema, output=True)
            fails = may_fail(field.kind, field.type_name)
            if field.map_key is not None:
                pass
            elif field.repeated:
                type_ = GraphQLNonNull(GraphQLList(type_ if fails else GraphQLNonNull(type_)))
            elif not fails and (not field.has_presence or (field.required and field.kind not in _MESSAGES)):
                # A required scalar that a service leaves out after all is shown as its default.
                type_ = GraphQLNonNull(type_)
        if f"{message.name}/{field.name}" in self._withheld and isinstance(type_, GraphQLNonNull):
            type_ = type_.of_type
        return GraphQLField(type_, description=_doc(field), deprecation_reason=deprecated)

    def _value(self, field: Field, schema: Schema, *, output: bool) -> Any:
        """The type of one value of a field."""
        if field.map_key is not None and self._options.maps_as_json:
            return well_known("google.protobuf.Struct", long_as_text=False)
        if field.kind is Kind.ENUM:
            return self._get(self._key("enum", field.type_name, schema))
        if field.kind not in _MESSAGES:
            return scalar_of(field.kind, long_as_text=self._options.long_as_text)
        scalar = well_known(field.type_name, long_as_text=self._options.long_as_text)
        if scalar is not None:
            return scalar
        return self._get(self._key("object" if output else "input", field.type_name, schema))

    def _union(self, key: Key, node: Node) -> GraphQLUnionType:
        assert node.type is not None
        message, schema = node.type, node.schema
        branches = [one for one in message.fields.values() if one.oneof == key.part]

        def types() -> list[GraphQLObjectType]:
            return [self._get(self._key("branch", message.name, schema, one.name)) for one in branches]

        return GraphQLUnionType(self._names[key], types, description=f"One of what {key.part} may be.")

    def _branch(self, key: Key, node: Node) -> GraphQLObjectType:
        assert node.type is not None
        message, schema, name = node.type, node.schema, self._names[key]
        field = message.fields[key.part]
        member = Member(part=Part.FIELD, field=field)
        shown = field_name(field.json_name)
        self._keep(name, node, {shown: member})

        def fields() -> dict[str, GraphQLField]:
            return {shown: self._output_member(message, schema, member)}

        return GraphQLObjectType(name, fields)

    def _entry(self, key: Key, node: Node) -> GraphQLObjectType:
        assert node.type is not None
        schema, name = node.schema, self._names[key]
        field = node.type.fields[key.part]
        assert field.map_key is not None
        key_type = scalar_of(field.map_key, long_as_text=self._options.long_as_text)
        self._keep(name, node, _entry_members(field))

        def fields() -> dict[str, GraphQLField]:
            value = self._value(field, schema, output=True)
            if not may_fail(field.kind, field.type_name):
                value = GraphQLNonNull(value)
            return {"key": GraphQLField(GraphQLNonNull(key_type)), "value": GraphQLField(value)}

        return GraphQLObjectType(name, fields)

    def _input(self, key: Key, node: Node) -> GraphQLInputObjectType:
        assert node.type is not None
        message, schema, name = node.type, node.schema, self._names[key]
        members = self._members(message, schema) or {"_": _NOTHING}
        self._keep(name, node, members)

        def fields() -> dict[str, GraphQLInputField]:
            found: dict[str, GraphQLInputField] = {}
            for one, member in members.items():
                type_, doc, deprecated = self._input_member(message, schema, member)
                found[one] = GraphQLInputField(type_, description=doc, deprecation_reason=deprecated)
            return found

        return GraphQLInputObjectType(name, fields, description=message.doc or None)

    def _input_member(self, message: Type, schema: Schema, member: Member) -> tuple[Any, str | None, str | None]:
        if member.part is Part.NOTHING:
            return GraphQLBoolean, "The type has no fields of its own: it is there, whatever this says.", None
        if member.part is Part.ONEOF:
            return self._get(self._key("choice", message.name, schema, member.oneof)), None, None
        field = member.field
        assert field is not None
        if field.map_key is not None and not self._options.maps_as_json:
            entry = self._get(self._key("entry input", message.name, schema, field.name))
            type_: Any = GraphQLList(GraphQLNonNull(entry))
        else:
            type_ = self._value(field, schema, output=False)
            if field.repeated:
                type_ = GraphQLList(type_ if _takes_null(field) else GraphQLNonNull(type_))
            one_message = field.kind in _MESSAGES and not (field.repeated or field.map_key)
            if field.required and (not one_message or self._finite.has(field.type_name, schema.types)):
                type_ = GraphQLNonNull(type_)
        # GraphQL has no deprecated input that must be given.
        deprecated = DEPRECATED if field.deprecated and not field.required else None
        return type_, _doc(field), deprecated

    def _choice(self, key: Key, node: Node) -> GraphQLInputObjectType:
        assert node.type is not None
        schema, name = node.schema, self._names[key]
        branches = [one for one in node.type.fields.values() if one.oneof == key.part]
        named = self._branches(node.type, schema, branches, output=False)
        self._keep(name, node, {one: Member(part=Part.FIELD, field=field) for one, field in named.items()})

        def fields() -> dict[str, GraphQLInputField]:
            return {
                one: GraphQLInputField(self._value(field, schema, output=False), description=_doc(field))
                for one, field in named.items()
            }

        return GraphQLInputObjectType(name, fields, is_one_of=True)

    def _entry_input(self, key: Key, node: Node) -> GraphQLInputObjectType:
        assert node.type is not None
        schema, name = node.schema, self._names[key]
        field = node.type.fields[key.part]
        assert field.map_key is not None
        key_type = scalar_of(field.map_key, long_as_text=self._options.long_as_text)
        self._keep(name, node, _entry_members(field))

        def fields() -> dict[str, GraphQLInputField]:
            value = self._value(field, schema, output=False)
            return {"key": GraphQLInputField(GraphQLNonNull(key_type)), "value": GraphQLInputField(value)}

        return GraphQLInputObjectType(name, fields)

    def _enum(self, key: Key, node: Node) -> GraphQLEnumType:
        assert node.enum is not None
        enum, name = node.enum, self._names[key]
        wishes = {one: (f"{graphql_name(one)}{'_' * (one in _NOT_ENUM_VALUES)}",) for one in enum.values}
        named, _ = allocate(wishes)
        numbers = {named[one]: number for one, number in enum.values.items()}
        names: dict[int, str] = {}
        for one, number in numbers.items():
            names.setdefault(number, one)
        self.enums[name] = EnumNames(enum=enum, numbers=numbers, names=names)
        values = {one: GraphQLEnumValue(one) for one in numbers}
        return GraphQLEnumType(name, values, description=enum.doc or None)


def _field_names(key: str, member: Member) -> tuple[str, ...]:
    return _numbered(member.field) if member.field is not None else (field_name(key),)


def _numbered(field: Field) -> tuple[str, str]:
    """A field's name, and the one that it gets when others want that too."""
    name = field_name(field.json_name)
    return name, f"{name}_{field.number}"


def _entry_members(field: Field) -> dict[str, Member]:
    return {"key": Member(part=Part.KEY, field=field), "value": Member(part=Part.VALUE, field=field)}


def _takes_null(field: Field) -> bool:
    """Whether a list of this field's values may hold null, which is one of google.protobuf.Value's."""
    return field.type_name == "google.protobuf.Value"


def _doc(field: Field) -> str | None:
    return field.doc or None
