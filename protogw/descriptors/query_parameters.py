"""The query parameters of a binding as OpenAPI writes them: every leaf of the request that path and body leave over."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from protogw.descriptors.json_schema import ANY, WELL_KNOWN, Json, JsonSchemas
from protogw.descriptors.model import Field, Kind, Type

MOST = 200
"""Parameters of one operation; those deeper in the request come last, and are left out first."""

_DEPTH = 8
_NO_TEXT = frozenset(
    (ANY, "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue", "google.protobuf.Empty")
)
"""Well-known types that no text stands for."""


def query_parameters(
    message: Type, schemas: JsonSchemas, bound: frozenset[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The parameters, and the names of fields that are left out because they are too many or too deep.

    `bound` are the dotted proto names that path and body give.
    """
    found: list[dict[str, Any]] = []
    left_out: list[str] = []
    waiting: deque[tuple[Type, tuple[Field, ...], frozenset[str]]] = deque([(message, (), frozenset((message.name,)))])
    while waiting:
        owner, path, above = waiting.popleft()
        for field in owner.fields.values():
            along = (*path, field)
            proto = ".".join(one.name for one in along)
            if any(proto == one or proto.startswith(one + ".") for one in bound):
                continue
            name = ".".join(schemas.name(one) for one in along)
            nested = _nested(field, owner.types)
            if nested is not None:
                if nested.name not in above and len(along) < _DEPTH:
                    waiting.append((nested, along, above | {nested.name}))
                elif nested.fields:
                    left_out.append(name)
            elif not _has_text(field) or schemas.only_for_replies(owner, field):
                continue
            elif len(found) >= MOST:
                left_out.append(name)
            else:
                found.append(_parameter(name, owner, field, schemas, required=not path))
    return found, left_out


def _nested(field: Field, types: Mapping[str, Type]) -> Type | None:
    """The message whose fields are parameters of their own, or None for a leaf."""
    if field.kind not in (Kind.MESSAGE, Kind.GROUP) or field.repeated or field.map_key is not None:
        return None
    return None if field.type_name in WELL_KNOWN or field.type_name == ANY else types.get(field.type_name)


def _has_text(field: Field) -> bool:
    if field.kind is Kind.MESSAGE or field.kind is Kind.GROUP:
        return field.type_name in WELL_KNOWN and field.type_name not in _NO_TEXT
    return True


def _parameter(name: str, owner: Type, field: Field, schemas: JsonSchemas, *, required: bool) -> Json:
    schema = schemas.field(owner, field, request=True)
    made: Json = {"name": name, "in": "query"}
    description = schema.pop("description", "") if field.doc else ""
    members = [schemas.name(one) for one in owner.fields.values() if one.oneof == field.oneof] if field.oneof else []
    if len(members) > 1:
        others = f"At most one of {', '.join(f'`{one}`' for one in members)}."
        description = f"{description}\n\n{others}".strip()
    if description:
        made["description"] = description
    if required and schemas.demanded(owner, field):
        made["required"] = True
    if schema.pop("deprecated", False):
        made["deprecated"] = True
    if field.map_key is not None:
        made.update({"style": "deepObject", "explode": True})
    elif field.repeated:
        made.update({"style": "form", "explode": True})
    made["schema"] = schema
    return made
