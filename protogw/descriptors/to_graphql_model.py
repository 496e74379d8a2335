"""What a GraphQL schema made of proto services stands for: which method a field calls, which proto field it shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum as PythonEnum
from typing import Literal, TypeAlias

from graphql import GraphQLSchema

from protogw.descriptors.model import Enum, Field, Method, Schema, Type

Root: TypeAlias = Literal["query", "mutation", "subscription"]
ROOTS: tuple[Root, ...] = ("query", "mutation", "subscription")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What the config says of one method: the name of its field, and of which root type; None for what follows."""

    field: str | None = None
    root: Literal["query", "mutation", "none"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphqlOptions:
    """The choices that a schema leaves open.

    `long_as_text`: 64-bit numbers are Strings, not scalars of their own. `maps_as_json`: maps are JSON, not lists of
    entries. `prefix` is what every root field's name begins with: nothing unless two clash, the service, or the
    package and the service. `chosen` is what the config says, by a method's full name.
    """

    long_as_text: bool = False
    maps_as_json: bool = False
    prefix: Literal["none", "service", "package"] = "none"
    chosen: Mapping[str, Exposure] = dataclasses.field(default_factory=dict)


class Part(PythonEnum):
    """What of a message a GraphQL field stands for."""

    FIELD = "field"
    ONEOF = "oneof"
    KEY = "key"
    """The key of a map's entry."""
    VALUE = "value"
    """The value of a map's entry."""
    NOTHING = "nothing"
    """The one field of a type that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A GraphQL field, argument or input field. `field` is the proto field, or the map that the entry is of.

    A oneof has `branches` instead: in output the proto field by the name of the union's member type, in input by the
    name of the input field.
    """

    part: Part
    field: Field | None = None
    oneof: str = ""
    branches: Mapping[str, Field] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """An object, a union's member type or an input object: the message it shows and its members by name.

    A union's member type shows the message that the oneof is in.
    """

    type: Type
    schema: Schema
    members: Mapping[str, Member]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RootField:
    """A field of a root type: the method that it calls, and its arguments, which are members of the request."""

    name: str
    root: Root
    method: Method
    schema: Schema
    arguments: Mapping[str, Member]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumNames:
    """How an enum's values are called in GraphQL."""

    enum: Enum
    numbers: Mapping[str, int]
    names: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphqlOffer:
    """A GraphQL schema and what it stands for. `structures` and `enums` are by GraphQL type name.

    `faults` are names that clashed and what became of them, and what of the config does not fit. `left_out` says of
    each method that GraphQL cannot call why that is, by the name that its field would have.
    """

    schema: GraphQLSchema
    roots: Mapping[Root, Mapping[str, RootField]]
    structures: Mapping[str, Structure]
    enums: Mapping[str, EnumNames]
    faults: tuple[str, ...]
    left_out: Mapping[str, str]

    def field_of(self, method: str) -> RootField | None:
        """The field that calls the method of this full name, if there is one."""
        for fields in self.roots.values():
            for found in fields.values():
                if found.method.full_name == method:
                    return found
        return None
