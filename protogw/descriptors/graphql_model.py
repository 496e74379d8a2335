"""A GraphQL schema as it was read, whether from its own language or from introspection. Pure data.

Nothing is resolved here: a Ref names a type that may turn out not to be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from protogw.descriptors.graphql_binding import Ref

BUILT_IN = ("String", "ID", "Int", "Float", "Boolean")
"""The scalars that every schema has without saying so."""

MOST_LISTS = 8
"""How deep lists may be nested."""


class Sort(Enum):
    """The kinds of named types."""

    SCALAR = "scalar"
    OBJECT = "type"
    INTERFACE = "interface"
    UNION = "union"
    ENUM = "enum"
    INPUT = "input"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputValue:
    """An argument, or a field of an input type. `default` is its default value as it is written, if it has one."""

    name: str
    type: Ref
    default: str | None = None
    doc: str = ""
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputField:
    """A field of an object or interface type."""

    name: str
    type: Ref
    arguments: tuple[InputValue, ...] = ()
    doc: str = ""
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumValue:
    name: str
    doc: str = ""
    deprecated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One named type; which of the collections it has depends on its sort. `place` says where it was read."""

    sort: Sort
    name: str
    place: str
    doc: str = ""
    fields: tuple[OutputField, ...] = ()
    inputs: tuple[InputValue, ...] = ()
    values: tuple[EnumValue, ...] = ()
    possible: tuple[str, ...] = ()
    """The object types that an interface or union can be."""
    one_of: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole schema: its types by name, and its root types' names, "" for an operation that it does not have."""

    types: Mapping[str, Named]
    query: str = ""
    mutation: str = ""
    subscription: str = ""
    built_in: Mapping[str, Named] = field(
        default_factory=lambda: {name: Named(sort=Sort.SCALAR, name=name, place="") for name in BUILT_IN}
    )

    def named(self, name: str) -> Named | None:
        """The type of this name, if there is one."""
        return self.types.get(name) or self.built_in.get(name)
