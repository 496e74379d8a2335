"""Example values of JSON Schemas that came with a type of another schema language: what surely fits, or nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from protogw.descriptors.json_schema import REFERENCE

NOTHING: Any = object()
"""There is no example."""

_DEPTH = 6
_VALUES = 60
_TEXTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1.5S",
    "email": "name@example.com",
    "hostname": "host.example",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "byte": "aGVsbG8=",
}
_SAYS_NOTHING = frozenset(("title", "description", "deprecated", "readOnly", "writeOnly", "$comment", "externalDocs"))
_OF_TYPE: Mapping[str, frozenset[str]] = {
    "string": frozenset(("format", "minLength", "maxLength", "contentEncoding")),
    "integer": frozenset(("format", "minimum", "maximum")),
    "number": frozenset(("format", "minimum", "maximum")),
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset(("items", "minItems", "maxItems")),
    "object": frozenset(("properties", "required", "additionalProperties", "minProperties", "maxProperties")),
}
"""The keywords that are understood; a schema with others has no example but one of its own."""


_CLASSES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _is(value: object, kind: object) -> bool:
    """Whether the value is of a type, or of one of several; of none said it is always."""
    if isinstance(kind, list):
        return any(_is(value, one) for one in kind)
    return not isinstance(kind, str) or value.__class__ in _CLASSES.get(kind, ())


class SchemaExamples:
    """`resolve` is asked for the schema that a reference's name stands for; None for one that is not known."""

    def __init__(self, resolve: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._resolve = resolve
        self._left = 0

    def of(self, schema: object, *, request: bool) -> Any:
        """An example, or NOTHING."""
        self._left = _VALUES
        return self._value(schema, request, ())

    def _value(self, schema: object, request: bool, above: tuple[str, ...]) -> Any:
        self._left -= 1
        if not isinstance(schema, Mapping) or self._left < 0 or len(above) > _DEPTH:
            return NOTHING
        own = schema.get("examples")
        if isinstance(own, list) and own:
            return own[0]
        for key in ("example", "const", "default"):
            if key in schema:
                return schema[key]
        said = schema.keys() - _SAYS_NOTHING
        listed = schema.get("enum")
        if isinstance(listed, list) and said <= {"enum", "type", "format"}:
            return next((one for one in listed if _is(one, schema.get("type"))), NOTHING)
        if said == {"$ref"}:
            return self._referred(schema["$ref"], request, above)
        for key in ("oneOf", "anyOf"):
            if said == {key} and isinstance(schema[key], list) and (key == "anyOf" or self._apart(schema[key])):
                found = (self._value(one, request, above) for one in schema[key])
                return next((one for one in found if one is not NOTHING and one is not None), NOTHING)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), None)
        if not isinstance(kind, str) or said - {"type"} - _OF_TYPE.get(kind, frozenset()):
            return NOTHING
        return self._of_type(kind, schema, request, above)

    def _apart(self, branches: list[object]) -> bool:
        """Whether no value can be of two of these."""
        types: list[object] = []
        for branch in branches:
            target = branch.get("$ref") if isinstance(branch, Mapping) else None
            one = self._resolve(target.removeprefix(REFERENCE)) if isinstance(target, str) else branch
            kind = one.get("type") if isinstance(one, Mapping) else None
            types.append("number" if kind == "integer" else kind)
        return all(isinstance(kind, str) for kind in types) and len(set(types)) == len(types)

    def _referred(self, target: object, request: bool, above: tuple[str, ...]) -> Any:
        if not isinstance(target, str) or not target.startswith(REFERENCE):
            return NOTHING
        name = target.removeprefix(REFERENCE)
        return NOTHING if name in above else self._value(self._resolve(name), request, (*above, name))

    def _of_type(self, kind: str, schema: Mapping[str, Any], request: bool, above: tuple[str, ...]) -> Any:
        if kind == "object":
            return self._object(schema, request, above)
        if kind == "array":
            item = self._value(schema.get("items"), request, above)
            least, most = schema.get("minItems", 0), schema.get("maxItems", 1)
            if item is NOTHING or most == 0:
                return [] if least == 0 else NOTHING
            return [item] if least <= 1 else NOTHING
        if kind == "string":
            text = _TEXTS.get(schema.get("format", ""), "aGVsbG8=" if "contentEncoding" in schema else "text")
            return text if schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)) else NOTHING
        if kind in ("integer", "number"):
            found = min(max(1, schema.get("minimum", 1)), schema.get("maximum", math.inf))
            fits = schema.get("minimum", found) <= found and _is(found, kind)
            return found if fits else NOTHING
        return {"boolean": True}.get(kind)

    def _object(self, schema: Mapping[str, Any], request: bool, above: tuple[str, ...]) -> Any:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        unwanted = "readOnly" if request else "writeOnly"
        most = schema.get("maxProperties", len(properties))
        made: dict[str, Any] = {}
        for name in sorted(properties, key=lambda name: name not in required):
            one = properties[name]
            if len(made) >= most or (name not in required and isinstance(one, Mapping) and one.get(unwanted)):
                continue
            value = self._value(one, request, above)
            if value is not NOTHING:
                made[name] = value
        if not made.keys() >= set(required) or len(made) < schema.get("minProperties", 0):
            return NOTHING
        return {name: made[name] for name in properties if name in made}
