"""How a method is asked of a GraphQL service: which root field it is, and what may be selected of its result.

Made by the reader of GraphQL schemas, read by whoever writes the documents. Pure data; knows no message types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a GraphQL type: a named type, or with `item` a list. `required` is GraphQL's "!"."""

    name: str = ""
    item: Ref | None = None
    required: bool = False

    def __str__(self) -> str:
        return (self.name if self.item is None else f"[{self.item}]") + ("!" if self.required else "")

    @property
    def named(self) -> str:
        """The named type inside all lists."""
        here = self
        while here.item is not None:
            here = here.item
        return here.name


class Leaf(Enum):
    """What the JSON of a scalar or enum is."""

    STRING = "text"
    ENUM = "a name"
    INT = "a 32-bit integer"
    LONG = "an integer"
    FLOAT = "a number"
    BOOLEAN = "true or false"
    ANY = "any JSON"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a root field; `type` is what its variable is declared as."""

    name: str
    type: Ref


@dataclass(frozen=True, slots=True)
class Selectable:
    """A field that can be selected without arguments."""

    name: str
    type: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Composite:
    """An object type and its fields, or with `possible` an interface or union and the object types that it can be.

    An interface has fields besides.
    """

    name: str
    fields: tuple[Selectable, ...] = ()
    possible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphqlBinding:
    """A root field as a method. The request's JSON is the variables; the reply's is the result's `data`, or with `bare`
    the root field's value alone, an object.

    `composites` and `leaves` are all of the schema's, by name.
    """

    operation: str
    """ "query", "mutation" or "subscription"."""
    field: str
    arguments: tuple[Argument, ...]
    type: Ref
    bare: bool
    composites: Mapping[str, Composite] = dataclasses.field(repr=False)
    leaves: Mapping[str, Leaf] = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A document of the gateway's own without variables, whose `data` is returned as it is: how a schema is asked."""

    document: str
