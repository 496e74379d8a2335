"""How a service without a proto writes its messages as JSON, where ProtoJSON would write them otherwise. Pure data.

An importer gives every field its JSON member's own name as `json_name`, so names never differ. What may differ is said
here, by message and enum type; a type without a shape is written as ProtoJSON writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Scalar: TypeAlias = str | int | float | bool | None


def scalar_text(value: Scalar) -> str:
    """The value as a query or a path has it."""
    if isinstance(value, str):
        return value
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One alternative of a union: the field that holds it, and how its JSON is told from the others'.

    `tags` are the values of the union's tag member that mean it. Without a tag, it is the first branch whose
    `json_types` ("object", "array", "string", "number", "boolean") hold the value's own and whose `required` members
    an object has; among those, the one that knows the most of an object's members (`known`).
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
    """How one message type is written. Fields go by their JSON names.

    `wraps` is the only field when the message is written as that field's value alone (a list within a list, a body that
    is no object); `union` is set when it is written as one of its alternatives. `rest` is the map field whose entries
    are members of the object itself, beside its own.
    """

    numbers: frozenset[str] = frozenset()
    """64-bit integers, or lists or maps of them, that are written as numbers."""
    always: frozenset[str] = frozenset()
    """Written when they hold their default too, since the service requires them."""
    nulls: frozenset[str] = frozenset()
    """Written as null when they are absent."""
    sparse: frozenset[str] = frozenset()
    """Lists that may hold null, which reads as the default of what they hold, and maps that may, whose entry is left
    out then."""
    wraps: str = ""
    union: Union | None = None
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of one schema's types, by full name."""

    messages: Mapping[str, MessageShape] = field(default_factory=dict)
    enums: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """What the service writes for each of an enum's value names. A value without is not written."""
