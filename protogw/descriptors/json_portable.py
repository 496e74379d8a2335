"""A document's JSON Schema → one of 2020-12 that stands alone: its references name messages (synthesize.REF)."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.json_flat import alias
from protogw.descriptors.synthesize import REF

MAX_SIZE = 2_000
"""Schemas in one schema; what goes beyond is anything."""

_KEPT = (
    "title", "description", "type", "format", "enum", "const", "default", "deprecated", "readOnly", "writeOnly",
    "required", "pattern", "minLength", "maxLength", "minimum", "maximum", "multipleOf", "minItems", "maxItems",
    "uniqueItems", "minProperties", "maxProperties", "exclusiveMinimum", "exclusiveMaximum", "examples",
)  # fmt: skip
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = ("items", "not", "additionalProperties")


class Portable:
    """Makes such schemas; `messages` are the keys that references may name."""

    def __init__(self, documents: Documents, messages: Container[str]) -> None:
        self._documents = documents
        self._messages = messages
        self._left = 0

    def of(self, node: Node) -> Any:
        """The schema of this node, itself written out."""
        self._left = MAX_SIZE
        return self._plain(node, (node.key,))

    def _schema(self, node: Node, above: tuple[str, ...]) -> Any:
        self._left -= 1
        if self._left < 0:
            return {}
        value = node.value
        if not isinstance(value, dict):
            return value if isinstance(value, bool) else {}
        target, nullable = alias(self._documents, node)
        ref = next((key for key in (target.key, f"{target.key}|") if key in self._messages), None)
        if ref is not None and target is not node:
            found: dict[str, Any] = {"$ref": REF + ref}
            if nullable:
                found = {"anyOf": [found, {"type": "null"}]}
            return found
        if target.key in above:
            return {}
        return self._plain(target, (*above, target.key), nullable=nullable)

    def _plain(self, node: Node, above: tuple[str, ...], *, nullable: bool = False) -> Any:
        value = node.value
        if not isinstance(value, dict):
            return value if isinstance(value, bool) else {}
        made = {name: value[name] for name in _KEPT if name in value}
        if "example" in value and "examples" not in made:
            made["examples"] = [value["example"]]
        for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if isinstance(made.get(bound), bool):  # OpenAPI 3.0
                exclusive = made.pop(bound)
                if exclusive and limit in made:
                    made[bound] = made.pop(limit)
        if (nullable or value.get("nullable") is True) and isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
            if isinstance(made.get("enum"), list) and None not in made["enum"]:
                made["enum"] = [*made["enum"], None]
        if isinstance(value.get("properties"), dict):
            made["properties"] = {str(one.steps[-1]): self._schema(one, above) for one in node.children("properties")}
        for name in _LISTS:
            if isinstance(value.get(name), list):
                made[name] = [self._schema(one, above) for one in node.children(name)]
        for name in _SCHEMAS:
            if isinstance(value.get(name), (dict, bool)):
                made[name] = self._schema(node.child(name), above)
        if isinstance(value.get("$ref"), str):
            beside = self._schema(self._documents.target(node, value["$ref"]), above)
            made.setdefault("allOf", []).append(beside)
        return made
