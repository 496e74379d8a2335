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
    return {key.removeprefix("."): fields for key, one in expressions(settings) if (fields := one.message_fields)}


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


def expressions(value: Any, path: str = "") -> Iterator[tuple[str, Expression]]:
    """The expressions in settings, each with its path."""
    found = value if isinstance(value, Expression) else getattr(value, "expression", None)
    if isinstance(found, Expression):
        yield path, found
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield from expressions(getattr(value, name), f"{path}.{field.alias or name}")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from expressions(one, f"{path}.{key}")
    elif isinstance(value, (tuple, list)):
        for index, one in enumerate(value):
            yield from expressions(one, f"{path}[{index}]")


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
