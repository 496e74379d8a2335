"""JSON Schema of what a GraphQL service writes and reads. Pure.

Members that are not asked for are absent, so nothing of a result is required; of an input, what has no default is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from protogw.descriptors.graphql_binding import Ref
from protogw.descriptors.graphql_check import needed
from protogw.descriptors.graphql_model import InputValue, Named, OutputField
from protogw.descriptors.graphql_scalars import ScalarType
from protogw.descriptors.synthesize import REF


class JsonSchemas:
    """Schemas of one document's types, which refer to each other by their drafts' keys."""

    def __init__(self, scalars: Mapping[str, ScalarType]) -> None:
        self._scalars = scalars

    def value(self, ref: Ref) -> dict[str, Any]:
        """A value of this type, null left aside."""
        if ref.item is not None:
            return {"type": "array", "items": self._nullable(ref.item)}
        scalar = self._scalars.get(ref.name)
        return {"$ref": REF + ref.name} if scalar is None else dict(scalar.json_schema)

    def _nullable(self, ref: Ref) -> dict[str, Any]:
        found = self.value(ref)
        return found if ref.required or not found else {"anyOf": [found, {"type": "null"}]}

    def _member(self, one: InputValue | OutputField) -> dict[str, Any]:
        found = self._nullable(one.type)
        if one.doc:
            found["description"] = one.doc
        if one.deprecated:
            found["deprecated"] = True
        return found

    def object(self, fields: Iterable[OutputField], doc: str) -> dict[str, Any]:
        """An object of a result."""
        return _described({"type": "object", "properties": {one.name: self._member(one) for one in fields}}, doc)

    def inputs(self, inputs: Iterable[InputValue], doc: str, *, one_of: bool) -> dict[str, Any]:
        """An input object, or a field's arguments."""
        made: dict[str, Any] = {
            "type": "object",
            "properties": {one.name: self._member(one) for one in inputs},
            "additionalProperties": False,
        }
        required = [one.name for one in inputs if needed(one)]
        if required:
            made["required"] = required
        if one_of:
            made |= {"minProperties": 1, "maxProperties": 1}
        return _described(made, doc)

    @staticmethod
    def union(named: Named, tag: str) -> dict[str, Any]:
        """One of several objects, told by the tag."""
        branches = [
            {"allOf": [{"$ref": REF + name}, {"properties": {tag: {"const": name}}, "required": [tag]}]}
            for name in named.possible
        ]
        return _described({"oneOf": branches}, named.doc)


def _described(schema: dict[str, Any], doc: str) -> dict[str, Any]:
    return {**schema, "description": doc} if doc else schema
