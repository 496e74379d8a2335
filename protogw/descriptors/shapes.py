"""How a service without a proto writes its messages as JSON, where ProtoJSON would write them otherwise. Pure data.

An importer gives every field its JSON member's own name as `json_name`, so names never differ. What may differ is said
here, by message type; a type without a MessageShape is written as ProtoJSON writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Plain:
    """As ProtoJSON writes it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A 64-bit integer that is written as a number."""


@dataclass(frozen=True, slots=True)
class Named:
    """An enum: what the service writes for each of the proto enum's value names. Anything else reads as value 0."""

    values: Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Nested:
    """A message of the same schema; its own MessageShape says the rest."""

    type_name: str


@dataclass(frozen=True, slots=True)
class Items:
    """A repeated field. An item that is null reads as its type's default."""

    item: Shape


@dataclass(frozen=True, slots=True)
class Entries:
    """A map field; `value` is the shape of its values."""

    value: Shape


Shape: TypeAlias = "Plain | Number | Named | Nested | Items | Entries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One alternative of a union: the field that holds it, and how its JSON is told from the others'.

    `tags` are the values of the union's tag member that mean it. Without a tag, it is the first branch whose
    `json_types` ("object", "array", "string", "number", "boolean", "null") hold the value's own and whose `required`
    members an object has; among those, the one that knows the most of an object's members (`known`).
    """

    key: str
    """The field's JSON name."""
    tags: tuple[str, ...] = ()
    json_types: tuple[str, ...] = ("object",)
    required: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Union:
    """A message with one oneof, written as whatever its branch holds. `tag` is the member that tells which, if one
    does; it is written as the branch's first tag where the branch's own fields do not have it."""

    branches: tuple[Branch, ...]
    tag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageShape:
    """How one message type is written; `fields` (by JSON name) are those whose values are not Plain.

    `wraps` is the JSON name of the only field when the message is written as that field's value alone (a list within a
    list, a body that is no object); `union` when it is written as one of its alternatives.
    """

    fields: Mapping[str, Shape] = field(default_factory=dict)
    wraps: str = ""
    union: Union | None = None


Shapes: TypeAlias = Mapping[str, MessageShape]
"""By the full name of the message type."""
