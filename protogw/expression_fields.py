"""Whether the message fields that a policy's expressions name are any: one that is not there has no value for any call,
which is an empty key, or a condition that never holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from protogw.descriptors.model import Method, Type
from protogw.expressions import Expression
from protogw.words import hint


def read(settings: object) -> dict[str, list[str]]:
    """The message fields that expressions of these settings name, by the expression's key."""
    return {key: fields for key, one in _expressions(settings, "") if (fields := one.message_fields)}


def misread(fields: Mapping[str, Sequence[str]], methods: Sequence[Method]) -> list[str]:
    """Of these, each with its key, those that no message of these methods has."""
    types = {kind.name: kind for method in methods for kind in (method.input, method.output)}
    found: list[str] = []
    for key, paths in fields.items() if types else ():
        for path in paths:
            said = [fault for kind in types.values() if (fault := _fault(kind, path)) is not None]
            if len(said) == len(types):
                # Of several types the one that was meant is the one that has most of it.
                found.append(f"{key}: message.{path}: {max(said)[1]}")
    return found


def _expressions(value: Any, key: str) -> Iterator[tuple[str, Expression]]:
    if isinstance(value, Expression):
        yield key, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _expressions(getattr(value, name), f"{key}.{name}" if key else name)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _expressions(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _expressions(inner, f"{key}[{index}]")


def _fault(kind: Type, path: str) -> tuple[int, str] | None:
    """How deep it can be followed in messages of this type, and what is wrong with it there; None for nothing."""
    at = kind
    names = path.split(".")
    for depth, name in enumerate(names):
        if at.name.startswith("google.protobuf."):
            return None  # what ProtoJSON writes for those has other members, or any
        known = {field.json_name: field for field in at.fields.values()}
        field = known.get(name)
        if field is None:
            return depth, f"{at.name} has no field {name} in JSON{hint(name, known)}"
        if field.repeated or field.map_key is not None or depth == len(names) - 1:
            return None
        inner = at.types.get(field.type_name) if field.type_name else None
        if inner is None:
            return depth + 1, f"{name} of {at.name} has no fields"
        at = inner
    return None
